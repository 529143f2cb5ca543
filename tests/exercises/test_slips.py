"""Hints in two steps, and what `check` says if it can't have seen the learner's latest answer."""

import re
import sys

import nbformat
import pytest
from exercise_support import trained, verdict_on
from IPython.core.interactiveshell import InteractiveShell
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from workshop import check
from workshop.core.datasets import read_iris
from workshop.core.stages import STAGES
from workshop.learn import exercises
from workshop.learn.exercises import exercises_of

PETALS = ["petal_length", "petal_width"]


def test_hints_come_in_two_steps(monkeypatch):
    monkeypatch.setattr(exercises, "_HINTED", set())
    first, second, third = (check("04.1").message for _ in range(3))
    assert first.startswith(exercises._CHECKS["04.1"].hint)
    assert second == third == exercises._CHECKS["04.1"].then


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


@pytest.fixture
def notebook(monkeypatch):
    """`notebook(cell, ...)` runs cells in a kernel's shell, and returns the value of the last one."""
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance(user_ns={}, history_length=0)
    monkeypatch.setitem(shell.user_ns, "check", verdict_on)

    def run(*cells):
        return [shell.run_cell(cell, store_history=True) for cell in cells][-1].result

    yield run
    InteractiveShell.clear_instance()


CHECK = 'check("04.1", answer)'


@pytest.mark.parametrize(
    ("cells", "status", "word"),
    [
        (["answer = 9", CHECK], "wrong", "9 cm"),
        (["answer = ...", "answer = 2,5 cm", CHECK], "wrong", "SyntaxError"),
        (["answer = 2.5", CHECK, "answer = nix", CHECK], "wrong", "NameError"),
        (["answer = 9", CHECK, CHECK], "wrong", "run it before this one"),
        (["answer = ...", CHECK, "1 + 1", CHECK], "not yet", "run it before this one"),
        (["answer = 2.5", CHECK, CHECK], "solved", "every setosa petal"),
        (["answer = 2.5", "1 / 0", CHECK], "solved", "every setosa petal"),
        (["answer = 9", CHECK, f"answer = 2.5\n{CHECK}"], "solved", "every setosa petal"),
    ],
)
def test_check_says_when_the_answer_s_cell_failed_or_was_not_run_again(
    notebook, capsys, cells, status, word
):
    verdict = notebook(*cells)
    assert (verdict.status, word in verdict.message) == (status, True), verdict


def test_a_cell_that_ran_gets_no_reminder(notebook):
    assert "run it before" not in notebook("answer = 9", CHECK, "answer = 8", CHECK).message


def test_the_notebook_s_own_pipeline_is_no_answer(monkeypatch):
    flowers = read_iris()
    training = flowers.sample(frac=0.75, random_state=0)
    own = Pipeline([("scale", StandardScaler()), ("classify", LogisticRegression())])
    monkeypatch.setattr(sys.modules["__main__"], "pipeline", own, raising=False)
    again = own.fit(training[PETALS], training["species"])
    for answer in (again, Pipeline(own.steps)):
        verdict = verdict_on("04.2", answer)
        assert verdict.status == "wrong"
        assert "`pipeline`" in verdict.message
    new = clone(own).fit(training[PETALS], training["species"])
    assert "`pipeline`" not in verdict_on("04.2", new).message

    census = trained("05_census")[0]
    monkeypatch.setattr(sys.modules["__main__"], "pipeline", census)
    assert "`pipeline`" in verdict_on("05.3", census).message
