"""Typical wrong answers of stage 05 get the hint that fits, and the notebooks reach the reference figures."""

import io
import json

import nbformat
import numpy as np
import pandas as pd
import pytest
import requests
from exercise_in_process import quickly  # noqa: F401
from exercise_support import copy_of, judge  # noqa: F401
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils import Bunch

from workshop import check
from workshop.core.datasets import CENSUS_STANDIN
from workshop.core.stages import find_stage, load_module
from workshop.setup.process import ROOT

# ruff: noqa: F811 (a fixture that is imported is asked for by its name)

census_model = load_module(find_stage("census"), "census_model")

NUMBERS = ["age", "hours_per_week"]
WORDS = ["workclass", "education", "marital_status", "race", "sex"]
SEVEN = NUMBERS + WORDS


@pytest.fixture(scope="module")
def parts():
    """The stand-in's people: the checks hold on them as on the real ones."""
    people = pd.read_csv(CENSUS_STANDIN, na_values=["?"], keep_default_na=False)
    return dict(iter(people.drop(columns="part").groupby(people["part"])))


@pytest.fixture(scope="module")
def train(parts):
    """The training people."""
    return parts["train"]


@pytest.fixture(scope="module")
def trained(parts):
    """The app's pipeline and card, made of the stand-in."""
    return census_model.train(Bunch(**parts, source="stand-in", is_real=False))


@pytest.fixture
def copy(copy_of, trained):
    """A copy of the app, with a model."""
    copy = copy_of("census")
    census_model.save(*trained, copy.app / "model")
    return copy


def assert_wrong(number, answer, *words):
    """The check calls `answer` wrong, with a hint that has all the words."""
    verdict = check(number, answer)
    assert verdict.status == "wrong", verdict
    assert not verdict.message.startswith("checking your answer stopped"), verdict
    for word in words:
        assert word in verdict.message


def assert_solved(number, answer):
    verdict = check(number, answer)
    assert verdict.status == "solved", verdict
    return verdict.message


@pytest.mark.parametrize("number", ["05.1", "05.2", "05.3", "05.5", "05.6", "05.8", "05.9"])
def test_an_exercise_not_begun_gets_a_hint(number):
    assert check(number, ...).status == "not yet"


# 05.1


def test_the_share_by_workclass_is_confirmed(train):
    share = train.groupby("workclass", dropna=False)["income"].mean()
    assert "employer nobody knows" in assert_solved("05.1", share)
    assert_solved("05.1", share.sort_values())


def test_the_hint_about_shares_leaves_the_line_to_the_learner():
    hint = check("05.1", ...).message
    assert "dropna" in hint
    assert "groupby(" not in hint


def test_mistakes_with_shares_get_their_hint(train):
    by = train.groupby("workclass", dropna=False)["income"]
    assert_wrong("05.1", train.groupby("workclass")["income"].mean(), "dropna=False")
    assert_wrong("05.1", by.sum(), "count people")
    assert_wrong("05.1", by.mean() * 100, "larger than 1")
    everyone = train["workclass"].value_counts(normalize=True, dropna=False)
    assert_wrong("05.1", everyone, "within")
    assert_wrong("05.1", train.groupby("education")["income"].mean(), "`workclass`")
    assert_wrong("05.1", train.groupby("workclass", dropna=False)[["income"]].mean(), "table")
    assert_wrong("05.1", 0.1, "column")
    assert_wrong("05.1", 1 - by.mean(), "`income`")


# 05.2


def test_the_factor_of_an_hour_is_confirmed():
    assert "10" not in assert_solved("05.2", np.exp(0.38 / 12.35)).split()[0]
    assert_solved("05.2", 1.03)


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        (np.exp(0.38), "step of the scaler"),
        (0.38 / 12.35, "`np.exp`"),
        (0.38, "weight itself"),
        (12.35, "size of a step"),
        (np.exp(0.38 * 12.35), "don't multiply"),
        (1.0, "quotient"),
        (True, "one number"),
        ("1.03", "one number"),
        (float("nan"), "one number"),
    ],
)
def test_mistakes_with_odds_get_their_hint(mistake, words):
    assert_wrong("05.2", mistake, words)


# 05.3


def pipeline_of(words, fill=True):
    """A pipeline like the notebook's on age, hours and `words`, not trained."""
    steps = (
        [SimpleImputer(missing_values=pd.NA, strategy="constant", fill_value="?")] if fill else []
    )
    one_hot = make_pipeline(*steps, OneHotEncoder(handle_unknown="ignore" if fill else "error"))
    columns = ColumnTransformer([("n", StandardScaler(), NUMBERS), ("w", one_hot, words)])
    return Pipeline([("columns", columns), ("classify", LogisticRegression(max_iter=1000))])


