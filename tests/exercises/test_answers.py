"""Exercises with an answer in a cell: not started, right, and one wrong answer of each kind.

Each wrong answer is listed with a part of its hint that doesn't depend on the wording: a piece of code, a
name, or a number. The hint must also differ from the other hints of its exercise.
"""

import io
import json
import sys
import threading
from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
import pytest
import requests
from exercise_support import SOLUTIONS, people, trained, verdict_on
from flask import Flask
from flask.sessions import SecureCookieSessionInterface
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from workshop.core.build import model_module
from workshop.core.datasets import read_iris
from workshop.core.stages import STAGES, find_stage
from workshop.learn import exercises
from workshop.learn.exercises import attacks, iris
from workshop.learn.exercises.census_data import PERSON
from workshop.setup.process import ROOT

Answers = tuple[
    list[object], list[tuple[object, str]]
]  # the right ones; the wrong ones with their words
ANSWERS: dict[str, Callable[[], Answers]] = {}
SIMPLE: dict[str, Answers] = {
    "00.1": ([8004], [("8004", ""), (4, "8000"), (8000, ""), (80004, "4 to 8000"), (8888, "")]),
    "01.1": (
        [404],
        [("404", ""), (200, "`twelve`"), (500, ""), (422, "`<int:number>`"), (405, ""), (7, "")],
    ),
    "03.2": (
        [999],
        [
            ("999", "`answer = 25`"),
            (1000.0015, "`isqrt`"),
            (1_000, "2"),
            (1_000_002, "`isqrt(1_000_003)`"),
            (333, "range(2, isqrt(n) + 1)"),
        ],
    ),
    "04.1": (
        [1.91, 2, 2.5, 2.99, np.float64(2.4)],
        [
            (1.9, "2 of the 50"),  # the longest setosa petal itself
            (3.0, "1 of the 100"),  # the shortest of the others itself
            (25, "25 cm"),
            ("2.5", "`answer = 1.5`"),
            (float("nan"), "50 of the 50"),
        ],
    ),
    "05.5": (
        [np.float64(1954 / (909 + 1954))],
        [
            (1954 / (1892 + 1954), "true positive rate"),
            (909 / (909 + 1954), "false alarms"),
            (68.3, "percent"),
            (0.95, "`matrix[1, 1]`"),
            ([0.68], "0.5"),
        ],
    ),
    "05.9": (
        [np.float64(239.4)],
        [(176, '`"probability"`'), (0.239, ""), (824, ""), (1000, "`scored`"), ("240", "")],
    ),
    "06.1": (
        [0.0548, np.float64(0.055), 0.09],
        [
            (pd.Series([True, False]), ""),
            ("5 %", "(...).mean()"),
            (0, "100_000"),
            (5.5, "percent"),
            (283, ""),
        ],
    ),
    "06.5": (
        ["javascript:alert(1)", " JavaScript:alert('1')", "java\nscript:alert(1)"],
        [
            (7, "answer ="),
            ("javascript:", "`javascript:`"),
            ("<script>alert(1)</script>", "`href`"),
            ("https://mallory.example/script.js", "`https:`"),
            ("alert(1)", ""),
        ],
    ),
}


def answers(number: str) -> Callable[[Callable[[], Answers]], None]:
    """Register the answers to an exercise, which are made when its test runs."""

    def register(make: Callable[[], Answers]) -> None:
        ANSWERS[number] = make

    return register


@answers("00.2")
def address() -> Answers:
    local = "http://127.0.0.1:"
    wrong = [
        (f"{local}8004", "answer = address"),
        (lambda stage: 8000 + stage, "8004"),
        (lambda stage: "http://127.0.0.1:{8000 + stage}", "{8000 + stage}"),
        (lambda stage: f"{local}800{stage}", "stage 12 "),
        (lambda: f"{local}8004", "def address(stage):"),
        (lambda stage: len(stage), "TypeError"),
    ]
    return [lambda stage: f"{local}{8000 + stage}", lambda stage: f"{local}{8000 + stage}/"], wrong


@answers("01.2")
def request_for_a_note() -> Answers:
    note = {"name": "lunch", "text": "soup"}
    wrong = [
        ("POST /notes", "METHOD"),
        (("GET", "/notes", note), "405"),
        (("POST", "http://127.0.0.1:8001/notes", note), "`http://`"),
        (("PUT", "/notes/milk", {"text": "t"}), "lunch"),
        (("POST", "/notes", json.dumps(note)), "dictionary"),
    ]
    return [("POST", "/notes", note), ["put", "/notes/lunch", {"text": "soup"}]], wrong


