"""Stage 05: every prediction is the trained pipeline's, whichever way it's calculated.

The app adds up a table of weights. Here the table is compared with `predict_proba`, and an estimator that is
no such sum has to be refused.
"""

import csv
import io
import json
import math
import sys
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from app_support import PERSON as ADA
from app_support import python
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
from sklearn.tree import DecisionTreeClassifier
from werkzeug.test import EnvironBuilder, run_wsgi_app

from workshop import cli
from workshop.core.stages import load_app_module
from workshop.setup.process import ROOT

census_app = load_app_module("05_census")
census_csv = sys.modules["census_csv"]
census_model = sys.modules["census_model"]
PERSON, CATEGORIES = census_model.FEATURES, census_model.CATEGORIES

EXACT = 1e-12
BATCH = "/api/v1/predictions/batch"


def make_people(features, count):
    """People who don't exist, drawn from everything the model's card allows."""
    draw = np.random.default_rng(0)
    columns = {"age": draw.integers(17, 121, count), "hours_per_week": draw.integers(1, 169, count)}
    columns = {name: column.tolist() for name, column in columns.items()}
    for name in CATEGORIES:
        values = features[name]["categories"] + [None] * (name == "workclass")
        columns[name] = [values[i] for i in draw.integers(len(values), size=count)]
    return [{name: columns[name][i] for name in PERSON} for i in range(count)]


def assert_predicted(pipeline, people, found):
    """Assert that all probabilities are the pipeline's; if not, name the person furthest off."""
    table = pd.DataFrame(people, columns=PERSON).astype(dict.fromkeys(CATEGORIES, object))
    table[CATEGORIES] = table[CATEGORIES].where(table[CATEGORIES].notna(), np.nan)
    apart = np.abs(pipeline.predict_proba(table)[:, 1] - found)
    assert apart.max() < EXACT, people[apart.argmax()]


def test_the_sums_predict_for_everybody_as_the_pipeline_does(census, income, tmp_path):
    """In a batch and one by one, with the same digits; and the contributions add up."""
    people = make_people(income[1]["features"], 5_000)
    people[0]["workclass"] = math.nan  # missing, as pandas has it
    other = census_model.build_pipeline().set_params(classify__class_weight="balanced")
    other["prepare"].transformers.reverse()
    other.fit(census.train[PERSON], census.train["income"])
    for pipeline in (income[0], other):
        census_model.save(pipeline, income[1], tmp_path)
        model = census_model.load(tmp_path)
        answers, errors = census_csv.score_people(model, pd.DataFrame(people, columns=PERSON))
        assert errors == []
        assert_predicted(pipeline, people, [share for share, _ in answers])
        for person, (share, label) in zip(people[:100], answers, strict=False):
            answer = model.answer(person)
            assert (answer.probability, answer.label) == (share, label)
            assert list(answer.contributions) == PERSON
            log_odds = model.card["intercept"] + sum(answer.contributions.values())
            assert 1 / (1 + math.exp(-log_odds)) == pytest.approx(share, abs=EXACT)


OTHERS = {
    "a tree": {"classify": DecisionTreeClassifier(max_depth=3)},
    "products": {"prepare__numbers": make_pipeline(StandardScaler(), PolynomialFeatures(2))},
    # Its table is read without a complaint, but the sums differ from the pipeline's.
    "numbers that count twice": {"prepare__transformer_weights": {"numbers": 2}},
    "one more category": {},
}


@pytest.mark.parametrize("name", OTHERS)
def test_another_estimator_is_refused_and_nothing_is_written(census, income, tmp_path, name):
    pipeline = census_model.build_pipeline().set_params(**OTHERS[name])
    pipeline.fit(census.train[PERSON], census.train["income"])
    card = json.loads(json.dumps(income[1]))
    if name == "one more category":
        card["features"]["sex"]["categories"].append("Other")
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


def test_serving_never_imports_scikit_learn_and_pandas_only_for_a_batch(census_folder):
    typed = {name: value for name, value in ADA.items() if name != "workclass"}
    code = f"""
import json, sys
import app
client = app.create_app({{"MODEL_FOLDER": {str(census_folder)!r}}}).test_client()
answers = [client.get(path) for path in ("/", "/model", "/healthz", "/openapi/openapi.json")]
answers.append(client.get("/probability", query_string={typed}))
answers.append(client.post("/api/v1/predictions", json={typed}))
heavy = sorted({{"joblib", "numpy", "pandas", "scipy", "sklearn"}} & set(sys.modules))
answers.append(client.post("{BATCH}", json={{"people": [{typed}]}}))
print(json.dumps([[each.status_code for each in answers], heavy, "sklearn" in sys.modules]))
"""
    done = python(ROOT / "apps" / "05_census", "-c", code)
    assert json.loads(done.stdout) == [[200] * 7, [], False], done.stderr


@pytest.mark.parametrize("kind", ["application/json", "text/csv"])
def test_ten_thousand_people_in_one_call_in_little_memory(census_folder, income, kind):
    people = make_people(income[1]["features"], 10_000)
    app = census_app.create_app({"MODEL_FOLDER": census_folder})
    body = json.dumps({"people": people}).encode()
    if kind == "text/csv":
        body = pd.DataFrame(people, columns=PERSON).to_csv(index=False).encode()

    def answer():
        """Call the app as a server does, which sends each piece and forgets it."""
        environ = EnvironBuilder(BATCH, method="POST", content_type=kind, data=body).get_environ()
        pieces, status, _ = run_wsgi_app(app, environ | {"HTTP_ACCEPT": kind})
        assert status == "200 OK"
        yield from pieces

    told = b"".join(answer()).decode()
    rows = json.loads(told)["predictions"] if "json" in kind else csv.DictReader(io.StringIO(told))
    assert_predicted(income[0], people, [float(row["probability"]) for row in rows])
    del told, rows
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in answer():
            pass
        assert tracemalloc.get_traced_memory()[1] - before < 10 * len(body)
    finally:
        tracemalloc.stop()
