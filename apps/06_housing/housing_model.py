"""The housing model: train it, save it with its card, load it, and predict for one district.

Train it in this folder with `python housing_model.py housing_standin.csv`.

Three estimators work together, all boosted trees: one for the price, and two for the ends of an
interval, trained with the quantile loss. The quantiles that trees learn are too narrow for districts
they haven't seen. So a fifth of the training districts is set aside, and the interval is widened until
it contains nine in ten of those (conformalized quantile regression: Romano, Patterson and Candès, 2019).
If the interval still doesn't reach the price, it is stretched to it, so a price is always inside its
own interval.
"""

import hashlib
import io
import json
import logging
import math
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import joblib
import numpy as np
import pandas as pd
import sklearn
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.metrics import mean_absolute_error, r2_score
from sklearn.model_selection import train_test_split
from threadpoolctl import threadpool_limits

from housing_picture import price_grid

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
STEP = 25_000  # dollars; how wide each bar of the card's distribution of prices is
FEWEST = 5  # at least, in a bar or on the map, so that the card shows no row of the data
LEVEL = 0.9  # the share of districts whose price the interval should contain

STAGE = "06_housing"
HERE = Path(__file__).resolve().parent
MODEL_FOLDER = HERE / "model"
MODEL_NAME, CARD_NAME = "housing.joblib", "housing.json"
log = logging.getLogger(__name__)
Card = dict[str, Any]
Estimators = dict[str, HistGradientBoostingRegressor]
Prices = tuple[np.ndarray, np.ndarray, np.ndarray]

# The fields that a card must have, and their parts
PARTS = {
    "data": "source is_real rows_train rows_test sha256",
    "interval": "level margin_usd",
    "metrics": "r2 mae_usd interval_coverage interval_mean_width_usd share_capped mae_capped_usd",
    "versions": "python scikit_learn",
    "prices": "step_usd counts",
    "target": "unit min median max",
    **{f"features > {name}": "unit min low median high max" for name in FEATURES},
}
CARD_FIELDS = ["stage", "name", "map", "sha256", "card_sha256"]
CARD_FIELDS += [f"{field} > {part}" for field, parts in PARTS.items() for part in parts.split()]


def build_estimators() -> Estimators:
    """Return the untrained estimators: `price` in dollars, and `low` and `high` of its interval."""
    estimators = {"price": HistGradientBoostingRegressor(max_iter=500, random_state=0)}
    for name, quantile in {"low": (1 - LEVEL) / 2, "high": (1 + LEVEL) / 2}.items():
        estimators[name] = HistGradientBoostingRegressor(
            loss="quantile", quantile=quantile, min_samples_leaf=40, random_state=0
        )
    return estimators


