"""The census model: train it, save it with its card, load it safely, ask it about one person.

The estimator is a logistic regression, because it can say why: it adds one number per feature, and
the sum decides. `CensusModel` takes those numbers out of the trained pipeline once, when the model
is loaded, so that answer and explanation are the same sum.

The card is a JSON file beside the model file. It says what the model was trained on, how well it
did on people it had not seen, and which file it belongs to. Loading reads the card first: a model
file is a pickle, and a pickle can run any code when it is opened, so a file that is not the one its
card describes is never opened. That guards against mix-ups and damage, not against someone who can
write to the folder: who can replace the model can replace its card.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import pickle
import platform
import secrets
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import joblib
import pandas as pd
import sklearn
from pydantic import FiniteFloat, TypeAdapter, ValidationError
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, brier_score_loss, confusion_matrix, roc_auc_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from typing_extensions import TypedDict

if TYPE_CHECKING:
    import numpy as np
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
TARGET = "income"
CLASSES = ["<=50K", ">50K"]  # what 0 and 1 stand for: dollars a year, in 1994
UNITS = {"age": "years", "hours_per_week": "hours"}
MISSING = "missing"  # the category that stands for "not known" inside the pipeline
STAGE = "05_census"
MODEL_FOLDER = Path(__file__).parent / "model"
MODEL_NAME, CARD_NAME = "census.joblib", "census.json"
TRAIN_COMMAND = "python3 -m workshop train 05"
HOLDS_ANOTHER = f"The model file {MODEL_NAME} holds not what its card says"

Person = Mapping[str, "str | int | None"]


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


class Versions(TypedDict):
    """The versions that trained the model."""

    python: str
    scikit_learn: str


class Card(TypedDict):
    """Everything a user of the model should know; `sha256` is that of the model file."""

    stage: Literal["05_census"]
    name: str
    sha256: str
    data: Data
    features: dict[str, NumberFeature | CategoryFeature]
    classes: list[str]
    intercept: FiniteFloat
    metrics: Metrics
    versions: Versions


CARD = TypeAdapter(Card)


class ModelUnavailable(Exception):
    """There is no model that may be used. The message says why and ends with the remedy."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"{problem}; build it with {TRAIN_COMMAND}")
        self.problem = problem