@answers("02.1")
def greeting() -> Answers:
    wrong = [
        ("<h2>Hello, {name}!</h2>", "`{{ name }}`"),
        (f"<h2>Hello, {{ name }}!</h2>", "`f`"),  # noqa: F541 (the slip)
        ("{% if {{ name }} %}<h2>Hello, {{ name }}!</h2>{% endif %}", "`{{` and `}}`"),
        ("{% if name == 'Ada' %}a{% else if name %}b{% endif %}", "`elif`"),
        ("<h2>Hello, {{ nmae }}!</h2>", "'nmae'"),
        ("<h2>Hello, {{ name }!</h2>", "line 1"),
        ("<h2>Hello, {{ name|safe }}!</h2>", "`safe`"),
        (7, ""),
    ]
    spaced = "<h2>\n  Hello, <em>{{name}}</em>!\n</h2>\n<p>Welcome.</p>"
    return ["<h2>Hello, {{ name }}!</h2>", spaced], wrong


@answers("02.2")
def guest_list() -> Answers:
    def written(entry="{{ name }}", loop="names|sort", empty="<li>No guests yet</li>"):
        start, end = f"<ul>{{% for name in {loop} %}}", "{% endfor %}</ul>"
        return f"{start}<li>{entry}</li>{{% else %}}{empty}{end}"

    with_if = (
        "<ul>{% if names %}{% for name in names|sort %}<li>{{ name }}</li>{% endfor %}"
        "{% else %}<li>No guests yet</li>{% endif %}</ul>"
    )
    wrong = [
        (written(loop="names"), "`names|sort`"),
        (written(loop="sorted(names)"), "`sorted`"),
        (written(loop="names.sort()"), "`names.sort()`"),
        (written(loop="sort(names)"), "`names|sort`"),
        (written(entry="{{ name|safe }}"), "`safe`"),
        (written(entry="{{ names }}"), "`{{ name }}`"),
        (written(empty=""), "`{% else %}`"),
        (written(empty="No guests yet"), "`</li>`"),
        ("<ul><li>{{ names|sort|join(', ') }}</li></ul>", "{% for name in names %}"),
        ("{% if names = [] %}{% endif %}", "`==`"),
        (["Ada"], ""),
    ]
    return [written(), with_if], wrong


def divisors(n):
    return [candidate for candidate in range(1, n + 1) if n % candidate == 0]


def prints(n):
    print(divisors(n))


def prints_and_returns(n):
    prints(n)
    return divisors(n)


@answers("03.1")
def divisors_function() -> Answers:
    wrong = [
        (divisors(12), "answer = divisors"),
        (lambda: [1], "def divisors(n):"),
        (prints, "`return`"),
        (prints_and_returns, "`print`"),
        (lambda n: 1, "divisors(12)"),
        (lambda n: [1], "`return`"),
        (lambda n: divisors(n)[:-1], "`n + 1`"),
        (lambda n: n + "", "TypeError"),
        (lambda n: [number], "`n`"),  # noqa: F821 (a learner's slip)
        (lambda n: [int(input("Enter a whole number: "))], "`input`"),
    ]
    return [divisors], wrong


@answers("04.2")
def petal_pipeline() -> Answers:
    flowers = read_iris()
    training, test = train_test_split(flowers, random_state=0)
    petals = ["petal_length", "petal_width"]

    def fit(rows=training, columns=petals, target=training["species"], scale=StandardScaler):
        steps = [scale(), LogisticRegression()] if scale else [LogisticRegression()]
        return make_pipeline(*steps).fit(rows[columns], target.loc[rows.index])

    species = flowers["species"]
    named = Pipeline([("scale", StandardScaler()), ("classify", LogisticRegression())])
    other = train_test_split(flowers, random_state=1)[0]
    bare = make_pipeline(StandardScaler(), LogisticRegression())
    no_call = make_pipeline(StandardScaler().fit(training[petals]), DummyClassifier)
    wrong = [
        (make_pipeline(StandardScaler(), LogisticRegression()), "`fit`"),
        (fit(flowers, target=species), "150"),
        (fit(other, target=species), "random_state=0"),
        (bare.fit(training[petals].to_numpy(), training["species"]), "`training[PETALS]`"),
        (fit(scale=None), "`StandardScaler()`"),
        (no_call, "`LogisticRegression()`"),
        (fit(target=species == "setosa"), '`training["species"]`'),
        (training[petals], "`Pipeline([...])`"),
    ]
    right = [fit(), fit(columns=petals[::-1]), named.fit(training[petals], training["species"])]
    return right, wrong


