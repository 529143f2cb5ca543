"""The API under `/api/v1`, and the document that describes it (OpenAPI 3.1).

The library writes the document and its page from the routes below. It could validate the bodies as
well; here pydantic does it directly, since a body may be CSV, and since JSON that can't be read
(400), another media type (415) and a person who can't be (422) are different mistakes.
"""

import copy
import re
from collections.abc import Mapping
from typing import Any

from flask import Response, request
from flask_openapi import APIBlueprint, Info, Tag
from pydantic import BaseModel, Field, RootModel, ValidationError
from pydantic.json_schema import models_json_schema
from pydantic_core import to_json
from werkzeug.exceptions import UnsupportedMediaType

from census_artifact import ModelFile, ModelUnavailable
from census_csv import echo_table, judge_table, table_of
from census_forms import (
    AGE_PATTERN,
    HOURS_PATTERN,
    MAX_PEOPLE,
    People,
    Person,
    read_people,
    read_person,
)
from census_model import FEATURES, OPTIONAL, Card, label
from census_problems import PROBLEM_JSON, Problem, Refusal, refuse_people, refuse_person

INFO = Info(
    title="Census income API",
    version="1.0.0",
    description="How probable is it that a person of the 1994 US census earns more than $50,000 a "
    "year? For learning only: never use it to decide about people.",
)
ONE_PERSON_LIMIT = 64 * 1024  # bytes of a body
TOO_MANY_VALUES = 120_000  # in a batch: a full one has fewer, whatever it puts between them
EXAMPLE = {
    "age": 39,
    "workclass": "State-gov",
    "education": "Bachelors",
    "marital_status": "Never-married",
    "race": "White",
    "sex": "Male",
    "hours_per_week": 40,
}
CSV_EXAMPLE = f"{','.join(EXAMPLE)}\n{','.join(map(str, EXAMPLE.values()))}\n"
CSV_ANSWER_EXAMPLE = CSV_EXAMPLE.replace("week\n", "week,probability,label\n").replace(
    ",40\n", ",40,0.1014,<=50K\n"
)


class Answer(BaseModel):
    """What the model says of one person."""

    probability: float = Field(ge=0, le=1, description="of earning more than $50,000 a year")
    label: str = Field(description="`>50K` where the probability is above one half, else `<=50K`")


class Prediction(Answer):
    """What the model says of one person, and why."""

    contributions: dict[str, float] = Field(
        description="What each feature adds, in log-odds. With the card's `intercept` they add up "
        "to the log-odds of the probability."
    )
    model_version: str = Field(description="Changes whenever the model does")


class Predictions(BaseModel):
    """The answers of a batch, in the order of the people."""

    predictions: list[Answer]
    model_version: str


class VersionedCard(Card):
    """The model's card, and the version that predictions name."""

    model_version: str


class ModelCard(RootModel[VersionedCard]):
    """What the model was trained on, how well it does, and what it takes."""


def create_api(model_file: ModelFile) -> APIBlueprint:
    """Return the routes of the API, answered by the model in `model_file`."""
    api = APIBlueprint(
        "api",
        __name__,
        url_prefix="/api/v1",
        abp_tags=[Tag(name="Income", description="Version 1")],
    )

    # No CSRF token on these routes: it guards a browser's session, and a JSON client has none.
    @api.post(
        "/predictions",
        summary="Judge one person",
        request_body={"content": {"application/json": media("Person", EXAMPLE)}},
        responses=responses({"application/json": media("Prediction")}, 400, 413, 415, 422, 503),
    )
    def predict() -> Response:
        """The probability, what each feature adds to it, and the version of the model."""
        require("application/json")
        request.max_content_length = ONE_PERSON_LIMIT
        model = model_file.get()
        try:
            person = read_person(request.get_data(), model)
        except ValidationError as invalid:
            raise refuse_person(invalid) from None
        contributions = model.explain(person)
        probability = model.probability(contributions)
        return as_json(
            {
                "probability": probability,
                "label": label(probability),
                "contributions": contributions,
                "model_version": model.version,
            }
        )

    @api.post(
        "/predictions/batch",
        summary=f"Judge up to {MAX_PEOPLE:,} people in one call",
        request_body={
            "content": {
                "application/json": media("People", {"people": [EXAMPLE]}),
                "text/csv": {"schema": {"type": "string"}, "example": CSV_EXAMPLE},
            }
        },
        responses=responses(
            {
                "application/json": media("Predictions"),
                "text/csv": {"schema": {"type": "string"}, "example": CSV_ANSWER_EXAMPLE},
            },
            *(400, 413, 415, 422, 503),
        ),
    )
    def predict_batch() -> Response:
        """People as JSON, or as CSV with a header row; the answers keep their order.

        With `Accept: text/csv` the answer is the table as it was sent, `probability` and `label`
        added. One bad row refuses the whole batch, and the errors name every bad row by its index.
        """
        require("application/json", "text/csv")
        model = model_file.get()
        offered = ["application/json", "text/csv"]
        as_csv = request.accept_mimetypes.best_match(offered) == "text/csv"
        if request.mimetype == "text/csv":
            judge = echo_table if as_csv else judge_table
            found = judge(model, body_of_batch(b",\r\n"))
        else:
            try:  # the body is kept nowhere else, so that its memory is free once it is read
                people = read_people(body_of_batch(b",[{"), model)
            except ValidationError as invalid:
                raise refuse_people(invalid) from None
            columns = {name: [each[i] for each in people] for i, name in enumerate(FEATURES)}
            found = model.predict_probabilities(columns)
            found = table_of(people, found) if as_csv else found
        if as_csv:
            return Response(found, content_type="text/csv; charset=utf-8")
        answers = ({"probability": each, "label": label(each)} for each in found)
        return as_json({"predictions": answers, "model_version": model.version})

    @api.get(
        "/model",
        summary="The model's card",
        responses=responses({"application/json": media("ModelCard")}, 503),
    )
    def card() -> dict[str, Any]:
        """What the model was trained on, how well it does, and which categories it knows."""
        model = model_file.get()
        return {"model_version": model.version, **model.card}

    return api