def test_a_pipeline_with_occupation_is_confirmed(train):
    eight = [*SEVEN, "occupation"]
    answer = pipeline_of([*WORDS, "occupation"]).fit(train[eight], train["income"])
    assert "as a manager" in assert_solved("05.3", answer)


def test_a_pipeline_on_more_columns_than_asked_is_confirmed(train):
    answer = pipeline_of([*WORDS, "occupation", "relationship"])
    assert_solved("05.3", answer.fit(train.drop(columns="income"), train["income"]))


def test_mistakes_with_the_pipeline_get_their_hint(train):
    eight, target = [*SEVEN, "occupation"], train["income"]
    good = pipeline_of([*WORDS, "occupation"])
    assert_wrong("05.3", good, "not trained")
    assert_wrong("05.3", LogisticRegression(), "`Pipeline`")
    assert_wrong("05.3", pipeline_of(WORDS).fit(train[SEVEN], target), "never seen `occupation`")
    dropped = pipeline_of(WORDS).fit(train[eight], target)
    assert_wrong("05.3", dropped, "makes no difference")
    few = pipeline_of(["occupation"]).fit(train[[*NUMBERS, "occupation"]], target)
    assert_wrong("05.3", few, "lacks education")
    assert_wrong("05.3", pipeline_of([*WORDS, "occupation"]).fit(train, target), "`income`")
    strict = pipeline_of([*WORDS, "occupation"], fill=False).fit(train[eight], target)
    assert_wrong("05.3", strict, "one_hot")
    upside_down = pipeline_of([*WORDS, "occupation"]).fit(train[eight], 1 - target)
    assert_wrong("05.3", upside_down, "target")
    bare = make_pipeline(make_column_transformer((StandardScaler(), [0])), LogisticRegression())
    assert_wrong("05.3", bare.fit(train[NUMBERS].to_numpy(), target), "bare numbers")


# 05.4

IMPORT = "import IntegerField, SelectField"
NOTE_FIELD = '    note = StringField("Note", description="for yourself")\n'
REQUIRED = ", StringField\nfrom wtforms.validators import InputRequired"
MUST_FIELD = NOTE_FIELD.replace('"Note",', '"Note", [InputRequired()],')
BUTTON = '  <button class="button" type="submit">'
DRAWN = "  {{ field(form.note, {}) }}\n"
HEADING = "<h1>{{ answer }}</h1>\n"
SHOWN = "{% if form.note.data %}<p>Note: {{ form.note.data }}</p>{% endif %}\n"


def add_note(copy, imported=", StringField", field=NOTE_FIELD, drawn=DRAWN, shown=SHOWN):
    """Give the app the note of exercise 05.4, or something else."""
    hours = '    hours_per_week = WholeNumberField("Hours of work per week", LIMITS["hours_per_week"])\n'
    copy.edit("census_forms.py", IMPORT, IMPORT + imported)
    copy.edit("census_forms.py", hours, hours + field)
    copy.edit("templates/index.html", BUTTON, drawn + BUTTON)
    copy.edit("templates/result.html", HEADING, HEADING + shown)


def test_the_form_as_it_came_has_no_note_yet(copy):
    judge("05.4", "not yet", r"give `PersonForm` a line `note = .* Saved\?")


def test_the_stored_solution_adds_a_note(copy):
    copy.solve("05.4")
    judge("05.4", "solved", "eight things, and the model still gets seven")


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        ({"drawn": ""}, r"write `\{\{ field\(form.note, \{\}\) \}\}` in `index.html`"),
        ({"drawn": "{{ form.note }}\n"}, "no label"),
        ({"drawn": '{{ field(form["note"], form.card.features["note"]) }}\n'}, "_field.html, line"),
        ({"field": ""}, "`PersonForm` in `census_forms.py` has no field `note` yet"),
        ({"shown": ""}, "the page with the answer doesn't show it"),
        ({"shown": SHOWN.replace("note.data }}", "note.data|safe }}")}, r"Leave `\|safe` out"),
        ({"shown": "<p>Note: {{ form.note.data }}</p>\n"}, r"between `\{% if form.note.data %\}`"),
        ({"shown": "<p>Note: {{ form.note.data or '' }}</p>\n"}, "shows an empty one"),
        ({"imported": REQUIRED, "field": MUST_FIELD}, "without a note the form is refused"),
    ],
)
def test_a_typical_slip_with_the_note_gets_its_hint(copy, quickly, change, hint):
    add_note(copy, **change)
    quickly(copy)
    judge("05.4", "wrong", hint)


