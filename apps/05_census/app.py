"""Stage 05: a model of real data, behind a page and an API that others can build on.

What this stage teaches: a form whose choices come from the model; a URL for each prediction, so that it can
be shared; an explanation that adds up to the prediction; a versioned API, for one person and for
thousands; and a document that describes it (OpenAPI), with a page to try it.

Run it in this folder with `flask --app app.py run`.
"""

import json
from pathlib import Path
from typing import Any

from flask import Response, jsonify, redirect, render_template, request, url_for
from flask_openapi import OpenAPI
from werkzeug.exceptions import HTTPException
from werkzeug.http import HTTP_STATUS_CODES

from census_api import INFO, PROBLEM_JSON, Problem, check_values, complete, create_api
from census_csv import score_file, write_csv
from census_decisions import LINES, decide
from census_forms import PersonForm, Refusal, spell_out
from census_model import MODEL_FOLDER, ModelUnavailable, load
from census_picture import bars, curves, gauge
from census_weights import sigmoid

BODY_LIMIT = 8 * 1024 * 1024  # bytes: 10,000 people as JSON, generously spaced, take about 4 MB
MOST_ERRORS = 1000  # listed in one answer


def create_app(config: dict[str, Any] | None = None) -> OpenAPI:
    """Return the app. `config` overrides settings, such as MODEL_FOLDER in a test."""
    app = OpenAPI(__name__, info=INFO, validation_error_model=Problem)
    app.openapi_version = "3.1.0"
    app.config.from_mapping(
        MODEL_FOLDER=MODEL_FOLDER,
        MAX_CONTENT_LENGTH=BODY_LIMIT,
        SWAGGER_CONFIG={"validatorUrl": None, "deepLinking": False},  # contact no other host
        SWAGGER_HTML_STRING='{% include "documentation.html" %}',
    )
    app.config.from_mapping(config)
    app.json.sort_keys = False
    app.add_template_global(app.info, "api")  # for the page that documents it
    app.add_template_filter(percent)
    app.add_template_filter(spell_out)
    app.register_error_handler(HTTPException, http_error)
    try:
        model, problem = load(Path(app.config["MODEL_FOLDER"])), None
    except ModelUnavailable as error:
        app.logger.warning("%s", error, exc_info=error.__cause__)
        model, problem = None, error

    # `app.get` would list a route in the API's document; `app.route` keeps pages out of it.
    @app.route("/home")
    @app.route("/")  # the lower decorator runs first, and url_for uses the first route
    def index() -> str:
        """The form, with a typical person filled in."""
        return render_template("index.html", form=PersonForm(model.card, None, data=model.typical))

    @app.route("/probability")
    def probability() -> str | tuple[str, int]:
        """The prediction as a page; or the form again, with the input and its errors."""
        form = PersonForm(model.card, request.args)
        if not form.validate():
            return render_template("index.html", form=form), 422
        person = form.person
        answer = model.answer(person)
        compare = request.args.get("compare") == "sex"
        return render_template(
            "result.html",
            form=form,
            person=person,
            probability=answer.probability,
            others=model.probability_by_sex(person) if compare else {},
            start=sigmoid(model.card["intercept"]),
            gauge=gauge(answer.probability),
            bars=bars(answer.contributions),
            curves=curves(model, person),
            card=model.card,
            question=json.dumps(person),
            reply=json.dumps(vars(answer) | {"model_version": model.version}, indent=1),
        )

    @app.route("/table", methods=["GET", "POST"])
    def table() -> str | Response | tuple[str, int]:
        """Many people in a CSV file: the first answers as a page, or all of them as a file."""
        if request.method != "POST":
            return render_template("table.html")
        # Another kind of form, if it were as long as a file may be, would take seconds to read.
        is_file = request.mimetype == "multipart/form-data"
        sent = request.files.get("people") if is_file else None
        try:
            if not sent:
                raise Refusal(422, "Choose a CSV file first.")
            body = check_values(sent.read(), "text/csv")
            rows, answers, errors = score_file(model, body)
        except Refusal as refusal:
            return render_template("table.html", refusal=refusal), refusal.code
        if "save" in request.args:
            name = {"Content-Disposition": "attachment; filename=predictions.csv"}
            return Response(write_csv(rows, answers), mimetype="text/csv", headers=name)
        return render_template("table.html", rows=rows, answers=answers, errors=errors)

    @app.route("/model")
    def model_card() -> str:
        """The card: what the model was trained on, and how well it does with the line at `?line=`."""
        line = request.args.get("line", 50, type=int)
        line = min(max(line, LINES[0]), LINES[-1])
        decisions = decide(model.card["metrics"]["decisions"], line)
        return render_template("model.html", card=model.card, line=line, decisions=decisions)

    @app.route("/healthz")
    def healthz() -> dict[str, str]:
        """The health check: can the app answer?"""
        return {"status": "ok"}

    @app.before_request
    def no_model() -> Response | tuple[str | dict[str, str], int] | None:
        """Without a model, answer 503 everywhere, with the reason and what to do."""
        if problem is None or request.endpoint == "static":
            return None  # go on to the view
        if request.blueprint in ("openapi", "swagger"):
            return None  # the documentation doesn't need a model
        if request.endpoint == "healthz":
            return {"status": "unavailable", "reason": str(problem)}, 503
        if asked_by_api():
            return problem_details(503, str(problem))
        return render_template("no_model.html", error=problem), 503

    app.register_api(create_api(model))
    document = app.api_doc  # the library has written it from the routes
    complete(document, model)

    # The library's start page lists its documentation pages; there is only one, so go there.
    app.view_functions["openapi.openapi"] = lambda: redirect(url_for("swagger.swagger"))
    app.view_functions["openapi.doc_url"] = lambda: (
        document | {"servers": [{"url": request.script_root or "/"}]}
    )
    return app


def http_error(error: HTTPException) -> Response:
    """Return any error, including a crash (500): as JSON for the API, as a page for people."""
    response = error.get_response()  # which has headers such as the Allow of a 405
    if asked_by_api():
        details = problem_details(error.code, error.description, getattr(error, "errors", ()))
        response.data, response.content_type = details.data, details.content_type
    else:
        response.data = render_template("error.html", error=error)
    return response


def asked_by_api() -> bool:
    """Return whether the current request is one for the JSON API."""
    return request.path.startswith("/api/")


def problem_details(status: int, detail: str, errors: list | tuple = ()) -> Response:
    """Return an error as RFC 9457 problem details. If a long list of errors is cut, the detail says so."""
    if len(errors) > MOST_ERRORS:
        detail += f" These are the first {MOST_ERRORS:,} of {len(errors):,} errors."
    title = HTTP_STATUS_CODES[status]
    response = jsonify(title=title, status=status, detail=detail, errors=errors[:MOST_ERRORS])
    response.status_code = status
    response.content_type = PROBLEM_JSON
    return response


def percent(share: float) -> str:
    """Return a share for people: `23.4%`."""
    return f"{share:.1%}"
