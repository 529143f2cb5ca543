"""The API under `/api/v1`, and the document that describes it (OpenAPI 3.1).

Who has a token keeps predictions with it; asking for one needs none. A browser's session opens
nothing here, so no page elsewhere can use it, and no CSRF token is asked for.
"""

import copy
from typing import Annotated, Any, TypeVar

from flask import Response, request, url_for
from flask_openapi import APIBlueprint, Info, Tag
from pydantic import AwareDatetime, BaseModel, Field, RootModel, ValidationError
from pydantic.json_schema import models_json_schema
from werkzeug.exceptions import UnsupportedMediaType

from housing_artifact import ModelFile
from housing_forms import NAME_SCHEMA, District, NewSaved, Renamed
from housing_login import account_of_token
from housing_model import Card
from housing_problems import PROBLEM_JSON, Problem, refuse_body
from housing_saved import LARGEST_ID, all_of, as_json, find, remove, rename, save

INFO = Info(
    title="Housing prices API",
    version="1.0.0",
    description="What did houses cost in a district of California in 1990? Ask, and keep the "
    "answers. For learning only: the prices are those of 1990.",
)
SECURITY_SCHEMES = {
    "token": {
        "type": "http",
        "scheme": "bearer",
        "description": "A token from your account page: `Authorization: Bearer housing_...`",
    }
}
Model = TypeVar("Model", bound=BaseModel)
TOKEN = [{"token": []}]
EXAMPLE = {
    "median_income": 3.54,
    "house_age": 29,
    "average_rooms": 5.23,
    "average_bedrooms": 1.05,
    "population": 1166,
    "average_occupancy": 2.82,
    "latitude": 34.26,
    "longitude": -118.49,
}
Dollars = Annotated[int, Field(ge=0, description="in dollars of 1990")]
Interval = Annotated[
    list[Dollars],
    Field(min_length=2, max_length=2, description="[low, high]: holds nine prices in ten"),
]


class Prediction(BaseModel):
    """What the model says of a district."""

    price_usd: Dollars
    interval_usd: Interval
    model_version: str = Field(description="Changes whenever the model does")


class Saved(BaseModel):
    """A prediction that is kept."""

    id: int
    name: str
    district: District
    price_usd: Dollars
    interval_usd: Interval
    created: AwareDatetime = Field(description="UTC")


class SavedList(RootModel[list[Saved]]):
    """All that the account has saved, the oldest first."""


class SavedPath(BaseModel):
    """The id in an address. A text that is no id is no mistake in form (422): nothing is there."""

    saved_id: str = Field(
        json_schema_extra={"type": "integer", "minimum": 1, "maximum": LARGEST_ID}
    )


class VersionedCard(Card):
    """The model's card, and the version that predictions name."""

    model_version: str


class ModelCard(RootModel[VersionedCard]):
    """What the model was trained on, how well it does, and what it takes."""