@answers("05.1")
def share_by_workclass() -> Answers:
    train = people().train
    by = train.groupby("workclass", dropna=False)["income"]
    wrong = [
        (train.groupby("workclass")["income"].mean(), "`dropna=False`"),
        (by.sum(), ""),
        (train["workclass"].value_counts(normalize=True, dropna=False), "`income`"),
        (train.groupby("education")["income"].mean(), "`workclass`"),
        (0.1, "train.groupby(...)"),
    ]
    return [by.mean(), by.mean().sort_values()], wrong


@answers("05.2")
def odds_of_an_hour() -> Answers:
    step, weight = 12.35, 0.38
    wrong = [
        (np.exp(weight), "1.46"),
        (weight / step, "`np.exp`"),
        (step, ""),
        (1.0, "`np.exp`"),
        ("1.03", "`answer = np.exp(...)`"),
    ]
    return [np.exp(weight / step), 1.03], wrong


NUMBERS = ["age", "hours_per_week"]
WORDS = ["workclass", "education", "marital_status", "race", "sex"]


@answers("05.3")
def eighth_feature() -> Answers:
    train = people().train
    eight, target = [*NUMBERS, *WORDS, "occupation"], train["income"]

    def pipeline(words, fill=True):
        steps = [SimpleImputer(missing_values=pd.NA, strategy="constant", fill_value="?")] * fill
        one_hot = make_pipeline(*steps, OneHotEncoder(handle_unknown="ignore" if fill else "error"))
        columns = ColumnTransformer([("n", StandardScaler(), NUMBERS), ("w", one_hot, words)])
        return Pipeline([("columns", columns), ("classify", LogisticRegression(max_iter=1000))])

    good = [*WORDS, "occupation"]
    wrong = [
        (pipeline(good), "`fit`"),
        (LogisticRegression(), "`Pipeline`"),
        (pipeline(WORDS).fit(train[eight[:-1]], target), "`occupation`"),
        (pipeline(WORDS).fit(train[eight], target), "`ColumnTransformer`"),
        (pipeline(good).fit(train, target), "`income`"),
        (pipeline(good, fill=False).fit(train[eight], target), "`one_hot`"),
        (pipeline(good).fit(train[eight], 1 - target), "train['income']"),
    ]
    more = pipeline([*good, "relationship"]).fit(train.drop(columns="income"), target)
    return [pipeline(good).fit(train[eight], target), more], wrong


@answers("05.6")
def rates_by_age() -> Answers:
    train = people().train

    def rates(group):
        yes, truth = group["yes"], group["truth"]
        means = [truth.mean(), yes.mean(), yes[truth == 0].mean(), yes[truth == 1].mean()]
        return pd.Series(means, ["earn more", "model says yes", "false alarms", "missed"])

    def table(groups):
        """The rates of a model that says yes to those with a degree."""
        yes = train["education"].isin(["Bachelors", "Masters"]).astype(int)
        frame = pd.DataFrame({"group": groups, "truth": train["income"], "yes": yes})
        return frame.groupby("group")[["truth", "yes"]].apply(rates)

    def cut(*edges, **options):
        return table(pd.cut(train["age"], edges, **options))

    wrong = [
        (cut(17, 25, 35, 45, 55, 65, 90), "17 to 25"),
        (cut(16, 45, 90), "not 6"),
        (table(train["sex"]), ""),
        (table(pd.cut(train["hours_per_week"], [0, 38, 40, 45, 50, 60, 99])), "16 to 25"),
        (train[["age", "income"]], "`.apply(rates)`"),
        (3, "`by_sex`"),
    ]
    ages = [cut(16, 25, 35, 45, 55, 65, 90), cut(17, 26, 36, 46, 56, 66, 91, right=False)]
    return ages, wrong


