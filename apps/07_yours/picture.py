"""The picture below an answer: the prediction over one feature, with everything else as it is.

This module calculates; the template `_curve.html` draws. Coordinates are those of the SVG's viewBox, which
grow to the right and *down*.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from model import Answer, Model, Refusal
from table import OTHER

WIDTH, HEIGHT = 400, 150
STEPS = 40  # between the ends of the usual range


def curve(
    model: Model, row: Mapping[str, Any], place: int, answer: Answer
) -> dict[str, Any] | None:
    """Return the line, or the bars, of the prediction over the feature at `place`, and its two ends.

    A number covers its usual range and the row's own value; a word becomes each word that may be
    sent. The height is the probability of the class in `answer`, or the predicted number. None if one
    of the predictions can't be calculated.
    """
    feature, goal = model.features[place], model.card["target"]
    own = row[feature["name"]]
    if "words" in feature:
        values = feature["words"] + [OTHER] * feature["other"] + [None] * feature["gaps"]
        along = range(len(values))
    else:
        usual = [feature["low"], feature["high"], *([] if own is None else [own])]
        values = along = sorted({*usual, *np.linspace(min(usual), max(usual), STEPS).tolist()})
    try:
        answers = model.answer([{**row, feature["name"]: value} for value in values])
    except Refusal:
        return None
    if answer.probabilities:
        heights, low, high = [each.probabilities[answer.prediction] for each in answers], 0.0, 1.0
    else:  # at least the target's usual range, so that a line that hardly rises looks flat
        heights = [each.prediction for each in answers]
        low, high = min(goal["low"], *heights), max(goal["high"], *heights)
    points = []
    for value, height, step in zip(values, heights, along, strict=True):
        share = (height - low) / ((high - low) or 1)
        x = WIDTH * (step - along[0]) / ((along[-1] - along[0]) or 1)
        points.append({"value": value, "height": height, "share": share, "own": value == own})
        points[-1] |= {"x": round(x, 2), "y": round(HEIGHT * (1 - share), 2)}
    return {"feature": feature, "points": points, "low": low, "high": high}
