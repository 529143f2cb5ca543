"""The housing model: train it, save it with its card, load it safely, ask it about one district.

Three estimators answer together, all of them boosted trees: one for the price, and two for the
ends of an interval, trained with the quantile loss. Quantiles that trees have learnt are too
narrow for districts they have not seen. So a fifth of the training districts is kept apart, and
the interval is widened by as much as makes it hold nine in ten of those (conformalized quantile
regression: Romano, Patterson and Candès, 2019). Where the interval still does not reach the
price, it is stretched to it: an interval never lies beside its own price.

The card is a JSON file beside the model file. It says what the model was trained on, how well it
did on districts it had not seen, and which file it belongs to. Loading reads the card first: a
model file is a pickle, and a pickle can run any code when it is opened, so a file that is not the
one its card describes is never opened. That guards against mix-ups and damage, not against someone
who can write to the folder: who can replace the model can replace its card.
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
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import joblib
import numpy as np
import pandas as pd
import sklearn
from pydantic import FiniteFloat, TypeAdapter, ValidationError
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.metrics import mean_absolute_error, r2_score
from sklearn.model_selection import train_test_split
from threadpoolctl import ThreadpoolController
from typing_extensions import TypedDict

if TYPE_CHECKING:
    from sklearn.utils import Bunch

UNITS = {
    "median_income": "10,000 $",
    "house_age": "years",
    "average_rooms": "rooms per household",
    "average_bedrooms": "bedrooms per household",
    "population": "people",
    "average_occupancy": "people per household",
    "latitude": "degrees north",
    "longitude": "degrees, negative in the west",
}
FEATURES = list(UNITS)
TARGET = "price"
LEVEL = 0.9  # the share of districts whose price the interval is to hold
STAGE = "06_housing"
MODEL_FOLDER = Path(__file__).parent / "model"
MODEL_NAME, CARD_NAME = "housing.joblib", "housing.json"
TRAIN_COMMAND = "python3 -m workshop train 06"

# Trees of this size gain nothing from several threads, and lose much where other programs use the
# processor too: the threads of OpenMP wait for each other by spinning.
THREADS = ThreadpoolController()

District = Mapping[str, float]
Estimators = dict[str, HistGradientBoostingRegressor]


class Feature(TypedDict):
    """A feature, or the target, as the training districts have it."""

    unit: str
    min: FiniteFloat
    median: FiniteFloat
    max: FiniteFloat


class Data(TypedDict):
    """What the model was trained and tested on; `sha256` is that of both frames as CSV."""

    source: str
    is_real: bool
    rows_train: int
    rows_test: int
    sha256: str


class Interval(TypedDict):
    """What the interval promises, and how far the learnt quantiles were moved apart for it."""

    level: FiniteFloat
    margin_usd: FiniteFloat


class Metrics(TypedDict):
    """Measured on the test districts.

    `share_capped` of them have the highest price there is in the data, which stands for "this or
    more"; `mae_capped_usd` is the error on those, null where there are none.
    """

    r2: FiniteFloat
    mae_usd: FiniteFloat
    interval_coverage: FiniteFloat
    interval_mean_width_usd: FiniteFloat
    share_capped: FiniteFloat
    mae_capped_usd: FiniteFloat | None


class Versions(TypedDict):
    """The versions that trained the model."""

    python: str
    scikit_learn: str


class Card(TypedDict):
    """Everything a user of the model should know; `sha256` is that of the model file."""

    stage: Literal["06_housing"]
    name: str
    sha256: str
    data: Data
    features: dict[str, Feature]
    target: Feature
    interval: Interval
    metrics: Metrics
    versions: Versions


CARD = TypeAdapter(Card)


class ModelUnavailable(Exception):
    """There is no model that may be used. The message says why and ends with the remedy."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"{problem}; build it with {TRAIN_COMMAND}")
        self.problem = problem


def build_estimators() -> Estimators:
    """Return the untrained estimators: `price` in dollars, and `low` and `high` of its interval."""
    quantiles = {"low": (1 - LEVEL) / 2, "high": (1 + LEVEL) / 2}
    estimators = {"price": HistGradientBoostingRegressor(max_iter=500, random_state=0)}
    for name, quantile in quantiles.items():
        estimators[name] = HistGradientBoostingRegressor(
            loss="quantile", quantile=quantile, min_samples_leaf=40, random_state=0
        )
    return estimators


