"""Stage 07: your own table as a web app, with a form, an API and a card.

What this stage teaches: everything a visitor sees is made from the model's card, so this file works for any
table. Run it in this folder with `flask --app app.py run`; wsgi.py serves it to others.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from flask import Flask, Response, abort, jsonify, redirect, render_template, request, url_for
from pydantic_core import from_json
from werkzeug.exceptions import HTTPException
from werkzeug.http import HTTP_STATUS_CODES

from guard import guard
from log import open_log, write
from model import MODEL_FOLDER, TRAIN, Answer, ModelUnavailable, Refusal, load, plain
from picture import curve

MOST_ROWS, MOST_ERRORS = 1000, 100  # in one call of the API, and in its answer


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """Return the app. `config` overrides settings, such as MODEL_FOLDER in a test."""
    app = Flask(__name__)
    app.config.from_mapping(MODEL_FOLDER=MODEL_FOLDER, MAX_CONTENT_LENGTH=1024 * 1024)
    app.config.from_mapping(config)
    app.json.sort_keys = False
    app.jinja_env.filters.update(plain=plain, percent=percent)
    app.register_error_handler(HTTPException, http_error)
    guard(app)
    try:
        model = load(app.config["MODEL_FOLDER"])
    except ModelUnavailable as problem:
        app.logger.error("%s", problem)
        return without_model(app, problem)
    log = open_log(app.config.get("PREDICTION_LOG"))
    app.jinja_env.globals.update(model=model, card=model.card)

    def answer(rows: Sequence[Mapping[str, Any]]) -> list[Answer]:
        """Return the predictions, and write each one to the log."""
        answers = model.answer(rows)
        for row, each in zip(rows, answers, strict=True):
            write(log, row, each)
        return answers

    @app.get("/")
    def index() -> str:
        """The form, filled in with typical values from the table."""
        return render_template("index.html", typed=model.typical, errors={})

    @app.route("/predict", methods=["GET", "POST"])
    def predict_form() -> Response | str | tuple[str, int]:
        """The prediction, next to the filled-in form; or what is wrong, field by field.

        The row is in the address too, so that a prediction can be reloaded and shared.
        """
        if request.method == "GET" and not request.args:
            return redirect(url_for("index"))
        sent = {f"f{i}": request.values.get(f"f{i}", "") for i in range(len(model.features))}
        typed = dict(zip(model.typical, sent.values(), strict=True))
        try:
            row = model.read(typed)
            # Only a question that is sent gets into the log, not an address that is opened again.
            [found] = answer([row]) if request.method == "POST" else model.answer([row])
        except Refusal as refusal:
            errors = {each["field"]: each["message"] for each in refusal.errors}
            return render_template("index.html", typed=typed, errors=errors), 422
        first = next((i for i, x in enumerate(model.features) if x["kind"] == "number"), 0)
        over = request.values.get("over")  # the field that the picture goes over
        over = over if over in sent else f"f{first}"
        shown = {"typed": typed, "errors": {}, "answer": found, "address": sent | {"over": over}}
        shown["curve"] = curve(model, row, list(sent).index(over), found)
        shown |= {"question": for_terminals(row), "reply": json.dumps(asdict(found), indent=1)}
        return render_template("index.html", **shown)

    @app.get("/model")
    def model_card() -> str:
        """The card: what the model was trained on, and how good it is."""
        return render_template("model.html")

    @app.get("/docs")
    def api_docs() -> str:
        """How programs use the API."""
        return render_template("docs.html", question=for_terminals(model.typical))

    @app.get("/healthz")
    def healthz() -> dict[str, str]:
        """The health check: can the app answer?"""
        return {"status": "ok"}

    @app.post("/api/v1/predictions")
    def predict() -> dict[str, Any]:
        """The prediction for one row, or, for a list of rows, a list of predictions in the same order."""
        body = read_json()
        rows, errors = body if isinstance(body, list) else [body], []
        if not 0 < len(rows) <= MOST_ROWS:
            abort(422, f"Send between 1 and {MOST_ROWS:,} rows in one call.")
        for index, row in enumerate(rows):
            try:
                rows[index] = model.read(row)
            except Refusal as refusal:
                errors += [{"index": index, **each} for each in refusal.errors]
        if errors:
            raise Refusal(*errors)
        found = [asdict(each) for each in answer(rows)]
        several = {"predictions": found, "model_version": model.version}
        return several if isinstance(body, list) else found[0]

    @app.get("/api/v1/model")
    def card_as_json() -> dict[str, Any]:
        """The card, for programs."""
        return {"model_version": model.version, **model.card}

    @app.get("/api/v1/openapi.json")
    def openapi() -> Response:
        """The document that describes the API (OpenAPI 3.1), for tools that read such documents."""
        document = render_template("openapi.json", schema=model.row.model_json_schema())
        return Response(document, content_type="application/json")

    @app.errorhandler(Refusal)
    def refused(refusal: Refusal) -> Response:
        return problem_details(422, "No prediction; see errors.", refusal.errors[:MOST_ERRORS])

    return app


def without_model(app: Flask, problem: ModelUnavailable) -> Flask:
    """Make every page say what is wrong with the model, and how to fix it."""

    @app.before_request
    def no_model() -> Any:
        if request.path == "/healthz":
            return {"status": "unavailable", "reason": str(problem)}, 503
        if asked_by_api():
            return problem_details(503, str(problem))
        if request.endpoint != "static":
            return render_template("no_model.html", error=problem, command=TRAIN), 503

    return app


def read_json() -> Any:
    """Return the request's JSON. Raises a 415 or 400 that says what the body is, if it isn't JSON."""
    if request.mimetype != "application/json":
        abort(415, "Send JSON, with Content-Type: application/json.")
    body = request.get_data()
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError as error:
        problem = f"The body is not JSON: {error}."
    encoding = json.detect_encoding(body)
    if request.content_encoding or body.startswith(b"\x1f\x8b"):  # gzip begins like this
        abort(415, "The body is compressed. Send it as it is, with no Content-Encoding.")
    if encoding == "utf-8-sig":
        problem = "The JSON begins with a byte-order mark. Send it without one."
    elif encoding != "utf-8":
        problem = f"The JSON is {encoding.upper()}. Send it as UTF-8."
    elif b"NaN" in body or b"Infinity" in body:
        problem += " JSON has no NaN and no Infinity: send null for a value that isn't known."
    abort(400, problem)


def asked_by_api() -> bool:
    """Is the current request one for the JSON API?"""
    return request.path.startswith("/api/")


def problem_details(status: int, detail: str, errors: Sequence[dict[str, Any]] = ()) -> Response:
    """Return an error as RFC 9457 problem details, `application/problem+json`."""
    title = HTTP_STATUS_CODES[status]
    response = jsonify(title=title, status=status, detail=detail, errors=errors)
    response.status_code = status
    response.content_type = "application/problem+json"
    return response


def http_error(error: HTTPException) -> Response:
    """Any error, including a crash (500): JSON for the API, a page for people."""
    response = error.get_response()  # which has headers such as the Allow of a 405
    if asked_by_api():
        details = problem_details(error.code, error.description)
        response.data, response.content_type = details.data, details.content_type
    else:
        response.data = render_template("error.html", error=error)
    return response


def for_terminals(row: Mapping[str, Any]) -> str:
    """Return a row as JSON in which no terminal finds anything to expand.

    Characters with a meaning to Bash, the Command Prompt or PowerShell are escaped, such as `$` as JSON's
    `\\u0024`. So is anything that isn't ASCII, because Windows would send it in its own encoding.
    """
    special = r"""\\["\\]|[$`!%'&|<>^]"""
    return re.sub(special, lambda found: f"\\u{ord(found[0][-1]):04x}", json.dumps(row))


def percent(share: float) -> str:
    """Return a probability for people: `97.7%`; never a false `0.0%` or `100.0%`."""
    if share < 0.0005:
        return "< 0.1%"
    return f"{share:.1%}" if share < 0.9995 else "> 99.9%"
