"""The census model: train it, save it with its card, load it, ask it about one person.

The estimator is a logistic regression, because it can say why: it adds one number per feature, and
the sum decides. `save` writes those numbers into the card (see `census_formula`), so that answer and
explanation are the same sum, and the app needs neither scikit-learn nor pandas, which take longer to
import than everything else together. That is why they are imported where they are needed: in the
functions that train a model, and in those that serve one that is no such sum.

How the two files are kept, and checked before one is opened, is in `census_artifact`; this module
says what stands in them.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NotRequired

from pydantic import FiniteFloat, TypeAdapter
from typing_extensions import TypedDict

from census_artifact import (
    HOLDS_ANOTHER,
    MODEL_FOLDER,
    STAGE,
    ModelFile,
    ModelUnavailable,
    Versions,
    fingerprint,
    pack,
    read,
    unpack,
    versions,
    write,
)
from census_formula import Formula, NotUnderstood, frame, sigmoid, take_apart, term, typical

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from sklearn.pipeline import Pipeline
    from sklearn.utils import Bunch

NUMBERS = ["age", "hours_per_week"]
CATEGORIES = ["workclass", "education", "marital_status", "race", "sex"]
FEATURES = [
    "age",
    "workclass",
    "education",
    "marital_status",
    "race",
    "sex",
    "hours_per_week",
]
OPTIONAL = {"workclass"}  # a person may come without
TARGET = "income"
CLASSES = ["<=50K", ">50K"]  # what 0 and 1 stand for: dollars a year, in 1994
UNITS = {"age": "years", "hours_per_week": "hours"}
MISSING = "missing"  # the category that stands for "not known" inside the pipeline

Person = Mapping[str, "str | int | None"]

log = logging.getLogger(__name__)


class NumberFeature(TypedDict):
    """A feature that is a number, as the training people have it."""

    type: Literal["number"]
    unit: str
    min: FiniteFloat
    median: FiniteFloat
    max: FiniteFloat


class CategoryFeature(TypedDict):
    """A feature that is one of a few words; `optional` if the training data lacks it at times."""

    type: Literal["category"]
    categories: list[str]
    most_common: str
    optional: bool


class Data(TypedDict):
    """What the model was trained and tested on; `sha256` is that of both frames as CSV."""

    source: str
    is_real: bool
    rows_train: int
    rows_test: int
    sha256: str


class Group(TypedDict):
    """How the model treats one group of the test people; every rate is a share from 0 to 1.

    A rate is null where there is nobody to measure it on.
    """

    feature: str
    category: str
    people: int
    earning_more: FiniteFloat
    selection_rate: FiniteFloat
    false_positive_rate: FiniteFloat | None
    false_negative_rate: FiniteFloat | None


class Metrics(TypedDict):
    """Measured on the test people."""

    accuracy: FiniteFloat
    roc_auc: FiniteFloat
    brier: FiniteFloat
    groups: list[Group]


class SavedFormula(Formula):
    """The formula of the pipeline in the model file whose SHA-256 is `sha256`."""

    sha256: str


class Card(TypedDict):
    """Everything a user of the model should know; `sha256` is that of the model file.

    There is a `formula` if the pipeline is one that `census_formula` understands.
    """

    stage: Literal["05_census"]
    name: str
    sha256: str
    data: Data
    features: dict[str, NumberFeature | CategoryFeature]
    classes: list[str]
    intercept: FiniteFloat
    metrics: Metrics
    versions: Versions
    formula: NotRequired[SavedFormula]


CARD = TypeAdapter(Card)


def build_pipeline() -> Pipeline:
    """Return the untrained estimator: scaling and one-hot encoding, then logistic regression.

    Every column it makes has mean 0 over the training people. So the intercept is the answer for
    an average of all of them, and each coefficient says how far a person's value moves from it.
    """
    import pandas as pd
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    # pd.NA stands for both forms of a missing value here: nan, as in a file, and None, as in JSON.
    one_hot = Pipeline(
        [
            ("fill", SimpleImputer(missing_values=pd.NA, strategy="constant", fill_value=MISSING)),
            ("encode", OneHotEncoder(handle_unknown="ignore", sparse_output=False)),
            ("centre", StandardScaler(with_std=False)),
        ]
    )
    prepare = ColumnTransformer(
        [("numbers", StandardScaler(), NUMBERS), ("categories", one_hot, CATEGORIES)]
    )
    return Pipeline([("prepare", prepare), ("classify", LogisticRegression(max_iter=1000))])


def train(census: Bunch) -> tuple[Pipeline, Card]:
    """Train on `census.train`, test on `census.test`; return the pipeline and its card.

    `census` is what `fetch_census()` returns: two frames of one person per row, with the FEATURES
    (missing values as NaN) and the TARGET (1 for more than $50,000 a year, else 0), and `source`
    and `is_real`. The returned pipeline is the very one that was tested. The card's `sha256` is
    empty: `save` fills it in.
    """
    from sklearn.metrics import accuracy_score, brier_score_loss, roc_auc_score

    training, test = (part[[*FEATURES, TARGET]] for part in (census.train, census.test))
    pipeline = build_pipeline().fit(training[FEATURES], training[TARGET])
    probabilities = pipeline.predict_proba(test[FEATURES])[:, 1]
    answers = pipeline.predict(test[FEATURES])
    # Hash the tables, not a file: the data may have come as a download, an archive or a stand-in.
    csv = "".join(part.to_csv(index=False, lineterminator="\n") for part in (training, test))
    features = {name: _describe(name, census.train) for name in FEATURES}
    try:
        start = take_apart(pipeline, features)["intercept"]
    except NotUnderstood:  # `save` tells the log
        (start,) = _log_odds(pipeline, [typical(features)])
    card: Card = {
        "stage": STAGE,
        "name": "Census income classifier",
        "sha256": "",
        "data": {
            "source": census.source,
            "is_real": bool(census.is_real),
            "rows_train": len(training),
            "rows_test": len(test),
            "sha256": hashlib.sha256(csv.encode()).hexdigest(),
        },
        "features": features,
        "classes": CLASSES,
        "intercept": start,
        "metrics": {
            "accuracy": float(accuracy_score(test[TARGET], answers)),
            "roc_auc": float(roc_auc_score(test[TARGET], probabilities)),
            "brier": float(brier_score_loss(test[TARGET], probabilities)),
            "groups": _measure_groups(test, answers),
        },
        "versions": versions(),
    }
    return pipeline, card


def _describe(name: str, people: pd.DataFrame) -> NumberFeature | CategoryFeature:
    """Return what the card says about one feature of the training people."""
    column = people[name]
    if name in NUMBERS:
        return {
            "type": "number",
            "unit": UNITS[name],
            "min": float(column.min()),
            "median": float(column.median()),
            "max": float(column.max()),
        }
    if name == "education":  # from preschool to doctorate: the data has a number for each level
        categories = people.groupby(name)["education_num"].min().sort_values().index
    else:
        categories = sorted(column.dropna().unique())
    return {
        "type": "category",
        "categories": [str(category) for category in categories],
        "most_common": str(column.mode()[0]),
        "optional": bool(column.isna().any()),
    }


def _measure_groups(test: pd.DataFrame, answers: np.ndarray) -> list[Group]:
    """Return how women and men, and people of each race, fare with the model's answers (0 or 1)."""
    from sklearn.metrics import confusion_matrix

    groups: list[Group] = []
    for feature in ("sex", "race"):
        for category in sorted(test[feature].unique()):
            chosen = (test[feature] == category).to_numpy()
            truth = test[TARGET].to_numpy()[chosen]
            matrix = confusion_matrix(truth, answers[chosen], labels=[0, 1])
            (_, false_positives), (false_negatives, _) = matrix.tolist()
            negatives, positives = matrix.sum(axis=1).tolist()
            groups.append(
                {
                    "feature": feature,
                    "category": str(category),
                    "people": len(truth),
                    "earning_more": float(truth.mean()),
                    "selection_rate": float(answers[chosen].mean()),
                    "false_positive_rate": false_positives / negatives if negatives else None,
                    "false_negative_rate": false_negatives / positives if positives else None,
                }
            )
    return groups


