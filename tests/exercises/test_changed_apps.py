"""Exercises that change an app: unchanged, solved, and with one slip of each kind in the stored solution.

Each slip is listed with a part of its hint that doesn't depend on the wording: a line of a file, a piece of
code, a number. The hint must also differ from the other hints of its exercise.
"""

import contextlib
import re
import shutil
import sqlite3
from textwrap import dedent

import pytest
from exercise_support import SOLUTIONS, TYPED, verdict_on

from workshop.learn import exercises
from workshop.learn.exercises import exercises_of

BYE = '    @app.get("/bye")\n    def bye() -> str:\n        return "<h1>goodbye</h1>"\n'
CUBE = '    @app.get("/cube/<int:number>")\n    def cube(number: int) -> str:\n'
GREETING = '    return f"<h1>Hello {escape(name)}</h1>"'
EXTENDS = '{% extends "base.html" %}\n\n{% block title %}Seats'
FORM_RULE = '        if number < 2:\n            raise ValueError("Prime numbers begin'
API_RULE = '        if number < 2:\n            abort(422, "Prime numbers begin'
WARN = "{% if probabilities[species] < 0.8 %}\n"
FIELD = '    note = StringField("Note", description="for yourself: the model never sees it")\n'
DRAWN = "  {{ field(form.note, {}) }}\n"
FEATURES = "return {name: self[name].data or None for name in FEATURES}"
NOTE = '{% if form.note.data %}\n<p class="lead">{{ form.note.data }}</p>\n{% endif %}\n'
MISSED = "    {% if group.category == person.sex %}\n"
GROUPS = '{"groups": model.card["metrics"]["groups"]}'
SUMMARY = '{"count": len(prices), "mean_price_usd": mean}'
DOCUMENTED = '"/summary", **described(200, None, 401)'
MINE = "each.price_usd for each in all_of(account_of_token())"
EVERYBODYS = "each.price_usd for i in range(99) for each in all_of(i)"
UNASKED = MINE.replace("account_of_token()", "account_of_token() if request.authorization else 0")
FOUND = "[each for each in all_of(current_account().id) if text in each.name]"
ROWS = "open_session().scalars(mine(current_account().id).where({})).all()"
PASTED = """__import__("sqlalchemy").text(f"name LIKE '%{text}%'")"""
EVERYBODYS_NAMES = "[each for i in range(99) for each in all_of(i) if text in each.name]"
LOGIN = '@pages.get("/count")\n@login_required\n'

# By exercise: the text once the exercise is solved, the slip, and a word of the hint, or None.
SLIPS = {
    "00.3": [
        ("def bye", "def hello", r"app\.py.* hello: .* line \d+"),
        ('.get("/bye"', '.post("/bye"', r"`@app\.get\(\.\.\.\)`"),
        ('"/bye"', '"/bye/now"', "`/bye`.*`return app`"),
        (BYE, f"    return app\n\n{dedent(BYE)}", r"line \d+.*`create_app`"),
        ('return "<h1>goodbye', '"<h1>goodbye', "`bye`.*`return`"),
    ],
    "01.3": [
        (CUBE, CUBE.replace("int:", ""), "`/cube/<int:number>`"),
        ("number**3", "number**2", "27 .*3 × 3 × 3 = 9"),
        ('f"{number} × {number} × ', '"{number} × {number} × ', "`f`"),
        ('abort(400, "Choose a number of at most 1,000', 'abort(404, "1,000', "404.*400"),
        (CUBE, f"    return app\n\n{CUBE}", "`return app`"),
        (CUBE, CUBE.replace("get(", "route("), None),
    ],
    "01.4": [
        ("\napp = Flask", "\nap = Flask", r"line \d+.*`app = Flask\(__name__\)`"),
        ("{escape(name)}", "{name}", r"`\{escape\(name\)\}`"),
        ("def hello(name)", "def hello()", r"`def hello\(name\):`"),
        (GREETING, GREETING.strip(), r"app\.py, line \d+ \(expected an indented"),
    ],
    "02.3": [
        ('url_for("seats", count=3)', 'url_for("index")', r"`url_for\(\"seats\", count=3\)`"),
        ("== 0", "== -1", "'Sold out'"),
        ("main %}\n{% if count", "content %}\n{% if count", "{% block main %}`"),
        (EXTENDS, "{% block title %}Seats", '{% extends "base.html" %}'),
        ("left</h1>\n{% endif %}\n", "</h1>", r"seats\.html, line \d+: .*'endblock'"),
        ("/seats/<int:count>", "/seats/<int:number>", r"`def seats\(number\):`"),
        ('"seats.html", count=count', '"seats.html"', "count=count"),
    ],
    "03.3": [
        (API_RULE, API_RULE.replace("< 2", "< 0"), "/api/prime/1 .*`prime_api`"),
        (API_RULE, API_RULE.replace("abort(422, ", "raise ValueError("), r"`abort\(422, \.\.\.\)`"),
        (FORM_RULE, FORM_RULE.replace("< 2", "< 0"), "`process_formdata`"),
        (FORM_RULE, FORM_RULE.replace("<", "<="), "`if number < 2:`"),
        (FORM_RULE, FORM_RULE.replace("raise ValueError(", "abort(422, "), r"line \d+: NameError"),
    ],
    "04.3": [
        (WARN, "{% if true %}", "99.7%.*`if`"),
        (WARN, WARN.replace("0.8", "0.9"), "80.2%"),
        (WARN, WARN.replace("[species]", '["species"]'), r"line 17: .*`species`"),
        (WARN, WARN.replace("[species]", ".values()|max"), None),
    ],
    "04.4": [
        ("    except ValueError:", "    except KeyError:", r"`abc`.*app\.py, line \d+: ValueError"),
        ('"/api/predict"', '"/api"', "POST /api/predict"),
        ("/iris.joblib", "/irises.joblib", r"app\.py, line \d+.* irises\.joblib"),
    ],
    "05.4": [
        (DRAWN, "", r"`\{\{ field\(form.note, \{\}\) \}\}`.*`index\.html`"),
        (FIELD, "", "`PersonForm`"),
        (FEATURES, FEATURES.replace("FEATURES", '[*FEATURES, "note"]'), "model"),
        ("note.data }}", "note.data|safe }}", r"`\|safe`"),
        (NOTE, "<p>Note: {{ form.note.data }}</p>", r"`\{% if form\.note\.data %\}`"),
    ],
    "05.7": [
        (MISSED, "    {% if true %}\n", "7 "),
        ("== person.sex", '== "Female"', "Male .*`person.sex`"),
        (
            "misses {{ group.false_negative",
            "misses {{ group.false_positive",
            "`false_negative_rate`",
        ),
        (" who did earn more", "", "who earn more"),
        ('<p id="missed">', "<p class='soft' id='missed'>", None),
    ],
    "05.10": [
        ('"/groups"', '"/api/v1/groups"', '`"/groups"`'),
        ('.get(\n        "/groups"', '.post(\n        "/groups"', r"`@api\.get\(\.\.\.\)`"),
        (GROUPS, GROUPS[11:-1], '{"groups": '),
        (GROUPS, '{"groups": model.card["classes"]}', r'`\["metrics"\]\["groups"\]`'),
        ('summary="Whom the model fails"', 'summary="The model\'s card"', "`summary`"),
        ("def groups(", "def card(", r"census_api\.py .* card"),
    ],
    "06.4": [
        (MINE, EVERYBODYS, r"`all_of\(account_of_token\(\)\)`"),
        (MINE, UNASKED, "200.*401"),
        (" if prices else None", "", "`None`"),
        ("sum(prices) / len(prices)", "sum(prices)", "mean"),
        (SUMMARY, SUMMARY.replace("mean_price_usd", "mean"), "mean_price_usd; .*count, mean"),
        (DOCUMENTED, DOCUMENTED.replace(", 401", ""), r"`\*\*described\(200, None, 401\)`"),
        ('    @api.get("/summary"', '    return api\n\n    @api.get("/summary"', "`return api`"),
    ],
    "06.7": [
        ("{escape(text)}", "{text}", r"`escape\(text\)`"),
        (LOGIN, '@pages.get("/count")\n', r"`@login_required`"),
        (FOUND, EVERYBODYS_NAMES, r"`all_of\(current_account\(\)\.id\)`"),
        (FOUND, ROWS.format(PASTED), "SQL"),
        ('"/count"', '"/saved/count"', r'404.*`@pages\.get\("/count"\)`'),
    ],
}


