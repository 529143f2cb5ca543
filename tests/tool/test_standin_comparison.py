"""How notebooks are tested: without the real data, only the cells that depend on it are not compared."""

import hashlib
import os
import shutil
import subprocess
import sys

import nbformat
import pytest

from workshop.setup.process import ROOT

pytestmark = pytest.mark.slow

NO_DATA = (
    "ran without comparison: only the stand-in of the census data is here (set WORKSHOP_MIRROR)"
)
BOTH_MISSING = "asks for the real census data and housing data, and it is not here"
REAL = b"the real people"
CENSUS, PLAIN = ("1 + 1", "3", "census-data"), ("2 + 2", "4")  # each cell's code, output and tags


@pytest.fixture
def repository(tmp_path):
    """A separate repository with `conftest.py` and `workshop/`, but no data."""
    for place in ("data", "tests"):
        (tmp_path / place).mkdir()
    for name in ("conftest.py", "tests/nbval_sanitize.cfg"):
        shutil.copy(ROOT / name, tmp_path / name)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "workshop", tmp_path / "workshop", ignore=ignored)
    return tmp_path


def add_real_data(repository):
    """Put a file into `data/` for each data set, and declare it to be the real one."""
    sha256 = hashlib.sha256(REAL).hexdigest()
    for name in ("CENSUS", "HOUSING"):
        members = f"(Member('{name}.real', {len(REAL)}, '{sha256}'),)"
        with (repository / "workshop/core/datasets.py").open("a", encoding="utf-8") as module:
            module.write(f"\n\n{name} = RemoteData('{name}', 'some.zip', 'some', {members})\n")
        (repository / "data" / f"{name}.real").write_bytes(REAL)


def write(repository, *cells, name="a.ipynb"):
    """Write a notebook of executed cells, each with its stored output."""
    made = []
    for source, stored, *tags in cells:
        data = {"text/plain": stored}
        output = nbformat.v4.new_output("execute_result", data, execution_count=1)
        made.append(nbformat.v4.new_code_cell(source, outputs=[output], execution_count=1))
        made[-1].metadata["tags"] = tags
    nbformat.write(nbformat.v4.new_notebook(cells=made), repository / name)


def run(repository, *options, **environ):
    """Run pytest in `repository`; return its exit code and its output."""
    ours = ("WORKSHOP_", "PYTEST_")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    clean["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # only the plugins below
    plugins = ["-p", "nbval.plugin", "-p", "xdist.plugin"]
    command = [sys.executable, "-m", "pytest", *plugins, "--nbval", "--nbval-current-env", *options]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    done = subprocess.run(command, cwd=repository, env=clean | environ, **pipes)
    return done.returncode, done.stdout


@pytest.mark.parametrize("options", [(), ("-n", "2", "--dist", "loadfile")], ids=["alone", "xdist"])
def test_on_the_standin_only_tagged_cells_are_not_compared_and_they_are_counted(
    repository, options
):
    write(repository, CENSUS, PLAIN)
    write(repository, CENSUS, ("2 + 2", "5"), ("1 / 0", "3", "census-data"), name="b.ipynb")
    code, told = run(repository, *options)
    assert code == 1, told
    assert told.count(f"3 cells {NO_DATA}") == 1
    assert "2 failed, 3 passed" in told
    assert "ZeroDivisionError" in told


def test_the_real_data_is_compared_and_an_error_where_it_is_required_and_missing(repository):
    write(repository, CENSUS, PLAIN)
    required = {"WORKSHOP_REQUIRE_DATA": "1", "WORKSHOP_MIRROR": "no/such/folder"}
    code, told = run(repository, "-n", "1", **required)
    assert code == pytest.ExitCode.USAGE_ERROR
    assert f"WORKSHOP_REQUIRE_DATA {BOTH_MISSING}" in told
    assert "passed" not in told
    add_real_data(repository)
    code, told = run(repository, "-n", "1", **required)
    assert code == 1, told
    assert "1 failed, 1 passed" in told
    assert "without comparison" not in told
    (repository / "data" / "CENSUS.real").write_bytes(REAL[:-1])  # a damaged file is none
    assert f"1 cell {NO_DATA}" in run(repository)[1]
