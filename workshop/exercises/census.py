"""The checks of stage 05: shares, odds and a pipeline (05a), measures and uses (05b), the API (05c).

They never look at the census data, so they need neither a mirror nor the network: ranges are wide
enough for the real people and for the stand-in.
"""

from __future__ import annotations

import json
import math
from numbers import Real

import numpy as np
import pandas as pd
import requests
from flask import Flask
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from workshop.exercises import Wrong, exercise

FEATURES = ["age", "workclass", "education", "marital_status", "race", "sex", "hours_per_week"]
WORKCLASSES = {
    "Federal-gov",
    "Local-gov",
    "Never-worked",
    "Private",
    "Self-emp-inc",
    "Self-emp-not-inc",
    "State-gov",
    "Without-pay",
}
RATES = ["earn more", "model says yes", "false alarms", "missed"]
GROUPS_ROUTE = "/api/v1/groups"


# --- 05a: the data and the pipeline ---------------------------------------------------------------


@exercise(
    "05.1",
    hint="take `train.groupby(...)` with two arguments: the column's name, and `dropna=False`. Then "
    'pick `["income"]` and take its mean, as for education.',
)
def share_by_workclass(answer: object) -> str:
    """The share above $50,000 by workclass, the missing ones as a group of their own."""
    if isinstance(answer, pd.DataFrame):
        raise Wrong(
            'that is a table. Pick one column of it, `["income"]`, before you take the mean.'
        )
    if not isinstance(answer, pd.Series):
        raise Wrong('`answer` must be what `train.groupby(...)["income"].mean()` gives, a column.')
    groups = set(answer.index.dropna())
    if groups != WORKCLASSES:
        raise Wrong("these are not the kinds of `workclass`. Group by that column.")
    if not answer.index.hasnans:
        raise Wrong(
            "the people whose `workclass` is missing have disappeared: `groupby` drops them. Tell it "
            "`dropna=False`."
        )
    if answer.max() > 1:
        raise Wrong(
            "some numbers are larger than 1, so they count people. The mean gives the share."
        )
    if math.isclose(answer.sum(), 1):
        raise Wrong(
            "the numbers add up to 1: they say how the people divide among the groups. You want the "
            "share *within* each group that earns more, the mean of `income`."
        )
    if not 0.4 < answer["Self-emp-inc"] < 0.7 or answer["Without-pay"] > 0.1:
        raise Wrong(
            "the shares are not those of `income`. Take the mean of that column of `train`."
        )
    missing = answer[answer.index.isna()].iloc[0]
    return (
        f"{missing:.0%} of those whose employer nobody knows earn more than $50,000, against "
        f"{answer['Self-emp-inc']:.0%} of those with a company of their own. A gap says something too."
    )


@exercise(
    "05.2",
    hint="divide the weight by the size of a step: that is the log-odds of one hour. Then `np.exp` of it "
    "is the factor.",
)
def odds_of_an_hour(answer: object) -> str:
    """The factor by which one hour of work a week more multiplies the odds, 1.03 or so."""
    factor = _number(answer, "the answer is one number, such as `answer = np.exp(...)`.")
    if 1.02 < factor < 1.045:
        return (
            f"each hour multiplies the odds by {factor:.3f}, so ten hours by {factor**10:.2f}. Ten factors "
            "of 1.03 make more than 1.3: factors multiply."
        )
    if 1.3 < factor < 1.65:
        raise Wrong(
            f"{factor:.2f} is the factor of one step of the scaler, about 12 hours. Divide the weight "
            "by the size of the step before you take `np.exp`."
        )
    if 0.02 < factor < 0.045:
        raise Wrong("that is the log-odds of one hour. `np.exp` makes a factor of them.")
    if 0.25 < factor < 0.5:
        raise Wrong("that is the weight itself: log-odds, for one step of the scaler.")
    if 8 < factor < 16:
        raise Wrong("that is the size of a step in hours. Divide the weight by it.")
    if factor > 16:
        raise Wrong(
            "that is far too much: divide the weight by the size of a step, don't multiply."
        )
    raise Wrong("first the weight divided by the size of a step, then `np.exp` of the quotient.")