def build_pipeline() -> Pipeline:
    """Return the untrained estimator: scaling and one-hot encoding, then logistic regression.

    Every column it makes has mean 0 over the training people. So the intercept is the answer for
    an average of all of them, and each coefficient says how far a person's value moves from it.
    """
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
    training, test = (part[[*FEATURES, TARGET]] for part in (census.train, census.test))
    pipeline = build_pipeline().fit(training[FEATURES], training[TARGET])
    probabilities = pipeline.predict_proba(test[FEATURES])[:, 1]
    answers = pipeline.predict(test[FEATURES])
    # Hash the tables, not a file: the data may have come as a download, an archive or a stand-in.
    csv = "".join(part.to_csv(index=False, lineterminator="\n") for part in (training, test))
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
        "features": {name: _describe(name, census.train) for name in FEATURES},
        "classes": CLASSES,
        "intercept": float(pipeline.named_steps["classify"].intercept_[0]),
        "metrics": {
            "accuracy": float(accuracy_score(test[TARGET], answers)),
            "roc_auc": float(roc_auc_score(test[TARGET], probabilities)),
            "brier": float(brier_score_loss(test[TARGET], probabilities)),
            "groups": _measure_groups(test, answers),
        },
        "versions": {
            "python": platform.python_version(),
            "scikit_learn": sklearn.__version__,
        },
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
    """Write the model file and its card into `folder`, and return the model file's path.

    Both are written whole under temporary names first, then renamed, the card last: whoever reads
    the folder meanwhile sees the old model, or a mismatch that loading refuses, never half a file.
    """
    buffer = io.BytesIO()
    joblib.dump(pipeline, buffer)
    card = card | {"sha256": hashlib.sha256(buffer.getvalue()).hexdigest()}
    contents = {
        MODEL_NAME: buffer.getvalue(),
        CARD_NAME: (json.dumps(card, indent=1, ensure_ascii=False) + "\n").encode(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    suffix = f".{secrets.token_hex(4)}.tmp"
    try:
        for name, content in contents.items():
            (folder / (name + suffix)).write_bytes(content)
        for name in contents:
            (folder / (name + suffix)).replace(folder / name)
    finally:
        for name in contents:
            (folder / (name + suffix)).unlink(missing_ok=True)
    return folder / MODEL_NAME


class CensusModel:
    """A trained pipeline, the card that belongs to it, and the sums the pipeline really does.

    Those sums answer for one person about a thousand times as fast as the pipeline, which wants a
    data frame, and they are the explanation as well. A test holds them against the pipeline.
    """

    def __init__(self, pipeline: Pipeline, card: Card) -> None:
        """Take the terms out of `pipeline`. Raises ModelUnavailable for one of another kind."""
        self.pipeline = pipeline
        self.card = card
        try:
            self._numbers, self._categories = _take_apart(pipeline)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise ModelUnavailable(HOLDS_ANOTHER) from error
        for name, weights in self._categories.items():
            if set(card["features"][name].get("categories", ())) != set(weights) - {None}:
                raise ModelUnavailable(HOLDS_ANOTHER)

    @property
    def version(self) -> str:
        """The start of the model file's SHA-256: it changes whenever the model does."""
        return self.card["sha256"][:12]

    @property
    def intercept(self) -> float:
        """The log-odds of earning more for an average of all training people."""
        return self.card["intercept"]

    def explain(self, person: Person) -> dict[str, float]:
        """Return what each feature adds to the intercept, in log-odds.

        `person` has a value for every feature; a category may be None (or nan, as in a frame) where
        it is not known. Raises ValueError for a category the model was not trained on.
        """
        terms = {}
        for name in FEATURES:
            value = person[name]
            if name in self._numbers:
                slope, mean = self._numbers[name]
                terms[name] = slope * (float(value) - mean)
                continue
            weights = self._categories[name]
            known = None if value != value else value  # only nan differs from itself
            if known not in weights:
                raise ValueError(
                    f"{name} is {value!r}, not one of {', '.join(filter(None, weights))}"
                )
            terms[name] = weights[known]
        return terms

    def predict_probability(self, person: Person) -> float:
        """Return the probability, 0 to 1, that `person` earns more than $50,000 a year (1994)."""
        return self.probability(self.explain(person))

    def probability(self, contributions: Mapping[str, float]) -> float:
        """Return the probability that belongs to what `explain` returns."""
        return sigmoid(self.intercept + sum(contributions.values()))


def sigmoid(log_odds: float) -> float:
    """Return the probability that belongs to log-odds."""
    return 1 / (1 + math.exp(-log_odds))


def _take_apart(pipeline: Pipeline) -> tuple[dict, dict]:
    """Return what a fitted pipeline adds up, feature by feature.

    For a number: the slope in log-odds per unit, and the mean that counts as 0. For a category: the
    term of each of its values, and under None the term of a missing one.
    """
    prepare, classify = pipeline.named_steps["prepare"], pipeline.named_steps["classify"]
    scale, one_hot = (prepare.named_transformers_[name] for name in ("numbers", "categories"))
    coefficients = classify.coef_[0].tolist()
    numbers = {}
    for i, name in enumerate(NUMBERS):
        numbers[name] = coefficients[i] / float(scale.scale_[i]), float(scale.mean_[i])
    known, means = one_hot.named_steps["encode"].categories_, one_hot.named_steps["centre"].mean_
    categories: dict[str, dict[str | None, float]] = {}
    rest = list(zip(coefficients[len(NUMBERS) :], means.tolist(), strict=True))
    for name, values in zip(CATEGORIES, known, strict=True):
        own, rest = rest[: len(values)], rest[len(values) :]
        average = sum(coefficient * mean for coefficient, mean in own)
        terms = {
            str(value): coefficient - average
            for value, (coefficient, _) in zip(values, own, strict=True)
        }
        # Where no training person lacked it, a missing value sets none of the one-hot columns.
        categories[name] = {None: terms.pop(MISSING, -average), **terms}
    return numbers, categories


def predict_probability(person: Person) -> float:
    """Return what the model in MODEL_FOLDER says of one person; see `CensusModel`."""
    return _served.get().predict_probability(person)


def explain(person: Person) -> dict[str, float]:
    """Return why the model in MODEL_FOLDER says so: what each feature adds, in log-odds."""
    return _served.get().explain(person)


def load(folder: Path = MODEL_FOLDER) -> CensusModel:
    """Read the card, check that model file and versions agree with it, and only then open the file.

    Raises ModelUnavailable, whose message says what is wrong and how to build the model.
    """
    card = _read_card(folder / CARD_NAME)
    trained, installed = card["versions"], sklearn.__version__
    if trained["scikit_learn"] != installed:
        raise ModelUnavailable(
            f"The model was trained with scikit-learn {trained['scikit_learn']}, "
            f"but {installed} is installed"
        )
    if trained["python"].split(".")[:2] != platform.python_version().split(".")[:2]:
        raise ModelUnavailable(
            f"The model was trained with Python {trained['python']}, "
            f"but this is Python {platform.python_version()}"
        )
    try:
        content = (folder / MODEL_NAME).read_bytes()
    except FileNotFoundError:
        raise ModelUnavailable(f"The model file {MODEL_NAME} is missing") from None
    except OSError as error:
        raise ModelUnavailable(
            f"The model file {MODEL_NAME} can't be read ({error.strerror})"
        ) from error
    # The bytes that are checked are the bytes that are opened: the file is read once.
    if hashlib.sha256(content).hexdigest() != card["sha256"]:
        raise ModelUnavailable(f"The model file {MODEL_NAME} is not the one its card describes")
    return CensusModel(_open_pipeline(content), card)


def _read_card(path: Path) -> Card:
    """Return the card at `path`, checked in form. Raises ModelUnavailable."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise ModelUnavailable("There is no trained model yet") from None
    except OSError as error:
        raise ModelUnavailable(
            f"The model's card {path.name} can't be read ({error.strerror})"
        ) from error
    try:
        card = CARD.validate_json(content, strict=True)
    except ValidationError as error:
        if any(problem["loc"] == ("stage",) for problem in error.errors()):
            raise ModelUnavailable(
                f"The card {path.name} does not belong to stage {STAGE}"
            ) from error
        raise ModelUnavailable(f"The model's card {path.name} is damaged") from error
    if list(card["features"]) != FEATURES:
        raise ModelUnavailable(f"The card {path.name} describes a model with other features")
    return card


# What opening a damaged or foreign pickle raises; the documentation of `pickle` names most.
UNREADABLE = (
    pickle.UnpicklingError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    TypeError,
    ValueError,
)


def _open_pipeline(content: bytes) -> Pipeline:
    """Unpickle a model file whose SHA-256 has been checked. Raises ModelUnavailable."""
    try:
        pipeline = joblib.load(io.BytesIO(content))
    except UNREADABLE as error:
        raise ModelUnavailable(f"The model file {MODEL_NAME} can't be opened") from error
    if not isinstance(pipeline, Pipeline) or list(getattr(pipeline, "classes_", ())) != [0, 1]:
        raise ModelUnavailable(HOLDS_ANOTHER)
    return pipeline


class ModelFile:
    """The model in a folder: loaded once, and again only when its files have changed.

    So training in another terminal heals a running app. A new model that is not whole does not
    replace the old one. Safe to share between the threads of a server.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self._lock = threading.Lock()
        self._seen: list[tuple[int, int] | None] | None = None
        self._model: CensusModel | None = None
        self._problem = ""

    def get(self) -> CensusModel:
        """Return the model to use now. Raises ModelUnavailable when there has never been one."""
        with self._lock:
            # Taken before loading: a change during loading shows as a new state on the next call.
            state = [_state(self.folder / name) for name in (CARD_NAME, MODEL_NAME)]
            if state != self._seen:
                self._seen = state
                try:
                    self._model = load(self.folder)
                except ModelUnavailable as error:
                    self._problem = error.problem
            if self._model is None:
                raise ModelUnavailable(self._problem)
            return self._model


def _state(path: Path) -> tuple[int, int] | None:
    """Return what changes when a file is replaced, or None where there is no file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino


_served = ModelFile(MODEL_FOLDER)
