"""`check`: tells a learner whether an exercise is solved, not solved yet, or wrong, and never raises.

The checks of a notebook are in the module of this package with the notebook's name (`census_data.py` for
`05a_census_data.ipynb`), each a function with the decorator `exercise`. Most look at an answer. Those with
`app` look at an app that the learner has changed or typed: `check` runs the app, and they send it the
requests that a browser would.
"""

import ctypes
import importlib
import importlib.util
import math
import re
import threading
import traceback
import warnings
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass
from numbers import Real
from typing import Any

import click
import requests
from flask import Flask
from werkzeug.test import TestResponse

from workshop.core.errors import ServerDied, WorkshopError
from workshop.core.own_apps import TYPED, OwnApp
from workshop.core.progress import keep_solved
from workshop.core.stages import Stage, UnknownStage, find_stage
from workshop.learn.exercises.cells import trouble_with_the_answer
from workshop.learn.exercises.slips import misplaced, slip

Check = Callable[..., str]
# Runs an app, and gives its `url` and `log_end(lines)`. This package doesn't know what serves it.
RunApp = Callable[[str], AbstractContextManager[Any]]

SECONDS = 5  # a learner's call that takes longer is treated as an endless loop
APP_SECONDS = 15  # the same for a request; the first one may have to load a model

MORE = "(To get a second hint, run this cell again.)"
UNSAVED = "Saved? If the file's tab shows a dot instead of an ×, it isn't."

# Log lines that the server, not the app, writes when its worker has ended.
OF_SERVER = re.compile(r"^\S+ \S+ (INFO |ERROR +Unexpected exit from worker)")

MARKS = {"solved": "✓ Solved", "not yet": "… Not solved yet", "wrong": "✗ Not right yet"}


class Wrong(Exception):
    """Raised by a check, with the hint that fits the mistake."""


class NotYet(Exception):
    """Raised by a check when the change to an app hasn't been started; the learner gets the hint."""


@dataclass(frozen=True)
class Exercise:
    """A check, its two hints for learners who haven't started, and the app it looks at, if any."""

    check: Check
    hint: str
    then: str
    app: str | None = None


_CHECKS: dict[str, Exercise] = {}
_HINTED: set[str] = set()  # the exercises whose first hint this notebook has shown


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
    """Register the check of exercise `number`, with two hints for learners who haven't started.

    `hint` says where to look. `then` says what to do next, and is shown when the check runs again. Neither
    gives the answer away. The check takes the answer, and returns a sentence that confirms it or raises
    `Wrong` with a hint. If the exercise changes an app, `app` is the code of its stage, or the name of an app
    that learners type from a notebook (`TYPED`). The check then takes a `ChangedApp` instead, and raises
    `NotYet` if the change isn't there.
    """

    def register(function: Check) -> Check:
        _CHECKS[number] = Exercise(function, hint, then, app)
        return function

    return register


class ChangedApp:
    """A learner's running app, for a check to send requests to: `app.get("/cube/3").text`.

    `get`, `post` and `ask` take the arguments of `requests.request`, and keep cookies as a browser does.
    They raise `Wrong` if the app doesn't answer, and if it crashes (500), with the reason and the line.
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
        """Return the response to GET `path`, which the exercise adds with the route `rule`: status 200.

        Raises `NotYet` if there is no such route, and `Wrong` if its response is anything else.
        """
        reply = self.get(path)
        if reply.status_code == 404:
            start = rule.partition("<")[0].rstrip("/")
            if start not in self.source("app.py"):
                raise NotYet
            place = "the view must be inside `create_app`, above `return app`"
            if isinstance(self.stage, OwnApp):
                place = "the line before its `def` must be `@app.get(...)`"
            raise Wrong(
                f"`{start}` is in app.py, but no route matches {path}. The address must be `{rule}`, and "
                f"{place}."
            )
        if reply.status_code == 405:
            raise Wrong(f"{rule} is there, but not for GET. Use `@app.get(...)`.")
        if reply.status_code != 200:
            raise Wrong(f"{path} returns status {reply.status_code} instead of 200.")
        return reply

    def get_added_to_api(self, path: str, file: str) -> requests.Response:
        """Return the response to GET `path`, which the exercise adds to the API in `file`.

        Raises `NotYet` if there is no such route, and `Wrong` if it is misplaced or not for GET. The caller
        looks at any other status.
        """
        reply = self.get(path)
        rule, text = path.removeprefix("/api/v1"), self.source(file)
        if reply.status_code in (404, 503) and rule not in text + self.source("app.py"):
            raise NotYet
        if reply.status_code == 404 and path in text:
            raise Wrong(
                f"no route matches {path}. `/api/v1` is put in front of the routes in `{file}` "
                f'automatically: write `"{rule}"`.'
            )
        if reply.status_code == 404:
            raise Wrong(
                f"no route matches {path}. The view must be inside `create_api` in `{file}`, above "
                "`return api`, and indented like the others."
            )
        if reply.status_code == 405:
            raise Wrong(f"{path} is there, but not for GET. Use `@api.get(...)`.")
        if reply.url.endswith("/"):
            raise Wrong(f'the address ends with a slash. Write `"{rule}"`, without one.')
        return reply

    def ask(self, method: str, path: str, **what: object) -> requests.Response:
        """Return the response to a request for `path`, after any redirects."""
        url = self.server.url + path
        try:
            reply = self.session.request(method, url, timeout=APP_SECONDS, **what)
        except requests.Timeout:
            raise Wrong(
                f"{method} {path} got no response within {APP_SECONDS} seconds. Is there an endless loop in "
                "your view?"
            ) from None
        if reply.status_code == 500:
            reason = slip(self.server.log_end(200)) or (
                f"`python3 -m workshop app {self.stage.code} --debug` shows where."
            )
            raise Wrong(f"{method} {path} returns 500, because the app crashes. {reason}")
        return reply

    def source(self, name: str) -> str:
        """Return the text of a file of the app, such as `templates/index.html`; empty if it isn't there."""
        file = self.stage.folder / name
        return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""


