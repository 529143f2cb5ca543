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
# The minutes of each plan's days.
PLANS = {
    "90 minutes": [90],
    "Three hours": [180],
    "Half a day": [240],
    "A full day": [480],
    "Two days": [420, 420],
}
OWN_MODEL = "Can you put the model on the web yourself?"  # the section that puts it on a page
ABOVE = "Run All Above"
SETUP = "Exercises"  # the section with `from workshop import check`


def days(plan):
    """The tables of a plan. Each row: at, what, part, talk, exercises, break, and what to do if late."""
    text = TEXT.partition(f"### {plan}\n")[2].partition("\n### ")[0]
    for table in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        rows = (
            [cell.strip(" *") for cell in row[1:-1].split("|")] for row in table.splitlines()[2:]
        )
        yield [
            (at, what, part, *(int(cell or 0) for cell in minutes), late)
            for at, what, part, *minutes, late in rows
        ]


@pytest.mark.parametrize("plan", PLANS)
def test_a_plan_adds_up_and_says_what_to_do_if_late(plan):
    assert re.findall(r"^### (.+)", TEXT, flags=re.MULTILINE)[: len(PLANS)] == list(PLANS)
    used, tables = {}, list(days(plan))
    for (*rows, total), length in zip(tables, PLANS[plan], strict=True):
        now = 0
        for at, what, part, talk, exercises, pause, late in rows:
            assert at == f"{now // 60}:{now % 60:02}", what
            now += talk + exercises + pause
            assert late or pause, f"{what}: what to do if late?"
            if re.match(r"\d\d ", what):
                stage = find_stage(what[:2])
                assert what == f"{stage.code} {stage.title}"
                assert part
                used[stage] = used.get(stage, 0) + talk + exercises
        sums = [sum(column) for column in zip(*(row[3:6] for row in rows), strict=True)]
        assert total == ("", "Total", "", *sums, f"{length} minutes")
        assert now == length
    assert all(minutes <= stage.minutes for stage, minutes in used.items()), used
    assert len(used) >= 3


@pytest.mark.parametrize("plan", ["90 minutes", "Three hours", "Half a day"])
def test_everyone_has_their_own_model_on_a_page_within_two_hours(plan):
    [rows] = days(plan)
    [ends] = [
        int(at[0]) * 60 + int(at[2:]) + talk + exercises
        for at, what, part, talk, exercises, *_ in rows
        if what.startswith("04") and OWN_MODEL in sections(find_stage("04").notebook_files[0], part)
    ]
    assert ends <= 120


def test_the_full_day_says_how_much_it_cuts():
    [rows] = days("A full day")
    stages = {row[1][:2]: row[3] + row[4] for row in rows if row[1][:1].isdecimal()}
    whole = sum(stage.minutes for stage in STAGES)
    assert f"cards are {whole} in all" in TEXT
    assert f"for {sum(stages.values())} of the stages' {whole} minutes" in TEXT
    for code in ("05", "06", "07"):
        assert f"{code} from {find_stage(code).minutes} to {stages[code]}" in TEXT


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
    words = {"from": [], "through": [], "without": [], "and": []}
    if part == "all of it":
        return order
    word = "and"
    for found in re.finditer(r'\b(from|through|without|and) (?=")|"([^"]+)"', part):
        if found[1]:
            word = found[1]
        else:
            assert found[2] in order, f"{file.name} has no section {found[2]!r}"
            words[word].append(found[2])
    kept = set(words["and"])
    if words["from"] or words["through"]:
        first = order.index(words["from"][0]) if words["from"] and ABOVE not in part else 0
        last = order.index(words["through"][0]) if words["through"] else len(order) - 1
        kept |= set(order[first : last + 1])
    if any(str(heading).startswith("Exercise ") for heading in kept):
        kept.add(SETUP)
    return [heading for heading in order if heading in kept and heading not in words["without"]]