def reply(status: int, body: object, sent: object, path="/api/v1/predictions") -> requests.Response:
    """A reply as `requests` gives it, without a server."""
    made = requests.Response()
    made.status_code = status
    made.raw = io.BytesIO(json.dumps(body).encode())
    made.request = requests.Request("POST", f"http://127.0.0.1:1{path}", json=sent).prepare()
    return made


@answers("05.8")
def unknown_employer() -> Answers:
    good = {"probability": 0.1, "label": "<=50K", "contributions": {"workclass": -0.4}}
    known = "Unknown category. Known: Federal-gov, Local-gov"
    refused = {"errors": [{"field": "workclass", "message": known}]}
    wrong = [
        (reply(422, refused, {"workclass": "?"}), "`None`"),
        (reply(200, good, {"workclass": "Private"}), "Private"),
        (reply(405, {}, {}), "405"),
        (reply(200, {}, {}, "/api/v1/predictions/batch"), "`/api/v1/predictions`"),
        (good, "`.json()`"),
    ]
    return [reply(200, good, {"age": 39, "workclass": None}), reply(200, good, {"age": 39})], wrong


@answers("06.2")
def narrower_interval() -> Answers:
    def table(covered, width=100_000):
        """A thousand districts, with an interval that contains the share `covered` of their prices."""
        price = np.full(1000, 200_000.0)
        low = np.where(np.arange(1000) < 1000 * covered, price - width / 2, price + 1)
        return pd.DataFrame({"price": price, "low": low, "high": low + width})

    wrong = [
        (6000.0, "pd.DataFrame"),
        (table(0.8).drop(columns="high"), "high"),
        (table(0.8).rename(columns={"low": "high", "high": "low"}), "`low`"),
        (table(0.73), "73.0%"),
        (table(0.9), "`.quantile(0.8)`"),
    ]
    return [table(0.78), table(0.8), table(0.83)], wrong


def saved(**incomes: float) -> list[dict[str, object]]:
    """The list that the API gives, of predictions with these names and incomes."""
    return [
        {"name": name, "district": {"median_income": income}, "price_usd": round(40_000 * income)}
        for name, income in incomes.items()
    ]


@answers("06.3")
def three_saved() -> Answers:
    wrong = [
        (reply(401, {}, {}), "`.json()`"),
        ({"title": "Unauthorized", "status": 401}, "`headers=headers`"),
        ("[]", "`.json()`"),
        (saved(low=2, middle=4), "'high'"),
        (saved(low=2, middle=4, high=4), "4 instead of 8"),
    ]
    return [saved(other=5, low=2, middle=4, high=8.0)], wrong


def found_in_notebook() -> dict[str, object]:
    """The names that the cell of 06b with the stolen cookie defines."""
    notebook = json.loads((ROOT / "notebooks" / "06b_attacks.ipynb").read_text(encoding="utf-8"))
    sources = ["".join(cell["source"]) for cell in notebook["cells"]]
    names: dict[str, object] = {}
    exec(next(s for s in sources if s.startswith("found = ")), names)  # noqa: S102 (it is ours)
    return names


def signed(content: object, key: str = attacks.WEAK_KEY) -> str:
    """A session cookie that Flask would write with this key."""
    app = Flask(__name__)
    app.secret_key = key
    return SecureCookieSessionInterface().get_signing_serializer(app).dumps(content)


@answers("06.6")
def forged_cookie() -> Answers:
    names = found_in_notebook()
    assert attacks.WEAK_KEY in names["words"]
    wrong = [
        ({"account": 1}, "`signer(word).dumps(...)`"),
        ("dev", ""),
        (names["found"], "{'account': 2}"),
        (signed({"account": "1"}), "{'account': '1'}"),
        (signed({"account": 1}, "dev"), "`signer(word).loads(found)`"),
    ]
    return [signed({"account": 1})], wrong


# Small broken apps that a cell makes, for a learner to fix