def save(pipeline: Pipeline, card: Card, folder: Path = MODEL_FOLDER) -> Path:
    """Write the pipeline and its card into `folder`, and return the model file's path.

    Into the card go the model file's SHA-256 and, if there is one, the pipeline's formula.
    """
    content = pack(pipeline)
    card = {name: value for name, value in card.items() if name != "formula"}
    if formula := _formula(pipeline, card["features"]):
        own = formula | {"sha256": fingerprint(content)}
        card |= {"intercept": formula["intercept"], "formula": own}
    return write(content, card, folder)


def _formula(pipeline: Pipeline, features: Mapping[str, Any]) -> Formula | None:
    """Return what the pipeline computes; or None, and a line in the log, where that is more."""
    try:
        return take_apart(pipeline, features)
    except NotUnderstood as reason:
        log.warning("This pipeline has no formula, so each answer takes far longer: %s", reason)
        return None


def _ask(pipeline: Pipeline, people: Mapping[str, Sequence] | Sequence[Person]) -> list[float]:
    """Return the probability of earning more, as a pipeline of any kind sees it."""
    names = list(getattr(pipeline, "feature_names_in_", FEATURES))  # in the order it learned them
    return pipeline.predict_proba(frame(people)[names])[:, 1].tolist()


def _log_odds(pipeline: Pipeline, people: Sequence[Person]) -> list[float]:
    """Return the log-odds of earning more, as a pipeline of any kind sees them."""
    shares = _ask(pipeline, people)
    kept = [min(max(share, 1e-15), 1 - 1e-15) for share in shares]  # 0 and 1 have no log-odds
    return [math.log(share / (1 - share)) for share in kept]


