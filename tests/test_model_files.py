"""Stage 04's model file and its card: saved, damaged, mixed up, and made by other estimators."""

import hashlib
import json
import logging
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
from disk_support import NO_DISK, can_make_a_disk, run_on_small_disk
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC, LinearSVC

from workshop.core.datasets import read_iris
from workshop.core.stages import load_app_module
from workshop.setup.process import ROOT

iris_app = load_app_module("04_iris")
iris_model = sys.modules["iris_model"]
FEATURES, ModelUnavailable = iris_model.FEATURES, iris_model.ModelUnavailable

FOLDER = ROOT / "apps" / "04_iris"
MODEL, CARD = "iris.joblib", "iris.json"
IN_WORKSHOP, ALONE = "python3 -m workshop train 04", "python iris_model.py data.csv"
SETOSA = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}
SPECIES = ["setosa", "versicolor", "virginica"]


@pytest.fixture(scope="module")
def flowers() -> pd.DataFrame:
    return read_iris()


@pytest.fixture(scope="module")
def trained(flowers):
    return iris_model.train(flowers)


@pytest.fixture(scope="module")
def built(trained, tmp_path_factory) -> Path:
    """A folder with a whole model; a test that damages it uses `folder`, a copy."""
    return iris_model.save(*trained, tmp_path_factory.mktemp("model")).parent


@pytest.fixture
def folder(built, tmp_path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "model"))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def refusal(folder: Path) -> str:
    """Why `load` refuses what is in a folder."""
    with pytest.raises(ModelUnavailable) as refused:
        iris_model.load(folder)
    return str(refused.value)


def client(folder: Path):
    return iris_app.create_app({"MODEL_FOLDER": folder}).test_client()


# Saving


def test_saving_leaves_the_two_files_and_nothing_else(built):
    files = contents(built)
    assert sorted(files) == [MODEL, CARD]
    card = json.loads(files[CARD])
    assert card["sha256"] == hashlib.sha256(files[MODEL]).hexdigest()
    assert len(card["card_sha256"]) == 64


def test_saving_replaces_an_older_model(flowers, trained, folder):
    newer = trained[1] | {"name": "The newer one"}
    iris_model.save(trained[0], newer, folder)
    assert iris_model.load(folder).card["name"] == "The newer one"
    assert sorted(contents(folder)) == [MODEL, CARD]


@pytest.mark.parametrize(
    ("field", "part"),
    [("metrics", "accuracy"), ("data", "rows_train"), ("versions", "scikit_learn"), ("name", None),
     ("features", "petal_width"), ("classes", None)],
)  # fmt: skip
def test_a_card_that_lacks_a_field_is_refused_by_name_before_anything_is_replaced(
    trained, folder, field, part
):
    card = json.loads(json.dumps(trained[1]))
    del (card[field] if part else card)[part or field]
    before = contents(folder)
    with pytest.raises(ModelUnavailable, match=part or field):
        iris_model.save(trained[0], card, folder)
    assert contents(folder) == before


def unfitted(flowers):
    return iris_model.build_pipeline()


def no_model(flowers):
    return {"a": "dictionary"}


def of_other_columns(flowers):
    return LogisticRegression(max_iter=500).fit(
        flowers[FEATURES].rename(columns=str.upper), flowers["species"]
    )


def of_other_classes(flowers):
    return RandomForestClassifier(3).fit(flowers[FEATURES], flowers["species"] == "setosa")


@pytest.mark.parametrize("make", [unfitted, no_model, of_other_columns, of_other_classes])
def test_what_the_app_could_not_use_is_refused_while_the_notebook_is_open(
    flowers, trained, folder, make
):
    before = contents(folder)
    with pytest.raises(ModelUnavailable, match=MODEL):
        iris_model.save(make(flowers), trained[1], folder)
    assert contents(folder) == before


