"""Stage 05's model file and its card: saved, damaged, mixed up, replaced; and what the app says then.

Which pipelines can be saved at all is in `test_prediction_path.py`.
"""

import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import joblib
import pytest
import sklearn
from sklearn.utils import Bunch

from workshop.core.datasets import fetch_census
from workshop.core.stages import load_app_module
from workshop.setup.process import ROOT

census_app = load_app_module("05_census")
census_model = sys.modules["census_model"]
ModelUnavailable = census_model.ModelUnavailable

FOLDER = ROOT / "apps" / "05_census"
MODEL, CARD = "census.joblib", "census.json"
REMEDY = "python3 -m workshop train 05"
PERSON = {
    "age": 39,
    "workclass": "State-gov",
    "education": "Bachelors",
    "marital_status": "Never-married",
    "race": "White",
    "sex": "Male",
    "hours_per_week": 40,
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A pipeline and its card; a few rows will do, because what the model says is not tested here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("WORKSHOP_MIRROR", raising=False)
        patch.setenv("WORKSHOP_OFFLINE", "1")
        census = fetch_census(tmp_path_factory.mktemp("data"))
    few = {"train": census.train.head(1000), "test": census.test.head(200)}
    return census_model.train(Bunch(**census | few))


@pytest.fixture(scope="module")
def built(trained, tmp_path_factory) -> Path:
    """A folder with a whole model; a test that damages it uses `folder`, a copy."""
    return census_model.save(*trained, tmp_path_factory.mktemp("model")).parent


@pytest.fixture
def folder(built, tmp_path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "model"))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def refusal(folder: Path) -> str:
    """Why `load` refuses what is in a folder."""
    with pytest.raises(ModelUnavailable) as refused:
        census_model.load(folder)
    return str(refused.value)


def client(folder: Path):
    return census_app.create_app({"MODEL_FOLDER": folder}).test_client()


def edit(folder: Path, **changes) -> None:
    """Change what the card says, by hand."""
    card = json.loads((folder / CARD).read_bytes()) | changes
    (folder / CARD).write_text(json.dumps(card), encoding="utf-8")


def rehash(folder: Path, **changes) -> None:
    """Change what the card says, and make it look as if `save` had written it."""
    card = json.loads((folder / CARD).read_bytes()) | changes
    edit(folder, **changes, card_sha256=census_model.hash_card(card))


# Saving


def test_saving_leaves_the_two_files_and_nothing_else(built):
    files = contents(built)
    assert sorted(files) == [MODEL, CARD]
    assert json.loads(files[CARD])["sha256"] == hashlib.sha256(files[MODEL]).hexdigest()
    # A class of this repository inside the pickle would tie it to a module that may move.
    assert b"census_" not in files[MODEL]
    assert b"__main__" not in files[MODEL]


def test_saving_replaces_an_older_model(trained, folder):
    census_model.save(trained[0], trained[1] | {"name": "The newer one"}, folder)
    assert census_model.load(folder).card["name"] == "The newer one"
    assert sorted(contents(folder)) == [MODEL, CARD]


@pytest.mark.parametrize(
    ("field", "part"),
    [("metrics", "roc_auc"), ("data", "rows_train"), ("versions", "scikit_learn"), ("name", None),
     ("features", "sex"), ("classes", None)],
)  # fmt: skip
def test_a_card_that_lacks_a_field_is_refused_by_name_before_anything_is_replaced(
    trained, folder, field, part
):
    card = json.loads(json.dumps(trained[1]))
    del (card[field] if part else card)[part or field]
    before = contents(folder)
    with pytest.raises(ModelUnavailable, match=part or field):
        census_model.save(trained[0], card, folder)
    assert contents(folder) == before


def test_a_category_that_the_pipeline_does_not_know_is_refused(trained, folder):
    card = json.loads(json.dumps(trained[1]))
    card["features"]["sex"]["categories"].append("Other")
    before = contents(folder)
    with pytest.raises(ModelUnavailable):
        census_model.save(trained[0], card, folder)
    assert contents(folder) == before


