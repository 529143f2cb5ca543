"""Stage 06: a product. Prices with an interval, accounts, and predictions that are saved.

What this stage teaches: an app in several small files; a database whose tables a command creates;
passwords, sessions and CSRF tokens; an API with its own tokens, in which nobody sees what belongs to
others; and a response that is sent only once the data is safely stored.

Run it in this folder: `flask --app app.py init-db` once, then `flask --app app.py run`.
"""

import json
import logging
import math
import os
from pathlib import Path
from typing import Any

from flask import (
    Response,
    current_app,
    flash,
    g,
    jsonify,
    make_response,
    redirect,
    render_template,
    request,
    session,
    url_for,
)
from flask.typing import ResponseReturnValue as Page
from flask_openapi import OpenAPI
from flask_wtf import CSRFProtect
from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.exceptions import Conflict, HTTPException
from werkzeug.http import HTTP_STATUS_CODES

from housing_accounts import accounts
from housing_api import DOCUMENT, PROBLEM_JSON, create_api
from housing_database import SEEN, DatabaseUnavailable, cause, db, explain, init_engine, look_soon
from housing_forms import LABELS, DistrictForm, SaveForm
from housing_guard import guard
from housing_key import secret_key
from housing_login import current_account, init_login, login_required
from housing_model import FEATURES, MODEL_FOLDER, UNITS, HousingModel, ModelUnavailable, load
from housing_picture import california, curve_picture, distribution
from housing_saved import pages, save

INSTANCE_FOLDER = Path(__file__).parent / "instance"  # the database and the secret key
log = logging.getLogger(__name__)


