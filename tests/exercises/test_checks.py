"""What `check` does with any exercise: its verdicts, running an app, and slips with file and line."""

import re

import pytest

from workshop import check
from workshop.core.progress import exercises_in, solved_of
from workshop.core.stages import BASE, STAGES, find_stage
from workshop.learn import exercises
from workshop.learn.exercises import Wrong, exercise, exercises_of
from workshop.setup.process import ROOT

FIRST = '    @app.get("/hello")\n'


@pytest.fixture
def double(monkeypatch):
    """An exercise of stage 04 that asks for twice a number."""
    exercises_of(4)
    monkeypatch.setattr(exercises, "_CHECKS", dict(exercises._CHECKS))
    monkeypatch.setattr(exercises, "_HINTED", set())

    @exercise("04.99", hint="look at the number", then="multiply by two")
    def _(answer):
        if answer(2) == 2:
            raise Wrong("that is the number itself")
        assert answer(2) == 4
        return "twice the number"


@pytest.mark.parametrize(
    ("answer", "status", "message"),
    [
        (..., "not yet", "look at the number"),
        (None, "not yet", "look at the number"),
        (lambda n: n + n, "solved", "twice the number"),
        (lambda n: n, "wrong", "that is the number itself"),
        (lambda n: n / 0, "wrong", "ZeroDivisionError: division by zero"),
        (7, "wrong", "TypeError"),
    ],
)
def test_an_answer_is_not_begun_solved_or_wrong(double, answer, status, message):
    verdict = check("04.99", answer)
    assert verdict.status == status
    assert message in verdict.message
    assert repr(verdict).endswith(f": {verdict.message}")


def test_an_exercise_that_is_not_there_lists_those_that_are(double):
    assert "04.1" in check("04.50", 1).message
    assert "'77'" in check("77.1", 1).message


def test_what_is_solved_is_kept_in_the_learner_s_copy_for_the_gallery(tmp_path, monkeypatch):
    for stage in STAGES:
        assert sorted(exercises_in(stage)) == sorted(exercises_of(stage.code))
    first = find_stage(0)
    for folder, kept in ((tmp_path, 1), (ROOT, 0), (tmp_path / "not there", 0)):
        monkeypatch.setenv(BASE, str(folder))
        before = solved_of(first)
        assert check("00.1", 8000).status == "wrong"
        assert solved_of(first) == before
        assert check("00.1", 8004).status == "solved"
        assert solved_of(first) == before + kept


# An app in a separate process, as a learner's `check` runs it


@pytest.fixture
def asked(double):
    """Let exercise 04.99 ask the app of stage 01 for a page `/new`."""

    @exercise("04.99", hint="look", then="add the page", app="01")
    def _(app):
        return f"it says {app.get_added('/new/7', '/new/<int:number>').text}"


def view(*lines, rule="/new/<int:number>"):
    """A view to put before that of `/hello`."""
    return "\n".join([f'    @app.get("{rule}")', *(f"    {line}" for line in lines), "", FIRST])


def test_a_changed_app_is_judged_as_it_runs(asked, copy_of):
    copy = copy_of("01")
    assert check("04.99").status == "not yet"
    copy.edit("app.py", FIRST, view("def new(number):", "    return str(number * 6)"))
    assert check("04.99").message == "it says 42"


@pytest.mark.parametrize(
    ("lines", "where", "word"),
    [
        (["def new(number)", "    pass"], "def new", "expected ':'"),
        (["def new(number):", "    return nix"], "nix", "NameError: name 'nix'"),
        (["def hello():", '    return ""'], '"/hello"', "hello"),
    ],
)
def test_a_slip_in_a_changed_app_is_named_with_file_and_line(asked, copy_of, lines, where, word):
    copy = copy_of("01")
    copy.edit("app.py", FIRST, view(*lines))
    text = (copy.app / "app.py").read_text(encoding="utf-8").splitlines()
    [line] = [number for number, found in enumerate(text, 1) if where in found]
    verdict = check("04.99")
    assert verdict.status == "wrong"
    assert re.search(rf"apps/01_hello/app\.py.* line {line}\b", verdict.message), verdict
    assert word in verdict.message
    assert "\n" not in verdict.message


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ("def create_app(", "def build_app(", "apps/01_hello/app.py"),
        (
            FIRST,
            view("def new(number):", "    print('gone', flush=True)", "    os._exit(3)"),
            "gone",
        ),
        (FIRST, view("def new(number):", "    while True:", "        pass"), "GET /new/7"),
    ],
    ids=["no factory", "ends", "never answers"],
)
def test_an_app_that_does_not_answer_is_one_sentence(asked, copy_of, monkeypatch, old, new, word):
    monkeypatch.setattr(exercises, "APP_SECONDS", 0.5)
    copy_of("01").edit("app.py", old, new)
    verdict = check("04.99")
    assert verdict.status == "wrong"
    assert word in verdict.message
    assert "\n" not in verdict.message


def test_a_slip_is_found_in_a_log_in_color(copy_of):
    """Python 3.13 and later write colors in a notebook, because its kernel asks for them."""
    app = copy_of("01").app / "app.py"
    log = f"""Traceback (most recent call last):
  File \x1b[35m"{app}"\x1b[0m, line \x1b[35m9\x1b[0m, in \x1b[35mnew\x1b[0m
    return \x1b[31mnix\x1b[0m
  File \x1b[35m"/elsewhere/flask.py"\x1b[0m, line \x1b[35m7\x1b[0m, in \x1b[35mrun\x1b[0m
    raise
\x1b[1;35mjinja2.exceptions.TemplateNotFound\x1b[0m: \x1b[35mnew.html\x1b[0m
127.0.0.1 - - "GET /new/7 HTTP/1.1" 500 -
"""
    assert "apps/01_hello/app.py, line 9: TemplateNotFound: new.html" in exercises.slip(log)
    assert exercises.slip("127.0.0.1 - - GET / 200") is None
