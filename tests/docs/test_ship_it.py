"""docs/ship-it.md: its links lead somewhere, and what it tells people to type and set exists."""

import re
import subprocess
import sys
import tomllib

import pytest

from workshop.setup.process import ROOT

APP = ROOT / "apps" / "07_yours"
TEXT = (ROOT / "docs" / "ship-it.md").read_text(encoding="utf-8")
QUOTED = re.findall(r"`([^`\n]+)`", TEXT)


def anchor(heading):
    """The address of a heading within its page, as GitHub makes it."""
    return "#" + re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_links_within_the_page_lead_to_headings():
    headings = {anchor(heading) for heading in re.findall(r"^#+ (.+)$", TEXT, re.MULTILINE)}
    targets = re.findall(r"\]\((#[^)]+)\)", TEXT)
    assert len(targets) >= 5
    assert set(targets) <= headings


def test_the_files_of_the_app_that_it_names_are_there():
    names = {
        "requirements.txt",
        "compose.yaml",
        "pythonanywhere_wsgi.py",
        "wsgi.py",
        ".dockerignore",
    }
    for name in names:
        assert name in TEXT
        assert (APP / name).is_file()


def test_the_settings_that_it_names_are_read_by_the_app():
    code = "".join(file.read_text(encoding="utf-8") for file in APP.glob("*.py"))
    named = {name for name in re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", TEXT)}
    assert {"TRUSTED_NAMES", "TRUSTED_PROXIES", "PREDICTION_LOG"} <= named
    assert [name for name in named if name not in code] == []


def test_the_line_to_change_is_in_the_wsgi_file():
    [line] = [text for text in QUOTED if text.startswith("YOU, APP")]
    assert line in (APP / "pythonanywhere_wsgi.py").read_text(encoding="utf-8")


def test_the_space_is_set_up_as_it_says():
    settings = (APP / "README.md").read_text(encoding="utf-8").split("---")[1]
    for line in ("sdk: docker", "app_port: 8000"):
        assert line in QUOTED
        assert line in settings.splitlines()


def test_train_takes_the_options_that_it_names():
    options = set(re.findall(r"train\.py (--\w+)", TEXT))
    assert options
    run = [sys.executable, "train.py", "--help"]
    told = subprocess.run(run, cwd=APP, capture_output=True, text=True, check=True).stdout
    assert options <= set(re.findall(r"--\w+", told))


@pytest.mark.parametrize("host", ["PythonAnywhere", "Render", "Hugging Face", "Fly.io"])
def test_every_host_has_its_sources_and_a_year(host):
    sources = TEXT.partition("## Sources")[2]
    [entry] = re.findall(rf"^- {host}: ((?:.|\n  )+)", sources, re.MULTILINE)
    assert entry.count("](https://") >= 3
    assert re.search(r"\b20\d\d\b", entry)


def test_the_pythons_that_it_offers_are_those_that_the_app_needs():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    oldest = project["requires-python"].removeprefix(">=")
    assert f"{oldest} on" in TEXT
