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
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from workshop.core.build import model_module
from workshop.core.datasets import read_iris
from workshop.core.stages import STAGES, find_stage
from workshop.learn import exercises
from workshop.learn.exercises import attacks, iris
from workshop.learn.exercises.census_data import PERSON, WORKCLASSES
from workshop.learn.exercises.census_model import RATES

RIGHT = None
Answers = list[tuple[object, str | None]]  # RIGHT, or a part of the wrong answer's hint
LOCAL = "http://127.0.0.1:"
NOTE = {"name": "lunch", "text": "soup"}
START, END = "<ul>{% for name in names", "{% endfor %}</ul>"
EMPTY = "{% else %}<li>No guests yet</li>"


def divisors(n):
    return [candidate for candidate in range(1, n + 1) if n % candidate == 0]


def prints(n):
    print(divisors(n))


def reply(status: int, body: object, sent: object, path="/api/v1/predictions") -> requests.Response:
    """A reply as `requests` gives it, without a server."""
    made = requests.Response()
    made.status_code = status
    made.raw = io.BytesIO(json.dumps(body).encode())
    made.request = requests.Request("POST", f"{LOCAL}1{path}", json=sent).prepare()
    return made


GOOD = {"probability": 0.1, "label": "<=50K", "contributions": {"workclass": -0.4}}
KNOWN = "Unknown category. Known: Federal-gov, Local-gov"
REFUSED = {"errors": [{"field": "workclass", "message": KNOWN}]}


SHARES = pd.Series(
    dict.fromkeys(WORKCLASSES, 0.3) | {"Self-emp-inc": 0.55, "Without-pay": 0.0, np.nan: 0.1}
)


def by_age(*edges: int, closed="right") -> pd.DataFrame:
    """A table of rates with a row for each of these age groups."""
    return pd.DataFrame(0.01, index=pd.IntervalIndex.from_breaks(edges, closed), columns=RATES)


def saved(**incomes: float) -> list[dict[str, object]]:
    """The list that the API gives, of predictions with these names and incomes."""
    return [
        {"name": name, "district": {"median_income": income}, "price_usd": round(40_000 * income)}
        for name, income in incomes.items()
    ]


def signed(content: object, key: str = attacks.WEAK_KEY) -> str:
    """A session cookie that Flask would write with this key."""
    app = Flask(__name__)
    app.secret_key = key
    return SecureCookieSessionInterface().get_signing_serializer(app).dumps(content)


def intervals(covered: float) -> pd.DataFrame:
    """A thousand districts, with an interval that contains the share `covered` of their prices."""
    price = np.full(1000, 200_000.0)
    low = np.where(np.arange(1000) < 1000 * covered, price - 50_000, price + 1)
    return pd.DataFrame({"price": price, "low": low, "high": low + 100_000})


