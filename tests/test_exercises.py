"""`check` answers solved, not yet or wrong, and the solutions of every notebook are solved."""

import re
import shutil
import subprocess
import sys
from itertools import pairwise

import nbformat
import pytest
from exercise_support import SOLUTIONS, copy_of, judge  # noqa: F401
from notebook_support import names, what_they_need

from workshop import check
from workshop.core.own_apps import TYPED
from workshop.core.stages import STAGES, find_stage
from workshop.learn import exercises
from workshop.learn import my_copy as copies
from workshop.learn.catch_up import bring_typed
from workshop.learn.exercises import Wrong, exercise, exercises_of
from workshop.setup.process import ROOT
from workshop.upkeep import refresh_notebooks as notebooks

# ruff: noqa: F811 (a fixture that is imported is asked for by its name)

CHECK_CELL = re.compile(r'^check\("(\d\d\.\d+)"(, answer)?\)$')
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


@pytest.mark.parametrize("error", ["SyntaxError: expected ':'", "IndentationError: unexpected"])
def test_an_app_that_a_check_imports_and_python_cannot_read_is_named(double, error, copy_of):
    copy = copy_of("hello")
    written = "def f()\n" if error.startswith("Syntax") else "a = 1\n  b = 2\n"
    copy.write("broken.py", written)

    def reads_it(answer):
        compile(written, copy.app / "broken.py", "exec")

    exercise("04.99", hint="")(reads_it)
    verdict = check("04.99", 1)
    assert verdict.status == "wrong"
    line = written.count("\n")
    assert verdict.message.startswith(f"Python can't read apps/01_hello/broken.py, line {line} (")
    assert verdict.message.endswith("save the file, and run this cell again.")


@pytest.fixture
def asked(double):
    """Lets exercise 04.99 ask the app of stage 01 for a page `/new`."""

    @exercise("04.99", hint="add the page", app="01")
    def _(app):
        return f"it says {app.get_added('/new/7', '/new/<int:number>').text}"


FIRST = '    @app.get("/hello")\n'


def view(*lines, rule="/new/<int:number>"):
    """A view to stand before that of `/hello`."""
    return "\n".join([f'    @app.get("{rule}")', *(f"    {line}" for line in lines), "", FIRST])


def test_a_changed_app_is_judged_as_it_runs(asked, copy_of):
    copy = copy_of("hello")
    judge("04.99", "not yet", "^add the page Saved[?]")

    copy.edit("app.py", FIRST, view("def new(number):", "    return str(number * 6)"))
    judge("04.99", "solved", "it says 42")


def line_of(copy, text):
    """The number of the one line of app.py that holds `text`."""
    lines = (copy.app / "app.py").read_text(encoding="utf-8").splitlines()
    [found] = [number for number, line in enumerate(lines, 1) if text in line]
    return found


@pytest.mark.parametrize(
    ("lines", "where", "message"),
    [
        (["def new(number)", "    pass"], "def new", "Python can't read {file} (expected ':')"),
        (["def new(number):", "    return nix"], "nix", "Look at {file}: NameError: name 'nix' is"),
        (["def hello():", '    return ""'], '"/hello"', "the one at line {line} a name of its own"),
    ],
)
def test_a_slip_in_a_changed_app_is_named_with_file_and_line(asked, copy_of, lines, where, message):
    copy = copy_of("hello")
    copy.edit("app.py", FIRST, view(*lines))
    line = line_of(copy, where)
    file = f"apps/01_hello/app.py, line {line}"
    judge("04.99", "wrong", re.escape(message.format(file=file, line=line)))


def test_a_slip_is_found_in_a_log_in_colour(copy_of):
    """As Python 3.13 and later write it in a notebook, whose kernel asks for colour."""
    app = copy_of("hello").app / "app.py"
    log = f"""Traceback (most recent call last):
  File \x1b[35m"{app}"\x1b[0m, line \x1b[35m9\x1b[0m, in \x1b[35mnew\x1b[0m
    return \x1b[31mnix\x1b[0m
  File \x1b[35m"/elsewhere/flask.py"\x1b[0m, line \x1b[35m7\x1b[0m, in \x1b[35mrun\x1b[0m
    raise
\x1b[1;35mjinja2.exceptions.TemplateNotFound\x1b[0m: \x1b[35mnew.html\x1b[0m
127.0.0.1 - - "GET /new/7 HTTP/1.1" 500 -
"""
    assert (
        exercises.slip(log) == "Look at apps/01_hello/app.py, line 9: TemplateNotFound: new.html."
    )
    assert exercises.slip("127.0.0.1 - - GET / 200") is None


def test_a_view_that_never_answers_is_left_behind(asked, copy_of, monkeypatch):
    monkeypatch.setattr(exercises, "APP_SECONDS", 0.5)
    copy_of("hello").edit(
        "app.py", FIRST, view("def new(number):", "    while True:", "        pass")
    )
    judge("04.99", "wrong", "GET /new/7 gets no answer within 0.5 seconds. Does a loop")


