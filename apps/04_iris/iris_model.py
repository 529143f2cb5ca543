"""The iris model: train it, save it with its card, load it safely, ask it about one flower.

The card is a JSON file beside the model file. It says what the model was trained on, how well it
did on flowers it had not seen, and which file it belongs to. Loading reads the card first: a model
file is a pickle, and a pickle can run any code when it is opened, so a file that is not the one its
card describes is never opened. That guards against mix-ups and damage, not against someone who can
write to the folder: who can replace the model can replace its card.

`save` also writes into the card what the pipeline computes (see `iris_formula`). With that the app
needs neither scikit-learn nor pandas, which take longer to import than everything else together. So
they are imported in the functions that need them: those that train, and those that open the pipeline.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import json
import logging
import pickle
import platform
import secrets
import threading
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NotRequired

from pydantic import FiniteFloat, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from iris_formula import Formula, NotUnderstood, probabilities, take_apart

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline

FEATURES = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
TARGET = "species"
STAGE = "04_iris"
MODEL_FOLDER = Path(__file__).parent / "model"
MODEL_NAME, CARD_NAME = "iris.joblib", "iris.json"
TRAIN_COMMAND = "python3 -m workshop train 04"
PATIENCE = 10.0  # seconds that a request waits for a model that is being loaded
HOLDS_ANOTHER = f"The model file {MODEL_NAME} holds not what its card says"

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


class ModelUnavailable(Exception):
    """There is no model that may be used. The message says why and ends with the remedy."""

    status = "unavailable"

    def __init__(self, problem: str, remedy: str = f"build it with {TRAIN_COMMAND}") -> None:
        super().__init__(f"{problem}; {remedy}")
        self.problem = problem


class ModelLoading(ModelUnavailable):
    """The model is on its way."""

    status = "loading"

    def __init__(self) -> None:
        super().__init__("The model is still being loaded", "ask again in a moment")


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
        "versions": {
            "python": platform.python_version(),
            "scikit_learn": _installed(),
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
    Into the card go the model file's SHA-256 and, if there is one, the pipeline's formula.
    """
    import joblib

    buffer = io.BytesIO()
    joblib.dump(pipeline, buffer)
    sha256 = hashlib.sha256(buffer.getvalue()).hexdigest()
    card = {name: value for name, value in card.items() if name != "formula"} | {"sha256": sha256}
    if formula := _formula(pipeline, card["features"]):
        card |= {"formula": formula | {"sha256": sha256}}
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
        return _open_pipeline(self._content, self.card)

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
    """Read the card, and check that model file and versions agree with it before the file is opened.

    Raises ModelUnavailable, whose message says what is wrong and how to build the model.
    """
    card = _read_card(folder / CARD_NAME)
    trained, installed = card["versions"], _installed()
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
    # The bytes that are checked are the bytes that may be opened: the file is read once.
    if hashlib.sha256(content).hexdigest() != card["sha256"]:
        raise ModelUnavailable(f"The model file {MODEL_NAME} is not the one its card describes")
    return IrisModel(content, card)


def _installed() -> str:
    """Return the version of scikit-learn, without importing it."""
    return importlib.metadata.version("scikit-learn")


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
    import joblib
    from sklearn.pipeline import Pipeline

    try:
        pipeline = joblib.load(io.BytesIO(content))
    except UNREADABLE as error:
        raise ModelUnavailable(f"The model file {MODEL_NAME} can't be opened") from error
    classes = list(getattr(pipeline, "classes_", ()))
    if not isinstance(pipeline, Pipeline) or classes != card["classes"]:
        raise ModelUnavailable(HOLDS_ANOTHER)
    return pipeline


class ModelFile:
    """The model in a folder: loaded once, and again only when its files have changed.

    So training in another terminal heals a running app. A new model that is not whole does not
    replace the old one. Loading has a thread of its own, so that an app can say meanwhile that it
    is on its way. Safe to share between the threads of a server.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self._paths = [self.folder / name for name in (CARD_NAME, MODEL_NAME)]
        self._lock = threading.Lock()  # held for starting to load
        self._order = threading.Lock()  # held for loading: two loads never overlap
        self._seen: list[tuple[int, int] | None] | None = None
        self._loading: threading.Thread | None = None
        self._model: IrisModel | None = None
        self._problem = ""

    def get(self, patience: float = PATIENCE) -> IrisModel:
        """Return the model to use now.

        Whoever comes first after the files have changed waits for the new model, though not longer
        than `patience` in seconds; until it is there, all others get the old one. While there is no
        old one, everybody waits. Raises ModelUnavailable when there has never been a model, and its
        subclass ModelLoading when it takes longer than that.
        """
        # Taken before loading: a change during loading shows as a new state on the next call.
        state = [_state(path) for path in self._paths]
        if (state != self._seen and self._start_loading(state)) or self._model is None:
            self._loading.join(patience)
        if self._model is not None:
            return self._model
        if self._loading.is_alive():
            raise ModelLoading
        raise ModelUnavailable(self._problem)

    def _start_loading(self, state: list[tuple[int, int] | None]) -> bool:
        """Load what is in the folder now, unless another thread has seen the same change first."""
        with self._lock:
            if state == self._seen:
                return False
            loading = threading.Thread(target=self._load, name="load the model", daemon=True)
            loading.start()
            self._loading, self._seen = loading, state
            return True

    def _load(self) -> None:
        with self._order:
            try:
                self._model = load(self.folder)
            except ModelUnavailable as error:
                self._problem = error.problem
                log.warning("%s", error)
            except BaseException:
                self._problem = f"The model file {MODEL_NAME} can't be loaded"
                raise  # a crash: the thread's traceback is for the log


def _state(path: Path) -> tuple[int, int] | None:
    """Return what changes when a file is replaced, or None where there is no file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino
