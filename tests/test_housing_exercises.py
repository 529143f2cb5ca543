"""Stage 06's notebooks: the model is the app's, and the checks know the typical mistakes."""

import contextlib
import json
import shutil
import sqlite3

import numpy as np
import pandas as pd
import pytest
import requests
from exercise_in_process import quickly  # noqa: F401
from exercise_support import copy_of, judge  # noqa: F401
from housing_support import built, trained  # noqa: F401

from workshop import check
from workshop.core.stages import find_stage, load_module
from workshop.learn.exercises import attacks
from workshop.setup.process import ROOT

# ruff: noqa: F811 (a fixture that is imported is asked for by its name)

housing_model = load_module(find_stage("housing"), "housing_model")


@pytest.mark.parametrize("number", ["06.1", "06.2", "06.3", "06.5", "06.6"])
@pytest.mark.parametrize("answer", [..., None])
def test_blank_is_not_solved_yet(number, answer):
    verdict = check(number, answer)
    assert verdict.status == "not yet"
    assert "answer" in verdict.message


def test_notebook_trains_the_price_estimator_of_the_app():
    cells = json.loads((ROOT / "notebooks" / "06_housing.ipynb").read_text(encoding="utf-8"))[
        "cells"
    ]
    sources = ["".join(cell["source"]) for cell in cells]
    (training,) = [source for source in sources if "trees = Hist" in source]
    names: dict[str, object] = {}
    exec("\n".join(training.splitlines()[:3]), names)  # noqa: S102 (the notebook is ours)

    own, served = names["trees"], housing_model.build_estimators()["price"]

    assert own.get_params() == served.get_params()


@pytest.mark.parametrize("answer", [0.0548, np.float64(0.055), 0.09])
def test_share_far_off_is_right(answer):
    assert check("06.1", answer).status == "solved"


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (pd.Series([True, False]), "The mean makes a share"),
        (np.array([120_000.0, 3.0]), "The mean makes a share"),
        (True, "one number from 0 to 1"),
        ("5 %", "one number from 0 to 1"),
        (0, "in dollars"),
        (0.03, "both directions"),
        (0.16, "both directions"),  # of the line
        (5.5, "percent"),
        (283, "how many districts"),
        (29_803.3, "looks like dollars"),
    ],
)
def test_wrong_share_gets_its_hint(answer, hint):
    verdict = check("06.1", answer)
    assert verdict.status == "wrong"
    assert hint in verdict.message


def table(covered: float, width: float = 100_000) -> pd.DataFrame:
    """A thousand districts of which the interval holds the share `covered`."""
    price = np.full(1000, 200_000.0)
    low = np.where(np.arange(1000) < 1000 * covered, price - width / 2, price + 1)
    return pd.DataFrame({"price": price, "low": low, "high": low + width})


@pytest.mark.parametrize("covered", [0.78, 0.8, 0.83])
def test_narrower_interval_is_right(covered):
    verdict = check("06.2", table(covered))
    assert verdict.status == "solved"
    assert f"kept {covered:.1%}" in verdict.message


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        ((1, 2), "must be a table"),
        (6000.0, "must be a table"),
        (table(0.8).drop(columns="high"), "lacks the column high"),
        (table(0.8).assign(low=np.nan), "gaps in the table"),
        (table(0.8).rename(columns={"low": "high", "high": "low"}), "swapped"),
        (table(0.8) / 1000, "in dollars"),
        (table(0.73), "on both ends"),
        (table(0.9), "as one for 90 %"),
        (table(1.0), "more than once"),
    ],
)
def test_wrong_interval_gets_its_hint(answer, hint):
    verdict = check("06.2", answer)
    assert verdict.status == "wrong"
    assert hint in verdict.message


def saved(**incomes: float) -> list[dict[str, object]]:
    """The list that the API gives, of predictions with these names and incomes."""
    return [
        {"name": name, "district": {"median_income": income}, "price_usd": round(40_000 * income)}
        for name, income in incomes.items()
    ]


def test_three_saved_are_right():
    verdict = check("06.3", saved(other=5, low=2, middle=4, high=8.0))
    assert verdict.status == "solved"
    assert "80,000, 160,000 and 320,000 dollars" in verdict.message


def refused() -> requests.Response:
    reply = requests.Response()
    reply.status_code = 401
    return reply


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (refused(), "status 401. Add `.json()`"),
        ({"title": "Unauthorized", "status": 401}, "headers=headers"),
        ({"detail": "See errors.", "errors": [{"field": "name"}]}, "See errors."),
        (saved(low=2)[0], "not the list"),
        ("[]", "must be the list"),
        (["low", "middle", "high"], "must be the list"),
        ([], "no 'low' or 'middle' or 'high'"),
        (saved(low=2, middle=4), "no 'high'"),
        (saved(low=2, middle=4, high=4), "'high' was saved with a median_income of 4 instead of 8"),
    ],
)
def test_wrong_list_gets_its_hint(answer, hint):
    verdict = check("06.3", answer)
    assert verdict.status == "wrong"
    assert hint in verdict.message