def app_of(number: str) -> str:
    """The app that an exercise changes."""
    exercises_of(number[:2])
    return exercises._CHECKS[number].app


@pytest.mark.parametrize("number", SLIPS)
def test_an_unchanged_app_a_solved_one_and_each_slip_get_their_verdicts(copy_of, number):
    copy = copy_of(app_of(number))
    if number > "04":
        copy.add_model()
    # The typed app of 04.4 already predicts, and crashes on a word.
    assert verdict_on(number).status == ("wrong" if number == "04.4" else "not yet")
    copy.solve(number)
    assert verdict_on(number).status == "solved"
    if app_of(number) == "housing":  # the check has deleted its accounts
        with contextlib.closing(sqlite3.connect(copy.app / "instance" / "housing.db")) as database:
            assert database.execute("SELECT count(*) FROM account").fetchone() == (0,)
    hints = []
    files = [file for file in copy.app.rglob("*") if file.suffix in (".py", ".html")]
    texts = {file: file.read_text(encoding="utf-8") for file in files}
    for right, slip, word in SLIPS[number]:
        [file] = [each for each in files if right in texts[each]]
        copy.edit(file, right, slip)
        verdict = verdict_on(number)
        assert verdict.status == ("wrong" if word else "solved"), (slip, verdict)
        assert re.search(word or "", verdict.message), (slip, verdict)
        assert verdict.message not in hints, (slip, "has the hint of another slip", verdict)
        hints.append(verdict.message)
        copy.write(file, texts[file])
    if (copy.app / "model").exists():
        shutil.rmtree(copy.app / "model")
        verdict = verdict_on(number)
        assert (verdict.status, "model" in verdict.message) == ("wrong", True), verdict


@pytest.mark.parametrize(
    "place", ["hello/untitled.txt", "app.py", "01_hello/hello/app.py", "Untitled Folder/app.py"]
)
def test_a_typed_app_in_the_wrong_place_is_named(copy_of, place):
    copy = copy_of("hello")
    file = copy.root / "apps" / place
    file.parent.mkdir(parents=True, exist_ok=True)
    (copy.app / "app.py").rename(file)
    verdict = verdict_on("01.4")
    assert verdict.status == "wrong"
    assert file.name in verdict.message
    assert "app.py`" in verdict.message


def test_every_exercise_that_changes_an_app_is_here():
    # Stage 07's exercises are in tests/stages/test_internet.py.
    assert set(SLIPS) == {file.stem for file in SOLUTIONS.glob("*.diff") if file.stem < "07"}
    assert set(TYPED) <= set(map(app_of, SLIPS))
