"""The instructor's guide: it has the run sheets as they are, its plans add up, and what it names exists."""

import re

import click
import nbformat
import pytest

from workshop import cli
from workshop.core.stages import STAGES, find_stage
from workshop.setup.process import ROOT
from workshop.upkeep import instructor_guide as guide

TEXT = guide.GUIDE.read_text(encoding="utf-8")
PLANS = {"90 minutes": 90, "Half a day": 240, "A full day": 480}
HANDOUTS = ["docs/instructor-guide.md", "docs/cheat-sheet.html"]


# The run sheets


def test_the_guide_has_the_run_sheets_as_they_are():
    assert guide.renewed() == TEXT, f"the guide is out of date: run {guide.COMMAND}"


def test_every_stage_has_a_run_sheet():
    sheets = guide.read_sheets()
    assert [find_stage(sheet["stage"]) for sheet in sheets] == list(STAGES)
    for sheet in sheets:
        assert sheet["ask"].endswith("?")
        assert sheet["answer"]
        assert sheet["mistake"]
        for steps in (sheet["steps"], sheet["mistake_steps"]):
            assert any("see" in step for step in steps), "something must appear"


@pytest.fixture
def copies(tmp_path, monkeypatch):
    """Guide and run sheets to change."""
    for name in ("GUIDE", "SHEETS"):
        copy = tmp_path / getattr(guide, name).name
        copy.write_bytes(getattr(guide, name).read_bytes())
        monkeypatch.setattr(guide, name, copy)
    return tmp_path


def test_a_command_renews_the_guide(copies):
    sheets = guide.SHEETS.read_text(encoding="utf-8")
    guide.SHEETS.write_text(sheets.replace("12 × 12 = 144", "12 × 12 = gross"), encoding="utf-8")
    assert cli.run(guide.COMMAND.split()[3:]) == 0
    renewed = guide.GUIDE.read_bytes().decode("utf-8")
    assert renewed == TEXT.replace("12 × 12 = 144", "12 × 12 = gross")
    assert renewed != TEXT


def test_a_guide_without_a_place_for_the_sheets_is_left_alone(copies, capsys):
    guide.GUIDE.write_text("# A guide", encoding="utf-8")
    assert cli.run(["refresh", "--guide"]) == 1
    assert "instructor-guide.md needs these two lines" in capsys.readouterr().err
    assert guide.GUIDE.read_text(encoding="utf-8") == "# A guide"


@pytest.mark.parametrize(
    ("sheets", "told"),
    [
        ("[[sheet]]\nstage = 01", "run-sheets.toml can't be read"),
        ('[[sheet]]\nstage = "01"', "the sheet of stage 01 lacks steps, ask, answer, mistake"),
        (
            '[[sheet]]\nstage = "01"\nask = ""\nanswer = ""\nmistake = ""\nmistake_steps = []\n'
            'steps = [{ sing = "la" }]',
            "has a step that is none: {'sing': 'la'}",
        ),
    ],
)
def test_sheets_that_are_wrong_are_refused(copies, capsys, sheets, told):
    guide.SHEETS.write_text(sheets, encoding="utf-8")
    assert cli.run(["refresh", "--guide"]) == 1
    assert told in capsys.readouterr().err
    assert guide.GUIDE.read_text(encoding="utf-8") == TEXT


# The plans


def plan(name):
    """The rows of a plan: what happens, from which minute, and the minutes of talk, exercises and break."""
    table = TEXT.partition(f"### {name}\n")[2].partition("###")[0]
    rows = [
        [cell.strip(" *") for cell in line.strip("|").split("|")]
        for line in table.splitlines()
        if re.match(r"\| (\d:\d\d )?\|", line)
    ]
    return [
        (what, at, *(int(cell or 0) for cell in minutes), late) for at, what, *minutes, late in rows
    ]


@pytest.mark.parametrize("name", PLANS)
def test_a_plan_adds_up(name):
    *rows, total = plan(name)
    now = 0
    for what, at, talk, exercises, pause, _ in rows:
        assert at == f"{now // 60}:{now % 60:02}", what
        now += talk + exercises + pause
    assert now == PLANS[name]
    sums = [sum(column) for column in zip(*(row[2:5] for row in rows), strict=True)]
    assert total == ("Total", "", *sums, f"{PLANS[name]} minutes")


@pytest.mark.parametrize("name", PLANS)
def test_a_plan_names_stages_as_the_table_does_and_says_what_to_cut(name):
    stages = [row for row in plan(name) if re.match(r"\d\d ", row[0])]
    assert len(stages) >= 3
    for what, _, talk, exercises, _, late in stages:
        stage = find_stage(what[:2])
        assert what == f"{stage.code} {stage.title}"
        assert talk + exercises <= stage.minutes
        assert late, f"{what}: what to cut?"


def test_the_full_day_says_how_much_it_cuts():
    stages = {row[0][:2]: row[2] + row[3] for row in plan("A full day") if row[0][:1].isdecimal()}
    whole = sum(stage.minutes for stage in STAGES)
    assert set(stages) <= {stage.code for stage in STAGES}
    assert f"{whole} minutes of stages meet {sum(stages.values())}," in TEXT
    for code in ("05", "06"):
        assert f"{code} from {find_stage(code).minutes} to {stages[code]}" in TEXT
    assert f"cards are {whole} in all" in TEXT


def test_the_questions_that_the_guide_quotes_are_headings_of_notebooks():
    headings = {
        line.removeprefix("## ")
        for file in (ROOT / "notebooks").glob("*.ipynb")
        for cell in nbformat.read(file, as_version=4).cells
        if cell.cell_type == "markdown"
        for line in cell.source.splitlines()
        if line.startswith("## ")
    }
    plans = TEXT.partition("## Three plans")[2].partition("## Run sheets")[0]
    quoted = set(re.findall(r'"([^"]+\?)"', plans))
    assert len(quoted) > 5
    assert quoted <= headings


# What it names


def commands_in(text):
    """Each line of the workshop's command in a text: its words."""
    found = re.findall(r"(?:python3|py) -m workshop((?: (?:--)?\w[-\w.]*)+)", text)
    return [words.split() for words in found]


@pytest.mark.parametrize("name", HANDOUTS)
def test_the_commands_that_a_handout_names_exist(name):
    lines = commands_in((ROOT / name).read_text(encoding="utf-8"))
    assert len(lines) > 5
    for command, *rest in lines:
        assert command in cli.commands.commands, command
        with click.Context(cli.commands.commands[command]) as context:
            known = {name for each in context.command.get_params(context) for name in each.opts}
        options = {word for word in rest if word.startswith("-")}
        assert options <= known, f"{command} has no {options - known}"


def test_links_of_the_guide_lead_somewhere():
    places, headings = [], []
    for target in re.findall(r"\]\(([^)]+)\)", TEXT):
        (headings if target.startswith("#") else places).append(target)
    assert len(places) >= 2
    assert [place for place in places if not (guide.GUIDE.parent / place).exists()] == []
    there = {
        "#" + heading.lower().replace(" ", "-")
        for heading in re.findall(r"^## (.+)$", TEXT, re.MULTILINE)
    }
    assert set(headings) == there
