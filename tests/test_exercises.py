"""`check` answers solved, not yet or wrong, and the solutions of every notebook are solved."""

import re
from itertools import pairwise

import nbformat
import pytest

from workshop import check, exercises, notebooks
from workshop.exercises import Wrong, exercise, exercises_of
from workshop.stages import ROOT, STAGES

CHECK_CELL = re.compile(r'^check\("(\d\d\.\d+)", ')
NOTEBOOK_FILES = [file for stage in STAGES for file in stage.notebook_files]


@pytest.fixture
def double(monkeypatch):
    """An exercise of stage 04 that asks for twice a number."""
    exercises_of(4)
    monkeypatch.setattr(exercises, "_CHECKS", dict(exercises._CHECKS))

    @exercise("04.99", hint="multiply by two")
    def _(answer):
        if answer(2) == 2:
            raise Wrong("that is the number itself")
        assert answer(2) == 4
        return "twice the number"


@pytest.mark.parametrize("blank", [..., None])
def test_an_exercise_not_begun_gets_its_hint(double, blank):
    verdict = check("04.99", blank)
    assert (verdict.status, verdict.message) == ("not yet", "multiply by two")
    assert repr(verdict) == "… Not solved yet: multiply by two"


def test_a_solved_exercise_is_confirmed(double):
    assert repr(check("04.99", lambda n: n + n)) == "✓ Solved: twice the number"


def test_a_wrong_answer_gets_the_hint_that_fits(double):
    assert repr(check("04.99", lambda n: n)) == "✗ Not right yet: that is the number itself"


def test_an_answer_that_raises_is_wrong_and_says_so(double):
    verdict = check("04.99", lambda n: n / 0)
    assert verdict.status == "wrong"
    assert "ZeroDivisionError: division by zero" in verdict.message
    assert check("04.99", 7).status == "wrong"


def test_an_exercise_that_is_not_there_lists_those_that_are(double):
    assert "this stage has 04.1" in check("04.50", 1).message
    assert "there is no stage '77'" in check("77.1", 1).message


def solutions(file):
    """The solutions of a notebook by exercise number."""
    text = (ROOT / "notebooks" / "solutions" / f"{file.stem}.py").read_text(encoding="utf-8")
    parts = re.split(r"^# %% Exercise (\d\d\.\d+)\n", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("file", NOTEBOOK_FILES, ids=lambda file: file.stem)
def test_the_solutions_solve_the_exercises(file):
    notebook = nbformat.read(file, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    asked = {}
    for blank, cell in pairwise(code):
        if found := CHECK_CELL.match(cell.source):
            assert cell.outputs[0].data["text/plain"].startswith("… Not solved yet"), found[1]
            asked[found[1]] = cell
            blank.source = solutions(file)[found[1]]
    assert asked.keys() == solutions(file).keys()
    assert asked, "a notebook has at least one exercise"

    notebooks.run(notebook, file.parent, file.name)

    for number, cell in asked.items():
        assert cell.outputs[0].data["text/plain"].startswith("✓ Solved"), number


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.slug)
def test_every_check_belongs_to_an_exercise_of_a_notebook(stage):
    solved = [number for file in stage.notebook_files for number in solutions(file)]
    assert sorted(solved) == exercises_of(stage.slug)
