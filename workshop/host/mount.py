"""A stage's app where it is served: made, guarded, and made again when its model's files change."""

import contextlib
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from flask import Flask
from jinja2 import TemplateError

from workshop.core.build import model_problem, where
from workshop.core.errors import WorkshopError
from workshop.core.own_apps import OwnApp
from workshop.core.stages import Stage, load_module
from workshop.host.guard import Application, guard

LOOK_EVERY = 0.05  # seconds between two looks at the model's files
PATIENCE = 15.0  # seconds that a request waits for an app that is being made again


class NoApp(WorkshopError):
    """An app.py makes no Flask app."""


class Mount:
    """A stage's app as a WSGI application.

    `app` is None while it is being made, and where it does not start; `problem` then says why. With a
    `fallback`, the app is made in the background, and until it is there the fallback answers. Without one
    it is made at once, and what its code raises is raised.
    """

    def __init__(self, stage: Stage | OwnApp, fallback: Application | None = None) -> None:
        self.stage = stage
        self.app: Flask | None = None
        self.problem: str | None = None
        self._fallback = fallback
        self._guarded: Application | None = None
        self._has_model = False
        self._made_of = model_files(stage)
        self._next_look = 0.0
        self._lock = threading.Lock()
        if fallback:
            self._work(self._make_or_tell)
        else:
            self._make()

    def __call__(self, environ: dict[str, Any], start_response: Callable) -> Iterable[bytes]:
        self.look()
        if self._guarded is None:
            return self._fallback(environ, start_response)
        return self._guarded(environ, start_response)

    @property
    def is_loading(self) -> bool:
        return self.app is None and self.problem is None

    @property
    def has_model(self) -> bool | None:
        """Whether the app has a model it can use; None where its stage has none."""
        return self._has_model if self.app and self.stage.model else None

    def status_of(self, path: str) -> int:
        """The status that the app answers to GET `path`."""
        return self.app.test_client().get(path).status_code

    def look(self) -> None:
        """Make the app again if its model's files have changed; keep the old one if the new is refused."""
        if not self.stage.model or self.app is None or time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + LOOK_EVERY
        with self._lock:
            files = model_files(self.stage)
            if files == self._made_of:
                return
            self._made_of = files
        # In a thread of its own, so that nobody waits forever for a model that takes long.
        self._work(self._make_again).join(PATIENCE)

    def _work(self, act: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=act, name=f"make {self.stage.slug}", daemon=True)
        thread.start()
        return thread

    def _make_again(self) -> None:
        try:
            self._make()
        except Exception:  # noqa: BLE001 (a learner's code: the app that runs goes on)
            traceback.print_exc()

    def _make_or_tell(self) -> None:
        try:
            self._make()
        except BaseException as error:  # noqa: BLE001 (a learner's code may raise anything)
            self.problem = where(error, self.stage.folder)

    def _make(self) -> None:
        app = make_app(self.stage)
        if self._fallback:
            read_templates(app)
        problem = model_problem(app) if self.stage.model else None
        if problem and self._has_model:
            app.logger.warning(
                "The new model is refused, so the one before it goes on: %s", problem
            )
            return
        self._has_model = not problem
        self.app = app
        self._guarded = guard(app.wsgi_app, app.config["MAX_CONTENT_LENGTH"])


def make_app(stage: Stage | OwnApp) -> Flask:
    """Run the `app.py` of a stage, or of a learner's own app, and return the app that it makes.

    Raises `NoApp` if it makes none, and whatever its code raises.
    """
    module = load_module(stage, "app")
    make = getattr(module, "create_app", None)
    app = make() if make else getattr(module, "app", None)
    if not isinstance(app, Flask):
        raise NoApp(
            f"apps/{stage.slug}/app.py makes no app: give it a line like `app = Flask(__name__)`, or a "
            "`create_app()` that returns one"
        )
    return app


def model_files(stage: Stage | OwnApp) -> list[tuple[str, int, int]]:
    """Name, time of the last change and size of each file in a stage's model folder."""
    found = []
    with contextlib.suppress(FileNotFoundError):
        for file in Path(stage.folder, "model").iterdir():
            if file.suffix in (".json", ".joblib"):
                with contextlib.suppress(FileNotFoundError):  # replaced this very moment
                    status = file.stat()
                    found.append((file.name, status.st_mtime_ns, status.st_size))
    return sorted(found)


def read_templates(app: Flask) -> None:
    """Read all of an app's templates now, as its code is: in the gallery, a change to either counts from the
    next start on.

    One with a mistake in it is left for the page that wants it.
    """
    for name in app.jinja_env.list_templates(extensions=["html"]):
        with contextlib.suppress(TemplateError):
            app.jinja_env.get_template(name)
