"""The workshop's command-line tool, and the helpers that notebooks import from it.

The helpers are imported when first used, because set-up has only the standard library.
"""

import importlib

_HELPERS = {
    "fetch_census": "workshop.core.datasets",
    "fetch_housing": "workshop.core.datasets",
    "show": "workshop.learn.show",
    "serve": "workshop.host.background",
    "rehearse": "workshop.host.rehearsal",
}

__all__ = ["check", "fetch_census", "fetch_housing", "rehearse", "serve", "show"]


def check(number, answer=...):
    """Compare `answer` with what exercise `number`, such as "04.2", asks for. Never raises.

    For an exercise that changes an app, the answer is the app: `check("01.3")` runs it and checks its pages.
    """
    from workshop.host.background import running_app
    from workshop.learn.exercises import check_answer

    return check_answer(number, answer, running_app)


def __getattr__(name):
    if name in _HELPERS:
        return getattr(importlib.import_module(_HELPERS[name]), name)
    raise AttributeError("module 'workshop' has no attribute %r" % name)  # noqa: UP031 (read by any Python 3)