KILLED = """
import json
import sys
from pathlib import Path

import joblib
import psutil

import census_model

_, folder, moment = sys.argv

def before_rename(event, details):
    if event == "os.rename" and Path(details[1]).name == moment:
        psutil.Process().kill()

pipeline = joblib.load(Path(folder, "census.joblib"))
pipeline.killed = "in other bytes"
card = json.loads(Path(folder, "census.json").read_bytes())
sys.addaudithook(before_rename)
census_model.save(pipeline, card | {"name": "The killed one"}, Path(folder))
"""


@pytest.mark.parametrize("moment", [MODEL, CARD], ids=["before the first", "between the two"])
def test_a_kill_while_saving_leaves_the_old_model_or_one_that_nobody_uses(folder, moment):
    """`kill -9`, or what Windows has for it, before each of the two renames."""
    before = contents(folder)
    killed = subprocess.run([sys.executable, "-c", KILLED, folder, moment], cwd=FOLDER)
    assert killed.returncode not in (0, 1)
    if moment == CARD:
        assert "is not the one its card describes" in refusal(folder)
        assert (folder / CARD).read_bytes() == before[CARD]
    else:
        assert {name: (folder / name).read_bytes() for name in before} == before


def test_who_reads_while_somebody_saves_looks_again(trained, folder, monkeypatch):
    pipeline = joblib.load(folder / MODEL)
    pipeline.newer = "in other bytes"
    card = trained[1] | {"name": "The newer one"}
    newer = census_model.save(pipeline, card, folder / "new").parent
    (newer / MODEL).replace(folder / MODEL)
    waited = []

    def let_the_saver_finish(seconds):
        if seconds:
            waited.append(seconds)
            (newer / CARD).replace(folder / CARD)

    monkeypatch.setattr(census_model.time, "sleep", let_the_saver_finish)
    assert census_model.load(folder).card["name"] == "The newer one"
    assert len(waited) == 1


# Loading what isn't whole


def folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def weights_of(folder: Path) -> dict:
    return json.loads((folder / CARD).read_bytes())["weights"]


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "nothing there": (lambda f: shutil.rmtree(f), "There is no trained model yet"),
    "card missing": (lambda f: (f / CARD).unlink(), "There is no trained model yet"),
    "model missing": (lambda f: (f / MODEL).unlink(), "There is no trained model yet"),
    "card is a folder": (lambda f: folder_instead(f / CARD), f"{CARD} can't be read"),
    "model is a folder": (lambda f: folder_instead(f / MODEL), f"{MODEL} can't be read"),
    "card empty": (lambda f: (f / CARD).write_bytes(b""), f"{CARD} is damaged"),
    "card cut": (lambda f: cut(f / CARD), f"{CARD} is damaged"),
    "card not UTF-8": (lambda f: (f / CARD).write_bytes(b'{"stage": "\xff"}'), "is damaged"),
    "card nested too deep": (lambda f: (f / CARD).write_bytes(b"[" * 100_000), "is damaged"),
    "card a list": (lambda f: (f / CARD).write_bytes(b"[]"), "has no field stage"),
    "card incomplete": (lambda f: edit(f, metrics={}), "no field metrics > accuracy"),
    "card without a table": (lambda f: edit(f, weights={}), "no field weights > age"),
    "card with nothing inside": (lambda f: edit(f, data=None), "no field data > source"),
    "card of another stage": (lambda f: edit(f, stage="01_hello"), "another stage"),
    "card that flatters": (
        lambda f: edit(f, intercept=0.0),
        f"{CARD} has changed since it was saved",
    ),
    "table edited by hand": (
        lambda f: edit(f, weights=weights_of(f) | {"age": {"slope": 1.0, "mean": 0.0}}),
        f"{CARD} has changed since it was saved",
    ),
    "table of nonsense": (
        lambda f: rehash(f, weights=weights_of(f) | {"age": None}),
        f"{CARD} can't be used",
    ),
    "model cut": (lambda f: cut(f / MODEL), f"{MODEL} is not the one its card describes"),
    "model empty": (lambda f: (f / MODEL).write_bytes(b""), "is not the one its card describes"),
    "model swapped": (
        lambda f: joblib.dump({"another": "model"}, f / MODEL),
        "is not the one its card describes",
    ),
}


