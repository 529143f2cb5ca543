"""The shapes of the answer page: a gauge for the probability, and a bar for each contribution.

This module calculates; the template `result.html` draws. Coordinates are those of each SVG's
viewBox, which grow to the right and *down*.
"""

import math
from collections.abc import Mapping
from typing import Any

RADIUS, INNER = 100, 74  # of the gauge's ring, whose centre is at 110, 110


def gauge(probability: float) -> dict[str, str]:
    """Return the paths of a half ring: all of it, and its part from the left to `probability`."""
    return {"track": _ring(1.0), "value": _ring(probability)}


def _ring(share: float) -> str:
    angle = math.pi * (1 - share)
    x1, y1 = 110 + RADIUS * math.cos(angle), 110 - RADIUS * math.sin(angle)
    x2, y2 = 110 + INNER * math.cos(angle), 110 - INNER * math.sin(angle)
    return (
        f"M{110 - RADIUS} 110 A{RADIUS} {RADIUS} 0 0 1 {x1:.2f} {y1:.2f} "
        f"L{x2:.2f} {y2:.2f} A{INNER} {INNER} 0 0 0 {110 - INNER} 110Z"
    )


def bars(contributions: Mapping[str, float]) -> list[dict[str, Any]]:
    """Return a bar for each feature, the strongest first; the viewBox goes from -100 to 100.

    `direction` says which way the feature pushes the answer, by its `contribution` in log-odds.
    """
    longest = max(map(abs, contributions.values())) or 1.0
    return [
        {
            "feature": name,
            "contribution": value,
            "direction": "up" if value > 0 else "down",
            "start": min(0.0, 100 * value / longest),
            "width": abs(100 * value / longest),
        }
        for name, value in sorted(contributions.items(), key=lambda item: -abs(item[1]))
    ]
