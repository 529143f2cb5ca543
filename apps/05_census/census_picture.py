"""The shapes of the answer page: a gauge for the probability, and a bar for each contribution.

This module does the sums; the template `result.html` draws. Coordinates are those of each SVG's
viewBox, which grow to the right and *down*.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

RADIUS, INNER = 100, 74  # of the gauge's ring, whose centre is at 110, 110


def gauge(probability: float) -> dict[str, str]:
    """Return the paths of a half ring: all of it, and its part from the left to `probability`."""
    return {"track": _ring(1.0), "value": _ring(probability)}


def _ring(share: float) -> str:
    angle = math.pi * (1 - share)
    points = [
        (110 + radius * math.cos(angle), 110 - radius * math.sin(angle))
        for radius in (RADIUS, INNER)
    ]
    (x1, y1), (x2, y2) = points
    return (
        f"M{110 - RADIUS} 110 A{RADIUS} {RADIUS} 0 0 1 {x1:.2f} {y1:.2f} "
        f"L{x2:.2f} {y2:.2f} A{INNER} {INNER} 0 0 0 {110 - INNER} 110Z"
    )


@dataclass(frozen=True)
class Bar:
    """One feature's contribution in log-odds, and its bar in a viewBox from -100 to 100."""

    feature: str
    contribution: float
    start: float
    width: float

    @property
    def direction(self) -> str:
        """Which way it pushes the answer."""
        return "up" if self.contribution > 0 else "down"


def bars(contributions: Mapping[str, float]) -> list[Bar]:
    """Return a bar for each feature, the strongest first and as long as there is room."""
    longest = max(map(abs, contributions.values())) or 1.0
    strongest_first = sorted(contributions.items(), key=lambda item: -abs(item[1]))
    return [
        Bar(name, value, min(0.0, 100 * value / longest), abs(100 * value / longest))
        for name, value in strongest_first
    ]
