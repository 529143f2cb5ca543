"""The housing model: train it, save it with its card, load it, ask it about one district.

Three estimators answer together, all of them boosted trees: one for the price, and two for the
ends of an interval, trained with the quantile loss. Quantiles that trees have learnt are too
narrow for districts they have not seen. So a fifth of the training districts is kept apart, and
the interval is widened by as much as makes it hold nine in ten of those (conformalized quantile
regression: Romano, Patterson and Candès, 2019). Where the interval still does not reach the
price, it is stretched to it: an interval never lies beside its own price.

How the two files are kept, and checked before one is opened, is in `housing_artifact`; this module
says what stands in them. scikit-learn and pandas take longer to import than everything else together.
They are imported in the functions that need them, so an app without a model is not kept waiting.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import FiniteFloat, TypeAdapter
from typing_extensions import TypedDict

from housing_artifact import (
    HOLDS_ANOTHER,
    MODEL_FOLDER,
    STAGE,
    ModelUnavailable,
    Versions,
    pack,
    read,
    unpack,
    versions,
    write,
)

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.utils import Bunch
    from threadpoolctl import ThreadpoolController

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

District = Mapping[str, float]
Estimators = dict[str, "HistGradientBoostingRegressor"]


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


def build_estimators() -> Estimators:
    """Return the untrained estimators: `price` in dollars, and `low` and `high` of its interval."""
    from sklearn.ensemble import HistGradientBoostingRegressor

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
    import numpy as np
    from sklearn.metrics import mean_absolute_error, r2_score

    training, test = (part[[*FEATURES, TARGET]] for part in (housing.train, housing.test))
    estimators = build_estimators()
    with threads().limit(limits=1):
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
        "versions": versions(),
    }
    return estimators, card


@cache
def threads() -> ThreadpoolController:
    """Return what limits the threads of scikit-learn, which must have been imported.

    Trees of this size gain nothing from several threads, and lose much where other programs use the
    processor too: the threads of OpenMP wait for each other by spinning.
    """
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def _fit_interval(estimators: Estimators, training: pd.DataFrame) -> float:
    """Train `low` and `high`; return the margin in dollars by which to move them apart.

    A fifth of the districts is not trained on. The margin is the distance between price and
    interval that LEVEL of these districts stay below; it is negative where an interval may shrink.
    """
    import numpy as np
    from sklearn.model_selection import train_test_split

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
    import numpy as np

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
    """Write the estimators and their card into `folder`, and return the model file's path."""
    return write(pack(estimators, compress=3), card, folder)  # trees shrink to a tenth


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
        import pandas as pd

        frame = pd.DataFrame([[float(district[name]) for name in FEATURES]], columns=FEATURES)
        with threads().limit(limits=1):
            answers = answer(self.estimators, frame, self.card["interval"]["margin_usd"])
        price, low, high = (int(values[0]) for values in answers)
        return Prediction(price, low, high, self.version)


def load(folder: Path = MODEL_FOLDER) -> HousingModel:
    """Return the model in `folder`, if it is the one that its card describes.

    Raises ModelUnavailable, whose message says what is wrong and how to build the model.
    """
    content, card = read(folder, CARD, FEATURES)
    return HousingModel(_open_estimators(content), card)


def _open_estimators(content: bytes) -> Estimators:
    """Open a model file that has been checked. Raises ModelUnavailable."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    estimators = unpack(content)
    if not isinstance(estimators, dict) or not all(
        isinstance(estimators.get(name), HistGradientBoostingRegressor)
        and list(getattr(estimators[name], "feature_names_in_", ())) == FEATURES
        for name in build_estimators()
    ):
        raise ModelUnavailable(HOLDS_ANOTHER)
    return estimators
