"""Stage 05's app with two routes more, so that one server shows what a prediction costs.

`/floor` reads JSON, validates nothing, asks no model and answers JSON of the same size: the price of the
server and of Flask. `/pipeline` validates as the app does, and then asks the pipeline with a data frame of
one row, the way that most tutorials do.
"""

import joblib
import pandas as pd
from flask import Flask, request
from load import PERSON

from workshop.core.stages import find_stage, load_app_module, load_module

STAGE = find_stage("census")


def create_app() -> Flask:
    """Return the app with its two extra routes. Its model must have been trained."""
    app = load_app_module(STAGE.slug).create_app()
    census_model, census_forms = (
        load_module(STAGE, f"census_{name}") for name in ("model", "forms")
    )
    pipeline = joblib.load(STAGE.folder / "model" / "census.joblib")
    card = census_model.load(STAGE.folder / "model").card
    same_size = {
        "probability": 0.10135796545089393,
        "label": "<=50K",
        "contributions": dict.fromkeys(PERSON, -0.12345678901234567),
        "model_version": card["sha256"][:12],
    }

    # Not app.post: that would add the routes to the API's document.
    @app.route("/floor", methods=["POST"])
    def floor() -> dict:
        request.get_json()
        return same_size

    @app.route("/pipeline", methods=["POST"])
    def ask_pipeline() -> dict:
        person = census_forms.Person.model_validate_json(request.get_data(), context=card)
        frame = pd.DataFrame([person.model_dump()])
        return {"probability": float(pipeline.predict_proba(frame)[0, 1])}

    return app