def create_app(config: dict[str, Any] | None = None) -> OpenAPI:
    """Return the app. `config` overrides settings: MODEL_FOLDER, INSTANCE_FOLDER, DATABASE_URL ..."""
    instance = Path((config or {}).get("INSTANCE_FOLDER", INSTANCE_FOLDER)).resolve()
    app = OpenAPI(__name__, instance_path=str(instance), **DOCUMENT)
    app.openapi_version = "3.1.0"
    app.config.from_mapping(
        MODEL_FOLDER=MODEL_FOLDER,
        DATABASE_URL=os.environ.get("DATABASE_URL"),
        MAX_CONTENT_LENGTH=64 * 1024,
        SESSION_COOKIE_NAME="housing_session",  # other stages' apps may be at the same address
        SESSION_COOKIE_SAMESITE="Lax",
        # Behind a proxy, visitors use https, and the cookie must not be sent any other way.
        SESSION_COOKIE_SECURE=os.environ.get("TRUSTED_PROXIES", "0") not in ("", "0"),
        WTF_CSRF_TIME_LIMIT=None,  # a form left open over lunch still works
        RATELIMIT_STORAGE_URI="memory://",  # or Redis, so that several servers share their counts
        SWAGGER_CONFIG={"validatorUrl": None, "deepLinking": False},  # contact no other host
        SWAGGER_HTML_STRING='{% include "documentation.html" %}',
    )
    app.config.from_mapping(config)
    app.secret_key = app.secret_key or secret_key(app)
    app.json.sort_keys = False
    app.jinja_env.filters.update(dollars=dollars, plain=plain, compass=compass, spoken=spoken)
    app.add_template_global(app.info, "api")  # for the page that documents it
    guard(app)
    init_engine(app)
    init_login(app)
    csrf = CSRFProtect(app)
    app.register_error_handler(HTTPException, http_error)
    app.register_error_handler(ValidationError, refuse)
    app.register_error_handler(DatabaseUnavailable, no_database)
    app.register_error_handler(SQLAlchemyError, no_database)
    try:
        model, problem = load(Path(app.config["MODEL_FOLDER"])), None
    except ModelUnavailable as error:
        app.logger.warning("%s", error, exc_info=error.__cause__)
        model, problem = None, error

    app.config["CARD"] = model.card if model else None  # for the map of a saved prediction

    # `app.get` and `app.post` would put a route into the API's document; these are pages.
    @app.route("/home")
    @app.route("/")  # the lower decorator runs first, and url_for uses the first route
    def index() -> str:
        """The form, with a typical district filled in."""
        typical = {name: plain(number) for name, number in model.typical.items()}
        return show_form(model, DistrictForm(None, data=typical))

    @app.route("/predict", methods=["GET", "POST"])
    def predict() -> Page:
        """The prediction as a page; or the form again, with the input and its errors."""
        if not request.values:
            return redirect(url_for("index"))
        form = DistrictForm(request.values)
        if not form.validate():
            return show_form(model, form), 422
        shown = form.district | {"over": form.over.data}
        return show_answer(model, SaveForm(None, data=shown))

    @app.route("/saved", methods=["POST"])
    @login_required
    def save_answer() -> Page:
        """Save the prediction on the page; or show that page again, with what went wrong."""
        form = SaveForm(request.form)
        if not form.validate():
            show = show_answer if form.errors.keys() == {"name"} else show_form
            return show(model, form), 422
        changed = "The model has been trained again. Check the new prediction, then save it."
        try:
            if form.model_version.data not in ("", None, model.version):
                raise Conflict(changed)
            saved = save(current_account().id, form.name.data, form.district, model)
        except HTTPException as refused:  # the account may also be full, or gone
            form.name.errors = [refused.description]
            return show_answer(model, form), 422
        flash(f"Saved “{saved.name}”.")
        return redirect(url_for("saved.list_page"), 303)

    @app.route("/model")
    def model_card() -> str:
        """The card: what the model was trained on, and how well it does."""
        return render_template("model.html", card=model.card)

    @app.route("/healthz")
    def healthz() -> dict[str, str]:
        """The health check: can the app predict, and can it save predictions?"""
        look_soon()
        return {"status": "ok"}

    @app.before_request
    def remember_whose() -> None:
        """Note whether this page names an account: in the menu, or in a message from the previous page."""
        g.private = request.endpoint != "static" and bool({"username", "_flashes"} & session.keys())

    @app.before_request
    def no_model() -> Page | None:
        """Without a model, answer 503 everywhere, with the reason and what to do."""
        if problem and request.endpoint != "static":
            return unavailable(problem, "no_model.html")
        return None

    @app.after_request
    def keep_private(response: Response) -> Response:
        """Keep browsers from caching an account's pages: after logout, nobody can go back to them."""
        if g.get("private", True) or request.blueprint in ("accounts", "saved", "api"):
            response.headers["Cache-Control"] = "no-store"
        return response

    # Another site's page can't send a token in a header, so the API doesn't need a CSRF token.
    app.register_api(csrf.exempt(create_api(model)))
    app.register_blueprint(accounts)
    app.register_blueprint(pages)
    document, views = app.api_doc, app.view_functions  # which the library wrote from the routes
    views["openapi.doc_url"] = lambda: document | {"servers": [{"url": request.script_root or "/"}]}
    # The library's start page lists its documentation pages. There is only one, so go there.
    views["openapi.openapi"] = lambda: redirect(url_for("swagger.swagger"))
    return app


def show_form(model: HousingModel, form: DistrictForm) -> str:
    """Return the page with the form."""
    return render_template("index.html", form=form, card=model.card, map=california(model.card))


def show_answer(model: HousingModel, form: SaveForm) -> str:
    """Return the page with the prediction for a valid form."""
    district, over = form.district, form.over.data
    form.model_version.data = model.version
    answer = model.answer(district)
    address = url_for("predict", **district, **({} if over == FEATURES[0] else {"over": over}))
    prices = {"price_usd": answer.price_usd, "interval_usd": answer.interval_usd}
    return render_template(
        "result.html",
        form=form,
        district=district,
        labels=LABELS,
        answer=answer,
        card=model.card,
        map=california(model.card, district),
        distribution=distribution(
            model.card["prices"], (answer.low_usd, answer.price_usd, answer.high_usd)
        ),
        curve=curve_picture(model.curve(district, over), district[over]),
        address=address,
        page=address.removeprefix(request.script_root),  # for the QR code of the room's address
        question=json.dumps(district),
        reply=json.dumps(prices | {"model_version": answer.model_version}, indent=2),
    )