def parts():
    """For each plan and notebook: the sections that run, and those that run if everyone is late."""
    for plan in PLANS:
        taken = {}
        for _, what, part, *_, late in (row for rows in days(plan) for row in rows):
            files = find_stage(what[:2]).notebook_files if re.match(r"\d\d ", what) else []
            for each in part.split(" · ") if files else []:
                name, colon, rest = each.partition(": ")
                [file] = [f for f in files if not colon or f.name.startswith(f"{name}_")]
                kept = sections(file, rest if colon else each)
                all_day, if_late = taken.setdefault(file, (set(), set()))
                all_day |= set(kept)
                for after, heading in re.findall('skip (everything after )?"([^"]+)"', late):
                    if heading in kept:
                        where = kept.index(heading)
                        kept = kept[: where + 1] if after else kept[:where] + kept[where + 1 :]
                if_late |= set(kept)
        for file, pair in taken.items():
            for kept in pair:
                yield plan, file, tuple(h for h in all_sections(file) if h in kept)


def with_gaps():
    """The different parts that skip cells before others. (nbval runs those without gaps.)"""
    cases = {}
    for plan, file, kept in parts():
        headings = [h for h, cells in all_sections(file).items() if any(map(is_code, cells))]
        kept = tuple(heading for heading in kept if heading in headings)
        if kept != tuple(headings[: len(kept)]):
            cases.setdefault((file, kept), plan)
    return [
        pytest.param(file, kept, id=f"{plan}, {file.stem}") for (file, kept), plan in cases.items()
    ]


def is_code(cell):
    return cell.cell_type == "code"


@pytest.mark.slow
@pytest.mark.parametrize(("file", "kept"), with_gaps())
def test_the_part_that_a_plan_uses_runs_without_the_rest(file, kept, tmp_path, monkeypatch):
    monkeypatch.setenv(BASE, str(tmp_path))
    my_copy.bring_up_to_date(tmp_path)
    notebook = nbformat.read(file, as_version=4)
    notebook.cells = [cell for heading in kept for cell in all_sections(file)[heading]]
    refresh_notebooks.run(notebook, tmp_path / "notebooks", file.name)
    assert all(cell.execution_count for cell in notebook.cells if is_code(cell))


def test_every_plan_is_read():
    assert len({(plan, file) for plan, file, _ in parts()}) > 25
    assert with_gaps()


# How long a notebook takes someone who is new to all of it

READING, CODE, CELL = 160, 12, 9 / 60  # words and lines of code a minute; minutes for each cell
ANSWER, CHANGE, TYPING = 5, 10, 10  # minutes: an answer in a cell, a changed app, a typed app


def measured(file):
    """The minutes a notebook takes by the rule above, without the sections for the curious."""
    minutes = 0.0
    for heading, cells in all_sections(file).items():
        if str(heading).startswith("For the curious"):
            continue
        for cell in cells:
            lines = [line for line in cell.source.splitlines() if line.strip()]
            if not is_code(cell):
                minutes += len(cell.source.split()) / READING
                continue
            if "show(" in cell.source:
                shown = [o.data.get("text/plain", "") for o in cell.outputs if "data" in o]
                lines += "".join(shown).splitlines()
            minutes += len(lines) / CODE + CELL
            minutes += TYPING * ("solutions/apps/" in cell.source)
            if check := re.match(r'check\("[\d.]+"(, answer)?\)', cell.source):
                minutes += ANSWER if check[1] else CHANGE
    return minutes


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.slug)
def test_the_minutes_are_honest(stage):
    """A notebook's minutes are within a sixth or five minutes of the rule; a stage's are the sum."""
    told = 0
    for file in stage.notebook_files:
        first = all_sections(file)[None][:2]
        said = re.search(r"[Aa]bout (\d+)\s+minutes", "\n".join(cell.source for cell in first))
        told += int(said[1])
        assert measured(file) == pytest.approx(int(said[1]), rel=1 / 6, abs=5), file.name
    assert told == stage.minutes