@exercise(
    "05.3",
    hint='make a `ColumnTransformer` as before, with `CATEGORIES + ["occupation"]` for the words, put it '
    "into a `Pipeline` with a new `LogisticRegression(max_iter=1000)`, and call `fit`.",
)
def eighth_feature(answer: object) -> str:
    """A trained pipeline like the notebook's, with occupation as an eighth feature."""
    if not isinstance(answer, Pipeline):
        raise Wrong(
            f"`answer` holds a {type(answer).__name__}. It must be the trained `Pipeline` itself; `fit` "
            "returns it."
        )
    try:
        check_is_fitted(answer)
    except NotFittedError:
        raise Wrong("the pipeline is not trained yet: call `fit`.") from None
    columns = {str(name) for name in getattr(answer, "feature_names_in_", ())}
    if not columns:
        raise Wrong("the pipeline was trained on bare numbers. Hand it a data frame, `train[...]`.")
    if "income" in columns:
        raise Wrong("the pipeline was given `income`, the very thing it should tell. Leave it out.")
    if "occupation" not in columns:
        raise Wrong(
            "the pipeline has never seen `occupation`. Add it to the columns that you hand to `fit`."
        )
    if lacking := sorted(set(FEATURES) - columns):
        raise Wrong(
            f"the pipeline lacks {', '.join(lacking)}. Keep the seven features and add one."
        )
    try:
        says = answer.predict_proba(_clerks(answer))[:, 1]
    except ValueError as error:
        raise Wrong(
            "asked about a person whose occupation is missing or unknown, your pipeline stops with "
            f'"{error}". Let `occupation` go through `one_hot`, as the other words do.'
        ) from None
    if np.allclose(says, says[0]):
        raise Wrong(
            "`occupation` makes no difference to the answer: a `ColumnTransformer` drops what none of its "
            "lists names. Add it to the list of the words."
        )
    manager, servant = says[:2]
    if manager <= servant:
        raise Wrong("managers come out below house servants. Is the target `train['income']`?")
    return (
        f"the same clerk as a manager: {manager:.2f}, as a servant in a house: {servant:.2f}. The new gaps "
        "cost you nothing, because the pipeline knows how to fill them."
    )


def _clerks(pipeline: Pipeline) -> pd.DataFrame:
    """One person four times, with different occupations: two known ones, a gap, an unknown word."""
    person = {
        "age": 39,
        "workclass": "State-gov",
        "education": "Bachelors",
        "marital_status": "Never-married",
        "race": "White",
        "sex": "Male",
        "hours_per_week": 40,
    }
    others = {
        "relationship": "Not-in-family",
        "native_country": "United-States",
        "education_num": 13,
        "capital_gain": 0,
        "capital_loss": 0,
        "fnlwgt": 180_000,
    }
    occupations = ["Exec-managerial", "Priv-house-serv", None, "Influencer"]
    people = pd.DataFrame([person | others | {"occupation": each} for each in occupations])
    return people[list(pipeline.feature_names_in_)]


# --- 05b: measures and uses -----------------------------------------------------------------------


@exercise(
    "05.4",
    hint='the model says yes to everybody in the second column, "says yes". Divide those of them who earn '
    "more, `matrix[1, 1]`, by the sum of the column.",
)
def precision(answer: object) -> str:
    """The precision of the 7-feature model, about 0.68."""
    share = _number(answer, "the answer is one number, a share such as 0.5.")
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
    "05.5",
    hint='add a column with the groups, `result.assign(age=pd.cut(test["age"], [16, 25, 35, 45, 55, 65, '
    '90]))`, and go on as for `by_sex`, grouped by `"age"`.',
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
    youngest = answer["missed"].iloc[0]
    return (
        f"of those up to 25 who earn more, the model misses {youngest:.0%}: hardly anybody that young does, "
        "so it says no to nearly all of them. Every feature makes groups; sex and race are the ones with "
        "a history."
    )


@exercise("05.6", hint='read the four uses and put a letter in quotes, such as `answer = "A"`.')
def defensible_use(answer: object) -> str:
    """The one use of the four that is defensible: C."""
    if not isinstance(answer, str):
        raise Wrong('the answer is a letter in quotes: `answer = "A"`.')
    mistakes = {
        "A": "without sex and race the model misses about as many women as before, by proxies such as "
        "marriage. And a loan is a decision about a person.",
        "B": "the model knows the pay of 1994, and not what would *change* if somebody studied: its "
        "weights are not causes.",
        "D": "whoever never sees the advert is harmed: the model says yes to 4 women in 100 and to 24 men. "
        "Such systems have been found, and been to court.",
    }
    letter = answer.strip(" .").upper()
    if letter == "C":
        return "nothing is decided about anybody, and the model's faults are the subject."
    raise Wrong(mistakes.get(letter, "the answer is one of the letters A, B, C and D."))


