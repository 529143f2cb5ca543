"""What the trained pipeline computes, written out as numbers.

Scaling and logistic regression come down to a few multiplications, a sum for each species, and the
softmax. `take_apart` reads the numbers out of the trained pipeline, and `probabilities` does the
sums: no data frame, no scikit-learn, and the same answer some hundred times sooner.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import FiniteFloat
from typing_extensions import TypedDict

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

TOLERANCE = 1e-12  # how far a probability may be from the pipeline's own


class Scaling(TypedDict):
    """How one length is scaled: its distance from `mean`, both in cm, divided by `scale`."""

    mean: FiniteFloat
    scale: FiniteFloat


class Formula(TypedDict):
    """The scaling of each feature; an intercept for each species, and a weight for each feature."""

    scaling: dict[str, Scaling]
    intercepts: dict[str, FiniteFloat]
    weights: dict[str, dict[str, FiniteFloat]]


class NotUnderstood(Exception):
    """The pipeline does something else than scaling and logistic regression; says what."""


def probabilities(formula: Formula, flower: Mapping[str, float]) -> dict[str, float]:
    """Return the probability of each species for one flower in cm."""
    scaled = {
        name: (flower[name] - scaling["mean"]) / scaling["scale"]
        for name, scaling in formula["scaling"].items()
    }
    scores = {
        species: formula["intercepts"][species]
        + sum(weight * scaled[name] for name, weight in weights.items())
        for species, weights in formula["weights"].items()
    }
    # The softmax: exp makes the scores positive, dividing by their total makes them add up to 1.
    highest = max(scores.values())  # taken off first, or exp of a large score would overflow
    powers = {species: math.exp(score - highest) for species, score in scores.items()}
    total = sum(powers.values())
    return {species: power / total for species, power in powers.items()}


def take_apart(pipeline: Pipeline, features: Mapping[str, Any]) -> Formula:
    """Return the formula of a trained pipeline, whichever features it uses, in whatever order.

    `features` are those of the card. Raises NotUnderstood for another kind of pipeline, and for one
    whose answers to a few flowers are not those of the formula.
    """
    try:
        formula = _read(pipeline)
        _hold_against(pipeline, formula, features)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise NotUnderstood(f"{type(error).__name__}: {error}") from error
    return formula


def _read(pipeline: Pipeline) -> Formula:
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    names = [str(name) for name in pipeline.feature_names_in_]
    means, scales = [0.0] * len(names), [1.0] * len(names)
    match [step for _, step in pipeline.steps]:
        case [StandardScaler() as scale, LogisticRegression() as classify]:
            if scale.with_mean:
                means = scale.mean_.tolist()
            if scale.with_std:
                scales = scale.scale_.tolist()
        case [LogisticRegression() as classify]:
            pass
        case steps:
            raise NotUnderstood(f"its steps are {', '.join(type(step).__name__ for step in steps)}")
    classes = [str(species) for species in classify.classes_]
    return {
        "scaling": {
            name: {"mean": mean, "scale": scale}
            for name, mean, scale in zip(names, means, scales, strict=True)
        },
        "intercepts": dict(zip(classes, classify.intercept_.tolist(), strict=True)),
        "weights": {
            species: dict(zip(names, weights, strict=True))
            for species, weights in zip(classes, classify.coef_.tolist(), strict=True)
        },
    }


def _hold_against(pipeline: Pipeline, formula: Formula, features: Mapping[str, Any]) -> None:
    """Raise NotUnderstood if the formula does not answer as the pipeline does.

    The flowers that are tried have one feature at its least or greatest, the others in the middle.
    """
    import pandas as pd

    typical = {name: feature["median"] for name, feature in features.items()}
    flowers = [typical] + [
        typical | {name: feature[end]}
        for name, feature in features.items()
        for end in ("min", "max")
    ]
    answers = pipeline.predict_proba(pd.DataFrame(flowers)[list(pipeline.feature_names_in_)])
    for flower, expected in zip(flowers, answers.tolist(), strict=True):
        found = probabilities(formula, flower).values()
        if any(abs(a - b) > TOLERANCE for a, b in zip(found, expected, strict=True)):
            raise NotUnderstood("its answers are not those of the formula")