def within_limit(call: Callable[..., object], *arguments: object) -> object:
    """Return `call(*arguments)`, a learner's code, and raise what it raises.

    Raises `Wrong` if it hasn't returned after `SECONDS`: an endless loop would keep the notebook waiting
    forever. The call runs in a separate thread, because a thread can be abandoned on every system.
    """
    outcome: Future[object] = Future()

    def run() -> None:
        try:
            outcome.set_result(call(*arguments))
        except BaseException as error:  # noqa: BLE001 (passed on to the caller, whatever it is)
            outcome.set_exception(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        thread.join(SECONDS)
    finally:  # also if the learner interrupts the cell
        is_endless = thread.is_alive()
        if is_endless:
            _end(thread)
    if is_endless:
        raise Wrong(
            f"your function hasn't returned after {SECONDS} seconds, so its loop never ends. Does the "
            "number in it grow?"
        )
    return outcome.result()


def _end(thread: threading.Thread) -> None:
    """Raise SystemExit in a thread, at its next bytecode, so that its loop stops.

    An abandoned loop would slow the notebook down until its kernel is restarted. A learner's
    `except Exception` doesn't catch SystemExit.
    """
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit)
    )


def ask_small_app(answer: object, method: str, path: str, **what: object) -> TestResponse:
    """Return the response of an app that a cell makes; `what` is for Flask's test client.

    Raises `Wrong` if there is no app or no such route, and whatever a view raises.
    """
    if not isinstance(answer, Flask):
        raise Wrong("`answer` must be the app itself: keep the line `answer = Flask(...)`.")
    # The error reaches the check, and no traceback is printed in the notebook.
    answer.config["PROPAGATE_EXCEPTIONS"] = True
    with warnings.catch_warnings(action="ignore"):
        reply = answer.test_client().open(path, method=method, **what)
    if reply.status_code in (404, 405):
        raise Wrong(f"{method} {path} returns {reply.status_code}. Put the route back.")
    return reply


def number_in(answer: object, hint: str) -> float:
    """Return an answer as a finite number. Raises `Wrong` with `hint` if it isn't one."""
    if isinstance(answer, bool) or not isinstance(answer, Real) or not math.isfinite(answer):
        raise Wrong(hint)
    return float(answer)


def exercises_of(stage: str | int) -> list[str]:
    """Return the numbers of a stage's exercises, such as `["04.1", "04.2"]`."""
    found = find_stage(stage)
    for file in found.notebook_files:
        module = f"{__name__}.{file.stem.partition('_')[2]}"
        if importlib.util.find_spec(module):
            importlib.import_module(module)
    numbers = [number for number in _CHECKS if number.split(".")[0] == found.code]
    return sorted(numbers, key=lambda number: int(number.split(".")[1]))  # 05.9 before 05.10


def check_answer(number: str, answer: object, run_app: RunApp) -> Verdict:
    """Check an answer for `workshop.check`; `run_app` is a context manager that runs a stage's app."""
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
    """Return the first hint of an exercise, and after that the second."""
    asked = _CHECKS[number]
    if number in _HINTED:
        return asked.then
    _HINTED.add(number)
    return f"{asked.hint} {MORE}"


def _verdict(number: str, check: Callable[[], str]) -> Verdict:
    """Run a check, and turn what it returns or raises into a verdict."""
    try:
        told = check()
        keep_solved(number)
        return Verdict("solved", told)
    except NotYet:
        hint = _next_hint(number)
        return Verdict("not yet", f"{hint} {UNSAVED}" if _CHECKS[number].app else hint)
    except (Wrong, WorkshopError) as problem:
        return Verdict("wrong", str(problem))
    except SyntaxError as error:  # in an app's file that the check imports
        return Verdict("wrong", slip("".join(traceback.format_exception(error))))
    except Exception as error:  # noqa: BLE001 (an answer is a learner's code: it may raise anything)
        return Verdict("wrong", f"checking your answer failed with {type(error).__name__}: {error}")


def _check_app(asked: Exercise, run_app: RunApp) -> str:
    """Run the app that an exercise changes, and check it.

    Raises Wrong if it doesn't start, and NotYet if the learner hasn't typed it yet.
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
        reason = slip(log) or f"The last line of its log: {last}"
        raise Wrong(f"the app doesn't start. {reason}") from None
