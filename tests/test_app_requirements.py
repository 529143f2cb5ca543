"""The `requirements.txt` of an app: what its files import, at the versions that the workshop locks."""

import ast
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from workshop.setup.process import ROOT

FILES = sorted(ROOT.glob("apps/*/requirements.txt"))
# Packages that come with another, whose modules an app may import without naming them.
BROUGHT = {"werkzeug": "flask", "jinja2": "flask", "wtforms": "flask-wtf", "numpy": "pandas"}
BROUGHT |= {"pydantic-core": "pydantic", "click": "flask", "limits": "flask-limiter"}
BROUGHT["threadpoolctl"] = "scikit-learn"


def normal(name: str) -> str:
    """A package's name in the spelling that all the others can be compared with."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned(file: Path) -> dict[str, str]:
    """The packages of a requirements file, each with its only version."""
    found = {}
    for line in file.read_text("utf-8").splitlines():
        # Stops at the hashes and the markers of the lock.
        if match := re.match(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s;\\]+)", line):
            found[normal(match[1])] = match[2]
    return found


def imported(folder: Path) -> set[str]:
    """The packages whose modules the files of an app import."""
    own = {file.stem for file in folder.glob("*.py")}
    packages = packages_distributions()
    names = set()
    for file in set(folder.glob("*.py")) - set(folder.glob("test_*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names.add(node.module.split(".")[0])
    others = names - own - set(sys.stdlib_module_names)
    found = {normal(packages[name][0]) for name in others}
    return {BROUGHT.get(name, name) for name in found}


def test_every_line_names_a_package_and_one_version():
    assert FILES
    for file in FILES:
        lines = [line for line in file.read_text("utf-8").splitlines() if line.strip()]
        lines = [line for line in lines if not line.startswith("#")]
        assert len(pinned(file)) == len(lines), file


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.parent.name)
def test_the_versions_are_those_of_the_lock(file):
    locked = pinned(ROOT / "requirements.txt")
    own = pinned(file)
    assert own == {name: locked.get(name) for name in own}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.parent.name)
def test_what_the_app_imports_is_there(file):
    assert imported(file.parent) <= set(pinned(file))


def test_stage_04_names_nothing_that_it_does_not_import():
    folder = ROOT / "apps" / "04_iris"
    assert set(pinned(folder / "requirements.txt")) == imported(folder)
