"""The checks of stage 05: shares, odds and a pipeline (05a), measures (05b), the API (05c).

Each notebook's last check looks at the app, which has been given a field, a sentence, a route. None looks at
the census data, so they need neither a mirror nor the network: ranges are wide enough for the real people and
for the stand-in.
"""

from __future__ import annotations

import json
import math
import re
from numbers import Real

import numpy as np
import pandas as pd
import requests
from markupsafe import escape
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from workshop.learn.exercises import ChangedApp, NotYet, Wrong, exercise

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
PERSON = {
    "age": 39,
    "workclass": "State-gov",
    "education": "Bachelors",
    "marital_status": "Never-married",
    "race": "White",
    "sex": "Male",
    "hours_per_week": 40,
}
NOTE = "for <b>Rosa</b>"  # a note that would do something if the page did not escape it
RATES = ["earn more", "model says yes", "false alarms", "missed"]
OTHER_RATES = {
    "selection_rate": "the share to whom the model says yes",
    "false_positive_rate": "the share of false alarms",
    "earning_more": "the share that earns more",
}
GROUPS_ROUTE = "/api/v1/groups"
AGES = [(17, 25), (26, 35), (36, 45), (46, 55), (56, 65), (66, 90)]  # nobody is younger or older
NO_MODEL = (
    "the app has no model. Run the cell that trains it, or type `python3 -m workshop train 05`."
)
EMPTY_NOTE = (
    "without a note, the page shows an empty one. Put the paragraph between `{% if form.note.data %}` and "
    "`{% endif %}`."
)


# --- 05a: the data and the pipeline ---------------------------------------------------------------


