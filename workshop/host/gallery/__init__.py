"""The gallery: one server with the landing page at `/` and every stage's app at `/NN_name/`.

`create_gallery` makes the WSGI application that `python3 -m workshop start` serves.
"""

import os
import posixpath
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from flask import (
    Flask,
    Response,
    abort,
    make_response,
    redirect,
    render_template,
    request,
    send_from_directory,
    url_for,
)
from werkzeug.exceptions import HTTPException
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.urls import iri_to_uri
from werkzeug.wrappers import Request

from workshop.core.own_apps import own_apps
from workshop.core.progress import exercises_in, solved_of
from workshop.core.stages import STAGES, Stage, stages_with_app
from workshop.host.guard import Application, StartResponse, behind_proxies, guard, problem_json
from workshop.host.mount import Mount, state_of
from workshop.host.network import BEHIND_PROXY, LAB_PORT, LAB_TOKEN, PRESENT, ROOM, qr_as_svg
from workshop.host.ports import FOLDER, status_of
from workshop.host.server import end_with_main_process
from workshop.setup.process import ROOT

READ_ONCE = "*.py", "templates/**/*.html"  # an app's files that are read only when it starts
MOST_FOR_QR = 1000  # characters; phones can't scan the code of a longer address


@dataclass(frozen=True)
class Card:
    """What the landing page shows about a stage; `mount` is None if it has no app."""

    stage: Stage
    mount: Mount | None
    changed: bool
    solved: int  # number of exercises; 0 for visitors of somebody else's gallery

    @property
    def exercises(self) -> int:
        return len(exercises_in(self.stage))

    @property
    def is_up(self) -> bool:
        """Whether the app answers. A 503 counts, because that's how it reports a missing model."""
        return self.mount.app.test_client().get("/").status_code in (200, 503)


def create_app(mounts: dict[str, Mount]) -> Flask:
    """The landing page, and the page that is shown instead of an app that isn't ready."""
    app = Flask(__name__)
    at_start = {stage: state_of(stage.folder, *READ_ONCE) for stage in stages_with_app()}

    @app.get("/")
    def index() -> Response:
        for mount in mounts.values():
            mount.look()
        room, lab = os.environ.get(ROOM), lab_address(request)
        mine = lab or not room
        changed = {
            stage
            for stage, before in at_start.items()
            if state_of(stage.folder, *READ_ONCE) != before
        }
        page = make_response(
            render_template(
                "index.html",
                cards=[
                    Card(
                        each, mounts.get(each.slug), each in changed, solved_of(each) if mine else 0
                    )
                    for each in STAGES
                ],
                own_apps=[
                    (own, status_of(f"http://127.0.0.1:{own.port}/", 1)) for own in own_apps()
                ],
                lab=lab,
                present=bool(os.environ.get(PRESENT)),
                room=room,
                qr=qr_as_svg(room) if room else None,
            )
        )
        # A browser that restores this tab tomorrow must not show today's token and models.
        page.headers["Cache-Control"] = "no-store"
        return page

    @app.get("/healthz")
    def healthz() -> dict[str, object]:
        port = int(os.environ.get(LAB_PORT) or 0) or None
        return {"status": "ok", "service": "workshop", "folder": FOLDER, "lab_port": port}

    @app.get("/notebook/<slug>")
    def notebook(slug: str) -> Response:
        """Redirect to a stage's notebook in JupyterLab, or to its card for visitors without JupyterLab."""
        stage = next((each for each in STAGES if each.slug == slug), None) or abort(404)
        if not (lab := lab_address(request)):
            return redirect(f"{url_for('index')}#stage-{stage.code}")
        # If there are several, the one about the app.
        files = stage.notebook_files
        file = next((file for file in files if file.stem.endswith("_app")), files[0])
        return redirect(f"{lab[0]}/lab/tree/notebooks/{file.name}?token={lab[1]}")

    @app.get('/<any("cheat-sheet.html", "cheat-sheet.css"):name>')
    def cheat_sheet(name: str) -> Response:
        """The cheat sheet, which is also printed for each attendee."""
        return send_from_directory(ROOT / "docs", name)

    @app.get("/qr/<slug>.svg")
    def qr(slug: str) -> Response:
        """The QR code of an app's page: the app's address for the room, followed by `path`."""
        room = os.environ.get(ROOM)
        if not room or slug not in mounts:
            abort(404)
        url = iri_to_uri(f"{room}{slug}/{request.args.get('path', '').lstrip('/')}")
        if len(url) > MOST_FOR_QR:
            abort(414, "The address is too long for a QR code.")
        return Response(qr_as_svg(url), mimetype="image/svg+xml")

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> Response:
        response = error.get_response()
        response.data = render_template("error.html", error=error, stages=STAGES)
        return response

    @app.before_request
    def not_ready() -> Response | None:
        """Answer every request to an app that is still loading, or doesn't start."""
        slug, _, rest = request.path.lstrip("/").partition("/")
        return explain(mounts[slug], rest) if slug in mounts else None

    return app


