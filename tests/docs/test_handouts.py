"""The pages that people are handed: what they promise, link to, and have typed is there."""

import ast
import os
import re
import struct
import subprocess
import sys

import click
import pytest

from workshop import cli
from workshop.core.stages import STAGES, find_stage
from workshop.setup.process import ROOT
from workshop.upkeep import instructor_guide as guide
from workshop.upkeep.browsers import installed_browsers

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "data" / "README.md"])
HANDOUTS = [*PAGES, ROOT / "docs" / "cheat-sheet.html"]
GUIDE = guide.GUIDE.read_text(encoding="utf-8")


def anchors(page):
    """What `#...` may follow the address of a page: its headings, as GitHub writes them."""
    headings = re.findall(r"^#{1,6} (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}


@pytest.mark.parametrize("file", PAGES, ids=lambda file: file.name)
def test_links_lead_somewhere(file):
    for target in re.findall(r"\]\(([^)\s]+)\)", file.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue  # the internet, where no test goes
        name, _, anchor = target.partition("#")
        place = file.parent / name if name else file
        assert place.exists(), target
        assert not anchor or anchor in anchors(place), target


@pytest.mark.parametrize("file", HANDOUTS, ids=lambda file: file.name)
def test_the_commands_that_a_page_has_people_type_exist(file):
    text = file.read_text(encoding="utf-8")
    for line in re.findall(r"(?:python3|py) -m workshop((?: (?:--)?\w[-\w.]*)+)", text):
        command, *rest = line.split()
        if not command.startswith("-"):
            assert command in cli.commands.commands, line
            with click.Context(cli.commands.commands[command]) as context:
                known = {n for each in context.command.get_params(context) for n in each.opts}
            unknown = {word for word in rest if word.startswith("-")} - known
            assert not unknown or command == "test", f"{command} has no {unknown}"


# docs/security.md


def test_every_promise_about_security_names_a_test_that_is_there_and_run_in_ci():
    text = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if re.match(r"\| (?!promise|---)", line)]
    assert len(rows) > 20
    workflow = ROOT / ".github" / "workflows" / "tests.yml"
    ci = (ROOT / ".ci" / "run").read_text("utf-8") + workflow.read_text("utf-8")
    for row in rows:
        promise, held_by = (cell.strip() for cell in row.strip("|").split(" | "))
        file, _, name = held_by.strip("`").partition("::")
        code = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        functions = {node.name for node in code.body if isinstance(node, ast.FunctionDef)}
        assert (name or "main") in functions, promise
        assert name or file in ci, f"{file} is run by nobody"


# The README's pictures


@pytest.mark.slow
def test_the_pictures_of_the_readme_can_be_taken_again(tmp_path):
    pytest.importorskip("playwright")
    if not installed_browsers():
        pytest.skip("no Chromium, Chrome or Edge was found here")
    taken = {}
    for variables in ({}, {"WORKSHOP_BROWSER": str(tmp_path / "none")}):
        run = subprocess.run(
            [sys.executable, "-m", "workshop.upkeep.readme_pictures", tmp_path],
            cwd=ROOT,
            env=os.environ | variables,
            capture_output=True,
            encoding="utf-8",
        )
        assert run.returncode == bool(variables), run.stderr
        if not variables:
            taken = {file.name: file for file in tmp_path.glob("*.png")}
    assert run.stderr.count("\n") == 1, "without a browser, a sentence"
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"docs/images/(\w+\.png)", readme)) == set(taken)
    for name, file in taken.items():
        sizes = [
            struct.unpack(">II", each.read_bytes()[16:24])
            for each in (file, ROOT / "docs" / "images" / name)
        ]
        assert sizes[0] == sizes[1], name


# The guide's run sheets, which test_run_sheets performs


def test_the_guide_has_the_run_sheets_as_they_are():
    assert guide.renewed() == GUIDE, f"the guide is out of date: run {guide.COMMAND}"
    sheets = guide.read_sheets()
    assert [find_stage(sheet["stage"]) for sheet in sheets] == list(STAGES)
    for sheet in sheets:
        assert sheet["ask"].endswith("?")
        for steps in (sheet["steps"], sheet["mistake_steps"]):
            assert any("see" in step for step in steps), "something must appear"


@pytest.fixture
def copies(tmp_path, monkeypatch):
    """Guide and run sheets to change."""
    for name in ("GUIDE", "SHEETS"):
        copy = tmp_path / getattr(guide, name).name
        copy.write_bytes(getattr(guide, name).read_bytes())
        monkeypatch.setattr(guide, name, copy)


@pytest.mark.usefixtures("copies")
def test_a_command_renews_the_guide_or_says_what_is_wrong_with_the_sheets(capsys):
    sheets = guide.SHEETS.read_text(encoding="utf-8")
    guide.SHEETS.write_text(sheets.replace("12 × 12 = 144", "12 × 12 = gross"), encoding="utf-8")
    assert cli.run(guide.COMMAND.split()[3:]) == 0
    renewed = guide.GUIDE.read_bytes().decode("utf-8")
    assert renewed == GUIDE.replace("12 × 12 = 144", "12 × 12 = gross") != GUIDE
    for wrong, told in [
        ("[[sheet]]\nstage = 01", "run-sheets.toml can't be read"),
        ('[[sheet]]\nstage = "01"', "lacks steps, ask, answer, mistake"),
        (sheets.replace("steps = [", 'steps = [{ sing = "la" },'), "{'sing': 'la'}"),
    ]:
        guide.SHEETS.write_text(wrong, encoding="utf-8")
        assert cli.run(guide.COMMAND.split()[3:]) == 1
        assert told in capsys.readouterr().err
        assert guide.GUIDE.read_bytes().decode("utf-8") == renewed