# --- 05c: the API ---------------------------------------------------------------------------------


@exercise(
    "05.7",
    hint='inside `with serve("census") as url:`, write `answer = requests.post(f"{url}/api/v1/predictions", '
    'json=person | {"workclass": None}, timeout=10)`.',
)
def unknown_employer(answer: object) -> str:
    """The reply of the API about a person without a known workclass."""
    if not isinstance(answer, requests.Response):
        raise Wrong(
            f"`answer` holds a {type(answer).__name__}. Put the reply itself there, what "
            "`requests.post(...)` returns, without `.json()`."
        )
    if answer.status_code == 422:
        error = answer.json()["errors"][0]
        raise Wrong(
            f'the API has refused it, at {error["field"]}: "{error["message"][:60]}". For "not known", '
            "JSON has `None`, or you leave the field out; a word such as `?` is an unknown category."
        )
    if answer.status_code != 200:
        raise Wrong(
            f"the reply has the status {answer.status_code}. Use `requests.post`, the address "
            "`/api/v1/predictions`, and `json=` for the person."
        )
    if not answer.request.path_url.endswith("/predictions"):
        raise Wrong("this asks another address. One person goes to `/api/v1/predictions`.")
    sent = json.loads(answer.request.body)
    if sent.get("workclass") is not None:
        raise Wrong(f"you have sent a workclass, {sent['workclass']}. Send the person without one.")
    part = answer.json()["contributions"]["workclass"]
    return (
        f"the API answers, and its explanation says what not knowing adds: {part:+.2f} in log-odds. To the "
        "model, a gap is a category."
    )


@exercise(
    "05.8",
    hint='`scored["probability"]` has a probability for each person. Those of ten people with 0.3 add up '
    "to 3.",
)
def expected_number(answer: object) -> str:
    """How many of the first thousand test people earn more: the sum of their probabilities."""
    number = _number(answer, "the answer is one number, how many of the thousand people.")
    if 0 < number < 1:
        raise Wrong("that is a share. How many people of the thousand are that?")
    if 205 <= number <= 280:
        return (
            f"about {number:.0f} people. The model's yes goes to fewer: where most people have small "
            "probabilities, labels round them all down to no."
        )
    if 100 <= number < 205:
        raise Wrong(
            'that is near the number of labels `>50K`. Use the column `"probability"`, not the labels.'
        )
    if 700 <= number <= 900:
        raise Wrong("that is about the number of those who earn less.")
    raise Wrong("add up the column `probability` of `scored`.")


@exercise(
    "05.9",
    hint='between the two lines, write `@app.get("/api/v1/groups")` and directly under it a function that '
    "returns a dictionary. Then write `answer = app`.",
)
def groups_route(answer: object) -> str:
    """The app with one more route, which tells the groups of the card as JSON."""
    if not isinstance(answer, Flask):
        raise Wrong("`answer` must be the app: `answer = app`.")
    rules = {rule.rule: rule for rule in answer.url_map.iter_rules()}
    if GROUPS_ROUTE not in rules:
        raise Wrong(f"the app has no route `{GROUPS_ROUTE}`. Is the address spelled like this?")
    reply = answer.test_client().get(GROUPS_ROUTE)
    if reply.status_code == 405:
        raise Wrong("the route doesn't answer GET. Use `@app.get`.")
    if reply.status_code != 200:
        raise Wrong(
            f"the route answers with the status {reply.status_code}. What does the view return?"
        )
    body = reply.get_json(silent=True)
    if isinstance(body, list):
        raise Wrong('the view returns the list alone. Put it in a dictionary: `{"groups": ...}`.')
    if not isinstance(body, dict):
        raise Wrong("the answer is no JSON. Return a dictionary, and Flask makes JSON of it.")
    if list(body) != ["groups"]:
        raise Wrong(f"the answer has {', '.join(body) or 'nothing'} instead of `groups` alone.")
    categories = {group.get("category") for group in body["groups"] if isinstance(group, dict)}
    if not {"Female", "Male"} <= categories:
        raise Wrong('the list is not the one of the card, `card["metrics"]["groups"]`.')
    return (
        f"the API now tells how the model treats {len(body['groups'])} groups. What can be asked for, a "
        "program can show beside every answer."
    )


def _number(answer: object, hint: str) -> float:
    """Return the answer as a finite number. Raises Wrong with `hint` if it is none."""
    if isinstance(answer, bool) or not isinstance(answer, Real) or not math.isfinite(answer):
        raise Wrong(hint)
    return float(answer)
