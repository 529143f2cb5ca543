"""The iris model: train it, save it with its card, load it, ask it about one flower.

How the two files are kept, and checked before one is opened, is in `iris_artifact`; this module says
what stands in them. `save` also writes into the card what the pipeline computes (see `iris_formula`).
With that the app needs neither scikit-learn nor pandas, which take longer to import than everything
else together. So they are imported in the functions that need them: those that train, and those that
open the pipeline.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NotRequired

from pydantic import FiniteFloat, TypeAdapter
from typing_extensions import TypedDict

from iris_artifact import (
    HOLDS_ANOTHER,
    MODEL_FOLDER,
    STAGE,
    ModelUnavailable,
    Versions,
    fingerprint,
    pack,
    read,
    unpack,
    versions,
    write,
)
from iris_formula import Formula, NotUnderstood, probabilities, take_apart

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline

FEATURES = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
TARGET = "species"

log = logging.getLogger(__name__)

Species = Literal["setosa", "versicolor", "virginica"]


class Feature(TypedDict):
    """One measurement, as the training flowers have it."""

    unit: str
    min: FiniteFloat
    median: FiniteFloat
    max: FiniteFloat


class Data(TypedDict):
    """What the model was trained and tested on; `sha256` is that of the frame as CSV."""

    source: str
    rows_train: int
    rows_test: int
    sha256: str


class Metrics(TypedDict):
    """Measured on the test flowers; the matrix has a row per true species, a column per answer."""

    accuracy: FiniteFloat
    confusion_matrix: list[list[int]]


class PicturedFlower(TypedDict):
    """One flower of the data set, as the picture of all flowers shows it (cm)."""

    petal_length: FiniteFloat
    petal_width: FiniteFloat
    species: Species
    used_for: Literal["training", "test"]


class SavedFormula(Formula):
    """The formula of the pipeline in the model file whose SHA-256 is `sha256`."""

    sha256: str


class Card(TypedDict):
    """Everything a user of the model should know; `sha256` is that of the model file.

    There is a `formula` if the pipeline is one that `iris_formula` understands.
    """

    stage: Literal["04_iris"]
    name: str
    sha256: str
    data: Data
    features: dict[str, Feature]
    classes: list[Species]
    metrics: Metrics
    versions: Versions
    flowers: list[PicturedFlower]
    formula: NotRequired[SavedFormula]


CARD = TypeAdapter(Card)


def build_pipeline() -> Pipeline:
    """Return the untrained estimator: scaling, then logistic regression."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    return Pipeline([("scale", StandardScaler()), ("classify", LogisticRegression())])


def train(flowers: pd.DataFrame, source: str = "data/iris.csv") -> tuple[Pipeline, Card]:
    """Train on three quarters of the flowers, test on the rest; return the pipeline and its card.

    `flowers` has the four FEATURES in cm and the TARGET, one row per flower. The returned pipeline
    is the very one that was tested. The card's `sha256` is empty: `save` fills it in.
    """
    from sklearn.metrics import accuracy_score, confusion_matrix
    from sklearn.model_selection import train_test_split

    flowers = flowers[[*FEATURES, TARGET]]
    training, test = train_test_split(flowers, random_state=0)
    pipeline = build_pipeline().fit(training[FEATURES], training[TARGET])
    answers = pipeline.predict(test[FEATURES])
    classes = [str(species) for species in pipeline.classes_]
    # Hash the table, not the file: a checkout may have changed the file's line ends.
    csv = flowers.to_csv(index=False, lineterminator="\n")
    card: Card = {
        "stage": STAGE,
        "name": "Iris classifier",
        "sha256": "",
        "data": {
            "source": source,
            "rows_train": len(training),
            "rows_test": len(test),
            "sha256": hashlib.sha256(csv.encode()).hexdigest(),
        },
        "features": {
            name: {
                "unit": "cm",
                "min": float(training[name].min()),
                "median": float(training[name].median()),
                "max": float(training[name].max()),
            }
            for name in FEATURES
        },
        "classes": classes,
        "metrics": {
            "accuracy": float(accuracy_score(test[TARGET], answers)),
            "confusion_matrix": confusion_matrix(test[TARGET], answers, labels=classes).tolist(),
        },
        "versions": versions(),
        "flowers": [
            {
                "petal_length": float(flower.petal_length),
                "petal_width": float(flower.petal_width),
                "species": flower.species,
                "used_for": "training" if flower.Index in training.index else "test",
            }
            for flower in flowers.itertuples()
        ],
    }
    return pipeline, card


def save(pipeline: Pipeline, card: Card, folder: Path = MODEL_FOLDER) -> Path:
    """Write the pipeline and its card into `folder`, and return the model file's path.

    Into the card go the model file's SHA-256 and, if there is one, the pipeline's formula.
    """
    content = pack(pipeline)
    card = {name: value for name, value in card.items() if name != "formula"}
    if formula := _formula(pipeline, card["features"]):
        card |= {"formula": formula | {"sha256": fingerprint(content)}}
    return write(content, card, folder)


def _formula(pipeline: Pipeline, features: Mapping[str, Any]) -> Formula | None:
    """Return what the pipeline computes; or None, and a line in the log, where that is more."""
    try:
        return take_apart(pipeline, features)
    except NotUnderstood as reason:
        log.warning("This pipeline has no formula, so each answer takes far longer: %s", reason)
        return None


class IrisModel:
    """A trained pipeline, the card that belongs to it, and the formula, if the pipeline has one.

    The formula answers for one flower some hundred times as fast as the pipeline, which wants a data
    frame. Without it, the pipeline itself is asked.
    """

    def __init__(self, content: bytes, card: Card) -> None:
        """Take the bytes of a model file, which are the ones that the card describes.

        Raises ModelUnavailable where they hold another model all the same.
        """
        self.card, self._content = card, content
        self.formula: Formula | None = card.get("formula")
        if not self.formula or self.formula["sha256"] != card["sha256"]:  # not made by `save`
            self.formula = _formula(self.pipeline, card["features"])
        if self.formula and list(self.formula["weights"]) != card["classes"]:
            raise ModelUnavailable(HOLDS_ANOTHER)

    @cached_property
    def pipeline(self) -> Pipeline:
        """The trained pipeline. The model file is opened when it is first asked for."""
        from sklearn.pipeline import Pipeline

        pipeline = unpack(self._content)
        classes = list(getattr(pipeline, "classes_", ()))
        if not isinstance(pipeline, Pipeline) or classes != self.card["classes"]:
            raise ModelUnavailable(HOLDS_ANOTHER)
        return pipeline

    def predict(self, flower: Mapping[str, float]) -> tuple[str, dict[str, float]]:
        """Return the most probable species, and the probability of each, for one flower in cm."""
        shares = probabilities(self.formula, flower) if self.formula else self._ask(flower)
        return max(shares, key=shares.__getitem__), shares

    def _ask(self, flower: Mapping[str, float]) -> dict[str, float]:
        """Return the probability of each species as the pipeline itself gives it."""
        import pandas as pd

        names = list(getattr(self.pipeline, "feature_names_in_", FEATURES))  # in its own order
        shares = self.pipeline.predict_proba(pd.DataFrame([flower])[names])[0].tolist()
        return dict(zip(self.card["classes"], shares, strict=True))


def load(folder: Path = MODEL_FOLDER) -> IrisModel:
    """Return the model in `folder`, if it is the one that its card describes.

    Raises ModelUnavailable, whose message says what is wrong and how to build the model.
    """
    return IrisModel(*read(folder, CARD, FEATURES))
