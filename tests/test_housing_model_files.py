"""Stage 06's model file and its card: saved, damaged, mixed up, and trained in a copy of the folder."""

import hashlib
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import joblib
import pytest
from housing_support import BERKELEY, built, housing_app, housing_model, trained  # noqa: F401
from sklearn.ensemble import HistGradientBoostingRegressor

from workshop.setup.process import ROOT

# ruff: noqa: F811 (a fixture that is imported is asked for by its name)

ModelUnavailable = housing_model.ModelUnavailable
FOLDER = ROOT / "apps" / "06_housing"
MODEL, CARD = "housing.joblib", "housing.json"
IN_WORKSHOP, ALONE = "python3 -m workshop train 06", "python housing_model.py data.csv"


@pytest.fixture
def folder(built, tmp_path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "model"))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def refusal(folder: Path) -> str:
    """Why `load` refuses what is in a folder."""
    with pytest.raises(ModelUnavailable) as refused:
        housing_model.load(folder)
    return str(refused.value)


def client(folder: Path):
    config = {"MODEL_FOLDER": folder, "INSTANCE_FOLDER": folder.parent / "instance"}
    return housing_app.create_app(config | {"DATABASE_URL": None}).test_client()


def edit(folder: Path, **changes) -> None:
    """Change what the card says, by hand."""
    card = json.loads((folder / CARD).read_bytes()) | changes
    (folder / CARD).write_text(json.dumps(card), encoding="utf-8")


def forge(folder: Path, content: bytes) -> None:
    """Replace the model file, and make the card agree with it in every hash."""
    (folder / MODEL).write_bytes(content)
    edit(folder, sha256=hashlib.sha256(content).hexdigest())
    edit(folder, card_sha256=housing_model.hash_card(json.loads((folder / CARD).read_bytes())))


# Saving


def test_saving_leaves_the_two_files_and_nothing_else(built):
    files = contents(built)
    assert sorted(files) == [MODEL, CARD]
    assert json.loads(files[CARD])["sha256"] == hashlib.sha256(files[MODEL]).hexdigest()


@pytest.mark.parametrize(
    ("field", "part"),
    [("metrics", "r2"), ("data", "is_real"), ("interval", "margin_usd"), ("target", "max"),
     ("name", None), ("features", "latitude")],
)  # fmt: skip
def test_a_card_that_lacks_a_field_is_refused_by_name_before_anything_is_replaced(
    trained, folder, field, part
):
    card = json.loads(json.dumps(trained[1]))
    del (card[field] if part else card)[part or field]
    before = contents(folder)
    with pytest.raises(ModelUnavailable, match=part or field):
        housing_model.save(trained[0], card, folder)
    assert contents(folder) == before


class Other(HistGradientBoostingRegressor):
    """An estimator whose class only this file has."""


def of_another_class(trained):
    return trained[0] | {"low": Other(max_iter=2).fit([[1.0] * 8] * 50, range(50))}


@pytest.mark.parametrize(
    "make",
    [
        lambda trained: housing_model.build_estimators(),
        lambda trained: {"a": "dictionary"},
        lambda trained: {"price": trained[0]["price"]},
        of_another_class,
    ],
    ids=["unfitted", "no model", "one estimator", "another class"],
)
def test_what_the_app_could_not_use_is_refused_before_anything_is_replaced(trained, folder, make):
    before = contents(folder)
    with pytest.raises(ModelUnavailable, match=MODEL):
        housing_model.save(make(trained), trained[1], folder)
    assert contents(folder) == before


def test_a_save_that_stops_between_the_two_renames_leaves_nothing_that_is_opened(
    trained, folder, monkeypatch
):
    def stop(path, target, replace=Path.replace):
        if target.name == CARD:
            raise OSError("the power fails")
        return replace(path, target)

    other = trained[0] | {"low": trained[0]["high"]}
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", stop)
        with pytest.raises(OSError, match="the power fails"):
            housing_model.save(other, trained[1], folder)
    assert "is not the one its card describes" in refusal(folder)
    housing_model.save(*trained, folder)
    assert housing_model.load(folder).card["metrics"] == trained[1]["metrics"]


