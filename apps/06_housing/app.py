"""Stage 06: a product. Prices with an interval, accounts, and predictions that are saved.

What this stage teaches: an app of several small files; a database whose tables are made by a command;
passwords, sessions and CSRF tokens; an API with tokens of its own, in which nobody sees what belongs to
others; and an answer that is given only once it is safely stored.

Run it in this folder: `flask --app app.py init-db` once, then `flask --app app.py run`.
"""

import json
import os
from pathlib import Path
from typing import Any

from flask import (
    Response,
    current_app,
    flash,
    jsonify,
    redirect,
    render_template,
    request,
    session,
    url_for,
)
from flask_openapi import OpenAPI
from flask_wtf import CSRFProtect
from pydantic import ValidationError
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnection
from werkzeug.exceptions import HTTPException, ServiceUnavailable
from werkzeug.http import HTTP_STATUS_CODES
from werkzeug.wrappers import Response as Redirect

from housing_accounts import accounts
from housing_api import INFO, PROBLEM_JSON, SECURITY_SCHEMES, Problem, create_api, document
from housing_database import DatabaseUnavailable, init_engine, open_session
from housing_forms import DistrictForm, SaveForm
from housing_guard import guard
from housing_key import secret_key
from housing_login import current_account, limiter, login_required
from housing_model import MODEL_FOLDER, HousingModel, ModelUnavailable, load
from housing_picture import california
from housing_saved import pages, save

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
        SESSION_COOKIE_NAME="housing_session",  # other stages' apps may be at the same address
        SESSION_COOKIE_SAMESITE="Lax",
        WTF_CSRF_TIME_LIMIT=None,  # a form left open over lunch still works
        RATELIMIT_STORAGE_URI="memory://",  # or Redis, for several servers that count together
        SWAGGER_CONFIG={"validatorUrl": None, "deepLinking": False},  # ask no other host
        SWAGGER_HTML_STRING='{% include "documentation.html" %}',
    )
    app.config.from_mapping(config)
    app.config["SECRET_KEY"] = app.config["SECRET_KEY"] or secret_key(app)
    app.json.sort_keys = False
    for each in (dollars, plain, compass):
        app.add_template_filter(each)
    guard(app)
    init_engine(app)
    limiter.init_app(app)
    csrf = CSRFProtect(app)
    for kind, handler in HANDLERS.items():
        app.register_error_handler(kind, handler)
    try:
        model, problem = load(Path(app.config["MODEL_FOLDER"])), None
    except ModelUnavailable as error:
        app.logger.warning("%s", error, exc_info=error.__cause__)
        model, problem = None, error

    # `app.get` and `app.post` would put a route into the API's document; these are pages.
    @app.route("/home")
    @app.route("/")  # the lower decorator runs first, and url_for uses the first route
    def index() -> str:
        """The form, with a typical district filled in."""
        return show_form(model, DistrictForm(None, data=model.typical))

    @app.route("/predict", methods=["GET", "POST"])
    def predict() -> str | tuple[str, int] | Redirect:
        """The prediction as a page; or the form again, with what was typed and what is wrong."""
        if not request.values:
            return redirect(url_for("index"))
        form = DistrictForm(request.values)
        if not form.validate():
            return show_form(model, form), 422
        return show_answer(model, SaveForm(None, data=form.district))

    @app.route("/saved", methods=["POST"])
    @login_required
    def save_answer() -> str | tuple[str, int] | Redirect:
        """Save the answer that the page has shown; or show that page again, and what is wrong."""
        form = SaveForm(request.form)
        valid = form.validate()
        if not valid and form.errors.keys() != {"name"}:
            return show_form(model, form), 422
        if valid and form.model_version.data not in ("", None, model.version):
            form.name.errors = [
                "The model has been trained again. Look at its new answer, then save."
            ]
        elif valid:
            try:
                saved = save(current_account().id, form.name.data, form.district, model)
            except HTTPException as refused:  # the account is full, or gone
                form.name.errors = [refused.description]
            else:
                flash(f"Saved “{saved.name}”.")
                return redirect(url_for("saved.list_page"), 303)
        return show_answer(model, form), 422

    @app.route("/model")
    def model_card() -> str:
        """The card: what the model was trained on, and how well it does."""
        return render_template("model.html", card=model.card)

    @app.route("/healthz")
    def healthz() -> dict[str, str] | tuple[dict[str, str], int]:
        """For whatever watches over the app: can it answer, and can it save the answers?"""
        try:
            open_session()
        except DatabaseUnavailable as error:
            return {"status": "unavailable", "reason": str(error)}, 503
        return {"status": "ok"}

    api = csrf.exempt(
        create_api(model)
    )  # a token in a header never comes from somebody else's page
    app.register_api(api)
    app.register_blueprint(accounts)
    app.register_blueprint(pages)
    described = app.api_doc  # written by the library from the routes
    # The library's start page lists its documentation pages. There is only one, so go there.
    app.view_functions["openapi.openapi"] = lambda: redirect(url_for("swagger.swagger"))
    app.view_functions["openapi.doc_url"] = lambda: document(described, request.script_root)

    @app.before_request
    def no_model() -> Response | tuple[str | dict[str, str], int] | None:
        """Without a model, answer 503 everywhere, with the reason and what to do."""
        if problem is None or request.endpoint == "static":
            return None  # go on to the view
        if request.endpoint == "healthz":
            return {"status": "unavailable", "reason": str(problem)}, 503
        if asked_by_api():
            return problem_details(503, str(problem))
        return render_template("no_model.html", error=problem), 503

    @app.after_request
    def keep_private(response: Response) -> Response:
        """Let no browser keep pages of an account: after logging out, nobody can go back to them."""
        private = request.blueprint in ("accounts", "saved", "api") or "username" in session
        if private and request.endpoint != "static":
            response.headers["Cache-Control"] = "no-store"
        return response

    return app


