"""`check`: tells a learner whether an exercise is solved, not solved yet, or wrong, and never raises.

The checks of a notebook are in the module of this package with the notebook's name (`census_data.py` for
`05a_census_data.ipynb`), each a function with the decorator `exercise`. Most look at an answer. Those with
`app` look at an app that the learner has changed: `check` runs it, and they ask it what a browser would.
"""

import ctypes
import importlib
import importlib.util
import math
import re
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any

import click
import requests

from workshop.core.errors import ServerDied, WorkshopError
from workshop.core.stages import Stage, UnknownStage, base, find_stage

Check = Callable[..., str]
# Gives a running app: its `url`, and `log_end(lines)`. This room does not know who serves.
RunApp = Callable[[str], AbstractContextManager[Any]]

SECONDS = 5  # a learner's call that takes longer is taken for one that never ends
APP_SECONDS = 15  # the same for a request, which may be the first to need a model

UNSAVED = "Saved? A dot in place of the × in the file's tab says that it is not."

# A line of a traceback that names a place in a file.
FRAME = re.compile(r'^\s+File "(.+)", line (\d+)')

# What the server, not the app, writes into the log when its worker has ended.
OF_SERVER = re.compile(r"^\S+ \S+ (INFO |ERROR +Unexpected exit from worker)")

MARKS = {"solved": "✓ Solved", "not yet": "… Not solved yet", "wrong": "✗ Not right yet"}


class Wrong(Exception):
    """A check raises it with the hint that fits the mistake."""


class NotYet(Exception):
    """A check of an app raises it when nothing of the change is there; the learner gets the hint."""


@dataclass(frozen=True)
class Exercise:
    """A check, the hint for those who have not begun, and the stage of the app that is changed, if any."""

    check: Check
    hint: str
    app: str | None = None


_CHECKS: dict[str, Exercise] = {}


@dataclass(frozen=True)
class Verdict:
    """What `check` found: `status` is "solved", "not yet" or "wrong".

    `message` says why, or what to try next.
    """

    status: str
    message: str

    def __repr__(self) -> str:
        return f"{MARKS[self.status]}: {self.message}"


def exercise(number: str, hint: str, app: str | None = None) -> Callable[[Check], Check]:
    """Register the check of exercise `number`; `hint` is for those who have not begun.

    The check takes the answer, returns a sentence of confirmation, or raises `Wrong` with a hint. If the
    exercise changes the app of a stage, `app` names the stage, and the check takes a `ChangedApp` instead;
    it raises `NotYet` for an app without the change.
    """

    def register(function: Check) -> Check:
        _CHECKS[number] = Exercise(function, hint, app)
        return function

    return register


class ChangedApp:
    """A learner's app as it runs now, for a check to ask: `app.get("/cube/3").text`.

    `get`, `post` and `ask` take what functions of `requests` take, and keep cookies as a browser does.
    They raise `Wrong` if the app crashes (500), with the reason and its place, and if it gives no answer.
    """

    def __init__(self, stage: Stage, server: Any) -> None:
        self.stage = stage
        self.server = server
        self.session = requests.Session()
        self.session.trust_env = False  # a proxy can't reach 127.0.0.1

    def get(self, path: str, **what: object) -> requests.Response:
        return self.ask("GET", path, **what)

    def post(self, path: str, **what: object) -> requests.Response:
        return self.ask("POST", path, **what)

    def get_added(self, path: str, rule: str) -> requests.Response:
        """What the app answers to GET `path`, for which the exercise adds the route `rule`: status 200.

        Raises `NotYet` if there is no such route, and `Wrong` if there is one that answers otherwise.
        """
        reply = self.get(path)
        if reply.status_code == 404:
            start = rule.partition("<")[0].rstrip("/")
            if start not in self.source("app.py"):
                raise NotYet
            raise Wrong(
                f"`{start}` stands in app.py, but nothing answers {path}. The address must be `{rule}`, and "
                "the view must stand inside `create_app`, above `return app`."
            )
        if reply.status_code == 405:
            raise Wrong(f"{rule} is there, but not for GET. Use `@app.get(...)`.")
        if reply.status_code != 200:
            raise Wrong(f"{path} is answered with status {reply.status_code} instead of 200.")
        return reply

    def ask(self, method: str, path: str, **what: object) -> requests.Response:
        """What the app answers to a request for `path`, redirects followed."""
        url = self.server.url + path
        try:
            reply = self.session.request(method, url, timeout=APP_SECONDS, **what)
        except requests.Timeout:
            raise Wrong(
                f"{method} {path} gets no answer within {APP_SECONDS} seconds. Does a loop in your view "
                "never end?"
            ) from None
        if reply.status_code == 500:
            reason = slip(self.server.log_end(200)) or (
                f"`python3 -m workshop app {self.stage.code} --debug` shows where."
            )
            raise Wrong(f"{method} {path} is answered with 500, because the app crashes. {reason}")
        return reply

    def source(self, name: str) -> str:
        """The text of a file in the app's folder, such as `templates/index.html`; empty if there is none."""
        file = self.stage.folder / name
        return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""