def test_an_app_without_a_factory_is_told_so_in_one_sentence(asked, copy_of):
    copy_of("hello").edit("app.py", "def create_app(", "def build_app(")
    verdict = judge("04.99", "wrong", "the app does not run. apps/01_hello/app.py makes no app")
    assert "\n" not in verdict.message


def test_an_app_that_ends_while_it_is_asked_is_told_so(asked, copy_of):
    copy_of("hello").edit(
        "app.py",
        FIRST,
        view("def new(number):", "    print('gone', flush=True)", "    os._exit(3)"),
    )
    judge("04.99", "wrong", "the app does not run. Its log ends with: gone")


def solutions(file):
    """The solutions of a notebook by exercise number."""
    text = (SOLUTIONS / f"{file.stem}.py").read_text(encoding="utf-8")
    parts = re.split(r"^# %% Exercise (\d\d\.\d+)\n", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.fixture(scope="module")
def models():
    """`models(stage)` gives the stage's app its model, trained once for all notebooks of the stage."""
    trained = {}

    def give(stage):
        folder = stage.card_file.parent
        if stage not in trained:
            command = [sys.executable, "-m", "workshop", "train", stage.code]
            subprocess.run(command, cwd=ROOT, check=True)
            trained[stage] = folder
        else:
            shutil.copytree(trained[stage], folder)

    return give


@pytest.mark.parametrize("file", NOTEBOOK_FILES, ids=lambda file: file.stem)
def test_the_solutions_solve_the_exercises(file, copy_of, models, tmp_path):
    """In a learner's copy, with the answers in the cells and the changes in the apps.

    Of the other cells, only those run that an answer needs: nbval runs them all.
    """
    notebook = nbformat.read(file, as_version=4)
    [stage] = {find_stage(name) for name in changed_apps(file) - TYPED.keys()}
    copy = copy_of(stage.slug)
    copies.bring_up_to_date(tmp_path)
    if stage.model and not stage.card_file.exists():
        models(stage)
    for name in changed_apps(file) & TYPED.keys():
        list(bring_typed(name, fresh=False))
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    asked, wanted = {}, []
    for number, (blank, cell) in enumerate(pairwise(code)):
        if found := CHECK_CELL.match(cell.source):
            assert cell.outputs[0].data["text/plain"].startswith("… Not solved yet"), found[1]
            asked[found[1]] = cell
            wanted.append(cell)
            if found[2]:
                blank.source = solutions(file)[found[1]]
                assert_nothing_is_taken(blank.source, code[number + 2 :])
                wanted.append(blank)
            else:
                copy.solve(found[1])
    assert asked.keys() == solutions(file).keys()
    assert asked, "a notebook has at least one exercise"
    notebook.cells = what_they_need(code, wanted)

    notebooks.run(notebook, tmp_path / "notebooks", file.name)

    for number, cell in asked.items():
        assert cell.outputs[0].data["text/plain"].startswith("✓ Solved"), (number, cell.outputs)


def assert_nothing_is_taken(solution, later):
    """No cell after a solution looks up a name that the solution gives to something else."""
    taken = names(solution)[0] - {"answer"}
    for cell in later:
        given, looked_up = names(cell.source)
        assert not taken & looked_up, cell.source
        taken -= given


def changed_apps(file):
    """The apps that the exercises of a notebook change, by the names that the checks have for them."""
    numbers = list(solutions(file))
    exercises_of(numbers[0].split(".")[0])
    return {app for number in numbers if (app := exercises._CHECKS[number].app)}


@pytest.mark.parametrize("file", NOTEBOOK_FILES, ids=lambda file: file.stem)
def test_the_last_exercise_of_a_notebook_changes_an_app(file):
    last = list(solutions(file))[-1]
    exercises_of(last.split(".")[0])
    name = exercises._CHECKS[last].app
    assert name
    folder = name if name in TYPED else find_stage(name).slug
    text = (SOLUTIONS / f"{last}.diff").read_text(encoding="utf-8")
    changed = re.findall(r"^\+\+\+ b/(.*)$", text, flags=re.MULTILINE)
    assert changed
    assert all(file.startswith(f"apps/{folder}/") for file in changed)


@pytest.mark.parametrize("name", TYPED)
def test_a_typed_app_is_short_enough_to_be_shown(name):
    lines = (SOLUTIONS / "apps" / name / "app.py").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 25
    stage = find_stage(TYPED[name])
    notebook = nbformat.read(stage.notebook_files[0], as_version=4)
    shown = [cell for cell in notebook.cells if f'apps/{name}/app.py")' in cell.source]
    assert shown[0].outputs[0].data["text/plain"].splitlines() == lines


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.slug)
def test_every_check_belongs_to_an_exercise_of_a_notebook(stage):
    solved = [number for file in stage.notebook_files for number in solutions(file)]
    assert solved == exercises_of(stage.slug)