ANSWERS: dict[str, Answers | Callable[[], Answers]] = {
    "00.1": [(8004, RIGHT), (4, "8000"), (80004, "4 to 8000")],
    "00.2": [
        (lambda stage: f"{LOCAL}{8000 + stage}", RIGHT),
        (lambda stage: 8000 + stage, "8004"),
        (lambda stage: f"{LOCAL}{{8000 + stage}}", "{8000 + stage}"),
        (lambda stage: f"{LOCAL}800{stage}", "stage 12 "),
    ],
    "01.1": [(404, RIGHT), (200, "`twelve`"), (422, "`<int:number>`")],
    "01.2": [
        (("POST", "/notes", NOTE), RIGHT),
        (["put", "/notes/lunch", {"text": "soup"}], RIGHT),
        ("POST /notes", "METHOD"),
        (("GET", "/notes", NOTE), "405"),
        (("PUT", "/notes/milk", {"text": "t"}), "lunch"),
        (("POST", "/notes", json.dumps(NOTE)), "dictionary"),
    ],
    "02.1": [
        ("<h2>Hello, {{ name }}!</h2>", RIGHT),
        ("<h2>Hello, {name}!</h2>", "`{{ name }}`"),
        ("<h2>Hello, " + "{ name }!</h2>", "`f`"),
        ("{% if name == 'Ada' %}a{% else if name %}b{% endif %}", "`elif`"),
        ("<h2>Hello, {{ nmae }}!</h2>", "'nmae'"),
        ("<h2>Hello, {{ name }!</h2>", "line 1"),
        ("<h2>Hello, {{ name|safe }}!</h2>", "`safe`"),
    ],
    "02.2": [
        (f"{START}|sort %}}<li>{{{{ name }}}}</li>{EMPTY}{END}", RIGHT),
        (f"{START} %}}<li>{{{{ name }}}}</li>{EMPTY}{END}", "`names|sort`"),
        (f"{START}|sort %}}<li>{{{{ name|safe }}}}</li>{EMPTY}{END}", "`safe`"),
        (f"{START}|sort %}}<li>{{{{ names }}}}</li>{EMPTY}{END}", "`{{ name }}`"),
        (f"{START}|sort %}}<li>{{{{ name }}}}</li>{END}", "`{% else %}`"),
        ("<ul><li>{{ names|sort|join(', ') }}</li></ul>", "{% for name in names %}"),
    ],
    "03.1": [
        (divisors, RIGHT),
        (divisors(12), "answer = divisors"),
        (prints, "prints"),
        (lambda n: [1], "`return`"),
        (lambda n: divisors(n)[:-1], "`n + 1`"),
        (lambda n: [number], "`n`"),  # noqa: F821 (a learner's slip)
        (lambda n: [int(input("Enter a whole number: "))], "`input`"),
    ],
    "03.2": [
        (999, RIGHT),
        (1_000, "2"),
        (1_000_002, "`isqrt(1_000_003)`"),
        (333, "range(2, isqrt(n) + 1)"),
    ],
    "04.1": [
        (1.91, RIGHT),
        (np.float64(2.99), RIGHT),
        (1.9, "2 of the 50"),  # the longest setosa petal itself
        (3.0, "1 of the 100"),  # the shortest of the others itself
        (25, "25 cm"),
    ],
    "05.1": [
        (SHARES, RIGHT),
        (SHARES[SHARES.index.notna()], "`dropna=False`"),
        (SHARES / SHARES.sum(), "`income`"),
    ],
    "05.2": [
        (np.exp(0.38 / 12.35), RIGHT),
        (np.exp(0.38), "1.46"),
        (0.38 / 12.35, "`np.exp`"),
    ],
    "05.5": [
        (np.float64(1954 / (909 + 1954)), RIGHT),
        (1954 / (1892 + 1954), "true positive rate"),
        (909 / (909 + 1954), "false alarms"),
        (68.3, "percent"),
    ],
    "05.6": [
        (by_age(16, 25, 35, 45, 55, 65, 90), RIGHT),
        (by_age(17, 26, 36, 46, 56, 66, 91, closed="left"), RIGHT),
        (by_age(17, 25, 35, 45, 55, 65, 90), "17 to 25"),
        (by_age(16, 45, 90), "not 6"),
    ],
    "05.8": [
        (reply(200, GOOD, {"age": 39, "workclass": None}), RIGHT),
        (reply(200, GOOD, {"age": 39}), RIGHT),
        (reply(422, REFUSED, {"workclass": "?"}), "`None`"),
        (reply(200, GOOD, {"workclass": "Private"}), "Private"),
        (reply(200, {}, {}, "/api/v1/predictions/batch"), "`/api/v1/predictions`"),
    ],
    "05.9": [(np.float64(239.4), RIGHT), (176, '`"probability"`'), (0.239, ""), (1000, "`scored`")],
    "06.1": [(0.0548, RIGHT), (pd.Series([True, False]), ""), (0, "100_000"), (5.5, "percent")],
    "06.2": [
        (intervals(0.78), RIGHT),
        (intervals(0.8).rename(columns={"low": "high", "high": "low"}), "`low`"),
        (intervals(0.73), "73.0%"),
        (intervals(0.9), "`.quantile(0.8)`"),
    ],
    "06.3": [
        (saved(other=5, low=2, middle=4, high=8.0), RIGHT),
        (reply(401, {}, {}), "`.json()`"),
        ({"title": "Unauthorized", "status": 401}, "`headers=headers`"),
        (saved(low=2, middle=4, high=4), "4 instead of 8"),
    ],
    "06.5": [
        ("javascript:alert(1)", RIGHT),
        ("java\nScript:alert(1)", RIGHT),
        ("javascript:", "`javascript:`"),
        ("<script>alert(1)</script>", "`href`"),
        ("https://mallory.example/script.js", "`https:`"),
    ],
    "06.6": [
        (signed({"account": 1}), RIGHT),
        ({"account": 1}, "`signer(word).dumps(...)`"),
        (signed({"account": 2}), "{'account': 2}"),
        (signed({"account": 1}, "dev"), "`signer(word).loads(found)`"),
    ],
}


def petal_pipeline() -> Answers:
    flowers = read_iris()
    training, _ = train_test_split(flowers, random_state=0)
    species, petals = flowers["species"], iris.PETALS

    def fit(rows=training, columns=petals):
        return untrained().fit(rows[columns], species.loc[rows.index])

    def untrained():
        return make_pipeline(StandardScaler(), LogisticRegression())

    return [
        (fit(), RIGHT),
        (fit(columns=petals[::-1]), RIGHT),
        (untrained(), "`fit`"),
        (fit(flowers), "150"),
        (fit(train_test_split(flowers, random_state=1)[0]), "random_state=0"),
        (untrained().fit(training[petals].to_numpy(), training["species"]), "`training[PETALS]`"),
        (make_pipeline(fit()[0], DummyClassifier), "`LogisticRegression()`"),
    ]


