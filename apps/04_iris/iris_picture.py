"""Where everything goes in the picture of the flowers, petal length against petal width.

For other data, delete this file and the two lines of `app.py` with `picture`: the pages then have no
picture. This module calculates, and the template `_picture.html` draws. Coordinates are those of the SVG's
viewBox, which increase to the right and *down*.
"""

import math
from typing import Any

import pandas as pd

from iris_model import FEATURES, TARGET

PETAL = ["petal_length", "petal_width"]
if not set(PETAL) <= set(FEATURES):
    raise ImportError("this draws irises only: delete it, and 2 lines of app.py with `picture`")


class Axis:
    """One axis from 0 to its last tick, in cm, drawn from coordinate `start` to coordinate `end`."""

    def __init__(self, largest: float, start: int, end: int) -> None:
        """Choose at most eight ticks, at round numbers, that reach the largest value."""
        step = next(step for step in (0.5, 1, 2, 5) if largest / step <= 7)  # no value is above 30
        self.ticks = [i * step for i in range(math.ceil(largest / step) + 1)]
        self.start, self.end = start, end

    def __call__(self, value: float) -> float:
        """Return the coordinate of a value in cm."""
        return round(self.start + value / self.ticks[-1] * (self.end - self.start), 1)


def picture(card: dict[str, Any], flower: dict[str, float] | None = None) -> dict[str, Any]:
    """Return what `_picture.html` draws: the axes, every flower in the card, and the one to classify."""
    known = card["flowers"]
    shown = pd.DataFrame([*known, flower or {}])
    length, width = shown[PETAL].max()
    axes = {"x": Axis(length, 66, 444), "y": Axis(width, 344, 34)}
    # For the text alternative. A flower without a species, such as yours, is in no group.
    petals = shown.groupby(TARGET)[PETAL]
    ends = {"smallest": petals.min().to_dict(), "largest": petals.max().to_dict()}
    return {"species": card["classes"], "known": known, "flower": flower} | axes | ends
