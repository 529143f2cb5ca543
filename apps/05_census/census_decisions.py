"""How the test people are classified when the line isn't drawn at a probability of one half.

`count_decisions` counts them while the model is trained, and the counts are kept in its card. So the
model's page can show any line without repeating thousands of predictions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

GROUPS = ("sex", "race")
LINES = range(101)  # in percent


def count_decisions(
    test: pd.DataFrame, earns_more: np.ndarray, probabilities: np.ndarray
) -> list[dict[str, Any]]:
    """Return how many people are above each of LINES: among everybody, and in each group.

    `test` has one row per test person, `earns_more` is True for those who do earn more, and
    `probabilities` are the model's. In the result, `earning_more` and `others` have one count per line;
    the first count, at 0%, includes all of them.
    """
    groups = [(None, "Everybody", earns_more | True)]
    for feature in GROUPS:
        found = sorted(test[feature].unique())
        groups += [(feature, str(each), (test[feature] == each).to_numpy()) for each in found]
    counts = []
    for feature, category, among in groups:
        count = {"feature": feature, "category": category}
        for name, truth in (("earning_more", earns_more), ("others", ~earns_more)):
            own = probabilities[among & truth]
            count[name] = [int((own > line / 100).sum()) for line in LINES]
        counts.append(count)
    return counts


def decide(counts: list[Mapping[str, Any]], line: int) -> list[dict[str, Any]]:
    """Return the counts and rates for everybody and for each group, with the line at `line` percent.

    A positive is a person above the line, and a true positive is one who does earn more. Every rate is a
    share from 0 to 1, or None if there is nobody to measure it on.
    """
    decided = []
    for count in counts:
        found, alarms = count["earning_more"][line], count["others"][line]
        more, others = count["earning_more"][0], count["others"][0]
        people = more + others
        rates = {
            "accuracy": _share(found + others - alarms, people),
            "earning_more": _share(more, people),
            "selection_rate": _share(found + alarms, people),
            "false_negative_rate": _share(more - found, more),
            "false_positive_rate": _share(alarms, others),
        }
        parts = {"true_positives": found, "false_negatives": more - found}
        parts |= {"false_positives": alarms, "true_negatives": others - alarms}
        about = {"feature": count["feature"], "category": count["category"], "people": people}
        decided.append(about | parts | rates)
    return decided


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
