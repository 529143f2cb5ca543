"""The browser's fixtures, for the tests in every folder."""

import importlib.util

if importlib.util.find_spec("playwright"):  # else the root's conftest.py leaves out what needs them
    from browser_support import (  # noqa: F401
        browser,
        browser_context_args,
        open_browser,
        page,
        playwright,
    )