@pytest.mark.parametrize(("damage", "reason"), DAMAGE.values(), ids=DAMAGE)
def test_a_model_that_is_not_whole_is_refused_with_a_reason_and_a_remedy(folder, damage, reason):
    damage(folder)
    sentence = refusal(folder)
    assert reason in sentence
    assert sentence.endswith(REMEDY)
    assert "\n" not in sentence
    assert str(folder) not in sentence
    visitor = client(folder)
    for path in ("/", "/home", "/model", "/probability", "/nothing"):
        page = visitor.get(path)
        assert page.status_code == 503
        assert REMEDY in page.text
        assert "Traceback" not in page.text
    for path in ("/api/v1/predictions", "/api/v1/predictions/batch"):
        told = visitor.post(path, json=PERSON)
        assert (told.status_code, told.mimetype) == (503, "application/problem+json")
        assert told.json["detail"] == sentence
    health = visitor.get("/healthz")
    assert (health.status_code, health.json) == (
        503,
        {"status": "unavailable", "reason": sentence},
    )
    assert visitor.get("/static/style.css").status_code == 200


class Bait:
    """Opening a pickle of this creates a folder: proof that a pickle can run anything."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_the_app_opens_no_model_file_tampered_or_not(folder, tmp_path):
    joblib.dump(Bait(tmp_path / "ran"), folder / MODEL)
    assert "is not the one its card describes" in refusal(folder)
    bait = (folder / MODEL).read_bytes()
    edit(folder, sha256=hashlib.sha256(bait).hexdigest())
    assert "has changed since it was saved" in refusal(folder)
    rehash(folder, sha256=hashlib.sha256(bait).hexdigest())
    assert client(folder).post("/api/v1/predictions", json=PERSON).status_code == 200
    assert not (tmp_path / "ran").exists()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="needs to become nobody")
@pytest.mark.parametrize("name", [MODEL, CARD])
def test_files_that_may_not_be_read(built, name):
    code = """
import email.parser, os, sys  # the parser for the version of scikit-learn, which nobody can't read
from pathlib import Path
import census_model
os.setuid(65534)  # root may read everything, "nobody" may not
try:
    census_model.load(Path(sys.argv[1]))
except census_model.ModelUnavailable as problem:
    print(problem)
"""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(shutil.copytree(built, Path(place, "model")))
        for path in (Path(place), folder):
            path.chmod(0o755)
        for path in folder.iterdir():
            path.chmod(0o000 if path.name == name else 0o644)
        command = [sys.executable, "-c", code, folder]
        read = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True)
    assert read.stdout.startswith(f"The file {name} can't be read (Permission denied); "), read


# Versions


def test_another_minor_release_of_scikit_learn_is_refused_with_two_ways_out(folder):
    edit(folder, versions={"python": "3.11.0", "scikit_learn": "0.24.2"})
    sentence = refusal(folder)
    assert "trained with scikit-learn 0.24.2, but " + sklearn.__version__ in sentence
    assert "install scikit-learn 0.24.2, or" in sentence
    assert sentence.endswith(REMEDY)


def test_another_patch_release_is_a_line_in_the_log(folder, caplog):
    patch = ".".join(sklearn.__version__.split(".")[:2]) + ".99"
    rehash(folder, versions={"python": "3.11.0", "scikit_learn": patch})
    census_model.load(folder)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert patch in record.getMessage()


def test_another_python_is_no_reason_to_refuse(folder):
    rehash(folder, versions={"python": "3.6.1", "scikit_learn": sklearn.__version__})
    assert census_model.load(folder).card["versions"]["python"] == "3.6.1"
