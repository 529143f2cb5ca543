"""Creates a stage's app, wraps it in `guard`, and creates it again when its model's files change."""

import contextlib
import threading
import time
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from flask import Flask
from jinja2 import TemplateError

from workshop.core.build import where
from workshop.core.errors import WorkshopError
from workshop.core.own_apps import OwnApp
from workshop.core.stages import Stage, load_module
from workshop.host.guard import Application, StartResponse, guard
from workshop.host.library_files import send_small

MODEL_FILES = "model/*.json", "model/*.joblib"
LOOK_EVERY = 0.05  # seconds between two checks of the model's files
PATIENCE = 15.0  # seconds that a request waits for an app that is being created again


class NoApp(WorkshopError):
    """An app.py doesn't create a Flask app."""


class Mount:
    """A stage's app as a WSGI application, with its database.

    The app is created right away, and any exception in its code is raised. With `in_gallery`, the first
    `look` starts creating it in the background. Until the app has started, `app` is None; if it fails,
    `problem` says why.
    """

    def __init__(self, stage: Stage | OwnApp, in_gallery: bool = False) -> None:
        self.stage = stage
        self.app: Flask | None = None
        self.problem: str | None = None
        self._in_gallery = in_gallery
        self._guarded: Application | None = None
        self._has_model = False
        self._made_of: dict | None = None  # the model's files at the last look
        self._next_look = 0.0
        self._lock = threading.Lock()
        if not in_gallery:
            self._made_of = state_of(stage.folder, *MODEL_FILES)
            self._make()

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        self.look()
        return self._guarded(environ, start_response)

    @property
    def is_loading(self) -> bool:
        return self.app is None and self.problem is None

    @property
    def has_model(self) -> bool | None:
        """Whether the app has a model it can use; None if its stage has no model."""
        return self._has_model if self.app and self.stage.model else None

    def look(self) -> None:
        """Create the app on the first look, and again whenever its model's files have changed.

        If the app refuses the new model, the old app stays in service.
        """
        if time.monotonic() < self._next_look:
            return
        with self._lock:
            is_first = self._made_of is None
            if self.app is None and not is_first:  # it's loading, or didn't start
                return
            self._next_look = time.monotonic() + LOOK_EVERY
            files = state_of(self.stage.folder, *MODEL_FILES)
            if files == self._made_of:
                return
            self._made_of = files
        # In a separate thread, so that a slow model can't block a request forever.
        name = f"make {self.stage.slug}"
        thread = threading.Thread(target=self._make_or_tell, name=name, daemon=True)
        thread.start()
        if not is_first:
            thread.join(PATIENCE)

    def _make_or_tell(self) -> None:
        try:
            self._make()
        except BaseException as error:  # noqa: BLE001 (a learner's code may raise anything)
            if self.app:
                traceback.print_exc()
            else:
                self.problem = where(error, self.stage.folder)

    def _make(self) -> None:
        app = make_app(self.stage)
        if self._in_gallery:
            read_templates(app)
        if self.stage.database:
            init_database(app)
        problem = why_no_model(app) if self.stage.model else None
        if problem and self._has_model:
            app.logger.warning(
                "The new model is refused, so the app keeps the previous one: %s", problem
            )
            return
        self._has_model = not problem
        self._guarded = guard(send_small(app.wsgi_app), app.config["MAX_CONTENT_LENGTH"])
        self.app = app


def make_app(stage: Stage | OwnApp) -> Flask:
    """Run the `app.py` of a stage, or of a learner's own app, and return the app it creates.

    Raises `NoApp` if it creates none, and any exception that its code raises.
    """
    module = load_module(stage, "app")
    make = getattr(module, "create_app", None)
    app = make() if make else getattr(module, "app", None)
    if not isinstance(app, Flask):
        raise NoApp(
            f"apps/{stage.slug}/app.py creates no app: add a line like `app = Flask(__name__)`, or a "
            "`create_app()` that returns one"
        )
    return app


def why_no_model(app: Flask) -> str | None:
    """The app's own reason why it can't use its model; None if it can.

    Without a model, every page is a 503. `/healthz` has the reason, but its status isn't enough: it also
    reports other problems, such as a missing database.
    """
    client = app.test_client()
    if client.get("/model").status_code != 503:
        return None
    told = client.get("/healthz").get_json(silent=True)
    return str(told.get("reason")) if isinstance(told, dict) else "it doesn't say why"


def state_of(folder: Path, *patterns: str) -> dict[Path, tuple[int, int]]:
    """The modification time and size of each file in `folder` that matches one of the patterns."""
    found = {}
    for file in (file for pattern in patterns for file in folder.glob(pattern)):
        with contextlib.suppress(OSError):  # an editor may have replaced it since
            status = file.stat()
            found[file] = status.st_mtime_ns, status.st_size
    return found


def read_templates(app: Flask) -> None:
    """Load all of an app's templates now: in the gallery, new templates need a restart, like new code.

    A template with a mistake is skipped; the page that uses it reports the mistake.
    """
    for name in app.jinja_env.list_templates(extensions=["html"]):
        with contextlib.suppress(TemplateError):
            app.jinja_env.get_template(name)


def init_database(app: Flask) -> None:
    """Create an app's database with the app's own command, which leaves an existing one unchanged.

    It runs in this process, because importing the app a second time takes seconds. If it fails, the reason
    is logged, and the app's pages say what to do.
    """
    try:
        with app.app_context():
            app.cli.commands["init-db"].main([], "init-db", standalone_mode=False)
    except Exception as error:  # noqa: BLE001 (a learner's code)
        app.logger.error("The database can't be created: %s", error)