def show_form(model: HousingModel, form: DistrictForm) -> str:
    """Return the page with the form."""
    return render_template("index.html", form=form, card=model.card, map=california())


def show_answer(model: HousingModel, form: SaveForm) -> str:
    """Return the page with the model's answer to a valid form."""
    district = form.district
    form.model_version.data = model.version
    return render_template(
        "result.html",
        form=form,
        district=district,
        answer=model.answer(district),
        card=model.card,
        map=california(district),
        address=url_for("predict", **district),
        question=json.dumps(district),
    )


def http_error(error: HTTPException) -> Response:
    """Return every error, a crash (500) included: as JSON for the API, as a page for people."""
    response = error.get_response()  # keeps headers such as the Allow of a 405
    if asked_by_api():
        details = problem_details(error.code, error.description)
        response.data, response.content_type = details.data, details.content_type
    else:
        response.data = render_template("error.html", error=error)
    return response


def no_database(error: DatabaseUnavailable) -> Response | tuple[str, int]:
    """Return why there is no database, and the command that makes it."""
    if asked_by_api():
        return problem_details(503, str(error))
    return render_template("no_database.html", error=error), 503


def database_busy(error: Exception) -> Response:
    """Return that the database doesn't answer. The log has the reason."""
    current_app.logger.error("The database does not answer: %s", error)
    return http_error(ServiceUnavailable("The database does not answer. Try again.", retry_after=5))


def refuse(invalid: ValidationError) -> Response:
    """Return what is wrong with a body: 400 if it isn't JSON, else 422, field by field."""
    found = invalid.errors(include_url=False, include_context=False, include_input=False)
    if found[0]["type"] == "json_invalid":
        return problem_details(400, f"{found[0]['msg']}.")
    errors = [
        {
            "field": ".".join(map(str, each["loc"])) or "body",
            "message": each["msg"].removeprefix(
                "Value error, "
            ),  # pydantic's, before our own words
        }
        for each in found
    ]
    return problem_details(422, "The body is not what this address takes; see errors.", errors)


HANDLERS = {
    HTTPException: http_error,
    DatabaseUnavailable: no_database,
    ValidationError: refuse,
    **dict.fromkeys((OperationalError, InterfaceError, NoConnection), database_busy),
}


def asked_by_api() -> bool:
    """Return whether the current request is one for the JSON API."""
    return request.path.startswith("/api/")


def problem_details(status: int, detail: str, errors: list | tuple = ()) -> Response:
    """Return an error in the form of RFC 9457, `application/problem+json`."""
    title = HTTP_STATUS_CODES[status]
    response = jsonify(title=title, status=status, detail=detail, errors=errors)
    response.status_code = status
    response.content_type = PROBLEM_JSON
    return response


def dollars(amount: float) -> str:
    """Return an amount for people: `$206,900`."""
    return f"${amount:,.0f}"


def plain(number: float) -> str:
    """Return a number for people, with at most two decimals: `5.23`, `1167`."""
    return f"{number:.2f}".rstrip("0").rstrip(".")


def compass(place: tuple[float, float]) -> str:
    """Return latitude and longitude for people: `34.05° N, 118.24° W`."""
    return f"{place[0]:.2f}° N, {-place[1]:.2f}° W"