def train(housing: Bunch) -> tuple[Estimators, Card]:
    """Train on `housing.train`, test on `housing.test`; return the estimators and their card.

    `housing` is what `fetch_housing()` returns: two frames of one district per row, with the
    FEATURES and the TARGET in dollars, and `source` and `is_real`. The returned estimators are the
    very ones that were tested. The card's `sha256` is empty: `save` fills it in.
    """
    training, test = (part[[*FEATURES, TARGET]] for part in (housing.train, housing.test))
    with THREADS.limit(limits=1):
        estimators = build_estimators()
        estimators["price"].fit(training[FEATURES], training[TARGET])
        margin = _fit_interval(estimators, training)
        price, low, high = answer(estimators, test[FEATURES], margin)
    truth = test[TARGET].to_numpy()
    capped = truth >= training[TARGET].max()
    # Hash the tables, not a file: the data may have come as a download, an archive or a stand-in.
    csv = "".join(part.to_csv(index=False, lineterminator="\n") for part in (training, test))
    card: Card = {
        "stage": STAGE,
        "name": "California housing prices of 1990",
        "sha256": "",
        "data": {
            "source": housing.source,
            "is_real": bool(housing.is_real),
            "rows_train": len(training),
            "rows_test": len(test),
            "sha256": hashlib.sha256(csv.encode()).hexdigest(),
        },
        "features": {name: _describe(training[name], UNITS[name]) for name in FEATURES},
        "target": _describe(training[TARGET], "$"),
        "interval": {"level": LEVEL, "margin_usd": margin},
        "metrics": {
            "r2": float(r2_score(truth, price)),
            "mae_usd": float(mean_absolute_error(truth, price)),
            "interval_coverage": float(np.mean((low <= truth) & (truth <= high))),
            "interval_mean_width_usd": float(np.mean(high - low)),
            "share_capped": float(capped.mean()),
            "mae_capped_usd": (
                float(mean_absolute_error(truth[capped], price[capped])) if capped.any() else None
            ),
        },
        "versions": {
            "python": platform.python_version(),
            "scikit_learn": sklearn.__version__,
        },
    }
    return estimators, card


def _fit_interval(estimators: Estimators, training: pd.DataFrame) -> float:
    """Train `low` and `high`; return the margin in dollars by which to move them apart.

    A fifth of the districts is not trained on. The margin is the distance between price and
    interval that LEVEL of these districts stay below; it is negative where an interval may shrink.
    """
    fitting, kept = train_test_split(training, test_size=0.2, random_state=0)
    for name in ("low", "high"):
        estimators[name].fit(fitting[FEATURES], fitting[TARGET])
    low, high = (estimators[name].predict(kept[FEATURES]) for name in ("low", "high"))
    truth = kept[TARGET].to_numpy()
    distances = np.sort(np.maximum(low - truth, truth - high))
    rank = min(math.ceil(LEVEL * (len(kept) + 1)), len(kept))
    return float(distances[rank - 1])


def answer(
    estimators: Estimators, districts: pd.DataFrame, margin: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return price, low and high in whole dollars for districts with the columns FEATURES.

    Always 0 <= low <= price <= high.
    """
    price, low, high = (estimators[name].predict(districts) for name in ("price", "low", "high"))
    price = np.maximum(price.round(), 0)
    low = np.clip((low - margin).round(), 0, price)
    return price, low, np.maximum((high + margin).round(), price)


def _describe(column: pd.Series, unit: str) -> Feature:
    """Return what the card says about one column of the training districts."""
    return {
        "unit": unit,
        "min": float(column.min()),
        "median": float(column.median()),
        "max": float(column.max()),
    }


def save(estimators: Estimators, card: Card, folder: Path = MODEL_FOLDER) -> Path:
    """Write the model file and its card into `folder`, and return the model file's path.

    Both are written whole under temporary names first, then renamed, the card last: whoever reads
    the folder meanwhile sees the old model, or a mismatch that loading refuses, never half a file.
    """
    buffer = io.BytesIO()
    joblib.dump(estimators, buffer, compress=3)  # trees shrink to a tenth
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
class Prediction:
    """What the model says of one district: dollars of 1990, and the version that said so."""

    price_usd: int
    low_usd: int
    high_usd: int
    model_version: str

    @property
    def interval_usd(self) -> list[int]:
        """Both ends of the interval, the lower one first."""
        return [self.low_usd, self.high_usd]


class HousingModel:
    """The trained estimators, and the card that belongs to them."""

    def __init__(self, estimators: Estimators, card: Card) -> None:
        self.estimators = estimators
        self.card = card

    @property
    def version(self) -> str:
        """The start of the model file's SHA-256: it changes whenever the model does."""
        return self.card["sha256"][:12]

    def predict(self, district: District) -> Prediction:
        """Return the price of one district, which has a number for each of the FEATURES."""
        frame = pd.DataFrame([[float(district[name]) for name in FEATURES]], columns=FEATURES)
        with THREADS.limit(limits=1):
            answers = answer(self.estimators, frame, self.card["interval"]["margin_usd"])
        price, low, high = (int(values[0]) for values in answers)
        return Prediction(price, low, high, self.version)


def load(folder: Path = MODEL_FOLDER) -> HousingModel:
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
    return HousingModel(_open_estimators(content), card)


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


def _open_estimators(content: bytes) -> Estimators:
    """Unpickle a model file whose SHA-256 has been checked. Raises ModelUnavailable."""
    try:
        estimators = joblib.load(io.BytesIO(content))
    except UNREADABLE as error:
        raise ModelUnavailable(f"The model file {MODEL_NAME} can't be opened") from error
    if not isinstance(estimators, dict) or not all(
        isinstance(estimators.get(name), HistGradientBoostingRegressor)
        and list(getattr(estimators[name], "feature_names_in_", ())) == FEATURES
        for name in build_estimators()
    ):
        raise ModelUnavailable(f"The model file {MODEL_NAME} holds not what its card says")
    return estimators


class ModelFile:
    """The model in a folder: loaded once, and again only when its files have changed.

    So training in another terminal heals a running app. A new model that is not whole does not
    replace the old one. Safe to share between the threads of a server.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self._lock = threading.Lock()
        self._seen: list[tuple[int, int] | None] | None = None
        self._model: HousingModel | None = None
        self._problem = ""

    def get(self) -> HousingModel:
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
