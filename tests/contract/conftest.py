"""What the tests of every app share: see `app_support`."""

from app_support import apps, built, client, models, slug, trained  # noqa: F401
