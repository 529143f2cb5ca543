"""The checks of stage 04: a rule by hand, a pipeline on two features, a new route of the app."""

from numbers import Real

import numpy as np
from flask import Flask
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted
from werkzeug.test import TestResponse

from workshop.datasets import read_iris
from workshop.exercises import Wrong, exercise

PETALS = ["petal_length", "petal_width"]
SPECIES = ["setosa", "versicolor", "virginica"]
SPECIES_ROUTE = "/api/species"


@exercise(
    "04.1",
    hint="in the table under the pair plot, look for the longest setosa petal and for the shortest "
    "of the others. Put a number between the two in place of the dots, like `answer = 1.5`.",
)
def setosa_limit(answer: object) -> str:
    """A petal length in cm that is above every setosa and below every other flower."""
    if isinstance(answer, tuple):
        raise Wrong("write a decimal point, as in 1.5: with a comma Python sees several numbers.")
    if isinstance(answer, bool) or not isinstance(answer, Real):
        raise Wrong(
            "the answer is one number, a petal length in cm, without quotes: `answer = 1.5`."
        )
    flowers = read_iris()
    is_setosa = flowers["species"] == "setosa"
    setosa, others = flowers.loc[is_setosa, "petal_length"], flowers.loc[~is_setosa, "petal_length"]
    if others.max() < answer:
        raise Wrong(
            f"every petal in the table is shorter than {answer:g} cm. Did you mean millimetres?"
        )
    if missed := int((~(setosa < answer)).sum()):
        raise Wrong(
            f"{missed} of the 50 setosa flowers {_has(missed)} petals of {answer:g} cm or more, and "
            "your rule misses every such flower. Go higher."
        )
    if caught := int((~(others > answer)).sum()):
        raise Wrong(
            f"{caught} of the 100 other flowers {_has(caught)} petals of {answer:g} cm or less, and "
            "your rule takes every such flower for setosa. Go lower."
        )
    return (
        f"every setosa petal is shorter than {answer:g} cm and every other one longer. Where one "
        "straight cut does it, a rule made by hand is as good as a model; between the other two "
        "species there is no such cut."
    )


def _has(count: int) -> str:
    """The verb that fits `count` flowers."""
    return "has" if count == 1 else "have"


@exercise(
    "04.2",
    hint="begin with `answer = Pipeline([...])` and the same two steps as before, then call "
    "`answer.fit` with the two petal columns and the species of the training flowers.",
)
def petal_pipeline(answer: object) -> str:
    """The pipeline of the notebook, trained on the two petal features of the training flowers."""
    if isinstance(answer, float | np.ndarray):
        raise Wrong("that is a result of the pipeline. Put the pipeline itself in `answer`.")
    if isinstance(answer, BaseEstimator) and not isinstance(answer, Pipeline):
        raise Wrong(
            f"that is a {type(answer).__name__} alone. Put it in a `Pipeline`, the scaler first."
        )
    if not isinstance(answer, Pipeline):
        raise Wrong(
            "`answer` must be a pipeline: `Pipeline([...])`, trained on `training[PETALS]` and "
            '`training["species"]`.'
        )
    scaler = next((step for _, step in answer.steps if isinstance(step, StandardScaler)), None)
    if scaler is None:
        raise Wrong("there is no scaler in your pipeline. Make `StandardScaler()` its first step.")
    try:
        check_is_fitted(scaler)
        check_is_fitted(answer[-1])
    except NotFittedError:
        raise Wrong(
            "the pipeline is not trained yet. Call `fit` with the features and the species."
        ) from None
    except TypeError:  # the last step is no estimator, or a class without its ()
        raise Wrong("the last step must be `LogisticRegression()`, with its parentheses.") from None
    columns = [str(name) for name in getattr(answer, "feature_names_in_", ())]
    if not columns:
        raise Wrong(
            "the pipeline was trained on bare numbers. Hand it the data frame `training[PETALS]`, "
            "so that it knows the names of its features."
        )
    if sorted(columns) != PETALS:
        raise Wrong(
            f"the pipeline was trained on {', '.join(columns)}. Train it on `training[PETALS]`, "
            "the two petal features alone."
        )
    if [str(name) for name in getattr(answer, "classes_", ())] != SPECIES:
        raise Wrong('the pipeline does not answer a species. Is the target `training["species"]`?')
    return _judge_training(answer, scaler)


