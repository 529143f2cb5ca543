"""Stage 07's notebook: its pieces run separately, its checks know typical mistakes, `rehearse` is a host."""

import contextlib
import shutil
import subprocess
import sys

import nbformat
import pytest
import requests
from exercise_support import assert_verdict, copy_of  # noqa: F401
from notebook_support import what_they_need

from workshop import check, rehearse
from workshop.core.errors import ServerDied
from workshop.core.stages import BASE, find_stage
from workshop.host import background
from workshop.learn.new_app import new_app
from workshop.setup.process import ROOT
from workshop.upkeep import refresh_notebooks

# ruff: noqa: F811 (a fixture that is imported is asked for by its name)

STAGE = find_stage("07")
[NOTEBOOK] = STAGE.notebook_files
APP = ROOT / "apps" / STAGE.slug
PENGUINS = ROOT / "data" / "penguins.csv"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The folder of a model of the penguins."""
    app = tmp_path_factory.mktemp("trained") / "app"
    shutil.copytree(APP, app, ignore=shutil.ignore_patterns("model"))
    train = [sys.executable, "train.py", "--model=linear", PENGUINS, "species"]
    subprocess.run(train, cwd=app, check=True, capture_output=True)
    return app / "model"


# `rehearse`


def test_rehearse_runs_the_folder_with_its_settings_and_no_others(tmp_path, model, monkeypatch):
    monkeypatch.setenv("TRUSTED_NAMES", "other.example")
    folder = tmp_path / "a folder"
    shutil.copytree(APP, folder, ignore=shutil.ignore_patterns("model"))
    shutil.copytree(model, folder / "model")
    with rehearse(folder, TRUSTED_NAMES="own.example", PREDICTION_LOG="log") as url:
        statuses = [
            requests.get(f"{url}/healthz", headers={"Host": host}, timeout=30).status_code
            for host in ("own.example", "localhost", "other.example")
        ]
    assert statuses == [200, 200, 400]
    assert (folder / "log").exists()
    with pytest.raises(requests.ConnectionError):
        requests.get(url, timeout=5)


def test_rehearse_says_why_a_folder_does_not_start(tmp_path):
    (tmp_path / "wsgi.py").write_text("raise SystemExit('not today')\n")
    with pytest.raises(ServerDied, match="not today"), rehearse(tmp_path):
        pass


# The notebook's pieces


def test_a_piece_stands_alone():
    """No cell of the third piece looks up a name that only an earlier piece defines."""
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    [begin] = [i for i, cell in enumerate(cells) if cell.source.startswith("## Third piece")]
    own = [cell for cell in cells[begin:] if cell.cell_type == "code"]
    assert len(own) >= 5
    assert what_they_need([cell for cell in cells if cell.cell_type == "code"], own) == own


def test_the_cells_that_a_piece_begins_with_run(tmp_path):
    """They are the same in each piece but for what is printed, so one piece's are enough."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    tagged = [c for c in notebook.cells if "begin-here" in c.metadata.get("tags", [])]
    first, *others = [cell for cell in tagged if cell.source.startswith("# Begin here")]
    assert len(others) == 2
    assert {cell.source for cell in others} == {first.source}
    notebook.cells = tagged[-2:]
    refresh_notebooks.run(notebook, NOTEBOOK.parent, NOTEBOOK.name)
    assert "344 rows" in notebook.cells[-1].outputs[0].text


