"""Where everything goes in the picture of the flowers, petal length against petal width.

For other data, delete this file, and in `app.py` the import and the two arguments named `picture`: the
pages then leave the picture out. This module does the sums, and the template `_picture.html` draws.
Coordinates are those of the SVG's viewBox, which grow to the right and *down*.
"""

import math
from dataclasses import dataclass
from typing import Any

from iris_model import FEATURES

WIDTH, HEIGHT = 460, 410
LEFT, RIGHT, TOP, BOTTOM = 66, 444, 34, 344

if not {"petal_length", "petal_width"} <= set(FEATURES):
    raise ImportError(
        "iris_picture.py draws irises only: delete it, and the lines in app.py that say `picture`"
    )


@dataclass(frozen=True)
class Axis:
    """One axis from 0 to `high` cm, drawn from coordinate `start` to coordinate `end`."""

    high: float
    step: float
    start: int
    end: int

    def __call__(self, value: float) -> float:
        """Return the coordinate of a value in cm."""
        return round(self.start + value / self.high * (self.end - self.start), 1)

    @property
    def ticks(self) -> list[float]:
        """The values that get a line and a number."""
        return [i * self.step for i in range(round(self.high / self.step) + 1)]


def axis(values: list[float], start: int, end: int) -> Axis:
    """Return an axis that holds all values, with five to eight ticks at round numbers."""
    largest = max(values)
    step = next(step for step in (0.5, 1, 2, 5) if largest / step <= 7 or step == 5)
    return Axis(math.ceil(largest / step) * step, step, start, end)


def picture(card: dict[str, Any], flower: dict[str, float] | None = None) -> dict[str, Any]:
    """Return what `_picture.html` draws: the axes, every flower of the card, and the one asked about."""
    known = card["flowers"]
    shown = [*known, flower] if flower else known
    return {
        "width": WIDTH,
        "height": HEIGHT,
        "x": axis([each["petal_length"] for each in shown], LEFT, RIGHT),
        "y": axis([each["petal_width"] for each in shown], BOTTOM, TOP),
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
