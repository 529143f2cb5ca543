"""Stage 04's notebook: its steps give the app's model, its checks know the typical mistakes."""

import json
import sys
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from exercise_in_process import quickly  # noqa: F401
from exercise_support import copy_of, judge  # noqa: F401
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from workshop import check
from workshop.core.datasets import read_iris
from workshop.core.stages import load_app_module
from workshop.setup.process import ROOT

# ruff: noqa: F811 (a fixture that is imported is asked for by its name)

iris_app = load_app_module("04_iris")
iris_model = sys.modules["iris_model"]

NOTEBOOK = ROOT / "notebooks" / "04_iris.ipynb"
PETALS = ["petal_length", "petal_width"]
flowers = read_iris()
training, test = train_test_split(flowers, random_state=0)


@pytest.fixture
def notebook_names(monkeypatch) -> dict[str, object]:
    """What the notebook's cells with the tag `model-steps` define, run in its folder."""
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    monkeypatch.chdir(ROOT / "notebooks")
    monkeypatch.setattr(sys, "path", list(sys.path))
    names: dict[str, object] = {}
    for cell in cells:
        if "model-steps" in cell["metadata"].get("tags", []):
            exec("".join(cell["source"]), names)  # noqa: S102 (the notebook is ours)
    return names


def test_notebook_steps_give_the_model_of_the_app(notebook_names):
    own = notebook_names["pipeline"]
    pipeline, card = iris_model.train(flowers)

    assert [(name, type(step)) for name, step in own.steps] == [
        (name, type(step)) for name, step in pipeline.steps
    ]
    assert [step.get_params() for _, step in own.steps] == [
        step.get_params() for _, step in pipeline.steps
    ]
    np.testing.assert_array_equal(own["scale"].mean_, pipeline["scale"].mean_)
    np.testing.assert_array_equal(own["classify"].coef_, pipeline["classify"].coef_)
    np.testing.assert_array_equal(own["classify"].intercept_, pipeline["classify"].intercept_)
    assert notebook_names["FEATURES"] == iris_model.FEATURES
    assert notebook_names["card"] == card


def test_app_serves_the_notebooks_model(notebook_names, tmp_path):
    iris_model.save(notebook_names["pipeline"], notebook_names["card"], tmp_path)
    client = iris_app.create_app({"MODEL_FOLDER": tmp_path}).test_client()
    flower = test[iris_model.FEATURES].iloc[0].to_dict()

    answer = client.post("/api/predict", json=flower).get_json()

    shares = notebook_names["pipeline"].predict_proba(pd.DataFrame([flower]))[0]
    assert list(answer["probabilities"].values()) == pytest.approx(shares, abs=1e-12)


@pytest.mark.parametrize("number", ["04.1", "04.2"])
@pytest.mark.parametrize("answer", [..., None])
def test_blank_is_not_solved_yet(number, answer):
    verdict = check(number, answer)
    assert verdict.status == "not yet"
    assert "answer" in verdict.message


@pytest.mark.parametrize("answer", [2.5, 2, 1.91, 2.99, np.float64(2.4)])
def test_limit_in_the_gap_is_right(answer):
    verdict = check("04.1", answer)
    assert verdict.status == "solved", verdict.message


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (1.5, "26 of the 50 setosa flowers"),  # the middle of the setosa petals
        (1.9, "2 of the 50 setosa flowers"),  # the longest setosa petal itself
        (3.0, "1 of the 100 other flowers has petals"),  # the shortest of the others itself
        (4.0, "16 of the 100 other flowers"),
        (25, "millimetres"),
        ((2, 5), "decimal point"),
        ("2.5", "without quotes"),
        ("setosa", "one number"),
        ([2.5], "one number"),
        (True, "one number"),
        (float("nan"), "50 of the 50"),
    ],
)
def test_wrong_limit_gets_its_hint(answer, hint):
    verdict = check("04.1", answer)
    assert verdict.status == "wrong"
    assert hint in verdict.message


def petal_pipeline(
    rows: pd.DataFrame = training, columns: list[str] = PETALS, target: str = "species"
) -> Pipeline:
    """The pipeline of exercise 04.2, trained on any part of the flowers."""
    steps = [("scale", StandardScaler()), ("classify", LogisticRegression())]
    return Pipeline(steps).fit(rows[columns], rows[target])


@pytest.mark.parametrize(
    "build",
    [
        petal_pipeline,
        lambda: petal_pipeline(columns=PETALS[::-1]),
        lambda: make_pipeline(StandardScaler(), LogisticRegression()).fit(
            training[PETALS], training["species"]
        ),
    ],
    ids=["as asked", "columns swapped", "make_pipeline"],
)
def test_petal_pipeline_is_right(build: Callable[[], Pipeline]):
    verdict = check("04.2", build())
    assert verdict.status == "solved", verdict.message
    assert "of 38 test flowers classified correctly" in verdict.message


