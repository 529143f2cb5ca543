"""Apps with the host's middleware, in the tests' process."""

from flask import Flask

from workshop.core.stages import Stage
from workshop.host.guard import guard
from workshop.host.mount import Mount


def hosted(app: Flask) -> Flask:
    """An app with the host's middleware around it."""
    app.wsgi_app = guard(app.wsgi_app, app.config["MAX_CONTENT_LENGTH"])
    return app


class Mounted(Mount):
    """A mount with a given app, or with the reason why it doesn't start."""

    def __init__(self, stage: Stage, app: Flask | None, problem: str | None = None) -> None:
        self.stage, self.app, self.problem, self._has_model = stage, app, problem, False
        self._guarded = app and guard(app.wsgi_app, app.config["MAX_CONTENT_LENGTH"])

    def look(self) -> None:
        """Never create the app again."""
