"""What `check` does with any exercise: its verdicts and hints, running an app, and naming slips."""

import re
import sys

import nbformat
import pytest
from exercise_support import trained, verdict_on
from IPython.core.interactiveshell import InteractiveShell
from sklearn.base import clone

from workshop import check
from workshop.core.datasets import read_iris
from workshop.core.progress import exercises_in, solved_of
from workshop.core.stages import BASE, STAGES, find_stage
from workshop.learn import exercises
from workshop.learn.exercises import Wrong, exercise, exercises_of, iris
from workshop.setup.process import ROOT

FIRST = '    @app.get("/hello")\n'
APP = ROOT / "apps" / "01_hello" / "app.py"
LINE = APP.read_text(encoding="utf-8").partition(FIRST)[0].count("\n") + 1


@pytest.fixture
def registered(monkeypatch):
    """Let a test register exercises of its own in stage 04, whose hints weren't shown yet."""
    exercises_of(4)
    monkeypatch.setattr(exercises, "_CHECKS", dict(exercises._CHECKS))
    monkeypatch.setattr(exercises, "_HINTED", set())


@pytest.mark.parametrize(
    ("answer", "status", "message"),
    [
        (..., "not yet", "look at the number"),
        (lambda n: n + n, "solved", "twice the number"),
        (lambda n: n, "wrong", "that is the number itself"),
        (lambda n: n / 0, "wrong", "ZeroDivisionError: division by zero"),
    ],
)
def test_an_answer_is_not_begun_solved_or_wrong(registered, answer, status, message):
    @exercise("04.99", hint="look at the number", then="multiply by two")
    def _(answer):
        if answer(2) == 2:
            raise Wrong("that is the number itself")
        return "twice the number"

    verdict = check("04.99", answer)
    assert (verdict.status, message in verdict.message) == (status, True)
    assert repr(verdict).endswith(f": {verdict.message}")
    if answer is ...:
        assert [check("04.99").message for _ in range(2)] == ["multiply by two"] * 2
    assert "04.1" in check("04.50", 1).message, "an exercise that isn't there lists those that are"
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


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.slug)
def test_hints_name_headings_that_are_there_and_are_no_answer(stage):
    cells = [c for f in stage.notebook_files for c in nbformat.read(f, as_version=4).cells]
    headings = {cell.source.removeprefix("## ") for cell in cells if cell.cell_type == "markdown"}
    for number in exercises_of(stage.slug):
        asked = exercises._CHECKS[number]
        assert set(re.findall("“([^”]+\\?)”", asked.hint + asked.then)) <= headings, number
        assert asked.hint != asked.then
        # An example in a hint is a wrong answer, or has a gap.
        for written in re.findall(r"`answer = ([^`]+)`", asked.hint + asked.then):
            if "..." not in written:
                assert verdict_on(number, eval(written)).status == "wrong", number  # noqa: S307


# In a notebook

CHECK = 'check("04.1", answer)'


@pytest.mark.parametrize(
    ("cells", "status", "word"),
    [
        (["answer = 9", CHECK], "wrong", "9 cm"),
        (["answer = ...", "answer = 2,5 cm", CHECK], "wrong", "SyntaxError"),
        (["answer = 2.5", CHECK, "answer = nix", CHECK], "wrong", "NameError"),
        (["answer = 9", CHECK, CHECK], "wrong", "run it before this one"),
        (["answer = ...", CHECK, "1 + 1", CHECK], "not yet", "run it before this one"),
        (["answer = 2.5", "1 / 0", CHECK, CHECK], "solved", "every setosa petal"),
        (["answer = 9", CHECK, "answer = 8", CHECK], "wrong", "millimeters?"),
    ],
)
def test_check_says_when_the_answer_s_cell_failed_or_was_not_run_again(
    monkeypatch, capsys, cells, status, word
):
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance(user_ns={}, history_length=0)
    monkeypatch.setitem(shell.user_ns, "check", verdict_on)
    verdict = [shell.run_cell(cell, store_history=True) for cell in cells][-1].result
    InteractiveShell.clear_instance()
    assert (verdict.status, word in verdict.message) == (status, True), verdict
    assert ("run it before" in verdict.message) == (word == "run it before this one")


def test_the_notebook_s_own_pipeline_is_no_answer(monkeypatch):
    training = read_iris().sample(frac=0.75, random_state=0)
    own, census = clone(trained("04_iris")[0]), trained("05_census")[0]
    again = own.fit(training[iris.PETALS], training["species"])
    for number, pipeline, answer in [("04.2", own, again), ("05.3", census, census)]:
        monkeypatch.setattr(sys.modules["__main__"], "pipeline", pipeline, raising=False)
        verdict = verdict_on(number, answer)
        assert (verdict.status, "`pipeline`" in verdict.message) == ("wrong", True), verdict
        assert "`pipeline`" not in verdict_on(number, clone(answer)).message


# An app in a separate process, as a learner's `check` runs it


def view(last, first="def new(number):"):
    """A view of two lines to put before that of `/hello`."""
    return f'    @app.get("/new/<int:number>")\n    {first}\n        {last}\n\n{FIRST}'


@pytest.mark.parametrize(
    ("old", "new", "status", "word"),
    [
        (FIRST, FIRST, "not yet", "look"),
        (FIRST, view("return str(number * 6)"), "solved", "it says 42"),
        (FIRST, view("pass", "def new(number)"), "wrong", rf"line {LINE + 1}\b.*expected ':'"),
        (FIRST, view("return nix"), "wrong", f"line {LINE + 2}: NameError"),
        (FIRST, view("return ''", "def hello():"), "wrong", rf"hello: .*line {LINE + 4}\b"),
        ("def create_app(", "def build_app(", "wrong", r"apps/01_hello/app\.py"),
        (FIRST, view("print('gone', flush=True) or os._exit(3)"), "wrong", "gone"),
        (FIRST, view("while True: pass"), "wrong", "GET /new/7"),
    ],
)
def test_a_changed_app_is_judged_as_it_runs(
    registered, copy_of, monkeypatch, old, new, status, word
):
    @exercise("04.99", hint="look", then="add the page", app="01")
    def _(app):
        return f"it says {app.get_added('/new/7', '/new/<int:number>').text}"

    if "while True" in new:
        monkeypatch.setattr(exercises, "APP_SECONDS", 0.5)
    copy_of("01").edit("app.py", old, new)
    verdict = check("04.99")
    assert verdict.status == status, verdict
    assert re.search(word, verdict.message), verdict
    assert "\n" not in verdict.message
    assert "line" not in word or "apps/01_hello/app.py" in verdict.message


def test_a_slip_is_found_in_a_log_in_color(copy_of):
    """Python 3.13 and later write colors in a notebook, because its kernel asks for them."""
    frame = f'  File \x1b[35m"{copy_of("01").app / "app.py"}"\x1b[0m, line \x1b[35m9\x1b[0m, in new'
    error = "\x1b[1;35mjinja2.exceptions.TemplateNotFound\x1b[0m: \x1b[35mnew.html\x1b[0m"
    log = f"Traceback (most recent call last):\n{frame}\n    return nix\n{error}\n"
    assert "apps/01_hello/app.py, line 9: TemplateNotFound: new.html" in exercises.slip(log)
    assert exercises.slip("127.0.0.1 - - GET / 200") is None