WRONG_PIPELINES = {
    "not trained": (
        lambda: Pipeline([("scale", StandardScaler()), ("classify", LogisticRegression())]),
        "isn't trained yet",
    ),
    "all flowers": (lambda: petal_pipeline(flowers), "all 150 flowers"),
    "test flowers": (lambda: petal_pipeline(test), "38 test flowers"),
    "another split": (
        lambda: petal_pipeline(train_test_split(flowers, random_state=1)[0]),
        "random_state=0",
    ),
    "four features": (
        lambda: petal_pipeline(columns=iris_model.FEATURES),
        "trained on sepal_length",
    ),
    "sepals": (lambda: petal_pipeline(columns=["sepal_length", "sepal_width"]), "petal features"),
    "bare numbers": (
        lambda: make_pipeline(StandardScaler(), LogisticRegression()).fit(
            training[PETALS].to_numpy(), training["species"]
        ),
        "bare numbers",
    ),
    "no scaler": (
        lambda: make_pipeline(LogisticRegression()).fit(training[PETALS], training["species"]),
        "no scaler",
    ),
    "classifier alone": (
        lambda: LogisticRegression().fit(training[PETALS], training["species"]),
        "only a LogisticRegression",
    ),
    "class without parentheses": (
        lambda: Pipeline(
            [("scale", StandardScaler().fit(training[PETALS])), ("c", DummyClassifier)]
        ),
        "parentheses",
    ),
    "another target": (
        lambda: make_pipeline(StandardScaler(), LogisticRegression()).fit(
            training[PETALS], training["species"] == "setosa"
        ),
        "doesn't predict a species",
    ),
    "accuracy": (lambda: petal_pipeline().score(test[PETALS], test["species"]), "a result"),
    "predictions": (lambda: petal_pipeline().predict(test[PETALS]), "a result"),
    "data frame": (lambda: training[PETALS], "must be a pipeline"),
}


@pytest.mark.parametrize(("build", "hint"), WRONG_PIPELINES.values(), ids=WRONG_PIPELINES.keys())
def test_wrong_pipeline_gets_its_hint(build: Callable[[], object], hint: str):
    verdict = check("04.2", build())
    assert verdict.status == "wrong"
    assert hint in verdict.message


# --- the page of exercise 04.3 --------------------------------------------------------------------

HEADING = "<h1>Predicted species: {{ species|capitalize }}</h1>\n"
WARNING = """{% if probabilities[species] < 0.8 %}
<p>The model is not sure.</p>
{% endif %}
"""


@pytest.fixture
def copy(copy_of):
    """A copy of the app, with a model."""
    copy = copy_of("iris")
    iris_model.save(*iris_model.train(flowers), copy.app / "model")
    return copy


def test_the_app_as_it_came_is_not_solved_yet(copy):
    judge("04.3", "not yet", r"in `apps/04_iris/templates/result.html`.* Saved\?")


def test_the_stored_solution_warns_where_the_model_is_not_sure(copy):
    copy.solve("04.3")
    judge("04.3", "solved", "learns when not to rely on it")


@pytest.mark.parametrize(
    "text",
    [
        WARNING,
        WARNING.replace("probabilities[species]", "probabilities.values()|max"),
        WARNING.replace("not sure", "<strong>Not</strong>\nsure"),
        "{% set sure = probabilities[species] >= 0.8 %}{% if not sure %}<p>Not sure</p>{% endif %}\n",
    ],
)
def test_another_way_to_warn_is_as_good(copy, quickly, text):
    copy.edit("templates/result.html", HEADING, HEADING + text)
    quickly(copy)
    judge("04.3", "solved")


WRONG_PAGES = {
    "no condition": ("<p>The model is not sure.</p>\n", "says “not sure” of every flower"),
    "percent": (WARNING.replace("0.8", "80"), "A probability is between 0 and 1"),
    "turned round": (WARNING.replace("<", ">"), "wrong way round"),
    "another line": (WARNING.replace("0.8", "0.9"), "80.2% sure gets the page with “not sure”"),
    "far too low": (WARNING.replace("0.8", "0.5"), "not on the page .* is 54% sure"),
    "another species": (WARNING.replace("[species]", ".setosa"), "80.2% sure gets the page with"),
    "all of them": (
        WARNING.replace("[species]", ""),
        r"result.html, line 8: TypeError: '<' not supported",
    ),
    "no endif": (WARNING.replace("{% endif %}\n", ""), r"result.html, line \d+: .*endif"),
    "a comment": (WARNING.replace("<p>", "<!--").replace("</p>", "-->"), "not on the page"),
}


@pytest.mark.parametrize(("text", "hint"), WRONG_PAGES.values(), ids=WRONG_PAGES.keys())
def test_a_typical_slip_on_the_page_gets_its_hint(copy, quickly, text, hint):
    copy.edit("templates/result.html", HEADING, HEADING + text)
    quickly(copy)
    judge("04.3", "wrong", hint)


def test_words_outside_a_block_get_their_hint(copy, quickly):
    copy.edit("templates/result.html", "{% block main %}", WARNING + "{% block main %}")
    quickly(copy)
    judge("04.3", "wrong", "inside `{% block main %}`")


def test_a_page_without_its_heading_gets_its_hint(copy, quickly):
    copy.edit("templates/result.html", HEADING, WARNING)
    copy.edit("templates/result.html", "Predicted species: {{ species|capitalize }}{%", "Answer{%")
    quickly(copy)
    judge("04.3", "wrong", "lost its heading")


def test_an_app_without_a_model_gets_its_hint(copy, quickly):
    (copy.app / "model" / "iris.json").unlink()
    quickly(copy)
    judge("04.3", "wrong", "no model")
