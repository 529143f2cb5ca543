"""The checks of 05a: shares by group, odds, a pipeline with one more feature, and a form with a note.

They don't read the census data, so they work offline: the ranges fit both the real data and the stand-in.
"""

from __future__ import annotations

import math
import re

import numpy as np
import pandas as pd
import requests
from markupsafe import escape
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from workshop.learn.exercises import ChangedApp, NotYet, Wrong, exercise, number_in
from workshop.learn.exercises.cells import of_notebook

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
NOTE = "for <b>Rosa</b>"  # a note that would turn bold if the page didn't escape it
NO_MODEL = (
    "the app has no model. Run the cell that trains it, or run `python3 -m workshop train 05`."
)
EMPTY_NOTE = (
    "without a note, the page still shows the paragraph for it. Put that paragraph between "
    "`{% if form.note.data %}` and `{% endif %}`."
)


@exercise(
    "05.1",
    hint="do what “What goes with a high income?” does for education, with a different column.",
    then="`groupby` takes the column and, as the exercise says, `dropna=False`. For each group, "
    "you want the mean of `income`.",
)
def share_by_workclass(answer: object) -> str:
    """The share above $50,000 by workclass, with the missing ones as a separate group."""
    if isinstance(answer, pd.DataFrame):
        raise Wrong(
            'that is a table. Select one column of it, `["income"]`, before you take the mean.'
        )
    if not isinstance(answer, pd.Series):
        raise Wrong(
            '`answer` must be a column, as `train.groupby(...)["income"].mean()` returns it.'
        )
    groups = set(answer.index.dropna())
    if groups != WORKCLASSES:
        raise Wrong("these groups aren't the values of `workclass`. Group by that column.")
    if not answer.index.hasnans:
        raise Wrong(
            "the people whose `workclass` is missing have disappeared: `groupby` drops them. Pass it "
            "`dropna=False`."
        )
    if answer.max() > 1:
        raise Wrong(
            "some numbers are larger than 1, so they count people. The mean gives the share."
        )
    if math.isclose(answer.sum(), 1):
        raise Wrong(
            "the numbers add up to 1, so they show how people are spread over the groups. You want the "
            "share *within* each group that earns more: the mean of `income`."
        )
    if not 0.4 < answer["Self-emp-inc"] < 0.7 or answer["Without-pay"] > 0.1:
        raise Wrong("these aren't the shares of `income`. Take the mean of that column of `train`.")
    missing = answer[answer.index.isna()].iloc[0]
    return (
        f"{missing:.0%} of the people whose employer isn't known earn more than $50,000, compared with "
        f"{answer['Self-emp-inc']:.0%} of those who own a company. A missing value tells you something too."
    )


@exercise(
    "05.2",
    hint="the weight is for one step of the scaler, and the exercise says where to find the size of a "
    "step in hours.",
    then="divide the weight by the size of a step: that gives the log-odds of one hour. `np.exp` turns "
    "log-odds into a factor of the odds.",
)
def odds_of_an_hour(answer: object) -> str:
    """The factor by which one more hour of work a week multiplies the odds, about 1.03."""
    factor = number_in(answer, "the answer is one number, such as `answer = np.exp(...)`.")
    if 1.02 < factor < 1.045:
        return (
            f"each hour multiplies the odds by {factor:.3f}, so ten hours multiply them by "
            f"{factor**10:.2f}. That is more than 1.3, because the ten factors multiply instead of adding up."
        )
    if 1.3 < factor < 1.65:
        raise Wrong(
            f"{factor:.2f} is the factor of one step of the scaler, about 12 hours. Divide the weight "
            "by the size of the step before you take `np.exp`."
        )
    if 0.02 < factor < 0.045:
        raise Wrong("that is the log-odds of one hour. `np.exp` turns them into a factor.")
    if 0.25 < factor < 0.5:
        raise Wrong("that is the weight itself: the log-odds of one step of the scaler.")
    if 8 < factor < 16:
        raise Wrong("that is the size of a step in hours. Divide the weight by it.")
    if factor > 16:
        raise Wrong(
            "that is far too large: divide the weight by the size of a step, don't multiply."
        )
    raise Wrong("first divide the weight by the size of a step, then take `np.exp` of the result.")


