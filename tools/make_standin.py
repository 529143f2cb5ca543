"""Make `census_standin.csv`: people who don't exist, drawn from a model of UCI's Adult data.

    python3 tools/make_standin.py [FILE]

The model is a tree-augmented naive Bayes (Friedman, Geiger and Goldszmidt 1997): each column
depends on `income` and on one other column. Which one, a tree decides that keeps as much of the
columns' mutual information as a tree can (Chow and Liu 1968). The model is fitted to UCI's training
people only, so UCI's test people remain unseen by a model that is trained on the stand-in.

The real people are protected: numbers are binned before the model sees them, and drawn uniformly
from the whole bin; the largest and smallest values, which belong to individuals, aren't the edge of
any bin; the probabilities are smoothed; and a drawn person who equals a real one in all columns is
discarded.

With a fixed seed, and only `Generator.random`, the result is the same each time, byte for byte.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))  # for running as a script, from anywhere

from workshop.core.datasets import CENSUS_COLUMNS, CENSUS_STANDIN, fetch_census  # noqa: E402

SEED = 1994
TRAIN_ROWS, TEST_ROWS = 7_000, 3_000
SMOOTHING = 1.0  # imaginary people per combination, distributed like the column at that income
TARGET = "income"
DERIVED = "education_num"  # each level of education has one number

# Bins by their lowest values; the last number is the highest value of the last bin. A number with its
# own bin (40 hours, a gain of 0) keeps its share; a bin with nobody in it (a gain of
# 1 to 99 dollars) is never drawn. In every other bin there are at least `FEWEST` people.
FEWEST = 10
BINS: dict[str, list[int]] = {
    "age": [17, 18, 19, 20, 21, 22, 23, 24, 26, 28, 30, 33, 36, 39, 42, 45, 48, 51, 54, 57, 60]
    + [63, 66, 70, 75, 80, 90],  # 90 is UCI's "90 or older"
    "fnlwgt": [19_000, 40_000, 65_000, 90_000, 107_000, 120_000, 135_000, 150_000, 165_000]
    + [179_000, 191_000, 203_000, 220_000, 237_000, 260_000, 290_000, 330_000, 380_000]
    + [450_000, 550_000],
    "capital_gain": [0, 1, 100, 2_000, 3_000, 4_000, 5_000, 5_500, 7_000, 8_000, 10_000, 14_000]
    + [16_000, 24_000, 42_000, 99_999, 99_999],  # 99,999 is UCI's "as much or more"
    "capital_loss": [0, 1, 150, 1_500, 1_700, 1_800, 1_880, 1_970, 1_985, 2_200, 2_500, 4_000],
    "hours_per_week": [1, 10, 11, 15, 16, 20, 21, 25, 26, 30, 31, 35, 36, 40, 41, 45, 46, 50, 51]
    + [55, 56, 60, 61, 70, 71, 80, 81, 99],
}


def to_codes(people: pd.DataFrame) -> tuple[dict[str, np.ndarray], dict[str, list]]:
    """Turn each column into codes 0, 1, ...: the number of its bin, or of its category.

    Returns two dictionaries by column: the codes, and their meanings, which are categories (`?` for
    a missing value) or the bins' lowest values. Raises `ValueError` if a bin has too few people.
    """
    codes: dict[str, np.ndarray] = {}
    meanings: dict[str, list] = {}
    for column in people.columns.drop(DERIVED):
        if column in BINS:
            lowest = BINS[column][:-1]
            codes[column] = np.searchsorted(lowest, people[column], side="right").clip(1) - 1
            meanings[column] = lowest
            if any(0 < people_in_bin < FEWEST for people_in_bin in np.bincount(codes[column])):
                raise ValueError(f"a bin of {column} has fewer than {FEWEST} people in it")
        else:
            values = people[column].fillna("?") if people[column].hasnans else people[column]
            meanings[column] = sorted(values.unique())
            codes[column] = np.searchsorted(meanings[column], values)
    return codes, meanings


def shared_information(first: np.ndarray, second: np.ndarray, target: np.ndarray) -> float:
    """Conditional mutual information of two coded columns given the target, in nats."""
    counts = np.zeros((first.max() + 1, second.max() + 1, target.max() + 1))
    np.add.at(counts, (first, second, target), 1)
    joint = counts / counts.sum()
    apart = joint.sum(0, keepdims=True) * joint.sum(1, keepdims=True)
    seen = joint > 0
    ratio = (joint * joint.sum((0, 1), keepdims=True))[seen] / apart[seen]
    return float((joint[seen] * np.log(ratio)).sum())


def choose_parents(codes: dict[str, np.ndarray]) -> dict[str, str | None]:
    """Map each column except the target to the one it depends on, parents first; the root has None."""
    columns = [column for column in codes if column != TARGET]
    weights = np.zeros((len(columns), len(columns)))
    for i, first in enumerate(columns):
        for j in range(i):
            weights[i, j] = -shared_information(codes[first], codes[columns[j]], codes[TARGET])
    tree = minimum_spanning_tree(weights)
    order, parents = breadth_first_order(tree, columns.index("relationship"), directed=False)
    return {columns[i]: columns[parents[i]] if parents[i] >= 0 else None for i in order}


def pick(chances: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """For each row of probabilities, shape (people, values), draw the number of a value."""
    cumulated = chances.cumsum(axis=1)
    return (cumulated < rng.random((len(chances), 1)) * cumulated[:, -1:]).sum(axis=1)


def draw_codes(
    codes: dict[str, np.ndarray], rows: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Draw `rows` people, as codes: the income first, then each column after its parent."""
    target = codes[TARGET]
    shares = np.bincount(target) / len(target)
    drawn = {TARGET: pick(np.tile(shares, (rows, 1)), rng)}
    for column, parent in choose_parents(codes).items():
        size = codes[column].max() + 1
        by_target = np.zeros((len(shares), size))
        np.add.at(by_target, (target, codes[column]), 1)
        chances = by_target / by_target.sum(axis=1, keepdims=True)
        if parent is None:
            drawn[column] = pick(chances[drawn[TARGET]], rng)
            continue
        by_both = np.zeros((len(shares), codes[parent].max() + 1, size))
        np.add.at(by_both, (target, codes[parent], codes[column]), 1)
        by_both += SMOOTHING * chances[:, np.newaxis, :]
        drawn[column] = pick(by_both[drawn[TARGET], drawn[parent]], rng)
    return drawn