def test_a_note_outside_the_form_gets_its_hint(copy, quickly):
    add_note(copy, drawn="")
    copy.edit("templates/index.html", "</form>\n", "</form>\n" + DRAWN)
    quickly(copy)
    judge("05.4", "wrong", "outside the form")


def test_a_note_that_the_model_gets_is_refused(copy, quickly):
    add_note(copy, shown=SHOWN)
    copy.edit(
        "census_forms.py",
        "return {name: self[name].data or None for name in FEATURES}",
        'return {name: self[name].data or None for name in [*FEATURES, "note"]}',
    )
    quickly(copy)
    judge("05.4", "wrong", "the model")


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        ({"imported": ""}, r"does not run\. .*census_forms.py, line \d+: NameError: .*StringField"),
        ({"field": NOTE_FIELD.replace(")", "")}, r"Python can't read .*census_forms.py, line \d+"),
    ],
)
def test_an_app_that_does_not_start_gets_one_sentence(copy, change, hint):
    add_note(copy, **change)
    judge("05.4", "wrong", hint)


@pytest.mark.parametrize("number", ["05.4", "05.7", "05.10"])
def test_an_app_without_a_model_gets_its_hint(copy, quickly, number):
    (copy.app / "model" / "census.json").unlink()
    if number == "05.10":
        copy.solve(number)
    quickly(copy)
    judge(number, "wrong", "no model")


# 05.5 to 05.7


def test_the_precision_is_confirmed():
    assert_solved("05.5", np.float64(1954 / (909 + 1954)))


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        (1954 / (1892 + 1954), "true positive rate"),
        (0.828, "accuracy"),
        (909 / (909 + 1954), "false alarms"),
        (68.3, "percent"),
        (1954, "between 0 and 1"),
        (0.95, "`matrix[1, 1]`"),
        ([0.68], "one number"),
    ],
)
def test_mistakes_with_the_precision_get_their_hint(mistake, words):
    assert_wrong("05.5", mistake, words)


def rates(group):
    """The four figures of the notebook's table."""
    chosen = [
        group["truth"],
        group["yes"],
        group["yes"][group["truth"] == 0],
        group["yes"][group["truth"] == 1],
    ]
    return pd.Series(
        [*map(pd.Series.mean, chosen)], ["earn more", "model says yes", "false alarms", "missed"]
    )


def table(people, groups):
    """The rates of a model that says yes to those with a degree."""
    yes = people["education"].isin(["Bachelors", "Masters"]).astype(int)
    frame = pd.DataFrame({"group": groups, "truth": people["income"], "yes": yes})
    return frame.groupby("group")[["truth", "yes"]].apply(rates)


def test_the_rates_by_age_are_confirmed(train):
    ages = pd.cut(train["age"], [16, 25, 35, 45, 55, 65, 90])
    assert "up to 25" in assert_solved("05.6", table(train, ages))


def test_ages_cut_from_the_left_are_confirmed(train):
    ages = pd.cut(train["age"], [17, 26, 36, 46, 56, 66, 91], right=False)
    assert_solved("05.6", table(train, ages))


@pytest.mark.parametrize(
    ("edges", "group"),
    [
        ([17, 25, 35, 45, 55, 65, 90], "17 to 25"),
        ([16, 26, 35, 45, 55, 65, 90], "26 to 35"),
        ([16, 25, 35, 45, 55, 65, 89], "66 to 90"),
    ],
)
def test_ages_that_lack_somebody_get_their_hint(train, edges, group):
    ages = pd.cut(train["age"], edges)
    assert_wrong("05.6", table(train, ages), f"ages {group}", "start at 16")


def test_mistakes_with_groups_get_their_hint(train):
    assert_wrong("05.6", table(train, train["sex"]), "by sex or race")
    assert_wrong("05.6", table(train, train["age"]), "too many")
    assert_wrong("05.6", table(train, pd.cut(train["age"], [16, 45, 90])), "not 6")
    hours = pd.cut(train["hours_per_week"], [0, 38, 40, 45, 50, 60, 99])
    assert_wrong("05.6", table(train, hours), "youngest")
    assert_wrong("05.6", train[["age", "income"]], "`rates`")
    assert_wrong("05.6", 3, "table")


BEFORE = "    <table>\n      <caption>The person</caption>\n"
MISSED = """    {% for group in card.metrics.groups %}
    {% if group.category == person.sex %}
    <p id="missed">The model misses {{ group.false_negative_rate|percent }} of those who earn more.</p>
    {% endif %}
    {% endfor %}
"""


