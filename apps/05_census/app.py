"""Stage 05: a model of real data, behind a page and an API that others can build on.

What this stage teaches: a form whose choices are the model's own; an answer that has an address of
its own, so that it can be shared; an explanation that adds up to the answer; an API with a version,
for one person and for thousands; and a document that describes it (OpenAPI), with a page to try it.

Run it in this folder with `flask --app app.py run`.
"""

import json
from contextlib import suppress
from typing import Any

from flask import Response, redirect, render_template, request, url_for
from flask_openapi import OpenAPI
from werkzeug.exceptions import HTTPException

from census_api import INFO, create_api, document
from census_artifact import MODEL_FOLDER, TRAIN_COMMAND, ModelFile, ModelUnavailable
from census_forms import PersonForm, spell_out, typical_person
from census_formula import sigmoid
from census_model import load
from census_picture import bars, gauge
from census_problems import Problem, Refusal, asked_by_api, problem_details

BODY_LIMIT = 8 * 1024 * 1024  # bytes: 10,000 people as JSON, generously spaced, take about 4 MB


def create_app(config: dict[str, Any] | None = None) -> OpenAPI:
    """Return the app. `config` overrides settings, such as MODEL_FOLDER in a test."""
    app = OpenAPI(__name__, info=INFO, validation_error_model=Problem)
    app.openapi_version = "3.1.0"
    app.config.from_mapping(MODEL_FOLDER=MODEL_FOLDER, MAX_CONTENT_LENGTH=BODY_LIMIT)
    app.config.from_mapping(
        SWAGGER_CONFIG={"validatorUrl": None, "deepLinking": False},  # ask no other host
        SWAGGER_HTML_STRING='{% include "documentation.html" %}',
    )
    app.config.from_mapping(config)
    app.json.sort_keys = False
    app.add_template_filter(percent)
    app.add_template_filter(spell_out)
    model_file = ModelFile(app.config["MODEL_FOLDER"], load)
    # Without a model the app starts all the same; the log says why, and so does every page. One that
    # takes long to load goes on loading behind.
    with suppress(ModelUnavailable):
        model_file.get(patience=0.5)

    # `app.get` would list a route in the API's document; `app.route` keeps pages out of it.
    @app.route("/home")
    @app.route("/")  # the lower decorator runs first, and url_for uses the first route
    def index() -> str:
        """The form, with a typical person filled in."""
        card = model_file.get().card
        return render_template("index.html", form=PersonForm(card, None, data=typical_person(card)))

    @app.route("/probability")
    def probability() -> str | tuple[str, int]:
        """The answer as a page; or the form again, with what was typed and what is wrong."""
        model = model_file.get()
        form = PersonForm(model.card, request.args)
        if not form.validate():
            return render_template("index.html", form=form), 422
        contributions = model.explain(form.person)
        answer = model.probability(contributions)
        return render_template(
            "result.html",
            form=form,
            person=form.person,
            probability=answer,
            start=sigmoid(model.intercept),
            started_from=model.start,
            gauge=gauge(answer),
            bars=bars(contributions),
            card=model.card,
            question=json.dumps(form.person),
        )

    @app.route("/model")
    def model_card() -> str:
        """The card: what the model was trained on, and how well it did."""
        return render_template("model.html", card=model_file.get().card)

    @app.route("/healthz")
    def healthz() -> dict[str, str] | tuple[dict[str, str], int]:
        """For whatever watches over the app: can it answer? Says so soon, even while loading."""
        try:
            model_file.get(patience=0.5)
        except ModelUnavailable as problem:
            return {"status": problem.status, "reason": str(problem)}, 503
        return {"status": "ok"}

    app.register_api(create_api(model_file))
    described = app.api_doc  # written by the library from the routes

    # The library's start page lists its documentation pages; there is one, so go there at once.
    app.view_functions["openapi.openapi"] = lambda: redirect(url_for("swagger.swagger"))
    app.view_functions["openapi.doc_url"] = lambda: document(
        described, model_file, request.script_root
    )

    @app.errorhandler(Refusal)
    def refused(error: Refusal) -> Response:
        return problem_details(error.status, error.detail, error.errors)

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


def percent(share: float) -> str:
    """Return a share for people: `23.4%`."""
    return f"{share:.1%}"