def http_error(error: HTTPException) -> Response:
    """Return any error, including a crash (500): as JSON for the API, as a page for people."""
    response = error.get_response()  # which has headers such as the Allow of a 405
    if asked_by_api():
        details = problem_details(error.code, error.description)
        response.data, response.content_type = details.data, details.content_type
    else:
        response.data = render_template("error.html", error=error)
    return response


def unavailable(error: DatabaseUnavailable | ModelUnavailable, page: str) -> Page:
    """Return the 503 for a missing database or model, with what to do."""
    if request.endpoint == "healthz":
        return {"status": "unavailable", "reason": str(error)}, 503
    if asked_by_api():
        return problem_details(503, str(error))
    return render_template(page, error=error), 503


def no_database(error: DatabaseUnavailable | SQLAlchemyError) -> Response:
    """Return the 503 for a database that can't be used, with what to do. The log has the cause."""
    reason = error.__cause__
    if isinstance(error, SQLAlchemyError):
        current_app.extensions.pop(SEEN, None)  # the next request looks again
        reason, error = error, explain(error, db.engine)
    log.error("%s%s", error, f" ({cause(reason)})" if reason else "")
    response = make_response(unavailable(error, "no_database.html"))
    response.headers["Retry-After"] = "5"
    return response


def refuse(invalid: ValidationError) -> Response:
    """Return what is wrong with a body: 400 if it isn't JSON, else 422, field by field."""
    found = invalid.errors(include_url=False, include_context=False)
    if found[0]["type"] == "json_invalid":
        return problem_details(*explain_bad_json(found[0]["input"], found[0]["msg"]))
    errors = []
    for each in found:
        message = each["msg"].removeprefix("Value error, ")  # pydantic's, before our own words
        value = each["input"]
        if isinstance(value, float) and not math.isfinite(value):  # JSON itself has no such number
            message = f"{json.dumps(value)} is not a value; send a number with digits."
        errors.append({"field": ".".join(map(str, each["loc"])) or "body", "message": message})
    return problem_details(422, "The body is not what this address takes; see errors.", errors)


def explain_bad_json(body: bytes, message: str) -> tuple[int, str]:
    """Return the status for a body that isn't JSON, and what it seems to be, or the parser's `message`."""
    encoding = json.detect_encoding(body)
    if request.content_encoding or body.startswith(b"\x1f\x8b"):  # gzip begins like this
        return 415, "The body is compressed. Send it as it is, with no Content-Encoding."
    if encoding == "utf-8-sig":
        return 400, "The JSON begins with a byte-order mark. Send it without one."
    if encoding != "utf-8":
        return 400, f"The JSON is {encoding.upper()}. Send it as UTF-8."
    return 400, f"{message}."


def asked_by_api() -> bool:
    """Return whether the current request is one for the JSON API."""
    return request.path.startswith("/api/")


def problem_details(status: int, detail: str, errors: list | tuple = ()) -> Response:
    """Return an error as RFC 9457 problem details, `application/problem+json`."""
    title = HTTP_STATUS_CODES[status]
    response = jsonify(title=title, status=status, detail=detail, errors=errors)
    response.status_code, response.content_type = status, PROBLEM_JSON
    return response


def dollars(amount: float) -> str:
    """Return an amount for people: `$206,900`."""
    return f"${amount:,.0f}"


def plain(number: float) -> str:
    """Return a number for people, with at most two decimals: `5.23`, `1167`."""
    return f"{number:.2f}".rstrip("0").rstrip(".")


def spoken(number: float, feature: str) -> str:
    """Return a feature's number as people say it: `$35,400 a year`, `1.05 bedrooms per household`."""
    if feature == "median_income":
        return f"{dollars(10_000 * number)} a year"
    return f"{plain(number)} {UNITS[feature]}"


def compass(place: tuple[float, float]) -> str:
    """Return latitude and longitude for people: `34.05° N, 118.24° W`."""
    return f"{place[0]:.2f}° N, {-place[1]:.2f}° W"
