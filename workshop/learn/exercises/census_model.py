"""The checks of 05b: precision, rates by age group, and a page that says whom the model misses.

They don't read the census data, so they work offline: the ranges fit both the real data and the stand-in.
"""

from __future__ import annotations

import re

import pandas as pd

from workshop.learn.exercises import ChangedApp, NotYet, Wrong, exercise, number_in
from workshop.learn.exercises.census_data import NO_MODEL, PERSON

RATES = ["earn more", "model says yes", "false alarms", "missed"]
OTHER_RATES = {
    "selection_rate": "the share that the model says yes to",
    "false_positive_rate": "the share of false alarms",
    "earning_more": "the share that earns more",
}
AGES = [(17, 25), (26, 35), (36, 45), (46, 55), (56, 65), (66, 90)]  # nobody is younger or older


@exercise(
    "05.5",
    hint='the model says yes to everyone in the second column of `matrix`, "says yes".',
    then="in that column, `matrix[1, 1]` is the number who do earn more. Divide it by the sum of "
    "the column.",
)
def precision(answer: object) -> str:
    """The precision of the 7-feature model, about 0.68."""
    share = number_in(answer, "the answer is one number, a share such as 0.5.")
    if 1 < share <= 100:
        raise Wrong(
            "a share is between 0 and 1. Is yours a percentage, or did you divide the wrong way around?"
        )
    if not 0 <= share <= 1:
        raise Wrong("a share is between 0 and 1. Divide a part by the whole it belongs to.")
    if 0.6 < share < 0.76:
        return (
            f"{share:.2f}. Of every three people the model says yes to, about one earns less, and the yes "
            "doesn't tell you which one."
        )
    if 0.42 < share < 0.58:
        raise Wrong(
            "that is the true positive rate: of the people who earn more, the share that the model finds. "
            "Divide by everyone it says yes to instead."
        )
    if 0.8 < share < 0.86:
        raise Wrong(
            "that is the accuracy, or close to it. Precision uses only the column “says yes”."
        )
    if 0.24 < share < 0.4:
        raise Wrong(
            "that is the share of false alarms among everyone it says yes to. Precision is the rest."
        )
    raise Wrong("divide `matrix[1, 1]` by the sum of `matrix[0, 1]` and `matrix[1, 1]`.")


@exercise(
    "05.6",
    hint="do what the notebook does for `by_sex`, with age groups instead. `pd.cut` "
    'makes them from `test["age"]`.',
    then="`pd.cut` takes the ages and a list of the edges, from 16 to 90. Add what it returns to "
    "`result` as a column, with `assign`, and group by that column as before.",
)
def rates_by_age(answer: object) -> str:
    """The table of rates with one row for each age group."""
    if not isinstance(answer, pd.DataFrame):
        raise Wrong("`answer` must be a table with one row for each age group, made like `by_sex`.")
    if not set(RATES) <= {str(name) for name in answer.columns}:
        raise Wrong(
            "the table is missing columns of `rates`. End with `.apply(rates)`, as for `by_sex`."
        )
    names = {str(name) for name in answer.index}
    if names & {"Female", "Male", "White"}:
        raise Wrong("these are groups by sex or race. Group by age instead.")
    if len(answer) > 12:
        raise Wrong(f"{len(answer)} groups are too many to read. Let `pd.cut` make six age groups.")
    if len(answer) != 6:
        raise Wrong(
            f"there are {len(answer)} groups, not 6. The edges are 16, 25, 35, 45, 55, 65 and 90."
        )
    if not answer["earn more"].iloc[0] < 0.05:
        raise Wrong(
            "too many people in the youngest group earn more. The first group has the edges 16 to 25: check "
            "the edges, and that you cut the ages of `test`."
        )
    for step, (first, last) in zip(answer.index, AGES, strict=True):
        if isinstance(step, pd.Interval) and not (first in step and last in step):
            raise Wrong(
                f"the group {step} isn't the ages {first} to {last}. A round bracket leaves out the number "
                "next to it. The age 17 must be included, so start at 16, and end each one with its last age."
            )
    youngest = answer["missed"].iloc[0]
    return (
        f"of the people up to 25 who earn more, the model misses {youngest:.0%}: hardly anybody that young "
        "does, so it says no to nearly all of them. You can make groups from any feature; sex and race are "
        "the ones with a history."
    )


