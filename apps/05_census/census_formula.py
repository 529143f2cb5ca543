"""What the trained pipeline computes, written out as numbers.

Scaling, one-hot encoding and logistic regression come down to one term per feature and a sum, the
log-odds. `take_apart` finds the terms once, by asking the pipeline about a few made-up people. Whoever
has them needs neither a data frame nor scikit-learn to answer, and knows why the answer is what it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import FiniteFloat
from typing_extensions import TypedDict

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from sklearn.pipeline import Pipeline

TOLERANCE = 1e-12  # how far a probability may be from the pipeline's own


class Number(TypedDict):
    """A feature that is a number adds `slope` times its distance from `mean`, in log-odds."""

    mean: FiniteFloat
    slope: FiniteFloat


class Formula(TypedDict):
    """What to add up for the log-odds of earning more: the intercept, and a term for each feature.

    `categories` has the term of each word a feature may be, `missing` the term where it is not known.
    A feature that the pipeline does not use is in none of them. `start` says whose log-odds the
    intercept is: those of an average training person, or of a typical one.
    """

    start: str
    intercept: FiniteFloat
    numbers: dict[str, Number]
    categories: dict[str, dict[str, FiniteFloat]]
    missing: dict[str, FiniteFloat]


class NotUnderstood(Exception):
    """The pipeline does something else than to add up one term per feature; says what."""


def sigmoid(log_odds: float) -> float:
    """Return the probability that belongs to log-odds."""
    if log_odds < 0:  # the same value, in a form that can't overflow here
        return math.exp(log_odds) / (1 + math.exp(log_odds))
    return 1 / (1 + math.exp(-log_odds))


def typical(features: Mapping[str, Any]) -> dict[str, float | str]:
    """Return each feature's median or most common value; `features` are those of the card."""
    return {
        name: feature["most_common"] if "categories" in feature else feature["median"]
        for name, feature in features.items()
    }


def frame(people: Mapping[str, Sequence] | Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return people as the pipeline takes them: missing values as nan, as in the training data."""
    import pandas as pd  # takes longer to import than the whole app, which does without

    table = pd.DataFrame(people)
    words = [name for name in table if not pd.api.types.is_numeric_dtype(table[name])]
    return table.astype(dict.fromkeys(words, object)).fillna(float("nan"))


def take_apart(pipeline: Pipeline, features: Mapping[str, Any]) -> Formula:
    """Return the formula of a trained pipeline, whichever features it uses, in whatever order.

    Raises NotUnderstood for a pipeline of other parts than the ones below, and for one whose answers
    are not those of the formula all the same.
    """
    try:
        formula = _ask(pipeline, features)
        _hold_against(pipeline, formula, features)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise NotUnderstood(f"{type(error).__name__}: {error}") from error
    return formula


def _ask(pipeline: Pipeline, features: Mapping[str, Any]) -> Formula:
    """Change one feature of a typical person at a time, and see which columns move, and how far."""
    import numpy as np

    centred = _check_parts(pipeline, features)
    prepare, classify = [step for _, step in pipeline.steps]

    def added(people: list[dict[str, Any]]) -> np.ndarray:
        """Return what each of the pipeline's columns adds to the log-odds, one row per person."""
        columns = prepare.transform(frame(people))
        dense = columns.toarray() if hasattr(columns, "toarray") else columns
        return np.asarray(dense) * classify.coef_[0]  # a step may have been told to make frames

    middle = typical(features)
    (usual,) = added([middle])
    unmoved = np.full(len(usual), True)
    formula: Formula = {
        "start": "average" if centred else "typical",
        "intercept": 0.0,
        "numbers": {},
        "categories": {},
        "missing": {},
    }
    for name, feature in features.items():
        values = _values(feature)
        rows = added([middle | {name: value} for value in values])
        own = (rows != usual).any(axis=0)
        if not own.any():
            continue
        unmoved &= ~own
        zero = 0.0 if centred else usual[own].sum()
        terms = dict(zip(values, (rows[:, own].sum(axis=1) - zero).tolist(), strict=True))
        if "categories" in feature:
            formula["missing"][name] = terms.pop(None)
            formula["categories"][name] = terms
        else:
            low, high = feature["min"], feature["max"]
            slope = (terms[high] - terms[low]) / (high - low)
            formula["numbers"][name] = {"mean": low - terms[low] / slope, "slope": slope}
    rest = usual[unmoved] if centred else usual
    formula["intercept"] = float(classify.intercept_[0] + rest.sum())
    return formula


def _values(feature: Mapping[str, Any]) -> list[Any]:
    """Return what a category may be, None for a missing one included; of a number, both ends."""
    if "categories" in feature:
        return [*feature["categories"], None]
    return [feature["min"], feature["max"]]


def _check_parts(pipeline: Pipeline, features: Mapping[str, Any]) -> bool:
    """Return whether every column has mean 0 over the training people.

    Raises NotUnderstood unless the parts are some that treat each feature by itself, and numbers in
    proportion: only then a few questions tell all there is to know.
    """
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

    if [type(step) for _, step in pipeline.steps] != [ColumnTransformer, LogisticRegression]:
        raise NotUnderstood("it is not a ColumnTransformer with a LogisticRegression behind it")
    centred = True
    for _, part, names in pipeline[0].transformers_:
        if isinstance(part, str) and part == "drop":
            continue
        steps = [step for _, step in part.steps] if hasattr(part, "steps") else [part]
        words = all("categories" in features[name] for name in names)
        known = {StandardScaler, SimpleImputer, OneHotEncoder} if words else {StandardScaler}
        for step in steps:
            as_it_is = type(step) is FunctionTransformer and step.func is None  # a "passthrough"
            if not as_it_is and type(step) not in known:
                raise NotUnderstood(f"a {type(step).__name__} has {', '.join(map(str, names))}")
        centred &= type(steps[-1]) is StandardScaler and steps[-1].with_mean
    return centred


def _hold_against(pipeline: Pipeline, formula: Formula, features: Mapping[str, Any]) -> None:
    """Raise NotUnderstood unless the formula answers as the pipeline does.

    The people who are tried differ from each other in every feature, and have every category.
    """
    choices = {name: _values(feature) for name, feature in features.items()}
    tried = max(map(len, choices.values()))
    columns = {name: [each[i % len(each)] for i in range(tried)] for name, each in choices.items()}
    expected = pipeline.predict_proba(frame(columns))[:, 1].tolist()
    for i, probability in enumerate(expected):
        terms = [term(formula, name, column[i]) for name, column in columns.items()]
        if abs(sigmoid(formula["intercept"] + sum(terms)) - probability) > TOLERANCE:
            raise NotUnderstood("its answers are not those of the formula")


def term(formula: Formula, name: str, value: Any) -> float:
    """Return what a feature that has this value adds to the log-odds.

    Raises ValueError for a category the model was not trained on.
    """
    if number := formula["numbers"].get(name):
        return number["slope"] * (float(value) - number["mean"])
    words = formula["categories"].get(name)
    if words is None:  # the pipeline does not use it
        return 0.0
    if value in words:
        return words[value]
    if value is None or value != value:  # only nan differs from itself
        return formula["missing"][name]
    raise ValueError(f"{name} is {value!r}, not one of {', '.join(words)}")
