"""`new`: a learner's table becomes a folder that works without the workshop."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from yours_support import FOLDER, PENGUINS, UNUSUAL, answers, served, unusual_table

from workshop.core.errors import WorkshopError
from workshop.learn.new_app import new_app


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of an app from a table with unusual columns, and the output while it was made."""
    said, folder = [], tmp_path_factory.mktemp("my apps")
    table, options = unusual_table(folder / "Tabelle.csv"), {"drop": ["class"], "model": "linear"}
    apps = folder / "work" / "apps"
    return new_app(
        "my-app_1", table, UNUSUAL[-1], say=said.append, apps_folder=apps, **options
    ), said


def test_new_makes_a_folder_that_answers_over_http(made):
    folder, said = made
    assert [path.name for path in folder.parent.iterdir()] == ["my-app_1"]
    assert (folder / "app.py").read_bytes() == (FOLDER / "app.py").read_bytes()
    assert all((folder / name).exists() for name in (".gitignore", ".github", "data.csv"))
    assert any("trivial answer" in line for line in said)
    assert said[-1].endswith("python3 -m workshop app my-app_1")
    readme = (folder / "README.md").read_text("utf-8")
    assert "title: my-app_1" in readme
    assert "train.py --model=linear --drop=class data.csv 'Ziel: ja/nein?'" in readme
    card = json.loads((folder / "model" / "card.json").read_text("utf-8"))
    assert ("class" in card["left_out"], card["estimator"]) == (True, "linear")
    with served(folder) as address:
        answers(address)
    assert len((folder / "log").read_text("utf-8").splitlines()) == 2


@pytest.mark.parametrize(
    ("name", "csv", "told"),
    [
        ("my-app_1", PENGUINS, "already"),
        ("../a", PENGUINS, "letters"),
        ("mine", PENGUINS, "The columns are: species"),
        ("mine", Path("nowhere.csv"), "nowhere.csv can't be read"),
        ("mine", PENGUINS.parent, "can't be read"),
    ],
)
def test_a_failed_new_is_a_sentence_and_leaves_nothing(made, name, csv, told):
    apps = made[0].parent
    before = sorted(apps.rglob("*"))
    with pytest.raises(WorkshopError, match=told) as failed:
        new_app(name, csv, "specie", say=str, apps_folder=apps)
    assert "\n" not in str(failed.value)
    assert sorted(apps.rglob("*")) == before


def test_an_interrupted_new_leaves_nothing(tmp_path):
    def interrupt(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        new_app("mine", PENGUINS, "species", say=interrupt, apps_folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


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
