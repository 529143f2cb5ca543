"""Stage 05: whatever way a prediction takes, it is the one that the trained pipeline makes.

The app adds up a table of weights. Here the table is compared with `predict_proba`, for one person and for
10,000, and whatever is not such a sum has to be refused.
"""

import csv
import io
import json
import math
import os
import shutil
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, PolynomialFeatures, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from workshop.core.datasets import fetch_census
from workshop.core.stages import load_app_module
from workshop.setup.process import ROOT

census_app = load_app_module("05_census")
census_csv = sys.modules["census_csv"]
census_model = sys.modules["census_model"]
PERSON = census_model.FEATURES
NUMBERS, CATEGORIES = census_model.NUMBERS, census_model.CATEGORIES

EXACT = 1e-12
ONE, BATCH = "/api/v1/predictions", "/api/v1/predictions/batch"
WITHOUT_EMPLOYER = {
    "age": 50,
    "workclass": None,
    "education": "Masters",
    "marital_status": "Married-civ-spouse",
    "race": "White",
    "sex": "Female",
    "hours_per_week": 45,
}

# Each example is many people at once, because asking the pipeline is what takes the time. It is not
# made smaller where it fails: `assert_same` names the person.
searching = settings(
    max_examples=15,
    deadline=None,
    derandomize="CI" in os.environ,
    database=None,
    phases=[Phase.generate],
)


def assert_same(found: list, expected: list, asked: list) -> None:
    """Assert that all probabilities are those of the pipeline; else name one who has another."""
    assert len(found) == len(expected) == len(asked)
    apart = np.abs(np.subtract(found, expected)).reshape(len(asked), -1).max(axis=1)
    assert apart.max() < EXACT, asked[apart.argmax()]


# Stage 05, its models and its people


@pytest.fixture(scope="module")
def census(tmp_path_factory):
    """The stand-in, which is the same everywhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("WORKSHOP_MIRROR", raising=False)
        patch.setenv("WORKSHOP_OFFLINE", "1")
        return fetch_census(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def income(census) -> tuple[Pipeline, dict]:
    """The pipeline of the workshop and its card."""
    return census_model.train(census)


@pytest.fixture(scope="module")
def census_folder(income, tmp_path_factory) -> Path:
    return census_model.save(*income, tmp_path_factory.mktemp("census")).parent


@pytest.fixture(scope="module")
def income_model(census_folder):
    return census_model.load(census_folder)


def people_of(features: dict) -> st.SearchStrategy[list[dict]]:
    """Everybody whom the API and the form take, with both forms of a missing value."""
    values = {"age": st.integers(17, 120), "hours_per_week": st.integers(1, 168)}
    for name in CATEGORIES:
        known = features[name]["categories"]
        missing = [None, math.nan] if name == "workclass" else []
        values[name] = st.sampled_from([*missing, *known])
    person = st.fixed_dictionaries({name: values[name] for name in PERSON})
    return st.lists(person, min_size=50, max_size=200)


def make_people(features: dict, count: int) -> list[dict]:
    """People who don't exist, drawn from everything the model's card allows."""
    draw = np.random.default_rng(0)
    columns = {
        "age": draw.integers(17, 121, count).tolist(),
        "hours_per_week": draw.integers(1, 169, count).tolist(),
    }
    for name in CATEGORIES:
        values = features[name]["categories"] + [None] * (name == "workclass")
        columns[name] = [values[i] for i in draw.integers(len(values), size=count)]
    return [{name: columns[name][i] for name in PERSON} for i in range(count)]


def by_pipeline(pipeline: Pipeline, people: list[dict], names: list[str] = PERSON) -> list[float]:
    """What scikit-learn says. Every column of words is one of objects, missing values are nan."""
    table = pd.DataFrame(people, columns=names).astype(dict.fromkeys(CATEGORIES, object))
    table[CATEGORIES] = table[CATEGORIES].where(table[CATEGORIES].notna(), np.nan)
    return pipeline.predict_proba(table[names])[:, 1].tolist()


def assert_agrees_on_people(model, expected: list[float], people: list[dict], alone=200) -> None:
    """Assert that the model says it of all at once and of the first few one by one, digit by digit."""
    answers, errors = census_csv.score_people(model, pd.DataFrame(people, columns=PERSON))
    assert errors == []
    found = [probability for probability, _ in answers]
    assert_same(found, expected, people)
    one_by_one = [model.answer(each) for each in people[:alone]]
    assert [each.probability for each in one_by_one] == found[:alone]
    assert [(each.probability, each.label) for each in one_by_one] == answers[:alone]
    for each, probability in zip(one_by_one, found, strict=False):
        assert list(each.contributions) == PERSON
        log_odds = model.card["intercept"] + sum(each.contributions.values())
        assert 1 / (1 + math.exp(-log_odds)) == pytest.approx(probability, abs=EXACT)


# The sums


@searching
@given(data=st.data())
def test_the_sums_predict_for_everybody_as_the_pipeline_does(income, income_model, data):
    pipeline, card = income
    people = data.draw(people_of(card["features"]))
    assert_agrees_on_people(income_model, by_pipeline(pipeline, people), people)


def test_the_table_has_a_weight_for_every_category_and_for_a_missing_one(income, income_model):
    weights = income_model.card["weights"]
    assert list(weights) == [*NUMBERS, *CATEGORIES] or set(weights) == set(PERSON)
    for name in NUMBERS:
        assert set(weights[name]) == {"slope", "mean"}
    for name in CATEGORIES:
        known = income[1]["features"][name]["categories"]
        assert set(weights[name]) == {*known, census_model.MISSING}


def few_of(census, pipeline: Pipeline) -> Pipeline:
    few = census.train[:1000]
    return pipeline.fit(few[PERSON], few["income"])


def prepared(census, change) -> Pipeline:
    """The workshop's pipeline, changed before it is trained."""
    pipeline = census_model.build_pipeline()
    change(pipeline)
    return pipeline.fit(census.train[PERSON], census.train["income"])


