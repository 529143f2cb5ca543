"""Make `housing_standin.csv`: districts that don't exist, drawn from a model of California housing.

    python3 tools/make_housing_standin.py [FILE]

The model is a mixture of 80 Gaussian distributions over the eight features and the price together,
skewed columns as logarithms. It is fitted to the real training districts only, so the real test
districts remain unseen by a model that is trained on the stand-in.

A draw is kept only if it could be a district: it is near a real training district (a Gaussian knows
nothing about the Pacific), and it doesn't equal a real one. Its numbers are clipped to the census's
limits.

With a fixed seed and a single thread, the result is the same each time, byte for byte. Another
processor or version of NumPy may round the last digits differently, and then draws other districts,
which are just as good.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import BallTree
from threadpoolctl import threadpool_limits

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))  # for running as a script, from anywhere

from workshop.core.datasets import HOUSING_COLUMNS, HOUSING_STANDIN, fetch_housing  # noqa: E402

SEED = 1990
TRAIN_ROWS, TEST_ROWS = 7_500, 2_500
DRAWS = 12_000  # one in twenty is too far away
PARTS = 80
LOGARITHMS = [
    "median_income",
    "average_rooms",
    "average_bedrooms",
    "population",
    "average_occupancy",
    "price",
]
# Limits of the data itself: the census capped incomes, ages and prices there, and the
# coordinates are those of the outermost districts. The other limits are round numbers beyond which
# the real training part has no district.
LIMITS = {
    "median_income": (0.4999, 15.0001),
    "house_age": (1, 52),
    "average_rooms": (0.8, 150),
    "average_bedrooms": (0.3, 35),
    "population": (3, 36_000),
    "average_occupancy": (0.7, 600),
    "latitude": (32.54, 41.95),
    "longitude": (-124.35, -114.31),
    "price": (14_999, 500_001),
}
DECIMALS = {
    "median_income": 4,
    "house_age": 0,
    "average_rooms": 4,
    "average_bedrooms": 4,
    "population": 0,
    "average_occupancy": 4,
    "latitude": 2,
    "longitude": 2,
    "price": 0,
}
NEAR = 10.0  # km
EARTH_RADIUS = 6371.0  # km


def fit_mixture(table: np.ndarray) -> GaussianMixture:
    """Fit the mixture to standardized columns, shape (districts, columns).

    It runs in one thread, because several threads don't always add up in the same order.
    """
    with threadpool_limits(limits=1):
        return GaussianMixture(PARTS, random_state=SEED).fit(table)


def draw(mixture: GaussianMixture, rows: int, rng: np.random.Generator) -> np.ndarray:
    """Draw `rows` points from the mixture, shape (rows, columns), the parts in random order."""
    parts = rng.choice(len(mixture.weights_), size=rows, p=mixture.weights_)
    spread = np.linalg.cholesky(mixture.covariances_)[parts]
    noise = rng.standard_normal((rows, mixture.means_.shape[1], 1))
    return mixture.means_[parts] + (spread @ noise)[:, :, 0]


def kilometres_to_nearest(districts: pd.DataFrame, others: pd.DataFrame) -> np.ndarray:
    """For each of `districts`, shape (n,): the distance to the nearest of `others`, in km."""
    places = BallTree(np.radians(others[["latitude", "longitude"]]), metric="haversine")
    distances, _ = places.query(np.radians(districts[["latitude", "longitude"]]))
    return distances[:, 0] * EARTH_RADIUS


def equals_some(districts: pd.DataFrame, others: pd.DataFrame) -> np.ndarray:
    """For each of `districts`, shape (n,): whether one of `others` has the same rounded values."""
    known = pd.MultiIndex.from_frame(others.round(DECIMALS))
    return pd.MultiIndex.from_frame(districts.round(DECIMALS)).isin(known)


def make_standin(train: pd.DataFrame) -> pd.DataFrame:
    """Draw the stand-in from a model of `train`, the real training districts.

    Returns 10,000 rows: the columns `HOUSING_COLUMNS`, and `part`, which is `train` or `test`.
    """
    logged = train[list(HOUSING_COLUMNS)].copy()
    logged[LOGARITHMS] = np.log(logged[LOGARITHMS])
    mean, deviation = logged.mean(), logged.std()
    mixture = fit_mixture(((logged - mean) / deviation).to_numpy())

    drawn = draw(mixture, DRAWS, np.random.default_rng(SEED))
    districts = pd.DataFrame(drawn, columns=logged.columns) * deviation + mean
    districts[LOGARITHMS] = np.exp(districts[LOGARITHMS])
    districts = districts[kilometres_to_nearest(districts, train) <= NEAR]
    for column, (lowest, highest) in LIMITS.items():
        districts[column] = districts[column].clip(lowest, highest)
    # Bedrooms are rooms too, but the mixture doesn't know that.
    districts["average_bedrooms"] = districts[["average_bedrooms", "average_rooms"]].min(axis=1)
    districts = districts.round(DECIMALS)
    districts = districts[~equals_some(districts, train)]

    districts = districts.head(TRAIN_ROWS + TEST_ROWS).reset_index(drop=True)
    whole = [column for column, decimals in DECIMALS.items() if decimals == 0]
    districts = districts.astype(dict.fromkeys(whole, "int64"))
    districts.insert(0, "part", np.where(districts.index < TRAIN_ROWS, "train", "test"))
    return districts


def main(file: Path = HOUSING_STANDIN) -> None:
    housing = fetch_housing()
    if not housing.is_real:
        sys.exit("The stand-in is made from the real housing data, which isn't available here.")
    partial = file.with_name(f"{file.name}.part")
    try:
        make_standin(housing.train).to_csv(partial, index=False, lineterminator="\n")
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
    print(f"{file.name}: {file.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