def slip(log: str) -> str | None:
    """The last error in a log or a traceback as one sentence, with its place if that is in an app's files.

    None if there is no error in it.
    """
    _, _, last = click.unstyle(log).rpartition("Traceback (most recent call last):")
    lines = last.splitlines()
    frames = {number: found for number, line in enumerate(lines) if (found := FRAME.match(line))}
    after = lines[max(frames, default=len(lines)) + 1 :]
    error = next((line for line in after if line.strip() and not line[0].isspace()), None)
    if error is None:
        return None
    kind, _, reason = error.partition(": ")
    kind = kind.rpartition(".")[2]
    if unknown := re.search(r"(\w+)\(\) got an unexpected keyword argument '(\w+)'", reason):
        return (
            f"The route hands over `{unknown[2]}`, so your view needs an argument of that name: "
            f"`def {unknown[1]}({unknown[2]}):`."
        )
    blueprint, _, view = reason.rpartition(" ")[2].rpartition(".")
    if blueprint and "overwriting an existing endpoint" in reason:  # found when it is registered
        where = _where_twice(view)
        return f"Two views{where} have the same name, {view}: give the new one a name of its own."
    if reason.endswith("has no attribute 'create_app'"):  # found by the server, outside the app
        return "app.py has no function `create_app`, which makes the app. Give it its name and place back."
    places = [(name, found[2]) for found in frames.values() if (name := _in_apps(found[1]))]
    if not places:
        return f"{kind}: {reason}".rstrip(".: ") + "."
    file, line = places[-1]
    if kind in ("SyntaxError", "IndentationError", "TabError"):
        return (
            f"Python can't read {file}, line {line} ({reason}): mend that line or the one above it, save "
            "the file, and run this cell again."
        )
    if "overwriting an existing endpoint" in reason:
        return (
            f"Two views in {file} have the same name, {reason.rpartition(' ')[2]}: give the one at line "
            f"{line} a name of its own."
        )
    if reason == "name 'app' is not defined":
        return (
            f"In {file}, line {line} stands outside `create_app`, where there is no `app`: indent it, and "
            "the lines that belong to it, like the views above."
        )
    return f"Look at {file}, line {line}: {kind}: {reason}".rstrip(".: ") + "."


def _where_twice(view: str) -> str:
    """The one file of the apps that defines a function twice, as " in apps/...", or nothing."""
    defined = re.compile(rf"^\s*def {re.escape(view)}\(", re.MULTILINE)
    files = base().glob("apps/*/*.py")
    twice = [
        file.relative_to(base()).as_posix()
        for file in files
        if len(defined.findall(file.read_text(encoding="utf-8", errors="replace"))) > 1
    ]
    return f" in {twice[0]}" if len(twice) == 1 else ""


