"""The learner's copy: it follows the repository, and never loses a learner's changes."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from serve_support import RUN

from workshop.core import stages
from workshop.core.stages import base, find_stage
from workshop.learn import my_copy as copies
from workshop.learn.my_copy import bring_up_to_date
from workshop.setup.process import ROOT

NOTEBOOK = "notebooks/01_hello.ipynb"
APP = "apps/01_hello/app.py"


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A small repository to copy from, instead of the real one."""
    root = tmp_path / "the workshop"
    for place in (NOTEBOOK, "notebooks/solutions/01_hello.py"):
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / place, root / place)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "apps/01_hello", root / "apps/01_hello", ignore=ignored)
    monkeypatch.setattr(copies, "ROOT", root)
    monkeypatch.setattr(copies, "COPIED", ("notebooks", "apps"))
    return root


@pytest.fixture
def copy(repository):
    bring_up_to_date(repository / "work")
    return repository / "work"


def contents(folder):
    files = [f for f in folder.rglob("*") if f.is_file() and "__pycache__" not in f.parts]
    return {f.relative_to(folder).as_posix(): (f.read_bytes(), f.stat().st_mtime_ns) for f in files}


def add_cell(file, text):
    """Do what a learner does: write a cell into a notebook, and save it."""
    notebook = json.loads(file.read_text(encoding="utf-8"))
    cell = {"cell_type": "markdown", "id": "mine", "metadata": {}, "source": [text]}
    notebook["cells"].append(cell)
    file.write_text(json.dumps(notebook), encoding="utf-8")


def append(file, text="# my line\n"):
    with file.open("a", encoding="utf-8") as target:
        target.write(text)


def assert_follows(copy, repository, *names):
    for name in names:
        assert (copy / name).read_bytes() == (repository / name).read_bytes(), name