def test_a_function_of_the_notebook_is_refused_too(flowers, trained, tmp_path):
    """The notebook could load it again, and the app could not."""
    code = """
import numpy as np
import pandas as pd
from pathlib import Path
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
import iris_model

def logarithm(table):
    return np.log1p(table)

flowers = pd.read_csv(iris_model.sys.argv[1])
_, card = iris_model.train(flowers)
own = make_pipeline(FunctionTransformer(logarithm), LogisticRegression())
own.fit(flowers[iris_model.FEATURES], flowers["species"])
try:
    iris_model.save(own, card, Path(iris_model.sys.argv[2]))
except iris_model.ModelUnavailable as problem:
    print(problem)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, ROOT / "data" / "iris.csv", tmp_path],
        cwd=FOLDER,
        capture_output=True,
        text=True,
    )
    assert "function or class" in done.stdout, done.stderr
    assert not (tmp_path / MODEL).exists()


@pytest.mark.skipif(not can_make_a_disk(), reason=NO_DISK)
def test_a_full_disk_stops_training_with_one_sentence_and_leaves_the_old_model(tmp_path):
    """No monkeypatch: a file system of 1 MB, with room for the model file but not for its card."""
    work = tmp_path / "work"
    shutil.copytree(FOLDER, work / "apps" / "04_iris", ignore=shutil.ignore_patterns("model"))
    model = work / "apps" / "04_iris" / "model"
    model.mkdir()
    code = f"""
from workshop.cli import run
folder = Path({str(model)!r})
def train():
    status = run(["train", "04"])
    print(status, sorted(path.name for path in folder.iterdir()))
train()
old = (folder / "iris.json").read_bytes()
fill(folder)
with open(folder / "filler", "r+b") as filler:
    filler.truncate((folder / "filler").stat().st_size - 16384)
train()
print((folder / "iris.json").read_bytes() == old)
make_room(folder)
(folder / "iris.json").unlink()
train()
"""
    done = run_on_small_disk(model, code, WORKSHOP_WORK=str(work))
    whole = f"['{MODEL}', '{CARD}']"
    lines = [line for line in done.stdout.splitlines() if not line.startswith("04_iris: ")]
    full = f"['filler', '{MODEL}', '{CARD}']"
    assert lines == [f"0 {whole}", f"1 {full}", "True", f"0 {whole}"], done.stderr
    told = done.stderr.splitlines()
    (sentence,) = (line for line in told if line != "04_iris: training ...")
    assert "(No space left on device)" in sentence


KILLED = """
import sys
from pathlib import Path

import pandas as pd
import psutil

import iris_model

_, data, folder, moment = sys.argv

def before_rename(event, details):
    if event == "os.rename" and Path(details[1]).name == moment:
        psutil.Process().kill()

estimator, card = iris_model.train(pd.read_csv(data))
sys.addaudithook(before_rename)
iris_model.save(estimator, card | {"name": "The killed one"}, Path(folder))
"""


@pytest.mark.parametrize("moment", [MODEL, CARD], ids=["before the first", "between the two"])
def test_a_kill_while_saving_leaves_the_old_model_or_one_that_nobody_opens(folder, moment):
    """`kill -9`, or what Windows has for it, before each of the two renames."""
    # A model in other bytes, or a kill between the two renames would change nothing.
    other = RandomForestClassifier(2).fit(read_iris()[FEATURES], read_iris()["species"])
    iris_model.save(other, json.loads((folder / CARD).read_bytes()), folder)
    before = contents(folder)
    command = [sys.executable, "-c", KILLED, ROOT / "data" / "iris.csv", folder, moment]
    assert subprocess.run(command, cwd=FOLDER).returncode not in (0, 1)
    if moment == CARD:
        assert "is not the one its card describes" in refusal(folder)
        assert (folder / CARD).read_bytes() == before[CARD]
    else:
        assert {name: (folder / name).read_bytes() for name in before} == before


def test_who_reads_while_somebody_saves_looks_again(flowers, trained, folder, monkeypatch):
    other = RandomForestClassifier(2).fit(flowers[FEATURES], flowers["species"])
    newer = iris_model.save(other, trained[1] | {"name": "The newer one"}, folder / "new").parent
    (newer / MODEL).replace(folder / MODEL)
    waited = []

    def let_the_saver_finish(seconds):
        if seconds:
            waited.append(seconds)
            (newer / CARD).replace(folder / CARD)

    monkeypatch.setattr(iris_model.time, "sleep", let_the_saver_finish)
    assert iris_model.load(folder).card["name"] == "The newer one"
    assert len(waited) == 1


# Loading what isn't whole


class Bait:
    """Opening a pickle of this creates a folder: proof that a pickle can run anything."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def edit(folder: Path, **changes) -> None:
    """Change what the card says, by hand."""
    card = json.loads((folder / CARD).read_bytes()) | changes
    (folder / CARD).write_text(json.dumps(card), encoding="utf-8")