def test_anyone_who_reads_while_somebody_saves_looks_again(trained, folder, monkeypatch):
    other = trained[0] | {"low": trained[0]["high"]}
    newer = housing_model.save(other, trained[1] | {"name": "Newer"}, folder / "new").parent
    (newer / MODEL).replace(folder / MODEL)

    def let_the_saver_finish(seconds):
        if seconds:
            (newer / CARD).replace(folder / CARD)

    monkeypatch.setattr(housing_model.time, "sleep", let_the_saver_finish)
    assert housing_model.load(folder).card["name"] == "Newer"


# Loading what isn't whole


class Bait:
    """Opening a pickle of this creates a folder: proof that a pickle can run anything."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


def trained_with(scikit_learn: str) -> Callable[[Path], None]:
    return lambda folder: edit(folder, versions={"python": "3", "scikit_learn": scikit_learn})


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "nothing there": (lambda f: shutil.rmtree(f), "There is no trained model yet"),
    "card missing": (lambda f: (f / CARD).unlink(), "There is no trained model yet"),
    "model missing": (lambda f: (f / MODEL).unlink(), "There is no trained model yet"),
    "card is a folder": (lambda f: folder_instead(f / CARD), f"{CARD} can't be read"),
    "model is a folder": (lambda f: folder_instead(f / MODEL), f"{MODEL} can't be read"),
    "card empty": (lambda f: (f / CARD).write_bytes(b""), f"{CARD} is damaged"),
    "card not UTF-8": (lambda f: (f / CARD).write_bytes(b'{"stage": "\xff"}'), "is damaged"),
    "card nested too deep": (lambda f: (f / CARD).write_bytes(b"[" * 100_000), "is damaged"),
    "card a list": (lambda f: (f / CARD).write_bytes(b"[]"), "has no field stage"),
    "card incomplete": (lambda f: edit(f, metrics={}), "no field metrics > r2"),
    "card with nothing inside": (lambda f: edit(f, data=None), "no field data > source"),
    "card of another stage": (lambda f: edit(f, stage="01_hello"), "another stage"),
    "card that flatters": (
        lambda f: edit(f, name="The best model"),
        f"{CARD} has changed since it was saved",
    ),
    "other scikit-learn": (trained_with("0.24.2"), "install scikit-learn 0.24.2, or train again"),
    "model empty": (lambda f: (f / MODEL).write_bytes(b""), "is not the one its card describes"),
    "model of another thing": (
        lambda f: forge(f, pickle.dumps({"a": "dictionary"})),
        f"{MODEL} can't be used",
    ),
    "model of a class that is gone": (
        lambda f: forge(f, pickle.dumps(Bait).replace(b"Bait", b"Gone")),
        f"{MODEL} can't be used",
    ),
}


@pytest.mark.parametrize(("damage", "reason"), DAMAGE.values(), ids=DAMAGE)
def test_a_model_that_is_not_whole_is_refused_with_a_reason_and_a_remedy(folder, damage, reason):
    damage(folder)
    sentence = refusal(folder)
    assert reason in sentence
    assert sentence.endswith(IN_WORKSHOP)
    assert "\n" not in sentence
    assert str(folder) not in sentence
    visitor = client(folder)
    for path in ("/", "/model", "/predict?latitude=1", "/login", "/nothing"):
        page = visitor.get(path)
        assert page.status_code == 503
        assert IN_WORKSHOP in page.text
    told = visitor.post("/api/v1/predictions", json=BERKELEY)
    assert (told.status_code, told.mimetype) == (503, "application/problem+json")
    assert told.json["detail"] == sentence
    health = visitor.get("/healthz")
    assert health.status_code == 503
    assert health.json == {"status": "unavailable", "reason": sentence}
    assert visitor.get("/static/style.css").status_code == 200


def test_a_tampered_model_file_is_never_opened(folder, tmp_path):
    joblib.dump(Bait(tmp_path / "ran"), folder / MODEL)
    bait = (folder / MODEL).read_bytes()
    assert "is not the one its card describes" in refusal(folder)
    # The card's own hash protects the hash that it has of the model file.
    edit(folder, sha256=hashlib.sha256(bait).hexdigest())
    assert "has changed since it was saved" in refusal(folder)
    assert client(folder).get("/").status_code == 503
    assert not (tmp_path / "ran").exists()
    joblib.load(folder / MODEL)  # the bait is live: if you open it, it runs
    assert (tmp_path / "ran").exists()


# A copy of the folder, somewhere else


def run(folder: Path, *command: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *command], cwd=folder, capture_output=True, text=True, env=os.environ
    )


@pytest.fixture
def copied(tmp_path) -> Path:
    ignore = shutil.ignore_patterns("model", "instance", "__pycache__")
    return Path(shutil.copytree(FOLDER, tmp_path / "Büro Müller", ignore=ignore))


@pytest.fixture
def districts(copied) -> Path:
    """A short table in the form of the stand-in, next to the copy's files."""
    header, *rows = (ROOT / "data/housing_standin.csv").read_text("utf-8").splitlines()
    parts = {part: [row for row in rows if row.startswith(part)] for part in ("train", "test")}
    short = [header, *parts["train"][:300], *parts["test"][:100]]
    (copied / "districts.csv").write_text("\n".join(short), encoding="utf-8")
    return copied / "districts.csv"