BROKEN = {  # the notebook; then text of the solution, the slip that replaces it, and a word of the hint
    "02.4": (
        "02_templates",
        ("{{ guest }}", "{{ name }}", "2 entries"),
        ("{{ guest }}", "{{ guest|safe }}", "`safe`"),
        ("guests=names", "guests=names[1:]", "'1 guests'"),
        ('"/guests"', '"/guest"', "GET /guests"),
    ),
    "04.5": (
        "04_iris",
        ("pipeline.predict", 'pipeline["classify"].predict', "'versicolor'"),
        ("species[0]", "species.tolist()", "['setosa']"),
        ('{"species": species[0]}', '{"name": species[0]}', '`{"species": ...}`'),
        ("pipeline.predict", "pipelin.predict", "'pipelin'"),
    ),
    "05.11": (
        "05c_census_app",
        ("abort(422", "print(422", "sex=male"),
        ('card["features"].items()', '[("sex", card["features"]["sex"])]', "education=bachelors"),
        ("abort(422", "abort(404", "404"),
        ("[0, 1]", '[0, 1] - 2', "-1."),
    ),
}  # fmt: skip


def small_app(source: str) -> Flask:
    """The app that a cell makes, with the variables of the cells before it."""
    census, card = trained("05_census")
    names = {"pd": pd, "FEATURES": iris.FEATURES, "pipeline": trained("04_iris")[0]}
    if "census" in source:
        module = model_module(find_stage("census"))
        names = {
            "pd": pd,
            "pipeline": census,
            "card": card,
            "census_model": module,
            "person": PERSON,
        }
    exec(source, names)  # noqa: S102 (it is ours)
    return names["answer"]


def solution(number: str) -> str:
    """The stored solution of an exercise whose answer is an app."""
    text = (SOLUTIONS / f"{BROKEN[number][0]}.py").read_text(encoding="utf-8")
    return text.partition(f"# %% Exercise {number}\n")[2].partition("# %%")[0]


@pytest.mark.parametrize("number", BROKEN)
def test_an_unchanged_broken_app_is_not_solved(number):
    name, *_ = BROKEN[number]
    notebook = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8"))
    sources = ["".join(cell["source"]) for cell in notebook["cells"]]
    came = sources[sources.index(f'check("{number}", answer)') - 1]
    assert verdict_on(number, small_app(came)).status == "not yet"


def fixed_app(number: str) -> Answers:
    """The stored solution, and copies of it with one slip each."""
    right, (_, *slips) = solution(number), BROKEN[number]
    wrong = [(small_app(right.replace(old, new, 1)), word) for old, new, word in slips]
    return [small_app(right)], wrong


ANSWERS |= {number: partial(fixed_app, number) for number in BROKEN}
ANSWERS |= {number: partial(SIMPLE.get, number) for number in SIMPLE}


@pytest.mark.parametrize("number", ANSWERS)
def test_an_answer_gets_its_verdict(number):
    right, wrong = ANSWERS[number]()
    for blank in (..., None):
        begun = verdict_on(number, blank)
        assert begun.status == "not yet"
        assert begun.message
    for answer in right:
        assert verdict_on(number, answer).status == "solved", (answer, verdict_on(number, answer))
    hints = [begun.message]
    for answer, word in wrong:
        verdict = verdict_on(number, answer)
        assert verdict.status == "wrong", (answer, verdict)
        assert word in verdict.message, (answer, verdict)
        assert verdict.message not in hints, (answer, "has the hint of another mistake", verdict)
        hints.append(verdict.message)


@pytest.mark.parametrize("number", ANSWERS)
def test_no_answer_stops_a_check(number):
    for answer in (5, "x", b"x", True, [], {}, object(), float("nan"), lambda: 1 / 0, LookupError):
        verdict = verdict_on(number, answer)
        assert verdict.status == "wrong", (answer, verdict)
        assert verdict.message


def test_every_exercise_is_an_answer_here_or_a_change_with_a_stored_solution():
    # Stage 07's exercises are in tests/stages/test_internet.py.
    numbers = {n for stage in STAGES for n in exercises.exercises_of(stage.slug) if n < "07"}
    assert numbers - {file.stem for file in SOLUTIONS.glob("*.diff")} == ANSWERS.keys()


def never_ends(n):
    while True:
        n += 1


def never_ends_and_prints(n):
    while True:
        print(n)


@pytest.mark.parametrize("answer", [never_ends, never_ends_and_prints])
def test_a_loop_that_never_ends_is_stopped(answer, monkeypatch):
    monkeypatch.setattr(exercises, "SECONDS", 0.2)
    threads, output = set(threading.enumerate()), sys.stdout

    assert verdict_on("03.1", answer).status == "wrong"

    assert sys.stdout is output
    for thread in set(threading.enumerate()) - threads:
        thread.join(30)
        assert not thread.is_alive(), "the loop goes on in the background"