def rehash(folder: Path, **changes) -> None:
    """Change what the card says, and make it look as if `save` had written it."""
    card = json.loads((folder / CARD).read_bytes()) | changes
    edit(folder, **changes, card_sha256=iris_model.hash_card(card))


def forge(folder: Path, content: bytes) -> None:
    """Replace the model file, and make the card agree with it in every hash."""
    (folder / MODEL).write_bytes(content)
    rehash(folder, sha256=hashlib.sha256(content).hexdigest())


def folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


def number_as_text(folder: Path) -> None:
    data = json.loads((folder / CARD).read_bytes())["data"]
    edit(folder, data=data | {"rows_train": str(data["rows_train"])})


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


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
    "card a number": (lambda f: (f / CARD).write_bytes(b"3"), "has no field stage"),
    "card incomplete": (lambda f: edit(f, metrics={}), "no field metrics > accuracy"),
    "card with nothing inside": (lambda f: edit(f, data=None), "no field data > source"),
    "card without features": (lambda f: edit(f, features={}), "features > sepal_length > unit"),
    "card with one feature more": (
        lambda f: rehash(f, features={**iris_model.load(f).card["features"], "hue": {}}),
        "other features",
    ),
    "card of another stage": (lambda f: edit(f, stage="01_hello"), "another stage"),
    "card with a number as text": (number_as_text, f"{CARD} has changed since it was saved"),
    "card with nan": (lambda f: edit(f, name=float("nan")), "has changed since it was saved"),
    "card that flatters": (
        lambda f: edit(f, metrics={"accuracy": 1.0, "confusion_matrix": []}),
        "has changed since it was saved",
    ),
    "model cut": (lambda f: cut(f / MODEL), f"{MODEL} is not the one its card describes"),
    "model empty": (lambda f: (f / MODEL).write_bytes(b""), "is not the one its card describes"),
    "model swapped": (
        lambda f: joblib.dump({"another": "model"}, f / MODEL),
        "is not the one its card describes",
    ),
    "model of another thing": (
        lambda f: forge(f, pickle.dumps({"a": "dictionary"})),
        f"{MODEL} can't be used",
    ),
    "model that can't be opened": (lambda f: forge(f, b"\x80\x04"), f"{MODEL} can't be used"),
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
    for path in ("/", "/home", "/model", "/classify", "/nothing"):
        page = visitor.get(path)
        assert page.status_code == 503
        assert IN_WORKSHOP in page.text
        assert "Traceback" not in page.text
    told = visitor.post("/api/predict", json=SETOSA)
    assert (told.status_code, told.mimetype) == (503, "application/problem+json")
    assert told.json["detail"] == sentence
    health = visitor.get("/healthz")
    assert (health.status_code, health.json) == (
        503,
        {"status": "unavailable", "reason": sentence},
    )
    assert visitor.get("/static/style.css").status_code == 200


def test_the_cause_of_a_failed_load_is_in_the_log(folder, caplog):
    forge(folder, pickle.dumps(Bait).replace(b"Bait", b"Gone"))
    client(folder)
    assert "AttributeError" in caplog.text
    assert "Gone" in caplog.text


