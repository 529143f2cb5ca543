"""The checks of 05b: precision, rates by age group, and a page that says whom the model misses.

They don't read the census data, so they need no network: the ranges fit both the real people and the
stand-in.
"""

from __future__ import annotations

import re

import pandas as pd

from workshop.learn.exercises import ChangedApp, NotYet, Wrong, exercise, number_in
from workshop.learn.exercises.census_data import NO_MODEL, PERSON

RATES = ["earn more", "model says yes", "false alarms", "missed"]
OTHER_RATES = {
    "selection_rate": "the share to whom the model says yes",
    "false_positive_rate": "the share of false alarms",
    "earning_more": "the share that earns more",
}
AGES = [(17, 25), (26, 35), (36, 45), (46, 55), (56, 65), (66, 90)]  # nobody is younger or older


@exercise(
    "05.5",
    hint='the model says yes to everybody in the second column of `matrix`, "says yes".',
    then="of that column, `matrix[1, 1]` are those who do earn more. Divide them by the sum of "
    "the column.",
)
def precision(answer: object) -> str:
    """The precision of the 7-feature model, about 0.68."""
    share = number_in(answer, "the answer is one number, a share such as 0.5.")
    if 1 < share <= 100:
        raise Wrong(
            "a share lies between 0 and 1. Is yours in percent, or did you divide the wrong way?"
        )
    if not 0 <= share <= 1:
        raise Wrong("a share lies between 0 and 1. Divide a part by the whole it belongs to.")
    if 0.6 < share < 0.76:
        return (
            f"{share:.2f}. Of three people to whom the model says yes, about one earns less, and nobody can "
            "tell from the yes which one."
        )
    if 0.42 < share < 0.58:
        raise Wrong(
            "that is the share of those who earn more that the model finds, the true positive rate. "
            "Divide by everybody to whom it says yes instead."
        )
    if 0.8 < share < 0.86:
        raise Wrong("that is the accuracy, or near it. Precision looks at the column of yes alone.")
    if 0.24 < share < 0.4:
        raise Wrong("that is the share of false alarms among the yes. Precision is the other part.")
    raise Wrong("divide `matrix[1, 1]` by the sum of `matrix[0, 1]` and `matrix[1, 1]`.")


@exercise(
    "05.6",
    hint="you need what the notebook does for `by_sex`, with groups of ages instead. `pd.cut` "
    'makes them from `test["age"]`.',
    then="`pd.cut` takes the ages and a list of the limits, from 16 to 90. Add what it returns to "
    "`result` as a column, with `assign`, and group by that column as before.",
)
def rates_by_age(answer: object) -> str:
    """The table of rates with a row per age group."""
    if not isinstance(answer, pd.DataFrame):
        raise Wrong("`answer` must be a table with a row per age group, made as `by_sex` was.")
    if not set(RATES) <= {str(name) for name in answer.columns}:
        raise Wrong(
            "the table lacks columns of `rates`. End with `.apply(rates)`, as for `by_sex`."
        )
    names = {str(name) for name in answer.index}
    if names & {"Female", "Male", "White"}:
        raise Wrong("these groups are by sex or race. Group by the steps of age instead.")
    if len(answer) > 12:
        raise Wrong(f"{len(answer)} groups are too many to read. `pd.cut` makes six steps of age.")
    if len(answer) != 6:
        raise Wrong(
            f"there are {len(answer)} groups, not 6. The edges are 16, 25, 35, 45, 55, 65 and 90."
        )
    if not answer["earn more"].iloc[0] < 0.05:
        raise Wrong(
            "in the youngest group, too many earn more. The first step goes from 16 to 25 years: check "
            "the edges, and that you cut the age of `test`."
        )
    for step, (first, last) in zip(answer.index, AGES, strict=True):
        if isinstance(step, pd.Interval) and not (first in step and last in step):
            raise Wrong(
                f"the group {step} is not that of the ages {first} to {last}. A round bracket leaves out the "
                "number beside it: 17 must be in, so start at 16, and end each step with its last age."
            )
    youngest = answer["missed"].iloc[0]
    return (
        f"of those up to 25 who earn more, the model misses {youngest:.0%}: hardly anybody that young does, "
        "so it says no to nearly all of them. Every feature makes groups; sex and race are the ones with "
        "a history."
    )