def turn_parts_round(pipeline: Pipeline) -> None:
    pipeline["prepare"].transformers.reverse()


def turn_columns_round(pipeline: Pipeline) -> None:
    pipeline["prepare"].transformers = [
        (name, part, names[::-1]) for name, part, names in pipeline["prepare"].transformers
    ]


def regularize(pipeline: Pipeline) -> None:
    pipeline["classify"].set_params(C=0.01, class_weight="balanced")


def double_the_numbers(pipeline: Pipeline) -> None:
    pipeline["prepare"].set_params(transformer_weights={"numbers": 2})


@pytest.mark.parametrize("change", [turn_parts_round, turn_columns_round, regularize])
def test_a_pipeline_in_another_order_has_the_right_table(census, income, tmp_path, change):
    pipeline = prepared(census, change)
    census_model.save(pipeline, income[1], tmp_path)
    model = census_model.load(tmp_path)
    people = make_people(model.card["features"], 300)
    assert_agrees_on_people(model, by_pipeline(pipeline, people), people, alone=20)


def two_steps(classify, numbers=None) -> Pipeline:
    """A pipeline of two steps with the workshop's names, and something else in it."""
    one_hot = Pipeline(
        [
            (
                "fill",
                SimpleImputer(missing_values=pd.NA, strategy="constant", fill_value="missing"),
            ),
            ("encode", OneHotEncoder(handle_unknown="ignore", sparse_output=False)),
            ("center", StandardScaler(with_std=False)),
        ]
    )
    prepare = ColumnTransformer(
        [("numbers", numbers or StandardScaler(), NUMBERS), ("categories", one_hot, CATEGORIES)]
    )
    return Pipeline([("prepare", prepare), ("classify", classify)])


ranks = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
OTHERS = {
    "a tree": two_steps(DecisionTreeClassifier(max_depth=3)),
    "a forest": two_steps(RandomForestClassifier(3, max_depth=4)),
    "a calibrated one": two_steps(CalibratedClassifierCV(LogisticRegression(), cv=2)),
    "squares and products": two_steps(
        LogisticRegression(max_iter=1000), make_pipeline(StandardScaler(), PolynomialFeatures(2))
    ),
    "no pipeline of these parts": make_pipeline(ranks, DecisionTreeClassifier(max_depth=5)),
}


