"""The iris model: train it, save it with its card, load it safely, ask it about one flower.

The card is a JSON file beside the model file. It says what the model was trained on, how well it
did on flowers it had not seen, and which file it belongs to. Loading reads the card first: a model
file is a pickle, and a pickle can run any code when it is opened, so a file that is not the one its
card describes is never opened. That guards against mix-ups and damage, not against someone who can
write to the folder: who can replace the model can replace its card.
"""

import hashlib
import io
import json
import pickle
import platform
import secrets
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import joblib
import pandas as pd
import sklearn
from pydantic import FiniteFloat, TypeAdapter, ValidationError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, confusion_matrix
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from typing_extensions import TypedDict

FEATURES = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
TARGET = "species"
STAGE = "04_iris"
MODEL_FOLDER = Path(__file__).parent / "model"
MODEL_NAME, CARD_NAME = "iris.joblib", "iris.json"
TRAIN_COMMAND = "python3 -m workshop train 04"

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


class Versions(TypedDict):
    """The versions that trained the model."""

    python: str
    scikit_learn: str


class PicturedFlower(TypedDict):
    """One flower of the data set, as the picture of all flowers shows it (cm)."""

    petal_length: FiniteFloat
    petal_width: FiniteFloat
    species: Species
    used_for: Literal["training", "test"]


class Card(TypedDict):
    """Everything a user of the model should know; `sha256` is that of the model file."""

    stage: Literal["04_iris"]
    name: str
    sha256: str
    data: Data
    features: dict[str, Feature]
    classes: list[Species]
    metrics: Metrics
    versions: Versions
    flowers: list[PicturedFlower]


CARD = TypeAdapter(Card)


class ModelUnavailable(Exception):
    """There is no model that may be used. The message says why and ends with the remedy."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"{problem}; build it with {TRAIN_COMMAND}")
        self.problem = problem


def build_pipeline() -> Pipeline:
    """Return the untrained estimator: scaling, then logistic regression."""
    return Pipeline([("scale", StandardScaler()), ("classify", LogisticRegression())])


def train(flowers: pd.DataFrame, source: str = "data/iris.csv") -> tuple[Pipeline, Card]:
    """Train on three quarters of the flowers, test on the rest; return the pipeline and its card.

    `flowers` has the four FEATURES in cm and the TARGET, one row per flower. The returned pipeline
    is the very one that was tested. The card's `sha256` is empty: `save` fills it in.
    """
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
        "versions": {
            "python": platform.python_version(),
            "scikit_learn": sklearn.__version__,
        },
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


@dataclass(frozen=True)
class IrisModel:
    """A trained pipeline and the card that belongs to it."""

    pipeline: Pipeline
    card: Card

    def predict(self, flower: dict[str, float]) -> tuple[str, dict[str, float]]:
        """Return the most probable species, and the probability of each, for one flower in cm."""
        row = pd.DataFrame([flower], columns=FEATURES)
        shares = self.pipeline.predict_proba(row)[0]
        probabilities = dict(zip(self.card["classes"], map(float, shares), strict=True))
        return max(probabilities, key=probabilities.__getitem__), probabilities


def load(folder: Path = MODEL_FOLDER) -> IrisModel:
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
    return IrisModel(_open_pipeline(content, card), card)


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


def _open_pipeline(content: bytes, card: Card) -> Pipeline:
    """Unpickle a model file whose SHA-256 has been checked. Raises ModelUnavailable."""
    try:
        pipeline = joblib.load(io.BytesIO(content))
    except UNREADABLE as error:
        raise ModelUnavailable(f"The model file {MODEL_NAME} can't be opened") from error
    classes = list(getattr(pipeline, "classes_", ()))
    if not isinstance(pipeline, Pipeline) or classes != card["classes"]:
        raise ModelUnavailable(f"The model file {MODEL_NAME} holds not what its card says")
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
        self._model: IrisModel | None = None
        self._problem = ""

    def get(self) -> IrisModel:
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