def test_the_page_as_it_came_says_nothing_of_the_missed_yet(copy):
    judge("05.7", "not yet", r"a loop over `card.metrics.groups`.* Saved\?")


def test_the_stored_solution_tells_whom_the_model_misses(copy):
    copy.solve("05.7")
    judge("05.7", "solved", r"about a woman says \d\d%, that about a man \d\d%")


@pytest.mark.parametrize(
    "text",
    [
        MISSED.replace("<p id", "<p class='soft' id"),
        MISSED.replace("|percent", "|percent|replace('.', '.')").replace("<p ", "<section\n"),
        MISSED.replace("%}\n    {% if", " if", 1).replace("    {% endif %}\n", ""),
    ],
)
def test_another_way_to_tell_is_as_good(copy, quickly, text):
    text = text.replace("</p>", "</section>") if "<section" in text else text
    copy.edit("templates/result.html", BEFORE, text + BEFORE)
    quickly(copy)
    judge("05.7", "solved")


@pytest.mark.parametrize(
    ("old", "new", "hint"),
    [
        (
            "    {% if group.category == person.sex %}\n",
            "    {% if true %}\n",
            "has 7 such paragraphs",
        ),
        ("person.sex", '"Female"', "sex Male has the share of the other one"),
        ("person.sex", '"female"', "but on no page"),
        ("person.sex", "person.race", "sex Female must say"),
        ("false_negative_rate", "false_positive_rate", "is the share of false alarms"),
        ("false_negative_rate", "selection_rate", "the share to whom the model says yes"),
        ("|percent", "", r"The filter `\|percent` makes"),
        ("|percent", "|round(2)", "must say"),
        ("false_negative_rate", "missed", "is `group.false_negative_rate`"),
        ("who earn more", "like this one", "isn't true yet: .*who earn more"),
        ("metrics.", "", "but on no page"),
        ("    {% endfor %}\n", "", r"result.html, line \d+: .*endfor"),
    ],
)
def test_a_typical_slip_with_the_missed_gets_its_hint(copy, quickly, old, new, hint):
    copy.edit("templates/result.html", BEFORE, MISSED.replace(old, new) + BEFORE)
    quickly(copy)
    judge("05.7", "wrong", hint)


# 05.8 to 05.10


def reply(status, body, sent, address="/api/v1/predictions"):
    """A reply as `requests` gives it, with nobody asked."""
    made = requests.Response()
    made.status_code = status
    made.raw = io.BytesIO(json.dumps(body).encode())
    made.request = requests.Request("POST", f"http://127.0.0.1:1{address}", json=sent).prepare()
    return made


GOOD = {"probability": 0.1, "label": "<=50K", "contributions": {"workclass": -0.4}}


@pytest.mark.parametrize("sent", [{"age": 39, "workclass": None}, {"age": 39}])
def test_a_person_without_an_employer_is_confirmed(sent):
    assert "-0.40" in assert_solved("05.8", reply(200, GOOD, sent))


def test_mistakes_with_the_api_get_their_hint():
    known = "Unknown category. Known: Federal-gov, Local-gov, Never-worked, Private"
    refused = {"errors": [{"field": "workclass", "message": known}]}
    answer = reply(422, refused, {"workclass": "?"})
    assert_wrong("05.8", answer, "`None`", 'at workclass: "Unknown category."')
    assert_wrong("05.8", reply(200, GOOD, {"workclass": "Private"}), "Private")
    assert_wrong("05.8", reply(405, {}, {}), "status 405")
    assert_wrong("05.8", reply(200, {}, {}, "/api/v1/predictions/batch"), "another address")
    assert_wrong("05.8", GOOD, "reply itself")


def test_the_expected_number_is_confirmed_and_mistakes_get_their_hint():
    assert_solved("05.9", np.float64(239.4))
    assert_wrong("05.9", 176, "labels")
    assert_wrong("05.9", 0.239, "share")
    assert_wrong("05.9", 824, "earn less")
    assert_wrong("05.9", 1000, "add up")
    assert_wrong("05.9", "240", "one number")


END = '        return {"model_version": model.version, **model.card}\n'
GROUPS = """
    @api.get("/groups", summary="Whom the model fails")
    def groups():
        return {"groups": model.card["metrics"]["groups"]}
"""


def test_the_api_as_it_came_has_no_groups_yet(copy):
    judge("05.10", "not yet", r"copy the route `/model` .* Saved\?")