def _in_apps(filename: str) -> str | None:
    """A file's path from the folder that holds `apps`, or None if it does not lie in there."""
    root, file = base().resolve(), Path(filename).resolve()
    return file.relative_to(root).as_posix() if file.is_relative_to(root / "apps") else None


def within_limit(call: Callable[..., object], *arguments: object) -> object:
    """Return `call(*arguments)`, a learner's code, and raise what it raises.

    Raises `Wrong` when there is no answer after `SECONDS`: a loop that never ends would keep the
    notebook waiting for ever. The call runs in a thread of its own, because a thread can be left
    behind on every system.
    """
    outcome: Future[object] = Future()

    def run() -> None:
        try:
            outcome.set_result(call(*arguments))
        except BaseException as error:  # noqa: BLE001 (handed on to the caller, whatever it is)
            outcome.set_exception(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        thread.join(SECONDS)
    finally:  # also when the learner interrupts the waiting
        is_endless = thread.is_alive()
        if is_endless:
            _end(thread)
    if is_endless:
        raise Wrong(
            f"there is no answer after {SECONDS} seconds, so your loop never ends: does the number "
            "in it grow?"
        )
    return outcome.result()


def _end(thread: threading.Thread) -> None:
    """Raise SystemExit in a thread, at its next step of Python, so that its loop stops computing.

    An abandoned loop would slow the notebook down until its kernel is restarted. SystemExit gets
    past a learner's `except Exception`.
    """
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit)
    )


def number_in(answer: object, hint: str) -> float:
    """Return an answer as a finite number. Raises `Wrong` with `hint` if it isn't one."""
    if isinstance(answer, bool) or not isinstance(answer, Real) or not math.isfinite(answer):
        raise Wrong(hint)
    return float(answer)


def exercises_of(stage: str | int) -> list[str]:
    """The numbers of a stage's exercises, such as `["04.1", "04.2"]`."""
    found = find_stage(stage)
    for file in found.notebook_files:
        module = f"{__name__}.{file.stem.partition('_')[2]}"
        if importlib.util.find_spec(module):
            importlib.import_module(module)
    numbers = [number for number in _CHECKS if number.split(".")[0] == found.code]
    return sorted(numbers, key=lambda number: int(number.split(".")[1]))  # 05.9 before 05.10


def check_answer(number: str, answer: object, run_app: RunApp) -> Verdict:
    """What `workshop.check` does; `run_app` runs the app of a stage while a block lasts."""
    try:
        known = exercises_of(str(number).partition(".")[0])
    except UnknownStage as error:
        return Verdict("wrong", f"there is no exercise {number!r}: {error}.")
    if number not in known:
        return Verdict(
            "wrong",
            f"there is no exercise {number!r}; this stage has {', '.join(known) or 'none'}.",
        )
    asked = _CHECKS[number]
    if not asked.app and (answer is ... or answer is None):
        return Verdict("not yet", asked.hint)
    try:
        return Verdict("solved", _check_app(asked, run_app) if asked.app else asked.check(answer))
    except NotYet:
        return Verdict("not yet", f"{asked.hint} {UNSAVED}")
    except (Wrong, WorkshopError) as problem:
        return Verdict("wrong", str(problem))
    except SyntaxError as error:  # in an app's file that the check imports
        return Verdict("wrong", slip("".join(traceback.format_exception(error))))
    except Exception as error:  # noqa: BLE001 (an answer is a learner's code: it may raise anything)
        return Verdict(
            "wrong", f"checking your answer stopped with {type(error).__name__}: {error}"
        )


def _check_app(asked: Exercise, run_app: RunApp) -> str:
    """Run the app that an exercise changes, and have it checked. Raises Wrong if it does not start."""
    try:
        with run_app(asked.app) as server:
            return asked.check(ChangedApp(find_stage(asked.app), server))
    except ServerDied as death:
        log = click.unstyle(str(death))
        last = [line for line in log.splitlines() if not OF_SERVER.match(line)][-1]
        reason = slip(log) or f"Its log ends with: {last}"
        raise Wrong(f"the app does not run. {reason}") from None