def eighth_feature() -> Answers:
    train = people().train
    numbers, words = ["age", "hours_per_week"], ["workclass", "education", "marital_status"]
    good = [*words, "race", "sex", "occupation"]
    eight, target = [*numbers, *good], train["income"]

    def pipeline(words=good, fill=True):
        steps = [SimpleImputer(missing_values=pd.NA, strategy="constant", fill_value="?")] * fill
        one_hot = make_pipeline(*steps, OneHotEncoder(handle_unknown="ignore" if fill else "error"))
        columns = ColumnTransformer([("n", StandardScaler(), numbers), ("w", one_hot, words)])
        return make_pipeline(columns, LogisticRegression(max_iter=1000))

    return [
        (pipeline().fit(train[eight], target), RIGHT),
        (pipeline(), "`fit`"),
        (pipeline(good[:-1]).fit(train[eight[:-1]], target), "`occupation`"),
        (pipeline(good[:-1]).fit(train[eight], target), "`ColumnTransformer`"),
        (pipeline(fill=False).fit(train[eight], target), "`one_hot`"),
        (pipeline().fit(train[eight], 1 - target), "train['income']"),
    ]


# Small broken apps that a cell makes: the solution's file; then its text, a slip, and a word of the hint.

BROKEN = {
    "02.4": [
        "02_templates",
        ("{{ guest }}", "{{ name }}", "2 entries"),
        ("{{ guest }}", "{{ guest|safe }}", "`safe`"),
        ("guests=names", "guests=names[1:]", "'1 guests'"),
        ('"/guests"', '"/guest"', "GET /guests"),
    ],
    "04.5": [
        "04_iris",
        ("pipeline.predict", 'pipeline["classify"].predict', "'versicolor'"),
        ("species[0]", "species.tolist()", "['setosa']"),
        ('{"species": species[0]}', '{"name": species[0]}', '`{"species": ...}`'),
    ],
    "05.11": [
        "05c_census_app",
        ("abort(422", "print(422", "sex=male"),
        ("abort(422", "abort(404", "404"),
        ("[0, 1]", "[0, 1] - 2", "-1."),
    ],
}


def small_app(source: str) -> Flask:
    """The app that a cell makes, with the variables of the cells before it."""
    names = {"pd": pd, "FEATURES": iris.FEATURES, "pipeline": trained("04_iris")[0]}
    if "census" in source:
        names["pipeline"], names["card"] = trained("05_census")
        names |= {"census_model": model_module(find_stage("census")), "person": PERSON}
    exec(source, names)  # noqa: S102 (it is ours)
    return names["answer"]


def fixed_app(number: str) -> Answers:
    """The stored solution, and copies of it with one slip each."""
    notebook, *slips = BROKEN[number]
    text = (SOLUTIONS / f"{notebook}.py").read_text(encoding="utf-8")
    right = text.partition(f"# %% Exercise {number}\n")[2].partition("# %%")[0]
    right_or_wrong = [("", "", RIGHT), *slips]
    return [(small_app(right.replace(*slip, 1)), word) for *slip, word in right_or_wrong]


ANSWERS |= {number: partial(fixed_app, number) for number in BROKEN}
ANSWERS |= {"04.2": petal_pipeline, "05.3": eighth_feature}
JUNK = (5, "x", b"x", True, [], {}, object(), float("nan"), lambda: 1 / 0, LookupError)


@pytest.mark.parametrize("number", ANSWERS)
def test_an_answer_gets_its_verdict(number):
    made = ANSWERS[number]
    begun = verdict_on(number, None)
    assert begun == verdict_on(number, ...)
    assert begun.status == "not yet"
    hints = [begun.message]
    for answer, word in made() if callable(made) else made:
        verdict = verdict_on(number, answer)
        assert verdict.status == ("solved" if word is RIGHT else "wrong"), (answer, verdict)
        assert word is RIGHT or word in verdict.message, (answer, verdict)
        assert verdict.message not in hints or word is RIGHT, (answer, "another's hint", verdict)
        hints.append(verdict.message)
    for answer in JUNK:
        assert verdict_on(number, answer).status == "wrong", answer


def test_every_exercise_is_an_answer_here_or_a_change_with_a_stored_solution():
    # Stage 07's exercises are in tests/stages/test_internet.py.
    numbers = {n for stage in STAGES for n in exercises.exercises_of(stage.slug) if n < "07"}
    assert numbers - {file.stem for file in SOLUTIONS.glob("*.diff")} == ANSWERS.keys()


def test_a_loop_that_never_ends_is_stopped(monkeypatch):
    def never_ends(n):
        while True:
            print(n)

    monkeypatch.setattr(exercises, "SECONDS", 0.2)
    threads, output = set(threading.enumerate()), sys.stdout
    assert verdict_on("03.1", never_ends).status == "wrong"
    assert sys.stdout is output
    for thread in set(threading.enumerate()) - threads:
        thread.join(30)
        assert not thread.is_alive(), "the loop goes on in the background"