def _judge_training(answer: Pipeline, scaler: StandardScaler) -> str:
    """Confirm that a petal pipeline was trained on the training flowers. Raises Wrong."""
    flowers = read_iris()
    training, test = train_test_split(flowers, random_state=0)
    seen = int(scaler.n_samples_seen_)
    if seen == len(flowers):
        raise Wrong(
            f"the pipeline has seen all {seen} flowers, so none is left to test it on. Train it on "
            "`training[PETALS]`."
        )
    if seen == len(test):
        raise Wrong(f"the pipeline was trained on the {seen} test flowers. Use `training` instead.")
    if not np.allclose(scaler.mean_, training[list(answer.feature_names_in_)].mean()):
        raise Wrong(
            "the pipeline was trained on other flowers than the notebook's. Use `training` as "
            "it is, from `train_test_split(flowers, random_state=0)`."
        )
    right = int((answer.predict(test[list(answer.feature_names_in_)]) == test["species"]).sum())
    return (
        f"{right} of {len(test)} test flowers right. The petals tell the model nearly everything, "
        "so a form with two fields would do."
    )


@exercise(
    "04.3",
    hint='between the two lines, write `@app.get("/api/species")` and directly under it a function '
    "that returns a dictionary. Then write `answer = app`.",
)
def species_route(answer: object) -> str:
    """The app with one more route, which lists the species as JSON."""
    if not isinstance(answer, Flask):
        raise Wrong("put the app itself in `answer`: `answer = app`.")
    answer.testing = True  # a mistake in the view comes out as itself, not as an error page
    reply = _ask_species(answer)
    if reply.status_code == 404:
        addresses = {rule.rule for rule in answer.url_map.iter_rules()}
        close = sorted(rule for rule in addresses if "species" in rule and rule != SPECIES_ROUTE)
        seen = f" It has {', '.join(close)}." if close else ""
        raise Wrong(
            f'the app has no route {SPECIES_ROUTE} yet.{seen} Write `@app.get("{SPECIES_ROUTE}")` '
            "on the line above your function, and run the whole cell again."
        )
    if reply.status_code == 405:
        raise Wrong(f"{SPECIES_ROUTE} is there, but not for GET. Use `@app.get(...)`.")
    if reply.status_code != 200:
        raise Wrong(f"{SPECIES_ROUTE} answers with status {reply.status_code} instead of 200.")
    if not reply.is_json:
        raise Wrong(
            'the view answers text, not JSON. Return a dictionary: `{"species": card["classes"]}`.'
        )
    found = reply.get_json()
    if isinstance(found, list):
        raise Wrong(
            "the view answers a bare list. Give the list a name, so that more can stand beside it "
            'one day: `{"species": card["classes"]}`.'
        )
    if "species" not in found:
        raise Wrong(f"the answer has the key {', '.join(found) or '(none)'} instead of `species`.")
    if found["species"] != SPECIES:
        raise Wrong('under `species` must be the list of the three names: `card["classes"]`.')
    return (
        "your app has a route that nobody wrote but you. In the app's file it would stand inside "
        "`create_app`, beside the others."
    )


def _ask_species(app: Flask) -> TestResponse:
    """What the app answers to a GET of the new route. Raises Wrong for the usual mistakes."""
    try:
        return app.test_client().get(SPECIES_ROUTE)
    except TypeError as problem:
        if "ndarray is not JSON serializable" in str(problem):
            raise Wrong(
                "JSON knows lists and no arrays, and `pipeline.classes_` is an array of numpy. Use "
                'the list `card["classes"]`.'
            ) from None
        if "argument" in str(problem):
            raise Wrong(
                "nothing in the address is a value, so the view takes no argument: "
                "`def species():`. It finds `card` by itself."
            ) from None
        if "None" in str(problem):
            raise Wrong("your view returns nothing. Give it a last line with `return`.") from None
        raise
