"""The gallery: one server with the landing page at `/` and every stage's app at `/NN_name/`.

`create_gallery` gives the WSGI application that `python3 -m workshop start` serves.
"""

import json
import os
import posixpath
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from flask import Flask, Response, make_response, render_template, request
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException
from werkzeug.http import HTTP_STATUS_CODES
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix

from workshop.core.own_apps import own_apps
from workshop.core.stages import STAGES, Stage, stages_with_app
from workshop.host.guard import Application, behind_proxies, guard
from workshop.host.mount import Mount
from workshop.host.network import BEHIND_PROXY, qr_as_svg
from workshop.host.ports import FOLDER, status_of
from workshop.host.server import end_with_main_process

LAB_PORT = "WORKSHOP_LAB_PORT"
LAB_TOKEN = "WORKSHOP_LAB_TOKEN"  # noqa: S105 (the name of the variable that holds it)

PRESENT = "WORKSHOP_PRESENT"  # not empty: the cards lead to slides
ROOM = "WORKSHOP_ROOM"  # the address for others, where they are let in


@dataclass(frozen=True)
class Card:
    """What the landing page shows of a stage; `mount` is None where it has no app."""

    stage: Stage
    mount: Mount | None
    changed: bool

    @property
    def is_up(self) -> bool:
        """Whether the app answers. Without its model it says so with a 503, and that is an answer."""
        return self.mount.status_of("/") in (200, 503)


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


def create_app(mounts: dict[str, Mount]) -> Flask:
    """The landing page, and what is said where an app should be that is not ready."""
    app = Flask(__name__)
    at_start = {stage: sources(stage) for stage in stages_with_app()}

    @app.get("/")
    def index() -> Response:
        room = os.environ.get(ROOM)
        cards = [
            Card(
                stage,
                mounts.get(stage.slug),
                stage in at_start and sources(stage) != at_start[stage],
            )
            for stage in STAGES
        ]
        for card in cards:
            if card.mount:
                card.mount.look()
        page = make_response(
            render_template(
                "index.html",
                cards=cards,
                own_apps=[
                    (app, status_of(f"http://127.0.0.1:{app.port}/", 1)) for app in own_apps()
                ],
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
    def http_error(error: HTTPException):
        response = error.get_response()
        response.data = render_template("error.html", error=error)
        return response

    @app.before_request
    def not_ready() -> Response | None:
        """Answer for an app that is still loading, or does not start, whatever is asked of it."""
        slug, _, rest = request.path.lstrip("/").partition("/")
        if slug not in mounts:
            return None
        return explain(mounts[slug], rest)

    return app


def explain(mount: Mount, path: str) -> Response:
    """Say that an app is loading, or why it does not start: a page, or JSON for programs."""
    stage = mount.stage
    if mount.is_loading:
        status, reason = "loading", "The app is still loading. Ask again in a moment."
    else:
        remedy = f"python3 -m workshop catch-up {stage.code} --fresh"
        status, reason = (
            "broken",
            f"The app does not start: {mount.problem}. {remedy} brings it back.",
        )
    if path == "healthz":
        response = make_response({"status": status, "reason": reason})
    elif path.startswith("api/"):
        problem = {"title": HTTP_STATUS_CODES[503], "status": 503, "detail": reason, "errors": []}
        response = Response(json.dumps(problem), content_type="application/problem+json")
    else:
        response = make_response(render_template("not_ready.html", mount=mount, stage=stage))
        if mount.is_loading:
            response.headers["Refresh"] = "1"
    response.status_code = 503
    if mount.is_loading:
        response.headers["Retry-After"] = "1"
    return response


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


def create_gallery() -> Application:
    """The landing page with every stage's app mounted at its address; the apps load in the background."""
    end_with_main_process()
    mounts: dict[str, Mount] = {}
    landing = guard(create_app(mounts).wsgi_app)
    for stage in stages_with_app():
        mounts[stage.slug] = Mount(stage, unmounted(landing))
    gallery = DispatcherMiddleware(landing, {f"/{slug}": app for slug, app in mounts.items()})
    if os.environ.get(BEHIND_PROXY) == "1":
        return ProxyFix(redirect_relatively(gallery), x_for=0, x_prefix=1)
    return behind_proxies(gallery)


def unmounted(application: Application) -> Application:
    """Undo what the dispatcher does to the address, so that `application` sees the whole path."""

    def answer(environ: dict, start_response: Callable) -> Iterable[bytes]:
        prefix, _, slug = environ["SCRIPT_NAME"].rpartition("/")
        path = f"/{slug}{environ['PATH_INFO']}"
        return application(environ | {"SCRIPT_NAME": prefix, "PATH_INFO": path}, start_response)

    return answer