def train(housing: Any) -> tuple[Estimators, Card]:
    """Train on `housing.train`, test on `housing.test`. Return the estimators and their card.

    Both are data frames with the FEATURES and the TARGET (in dollars) as columns, and a row per
    district. `housing.source` names where they come from, and `housing.is_real` is False for districts
    that don't exist. The estimators returned are the ones that were tested.
    """
    training, test = (part[[*FEATURES, TARGET]] for part in (housing.train, housing.test))
    estimators = build_estimators()
    # Trees of this size gain nothing from several threads, and lose a lot when other programs use the
    # processor too, because the threads keep waiting for each other.
    with threadpool_limits(limits=1):
        estimators["price"].fit(training[FEATURES], training[TARGET])
        margin = fit_interval(estimators, training)
        metrics = measure(estimators, margin, test, training[TARGET].max())
    spread = training.agg(["min", "median", "max"]).to_dict()
    for name, share in {"low": 0.01, "high": 0.99}.items():  # without the few extremes
        for column, number in training.quantile(share).items():
            spread[column][name] = float(number)
    bars = np.bincount((training[TARGET] // STEP).astype(int))
    # The hash is of the tables, not of a file: the data may be a download or the stand-in.
    csv = "".join(part.to_csv(index=False, lineterminator="\n") for part in (training, test))
    return estimators, {
        "stage": STAGE,
        "name": "California housing prices of 1990",
        "data": {
            "source": housing.source,
            "is_real": bool(housing.is_real),
            "rows_train": len(training),
            "rows_test": len(test),
            "sha256": hashlib.sha256(csv.encode()).hexdigest(),
        },
        "features": {name: {"unit": unit, **spread[name]} for name, unit in UNITS.items()},
        "target": {"unit": "$", **spread[TARGET]},
        "prices": {"step_usd": STEP, "counts": [int(n) if n >= FEWEST else 0 for n in bars]},
        "map": price_grid(training[["latitude", "longitude", TARGET]], TARGET, FEWEST),
        "interval": {"level": LEVEL, "margin_usd": margin},
        "metrics": metrics,
        "versions": {"python": sys.version.split()[0], "scikit_learn": sklearn.__version__},
    }


def fit_interval(estimators: Estimators, training: pd.DataFrame) -> float:
    """Train `low` and `high`. Return the margin in dollars by which to move them apart.

    A fifth of the districts isn't trained on. The margin is the distance between price and interval
    that LEVEL of these districts stay below. It is negative if an interval may shrink.
    """
    fitting, kept = train_test_split(training, test_size=0.2, random_state=0)
    for name in ("low", "high"):
        estimators[name].fit(fitting[FEATURES], fitting[TARGET])
    low, high = (estimators[name].predict(kept[FEATURES]) for name in ("low", "high"))
    truth = kept[TARGET].to_numpy()
    distances = np.sort(np.maximum(low - truth, truth - high))
    rank = min(math.ceil(LEVEL * (len(kept) + 1)), len(kept))
    return float(distances[rank - 1])


def predict_prices(estimators: Estimators, districts: pd.DataFrame, margin: float) -> Prices:
    """Return price, low and high in whole dollars for districts with the columns FEATURES.

    Always 0 <= low <= price <= high.
    """
    price, low, high = (estimators[name].predict(districts) for name in ("price", "low", "high"))
    price = np.maximum(price.round(), 0)
    low = np.clip((low - margin).round(), 0, price)
    return price, low, np.maximum((high + margin).round(), price)


def measure(estimators: Estimators, margin: float, test: pd.DataFrame, highest: float) -> dict:
    """Return how well the estimators do on the test districts; `highest` is the price at the cap."""
    price, low, high = predict_prices(estimators, test[FEATURES], margin)
    truth = test[TARGET].to_numpy()
    capped = truth >= highest
    at_cap = float(mean_absolute_error(truth[capped], price[capped])) if capped.any() else None
    return {
        "r2": float(r2_score(truth, price)),
        "mae_usd": float(mean_absolute_error(truth, price)),
        "interval_coverage": float(np.mean((low <= truth) & (truth <= high))),
        "interval_mean_width_usd": float(np.mean(high - low)),
        "share_capped": float(capped.mean()),
        "mae_capped_usd": at_cap,
    }


@dataclass(frozen=True)
class Answer:
    """The prediction for one district, in dollars of 1990, as the page and the API show it."""

    price_usd: int
    low_usd: int
    high_usd: int
    model_version: str  # changes whenever the model does

    @property
    def interval_usd(self) -> list[int]:
        """Both ends of the interval, the lower one first."""
        return [self.low_usd, self.high_usd]


@dataclass(frozen=True)
class HousingModel:
    """The trained estimators, and the card that belongs to them."""

    estimators: Estimators
    card: Card

    @property
    def version(self) -> str:
        """The start of the model file's SHA-256."""
        return self.card["sha256"][:12]

    @property
    def typical(self) -> dict[str, float]:
        """A typical district: the median of each feature."""
        return {name: round(self.card["features"][name]["median"], 2) for name in FEATURES}

    def answer(self, district: dict[str, float]) -> Answer:
        """Return the price of one district, a number for each of FEATURES, and its interval."""
        row = pd.DataFrame([[float(district[name]) for name in FEATURES]], columns=FEATURES)
        with threadpool_limits(limits=1):
            found = predict_prices(self.estimators, row, self.card["interval"]["margin_usd"])
        price, low, high = (int(values[0]) for values in found)
        return Answer(price, low, high, self.version)

    def curve(self, district: dict[str, float], feature: str) -> list[tuple[float, ...]]:
        """Return 41 points of (value, price, low, high): only `feature` changes, in even steps.

        The range covers 98 of 100 training districts, and always the district itself.
        """
        known, here = self.card["features"][feature], district[feature]
        values = np.linspace(min(known["low"], here), max(known["high"], here), 41)
        rows = pd.DataFrame([district | {feature: float(value)} for value in values])[FEATURES]
        with threadpool_limits(limits=1):
            found = predict_prices(self.estimators, rows, self.card["interval"]["margin_usd"])
        return [tuple(map(float, point)) for point in zip(values, *found, strict=True)]


class ModelUnavailable(Exception):
    """There is no usable model. The message says why, and ends with what to do."""

    def __init__(self, problem: str, remedy: str = "build it with") -> None:
        in_workshop = any((above / "workshop/__main__.py").exists() for above in HERE.parents[1:3])
        if in_workshop and HERE.parts[-2:] == ("apps", STAGE):
            self.command = f"python3 -m workshop train {STAGE[:2]}"
        else:
            self.command = f"python {Path(__file__).name} data.csv"
        self.problem, self.remedy = problem, remedy
        super().__init__(f"{problem}; {remedy} {self.command}")


def save(estimators: Estimators, card: Card, folder: Path = MODEL_FOLDER) -> Path:
    """Write the estimators and their card into `folder`. Return the model file's path.

    The old model stays until the new one is complete. Raises ModelUnavailable for what `load` would
    refuse, and OSError, for example if the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        new = Path(temporary)
        joblib.dump(estimators, new / MODEL_NAME, compress=3)  # trees shrink to a tenth
        content = (new / MODEL_NAME).read_bytes()
        card = card | {"sha256": hashlib.sha256(content).hexdigest()}
        card["card_sha256"] = hash_card(card)
        (new / CARD_NAME).write_text(json.dumps(card, indent=1))
        load(new)
        for name in (MODEL_NAME, CARD_NAME):
            (new / name).replace(folder / name)  # a rename, so nobody ever reads half a file
    return folder / MODEL_NAME


def load(folder: Path = MODEL_FOLDER) -> HousingModel:
    """Return the model in `folder`, after making sure that it is the one its card describes.

    A model file is a pickle, and opening a pickle can run any code. So it is opened only if it has the
    SHA-256 that the card names. That protects against mix-ups and damage, not against somebody who can
    write to the folder, because they can replace the card too. Raises ModelUnavailable.
    """
    try:
        for pause in (0, 0.2):  # if the two don't match, somebody may be saving: look again
            time.sleep(pause)
            card = check_card((folder / CARD_NAME).read_bytes())
            content = (folder / MODEL_NAME).read_bytes()
            if hashlib.sha256(content).hexdigest() == card["sha256"]:
                return open_model(content, card)
    except FileNotFoundError:
        raise ModelUnavailable("There is no trained model yet") from None
    except OSError as error:
        problem = f"The file {Path(error.filename).name} can't be read ({error.strerror})"
        raise ModelUnavailable(problem) from error
    raise ModelUnavailable(f"The model file {MODEL_NAME} is not the one its card describes")


def check_card(text: bytes) -> Card:
    """Return the card, if it has every field and fits this app. Raises ModelUnavailable."""
    try:
        card = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelUnavailable(f"The card {CARD_NAME} is damaged: it isn't JSON") from error
    for field in CARD_FIELDS:
        part = card
        for name in field.split(" > "):
            if not isinstance(part, dict) or name not in part:
                raise ModelUnavailable(f"The card {CARD_NAME} has no field {field}")
            part = part[name]
    if (card["stage"], list(card["features"])) != (STAGE, FEATURES):
        raise ModelUnavailable(f"The card {CARD_NAME} is of another stage or other features")
    trained, used = str(card["versions"]["scikit_learn"]), sklearn.__version__
    if trained.split(".")[:2] != used.split(".")[:2]:
        problem = f"The model was trained with scikit-learn {trained}, but {used} is installed"
        raise ModelUnavailable(problem, f"install scikit-learn {trained}, or train again with")
    if trained != used:
        log.warning("The model was trained with scikit-learn %s; %s is installed", trained, used)
    return card


def open_model(content: bytes, card: Card) -> HousingModel:
    """Return the model in `content`, after trying it on a typical district. Raises ModelUnavailable."""
    if card["card_sha256"] != hash_card(card):
        raise ModelUnavailable(f"The card {CARD_NAME} has changed since it was saved")
    try:
        model = HousingModel(joblib.load(io.BytesIO(content)), card)
        model.answer(model.typical)
    except Exception as error:  # a file that isn't a model may raise anything
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ModelUnavailable(f"The model file {MODEL_NAME} can't be used ({reason})") from error
    if any(type(each) is not HistGradientBoostingRegressor for each in model.estimators.values()):
        raise ModelUnavailable(f"The model file {MODEL_NAME} has other estimators than its card")
    return model


def hash_card(card: Card) -> str:
    """Return the SHA-256 of all of a card's fields except `card_sha256`."""
    fields = {name: value for name, value in card.items() if name != "card_sha256"}
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def read_districts(file: Path) -> SimpleNamespace:
    """Return the districts of a CSV file as `train` takes them.

    Its column `part` says `train` or `test` for each row. Raises OSError if it can't be read, and
    ValueError if it isn't such a table.
    """
    table = pd.read_csv(file)
    if missing := {"part", *FEATURES, TARGET} - set(table):
        names = f"no column {', '.join(sorted(missing))}, only {', '.join(map(str, table))}"
        raise ValueError(f"the table has {names}")
    parts = {part: table[table["part"] == part] for part in ("train", "test")}
    # The workshop's file of districts that don't exist has `standin` in its name.
    return SimpleNamespace(**parts, source=file.name, is_real="standin" not in file.name)


if __name__ == "__main__":
    try:
        table = Path(sys.argv[1] if sys.argv[1:] else "housing_standin.csv")
        estimators, card = train(read_districts(table))
        save(estimators, card)
    except (OSError, ValueError, ModelUnavailable) as error:
        sys.exit(f"No model was saved: {error}")
    print(f"Saved in {MODEL_FOLDER}; R² on the test districts: {card['metrics']['r2']:.3f}")