def test_a_tampered_model_file_is_never_opened(folder, tmp_path):
    joblib.dump(Bait(tmp_path / "ran"), folder / MODEL)
    bait = (folder / MODEL).read_bytes()
    assert "is not the one its card describes" in refusal(folder)
    assert client(folder).get("/").status_code == 503
    # The card's own hash protects the hash that it has of the model file.
    edit(folder, sha256=hashlib.sha256(bait).hexdigest())
    assert "has changed since it was saved" in refusal(folder)
    assert not (tmp_path / "ran").exists()
    joblib.load(folder / MODEL)  # the bait is live: if you open it, it runs
    assert (tmp_path / "ran").exists()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="needs to become nobody")
@pytest.mark.parametrize("name", [MODEL, CARD])
def test_files_that_may_not_be_read(built, name):
    code = """
import os, sys
from pathlib import Path
import iris_model
os.setuid(65534)  # root may read everything, "nobody" may not
try:
    iris_model.load(Path(sys.argv[1]))
except iris_model.ModelUnavailable as problem:
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
    assert read.stdout.endswith(f"{IN_WORKSHOP}\n")


# Versions


def test_another_minor_release_of_scikit_learn_is_refused_with_two_ways_out(folder):
    edit(folder, versions={"python": "3.11.0", "scikit_learn": "0.24.2"})
    sentence = refusal(folder)
    assert "trained with scikit-learn 0.24.2, but " + sklearn.__version__ in sentence
    assert "install scikit-learn 0.24.2, or" in sentence
    assert sentence.endswith(IN_WORKSHOP)
    assert "install scikit-learn 0.24.2, or" in client(folder).get("/").text


def test_another_patch_release_is_a_line_in_the_log(folder, caplog):
    patch = ".".join(sklearn.__version__.split(".")[:2]) + ".99"
    rehash(folder, versions={"python": "3.11.0", "scikit_learn": patch})
    iris_model.load(folder)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert patch in record.getMessage()


def test_another_python_is_no_reason_to_refuse(folder):
    rehash(folder, versions={"python": "3.6.1", "scikit_learn": sklearn.__version__})
    assert iris_model.load(folder).card["versions"]["python"] == "3.6.1"


# Other estimators, with the same card


WITH_PROBABILITIES = {
    "a bare forest": RandomForestClassifier(5, random_state=0),
    "neighbors": make_pipeline(StandardScaler(), KNeighborsClassifier(7)),
    "a calibrated one": CalibratedClassifierCV(LogisticRegression(max_iter=500), cv=2),
    "logarithms": make_pipeline(FunctionTransformer(np.log1p), LogisticRegression()),
    "a search": GridSearchCV(LogisticRegression(max_iter=500), {"C": [1]}, cv=2),
}


def ask(folder: Path, flower: dict = SETOSA) -> dict:
    return client(folder).post("/api/predict", json=flower).json


@pytest.mark.parametrize("estimator", WITH_PROBABILITIES.values(), ids=WITH_PROBABILITIES)
def test_any_estimator_answers_on_the_page_and_to_the_api(flowers, trained, folder, estimator):
    training, test = train_test_split(flowers, random_state=0)
    estimator.fit(training[FEATURES], training["species"])
    iris_model.save(estimator, trained[1], folder)
    model = iris_model.load(folder)
    some = test.head(8)[FEATURES]
    for flower, shares, species in zip(
        some.to_dict("records"), estimator.predict_proba(some), estimator.predict(some), strict=True
    ):
        answer = model.answer(flower)
        assert answer.species == species
        assert list(answer.probabilities) == SPECIES
        assert list(answer.probabilities.values()) == pytest.approx(shares.tolist(), abs=1e-12)
    assert ask(folder)["species"] == estimator.predict(pd.DataFrame([SETOSA]))[0]
    page = client(folder).post("/classify", data=SETOSA)
    assert page.status_code == 200
    assert "How sure is the model?" in page.text


@pytest.mark.parametrize(
    "names", [FEATURES[::-1], FEATURES[2:], FEATURES[3:]], ids=["turned", "petals", "one"]
)
def test_an_estimator_may_use_fewer_columns_in_another_order(flowers, trained, folder, names):
    estimator = iris_model.build_pipeline().fit(flowers[names], flowers["species"])
    iris_model.save(estimator, trained[1], folder)
    expected = estimator.predict_proba(pd.DataFrame([SETOSA])[names])[0].tolist()
    assert list(ask(folder)["probabilities"].values()) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    "estimator",
    [LinearSVC(), make_pipeline(StandardScaler(), SVC())],
    ids=["bare", "in a pipeline"],
)
def test_without_probabilities_page_and_api_give_the_class_alone(
    flowers, trained, folder, estimator
):
    estimator.fit(flowers[FEATURES], flowers["species"])
    iris_model.save(estimator, trained[1], folder)
    assert ask(folder) == {"species": "setosa"}
    page = client(folder).post("/classify", data=SETOSA)
    assert page.status_code == 200
    assert "<h1>Predicted species: Setosa</h1>" in page.text
    assert "How sure is the model?" not in page.text


def numbered(flowers: pd.DataFrame, **codes) -> pd.DataFrame:
    return flowers.assign(species=flowers["species"].map(codes))


@pytest.mark.parametrize(
    "codes", [(0, 1, 2), (1, 2, 3), (10, 20, 30)], ids=["from 0", "from 1", "tens"]
)
def test_classes_may_be_numbers(flowers, trained, folder, codes):
    table = numbered(flowers, **dict(zip(SPECIES, codes, strict=True)))
    estimator, card = iris_model.train(table)
    assert card["classes"] == list(codes)
    assert card["metrics"] == trained[1]["metrics"]
    assert np.sum(card["metrics"]["confusion_matrix"]) == 38
    iris_model.save(estimator, card, folder)
    answer = ask(folder)
    assert answer["species"] == codes[0]
    assert list(answer["probabilities"]) == [str(code) for code in codes]
    page = client(folder).post("/classify", data=SETOSA)
    assert page.status_code == 200
    assert f"Predicted species: {codes[0]}" in page.text
    assert client(folder).get("/model").status_code == 200


def test_classes_may_be_true_and_false(flowers, folder):
    table = flowers.assign(species=flowers["species"] == "setosa")
    iris_model.save(*iris_model.train(table), folder)
    answer = ask(folder)
    assert answer["species"] is True
    assert list(answer["probabilities"]) == ["false", "true"]
    assert client(folder).post("/classify", data=SETOSA).status_code == 200


# A table that does not fit names the line to change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda t: t.rename(columns={"petal_width": "width"}), "no column petal_width.*FEATURES"),
        (lambda t: t.drop(columns="species"), "no column species.*TARGET in iris_model.py"),
        (lambda t: t.assign(petal_width="wide"), "petal_width.*FEATURES in iris_model.py"),
        (lambda t: t.assign(petal_width=t.petal_width * 100), "AT_MOST in iris_model.py"),
        (lambda t: t.assign(petal_width=0.0), "ABOVE and AT_MOST"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_with_the_line_to_change(flowers, change, reason):
    with pytest.raises(ValueError, match=reason):
        iris_model.train(change(flowers))


# The folder alone


@pytest.fixture
def alone(tmp_path) -> Path:
    """The app's folder, copied out of the workshop, with the data in it."""
    ignored = shutil.ignore_patterns("model", "__pycache__")
    copy = Path(shutil.copytree(FOLDER, tmp_path / "Büro Müller", ignore=ignored))
    shutil.copy(ROOT / "data" / "iris.csv", copy)
    return copy


