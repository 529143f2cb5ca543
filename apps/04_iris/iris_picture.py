"""Where everything goes in the picture of the flowers, petal length against petal width.

For other data, delete this file and the two lines of `app.py` that say `picture`: the pages then leave
the picture out. This module calculates, and the template `_picture.html` draws. Coordinates are those of
the SVG's viewBox, which grow to the right and *down*.
"""

import math
from typing import Any

from iris_model import FEATURES

LEFT, RIGHT, TOP, BOTTOM = 66, 444, 34, 344

if not {"petal_length", "petal_width"} <= set(FEATURES):
    raise ImportError("this draws irises only: delete it, and 2 lines of app.py with `picture`")


class Axis:
    """One axis from 0 to its last tick, in cm, drawn from coordinate `start` to coordinate `end`."""

    def __init__(self, values: list[float], start: int, end: int) -> None:
        """Choose at most eight ticks, at round numbers, that hold all the values."""
        step = next(step for step in (0.5, 1, 2, 5) if max(values) / step <= 7)  # none is above 30
        self.ticks = [i * step for i in range(math.ceil(max(values) / step) + 1)]
        self.start, self.end = start, end

    def __call__(self, value: float) -> float:
        """Return the coordinate of a value in cm."""
        return round(self.start + value / self.ticks[-1] * (self.end - self.start), 1)


def picture(card: dict[str, Any], flower: dict[str, float] | None = None) -> dict[str, Any]:
    """Return what `_picture.html` draws: the axes, every flower of the card, and the one asked about."""
    known = card["flowers"]
    shown = [*known, flower] if flower else known
    return {
        "x": Axis([each["petal_length"] for each in shown], LEFT, RIGHT),
        "y": Axis([each["petal_width"] for each in shown], BOTTOM, TOP),
        "known": known,
        "flower": flower,
        "species": {name: extent(known, name) for name in card["classes"]},
    }


def extent(known: list[dict[str, Any]], species: str) -> dict[str, tuple[float, float]]:
    """Return a species' smallest and largest petal length and width, for the text alternative."""
    flowers = [each for each in known if each["species"] == species]
    return {
        name: (min(each[name] for each in flowers), max(each[name] for each in flowers))
        for name in ("petal_length", "petal_width")
    }