@exercise(
    "05.1",
    hint="do as for education, with another column, and read again what the exercise says about `dropna`.",
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
    others = {
        "relationship": "Not-in-family",
        "native_country": "United-States",
        "education_num": 13,
        "capital_gain": 0,
        "capital_loss": 0,
        "fnlwgt": 180_000,
    }
    occupations = ["Exec-managerial", "Priv-house-serv", None, "Influencer"]
    people = pd.DataFrame([PERSON | others | {"occupation": each} for each in occupations])
    return people[list(pipeline.feature_names_in_)]


@exercise(
    "05.4",
    hint="in `apps/05_census/census_forms.py`, give `PersonForm` a line `note = StringField(...)`, and "
    "import `StringField`; then draw it in `templates/index.html`, and show `form.note.data` in "
    "`templates/result.html`.",
    app="census",
)
def note_field(app: ChangedApp) -> str:
    """The form has a field more, a note, which the page with the answer shows and the model never sees."""
    is_field = re.search(r"^\s+note\s*=", app.source("census_forms.py"), re.MULTILINE)
    if "form.note" in app.source("templates/index.html") and not is_field:
        raise Wrong(
            "`index.html` draws `form.note`, but `PersonForm` in `census_forms.py` has no field `note` yet."
        )
    page = app.get("/")
    if page.status_code == 503:
        raise Wrong(NO_MODEL)
    control = re.search(r"""<(input|textarea)\b[^>]*\sname=["']?note["'\s>]""", page.text)
    if not control:
        if not is_field:
            raise NotYet
        raise Wrong(
            "`PersonForm` has a field `note`, but the page with the form doesn't show it. It draws the "
            "fields one by one: write `{{ field(form.note, {}) }}` in `index.html`, above the button. The "
            "field's line belongs into the class, as far indented as `age = ...`."
        )
    if "<form" in page.text[control.end() :] or "</form>" not in page.text[control.end() :]:
        raise Wrong(
            "the field stands outside the form, so nothing sends it. Put it above the button."
        )
    if not re.search(r"""<label\b[^>]*\sfor=["']?note["'\s>]""", page.text):
        raise Wrong(
            "the field has no label, so nobody knows what to type. `{{ field(form.note, {}) }}` draws "
            "both."
        )
    plain = app.get("/probability", params=PERSON)
    if plain.status_code != 200:
        raise Wrong(
            "without a note the form is refused. Links that people have kept have none, so leave it to them: "
            "a `StringField` without validators."
        )
    _judge_note(app.get("/probability", params=PERSON | {"note": NOTE}), plain)
    return (
        "the form asks for eight things, and the model still gets seven: its features are what the card "
        "lists, whatever else a form has."
    )


def _judge_note(page: requests.Response, plain: requests.Response) -> None:
    """Compare the page with an answer for somebody with NOTE with the one without. Raises Wrong."""
    if page.status_code != 200:
        raise Wrong(f"with a note, the form is answered with {page.status_code} instead of 200.")
    if NOTE in page.text:
        raise Wrong(
            "the page hands on what was typed as it is, so a note could be a program. Leave `|safe` out: "
            "`{{ form.note.data }}`."
        )
    shown = str(escape(NOTE))
    if shown not in page.text:
        raise Wrong(
            "the form takes a note, but the page with the answer doesn't show it. Write "
            "`{{ form.note.data }}` into `result.html`, inside `{% block main %}`."
        )
    if shown in "".join(re.findall("curl.*", page.text)):
        raise Wrong("the note is sent to the model as well. Leave `FEATURES` as it was.")
    if "None" in plain.text and "None" not in page.text:
        raise Wrong(EMPTY_NOTE)
    line = next(line for line in page.text.splitlines() if shown in line)
    around = " ".join(re.sub("<[^>]*>", " ", line.replace(shown, " ")).split())
    if around and around in plain.text:
        raise Wrong(EMPTY_NOTE)


# --- 05b: measures and uses -----------------------------------------------------------------------


@exercise(
    "05.5",
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
    "05.6",
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
    hint="in `apps/05_census/templates/result.html`, write a loop over `card.metrics.groups`; in it an `if` "
    'that compares `group.category` with `person.sex`; and in that a `<p id="missed">`.',
    app="census",
)
def whom_it_misses(app: ChangedApp) -> str:
    """The page with the answer says what share of the person's sex the model misses."""
    groups = {group["category"]: group for group in _groups(app) if group["feature"] == "sex"}
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


# --- 05c: the API ---------------------------------------------------------------------------------


@exercise(
    "05.8",
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
        reason = error["message"].partition(" Known: ")[0]  # the list is long
        raise Wrong(
            f'the API has refused it, at {error["field"]}: "{reason}". For "not known", '
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
    "05.9",
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
    "05.10",
    hint="in `apps/05_census/census_api.py`, copy the route `/model` with its decorator. In the copy, change "
    "the address, the summary, the function's name and what it returns.",
    app="census",
)
def groups_route(app: ChangedApp) -> str:
    """The API with one more route, documented, which tells how the model treats groups of people."""
    reply = app.get(GROUPS_ROUTE)
    if reply.status_code == 404:
        _look_for_groups(app)
    if reply.status_code == 405:
        raise Wrong(f"{GROUPS_ROUTE} is there, but not for GET. Use `@api.get(...)`.")
    if reply.status_code == 503:
        raise Wrong(NO_MODEL)
    if reply.status_code != 200:
        raise Wrong(f"{GROUPS_ROUTE} is answered with status {reply.status_code} instead of 200.")
    try:
        body = reply.json()
    except requests.JSONDecodeError:
        raise Wrong("the answer is no JSON. Return a dictionary, and it becomes JSON.") from None
    if isinstance(body, list):
        raise Wrong('the view returns the list alone. Put it in a dictionary: `{"groups": ...}`.')
    if not isinstance(body, dict) or list(body) != ["groups"]:
        raise Wrong("the answer must be a dictionary with `groups` in it, and nothing else.")
    if body["groups"] != _groups(app):
        raise Wrong(
            "the list is not the one of the card. In `card`, `model.card` is the card that you know: take "
            'its `["metrics"]["groups"]`.'
        )
    if reply.url.endswith("/"):
        raise Wrong('the address ends with a slash. Write `"/groups"`, without one.')
    described = app.get("/openapi/openapi.json").json()["paths"].get(GROUPS_ROUTE)
    if described is None:
        raise Wrong(
            "the route answers, but the API's documentation doesn't know it. Write it in `census_api.py`, "
            "with `@api.get`, so that the document is written from it."
        )
    if described["get"].get("summary") in (None, "", "The model's card"):
        raise Wrong(
            "the documentation lists the route without a `summary` of its own. Give it one."
        )
    return (
        f"a program can ask how the model treats {len(body['groups'])} groups, and the documentation says "
        f"so: “{described['get']['summary']}”. You have not written a line of that document."
    )


def _look_for_groups(app: ChangedApp) -> None:
    """Say why nothing answers at GROUPS_ROUTE: raises NotYet, or Wrong for a route elsewhere."""
    text = app.source("census_api.py")
    if "/groups" not in text and "/groups" not in app.source("app.py"):
        raise NotYet
    if GROUPS_ROUTE in text:
        raise Wrong(
            f"nothing answers {GROUPS_ROUTE}. The routes of `census_api.py` get `/api/v1` in front by "
            'themselves: write `"/groups"`.'
        )
    raise Wrong(
        f"nothing answers {GROUPS_ROUTE}. The view must stand inside `create_api` in `census_api.py`, above "
        "`return api`, as far indented as the others."
    )


def _groups(app: ChangedApp) -> list[dict[str, object]]:
    """The groups on the model's card. Raises Wrong if there is no model."""
    reply = app.get("/api/v1/model")
    if reply.status_code != 200:
        raise Wrong(NO_MODEL)
    return reply.json()["metrics"]["groups"]


def _number(answer: object, hint: str) -> float:
    """Return the answer as a finite number. Raises Wrong with `hint` if it is none."""
    if isinstance(answer, bool) or not isinstance(answer, Real) or not math.isfinite(answer):
        raise Wrong(hint)
    return float(answer)