@exercise(
    "05.3",
    hint="“How do numbers and words go into one model?” builds the pipeline with seven features. "
    "Build a new one: leave `pipeline` as it is.",
    then='make a `ColumnTransformer` as before, with `CATEGORIES + ["occupation"]` for the words. '
    "Put it in a `Pipeline` with a new `LogisticRegression(max_iter=1000)`, and call `fit` "
    "with the eight columns.",
)
def eighth_feature(answer: object) -> str:
    """A trained pipeline like the notebook's, with occupation as an eighth feature."""
    if not isinstance(answer, Pipeline):
        raise Wrong(
            f"`answer` is a {type(answer).__name__}. It must be the trained `Pipeline` itself, which `fit` "
            "returns."
        )
    if answer is of_notebook("pipeline"):
        raise Wrong(
            "that is the notebook's own `pipeline`, and `fit` has trained it again. Make a new one, with "
            "`answer = Pipeline([...])`, and run the cell that trains the notebook's again."
        )
    try:
        check_is_fitted(answer)
    except NotFittedError:
        raise Wrong("the pipeline isn't trained yet: call `fit`.") from None
    columns = {str(name) for name in getattr(answer, "feature_names_in_", ())}
    if not columns:
        raise Wrong(
            "the pipeline was trained on plain numbers. Give it a data frame, `train[...]`."
        )
    if "income" in columns:
        raise Wrong(
            "the pipeline was given `income`, which is what it should predict. Leave it out."
        )
    if "occupation" not in columns:
        raise Wrong(
            "the pipeline has never seen `occupation`. Add it to the columns that you pass to `fit`."
        )
    if lacking := sorted(set(FEATURES) - columns):
        raise Wrong(
            f"the pipeline is missing {', '.join(lacking)}. Keep the seven features and add one."
        )
    try:
        says = answer.predict_proba(_clerks(answer))[:, 1]
    except ValueError as error:
        raise Wrong(
            "for a person whose occupation is missing or unknown, your pipeline fails with "
            f'"{error}". Put `occupation` through `one_hot`, like the other words.'
        ) from None
    if np.allclose(says, says[0]):
        raise Wrong(
            "`occupation` makes no difference to the prediction: a `ColumnTransformer` drops any column that "
            "isn't in one of its lists. Add it to the list of words."
        )
    manager, servant = says[:2]
    if manager <= servant:
        raise Wrong(
            "managers get a lower probability than house servants. Is the target `train['income']`?"
        )
    return (
        f"the same person gets {manager:.2f} as a manager and {servant:.2f} as a house servant. The missing "
        "occupations needed no extra code, because the pipeline already fills gaps."
    )


def _clerks(pipeline: Pipeline) -> pd.DataFrame:
    """Return one person four times, with two known occupations, a missing one, and an unknown one."""
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
    hint="three files change: `census_forms.py` has the form's fields, `templates/index.html` "
    "draws them, and `templates/result.html` shows the prediction.",
    then="give `PersonForm` a line `note = StringField(...)` and import `StringField`. Draw it "
    "like the other fields, above the button, and show `form.note.data` in `result.html` if "
    "it isn't empty.",
    app="census",
)
def note_field(app: ChangedApp) -> str:
    """The form has one more field, a note, which the result page shows and the model never sees."""
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
            "`PersonForm` has a field `note`, but the page with the form doesn't show it. It draws each "
            "field separately: write `{{ field(form.note, {}) }}` in `index.html`, above the button. In "
            "`census_forms.py`, the field's line belongs in the class, indented like `age = ...`."
        )
    if "<form" in page.text[control.end() :] or "</form>" not in page.text[control.end() :]:
        raise Wrong("the field is outside the form, so it is never sent. Put it above the button.")
    if not re.search(r"""<label\b[^>]*\sfor=["']?note["'\s>]""", page.text):
        raise Wrong(
            "the field has no label, so nobody knows what to type. `{{ field(form.note, {}) }}` draws "
            "both the label and the field."
        )
    plain = app.get("/probability", params=PERSON)
    if plain.status_code != 200:
        raise Wrong(
            "the form is refused if it has no note. Links that people have saved don't have one, so make it "
            "optional: a `StringField` without validators."
        )
    _check_note(app.get("/probability", params=PERSON | {"note": NOTE}), plain)
    return (
        "the form asks for eight things, and the model still gets seven: its features are the ones the card "
        "lists, no matter what else is in the form."
    )


def _check_note(page: requests.Response, plain: requests.Response) -> None:
    """Compare the result page that has NOTE with the one that has no note. Raises Wrong."""
    if page.status_code != 200:
        raise Wrong(f"with a note, the form returns {page.status_code} instead of 200.")
    if NOTE in page.text:
        raise Wrong(
            "the page shows what was typed without escaping it, so a note could be a script. Leave out "
            "`|safe`: `{{ form.note.data }}`."
        )
    shown = str(escape(NOTE))
    if shown not in page.text:
        raise Wrong(
            "the form accepts a note, but the result page doesn't show it. Write "
            "`{{ form.note.data }}` in `result.html`, inside `{% block main %}`."
        )
    if shown in "".join(re.findall("curl.*", page.text)):
        raise Wrong("the note is sent to the model too. Leave `FEATURES` as it was.")
    if "None" in plain.text and "None" not in page.text:
        raise Wrong(EMPTY_NOTE)
    line = next(line for line in page.text.splitlines() if shown in line)
    around = " ".join(re.sub("<[^>]*>", " ", line.replace(shown, " ")).split())
    if around and around in plain.text:
        raise Wrong(EMPTY_NOTE)
