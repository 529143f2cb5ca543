"""The gallery: one server with the landing page at `/` and every stage's app at `/NN_name/`.

`create_gallery` gives the WSGI application that `python3 -m workshop start` serves.
"""

import contextlib
import os
import posixpath
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from flask import Flask, Response, make_response, render_template, request
from jinja2 import TemplateError
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix

from workshop.gallery.guard import guard
from workshop.room import BEHIND_PROXY, qr_as_svg
from workshop.running import FOLDER
from workshop.stages import STAGES, Stage, load_app_module, stages_with_app

LAB_PORT = "WORKSHOP_LAB_PORT"
LAB_TOKEN = "WORKSHOP_LAB_TOKEN"  # noqa: S105 (the name of the variable that holds it)

PRESENT = "WORKSHOP_PRESENT"  # not empty: the cards lead to slides
ROOM = "WORKSHOP_ROOM"  # the address for others, where they are let in


@dataclass(frozen=True)
class Card:
    """What the landing page shows of a stage.

    `up` and `trained` are None where there is no app, and nothing to train; `problem` says why the app
    did not start.
    """

    stage: Stage
    up: bool | None
    trained: bool | None
    changed: bool
    problem: str | None


def load_apps() -> tuple[dict[str, Flask], dict[str, str]]:
    """Every stage's app by slug, and for those that do not start the last line of the error."""
    apps, problems = {}, {}
    for stage in stages_with_app():
        try:
            app = load_app_module(stage.slug).create_app()
            read_templates(app)
            apps[stage.slug] = app
        except Exception as error:  # noqa: BLE001 (one broken app must not take the others along)
            traceback.print_exc()
            problems[stage.slug] = traceback.format_exception_only(error)[-1].strip()
    return apps, problems


def read_templates(app: Flask) -> None:
    """Read all of an app's templates now, as its code is: a change to either counts from the next start on.

    One with a mistake in it is left for the page that wants it.
    """
    for name in app.jinja_env.list_templates(extensions=["html"]):
        with contextlib.suppress(TemplateError):
            app.jinja_env.get_template(name)


def is_trained(app: Flask) -> bool:
    """Whether a stage's app has its model, as its own page about the model says."""
    return app.test_client().get("/model").status_code == 200


def is_up(app: Flask) -> bool:
    """Whether a stage's app answers. Without its model it says so with a 503, and that is an answer."""
    return app.test_client().get("/").status_code in (200, 503)


def sources(stage: Stage) -> dict[Path, int]:
    """When each file of a stage's app was last saved: code and templates, which are read once."""
    found = {}
    for pattern in ("*.py", "templates/**/*.html"):
        for file in stage.folder.glob(pattern):
            try:
                found[file] = file.stat().st_mtime_ns
            except OSError:  # an editor's file that is gone already
                continue
    return found


def create_app(apps: dict[str, Flask], problems: dict[str, str]) -> Flask:
    """The landing page alone."""
    app = Flask(__name__)
    guard(app)
    at_start = {stage: sources(stage) for stage in stages_with_app()}

    def card(stage: Stage) -> Card:
        mounted = apps.get(stage.slug)
        return Card(
            stage,
            up=is_up(mounted) if mounted else None,
            trained=is_trained(mounted) if mounted and stage.model else None,
            changed=stage in at_start and sources(stage) != at_start[stage],
            problem=problems.get(stage.slug),
        )

    @app.get("/")
    def index() -> Response:
        room = os.environ.get(ROOM)
        page = make_response(
            render_template(
                "index.html",
                cards=[card(stage) for stage in STAGES],
                lab=lab_address(),
                present=bool(os.environ.get(PRESENT)),
                room=room,
                qr=qr_as_svg(room) if room else None,
            )
        )
        # A tab that is restored tomorrow must not show today's token and models.
        page.headers["Cache-Control"] = "no-store"
        return page

    @app.get("/healthz")
    def healthz() -> dict[str, object]:
        port = os.environ.get(LAB_PORT)
        return {
            "status": "ok",
            "service": "workshop",
            "folder": FOLDER,
            "lab_port": int(port) if port else None,
        }

    @app.errorhandler(HTTPException)
    def problem(error: HTTPException):
        response = error.get_response()
        response.data = render_template("error.html", error=error)
        return response

    return app


def lab_address() -> tuple[str, str] | None:
    """JupyterLab's address and token, for whoever sits at this machine and for nobody else.

    The name asked for counts too: a page from elsewhere can let its own name point to this machine and
    read what we answer (DNS rebinding), and through a forwarded port the address would lead nowhere.
    """
    port, token = os.environ.get(LAB_PORT), os.environ.get(LAB_TOKEN)
    name = request.host.rpartition(":")[0] or request.host
    asked_here = name in ("127.0.0.1", "localhost", "[::1]")
    if not port or not asked_here or request.remote_addr not in ("127.0.0.1", "::1"):
        return None
    if os.environ.get(BEHIND_PROXY) == "1":  # to us, everybody it lets in is at this machine
        return None
    return f"http://127.0.0.1:{port}", token


def redirect_relatively(application: Callable) -> Callable:
    """Make a WSGI application's redirects relative to the address that was asked for.

    Some proxies put their prefix in front of a redirect's path, and others leave it as it is; a relative
    one is right behind both.
    """

    def answer(environ: dict, start_response: Callable) -> Iterable[bytes]:
        asked = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")

        def start(status: str, headers: list[tuple[str, str]], *more: object) -> Callable:
            found = Headers(headers)
            if found.get("Location", "").startswith("/"):
                found["Location"] = relative_to(asked, found["Location"])
            return start_response(status, found.to_wsgi_list(), *more)

        return application(environ, start)

    return answer


def relative_to(asked: str, target: str) -> str:
    """Address `target` as seen from the page at the path `asked`; both begin with a slash."""
    path, mark, query = target.partition("?")
    folder = asked.rpartition("/")[0] or "/"
    slash = "/" if path.endswith("/") else ""
    return posixpath.relpath(path, folder) + slash + mark + query


def create_gallery() -> Callable:
    """The landing page with every stage's app mounted at its address."""
    apps, problems = load_apps()
    gallery = create_app(apps, problems)
    gallery.wsgi_app = DispatcherMiddleware(
        gallery.wsgi_app, {f"/{slug}": app for slug, app in apps.items()}
    )
    if os.environ.get(BEHIND_PROXY) == "1":
        gallery.wsgi_app = ProxyFix(redirect_relatively(gallery.wsgi_app), x_for=0, x_prefix=1)
    return gallery
