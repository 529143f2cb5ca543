"""The guide's plans: the minutes add up, and the parts of notebooks that each plan uses run without the rest.

A plan names its part of a notebook by headings: `through "A"` up to and including that section, `from "B"`
to the end, `without "C", "D"`, and further headings by themselves. These tests parse exactly those words.
"""

import re
from functools import cache

import nbformat
import pytest

from workshop.core.stages import BASE, STAGES, find_stage
from workshop.learn import my_copy
from workshop.upkeep import refresh_notebooks
from workshop.upkeep.instructor_guide import GUIDE

TEXT = GUIDE.read_text(encoding="utf-8").partition("## Five plans\n")[2].partition("## Run")[0]
NAMES = re.findall(r"^### (.+)", TEXT, flags=re.MULTILINE)
MINUTES = [
    [90],
    [180],
    [240],
    [480],
    [420, 420],
]  # of the days of each plan; an evening comes after them
PLANS = dict(zip(NAMES, MINUTES, strict=False))
OWN_MODEL = "Can you put the model on the web yourself?"  # the section that puts it on a page
SETUP = "Exercises"  # the section with `from workshop import check`


def days(plan):
    """The tables of a plan. Each row: at, what, part, talk, exercises, break, and what to do if late."""
    text = TEXT.partition(f"### {plan}\n")[2].partition("\n### ")[0]
    for table in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        rows = [[cell.strip(" *") for cell in row[1:-1].split("|")] for row in table.splitlines()]
        yield [(*row[:3], *(int(cell or 0) for cell in row[3:6]), row[6]) for row in rows[2:]]


@pytest.mark.parametrize("plan", PLANS)
def test_a_plan_adds_up_and_says_what_to_do_if_late(plan):
    used, own_model = {}, None
    for (*rows, total), length in zip(days(plan), PLANS[plan], strict=True):
        now = 0
        for at, what, part, talk, exercises, pause, late in rows:
            assert at == f"{now // 60}:{now % 60:02}", what
            now += talk + exercises + pause
            assert late or pause, f"{what}: what to do if late?"
            if re.match(r"\d\d ", what):
                stage = find_stage(what[:2])
                assert what == f"{stage.code} {stage.title}"
                used[stage] = used.get(stage, 0) + talk + exercises
                for file, kept in parts_of(what, part):
                    assert kept
                    assert set(re.findall(r'skip .*"([^"]+)"', late)) <= set(all_sections(file))
                    if OWN_MODEL in kept:
                        own_model = own_model or now
        sums = [sum(column) for column in zip(*(row[3:6] for row in rows), strict=True)]
        assert total == ("", "Total", "", *sums, f"{length} minutes")
        assert now == length
    assert all(minutes <= stage.minutes for stage, minutes in used.items()), used
    assert len(used) >= 3
    if sum(PLANS[plan]) <= 240:
        assert own_model <= 120, "everyone has their own model on a page within two hours"


# The part of a notebook that a plan uses


@cache
def all_sections(file):
    """The cells of a notebook by heading; those before the first heading are under None."""
    found, heading = {None: []}, None
    for cell in nbformat.read(file, as_version=4).cells:
        if cell.cell_type == "markdown" and cell.source.startswith("## "):
            heading = cell.source.partition("\n")[0].removeprefix("## ")
        found.setdefault(heading, []).append(cell)
    return found


def sections(file, part):
    """The headings of the sections that run when a plan uses this part of a notebook."""
    order = list(all_sections(file))
    if part == "all of it":
        return order
    named, word = {"from": [], "through": [], "without": [], "and": []}, "and"
    for found in re.finditer(r'\b(from|through|without|and) (?=")|"([^"]+)"', part):
        word = found[1] or word
        if found[2]:
            named[word].append(found[2])
    assert set().union(*named.values()) <= set(order), f"{file.name} lacks a section of {part}"
    kept = set(named["and"])
    if named["through"]:
        kept |= set(order[: order.index(named["through"][0]) + 1])
    if named["from"]:
        first = 0 if "Run All Above" in part else order.index(named["from"][0])
        kept |= set(order[first:])
    if any(heading.startswith("Exercise ") for heading in kept - {None}):
        kept.add(SETUP)
    return [heading for heading in order if heading in kept and heading not in named["without"]]


def parts_of(what, part):
    """Each notebook of a plan's row, with the headings of the sections that run."""
    for each in part.split(" · "):
        name, colon, rest = each.partition(": ")
        files = find_stage(what[:2]).notebook_files
        [file] = [f for f in files if not colon or f.name.startswith(f"{name}_")]
        yield file, sections(file, rest if colon else each)


def is_code(cell):
    return cell.cell_type == "code"


def with_gaps():
    """The different parts that skip cells before others. (nbval runs those without gaps.)"""
    cases = {}
    for plan in PLANS:
        taken = {}
        for _, what, part, *_ in (row for rows in days(plan) for row in rows):
            for file, kept in parts_of(what, part) if re.match(r"\d\d ", what) else []:
                taken.setdefault(file, set()).update(kept)
        for file, kept in taken.items():
            order = [h for h, cells in all_sections(file).items() if any(map(is_code, cells))]
            run = tuple(heading for heading in order if heading in kept)
            if run != tuple(order[: len(run)]):
                cases.setdefault((file, run), f"{plan}, {file.stem}")
    return [pytest.param(*case, id=name) for case, name in cases.items()]


@pytest.mark.slow
@pytest.mark.parametrize(("file", "kept"), with_gaps())
def test_the_part_that_a_plan_uses_runs_without_the_rest(file, kept, tmp_path, monkeypatch):
    monkeypatch.setenv(BASE, str(tmp_path))
    my_copy.bring_up_to_date(tmp_path)
    notebook = nbformat.read(file, as_version=4)
    notebook.cells = [cell for heading in kept for cell in all_sections(file)[heading]]
    refresh_notebooks.run(notebook, tmp_path / "notebooks", file.name)
    assert all(cell.execution_count for cell in notebook.cells if is_code(cell))


# How long a notebook takes someone who is new to all of it

READING, CODE, CELL = 160, 12, 9 / 60  # words and lines of code a minute; minutes for each cell
ANSWER, CHANGE, TYPING = 5, 10, 10  # minutes: an answer in a cell, a changed app, a typed app


def measured(cell):
    """The minutes that a cell takes by the rule above."""
    if not is_code(cell):
        return len(cell.source.split()) / READING
    lines = [line for line in cell.source.splitlines() if line.strip()]
    if "show(" in cell.source:
        shown = [o.data.get("text/plain", "") for o in cell.outputs if "data" in o]
        lines += "".join(shown).splitlines()
    minutes = len(lines) / CODE + CELL + TYPING * ("solutions/apps/" in cell.source)
    if check := re.match(r'check\("[\d.]+"(, answer)?\)', cell.source):
        minutes += ANSWER if check[1] else CHANGE
    return minutes


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.slug)
def test_the_minutes_are_honest(stage):
    """A notebook's minutes are within a sixth or five minutes of the rule; a stage's are the sum."""
    told = 0
    for file in stage.notebook_files:
        found = all_sections(file)
        first = "\n".join(cell.source for cell in found[None][:2])
        said = int(re.search(r"[Aa]bout (\d+)\s+minutes", first)[1])
        told += said
        todo = [h for h in found if not str(h).startswith("For the curious")]
        minutes = sum(measured(cell) for heading in todo for cell in found[heading])
        assert minutes == pytest.approx(said, rel=1 / 6, abs=5), file.name
    assert told == stage.minutes