@exercise(
    "05.7",
    hint="in `apps/05_census/templates/result.html`, the new paragraph goes below the one that "
    "begins with “Of a hundred people”. The groups are in `card.metrics.groups`.",
    then="write a loop over the groups; in it an `if` that compares `group.category` with "
    '`person.sex`; and in that a `<p id="missed">` with the share that the model misses.',
    app="census",
)
def whom_it_misses(app: ChangedApp) -> str:
    """The page with the answer says what share of the person's sex the model misses."""
    groups = {
        group["category"]: group for group in groups_of_card(app) if group["feature"] == "sex"
    }
    found = {sex: _missed(app, sex) for sex in groups}
    if not any(found.values()):
        if 'id="missed"' not in app.source("templates/result.html"):
            raise NotYet
        raise Wrong(
            '`<p id="missed">` stands in `result.html`, but on no page. Is it inside `{% block main %}`, and '
            "does the `if` compare `group.category` with `person.sex`?"
        )
    for sex, texts in found.items():
        if len(texts) != 1:
            raise Wrong(
                f"the page about a person with the sex {sex} has {len(texts)} such paragraphs instead of "
                "one. Only the group whose `category` is the person's sex is meant."
            )
        other = next(group for name, group in groups.items() if name != sex)
        _judge_missed(sex, " ".join(texts), groups[sex], other)
    women, men = (f"{groups[sex]['false_negative_rate']:.0%}" for sex in ("Female", "Male"))
    return (
        f"the page about a woman says {women}, that about a man {men}. The answers are the same as before; "
        "new is that whoever reads one can tell how far to trust it."
    )


PARAGRAPH = re.compile(r"""<(\w+)[^>]*\sid=["']?missed["']?[^>]*>(.*?)</\1>""", re.DOTALL)


def _missed(app: ChangedApp, sex: str) -> list[str]:
    """The texts with the id `missed` on the page about somebody of this sex."""
    try:
        reply = app.get("/probability", params=PERSON | {"sex": sex})
    except Wrong as crash:
        if "Undefined" not in str(crash):
            raise
        raise Wrong(
            "`result.html` hands something to a filter that has no such name. The share of those who are "
            "missed is `group.false_negative_rate`."
        ) from None
    if reply.status_code != 200:
        raise Wrong(f"the page with the answer comes with status {reply.status_code}, not 200.")
    return [text for _, text in PARAGRAPH.findall(reply.text)]


def _judge_missed(sex: str, text: str, own: dict[str, object], other: dict[str, object]) -> None:
    """Compare a paragraph with the group it is about. Raises Wrong."""
    rate = own["false_negative_rate"]
    if f"{rate:.1%}" in text:
        if "earn" not in text:
            raise Wrong(
                f"the share is right, but the sentence isn't true yet: the model misses {rate:.1%} of those "
                "with this sex *who earn more*, not of all of them. Say so."
            )
        return
    if f"{rate:.6f}"[:6] in text or f"{100 * rate:.6f}"[:6] in text:
        raise Wrong(f"the page says {rate:.6f}... . The filter `|percent` makes {rate:.1%} of it.")
    if f"{other['false_negative_rate']:.1%}" in text:
        raise Wrong(
            f"the page about a person with the sex {sex} has the share of the other one, "
            f"{other['false_negative_rate']:.1%}. Compare `group.category` with `person.sex`."
        )
    for name, what in OTHER_RATES.items():
        if f"{own[name]:.1%}" in text:
            raise Wrong(
                f"{own[name]:.1%} is {what}. Those who earn more and are missed are the "
                "`false_negative_rate`."
            )
    raise Wrong(
        f"the page about a person with the sex {sex} must say {rate:.1%}: "
        "`{{ group.false_negative_rate|percent }}`."
    )


def groups_of_card(app: ChangedApp) -> list[dict[str, object]]:
    """The groups on the model's card. Raises Wrong if there is no model."""
    reply = app.get("/api/v1/model")
    if reply.status_code != 200:
        raise Wrong(NO_MODEL)
    return reply.json()["metrics"]["groups"]