def create_api(model_file: ModelFile) -> APIBlueprint:
    """Return the routes of the API, answered by the model in `model_file`."""
    api = APIBlueprint("api", __name__, url_prefix="/api/v1")
    prices = [Tag(name="Prices", description="Open to everybody")]
    keeping = [Tag(name="Saved predictions", description="With a token: your own, nobody else's")]

    @api.post(
        "/predictions",
        summary="Ask for one price",
        tags=prices,
        request_body=body("District", EXAMPLE),
        responses=responses(200, "Prediction", 400, 413, 415, 422, 503),
    )
    def predict() -> dict[str, Any]:
        """The price of a typical house, an interval around it, and the version of the model."""
        district = read(District)
        answer = model_file.get().predict(district.model_dump())
        return {
            "price_usd": answer.price_usd,
            "interval_usd": answer.interval_usd,
            "model_version": answer.model_version,
        }

    @api.get(
        "/model",
        summary="The model's card",
        tags=prices,
        responses=responses(200, "ModelCard", 503),
    )
    def card() -> dict[str, Any]:
        """What the model was trained on, how well it does, and what it has seen."""
        model = model_file.get()
        return {"model_version": model.version, **model.card}

    @api.get(
        "/saved",
        summary="List what you have saved",
        tags=keeping,
        security=TOKEN,
        responses=responses(200, "SavedList", 401, 503),
    )
    def list_saved() -> list[dict[str, Any]]:
        """All of it, the oldest first."""
        return [as_json(each) for each in all_of(account_of_token())]

    @api.post(
        "/saved",
        summary="Predict and save",
        tags=keeping,
        security=TOKEN,
        request_body=body("NewSaved", {"name": "My street", "district": EXAMPLE}),
        responses=responses(201, "Saved", 400, 401, 409, 413, 415, 422, 503),
    )
    def create_saved() -> tuple[dict[str, Any], int, dict[str, str]]:
        """Answered with 201 once it is safely stored; `Location` is its address."""
        account_id = account_of_token()
        wanted = read(NewSaved)
        district = wanted.district.model_dump()
        saved = save(account_id, wanted.name, district, model_file.get())
        return as_json(saved), 201, {"Location": url_for("api.show_saved", saved_id=saved.id)}

    @api.get(
        "/saved/<saved_id>",
        summary="Show one",
        tags=keeping,
        security=TOKEN,
        responses=responses(200, "Saved", 401, 404, 503),
    )
    def show_saved(path: SavedPath) -> dict[str, Any]:
        """One of your own."""
        return as_json(find(account_of_token(), path.saved_id))

    @api.patch(
        "/saved/<saved_id>",
        summary="Rename one",
        tags=keeping,
        security=TOKEN,
        request_body=body("Renamed", {"name": "Another street"}),
        responses=responses(200, "Saved", 400, 401, 404, 413, 415, 422, 503),
    )
    def rename_saved(path: SavedPath) -> dict[str, Any]:
        """District and price stay as they were when it was saved."""
        account_id = account_of_token()
        find(account_id, path.saved_id)
        return as_json(rename(account_id, path.saved_id, read(Renamed).name))

    @api.delete(
        "/saved/<saved_id>",
        summary="Delete one",
        tags=keeping,
        security=TOKEN,
        responses=responses(204, None, 401, 404, 503),
    )
    def delete_saved(path: SavedPath) -> Response:
        """It can't be brought back."""
        remove(account_of_token(), path.saved_id)
        return Response(status=204)

    return api


def read(model: type[Model]) -> Model:
    """Return the request's JSON as `model`. Raises a 415, 400 or 422."""
    if request.mimetype != "application/json":
        raise UnsupportedMediaType("Send application/json, and say so in Content-Type.")
    try:
        return model.model_validate_json(request.get_data())
    except ValidationError as invalid:
        raise refuse_body(invalid, "The body is not what this address takes; see errors.") from None


# The document

SCHEMAS = [
    (District, "validation"),
    (NewSaved, "validation"),
    (Renamed, "validation"),
    (Prediction, "serialization"),
    (Saved, "serialization"),
    (SavedList, "serialization"),
    (ModelCard, "serialization"),
    (Problem, "validation"),
]


def media(model: str) -> dict[str, Any]:
    """Return a JSON body of the document: one of the schemas above."""
    return {"schema": {"$ref": f"#/components/schemas/{model}"}}


def body(model: str, example: Any) -> dict[str, Any]:
    """Return a request's body for the document."""
    return {"required": True, "content": {"application/json": media(model) | {"example": example}}}


def responses(good: int, model: str | None, *problems: int) -> dict[int, dict[str, Any]]:
    """Return the answers of one route for the document: the good one, and the errors."""
    problem = {"content": {PROBLEM_JSON: media("Problem")}}
    answer = {"content": {"application/json": media(model)}} if model else {}
    return {good: answer} | {status: dict(problem) for status in problems}


def document(app_document: dict[str, Any], root: str) -> dict[str, Any]:
    """Complete the library's document: schemas, parameters, and where the app lives.

    `root` is the path the app is mounted at.
    """
    _, schemas = models_json_schema(SCHEMAS, ref_template="#/components/schemas/{model}")
    completed = copy.deepcopy(app_document)
    completed["servers"] = [{"url": root or "/"}]
    definitions = schemas["$defs"]
    for name in ("NewSaved", "Renamed"):
        definitions[name]["properties"]["name"] |= NAME_SCHEMA
    completed["components"] = {"schemas": definitions, "securitySchemes": SECURITY_SCHEMES}
    for path in completed["paths"].values():
        for operation in path.values():
            if "requestBody" not in operation:
                operation["responses"].pop("422", None)  # the library's default; nothing to refuse
    return completed
