"""Stage 04: a trained model behind a web page and a JSON API.

What this stage teaches: an application factory; a model that is loaded once, when the app is made; a
form that keeps what was typed and says what is wrong with it; an answer with its own URL, next to a form
that changes it; an API that answers every mistake with a status code and a reason; and an app that
starts without a model and says how to get one.

Run it in this folder with `flask --app app.py run`.
"""

import json
import math
from pathlib import Path
from typing import Any

from flask import Flask, Response, abort, redirect, render_template, request, url_for
from pydantic import ValidationError
from werkzeug.exceptions import HTTPException
from werkzeug.http import HTTP_STATUS_CODES

from iris_forms import Flower, FlowerForm
from iris_model import MODEL_FOLDER, Answer, ModelUnavailable, load
from iris_picture import picture


def create_app(config: dict[str, Any] | None = None) -> Flask:
    """Return the app. `config` overrides settings, such as MODEL_FOLDER in a test."""
    app = Flask(__name__)
    app.config.from_mapping(MODEL_FOLDER=MODEL_FOLDER, MAX_CONTENT_LENGTH=64 * 1024)
    app.config.from_mapping(config)
    app.json.sort_keys = False
    app.add_template_filter(percent)
    app.add_template_global(picture)
    app.register_error_handler(HTTPException, http_error)
    app.register_error_handler(ValidationError, refuse)
    try:
        model, problem = load(Path(app.config["MODEL_FOLDER"])), None
    except ModelUnavailable as error:
        app.logger.warning("%s", error, exc_info=error.__cause__)
        model, problem = None, error

    @app.get("/home")
    @app.get("/")  # the lower decorator runs first, and url_for uses the first route
    def index() -> str:
        """The form, with a typical flower filled in."""
        form = FlowerForm(None, data=model.typical)
        return render_template("index.html", form=form, card=model.card)

    @app.route("/classify", methods=["GET", "POST"])
    def classify() -> str | Response | tuple[str, int]:
        """The prediction as a page; or the form again, with what was typed and what is wrong with it."""
        typed = request.form if request.method == "POST" else request.args
        if not typed and request.method != "POST":  # the address has no flower
            return redirect(url_for("index"))
        form = FlowerForm(typed, data=model.typical)
        if not form.validate():
            return render_template("index.html", form=form, card=model.card), 422
        flower = form.data
        if request.method == "POST":  # redirect to an address that can be shared
            return redirect(url_for("classify", **flower), 303)
        answer = model.answer(flower)
        asked = {"question": json.dumps(flower), "reply": json.dumps(as_json(answer), indent=1)}
        shown = {"form": form, "flower": flower, "card": model.card} | asked
        return render_template("result.html", **shown, **vars(answer))

    @app.post("/api/predict")
    def predict() -> Response | dict[str, Any]:
        """The prediction as JSON: `{"species": ..., "probabilities": {...}}`."""
        # No CSRF token here either: it protects a browser's session, and a JSON client has none.
        if request.mimetype != "application/json":
            abort(415, "Send JSON, with Content-Type: application/json.")
        flower = Flower.model_validate_json(request.get_data())  # `refuse` handles mistakes
        return as_json(model.answer(flower.model_dump()))

    @app.get("/model")
    def model_card() -> str:
        """The card: what the model was trained on, and how well it does."""
        return render_template("model.html", card=model.card)

    @app.get("/healthz")
    def healthz() -> dict[str, str] | tuple[dict[str, str], int]:
        """Tell a monitoring program whether the app can answer."""
        if problem:
            return {"status": "unavailable", "reason": str(problem)}, 503
        return {"status": "ok"}

    @app.before_request
    def no_model() -> None:
        """Without a model, answer every request with 503, the reason and what to do."""
        if problem and request.endpoint not in ("static", "healthz"):
            abort(503, problem)

    return app


def http_error(error: HTTPException) -> Response:
    """Return every error, even a crash (500): as JSON for the API, as a page for people."""
    response = error.get_response()  # keeps headers such as the Allow of a 405
    if request.path.startswith("/api/"):
        details = problem_details(error.code, str(error.description))
        response.data, response.content_type = details.data, details.content_type
    else:
        template = "no_model.html" if error.code == 503 else "error.html"
        response.data = render_template(template, error=error)
    return response


def problem_details(status: int, detail: str, errors: list | tuple = ()) -> Response:
    """Return an error in the format of RFC 9457, `application/problem+json`."""
    title = HTTP_STATUS_CODES[status]
    body = {"title": title, "status": status, "detail": detail, "errors": errors}
    return Response(json.dumps(body), status, content_type="application/problem+json")


def refuse(invalid: ValidationError) -> Response:
    """Return what is wrong with a body: 400 if it isn't JSON, otherwise 422, field by field."""
    found = invalid.errors(include_url=False, include_context=False)
    if found[0]["type"] == "json_invalid":
        return problem_details(*explain_bad_json(found[0]["input"], found[0]["msg"]))
    errors = []
    for each in found:
        message, value = each["msg"], each["input"]
        if isinstance(value, float) and not math.isfinite(value):  # JSON has no such number
            message = f"{json.dumps(value)} is not a length; send a number with digits."
        errors.append({"field": str((*each["loc"], "body")[0]), "message": message})
    return problem_details(422, "This is not a flower the model can classify; see errors.", errors)


def explain_bad_json(body: bytes, message: str) -> tuple[int, str]:
    """Return the status for a body that isn't JSON, and what to fix, or else the parser's `message`."""
    encoding = json.detect_encoding(body)
    if request.content_encoding or body.startswith(b"\x1f\x8b"):  # gzip data starts like this
        return 415, "The body is compressed. Send it uncompressed, without Content-Encoding."
    if encoding == "utf-8-sig":
        return 400, "The JSON starts with a byte-order mark. Send it without one."
    if encoding != "utf-8":
        return 400, f"The JSON is {encoding.upper()}. Send it as UTF-8."
    return 400, f"{message}."


def as_json(answer: Answer) -> dict[str, Any]:
    """Return an answer as the API sends it, without probabilities if the estimator gives none."""
    return vars(answer) if answer.probabilities else {"species": answer.species}


def percent(share: float) -> str:
    """Return a probability as people read it: `97.7%`, but never a false `0.0%` or `100.0%`."""
    if share < 0.0005:
        return "< 0.1%"
    return f"{share:.1%}" if share < 0.9995 else "> 99.9%"