@pytest.mark.parametrize("pipeline", OTHERS.values(), ids=OTHERS)
def test_another_estimator_is_refused_and_the_old_model_stays(
    census, income, census_folder, tmp_path, pipeline
):
    folder = copy_with(census_folder, tmp_path / "model", lambda card: card)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(census_model.ModelUnavailable, match="stage 07") as refused:
        census_model.save(few_of(census, pipeline), income[1], folder)
    assert str(refused.value).endswith("python3 -m workshop train 05")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_table_that_answers_otherwise_than_the_pipeline_is_refused(census, income, tmp_path):
    pipeline = prepared(census, double_the_numbers)  # its table is read without a complaint
    with pytest.raises(census_model.ModelUnavailable, match="stage 07"):
        census_model.save(pipeline, income[1], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_table_edited_by_hand_is_refused(census_folder, tmp_path):
    def change(card: dict) -> dict:
        card["weights"]["sex"]["Female"] += 0.5
        return card

    folder = copy_with(census_folder, tmp_path / "model", change)
    with pytest.raises(census_model.ModelUnavailable, match="has changed since it was saved"):
        census_model.load(folder)


def copy_with(folder: Path, copy: Path, change) -> Path:
    """Copy a model, with another card."""
    copy.mkdir()
    for path in folder.iterdir():
        content = path.read_bytes()
        if path.suffix == ".json":
            content = json.dumps(change(json.loads(content))).encode()
        (copy / path.name).write_bytes(content)
    return copy


# What serving needs


SERVE = """
import json
import sys
from pathlib import Path

from workshop.core.stages import load_app_module

folder, body = Path(sys.argv[1]), json.loads(sys.argv[2])
client = load_app_module("05_census").create_app({"MODEL_FOLDER": folder}).test_client()
typed = {name: value for name, value in body.items() if value is not None}
answers = [client.get(path) for path in ("/", "/model", "/healthz", "/openapi/openapi.json")]
answers.append(client.get("/probability", query_string=typed))
answers.append(client.post("/api/v1/predictions", json=body))
heavy = {"joblib", "numpy", "pandas", "scipy", "sklearn"}
first = sorted(heavy & set(sys.modules))
answers.append(client.post("/api/v1/predictions/batch", json={"people": [body]}))
print(json.dumps([[each.status_code for each in answers], first, "sklearn" in sys.modules]))
"""


def test_serving_imports_nothing_that_trained_the_model_and_pandas_for_a_batch(census_folder):
    done = subprocess.run(
        [sys.executable, "-c", SERVE, census_folder, json.dumps(WITHOUT_EMPLOYER)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    statuses, heavy, sklearn = json.loads(done.stdout)
    assert set(statuses) == {200}
    assert heavy == []
    assert not sklearn


# Ten thousand at once


@pytest.fixture(scope="module")
def crowd(income) -> tuple[list[dict], list[float]]:
    """10,000 people, and what the pipeline says of them."""
    people = make_people(income[1]["features"], 10_000)
    return people, by_pipeline(income[0], people)


def as_csv(people: list[dict]) -> bytes:
    table = io.StringIO(newline="")
    rows = csv.DictWriter(table, PERSON)
    rows.writeheader()
    rows.writerows(people)
    return table.getvalue().encode()


def call(app, body: bytes, sent: str, wanted: str) -> tuple[str, Iterable[bytes]]:
    """Ask an app as a server does; return the status, and the answer in pieces."""
    environ = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": BATCH,
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "CONTENT_TYPE": sent,
        "CONTENT_LENGTH": str(len(body)),
        "HTTP_ACCEPT": wanted,
    }
    statuses = []
    pieces = app(environ, lambda status, headers: statuses.append(status))
    return statuses[0], pieces


def read_answers(body: bytes, wanted: str) -> list[float]:
    if wanted == "application/json":
        return [each["probability"] for each in json.loads(body)["predictions"]]
    return [float(row["probability"]) for row in csv.DictReader(io.StringIO(body.decode()))]


@pytest.mark.parametrize("wanted", ["application/json", "text/csv"])
@pytest.mark.parametrize("sent", ["application/json", "text/csv"])
def test_ten_thousand_people_in_one_call(census_folder, crowd, sent, wanted):
    people, expected = crowd
    app = census_app.create_app({"MODEL_FOLDER": census_folder})
    body = as_csv(people) if sent == "text/csv" else json.dumps({"people": people}).encode()
    status, pieces = call(app, body, sent, wanted)
    assert status == "200 OK"
    found = read_answers(b"".join(pieces), wanted)
    assert_same(found, expected, people)
    del pieces, found

    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        _, pieces = call(app, body, sent, wanted)
        for _ in pieces:  # a server sends each piece and forgets it
            pass
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert peak < 10 * len(body)


# Bodies that are no batch


def took(client, body: bytes, kind: str) -> tuple[float, int, str]:
    """Seconds of the processor for one batch, its status and what it says."""
    began = time.process_time()
    response = client.post(BATCH, data=body, content_type=kind)
    return time.process_time() - began, response.status_code, response.text


@pytest.fixture(scope="module")
def client(census_folder):
    client = census_app.create_app({"MODEL_FOLDER": census_folder}).test_client()
    client.post(BATCH, json={"people": []})  # imports pandas
    return client


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"[" + b"{}," * 2_700_000, "application/json"),
        (b"\n" * 8_000_000, "text/csv"),
        (b"," * 8_000_000, "text/csv"),
        (b",".join([b"x"] * 110_000), "text/csv"),
    ],
    ids=["empty objects", "empty lines", "empty cells", "110,000 columns"],
)
def test_a_body_of_too_many_values_is_refused_in_no_time(client, body, kind):
    seconds, status, _ = took(client, body, kind)
    assert status == 422
    assert seconds < 0.25