def explain(mount: Mount, path: str) -> Response:
    """A page, or JSON for programs, that says that an app is loading, or why it doesn't start."""
    stage = mount.stage
    if mount.is_loading:
        status, reason = "loading", "The app is still loading. Try again in a moment."
    else:
        status = "broken"
        reason = (
            f"The app doesn't start: {mount.problem}. Fix that, or restore the app with: "
            f"python3 -m workshop catch-up {stage.code} --fresh"
        )
    if path == "healthz":
        response = make_response({"status": status, "reason": reason})
    elif path.startswith("api/"):
        problem = problem_json("503 Service Unavailable", reason)
        response = Response(problem, content_type="application/problem+json")
    else:
        response = make_response(render_template("not_ready.html", mount=mount, stage=stage))
        if mount.is_loading:
            response.headers["Refresh"] = "1"
    response.status_code = 503
    if mount.is_loading:
        response.headers["Retry-After"] = "1"
    return response


def lab_address(asked: Request) -> tuple[str, str] | None:
    """JupyterLab's address and token, only for requests from this machine; None for all others.

    The host name in the request must be local too: another site can point its own name to this machine and
    read the response (DNS rebinding), and through a forwarded port the address wouldn't work.
    """
    port, token = os.environ.get(LAB_PORT), os.environ.get(LAB_TOKEN)
    name = asked.host.rpartition(":")[0] or asked.host
    asked_here = name in ("127.0.0.1", "localhost", "[::1]")
    if not port or not asked_here or asked.remote_addr not in ("127.0.0.1", "::1"):
        return None
    if os.environ.get(BEHIND_PROXY) == "1":  # all requests seem to come from this machine
        return None
    return f"http://127.0.0.1:{port}", token


def ways(environ: dict[str, Any], slug: str) -> dict[str, str]:
    """URLs for a stage's app to link to, as entries in the WSGI environment.

    `workshop.gallery_url`   the landing page
    `workshop.notebook_url`  the stage's notebook; only for the person at this machine
    `workshop.room_url`      the app's address for the room, without a final slash; only if the room is open
    `workshop.qr_url`        the URL of a QR code, to which you append the percent-encoded path and query of
                             one of the app's pages; only if the room is open
    """
    root, room = environ.get("SCRIPT_NAME", ""), os.environ.get(ROOM)
    found = {"workshop.gallery_url": f"{root}/"}
    if lab_address(Request(environ)):
        found["workshop.notebook_url"] = f"{root}/notebook/{slug}"
    if room:
        found["workshop.room_url"] = f"{room}{slug}"
        found["workshop.qr_url"] = f"{root}/qr/{slug}.svg?path="
    return found


def redirect_relatively(application: Application) -> Application:
    """Make a WSGI application's redirects relative to the requested URL.

    Some proxies add their prefix to a redirect's path, and others don't; a relative redirect works with
    both.
    """

    def answer(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        asked = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")

        def start(status: str, headers: list[tuple[str, str]], *more: object) -> Any:
            found = [
                (name, relative_to(asked, value))
                if name.lower() == "location" and value.startswith("/")
                else (name, value)
                for name, value in headers
            ]
            return start_response(status, found, *more)

        return application(environ, start)

    return answer


def relative_to(asked: str, target: str) -> str:
    """The URL `target`, relative to the page at the path `asked`; both begin with a slash."""
    path, mark, query = target.partition("?")
    folder = asked.rpartition("/")[0] or "/"
    slash = "/" if path.endswith("/") else ""
    return posixpath.relpath(path, folder) + slash + mark + query


def create_gallery() -> Application:
    """The landing page and every stage's app, each created when it's first requested."""
    end_with_main_process()
    mounts = {stage.slug: Mount(stage, in_gallery=True) for stage in stages_with_app()}
    landing = guard(create_app(mounts).wsgi_app)

    def gallery(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        slug, slash, rest = environ.get("PATH_INFO", "")[1:].partition("/")
        mount = mounts.get(slug)
        if mount and mount.app is None:
            mount.look()
        if not mount or mount.app is None:
            return landing(environ, start_response)
        prefix = f"{environ.get('SCRIPT_NAME', '')}/{slug}"
        environ |= ways(environ, slug)
        environ.update(SCRIPT_NAME=prefix, PATH_INFO=slash + rest)
        return mount(environ, start_response)

    if os.environ.get(BEHIND_PROXY) == "1":
        return ProxyFix(redirect_relatively(gallery), x_for=0, x_prefix=1)
    return behind_proxies(gallery)
