"""The API under `/api/v1`, and the document that describes it (OpenAPI 3.1).

flask-openapi writes the document and its page from the routes below. It could check the bodies as well;
here pydantic does it directly, because a body may be CSV, and because JSON that can't be read (400),
another media type (415) and a person the model can't predict for (422) are different mistakes.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from flask import Response, abort, request
from flask_openapi import APIBlueprint, Info, Tag
from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from pydantic.json_schema import models_json_schema

from census_csv import ANSWER, MAX_COLUMNS, Answers, score_batch, score_people, write_csv
from census_forms import (
    ABOUT,
    COMPRESSED,
    LIMITS,
    MAX_PEOPLE,
    Refusal,
    api_models,
    errors_of,
    refuse_batch,
)
from census_model import FEATURES, OPTIONAL, CensusModel

INFO = Info(
    title="Census income API",
    version="1.0.0",
    description="How probable is it that a person of a US survey of 1994 earns more than $50,000 a "
    "year? For learning only: never use it to decide about people.",
)
ONE_PERSON_LIMIT = 64 * 1024  # bytes of a body
MOST_VALUES = {  # in a batch, by the characters that separate its values
    "application/json": (b",[{", 120_000),  # a full batch has fewer
    "text/csv": (b",\r\n", MAX_COLUMNS * MAX_PEOPLE),
}
PROBLEM_JSON = "application/problem+json"
to_json = TypeAdapter(Any).dump_json
EXAMPLE = {name: example for name, (_, example) in ABOUT.items()}
CSV_EXAMPLE = f"{','.join(EXAMPLE)}\n{','.join(map(str, EXAMPLE.values()))}\n"
CSV_ANSWER = CSV_EXAMPLE.replace("week", "week,probability,label").replace("40", "40,0.1014,<=50K")


class OneAnswer(BaseModel):
    """The prediction for one person in a batch."""

    probability: float = Field(ge=0, le=1, description="of earning more than $50,000 a year")
    label: str = Field(description="`>50K` if the probability is above one half, else `<=50K`")


class Prediction(OneAnswer):
    """The prediction for one person, and why."""

    contributions: dict[str, float] = Field(
        description="What each feature adds, in log-odds. With the card's `intercept` they add up "
        "to the log-odds of the probability."
    )
    model_version: str = Field(description="Changes whenever the model does")


class Predictions(BaseModel):
    """The predictions for a batch, in the order of the people."""

    predictions: list[OneAnswer]
    model_version: str


class ModelCard(BaseModel, extra="allow"):
    """What the model was trained on, how well it does, and its table of weights."""

    model_version: str
    data: dict[str, str | bool | int]
    features: dict[str, dict[str, Any]]
    metrics: dict[str, Any]
    intercept: float = Field(description="The log-odds for the average of all training people")
    weights: dict[str, dict[str, float]] = Field(
        description="What each category adds to the log-odds; for a number, its slope and mean"
    )


class FieldError(BaseModel):
    """What is wrong with one value."""

    index: int | None = Field(
        default=None, description="In a batch: which person, from 0; null if it isn't about one"
    )
    field: str = Field(description="The field's name, or `body`")
    message: str


class Problem(BaseModel):
    """An error: its status, a title, a sentence, and a list of the wrong values."""

    title: str
    status: int
    detail: str
    errors: list[FieldError]


def create_api(model: CensusModel | None) -> APIBlueprint:
    """Return the routes of the API. Without a model, no request gets this far."""
    tags = [Tag(name="Income", description="Version 1")]
    api = APIBlueprint("api", __name__, url_prefix="/api/v1", abp_tags=tags)
    person_of, _ = api_models(model)

    # No CSRF token on these routes: it guards a browser's session, and a JSON client has none.
    @api.post(
        "/predictions",
        summary="Predict for one person",
        request_body={"content": {"application/json": media("Person", EXAMPLE)}},
        responses=responses({"application/json": media("Prediction")}, 400, 413, 415, 422, 503),
    )
    def predict() -> Response:
        """The probability, what each feature adds to it, and the version of the model."""
        if request.mimetype != "application/json":
            abort(415, "Send JSON, with Content-Type: application/json.")
        request.max_content_length = ONE_PERSON_LIMIT
        try:
            person = person_of.model_validate_json(request.get_data())
        except ValidationError as invalid:
            detail = "The model can't predict for this person; see errors."
            raise Refusal(422, detail, errors_of(invalid, model.card)) from None
        return as_json(vars(model.answer(vars(person))) | {"model_version": model.version})

    @api.post(
        "/predictions/batch",
        summary=f"Predict for up to {MAX_PEOPLE:,} people in one call",
        request_body={
            "content": {
                "application/json": media("People", {"people": [EXAMPLE]}),
                "text/csv": {"schema": {"type": "string"}, "example": CSV_EXAMPLE},
            }
        },
        responses=responses(
            {
                "application/json": media("Predictions"),
                "text/csv": {"schema": {"type": "string"}, "example": CSV_ANSWER},
            },
            *(400, 413, 415, 422, 503),
        ),
    )
    def predict_batch() -> Response:
        """People as JSON, or as CSV with a header row; the answers keep their order.

        Columns of a CSV that the model doesn't know are passed through; an empty cell means unknown.
        With `Accept: text/csv` the answer is the table as it was sent, plus `probability` and `label`,
        with an apostrophe before what a spreadsheet would run as a formula. If one row is
        bad, the whole batch is refused, and the errors name every bad row by its index.
        """
        if request.mimetype not in MOST_VALUES:
            abort(415, "Send JSON or CSV, with Content-Type: application/json or text/csv.")
        as_csv = request.accept_mimetypes.best_match(MOST_VALUES) == "text/csv"
        read = score_batch if request.mimetype == "text/csv" else score_json
        chunks = read(model, body_of_batch())
        if as_csv:  # all of it before the first piece is sent: the last row may be a bad one
            pieces = [write_csv(rows, answers) for rows, answers in chunks]
            return Response(pieces, content_type="text/csv; charset=utf-8")
        _, *found = [answer for _, answers in chunks for answer in answers]
        predictions = ({"probability": p, "label": label} for p, label in found)
        return as_json({"predictions": predictions, "model_version": model.version})

    @api.get(
        "/model",
        summary="The model's card",
        responses=responses({"application/json": media("ModelCard")}, 503),
    )
    def card() -> dict[str, Any]:
        """What the model was trained on, how well it does, and which categories it knows."""
        return {"model_version": model.version, **model.card}

    return api


def body_of_batch() -> bytes:
    """Return the request's body. Raises Refusal for one that is compressed or has too many values."""
    body = request.get_data(cache=False)
    if request.content_encoding or body.startswith(b"\x1f\x8b"):
        raise Refusal(415, COMPRESSED)
    return check_values(body, request.mimetype)