@exercise(
    "05.7",
    hint="in `apps/05_census/templates/result.html`, the new paragraph goes below the one that "
    "begins with “Of a hundred people”. The groups are in `card.metrics.groups`.",
    then="write a loop over the groups; inside it, an `if` that compares `group.category` with "
    '`person.sex`; and inside that, a `<p id="missed">` with the share that the model misses.',
    app="census",
)
def whom_it_misses(app: ChangedApp) -> str:
    """The result page says what share of the people of the same sex the model misses."""
    groups = {
        group["category"]: group for group in groups_of_card(app) if group["feature"] == "sex"
    }
    found = {sex: _missed(app, sex) for sex in groups}
    if not any(found.values()):
        if 'id="missed"' not in app.source("templates/result.html"):
            raise NotYet
        raise Wrong(
            '`<p id="missed">` is in `result.html`, but no page shows it. Is it inside `{% block main %}`, '
            "and does the `if` compare `group.category` with `person.sex`?"
        )
    for sex, texts in found.items():
        if len(texts) != 1:
            raise Wrong(
                f"the page for a person of sex {sex} has {len(texts)} of these paragraphs instead of "
                "one. Show only the group whose `category` is the person's sex."
            )
        other = next(group for name, group in groups.items() if name != sex)
        _check_missed(sex, " ".join(texts), groups[sex], other)
    women, men = (f"{groups[sex]['false_negative_rate']:.0%}" for sex in ("Female", "Male"))
    return (
        f"the page for a woman says {women}, and the page for a man {men}. The predictions haven't changed, "
        "but now anyone who reads one can tell how far to trust it."
    )


PARAGRAPH = re.compile(r"""<(\w+)[^>]*\sid=["']?missed["']?[^>]*>(.*?)</\1>""", re.DOTALL)


def _missed(app: ChangedApp, sex: str) -> list[str]:
    """Return the texts of the elements with the id `missed` on the page for a person of this sex."""
    try:
        reply = app.get("/probability", params=PERSON | {"sex": sex})
    except Wrong as crash:
        if "Undefined" not in str(crash):
            raise
        raise Wrong(
            "`result.html` passes a filter a value that isn't defined. The share of people who are "
            "missed is `group.false_negative_rate`."
        ) from None
    if reply.status_code != 200:
        raise Wrong(f"the result page has status {reply.status_code} instead of 200.")
    return [text for _, text in PARAGRAPH.findall(reply.text)]


def _check_missed(sex: str, text: str, own: dict[str, object], other: dict[str, object]) -> None:
    """Compare a paragraph with the rates of its group. Raises Wrong."""
    rate = own["false_negative_rate"]
    if f"{rate:.1%}" in text:
        if "earn" not in text:
            raise Wrong(
                f"the share is right, but the sentence isn't true yet: the model misses {rate:.1%} of the "
                "people of this sex *who earn more*, not of all of them. Add that."
            )
        return
    if f"{rate:.6f}"[:6] in text or f"{100 * rate:.6f}"[:6] in text:
        raise Wrong(
            f"the page says {rate:.6f}... . The filter `|percent` turns it into {rate:.1%}."
        )
    if f"{other['false_negative_rate']:.1%}" in text:
        raise Wrong(
            f"the page for a person of sex {sex} shows the share of the other sex, "
            f"{other['false_negative_rate']:.1%}. Compare `group.category` with `person.sex`."
        )
    for name, what in OTHER_RATES.items():
        if f"{own[name]:.1%}" in text:
            raise Wrong(
                f"{own[name]:.1%} is {what}. The share of those who earn more and are missed is the "
                "`false_negative_rate`."
            )
    raise Wrong(
        f"the page for a person of sex {sex} must say {rate:.1%}: "
        "`{{ group.false_negative_rate|percent }}`."
    )


def groups_of_card(app: ChangedApp) -> list[dict[str, object]]:
    """Return the groups on the model's card. Raises Wrong if there is no model."""
    reply = app.get("/api/v1/model")
    if reply.status_code != 200:
        raise Wrong(NO_MODEL)
    return reply.json()["metrics"]["groups"]
