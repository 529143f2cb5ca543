"""The pages people are given: their links lead somewhere, and the commands and settings they name exist."""

import ast
import re

import click
import pytest

from workshop import cli
from workshop.core.stages import STAGES, find_stage
from workshop.setup.process import ROOT
from workshop.upkeep import instructor_guide as guide

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "data" / "README.md"])
HANDOUTS = [*PAGES, ROOT / "docs" / "cheat-sheet.html"]
GUIDE = guide.GUIDE.read_text(encoding="utf-8")


def read(path):
    return (ROOT / path).read_text(encoding="utf-8")


def anchors(page):
    """The anchors of a page's headings, as GitHub writes them."""
    headings = re.findall(r"^#{1,6} (.+)$", read(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}


@pytest.mark.parametrize("file", PAGES, ids=lambda file: file.name)
def test_links_lead_somewhere(file):
    for target in re.findall(r"\]\(([^)\s]+)\)", read(file)):
        if re.match(r"[a-z]+:", target):
            continue  # on the internet, which no test uses
        name, _, anchor = target.partition("#")
        place = file.parent / name if name else file
        assert place.exists(), target
        assert not anchor or anchor in anchors(place), target


@pytest.mark.parametrize("file", HANDOUTS, ids=lambda file: file.name)
def test_the_commands_on_a_page_exist(file):
    for line in re.findall(r"(?:python3|py) -m workshop((?: (?:--)?\w[-\w.]*)+)", read(file)):
        command, *rest = line.split()
        if not command.startswith("-"):
            assert command in cli.commands.commands, line
            with click.Context(cli.commands.commands[command]) as context:
                known = {n for each in context.command.get_params(context) for n in each.opts}
            unknown = {word for word in rest if word.startswith("-")} - known
            assert not unknown or command == "test", f"{command} has no {unknown}"


def test_what_ship_it_tells_people_to_use_is_in_the_app():
    app, text = ROOT / "apps" / "07_yours", read("docs/ship-it.md")
    for name in ("requirements.txt", "compose.yaml", "pythonanywhere_wsgi.py", ".dockerignore"):
        assert (name in text, (app / name).is_file()) == (True, True), name
    code = "".join(read(file) for file in [*app.glob("*.py"), app / "README.md"])
    named = set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b|(?<=train\.py )--\w+", text))
    assert {"TRUSTED_NAMES", "TRUSTED_PROXIES", "PREDICTION_LOG", "--rollback"} <= named
    lines = ['YOU, APP = "YOU", "shop"', "sdk: docker", "app_port: 8000"]
    assert [line for line in lines if f"`{line}`" not in text] == []
    assert [each for each in [*named, *lines] if each not in code] == []


def test_every_promise_about_security_names_a_test_that_runs_in_ci():
    rows = re.findall(r"^\| (?!promise|---)(.+) \| `(.+)` \|$", read("docs/security.md"), re.M)
    assert len(rows) > 20
    ci = read(".ci/run") + read(".github/workflows/tests.yml")
    for promise, held_by in rows:
        file, _, name = held_by.partition("::")
        functions = {n.name for n in ast.parse(read(file)).body if isinstance(n, ast.FunctionDef)}
        assert (name or "main") in functions, promise
        assert name or file in ci, f"nothing runs {file}"


def test_a_command_updates_the_guide_or_says_what_is_wrong_with_the_sheets(
    capsys, tmp_path, monkeypatch
):
    assert guide.renewed() == GUIDE, f"the guide is out of date: run {guide.COMMAND}"
    assert [find_stage(sheet["stage"]) for sheet in guide.read_sheets()] == list(STAGES)
    for name in ("GUIDE", "SHEETS"):
        copy = tmp_path / getattr(guide, name).name
        copy.write_bytes(getattr(guide, name).read_bytes())
        monkeypatch.setattr(guide, name, copy)
    sheets = guide.SHEETS.read_text(encoding="utf-8")
    renewed = GUIDE.replace("12 × 12 = 144", "12 × 12 = gross")
    for written, status, told in [
        (sheets.replace("12 × 12 = 144", "12 × 12 = gross"), 0, ""),
        ("[[sheet]]\nstage = 01", 1, "run-sheets.toml can't be read"),
        ('[[sheet]]\nstage = "01"', 1, "lacks steps, ask, answer, mistake"),
        (sheets.replace("steps = [", 'steps = [{ sing = "la" },'), 1, "{'sing': 'la'}"),
    ]:
        guide.SHEETS.write_text(written, encoding="utf-8")
        assert cli.run(guide.COMMAND.split()[3:]) == status
        assert told in capsys.readouterr().err
        assert guide.GUIDE.read_bytes().decode("utf-8") == renewed != GUIDE