def check_values(body: bytes, media_type: str) -> bytes:
    """Return the body of a batch. Raises Refusal for one with too many values.

    Reading takes time for each value, and 8 MB has room for millions of empty lists, which would take
    many seconds. Counting the marks between the values first takes milliseconds.
    """
    marks, most = MOST_VALUES[media_type]
    # One pass counts the marks: translate deletes them.
    if len(body) - len(body.translate(None, marks)) > most:
        people = f"Send at most {MAX_PEOPLE:,} people in one call"
        raise Refusal(422, f"{people}: this body has more values than that.")
    return body


def score_json(model: CensusModel, body: bytes) -> Iterator[tuple[Iterable[Any], Answers]]:
    """Yield the header of a table, then the people of a JSON body and their answers, as a CSV has them.

    Raises Refusal.
    """
    import pandas as pd

    try:
        people = [vars(each) for each in api_models(model)[1].model_validate_json(body).people]
    except ValidationError as invalid:
        raise refuse_batch(errors_of(invalid, model.card)) from None
    columns = {name: [each[name] for each in people] for name in FEATURES}
    del people  # thousands of dictionaries take more memory than their values
    yield [FEATURES], [ANSWER]
    answers, _ = score_people(model, pd.DataFrame(columns, dtype=object))
    yield zip(*columns.values(), strict=True), answers


def as_json(answer: dict[str, Any]) -> Response:
    """Return an answer as JSON. pydantic writes it several times as fast as Flask would."""
    return Response(to_json(answer), content_type="application/json")


def media(model: str, example: Any = None) -> dict[str, Any]:
    """Return a JSON body of the document: one of its schemas, with an example."""
    body = {"schema": {"$ref": f"#/components/schemas/{model}"}}
    return body if example is None else body | {"example": example}


def responses(content: dict[str, Any], *problems: int) -> dict[int, dict[str, Any]]:
    """Return the responses of one route for the document: success, and the errors."""
    problem = {"content": {PROBLEM_JSON: media("Problem")}}
    return {200: {"content": content}} | {status: dict(problem) for status in problems}


def complete(document: dict[str, Any], model: CensusModel | None) -> None:
    """Add the schemas, with the model's categories, to the library's document."""
    kinds = [(each, "validation") for each in (*api_models(model), Problem)]
    kinds += [(each, "serialization") for each in (Prediction, Predictions, ModelCard)]
    _, schemas = models_json_schema(kinds, ref_template="#/components/schemas/{model}")
    document["components"] = {"schemas": schemas["$defs"]}
    del document["paths"]["/api/v1/model"]["get"]["responses"]["422"]  # the library's default
    if model:
        batch = document["paths"]["/api/v1/predictions/batch"]["post"]["requestBody"]["content"]
        batch["text/csv"]["schema"]["pattern"] = csv_pattern(model)


def csv_pattern(model: CensusModel) -> str:
    """Return a regular expression for the body of a CSV batch, its columns in the usual order.

    Another order and more columns are fine as well; the pattern is what a program can rely on.
    """
    cells = []
    for name in FEATURES:
        if name in LIMITS:
            low, high = LIMITS[name]
            words = list(map(str, range(low, high + 1)))
        else:  # re.escape writes \- for -, an error in the regular expressions of JavaScript
            known = model.card["features"][name]["categories"]
            words = [re.sub(r"[^\w -]", r"\\\g<0>", word) for word in known]
        cells.append(f"({'|'.join(words)}){'?' if name in OPTIONAL else ''}")
    return f"^{','.join(FEATURES)}(\\n{','.join(cells)})*\\n?$"
