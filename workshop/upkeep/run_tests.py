"""Builds the command that runs the tests, after installing the packages that only they need."""

import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence

from workshop.setup.environment import find_environment
from workshop.setup.process import SetupError, say
from workshop.setup.set_up import set_up_tests

SIDE_BY_SIDE = (
    *("--numprocesses=auto", "--maxprocesses=4"),
    "--dist=loadfile",  # nbval runs the cells of one notebook in order, in one kernel
    "--no-loadscope-reorder",  # conftest.py has the order
)
WITHOUT_PACKAGES = (
    "Until then, the tests that need hypothesis or a browser are left out, and the rest run in one process. "
    "(A kit has the packages if it was made with `kit --with-tests`.)"
)


def pytest_command(everything: bool, arguments: Sequence[str]) -> list[str]:
    """Return the command that runs pytest with `arguments`; without `everything`, it skips slow tests.

    Installs the tests' packages if they are missing. If that fails, a message says which tests are left out
    and how to get the packages; with `CI` set, it raises `SetupError` instead.
    """
    try:
        set_up_tests(find_environment())
    except SetupError as error:
        if os.environ.get("CI"):
            raise
        say(f"{error} {WITHOUT_PACKAGES}")
    importlib.invalidate_caches()  # so that newly installed packages are found
    options = [] if everything else ["-m", "not slow"]
    if importlib.util.find_spec("xdist") and "no:xdist" not in " ".join(arguments):
        options += SIDE_BY_SIDE
    return [sys.executable, "-m", "pytest", *options, *arguments]
