"""The tool that holds the stages together, and the four helpers that notebooks import from it.

The helpers are imported when first asked for: set-up runs with the standard library alone.
"""

import importlib

_HELPERS = {
    "fetch_census": "workshop.datasets",
    "fetch_housing": "workshop.datasets",
    "show": "workshop.source",
    "serve": "workshop.running",
    "check": "workshop.exercises",
}

__all__ = ["check", "fetch_census", "fetch_housing", "serve", "show"]


def __getattr__(name):
    if name in _HELPERS:
        return getattr(importlib.import_module(_HELPERS[name]), name)
    raise AttributeError("module 'workshop' has no attribute %r" % name)  # noqa: UP031 (read by any Python 3)
