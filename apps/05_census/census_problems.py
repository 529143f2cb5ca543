"""Every error of the API in one form: RFC 9457, `application/problem+json`."""

from collections.abc import Sequence
from typing import Any

from flask import Response, jsonify, request
from pydantic import BaseModel, Field, ValidationError
from werkzeug.http import HTTP_STATUS_CODES

PROBLEM_JSON = "application/problem+json"
MOST_ERRORS = 1000  # listed in one answer
TOO_MANY_ERRORS = 100_000  # to look at: a full batch has fewer values


class FieldError(BaseModel):
    """What is wrong with one value."""

    index: int | None = Field(
        default=None,
        description="In a batch: which person, counted from 0; null where it is not about one",
    )
    field: str = Field(description="The field's name, or `body`")
    message: str


class Problem(BaseModel):
    """An error: what kind, in short, in a sentence, and value by value."""

    title: str
    status: int
    detail: str
    errors: list[FieldError]


class Refusal(Exception):
    """The API can't do what it was asked; raise it anywhere below a route."""

    def __init__(self, status: int, detail: str, errors: Sequence[dict[str, Any]] = ()) -> None:
        super().__init__(detail)
        self.status, self.detail, self.errors = status, detail, errors


def problem_details(status: int, detail: str, errors: Sequence[dict[str, Any]] = ()) -> Response:
    """Return an error as a response. A very long list of errors is cut, and the detail says so."""
    if len(errors) > MOST_ERRORS:
        detail += f" These are the first {MOST_ERRORS:,} of {len(errors):,} errors."
    title = HTTP_STATUS_CODES[status]
    response = jsonify(title=title, status=status, detail=detail, errors=errors[:MOST_ERRORS])
    response.status_code = status
    response.content_type = PROBLEM_JSON
    return response


def asked_by_api() -> bool:
    """Is the current request one for the JSON API?"""
    return request.path.startswith("/api/")


def refuse_person(invalid: ValidationError) -> Refusal:
    """Return what is wrong with one person's JSON: 400 where it is none, else 422 by field."""
    errors = errors_of_person(invalid)
    return Refusal(422, "This is not a person the model can judge; see errors.", errors)


def errors_of_person(invalid: ValidationError) -> list[dict[str, str]]:
    """Return what is wrong with one person, by field. Raises a 400 where it is no JSON."""
    return [
        {"field": str((*each["loc"], "body")[0]), "message": each["msg"]}
        for each in _errors(invalid)
    ]


def refuse_people(invalid: ValidationError) -> Refusal:
    """Return what is wrong with a batch: 400 where it is no JSON, else 422 by index and field."""
    errors = []
    for each in _errors(invalid):
        match each["loc"]:
            case ("people", int(index), *rest):
                place = {"index": index, "field": str((*rest, "person")[0])}
            case loc:
                place = {"index": None, "field": str((*loc, "body")[0])}
        errors.append(place | {"message": each["msg"]})
    return refuse_batch(errors)


def refuse_batch(errors: Sequence[dict[str, Any]]) -> Refusal:
    """Return the errors of a batch, by index and field, as a 422."""
    return Refusal(422, "Nobody was judged: the batch has errors, by index and field.", errors)


def _errors(invalid: ValidationError) -> list[dict[str, Any]]:
    if invalid.error_count() > TOO_MANY_ERRORS:
        raise Refusal(422, f"There are {invalid.error_count():,} errors, too many to name.")
    found = invalid.errors(include_url=False, include_context=False, include_input=False)
    if found[0]["type"] == "json_invalid":
        raise Refusal(400, f"{found[0]['msg']}.")
    return found