class CensusModel:
    """A trained pipeline, the card that belongs to it, and the formula, if the pipeline has one.

    The formula answers for one person about a thousand times as fast as the pipeline, which wants a
    data frame, and it is the explanation as well. Without it, the pipeline itself is asked.
    """

    def __init__(self, content: bytes, card: Card) -> None:
        """Take the bytes of a model file, which are the ones that the card describes.

        Raises ModelUnavailable where they hold another model all the same.
        """
        self.card, self._content = card, content
        self.formula: Formula | None = card.get("formula")
        if not self.formula or self.formula["sha256"] != card["sha256"]:  # not made by `save`
            self.formula = _formula(self.pipeline, card["features"])
        if self.formula:
            self.intercept = self.formula["intercept"]
            for name, terms in self.formula["categories"].items():
                if set(card["features"][name].get("categories", ())) != set(terms):
                    raise ModelUnavailable(HOLDS_ANOTHER)
            return
        try:
            (self.intercept,) = _log_odds(self.pipeline, [typical(card["features"])])
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise ModelUnavailable(HOLDS_ANOTHER) from error

    @cached_property
    def pipeline(self) -> Pipeline:
        """The trained pipeline. The model file is opened when it is first asked for."""
        from sklearn.pipeline import Pipeline

        pipeline = unpack(self._content)
        if not isinstance(pipeline, Pipeline) or list(getattr(pipeline, "classes_", ())) != [0, 1]:
            raise ModelUnavailable(HOLDS_ANOTHER)
        return pipeline

    @property
    def version(self) -> str:
        """The start of the model file's SHA-256: it changes whenever the model does."""
        return self.card["sha256"][:12]

    @property
    def start(self) -> str:
        """Whose log-odds the intercept is: those of an `average` or of a `typical` person."""
        return self.formula["start"] if self.formula else "typical"

    def explain(self, person: Person) -> dict[str, float]:
        """Return what each feature adds to the intercept, in log-odds.

        `person` has a value for every feature; a category may be None (or nan, as in a frame) where
        it is not known. Raises ValueError for a category the model was not trained on.
        """
        if self.formula is None:
            return self._explain_by_asking(person)
        return {name: term(self.formula, name, person[name]) for name in FEATURES}

    def _explain_by_asking(self, person: Person) -> dict[str, float]:
        """Turn a typical person into this one, feature by feature: each adds what it changes."""
        steps = accumulate(
            FEATURES,
            lambda before, name: before | {name: person[name]},
            initial=typical(self.card["features"]),
        )
        changes = pairwise(_log_odds(self.pipeline, list(steps)))
        return {
            name: after - before for name, (before, after) in zip(FEATURES, changes, strict=True)
        }

    def predict_probability(self, person: Person) -> float:
        """Return the probability, 0 to 1, that `person` earns more than $50,000 a year (1994)."""
        return self.probability(self.explain(person))

    def probability(self, contributions: Mapping[str, float]) -> float:
        """Return the probability that belongs to what `explain` returns."""
        return sigmoid(self.intercept + sum(contributions.values()))

    def predict_probabilities(self, columns: Mapping[str, Sequence]) -> list[float]:
        """Return the probability for each of many people; `columns` has a list for each feature."""
        if self.formula is None:
            # scikit-learn refuses a table without rows.
            return _ask(self.pipeline, columns) if columns[FEATURES[0]] else []
        terms = []
        for name in FEATURES:
            # Many people share a value: its term is worked out once.
            known = {value: term(self.formula, name, value) for value in set(columns[name])}
            terms.append(map(known.__getitem__, columns[name]))
        return [sigmoid(self.intercept + sum(each)) for each in zip(*terms, strict=True)]


def predict_probability(person: Person) -> float:
    """Return what the model in MODEL_FOLDER says of one person; see `CensusModel`."""
    return _served.get().predict_probability(person)


def explain(person: Person) -> dict[str, float]:
    """Return why the model in MODEL_FOLDER says so: what each feature adds, in log-odds."""
    return _served.get().explain(person)


def load(folder: Path = MODEL_FOLDER) -> CensusModel:
    """Return the model in `folder`, if it is the one that its card describes.

    Raises ModelUnavailable, whose message says what is wrong and how to build the model.
    """
    return CensusModel(*read(folder, CARD, FEATURES))


def label(probability: float) -> str:
    """Return the class: the more probable of the two."""
    return CLASSES[probability > 0.5]


_served = ModelFile(MODEL_FOLDER, load)
