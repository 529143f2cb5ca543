"""Every error of the API in one form: RFC 9457, `application/problem+json`."""

from collections.abc import Sequence
from typing import Any

from flask import Response, jsonify, request
from pydantic import BaseModel, Field, ValidationError
from werkzeug.http import HTTP_STATUS_CODES

PROBLEM_JSON = "application/problem+json"


class FieldError(BaseModel):
    """What is wrong with one value."""

    field: str = Field(description="The field's name, such as `district.latitude`, or `body`")
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
    """Return an error as a response."""
    title = HTTP_STATUS_CODES[status]
    response = jsonify(title=title, status=status, detail=detail, errors=errors)
    response.status_code = status
    response.content_type = PROBLEM_JSON
    if status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def asked_by_api() -> bool:
    """Is the current request one for the JSON API?"""
    return request.path.startswith("/api/")


def refuse_body(invalid: ValidationError, detail: str) -> Refusal:
    """Return what is wrong with a body: 400 where it is no JSON, else 422 by field."""
    found = invalid.errors(include_url=False, include_context=False, include_input=False)
    if found[0]["type"] == "json_invalid":
        return Refusal(400, f"{found[0]['msg']}.")
    errors = [
        {"field": ".".join(map(str, each["loc"])) or "body", "message": each["msg"]}
        for each in found
    ]
    return Refusal(422, detail, errors)