def test_a_copy_of_the_folder_trains_from_a_csv_makes_its_database_and_serves(copied, districts):
    done = run(copied, "housing_model.py", districts.name)
    assert done.returncode == 0, done.stderr
    card = json.loads((copied / "model" / CARD).read_bytes())
    assert card["data"]["source"] == districts.name
    assert (card["data"]["rows_train"], card["data"]["rows_test"]) == (300, 100)
    made = run(copied, "-m", "flask", "--app", "app.py", "init-db")
    assert made.stdout == "Made the database.\n", made.stderr
    code = "from app import create_app; print(create_app().test_client().get('/healthz').json)"
    assert run(copied, "-c", code).stdout == "{'status': 'ok'}\n"


def test_a_copy_names_remedies_that_work_there(copied):
    code = """
from app import create_app
page = create_app().test_client().get("/")
print(page.status_code, page.text)
from housing_database import DatabaseUnavailable
print(DatabaseUnavailable("There is no database yet"))
"""
    done = run(copied, "-c", code)
    assert done.stdout.startswith("503"), done.stderr
    assert ALONE in done.stdout
    assert "There is no database yet; make it with flask --app app.py init-db" in done.stdout


@pytest.mark.parametrize("column", ["part", "latitude", "price"])
def test_a_table_that_lacks_a_column_is_refused_in_one_sentence(copied, districts, column):
    text = districts.read_text("utf-8")
    districts.write_text(text.replace(column, "unlike", 1), encoding="utf-8")
    done = run(copied, "housing_model.py", districts.name)
    assert done.returncode == 1
    assert re.fullmatch(f"No model was saved: the table has no column {column}.*\n", done.stderr)


def test_a_table_that_is_not_there_or_has_words_is_refused_in_one_sentence(copied, districts):
    words = districts.read_text("utf-8").replace("train,", "train,much", 1)
    districts.write_text(words, encoding="utf-8")
    for name in ("nothing.csv", districts.name):
        done = run(copied, "housing_model.py", name)
        assert done.returncode == 1
        assert re.fullmatch("No model was saved: .*\n", done.stderr)


def test_the_apps_own_requirements_are_the_locks_versions():
    locked = dict(re.findall(r"^([\w-]+)==([^ ]+)", (ROOT / "requirements.txt").read_text(), re.M))
    own = (FOLDER / "requirements.txt").read_text("utf-8").splitlines()
    pins = [re.sub(r"\[\w+\]", "", line) for line in own if not line.startswith("#")]
    assert len(pins) >= 10
    assert pins == [f"{name}=={locked[name]}" for name in (pin.split("==")[0] for pin in pins)]