# --- the route of exercise 06.4 -------------------------------------------------------------------

END = "        return [as_json(each) for each in all_of(account_of_token())]\n"
RIGHT = """
    @api.get("/summary", **WITH_TOKEN)
    def summary():
        prices = [each.price_usd for each in all_of(account_of_token())]
        mean = sum(prices) / len(prices) if prices else None
        return {"count": len(prices), "mean_price_usd": mean}
"""
PRICES = "[each.price_usd for each in all_of(account_of_token())]"
EVERYBODYS = """[
            each.price_usd
            for account in (account_of_token(), *range(1, 99))
            for each in all_of(account)
        ]"""
NOBODY_ASKED = """[
            each.price_usd
            for each in (all_of(account_of_token()) if request.authorization else [])
        ]"""


@pytest.fixture
def copy(copy_of, built, monkeypatch):
    """A copy of the app, with a model made of few districts, and no database yet."""
    monkeypatch.delenv("DATABASE_URL", raising=False)
    copy = copy_of("housing")
    shutil.copytree(built, copy.app / "model", dirs_exist_ok=True)
    return copy


def test_the_api_as_it_came_has_no_summary_yet(copy, quickly):
    quickly(copy)
    judge("06.4", "not yet", r"copy the route that lists `/saved`.* Saved\?")


def test_the_stored_solution_sums_up_and_the_check_leaves_no_account(copy):
    copy.solve("06.4")
    judge("06.4", "solved", "counts each account's own predictions")
    database = copy.app / "instance" / "housing.db"
    with contextlib.closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT count(*) FROM account").fetchone() == (0,)


@pytest.mark.parametrize(
    ("old", "new", "hint"),
    [
        (PRICES, EVERYBODYS, "gets the count 4 instead of|nobody else's"),
        (PRICES, NOBODY_ASKED, "answers 200 instead of 401"),
        (" if prices else None", "", "divides by zero: answer `None`"),
        ("else None", "else 0", "gets the mean 0. Nothing has no mean: `None`"),
        (" / len(prices)", "", "gets the mean"),
        ('": mean}', '": str(mean)}', "gets the mean"),
        ('"mean_price_usd"', '"mean"', "lacks mean_price_usd; it has count, mean"),
        ('{"count": len(prices), "mean_price_usd": mean}', "{}", "it has nothing"),
        ('{"count": len(prices), "mean_price_usd": mean}', "prices", "must return a dictionary"),
        ('{"count": len(prices), "mean_price_usd": mean}', '"2"', "must return a dictionary"),
        (
            '        return {"count": len(prices), "mean_price_usd": mean}\n',
            "",
            "summary. returns nothing",
        ),
        ("each.price_usd", "each.price", r"housing_api.py, line \d+: AttributeError: .*'price'"),
        (", **WITH_TOKEN", "", "does not say that the route needs a token"),
        ('"/summary"', '"/api/v1/summary"', 'write `"/summary"`'),
        ('"/summary"', '"/summary/"', "ends with a slash"),
        (".get(", ".post(", "not for GET"),
    ],
)
def test_a_typical_slip_in_the_route_gets_its_hint(copy, quickly, old, new, hint):
    assert RIGHT.count(old) == 1
    copy.edit("housing_api.py", END, END + RIGHT.replace(old, new))
    quickly(copy)
    judge("06.4", "wrong", hint)


def test_a_view_below_the_factory_gets_its_hint(copy, quickly):
    copy.edit("housing_api.py", "    return api\n", "    return api\n" + RIGHT)
    quickly(copy)
    judge("06.4", "wrong", "above `return api`")


def test_an_app_without_a_model_gets_its_hint(copy, quickly):
    copy.solve("06.4")
    (copy.app / "model" / "housing.json").unlink()
    quickly(copy)
    judge("06.4", "wrong", "no model")


def test_a_copy_that_was_not_changed_needs_no_account_and_no_model(copy, quickly):
    (copy.app / "model" / "housing.json").unlink()
    quickly(copy)
    judge("06.4", "not yet")


# --- the attacks of 06b ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer", ["javascript:alert(1)", " JavaScript:alert('1')", "java\nscript:alert(1)"]
)
def test_an_address_that_runs_a_script_is_right(answer):
    assert check("06.5", answer).status == "solved"


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (7, "a text, in quotes"),
        ("javascript:", "nothing runs yet: write `javascript:` and then"),
        ("javascript", "nothing runs yet: write `javascript:` and then"),
        ("<script>alert(1)</script>", "stays within the quotes"),
        ('" onclick="alert(1)', "stays within the quotes"),
        ("https://mallory.example/script.js", "leads to another page"),
        ("data:text/html,hello", "refuse to follow a link to `data:`"),
        ("alert(1)", "Which word runs a script"),
    ],
)
def test_an_address_that_runs_nothing_gets_its_hint(answer, hint):
    verdict = check("06.5", answer)
    assert verdict.status == "wrong"
    assert hint in verdict.message


