"""Stage 00: every check confirms a right answer and gives a wrong one the hint that fits."""

import pytest
from exercise_support import copy_of, judge  # noqa: F401

from workshop import check

# ruff: noqa: F811 (a fixture that is imported is asked for by its name)


@pytest.mark.parametrize("number", ["00.1", "00.2"])
@pytest.mark.parametrize("blank", [..., None])
def test_blank_is_not_solved_yet(number, blank):
    assert check(number, blank).status == "not yet"


def test_the_port_is_right():
    assert check("00.1", 8004).status == "solved"


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        ("8004", "quotes"),
        (4, "Add 8000"),
        (8000, "gallery"),
        (80004, "one zero too many"),
        (8888, "to 8000"),
        ([8004], "to 8000"),
    ],
)
def test_a_wrong_port_gets_its_hint(answer, hint):
    verdict = check("00.1", answer)
    assert verdict.status == "wrong"
    assert hint in verdict.message


@pytest.mark.parametrize("end", ["", "/"])
def test_the_address_is_right(end):
    verdict = check("00.2", lambda stage: f"http://127.0.0.1:{8000 + stage}{end}")
    assert verdict.status == "solved", verdict.message


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        ("http://127.0.0.1:8004", "the function itself"),
        (8004, "must be your function"),
        (lambda stage: ..., "returns nothing yet"),
        (lambda stage: None, "returns nothing yet"),
        (lambda stage: 8000 + stage, "returns 8004; it must return a text"),
        (lambda stage: "http://127.0.0.1:{8000 + stage}", "Write an f"),
        (lambda stage: "http://127.0.0.1:8004", "for stage 1 "),
        (lambda stage: f"http://127.0.0.1:800{stage}", "for stage 12 "),
        (lambda stage: f"127.0.0.1:{8000 + stage}", "it should be 'http://127.0.0.1:8004'"),
        (lambda: "http://127.0.0.1:8004", "must take one argument"),
        (lambda stage: "http://127.0.0.1:800" + stage, "`stage` is a number"),
        (lambda stage: 8000 + stage + "/", "`stage` is a number"),
        (lambda stage: len(stage), "TypeError"),
    ],
)
def test_a_wrong_address_gets_its_hint(answer, hint):
    verdict = check("00.2", answer)
    assert verdict.status == "wrong"
    assert hint in verdict.message


ROUTE = '    @app.get("/hello")\n    def hello() -> str:\n        return "<h1>hello world</h1>"\n'
BYE = ROUTE.replace("hello world", "goodbye").replace("hello", "bye")


def test_the_app_as_it_came_is_not_changed_yet(copy_of):
    copy_of(1)
    judge("00.3", "not yet", "copy the three lines of `hello`.*A dot in place of the ×")


def test_the_stored_solution_adds_a_page(copy_of):
    copy_of(1).solve("00.3")
    judge("00.3", "solved", "a page more")


@pytest.mark.parametrize(
    ("instead", "hint"),
    [
        (BYE, "`/hello` is gone"),
        (ROUTE + BYE.replace("goodbye", "hello world"), "Change the text"),
        (ROUTE + BYE.replace("<h1>goodbye</h1>", ""), "an empty page"),
        (ROUTE + BYE.replace("def bye", "def hello"), "same name, hello: give the one at line "),
        (
            ROUTE + BYE.replace("str:", "str"),
            r"can't read apps/01_hello/app.py, line \d+ \(expected ':'",
        ),
        (
            ROUTE + BYE.replace("    ", ""),
            r"can't read apps/01_hello/app.py, line \d+ \(expected an in",
        ),
        (ROUTE + BYE.replace('h1>"', "h1>"), r"line \d+ \(unterminated"),
        (ROUTE + BYE.replace("get", "post"), r"Use `@app.get\(...\)`"),
        (ROUTE + BYE.replace("/bye", "bye"), r"line \d+: ValueError: .* start with a slash"),
        (ROUTE + BYE.replace('"/bye"', '"/bye/now"'), "nothing answers /bye. The address must be"),
        (ROUTE + BYE.replace('"<h1>goodbye</h1>"', "goodbye"), r"line \d+: NameError: .*'goodbye'"),
        (ROUTE + BYE.replace("return ", ""), "The view `bye` returns nothing"),
    ],
)
def test_a_typical_slip_in_the_new_page_gets_its_hint(copy_of, instead, hint):
    copy_of(1).edit("app.py", ROUTE, instead)
    judge("00.3", "wrong", hint)
