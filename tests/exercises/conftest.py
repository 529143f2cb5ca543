"""The fixture of the tests in this folder that change a copy of an app."""

from exercise_support import copy_of  # noqa: F401
