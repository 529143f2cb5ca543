"""Stage 04: a trained model behind a web page and a JSON API.

What this stage teaches: an application factory; a model that is loaded once, and checked before it
is opened; a form that keeps what was typed and says what is wrong with it; an API that answers
every mistake with a status code and a reason; and an app that starts without a model and says how
to get one.

Run it in this folder with `flask --app app.py run`.
"""

import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from flask import Flask, Response, jsonify, redirect, render_template, request, url_for
from pydantic import ValidationError
from werkzeug.exceptions import HTTPException, UnsupportedMediaType
from werkzeug.http import HTTP_STATUS_CODES

from iris_artifact import MODEL_FOLDER, TRAIN_COMMAND, ModelFile, ModelUnavailable
from iris_forms import Flower, FlowerForm
from iris_guard import guard
from iris_model import FEATURES, load
from iris_picture import picture


def create_app(config: dict[str, Any] | None = None) -> Flask:
    """Return the app. `config` overrides settings, such as MODEL_FOLDER in a test."""
    app = Flask(__name__)
    app.config.from_mapping(MODEL_FOLDER=MODEL_FOLDER, MAX_CONTENT_LENGTH=64 * 1024)
    app.config.from_mapping(config)
    guard(app)
    app.json.sort_keys = False
    app.add_template_filter(percent)
    model_file = ModelFile(app.config["MODEL_FOLDER"], load)
    # Without a model the app starts all the same; the log says why, and so does every page. One that
    # takes long to load goes on loading behind.
    with suppress(ModelUnavailable):
        model_file.get(patience=0.5)

    @app.get("/home")
    @app.get("/")  # the lower decorator runs first, and url_for uses the first route
    def index() -> str:
        """The form, with a typical flower filled in."""
        card = model_file.get().card
        typical = {name: feature["median"] for name, feature in card["features"].items()}
        return render_template("index.html", form=FlowerForm(None, data=typical), card=card)

    @app.get("/classify")
    def classify_nothing() -> Response:
        """Whoever reloads or bookmarks the answer's address gets the form."""
        return redirect(url_for("index"))

    @app.post("/classify")
    def classify() -> str | tuple[str, int]:
        """The answer as a page; or the form again, with what was typed and what is wrong."""
        model = model_file.get()
        form = FlowerForm(request.form)
        if not form.validate():
            return render_template("index.html", form=form, card=model.card), 422
        flower = {name: form[name].data for name in FEATURES}
        species, probabilities = model.predict(flower)
        return render_template(
            "result.html",
            flower=flower,
            species=species,
            probabilities=probabilities,
            card=model.card,
            picture=picture(model.card, flower),
            question=json.dumps(flower),
        )

    @app.post("/api/predict")
    def predict() -> Response | dict[str, Any]:
        """The answer as JSON: `{"species": ..., "probabilities": {...}}`."""
        # No CSRF token here either: it guards a browser's session, and a JSON client has none.
        if request.mimetype != "application/json":
            raise UnsupportedMediaType("Send JSON, with Content-Type: application/json.")
        try:
            flower = Flower.model_validate_json(request.get_data())
        except ValidationError as invalid:
            return refuse(invalid)
        species, probabilities = model_file.get().predict(flower.model_dump())
        return {"species": species, "probabilities": probabilities}

    @app.get("/model")
    def model_card() -> str:
        """The card: what the model was trained on, and how well it did."""
        card = model_file.get().card
        return render_template("model.html", card=card, picture=picture(card))

    @app.get("/healthz")
    def healthz() -> dict[str, str] | tuple[dict[str, str], int]:
        """For whatever watches over the app: can it answer? Says so soon, even while loading."""
        try:
            model_file.get(patience=0.5)
        except ModelUnavailable as problem:
            return {"status": problem.status, "reason": str(problem)}, 503
        return {"status": "ok"}

    @app.errorhandler(ModelUnavailable)
    def no_model(error: ModelUnavailable) -> Response | tuple[str, int]:
        if asked_by_api():
            return problem_details(503, str(error))
        return render_template("no_model.html", error=error, command=TRAIN_COMMAND), 503

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


def asked_by_api() -> bool:
    """Is the current request one for the JSON API?"""
    return request.path.startswith("/api/")


def problem_details(status: int, detail: str, errors: Sequence[dict[str, str]] = ()) -> Response:
    """Return an error in the form of RFC 9457, `application/problem+json`."""
    title = HTTP_STATUS_CODES[status]
    response = jsonify(title=title, status=status, detail=detail, errors=errors)
    response.status_code = status
    response.content_type = "application/problem+json"
    return response


def refuse(invalid: ValidationError) -> Response:
    """Return what is wrong with a body: 400 where it is no JSON, else 422, field by field."""
    found = invalid.errors(include_url=False, include_context=False, include_input=False)
    if found[0]["type"] == "json_invalid":
        return problem_details(400, f"{found[0]['msg']}.")
    errors = [{"field": str((*each["loc"], "body")[0]), "message": each["msg"]} for each in found]
    return problem_details(422, "This is not a flower the model can judge; see errors.", errors)


def percent(share: float) -> str:
    """Return a probability for people: `97.7%`; and never a false `0.0%` or `100.0%`."""
    if share < 0.0005:
        return "< 0.1%"
    return f"{share:.1%}" if share < 0.9995 else "> 99.9%"
