"""Stage 06: a product. Prices with an interval, accounts, and predictions that are kept.

What this stage teaches: an app of several small files; a database whose tables are made by a
command; passwords, sessions and CSRF tokens; an API with tokens of its own, in which nobody sees
what belongs to others; and an answer that is given only once it is safely stored.

Run it in this folder: `flask --app app.py init-db` once, then `flask --app app.py run`.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from flask import Response, redirect, render_template, request, url_for
from flask_openapi import OpenAPI
from flask_wtf import CSRFProtect
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnection
from werkzeug.exceptions import HTTPException, ServiceUnavailable
from werkzeug.wrappers import Response as Redirect

from housing_accounts import accounts
from housing_api import INFO, SECURITY_SCHEMES, create_api, document
from housing_artifact import MODEL_FOLDER, TRAIN_COMMAND, ModelFile, ModelUnavailable
from housing_database import INIT_COMMAND, DatabaseUnavailable, init_engine, open_session
from housing_forms import DistrictForm, SaveForm, typical_district
from housing_guard import guard
from housing_key import secret_key
from housing_model import load
from housing_picture import california
from housing_problems import Problem, Refusal, asked_by_api, problem_details
from housing_saved import create_saved_pages, render_result
from housing_words import compass, dollars, plain

INSTANCE_FOLDER = Path(__file__).parent / "instance"  # the database and the secret key


def create_app(config: dict[str, Any] | None = None) -> OpenAPI:
    """Return the app. `config` overrides settings: MODEL_FOLDER, INSTANCE_FOLDER, DATABASE_URL ..."""
    instance = Path((config or {}).get("INSTANCE_FOLDER", INSTANCE_FOLDER)).resolve()
    app = OpenAPI(
        __name__,
        info=INFO,
        security_schemes=SECURITY_SCHEMES,
        validation_error_model=Problem,
        instance_path=str(instance),
    )
    app.openapi_version = "3.1.0"
    app.config.from_mapping(
        MODEL_FOLDER=MODEL_FOLDER,
        DATABASE_URL=os.environ.get("DATABASE_URL"),
        SECRET_KEY=os.environ.get("SECRET_KEY"),
        MAX_CONTENT_LENGTH=64 * 1024,
        SESSION_COOKIE_NAME="housing_session",  # the other stages' apps may live at the same address
        SESSION_COOKIE_SAMESITE="Lax",
        WTF_CSRF_TIME_LIMIT=None,  # a form that lay open over lunch is still good
        SWAGGER_CONFIG={"validatorUrl": None, "deepLinking": False},  # ask no other host
        SWAGGER_HTML_STRING='{% include "documentation.html" %}',
    )
    app.config.from_mapping(config)
    app.config["SECRET_KEY"] = app.config["SECRET_KEY"] or secret_key(app)
    guard(app, documentation="/openapi/")
    app.json.sort_keys = False
    for each in (dollars, plain, compass):
        app.add_template_filter(each)
    init_engine(app)
    csrf = CSRFProtect(app)
    model_file = ModelFile(app.config["MODEL_FOLDER"], load)
    # Without a model the app starts all the same; the log says why, and so does every page. One that
    # takes long to load goes on loading behind.
    with suppress(ModelUnavailable):
        model_file.get()

    @app.route("/home")
    @app.route("/")  # the lower decorator runs first, and url_for uses the first route
    def index() -> str:
        """The form, with a typical district filled in."""
        card = model_file.get().card
        form = DistrictForm(None, data=typical_district(card))
        return render_template("index.html", form=form, card=card, map=california())

    @app.route("/predict", methods=["GET", "POST"])
    def predict() -> str | tuple[str, int] | Redirect:
        """The answer as a page; or the form again, with what was typed and what is wrong."""
        model = model_file.get()
        if not request.values:
            return redirect(url_for("index"))
        form = DistrictForm(request.values)
        if not form.validate():
            return render_template("index.html", form=form, card=model.card, map=california()), 422
        return render_result(model, SaveForm(None, data=form.district))

    @app.route("/model")
    def model_card() -> str:
        """The card: what the model was trained on, and how well it did."""
        return render_template("model.html", card=model_file.get().card)

    @app.route("/healthz")
    def healthz() -> dict[str, str] | tuple[dict[str, str], int]:
        """For whatever watches over the app: can it answer, and can it keep the answers?"""
        try:
            model_file.get(patience=0.5)
            open_session()
        except (ModelUnavailable, DatabaseUnavailable) as problem:
            return {"status": problem.status, "reason": str(problem)}, 503
        return {"status": "ok"}

    api = csrf.exempt(create_api(model_file))  # a token in a header comes from no foreign page
    app.register_api(api)
    app.register_blueprint(accounts)
    app.register_blueprint(create_saved_pages(model_file))
    described = app.api_doc  # written by the library from the routes

    # The library's start page lists its documentation pages; there is one, so go there at once.
    app.view_functions["openapi.openapi"] = lambda: redirect(url_for("swagger.swagger"))
    app.view_functions["openapi.doc_url"] = lambda: document(described, request.script_root)

    @app.after_request
    def keep_private(response: Response) -> Response:
        """After the log-out, nobody finds pages in the browser by going back."""
        if request.blueprint in ("accounts", "saved", "api"):
            response.headers["Cache-Control"] = "no-store"
        return response

    @app.errorhandler(Refusal)
    def refused(error: Refusal) -> Response:
        return problem_details(error.status, error.detail, error.errors)

    @app.errorhandler(ModelUnavailable)
    @app.errorhandler(DatabaseUnavailable)
    def not_ready(error: ModelUnavailable | DatabaseUnavailable) -> Response | tuple[str, int]:
        if asked_by_api():
            return problem_details(503, str(error))
        missing = "model" if isinstance(error, ModelUnavailable) else "database"
        command = {"model": TRAIN_COMMAND, "database": INIT_COMMAND}[missing]
        return render_template("not_ready.html", error=error, missing=missing, command=command), 503

    @app.errorhandler(OperationalError)
    @app.errorhandler(InterfaceError)
    @app.errorhandler(NoConnection)
    def database_busy(error: Exception) -> Response:
        app.logger.error("The database does not answer: %s", error)
        return http_error(
            ServiceUnavailable("The database does not answer. Try again.", retry_after=5)
        )

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> Response:
        """Every error, a crash (500) included: JSON for the API, a page for people."""
        response = error.get_response()  # keeps headers such as the Allow of a 405
        if asked_by_api():
            details = problem_details(error.code, error.description)
            response.data, response.content_type = details.data, details.content_type
        else:
            response.data = render_template("error.html", error=error)
        return response

    return app
