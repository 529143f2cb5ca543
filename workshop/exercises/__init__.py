"""`check`: tells a learner whether an exercise is solved, not solved yet, or wrong, and never raises.

The checks of a stage stand in the module of this package named like the stage (`iris.py` for 04_iris),
each a function with the decorator `exercise`.
"""

import ctypes
import importlib
import importlib.util
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from workshop.stages import UnknownStage, find_stage

Check = Callable[[object], str]

_CHECKS: dict[str, tuple[Check, str]] = {}

SECONDS = 5  # a learner's call that takes longer is taken for one that never ends

MARKS = {"solved": "✓ Solved", "not yet": "… Not solved yet", "wrong": "✗ Not right yet"}


class Wrong(Exception):
    """A check raises it with the hint that fits the mistake."""


@dataclass(frozen=True)
class Verdict:
    """What `check` found: `status` is "solved", "not yet" or "wrong".

    `message` says why, or what to try next.
    """

    status: str
    message: str

    def __repr__(self) -> str:
        return f"{MARKS[self.status]}: {self.message}"


def exercise(number: str, hint: str) -> Callable[[Check], Check]:
    """Register the check of exercise `number`; `hint` is for those who have not begun.

    The check takes the answer, returns a sentence of confirmation, or raises `Wrong` with a hint.
    """

    def register(function: Check) -> Check:
        _CHECKS[number] = (function, hint)
        return function

    return register


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


def exercises_of(stage: str | int) -> list[str]:
    """The numbers of a stage's exercises, such as `["04.1", "04.2"]`."""
    found = find_stage(stage)
    module = f"{__name__}.{found.name}"
    if importlib.util.find_spec(module):
        importlib.import_module(module)
    return sorted(number for number in _CHECKS if number.split(".")[0] == found.code)


def check(number: str, answer: object) -> Verdict:
    """Compare `answer` with what exercise `number` asks for. Never raises."""
    try:
        known = exercises_of(str(number).partition(".")[0])
    except UnknownStage as error:
        return Verdict("wrong", f"there is no exercise {number!r}: {error}.")
    if number not in known:
        return Verdict(
            "wrong",
            f"there is no exercise {number!r}; this stage has {', '.join(known) or 'none'}.",
        )
    function, hint = _CHECKS[number]
    if answer is ... or answer is None:
        return Verdict("not yet", hint)
    try:
        return Verdict("solved", function(answer))
    except Wrong as wrong:
        return Verdict("wrong", str(wrong))
    except Exception as error:  # noqa: BLE001 (an answer is a learner's code: it may raise anything)
        return Verdict(
            "wrong", f"checking your answer stopped with {type(error).__name__}: {error}"
        )
