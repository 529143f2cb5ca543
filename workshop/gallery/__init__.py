"""The gallery: one server with the landing page at `/` and every stage's app at `/NN_name/`.

`create_gallery` gives the WSGI application that `python3 -m workshop start` serves.
"""

import os
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from flask import Flask, Response, make_response, render_template, request
from werkzeug.exceptions import HTTPException
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from workshop.running import FOLDER
from workshop.stages import STAGES, Stage, load_app_module, stages_with_app

LAB_PORT = "WORKSHOP_LAB_PORT"
LAB_TOKEN = "WORKSHOP_LAB_TOKEN"  # noqa: S105 (the name of the variable that holds it)


@dataclass(frozen=True)
class Card:
    """What the landing page shows of a stage. `trained` is None where there is nothing to train."""

    stage: Stage
    trained: bool | None
    problem: str | None


def load_apps() -> tuple[dict[str, Flask], dict[str, str]]:
    """Every stage's app by slug, and for those that do not start the last line of the error."""
    apps, problems = {}, {}
    for stage in stages_with_app():
        try:
            apps[stage.slug] = load_app_module(stage.slug).create_app()
        except Exception as error:  # noqa: BLE001 (one broken app must not take the others along)
            traceback.print_exc()
            problems[stage.slug] = traceback.format_exception_only(error)[-1].strip()
    return apps, problems


def is_trained(app: Flask) -> bool:
    """Whether a stage's app has its model, as its own page about the model says."""
    return app.test_client().get("/model").status_code == 200


def create_app(apps: dict[str, Flask], problems: dict[str, str]) -> Flask:
    """The landing page alone."""
    app = Flask(__name__)

    @app.get("/")
    def index() -> Response:
        cards = [
            Card(
                stage,
                is_trained(apps[stage.slug]) if stage.model and stage.slug in apps else None,
                problems.get(stage.slug),
            )
            for stage in STAGES
        ]
        page = make_response(render_template("index.html", cards=cards, lab=lab_address()))
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
    return f"http://127.0.0.1:{port}/lab/tree", token


def create_gallery() -> Callable:
    """The landing page with every stage's app mounted at its address."""
    apps, problems = load_apps()
    gallery = create_app(apps, problems)
    gallery.wsgi_app = DispatcherMiddleware(
        gallery.wsgi_app, {f"/{slug}": app for slug, app in apps.items()}
    )
    return gallery
