"""Stage 05: whatever way a prediction takes, it is the one that the trained pipeline makes.

The app adds up a table of weights. Here the table is compared with `predict_proba`, for one person and for
10,000, and whatever is not such a sum has to be refused.
"""

import csv
import io
import json
import math
import os
import sys
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from app_support import PERSON as ADA
from app_support import python
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
from werkzeug.test import EnvironBuilder, run_wsgi_app

from workshop import cli
from workshop.core.stages import load_app_module
from workshop.setup.process import ROOT

census_app = load_app_module("05_census")
census_csv = sys.modules["census_csv"]
census_model = sys.modules["census_model"]
PERSON, NUMBERS, CATEGORIES = census_model.FEATURES, census_model.NUMBERS, census_model.CATEGORIES

EXACT = 1e-12
BATCH = "/api/v1/predictions/batch"
# Each example is many people at once, because asking the pipeline is what takes the time. It is not
# made smaller where it fails: `assert_same` names the person.
searching = settings(
    max_examples=15, deadline=None, derandomize="CI" in os.environ, database=None, phases=[Phase.generate]
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(income, tmp_path_factory):
    return census_model.save(*income, tmp_path_factory.mktemp("census")).parent


def make_people(features, count):
    """People who don't exist, drawn from everything the model's card allows."""
    draw = np.random.default_rng(0)
    columns = {"age": draw.integers(17, 121, count), "hours_per_week": draw.integers(1, 169, count)}
    columns = {name: column.tolist() for name, column in columns.items()}
    for name in CATEGORIES:
        values = features[name]["categories"] + [None] * (name == "workclass")
        columns[name] = [values[i] for i in draw.integers(len(values), size=count)]
    return [{name: columns[name][i] for name in PERSON} for i in range(count)]


def by_pipeline(pipeline, people):
    """What scikit-learn says. Every column of words is one of objects, missing values are nan."""
    table = pd.DataFrame(people, columns=PERSON).astype(dict.fromkeys(CATEGORIES, object))
    table[CATEGORIES] = table[CATEGORIES].where(table[CATEGORIES].notna(), np.nan)
    return pipeline.predict_proba(table)[:, 1].tolist()


def assert_same(found, expected, asked):
    """Assert that all probabilities are those of the pipeline; else name one who has another."""
    assert len(found) == len(expected) == len(asked)
    apart = np.abs(np.subtract(found, expected))
    assert apart.max() < EXACT, asked[apart.argmax()]


def assert_agrees_on_people(model, expected, people):
    """Assert that the model says it of all at once and of some one by one, digit by digit, and why."""
    answers, errors = census_csv.score_people(model, pd.DataFrame(people, columns=PERSON))
    assert errors == []
    found = [probability for probability, _ in answers]
    assert_same(found, expected, people)
    one_by_one = [model.answer(each) for each in people[:100]]
    assert [(each.probability, each.label) for each in one_by_one] == answers[:100]
    for each, probability in zip(one_by_one, found, strict=False):
        assert list(each.contributions) == PERSON
        log_odds = model.card["intercept"] + sum(each.contributions.values())
        assert 1 / (1 + math.exp(-log_odds)) == pytest.approx(probability, abs=EXACT)


# The sums


@searching
@given(data=st.data())
def test_the_sums_predict_for_everybody_as_the_pipeline_does(income, folder, data):
    pipeline, card = income
    values = {"age": st.integers(17, 120), "hours_per_week": st.integers(1, 168)}
    for name in CATEGORIES:
        missing = [None, math.nan] if name == "workclass" else []
        values[name] = st.sampled_from([*missing, *card["features"][name]["categories"]])
    person = st.fixed_dictionaries({name: values[name] for name in PERSON})
    people = data.draw(st.lists(person, min_size=50, max_size=200))
    assert_agrees_on_people(census_model.load(folder), by_pipeline(pipeline, people), people)


def changed(census, change):
    """The workshop's pipeline, changed before it is trained."""
    pipeline = census_model.build_pipeline()
    change(pipeline)
    return pipeline.fit(census.train[PERSON], census.train["income"])


def turn_columns_round(pipeline):
    pipeline["prepare"].transformers = [
        (name, part, names[::-1]) for name, part, names in pipeline["prepare"].transformers
    ]


CHANGES = {
    "parts": lambda pipeline: pipeline["prepare"].transformers.reverse(),
    "columns": turn_columns_round,
    "settings": lambda p: p["classify"].set_params(C=0.01, class_weight="balanced"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_pipeline_in_another_order_has_the_right_table(census, income, tmp_path, change):
    pipeline = changed(census, change)
    census_model.save(pipeline, income[1], tmp_path)
    people = make_people(income[1]["features"], 300)
    assert_agrees_on_people(census_model.load(tmp_path), by_pipeline(pipeline, people), people)


def two_steps(classify, numbers=None):
    """A pipeline of two steps with the workshop's names, and something else in it."""
    fill = SimpleImputer(missing_values=pd.NA, strategy="constant", fill_value="missing")
    encode = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    one_hot = Pipeline(
        [("fill", fill), ("encode", encode), ("center", StandardScaler(with_std=False))]
    )
    parts = [("numbers", numbers or StandardScaler(), NUMBERS), ("categories", one_hot, CATEGORIES)]
    return Pipeline([("prepare", ColumnTransformer(parts)), ("classify", classify)])


ranks = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
squares = make_pipeline(StandardScaler(), PolynomialFeatures(2))
OTHERS = {
    "a tree": two_steps(DecisionTreeClassifier(max_depth=3)),
    "a forest": two_steps(RandomForestClassifier(3, max_depth=4)),
    "a calibrated one": two_steps(CalibratedClassifierCV(LogisticRegression(), cv=2)),
    "squares and products": two_steps(LogisticRegression(max_iter=1000), squares),
    "no pipeline of these parts": make_pipeline(ranks, DecisionTreeClassifier(max_depth=5)),
}


@pytest.mark.parametrize("name", [*OTHERS, "numbers that count twice", "one more category"])
def test_another_estimator_is_refused_and_nothing_is_written(census, income, tmp_path, name):
    card = json.loads(json.dumps(income[1]))
    if name in OTHERS:
        few = census.train[:1000]
        pipeline = OTHERS[name].fit(few[PERSON], few["income"])
    elif name == "one more category":
        pipeline = income[0]
        card["features"]["sex"]["categories"].append("Other")
    else:  # its table is read without a complaint, and answers otherwise
        twice = {"transformer_weights": {"numbers": 2}}
        pipeline = changed(census, lambda pipeline: pipeline["prepare"].set_params(**twice))
    with pytest.raises(census_model.ModelUnavailable) as refused:
        census_model.save(pipeline, card, tmp_path)
    assert name == "one more category" or "stage 07" in str(refused.value)
    assert str(refused.value).endswith("python3 -m workshop train 05")
    assert list(tmp_path.iterdir()) == []


def test_exported_data_trains_the_same_model(tmp_path, census, monkeypatch):
    monkeypatch.setattr(cli, "use_my_copy", lambda: None)
    monkeypatch.setattr("workshop.core.datasets.fetch_census", lambda: census)
    assert cli.run(["train", "05", "--export", str(tmp_path / "people.csv")]) == 0
    table = census_model.read_table(tmp_path / "people.csv")
    for part in ("train", "test"):
        exported = getattr(table, part).drop(columns="part")
        pd.testing.assert_frame_equal(exported, census[part], check_dtype=False)


# Serving


def test_serving_imports_nothing_that_trained_the_model_and_pandas_for_a_batch(folder):
    typed = {name: value for name, value in ADA.items() if name != "workclass"}
    code = f"""
import json, sys
import app
client = app.create_app({{"MODEL_FOLDER": {str(folder)!r}}}).test_client()
answers = [client.get(path) for path in ("/", "/model", "/healthz", "/openapi/openapi.json")]
answers.append(client.get("/probability", query_string={typed}))
answers.append(client.post("/api/v1/predictions", json={typed}))
heavy = sorted({{"joblib", "numpy", "pandas", "scipy", "sklearn"}} & set(sys.modules))
answers.append(client.post("{BATCH}", json={{"people": [{typed}]}}))
print(json.dumps([[each.status_code for each in answers], heavy, "sklearn" in sys.modules]))
"""
    done = python(ROOT / "apps" / "05_census", "-c", code)
    assert json.loads(done.stdout) == [[200] * 7, [], False], done.stderr


def ask(app, body, sent, wanted):
    """Ask an app as a server does, which sends each piece and forgets it; yield the pieces."""
    environ = EnvironBuilder(BATCH, method="POST", content_type=sent, data=body).get_environ()
    pieces, status, _ = run_wsgi_app(app, environ | {"HTTP_ACCEPT": wanted})
    assert status == "200 OK"
    yield from pieces


@pytest.mark.parametrize("wanted", ["application/json", "text/csv"])
@pytest.mark.parametrize("sent", ["application/json", "text/csv"])
def test_ten_thousand_people_in_one_call(folder, income, sent, wanted):
    people = make_people(income[1]["features"], 10_000)
    app = census_app.create_app({"MODEL_FOLDER": folder})
    body = json.dumps({"people": people}).encode()
    if sent == "text/csv":
        body = pd.DataFrame(people, columns=PERSON).to_csv(index=False).encode()
    told = b"".join(ask(app, body, sent, wanted)).decode()
    rows = (
        json.loads(told)["predictions"] if "json" in wanted else csv.DictReader(io.StringIO(told))
    )
    found = [float(row["probability"]) for row in rows]
    assert_same(found, by_pipeline(income[0], people), people)
    del told, found, rows

    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in ask(app, body, sent, wanted):
            pass
        assert tracemalloc.get_traced_memory()[1] - before < 10 * len(body)
    finally:
        tracemalloc.stop()
