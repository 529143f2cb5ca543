"""How notebooks are tested: without the real data, cells that depend on it run without comparison, and no
others; and no kernel gets in the way of another."""

import hashlib
import os
import shutil
import subprocess
import sys

import nbformat
import pytest

from workshop.setup.process import ROOT

pytestmark = pytest.mark.slow

NO_DATA = "only the stand-in of the census data is here (set WORKSHOP_MIRROR)"
BOTH_MISSING = "asks for the real census data and housing data, and it is not here"
REAL = b"the real people"


@pytest.fixture
def repository(tmp_path):
    """A repository of its own, with `conftest.py`, `workshop/` and no data at all."""
    shutil.copy(ROOT / "conftest.py", tmp_path)
    shutil.copytree(
        ROOT / "workshop", tmp_path / "workshop", ignore=shutil.ignore_patterns("__pycache__")
    )
    (tmp_path / "tests").mkdir()
    shutil.copy(ROOT / "tests" / "nbval_sanitize.cfg", tmp_path / "tests")
    (tmp_path / "data").mkdir()
    return tmp_path


def add_real_data(repository, *names):
    """Put a file into `data/` for each data set, and declare that this is what its data looks like."""
    sha256 = hashlib.sha256(REAL).hexdigest()
    for name in names:
        members = f"(Member('{name}.real', {len(REAL)}, '{sha256}'),)"
        with (repository / "workshop" / "core" / "datasets.py").open(
            "a", encoding="utf-8"
        ) as module:
            module.write(f"\n\n{name} = RemoteData('{name}', 'some.zip', 'some', {members})\n")
        (repository / "data" / f"{name}.real").write_bytes(REAL)


def cell(source, stored, *tags):
    """A cell that has been run, with `stored` as what it displayed."""
    output = nbformat.v4.new_output("execute_result", {"text/plain": stored}, execution_count=1)
    new = nbformat.v4.new_code_cell(source, outputs=[output], execution_count=1)
    new.metadata["tags"] = list(tags)
    return new


def write(repository, name, *cells):
    nbformat.write(nbformat.v4.new_notebook(cells=list(cells)), repository / name)


def run(repository, *options, **environ):
    """The result of pytest in `repository`; without options in one process."""
    ours = ("WORKSHOP_", "PYTEST_")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    clean["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # of the plugins, those that are wanted
    plugins = ["-p", "nbval.plugin", "-p", "xdist.plugin"]
    command = [sys.executable, "-m", "pytest", *plugins, "--nbval", "--nbval-current-env", *options]
    return subprocess.run(
        command,
        cwd=repository,
        env=clean | environ,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.parametrize("options", [(), ("-n", "2", "--dist", "loadfile")], ids=["alone", "xdist"])
def test_on_the_standin_tagged_cells_are_not_compared_and_are_counted(repository, options):
    for name in ("a.ipynb", "b.ipynb"):
        write(repository, name, cell("1 + 1", "3", "census-data"), cell("2 + 2", "4"))
    result = run(repository, *options)
    assert result.returncode == 0, result.stdout
    assert result.stdout.count(f"2 cells ran without comparison: {NO_DATA}") == 1
    assert "4 passed" in result.stdout


def test_on_the_standin_everything_else_stays_strict(repository):
    write(repository, "a.ipynb", cell("1 + 1", "3", "census-data"), cell("2 + 2", "5"))
    result = run(repository)
    assert result.returncode == 1
    assert f"1 cell ran without comparison: {NO_DATA}" in result.stdout
    assert "1 failed, 1 passed" in result.stdout


def test_on_the_standin_a_tagged_cell_still_has_to_run(repository):
    write(repository, "a.ipynb", cell("1 / 0", "3", "census-data"))
    result = run(repository)
    assert result.returncode == 1
    assert "ZeroDivisionError" in result.stdout


def test_each_data_set_counts_for_itself(repository):
    add_real_data(repository, "CENSUS")
    tagged = cell("1 + 1", "3", "housing-data")
    write(repository, "a.ipynb", cell("1 + 1", "3", "census-data"), tagged)
    result = run(repository)
    assert result.returncode == 1
    only = "only the stand-in of the housing data is here"
    assert f"1 cell ran without comparison: {only}" in result.stdout
    assert "1 failed, 1 passed" in result.stdout


def test_on_the_real_data_tagged_cells_are_compared(repository):
    add_real_data(repository, "CENSUS", "HOUSING")
    write(repository, "a.ipynb", cell("1 + 1", "3", "census-data"), cell("2 + 2", "4"))
    result = run(repository, "-n", "1", WORKSHOP_REQUIRE_DATA="1")
    assert result.returncode == 1, result.stderr
    assert "1 failed, 1 passed" in result.stdout
    assert "without comparison" not in result.stdout


def test_required_data_that_is_missing_is_an_error(repository):
    write(repository, "a.ipynb", cell("1 + 1", "2", "census-data"))
    result = run(repository, "-n", "1", WORKSHOP_REQUIRE_DATA="1", WORKSHOP_MIRROR="no/such/folder")
    assert result.returncode == pytest.ExitCode.USAGE_ERROR
    assert f"WORKSHOP_REQUIRE_DATA {BOTH_MISSING}" in result.stderr
    assert "passed" not in result.stdout


def test_a_damaged_file_does_not_count_as_real_data(repository):
    add_real_data(repository, "CENSUS", "HOUSING")
    (repository / "data" / "CENSUS.real").write_bytes(REAL[:-1])
    write(repository, "a.ipynb", cell("1 + 1", "3", "census-data"))
    result = run(repository)
    assert result.returncode == 0, result.stdout
    assert f"1 cell ran without comparison: {NO_DATA}" in result.stdout


TRANSPORT = (
    "from ipykernel.connect import get_connection_info as told\ntold(unpack=True)['transport']"
)


@pytest.mark.skipif(os.name != "posix", reason="kernels talk through ports on Windows")
def test_no_kernel_can_lose_its_port_to_another(repository):
    write(repository, "a.ipynb", cell(TRANSPORT, "'ipc'"))
    result = run(repository)
    assert result.returncode == 0, result.stdout