def to_people(
    drawn: dict[str, np.ndarray], meanings: dict[str, list], rng: np.random.Generator
) -> pd.DataFrame:
    """Turn codes into values: a category as it is, a number drawn evenly from its bin."""
    people = pd.DataFrame(index=range(len(drawn[TARGET])))
    for column in meanings:
        if column in BINS:
            edges = np.array(BINS[column])
            lowest, above = edges[:-1][drawn[column]], edges[1:][drawn[column]]
            # The last bin includes its highest value; each other bin ends before the next one starts.
            width = above - lowest + (drawn[column] == len(edges) - 2)
            people[column] = lowest + (rng.random(len(lowest)) * width).astype("int64")
        else:
            people[column] = np.array(meanings[column])[drawn[column]]
    return people


def make_standin(train: pd.DataFrame) -> pd.DataFrame:
    """Draw the stand-in from a model of `train`, UCI's training people.

    Returns 10,000 rows: the columns of `train`, and `part`, which is `train` or `test`. The same
    frame gives the same rows.
    """
    rng = np.random.default_rng(SEED)
    rows = TRAIN_ROWS + TEST_ROWS
    codes, meanings = to_codes(train)
    spare = rows // 100  # to replace those who happen to equal a real person
    people = to_people(draw_codes(codes, rows + spare, rng), meanings, rng)
    people[DERIVED] = people["education"].map(train.groupby("education")[DERIVED].first())
    people = people[list(CENSUS_COLUMNS)]
    people = people[~equals_someone(people, train)].head(rows).reset_index(drop=True)
    people.insert(0, "part", np.where(people.index < TRAIN_ROWS, "train", "test"))
    return people


def equals_someone(people: pd.DataFrame, others: pd.DataFrame) -> np.ndarray:
    """For each of `people`, shape (n,): whether one of `others` has the same values."""
    columns = list(people.columns)
    known = pd.MultiIndex.from_frame(others[columns].fillna("?").astype(str))
    return pd.MultiIndex.from_frame(people.fillna("?").astype(str)).isin(known)


def main(file: Path = CENSUS_STANDIN) -> None:
    census = fetch_census()
    if not census.is_real:
        sys.exit("The stand-in is made from the real census data, which isn't available here.")
    partial = file.with_name(f"{file.name}.part")
    try:
        make_standin(census.train).to_csv(partial, index=False, na_rep="?", lineterminator="\n")
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
    print(f"{file.name}: {file.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