def python(folder: Path, *command: str) -> subprocess.CompletedProcess:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "WORKSHOP"))}
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=environment | {"PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
        encoding="utf-8",
    )


def test_the_folder_alone_trains_by_its_own_command_and_serves(alone):
    done = python(alone, "iris_model.py", "iris.csv")
    assert done.returncode == 0, done.stderr
    assert "0.974" in done.stdout
    assert json.loads((alone / "model" / CARD).read_bytes())["data"]["source"] == "iris.csv"
    code = (
        "import app; client = app.create_app().test_client(); "
        f"print(client.post('/api/predict', json={SETOSA}).json['species'])"
    )
    assert python(alone, "-c", code).stdout == "setosa\n"


def test_the_folder_alone_names_its_own_command(alone):
    code = "import app; print(app.create_app().test_client().get('/healthz').json['reason'])"
    assert python(alone, "-c", code).stdout.strip().endswith(ALONE)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file"),
        (b"", "No columns"),
        (b"a,b\n1,2\n", "change FEATURES and TARGET in iris_model.py"),
        (b"\xff\xfe\x00", "can't decode"),
    ],
    ids=["missing", "empty", "of something else", "not text"],
)
def test_a_table_that_cannot_be_used_is_one_sentence(alone, content, reason):
    if content is not None:
        (alone / "data.csv").write_bytes(content)
    done = python(alone, "iris_model.py", "data.csv")
    assert done.returncode == 1
    assert reason in done.stderr
    assert "Traceback" not in done.stderr
    assert not (alone / "model").exists()