def test_the_copy_holds_what_a_learner_opens_and_follows_the_repository(copy, repository):
    assert_follows(copy, repository, NOTEBOOK, APP, "notebooks/solutions/01_hello.py")
    notebook = json.loads((copy / NOTEBOOK).read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":  # as if the learner had only run it
            cell["outputs"], cell["execution_count"] = [], 99
    (copy / NOTEBOOK).write_text(json.dumps(notebook), encoding="utf-8")
    before = contents(copy)
    outcome = bring_up_to_date(copy)
    assert (outcome.kept, outcome.behind) == ([], [])
    assert contents(copy) == before, "there is nothing newer, so the outputs stay, too"
    append(repository / APP, "# newer\n")
    add_cell(repository / NOTEBOOK, "newer")
    (copy / "apps/01_hello/hello_pages.py").unlink()
    bring_up_to_date(copy)
    assert_follows(copy, repository, NOTEBOOK, APP, "apps/01_hello/hello_pages.py")


def test_what_the_learner_changed_stays_whatever_the_repository_does(copy, repository):
    deleted, mine = "apps/01_hello/hello_notes.py", [NOTEBOOK, APP, "apps/01_hello/hello_pages.py"]
    add_cell(copy / NOTEBOOK, "my note")
    for name in mine[1:]:
        append(copy / name)
    before = contents(copy)
    add_cell(repository / NOTEBOOK, "newer")
    for name in (mine[-1], deleted):
        (repository / name).unlink()
    for _ in range(2):  # it stays so, and is told again
        outcome = bring_up_to_date(copy)
        assert {path.as_posix() for path in outcome.kept} >= {APP, NOTEBOOK}
        assert [path.as_posix() for path in outcome.behind] == [NOTEBOOK]
        after = contents(copy)
        assert {name: after[name] for name in mine} == {name: before[name] for name in mine}
        assert deleted not in after


def test_with_a_damaged_record_nothing_of_the_learner_is_overwritten(copy):
    append(copy / APP)
    (copy / NOTEBOOK).write_text("{}", encoding="utf-8")  # damaged counts as changed
    mine = (copy / APP).read_bytes()
    (copy / copies.RECORD).write_bytes(b"{")
    outcome = bring_up_to_date(copy)
    assert (copy / APP).read_bytes() == mine
    assert {path.as_posix() for path in outcome.kept} == {APP, NOTEBOOK}


def test_the_folder_meant_is_named_by_the_variable_or_by_where_one_is(tmp_path, monkeypatch):
    monkeypatch.setattr(stages, "COPY", tmp_path / "work")
    (tmp_path / "work" / "notebooks").mkdir(parents=True)
    monkeypatch.setenv(stages.BASE, str(tmp_path))
    assert base() == tmp_path
    monkeypatch.delenv(stages.BASE)
    monkeypatch.chdir(tmp_path)
    assert base() == ROOT
    monkeypatch.chdir(tmp_path / "work" / "notebooks")  # as in a kernel of any program
    assert base() == tmp_path / "work"
    assert find_stage(4).app_file == tmp_path / "work/apps/04_iris/app.py"


# catch-up, as a command


def catch_up(work, *arguments):
    """Run `catch-up` on a copy in `work`; returns (exit code, what it said)."""
    run = subprocess.run(
        [sys.executable, "-c", RUN, "catch-up", *arguments],
        env=os.environ | {"WORKSHOP_WORK": str(work), "PYTHONUTF8": "1"},
        capture_output=True,
        encoding="utf-8",
    )
    assert "Traceback" not in run.stderr, run.stderr
    return run.returncode, run.stdout + run.stderr


def is_aside(work, name, content):
    """Whether a file with this content is in one of the folders that are named by the time."""
    return content in [file.read_bytes() for file in work.glob(f"aside/20*/{name}")]


def test_catch_up_builds_what_the_stages_before_would_have_built(tmp_path):
    work = tmp_path / "müde Leute" / "work"
    code, told = catch_up(work, "06")
    assert code == 0, told
    assert f"You are at the start of stage 06: open notebooks/06_housing.ipynb in {work}\n" in told
    for file in ("04_iris/model/iris.joblib", "05_census/model/census.joblib"):
        assert (work / "apps" / file).is_file()
    assert not (work / "apps/06_housing/model").exists(), "that is for stage 06 itself to build"
    for stage in stages.STAGES:
        files = [*stage.notebook_files, *stage.folder.glob("*.py"), *stage.folder.glob("*/*.html")]
        assert_follows(work, ROOT, *(file.relative_to(ROOT) for file in files))
    before = contents(work)
    code, told = catch_up(work, "6")
    assert (code, "Training" in told) == (0, False)
    assert contents(work) == before, "a second time changes nothing"


def test_fresh_restores_what_else_stays_as_changed_and_both_set_it_aside(tmp_path):
    work = tmp_path / "work"
    assert catch_up(work, "05")[0] == 0
    changed = ["notebooks/04_iris.ipynb", "apps/04_iris/app.py"]
    added = ["apps/04_iris/templates/mine.html", "apps/04_iris/model/iris.joblib"]
    add_cell(work / changed[0], "my note")
    append(work / changed[1])
    (work / added[0]).write_text("mine", encoding="utf-8")
    mine = {name: (work / name).read_bytes() for name in changed + added}

    code, told = catch_up(work, "04")
    assert code == 0
    for name in changed:
        assert f"  {name}: you have changed it, so it stays as it is\n" in told
    assert is_aside(work, changed[0], mine[changed[0]])
    assert {name: (work / name).read_bytes() for name in mine} == mine

    code, told = catch_up(work, "04", "--fresh")
    assert code == 0
    for name, content in mine.items():
        assert f"  {name}: restored to the original\n" in told
        assert is_aside(work, name, content)
    assert_follows(work, ROOT, *changed)
    assert not [name for name in added if (work / name).exists()]
    assert "restored to the original" not in catch_up(work, "04", "--fresh")[1]
