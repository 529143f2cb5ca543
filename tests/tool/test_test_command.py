"""The command `test`: what it installs, what it runs without those packages, and its two speeds.

Learners test their own notebooks and apps with plain pytest, which doesn't need the packages.
"""

import os
import shutil
import subprocess
import sys

import nbformat
import pytest

from workshop import cli
from workshop.setup.process import ROOT

MISSING = "The packages can't be downloaded: connect to a network."
# The command on a computer where the packages that only the tests need can't be installed.
WITHOUT_PACKAGES = f"""
import sys
import workshop.upkeep.run_tests as run_tests
from workshop.cli import run
from workshop.setup.process import SetupError

def fail(environment):
    raise SetupError({MISSING!r})

run_tests.set_up_tests = fail
sys.exit(run(["test", *sys.argv[1:]]))
"""
HIDDEN = ["hypothesis", "playwright", "pytest_playwright", "xdist"]
TESTS = {
    "test_speeds.py": "import pytest\n\ndef test_fast():\n    pass\n\n"
    "@pytest.mark.slow\ndef test_slow():\n    pass\n",
    "test_direct.py": "import hypothesis\n",
    "test_through_support.py": "from my_support import page\n",
    "my_support.py": "from playwright.sync_api import Page as page\n",
}
TEST_OF_AN_APP = """
from workshop.core.stages import find_stage

def test_mine():
    assert "changed" in find_stage("01").app_file.read_text()
"""


@pytest.fixture
def command(monkeypatch, tmp_path):
    """Runs the command `test` up to the start of pytest; returns the command that would start it."""
    commands = []
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr(cli, "replace_process", lambda command: commands.append(command) or 0)
    monkeypatch.setattr("workshop.upkeep.run_tests.set_up_tests", lambda _: None)
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        assert cli.run(["test", *arguments]) == 0
        return commands[-1]

    return run


def test_other_options_go_to_pytest_and_slow_tests_run_only_with_all(command, monkeypatch):
    asked = command("-k", "iris", "--help", "-x", "--nbval-lax")
    assert asked[:3] == [sys.executable, "-m", "pytest"]
    assert asked[-5:] == ["-k", "iris", "--help", "-x", "--nbval-lax"]
    assert ROOT.samefile("."), "pytest finds its settings in the repository's root"
    assert "not slow" in asked
    assert not {"not slow", "--all"} & set(command("-x", "--all", "tests/tool/test_kit.py"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert not [option for option in command() if "dist" in option], "xdist isn't installed"


def write_notebook(file, folder):
    """Write a notebook whose output shows which apps it uses, and a port other than the stored one."""
    code = "import os\nfrom pathlib import Path\n"
    code += 'print("http://127.0.0.1:1234/", Path(os.environ["WORKSHOP_WORK"]).name)'
    output = nbformat.v4.new_output("stream", text=f"http://127.0.0.1:5678/ {folder}\n")
    cell = nbformat.v4.new_code_cell(code, execution_count=1, outputs=[output])
    file.parent.mkdir(parents=True)
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), file)


@pytest.fixture(scope="module")
def attendee(tmp_path_factory):
    """A function that calls a Python without the packages that only the tests need, and a repository."""
    home = tmp_path_factory.mktemp("attendee")
    repository = home / "repository"
    ignore = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints", "model", "instance")
    for name in ("workshop", "apps"):
        shutil.copytree(ROOT / name, repository / name, ignore=ignore)
    shutil.copytree(repository / "apps", repository / "work" / "apps")
    write_notebook(repository / "notebooks" / "small.ipynb", "repository")
    write_notebook(repository / "work" / "notebooks" / "small.ipynb", "work")
    (repository / "tests").mkdir()
    for name in ("conftest.py", "pyproject.toml", "requirements.txt", "tests/nbval_sanitize.cfg"):
        shutil.copy(ROOT / name, repository / name)
    for name, text in TESTS.items():
        (repository / "tests" / name).write_text(text, encoding="utf-8")
    # Python imports this file when it starts.
    hidden = f"import sys\nsys.modules.update(dict.fromkeys({HIDDEN}))\n"
    (home / "sitecustomize.py").write_text(hidden, encoding="utf-8")
    ours = ("PYTEST", "WORKSHOP_", "CI")
    variables = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    variables |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_PLUGINS": "nbval.plugin"}
    variables["PYTHONPATH"] = os.pathsep.join([str(home), str(repository)])

    def call(*arguments, cwd=home, **more):
        command, environ = [sys.executable, *arguments], variables | more
        return subprocess.run(command, cwd=cwd, env=environ, capture_output=True, encoding="utf-8")

    return call, repository


def passed(done, what):
    assert done.returncode == 0, done.stdout + done.stderr
    assert what in done.stdout


def test_without_the_packages_the_command_runs_what_does_not_need_them(attendee):
    call, _ = attendee
    done = call("-c", WITHOUT_PACKAGES, "tests", "notebooks")
    passed(done, "2 passed, 1 deselected")  # the notebook, the fast test and the slow one
    [line] = done.stderr.splitlines()
    assert MISSING in line
    assert "kit --with-tests" in line
    assert "2 test files were left out" in done.stdout
    in_ci = call("-c", WITHOUT_PACKAGES, "tests", CI="true")
    assert (in_ci.returncode, in_ci.stdout, in_ci.stderr) == (1, "", f"{MISSING}\n")


def test_plain_pytest_tests_a_learners_own_files_or_the_repositorys(attendee):
    call, repository = attendee
    notebook = repository / "work" / "notebooks" / "small.ipynb"
    passed(call("-m", "pytest", notebook.name, cwd=notebook.parent), "1 passed")
    folder = repository / "work" / "apps" / "01_hello"
    (folder / "app.py").write_text("changed = True\n", encoding="utf-8")
    (folder / "test_mine.py").write_text(TEST_OF_AN_APP, encoding="utf-8")
    passed(call("-m", "pytest", str(folder)), "1 passed")
    done = call("-m", "pytest", "--collect-only", "-q", ".", cwd=repository)
    assert "notebooks/small.ipynb::" in done.stdout
    assert "work/" not in done.stdout