WINE = {
    "iris_model.py": [
        ('UNIT = "cm"', 'UNIT = ""'),
        ('TARGET = "species"', 'TARGET = "cultivar"'),
        ("ABOVE, AT_MOST = 0, 30", "ABOVE, AT_MOST = 0, 2000"),
        (
            "from sklearn.linear_model import LogisticRegression\n",
            "from sklearn.ensemble import RandomForestClassifier\n",
        ),
        (
            'Pipeline([("scale", StandardScaler()), ("classify", LogisticRegression())])',
            "RandomForestClassifier(random_state=0)",
        ),
    ],
    "app.py": [
        ("from iris_picture import picture\n", ""),
        ("    app.add_template_global(picture)\n", ""),
    ],
}


def test_a_copy_for_wine_with_a_forest_and_no_pipeline(alone):
    """13 features, one of them no Python name; classes that are numbers; no Pipeline."""
    from sklearn.datasets import load_wine

    wine = load_wine(as_frame=True).frame.rename(columns={"target": "cultivar"})
    wine.to_csv(alone / "wine.csv", index=False)
    features = list(wine.columns[:-1])

    first = python(alone, "iris_model.py", "wine.csv").stderr
    assert "FEATURES and TARGET in iris_model.py" in first

    changes = dict(WINE)
    listed = f"FEATURES = {json.dumps(iris_model.FEATURES)}"
    changes["iris_model.py"] = [(listed, f"FEATURES = {features!r}"), *WINE["iris_model.py"]]
    for name, pairs in changes.items():
        text = (alone / name).read_text("utf-8")
        for old, new in pairs:
            if old.startswith("ABOVE"):
                (alone / name).write_text(text, "utf-8")
                second = python(alone, "iris_model.py", "wine.csv").stderr
                assert "ABOVE and AT_MOST in iris_model.py" in second
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        if name == "app.py":
            third = python(alone, "-m", "flask", "--app", "app.py", "routes").stderr
            assert "iris_picture.py" in third
            (alone / "iris_picture.py").unlink()
        (alone / name).write_text(text, "utf-8")
        if name == "iris_model.py":
            trained = python(alone, "iris_model.py", "wine.csv")
            assert trained.returncode == 0, trained.stderr

    typical = wine[features].median().to_dict()
    code = f"""
import app, json
client = app.create_app().test_client()
typical = {typical}
pages = [client.get("/"), client.get("/model"), client.post("/classify", data=typical)]
refused = client.post("/classify", data=typical | {{"proline": "2001"}})
answer = client.post("/api/predict", json=typical)
print(json.dumps([[each.status_code for each in [*pages, refused, answer]], answer.json]))
"""
    statuses, answer = json.loads(python(alone, "-c", code).stdout)
    assert statuses == [200, 200, 200, 422, 200]
    assert answer["species"] in (0, 1, 2)
    assert list(answer["probabilities"]) == ["0", "1", "2"]