def test_the_stored_solution_adds_a_documented_route(copy):
    copy.solve("05.10")
    judge("05.10", "solved", "7 groups, and the documentation says so: “Whom the model fails”")


@pytest.mark.parametrize(
    ("old", "new", "hint"),
    [
        ('"/groups"', '"/api/v1/groups"', 'write `"/groups"`'),
        ('"/groups"', '"/groups/"', "ends with a slash"),
        (".get(", ".post(", "not for GET"),
        ('{"groups": model.card', "model.card", "the list alone"),
        ('"groups": m', '"group": m', "with `groups` in it, and nothing else"),
        ('["metrics"]["groups"]', '["classes"]', "not the one of the card"),
        ('{"groups": model.card', "str(model.card", "no JSON"),
        (
            ', summary="Whom the model fails"',
            ', summary="The model\'s card"',
            "a `summary` of its own",
        ),
        ("model.card", "modell.card", r"line \d+: NameError: name 'modell'"),
        ('["metrics"]', '["metric"]', r"census_api.py, line \d+: KeyError: 'metric'"),
    ],
)
def test_a_typical_slip_with_the_groups_gets_its_hint(copy, quickly, old, new, hint):
    text = GROUPS.replace(old, new, 1)
    if new in ("model.card", "str(model.card"):
        text = text.replace("}\n", ")\n" if new.startswith("str") else "\n")
    copy.edit("census_api.py", END, END + text)
    quickly(copy)
    judge("05.10", "wrong", hint)


def test_a_route_that_the_document_does_not_know_gets_its_hint(copy, quickly):
    view = GROUPS.replace("@api.get", "@app.route").replace("/groups", "/api/v1/groups")
    view = view.replace(', summary="Whom the model fails"', "")
    copy.edit("app.py", "    app.register_api(", view + "\n    app.register_api(")
    quickly(copy)
    judge("05.10", "wrong", "documentation doesn't know it")


def test_two_views_of_one_name_get_their_hint(copy):
    copy.edit("census_api.py", END, END + GROUPS.replace("def groups", "def card"))
    two = "Two views in apps/05_census/census_api.py have the same name, card"
    judge("05.10", "wrong", f"does not run. {two}")


# What the notebooks store


def outputs(name):
    """The text that a notebook stores, cell by cell."""
    cells = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4).cells
    for cell in cells:
        if cell.cell_type == "code":
            parts = [o.get("text") or o.get("data", {}).get("text/plain", "") for o in cell.outputs]
            yield cell, "".join(parts)


def stored(name, start):
    """What the cell that has `start` in its code stores."""
    found = [text for cell, text in outputs(name) if start in cell.source]
    assert len(found) == 1, start
    return found[0]


REFERENCE = {
    "logistic regression, 7 features": (0.8277, 0.8774, 0.1168),
    "logistic regression, 12 features": (0.8519, 0.9052, 0.1018),
    "boosted trees, 12 features": (0.8724, 0.9274, 0.0881),
}


def test_the_stored_figures_reach_the_reference():
    lines = stored("05b_census_model", "pd.DataFrame(ladder)").splitlines()
    for name, (accuracy, roc_auc, brier) in REFERENCE.items():
        figures = next(line.removeprefix(name).split() for line in lines if line.startswith(name))
        assert float(figures[0]) >= accuracy
        assert float(figures[1]) >= roc_auc
        assert float(figures[2]) <= brier


def test_the_stored_error_rate_beats_the_table_of_1996():
    lines = stored("05b_census_model", "published = pd.Series").splitlines()
    rates_of = {line[:22].strip(): float(line[22:]) for line in lines if "dtype" not in line}
    assert len(rates_of) == 11
    assert rates_of.pop("boosted trees, today") <= 13.31
    assert min(rates_of.values()) == 14.05


@pytest.mark.parametrize("name", ["05a_census_data", "05b_census_model", "05c_census_app"])
def test_the_stored_outputs_come_from_the_real_people(name):
    texts = [text for cell, text in outputs(name) if "census-data" in cell.metadata.get("tags", [])]
    assert texts[0].startswith("UCI Adult census income")


def test_the_notebook_agrees_with_the_app_in_what_it_stores():
    for cell, text in outputs("05c_census_app"):
        if cell.source.startswith("bool("):
            assert text == "True", cell.source


def test_the_checks_know_the_categories_and_features_of_the_app(train):
    from workshop.learn.exercises import census_data

    assert census_data.FEATURES == census_model.FEATURES
    assert set(train["workclass"].dropna()) == census_data.WORKCLASSES
