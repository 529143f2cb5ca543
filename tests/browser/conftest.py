"""The apps that the tests in this folder open in a browser: see `app_support`."""

from app_support import apps, built, models, trained  # noqa: F401
