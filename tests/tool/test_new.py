"""`new`: a learner's table becomes a folder that works without the workshop."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from yours_support import (
    FOLDER,
    HEADER,
    PENGUINS,
    UNUSUAL,
    answers,
    plain_rows,
    served,
    unusual_table,
    write,
)

from workshop.core.errors import WorkshopError
from workshop.learn.new_app import new_app


@pytest.fixture(scope="module")
def unusual(tmp_path_factory):
    """A table with unusual columns."""
    return unusual_table(tmp_path_factory.mktemp("t") / "Tabelle.csv")


@pytest.fixture(scope="module")
def made(unusual, tmp_path_factory):
    """The folder of an app, and the output while it was made."""
    said = []
    apps = tmp_path_factory.mktemp("my apps") / "work" / "apps"
    return new_app("my-app_1", unusual, UNUSUAL[-1], say=said.append, apps_folder=apps), said


def test_new_makes_a_folder_that_answers_over_http(made):
    folder, said = made
    assert [path.name for path in folder.parent.iterdir()] == ["my-app_1"]
    assert (folder / "app.py").read_bytes() == (FOLDER / "app.py").read_bytes()
    assert all((folder / name).exists() for name in (".gitignore", ".github", "data.csv"))
    assert any("trivial answer" in line for line in said)
    assert said[-1].endswith("python3 -m workshop app my-app_1")
    readme = (folder / "README.md").read_text("utf-8")
    assert "title: my-app_1" in readme
    assert "train.py data.csv 'Ziel: ja/nein?'" in readme
    with served(folder) as address:
        answers(address)
    assert len((folder / "log").read_text("utf-8").splitlines()) == 2


def test_a_name_that_exists_or_is_not_allowed_is_refused(made, unusual):
    folder, _ = made
    before = sorted(folder.parent.rglob("*"))
    for name, told in (("my-app_1", "already"), ("../a", "letters"), ("iris", "iris")):
        with pytest.raises(WorkshopError, match=told):
            new_app(name, unusual, UNUSUAL[-1], say=str, apps_folder=folder.parent)
    assert sorted(folder.parent.rglob("*")) == before


@pytest.mark.parametrize(
    ("csv", "told"),
    [(PENGUINS, "The columns are: species"), (Path("nowhere.csv"), "nowhere.csv can't be read"),
     (PENGUINS.parent, "can't be read")],
)  # fmt: skip
def test_a_failed_new_leaves_nothing(tmp_path, csv, told):
    with pytest.raises(WorkshopError) as failed:
        new_app("mine", csv, "specie", say=str, apps_folder=tmp_path)
    assert told in str(failed.value)
    assert "\n" not in str(failed.value)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_new_leaves_nothing(tmp_path):
    def interrupt(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        new_app("mine", PENGUINS, "species", say=interrupt, apps_folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_options_reach_the_training(tmp_path):
    csv = write(tmp_path / "t.csv", ["-x", *HEADER[1:]], plain_rows(60))
    options = {"task": "classes", "drop": ["-x"], "keep": ["y"], "model": "linear"}
    folder = new_app("mine", csv, "kind", say=str, apps_folder=tmp_path / "apps", **options)
    card = json.loads((folder / "model" / "card.json").read_text("utf-8"))
    assert list(card["left_out"]) == ["-x"]
    assert card["estimator"] == "linear"


def uv(*arguments, **options):
    return subprocess.run([sys.executable, "-m", "uv", *arguments], check=True, **options)


@pytest.mark.slow
def test_the_folder_works_elsewhere_in_its_own_environment(made, tmp_path):
    folder = shutil.copytree(made[0], tmp_path / "elsewhere")
    uv("venv", "--python", sys.executable, ".venv", cwd=folder)
    python = folder / ".venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    requirements = ("-r", "requirements.txt", "pytest")
    uv("pip", "install", "--python", str(python), *requirements, cwd=folder)
    shutil.rmtree(folder / "model")
    train = [python, "train.py", "data.csv", UNUSUAL[-1]]
    subprocess.run(train, cwd=folder, check=True)
    tests = subprocess.run([python, "-m", "pytest"], cwd=folder, capture_output=True, text=True)
    assert "3 passed" in tests.stdout, tests.stdout
    with served(folder, python) as address:
        answers(address)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("schema", "file"),
    [("compose-spec", "compose.yaml"), ("github-workflows", ".github/workflows/test.yml")],
)
def test_compose_and_workflow_follow_their_schemas(schema, file):
    schema = f"vendor.{schema}"
    uv("tool", "run", "check-jsonschema", "--builtin-schema", schema, str(FOLDER / file))