def body_of_batch(marks: bytes) -> bytes:
    """Return the request's body, which nothing keeps. Raises a 422 for one with too many values.

    Reading takes time for each value, and 8 MB have room for millions of empty lists, which would
    take many seconds. The `marks` that stand beside values are counted at once, without reading.
    """
    body = request.get_data(cache=False)
    if sum(map(body.count, marks)) > TOO_MANY_VALUES:
        raise Refusal(
            422,
            f"Send at most {MAX_PEOPLE:,} people in one call: this body has more values than they do.",
        )
    return body


def as_json(answer: dict[str, Any]) -> Response:
    """Return an answer as JSON, written by pydantic: Flask's own way takes several times as long."""
    return Response(to_json(answer), content_type="application/json")


def require(*media_types: str) -> None:
    """Raise a 415 for a body of another media type."""
    if request.mimetype not in media_types:
        raise UnsupportedMediaType(f"Send {' or '.join(media_types)}, and say so in Content-Type.")


# The document

SCHEMAS = [
    (Person, "validation"),
    (People, "validation"),
    (Prediction, "serialization"),
    (Predictions, "serialization"),
    (ModelCard, "serialization"),
    (Problem, "validation"),
]


def media(model: str, example: Any = None) -> dict[str, Any]:
    """Return a JSON body of the document: one of the schemas below, with an example."""
    body = {"schema": {"$ref": f"#/components/schemas/{model}"}}
    return body if example is None else body | {"example": example}


def responses(content: dict[str, Any], *problems: int) -> dict[int, dict[str, Any]]:
    """Return the answers of one route for the document: the good one, and the errors."""
    problem = {"content": {PROBLEM_JSON: media("Problem")}}
    return {200: {"content": content}} | {status: dict(problem) for status in problems}


def document(app_document: dict[str, Any], model_file: ModelFile, root: str) -> dict[str, Any]:
    """Complete the library's document: schemas, the model's categories, and where the app lives.

    `root` is the path the app is mounted at. Which categories there are depends on the model in
    use now, so this is done for each request; without a model the lists are left out.
    """
    _, schemas = models_json_schema(SCHEMAS, ref_template="#/components/schemas/{model}")
    completed = copy.deepcopy(app_document)
    completed["servers"] = [{"url": root or "/"}]
    completed["components"] = {"schemas": schemas["$defs"]}
    del completed["paths"]["/api/v1/model"]["get"]["responses"]["422"]  # the library's default
    try:
        features = model_file.get().card["features"]
    except ModelUnavailable:
        return completed
    batch = completed["paths"]["/api/v1/predictions/batch"]["post"]["requestBody"]["content"]
    batch["text/csv"]["schema"]["pattern"] = csv_pattern(features)
    for name, schema in schemas["$defs"]["Person"]["properties"].items():
        if "categories" in features[name]:
            alternatives = schema.get("anyOf", [schema])  # the other one is null
            alternatives[0]["enum"] = features[name]["categories"]
    return completed


def csv_pattern(features: Mapping[str, Any]) -> str:
    """Return a regular expression for the body of a CSV batch, its columns in the usual order.

    Another order is fine as well; the pattern is what a program can rely on.
    """
    cells = {"age": AGE_PATTERN, "hours_per_week": HOURS_PATTERN}
    for name in FEATURES:
        if name not in cells:
            # re.escape writes \- for -, an error in the regular expressions of JavaScript.
            words = [re.sub(r"[^\w -]", r"\\\g<0>", word) for word in features[name]["categories"]]
            cells[name] = f"({'|'.join(words)}){'?' if name in OPTIONAL else ''}"
    row = ",".join(cells[name] for name in FEATURES)
    return f"^{','.join(FEATURES)}(\\n{row})*\\n?$"
