"""The shapes of the answer page: a gauge for the probability, a bar for each contribution, and curves.

This module calculates; the templates draw. Coordinates are those of each SVG's
viewBox, which grow to the right and *down*.
"""

import math
from collections.abc import Mapping
from typing import Any

from census_model import NUMBERS, CensusModel
from census_weights import add_up, sigmoid

RADIUS, INNER = 100, 74  # of the gauge's ring, whose center is at 110, 110


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

    `direction` says which way the feature pushes the prediction, and `contribution` how far, in log-odds.
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


def curves(model: CensusModel, person: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Return, for each numeric feature, how probability and log-odds change with it, all else equal.

    The curves go from the smallest to the largest value in the training data, and on to the person's own
    value if that is outside.
    """
    drawn = {}
    for name in NUMBERS:
        feature, own = model.card["features"][name], person[name]
        values = range(min(own, round(feature["min"])), max(own, round(feature["max"])) + 1)
        people = ({**person, name: value} for value in values)
        odds = [add_up(model.card["intercept"], model.explain(p).values()) for p in people]
        ends = min(-4.0, *odds), max(4.0, *odds)  # 2% and 98%: a line that hardly rises looks flat
        shares = [sigmoid(each) for each in odds]
        drawn[name] = [_curve(values, shares, own, (0.0, 1.0)), _curve(values, odds, own, ends)]
    return drawn


def _curve(values: range, heights: list[float], own: int, ends: tuple[float, float]) -> dict:
    """Return a line through (value, height), and the point that is the person's own value."""
    low, high = ends
    xs = [44 + 168 * i / (len(values) - 1) for i in range(len(values))]
    ys = [120 - 96 * (height - low) / (high - low) for height in heights]
    at = values.index(own)
    return {
        "path": "M" + " ".join(f"{x:.1f} {y:.1f}" for x, y in zip(xs, ys, strict=True)),
        **{"x": round(xs[at], 1), "y": round(ys[at], 1), "value": heights[at]},
        **{"first": values[0], "last": values[-1], "start": heights[0], "end": heights[-1]},
        **{"low": low, "high": high},
    }