def notebook_says(name):
    """What a cell of 06b gives to `name`, a text or a list of texts."""
    notebook = json.loads((ROOT / "notebooks" / "06b_attacks.ipynb").read_text(encoding="utf-8"))
    (source,) = [
        "".join(cell["source"])
        for cell in notebook["cells"]
        if "".join(cell["source"]).startswith("found = ")
    ]
    names: dict[str, object] = {}
    exec(source, names)  # noqa: S102 (the notebook is ours)
    return names[name]


def test_the_cookie_of_the_notebook_is_signed_with_one_of_its_words():
    assert attacks.WEAK_KEY in notebook_says("words")
    assert attacks._serializer(attacks.WEAK_KEY).loads(notebook_says("found")) == {"account": 2}


def signed(content, key=attacks.WEAK_KEY):
    return attacks._serializer(key).dumps(content)


def test_a_forged_cookie_is_right():
    assert check("06.6", signed({"account": 1})).status == "solved"


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        ({"account": 1}, "makes a signed cookie of it"),
        (1, "a cookie is a text"),
        (attacks.WEAK_KEY, "that is the key"),
        ("dev", "no signed cookie"),
        (notebook_says("found"), "it says {'account': 2}"),
        (signed({"account": "1"}), "it says {'account': '1'}"),
        (signed({"account": 1}, "dev"), "signed with another key"),
    ],
    # Not the cookies: each holds the second in which it was made, another one in each process.
    ids=["content", "number", "key", "word", "as found", "text for a number", "other key"],
)
def test_a_cookie_that_opens_nothing_gets_its_hint(answer, hint):
    verdict = check("06.6", answer)
    assert verdict.status == "wrong"
    assert hint in verdict.message


ABOVE = '@pages.get("/download.csv")\n'
COUNTING = """
@pages.get("/count")
@login_required
def count():
    from markupsafe import escape

    text = request.args.get("name", "")
    found = [each for each in all_of(current_account().id) if text in each.name]
    return f"{len(found)} of your predictions have “{escape(text)}” in their name."

"""
FOUND = "[each for each in all_of(current_account().id) if text in each.name]"
EVERYBODYS_NAMES = "[n for i in range(99) for n in all_of(i) if text in n.name]"
PATTERN = """open_session().scalars(
            mine(current_account().id).where(SavedPrediction.name.like(f"%{text}%"))
        ).all()"""
PASTED = """open_session().scalars(
            mine(current_account().id).where(__import__("sqlalchemy").text(f"name LIKE '%{text}%'"))
        ).all()"""


def test_the_stored_solution_holds_and_the_check_leaves_no_account(copy, quickly):
    copy.solve("06.7")
    quickly(copy)
    judge("06.7", "solved", "nobody else's rows")
    database = copy.app / "instance" / "housing.db"
    with contextlib.closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT count(*) FROM account").fetchone() == (0,)


@pytest.mark.parametrize(
    ("old", "new", "hint"),
    [
        ("{escape(text)}", "{text}", "the script has got into the page"),
        ("@login_required\n", "", "makes it crash. Add `@login_required`"),
        (FOUND, EVERYBODYS_NAMES, "the page says 3.*nobody else's"),
        (FOUND, PATTERN, "asked for %, the page says 3.*any text"),
        (FOUND, PASTED, "the page says 4.*never paste"),
        ("“{escape(text)}”", "this", "does not repeat that text"),
        ("{len(found)}", "Some", "the page says no number"),
        ('"/count"', '"/saved/count"', 'with `@pages.get\\("/count"\\)`'),
        (".get(", ".post(", "answered with 40[45]"),
    ],
)
def test_a_view_that_does_not_hold_gets_its_hint(copy, quickly, old, new, hint):
    assert COUNTING.count(old) >= 1
    copy.edit("housing_saved.py", ABOVE, COUNTING.replace(old, new, 1) + ABOVE)
    quickly(copy)
    judge("06.7", "wrong", hint)


def test_a_view_that_lets_strangers_in_gets_its_hint(copy, quickly):
    open_to_all = COUNTING.replace("@login_required\n", "").replace(FOUND, "text")
    copy.edit("housing_saved.py", ABOVE, open_to_all + ABOVE)
    quickly(copy)
    judge("06.7", "wrong", "gets an answer. Add `@login_required`")


def test_the_pages_as_they_came_have_no_count_yet(copy, quickly):
    (copy.app / "model" / "housing.json").unlink()
    quickly(copy)
    judge("06.7", "not yet", "`/download.csv`.* Saved[?]")
