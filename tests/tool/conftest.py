"""Fixtures for several files in this folder."""

from own_apps_support import work  # noqa: F401
