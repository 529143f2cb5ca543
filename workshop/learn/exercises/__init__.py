"""`check`: tells a learner whether an exercise is solved, not solved yet, or wrong, and never raises.

The checks of a notebook are in the module of this package with the notebook's name (`census_data.py` for
`05a_census_data.ipynb`), each a function with the decorator `exercise`. Most look at an answer. Those with
`app` look at an app that the learner has changed or typed: `check` runs it, and they ask it what a browser
would.
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
from typing import Any

import click
import requests

from workshop.core.errors import ServerDied, WorkshopError
from workshop.core.own_apps import TYPED, OwnApp
from workshop.core.progress import keep_solved
from workshop.core.stages import Stage, UnknownStage, find_stage
from workshop.learn.exercises.cells import trouble_with_the_answer
from workshop.learn.exercises.slips import misplaced, slip

Check = Callable[..., str]
# Gives a running app: its `url`, and `log_end(lines)`. This room does not know who serves.
RunApp = Callable[[str], AbstractContextManager[Any]]

SECONDS = 5  # a learner's call that takes longer is taken for one that never ends
APP_SECONDS = 15  # the same for a request, which may be the first to need a model

MORE = "(To get a second hint, run this cell again.)"
UNSAVED = "Saved? A dot in place of the × in the file's tab says that it is not."

# What the server, not the app, writes into the log when its worker has ended.
OF_SERVER = re.compile(r"^\S+ \S+ (INFO |ERROR +Unexpected exit from worker)")

MARKS = {"solved": "✓ Solved", "not yet": "… Not solved yet", "wrong": "✗ Not right yet"}


class Wrong(Exception):
    """A check raises it with the hint that fits the mistake."""


class NotYet(Exception):
    """A check of an app raises it when nothing of the change is there; the learner gets the hint."""


@dataclass(frozen=True)
class Exercise:
    """A check, its two hints for those who have not begun, and the app that it looks at, if any."""

    check: Check
    hint: str
    then: str
    app: str | None = None


_CHECKS: dict[str, Exercise] = {}
_HINTED: set[str] = set()  # the exercises whose first hint this notebook has given


@dataclass(frozen=True)
class Verdict:
    """What `check` found: `status` is "solved", "not yet" or "wrong".

    `message` says why, or what to try next.
    """

    status: str
    message: str

    def __repr__(self) -> str:
        return f"{MARKS[self.status]}: {self.message}"


def exercise(number: str, hint: str, then: str, app: str | None = None) -> Callable[[Check], Check]:
    """Register the check of exercise `number`, with two hints for those who have not begun.

    `hint` says where to look. `then` says how to go on, and comes when the check runs again. Neither is the
    answer. The check takes the answer, returns a sentence of confirmation, or raises `Wrong` with a hint.
    If the exercise changes an app, `app` is the code of its stage, or the name of one that a notebook has
    learners type (`TYPED`). The check then takes a `ChangedApp` instead, and raises `NotYet` for one without
    the change.
    """

    def register(function: Check) -> Check:
        _CHECKS[number] = Exercise(function, hint, then, app)
        return function

    return register


class ChangedApp:
    """A learner's app as it runs now, for a check to ask: `app.get("/cube/3").text`.

    `get`, `post` and `ask` take what functions of `requests` take, and keep cookies as a browser does.
    They raise `Wrong` if the app crashes (500), with the reason and its place, and if it gives no answer.
    """

    def __init__(self, stage: Stage | OwnApp, server: Any) -> None:
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
            place = "the view must stand inside `create_app`, above `return app`"
            if isinstance(self.stage, OwnApp):
                place = "the line before its `def` must be `@app.get(...)`"
            raise Wrong(
                f"`{start}` is in app.py, but nothing answers {path}. The address must be `{rule}`, and "
                f"{place}."
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
    if asked.app:
        return _verdict(number, lambda: _check_app(asked, run_app))
    failed, stale = trouble_with_the_answer()
    if failed:
        return Verdict("wrong", failed)
    if answer is ... or answer is None:
        verdict = Verdict("not yet", _next_hint(number))
    else:
        verdict = _verdict(number, lambda: asked.check(answer))
    if stale and verdict.status != "solved":
        return Verdict(verdict.status, f"{verdict.message} {stale}")
    return verdict


def _next_hint(number: str) -> str:
    """The first hint of an exercise, and from the second time on the other one."""
    asked = _CHECKS[number]
    if number in _HINTED:
        return asked.then
    _HINTED.add(number)
    return f"{asked.hint} {MORE}"


def _verdict(number: str, check: Callable[[], str]) -> Verdict:
    """What came of a check."""
    try:
        told = check()
        keep_solved(number)
        return Verdict("solved", told)
    except NotYet:
        return Verdict("not yet", f"{_next_hint(number)} {UNSAVED}")
    except (Wrong, WorkshopError) as problem:
        return Verdict("wrong", str(problem))
    except SyntaxError as error:  # in an app's file that the check imports
        return Verdict("wrong", slip("".join(traceback.format_exception(error))))
    except Exception as error:  # noqa: BLE001 (an answer is a learner's code: it may raise anything)
        return Verdict(
            "wrong", f"checking your answer stopped with {type(error).__name__}: {error}"
        )


def _check_app(asked: Exercise, run_app: RunApp) -> str:
    """Run the app that an exercise changes, and have it checked.

    Raises Wrong if it does not start, and NotYet if the learner has not typed it yet.
    """
    app = OwnApp(asked.app) if asked.app in TYPED else find_stage(asked.app)
    if isinstance(app, OwnApp) and not app.app_file.is_file():
        if found := misplaced(app):
            raise Wrong(found)
        raise NotYet
    try:
        with run_app(asked.app) as server:
            return asked.check(ChangedApp(app, server))
    except ServerDied as death:
        log = click.unstyle(str(death))
        last = [line for line in log.splitlines() if not OF_SERVER.match(line)][-1]
        reason = slip(log) or f"Its log ends with: {last}"
        raise Wrong(f"the app does not run. {reason}") from None
