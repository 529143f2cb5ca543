"""The model as a table of weights, read from the trained pipeline.

Scaling, one-hot encoding and a logistic regression come down to one number per feature and a sum, the
log-odds. With these numbers in a table, one answer takes a few look-ups instead of a data frame, and each
number says what its feature adds. `census_model.save` checks the table against the pipeline.
"""

import math
from collections.abc import Iterable, Mapping
from itertools import product
from typing import Any

MISSING = "missing"  # the category for an unknown value, in the pipeline and in the table

Weights = Mapping[str, Mapping[str, float]]


def contribution(weights: Weights, name: str, value: Any) -> float:
    """Return what the feature `name` with this value adds to the log-odds.

    None and nan are a missing value. Raises ValueError for a category the model was not trained on.
    """
    table = weights[name]
    if "slope" in table:  # a number: a fixed amount for each step away from the mean
        return table["slope"] * (value - table["mean"])
    if value is None or value != value:  # only nan differs from itself
        return table[MISSING]
    if value not in table:
        words = ", ".join(word for word in table if word != MISSING)
        raise ValueError(f"{name} is {value!r}, not one of {words}")
    return table[value]


def add_up(intercept: float, contributions: Iterable[Any]) -> Any:
    """Return the log-odds: of one person from numbers, or of many from one array per feature.

    Always in this order, and never with `sum`, which rounds differently from Python 3.12 on. So one
    person gets the same digits as in a batch.
    """
    log_odds = intercept
    for each in contributions:
        log_odds = log_odds + each
    return log_odds


def sigmoid(log_odds: float) -> float:
    """Return the probability that belongs to log-odds."""
    if log_odds < 0:  # the same value, in a form that can't overflow here
        return math.exp(log_odds) / (1 + math.exp(log_odds))
    return 1 / (1 + math.exp(-log_odds))


def read_weights(pipeline: Any) -> dict[str, Any]:
    """Return `intercept` and `weights` of a trained pipeline, as `build_pipeline` makes it.

    A category's weight is its coefficient minus the average of its feature's coefficients over the
    training people.
    """
    prepare, classify = pipeline["prepare"], pipeline["classify"]
    weights = {}
    scale = prepare.named_transformers_["numbers"]
    own = classify.coef_[0][prepare.output_indices_["numbers"]] / scale.scale_
    for name, slope, mean in zip(scale.feature_names_in_, own, scale.mean_, strict=True):
        weights[str(name)] = {"slope": float(slope), "mean": float(mean)}
    one_hot = prepare.named_transformers_["categories"]
    own = iter(classify.coef_[0][prepare.output_indices_["categories"]].tolist())
    means = iter(one_hot["center"].mean_.tolist())
    for name, words in zip(one_hot.feature_names_in_, one_hot["encode"].categories_, strict=True):
        coefficients = {str(word): next(own) for word in words}
        average = sum(each * next(means) for each in coefficients.values())
        table = {word: each - average for word, each in coefficients.items()}
        weights[str(name)] = {MISSING: -average} | table
    return {"intercept": float(classify.intercept_[0]), "weights": weights}


def people_to_compare(features: Mapping[str, Any], typical: Mapping[str, Any]) -> list[dict]:
    """Return people with every category, missing ones included, and both ends of every number."""
    numbers = [name for name, feature in features.items() if feature["type"] == "number"]
    ends = product(*[(features[name]["min"], features[name]["max"]) for name in numbers])
    extremes = [dict(zip(numbers, each, strict=True)) for each in ends]
    return [
        {**typical, name: word, **extreme}
        for name, feature in features.items()
        if feature["type"] == "category"
        for word in [*feature["categories"], None]
        for extreme in extremes
    ]