# Exercise 07.1


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A learner's folder with two apps that `new` made, and one that it didn't make."""
    folder = tmp_path_factory.mktemp("own")
    iris = ROOT / "data" / "iris.csv"
    apps = {"flowers": (iris, "species"), "same": (PENGUINS, "species")}
    for name, source in (apps | {"weight": (PENGUINS, "body_mass_g")}).items():
        new_app(name, *source, model="linear", say=str, apps_folder=folder / "apps")
    typed = folder / "apps" / "typed"
    typed.mkdir()
    (typed / "app.py").write_text("app = None\n")
    return folder


@pytest.mark.parametrize(
    "answer, status, told",
    [
        (..., "not yet", ""),
        ("flowers", "solved", "0.1"),
        ("weight ", "solved", "body_mass_g from 7"),
        (7, "wrong", "in quotes"),
        ("flower", "wrong", "Your apps: flowers, same, typed, weight"),
        ("typed", "wrong", "has no model"),
        ("same", "wrong", "another table"),
    ],
)
def test_an_app_from_another_table_or_column_is_right(own, monkeypatch, answer, status, told):
    monkeypatch.setenv(BASE, str(own))
    verdict = check("07.1", answer)
    assert (verdict.status, told in verdict.message) == (status, True), verdict


def test_an_app_whose_tests_fail_is_named(own, monkeypatch, tmp_path):
    shutil.copytree(own / "apps" / "flowers", tmp_path / "apps" / "flowers")
    app = tmp_path / "apps" / "flowers" / "app.py"
    code = app.read_text(encoding="utf-8")
    app.write_text(code.replace('@app.route("/predict"', '@app.route("/guess"'), encoding="utf-8")
    monkeypatch.setenv(BASE, str(tmp_path))
    verdict = check("07.1", "flowers")
    assert verdict.status == "wrong"
    assert "test_the_form_gets_an_answer" in verdict.message


# Exercises 07.2 and 07.3


@pytest.fixture
def copy(copy_of, model, monkeypatch):
    """A copy of the app with a model. It isn't served: the checks run it by themselves."""
    monkeypatch.setattr(background, "running_app", lambda name: contextlib.nullcontext())
    made = copy_of("yours")
    shutil.rmtree(made.app / "model", ignore_errors=True)
    shutil.copytree(model, made.app / "model")
    return made


GOOD = 'assert client.post("/api/v1/predictions", json=row).status_code == 200'
BAD = 'bad = client.post("/api/v1/predictions", json=row | {"year": "long"})'
REFUSED = "assert bad.status_code == 422"


@pytest.mark.parametrize(
    "name, lines, status, hint",
    [
        ("mine", [GOOD, BAD, REFUSED], "not yet", "begins with `test_`"),
        ("test_mine", [GOOD, BAD, REFUSED], "solved", "test_mine passes"),
        ("test_mine", [GOOD], "wrong", "accepts every bad request"),
    ],
)
def test_a_test_is_worth_what_it_notices(copy, name, lines, status, hint):
    text = (copy.app / "test_app.py").read_text(encoding="utf-8")
    body = "\n    ".join(lines)
    copy.write("test_app.py", f"{text}\n\ndef {name}(client, row):\n    {body}\n")
    assert_verdict("07.2", status, hint)


CONFIG = "MAX_CONTENT_LENGTH=1024 * 1024)\n"
FOOTER = "Everything on this page comes from this app.\n"
SHOWN = "{% if config.CONTACT %}{{ config.CONTACT }}{% endif %}"


@pytest.mark.parametrize(
    "how, shown, status, hint",
    [
        ("", "", "not yet", "next to MODEL_FOLDER"),
        ('os.environ.get("CONTACT", "")', SHOWN, "solved", "isn't in any file"),
        ('os.environ.get("CONTACT", "")', "", "wrong", "doesn't show it"),
        ('os.environ.get("CONTACT", "")', SHOWN.replace("T }}", "T|safe }}"), "wrong", "safe"),
        ('"Ask Ana"', SHOWN, "wrong", "nothing in app.py reads"),
    ],
)
def test_a_setting_from_the_environment(copy, how, shown, status, hint):
    if how:
        copy.edit("app.py", "import json\n", "import json\nimport os\n")
        setting = f"    app.config.from_mapping(CONTACT={how})\n"
        copy.edit("app.py", CONFIG, CONFIG + setting)
    if shown:
        copy.edit("templates/base.html", FOOTER, f"{FOOTER}{shown}\n")
    assert_verdict("07.3", status, hint)