def test_a_column_that_the_model_does_not_know_is_carried_along(client, income_model):
    table = ",".join(["name", *PERSON, "note"]) + "\nAda,"
    table += ",".join(str(value or "") for value in WITHOUT_EMPLOYER.values()) + ',"a, b"\n'
    headers = {"Accept": "text/csv"}
    answer = client.post(BATCH, data=table, content_type="text/csv", headers=headers)
    header, row = csv.reader(io.StringIO(answer.text))
    assert header == ["name", *PERSON, "note", "probability", "label"]
    assert (row[0], row[-3]) == ("Ada", "a, b")
    person = {name: WITHOUT_EMPLOYER[name] for name in PERSON}
    assert float(row[-2]) == income_model.answer(person).probability


@pytest.mark.parametrize("name", ["probability", "label"])
def test_a_column_of_an_answers_name_is_refused_by_name(client, name):
    table = ",".join([*PERSON, name]) + "\n"
    answer = client.post(BATCH, data=table, content_type="text/csv")
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json["errors"]] == [name]


# The folder by itself


def test_the_folder_alone_trains_by_its_own_command_and_serves(tmp_path):
    ignored = shutil.ignore_patterns("model", "__pycache__")
    alone = Path(shutil.copytree(ROOT / "apps" / "05_census", tmp_path / "Büro", ignore=ignored))
    shutil.copy(ROOT / "data" / "census_standin.csv", alone)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "WORKSHOP"))}

    def python(*command: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, *command],
            cwd=alone,
            env=environment | {"PYTHONUTF8": "1"},
            capture_output=True,
            text=True,
            encoding="utf-8",
        )

    ask = f"""
import app, json
client = app.create_app().test_client()
answer = client.post("/api/v1/predictions", json={WITHOUT_EMPLOYER})
print(json.dumps([client.get("/healthz").json, answer.status_code]))
"""
    health, status = json.loads(python("-c", ask).stdout)
    assert health["reason"].endswith("python census_model.py data.csv")
    assert status == 503
    done = python("census_model.py", "census_standin.csv")
    assert done.returncode == 0, done.stderr
    assert json.loads(python("-c", ask).stdout) == [{"status": "ok"}, 200]
    (alone / "data.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    refused = python("census_model.py", "data.csv")
    assert refused.returncode == 1
    assert "column part" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_exported_data_trains_the_same_model(tmp_path, census, monkeypatch):
    from workshop import cli

    monkeypatch.delenv("WORKSHOP_MIRROR", raising=False)
    monkeypatch.setenv("WORKSHOP_OFFLINE", "1")
    monkeypatch.setattr(cli, "use_my_copy", lambda: None)
    monkeypatch.setattr("workshop.core.datasets.fetch_census", lambda: census)
    file = tmp_path / "people.csv"
    cli.run(["train", "05", "--export", str(file)])
    table = census_model.read_table(file)
    pd.testing.assert_frame_equal(table.train.drop(columns="part"), census.train, check_dtype=False)
    pd.testing.assert_frame_equal(table.test.drop(columns="part"), census.test, check_dtype=False)
