"""The API under `/api/v1`, and the document that describes it (OpenAPI 3.1).

Anyone with a token can save predictions; getting one doesn't take a token. A browser's session opens
nothing here, so another site's page can't misuse it, and no CSRF token is needed.
"""

from typing import Annotated, Any, ClassVar

from flask import Response, abort, request, url_for
from flask_openapi import APIBlueprint, Info, Tag
from pydantic import AwareDatetime, BaseModel, Field, RootModel

from housing_forms import District, NewSaved, Renamed
from housing_login import account_of_token
from housing_model import HousingModel
from housing_saved import LARGEST_ID, all_of, as_json, find, remove, rename, save

PROBLEM_JSON = "application/problem+json"
SCHEMA = "#/components/schemas/{model}"  # where the document has the schema of a class below
OPEN = {"tags": [Tag(name="Prices", description="Open to everybody")]}
MINE = Tag(name="Saved predictions", description="With a token: only your own")
WITH_TOKEN = {"tags": [MINE], "security": [{"token": []}]}

Dollars = Annotated[int, Field(ge=0, description="in dollars of 1990")]
ENDS = Field(min_length=2, max_length=2, description="[low, high]: contains nine prices in ten")
Interval = Annotated[list[Dollars], ENDS]


class Prediction(BaseModel):
    """The prediction for a district."""

    price_usd: Dollars
    interval_usd: Interval
    model_version: str = Field(description="Changes whenever the model does")


class Saved(BaseModel):
    """A saved prediction."""

    id: int
    name: str
    district: District
    price_usd: Dollars
    interval_usd: Interval
    created: AwareDatetime | None = Field(description="UTC; null if the date is damaged")


class SavedList(RootModel[list[Saved]]):
    """All that the account has saved, the oldest first."""


class SavedPath(BaseModel):
    """The id in a URL. For text that can't be an id the status is 404, not 422: nothing is there."""

    ID: ClassVar = {"type": "integer", "minimum": 1, "maximum": LARGEST_ID}
    saved_id: str = Field(json_schema_extra=ID)


class Feature(BaseModel):
    """A feature, or the price, over the training districts."""

    unit: str
    min: float
    median: float
    max: float


class Column(Feature):
    """A feature of the model; all but one in a hundred districts are above `low`, and below `high`."""

    low: float
    high: float


class PriceCounts(BaseModel):
    """How many training districts had each price, in steps from 0. Fewer than five count as none."""

    step_usd: int
    counts: list[int]


class ModelCard(BaseModel):
    """What the model was trained on, how well it does, and its features."""

    model_version: str = Field(description="The version that appears in predictions")
    stage: str
    name: str
    data: dict[str, str | bool | int]
    features: dict[str, Column]
    target: Feature
    prices: PriceCounts
    map: list[list[float]] = Field(description="Latitude, longitude and mean price of small areas")
    interval: dict[str, float]
    metrics: dict[str, float | None]
    versions: dict[str, str]
    sha256: str = Field(description="Of the model file")
    card_sha256: str = Field(description="Of the card's other fields")


class FieldError(BaseModel):
    """What is wrong with one value."""

    field: str = Field(description="The field's name, such as `district.latitude`, or `body`")
    message: str


class Problem(BaseModel):
    """An error: its status, a title, a sentence, and a list of the wrong values (RFC 9457)."""

    title: str
    status: int
    detail: str
    errors: list[FieldError]


DOCUMENT = {
    "info": Info(
        title="Housing prices API",
        version="1.0.0",
        description="What did houses cost in a district of California in 1990? Get predictions, and save "
        "them. For learning only: the prices are those of 1990.",
    ),
    "security_schemes": {
        "token": {
            "type": "http",
            "scheme": "bearer",
            "description": "A token from your account page: `Authorization: Bearer housing_...`",
        }
    },
    "validation_error_model": Problem,
    "validation_error_status": "503",  # each route has its own, so the library doesn't add one
}


def described(
    status: int, answer: type[BaseModel] | None, *problems: int, body: type[BaseModel] | None = None
) -> dict[str, Any]:
    """Return what the document says about a route: its body, its answer, and the statuses of its problems.

    A route that may respond with 401 needs a token.
    """
    about = dict(WITH_TOKEN if 401 in problems else OPEN)
    if body:
        content = {"application/json": {"schema": body.model_json_schema(ref_template=SCHEMA)}}
        about["request_body"] = {"required": True, "content": content}
        problems = (*problems, 400, 413, 415, 422)
    problem = {"content": {PROBLEM_JSON: {"schema": {"$ref": SCHEMA.format(model="Problem")}}}}
    about["responses"] = {status: answer} | {each: dict(problem) for each in (*problems, 503)}
    return about


def create_api(model: HousingModel | None) -> APIBlueprint:
    """Return the routes of the API. Without a model, the app answers before they do."""
    api = APIBlueprint("api", __name__, url_prefix="/api/v1")

    @api.post("/predictions", **described(200, Prediction, body=District))
    def predict() -> dict[str, Any]:
        """Predict the price of a typical house in a district, with an interval around it."""
        answer = model.answer(read(District).model_dump())
        prices = {"price_usd": answer.price_usd, "interval_usd": answer.interval_usd}
        return prices | {"model_version": answer.model_version}

    @api.get("/model", **described(200, ModelCard))
    def card() -> dict[str, Any]:
        """The model's card: what it was trained on, how well it does, and its features."""
        return {"model_version": model.version, **model.card}

    @api.get("/saved", **described(200, SavedList, 401))
    def list_saved() -> list[dict[str, Any]]:
        """List what you have saved, the oldest first."""
        return [as_json(each) for each in all_of(account_of_token())]

    @api.post("/saved", **described(201, Saved, 401, 409, body=NewSaved))
    def create_saved() -> tuple[dict[str, Any], int, dict[str, str]]:
        """Predict and save: the 201 is sent once the prediction is safely stored."""
        account_id, wanted = account_of_token(), read(NewSaved)
        saved = save(account_id, wanted.name, wanted.district.model_dump(), model)
        return as_json(saved), 201, {"Location": url_for("api.show_saved", saved_id=saved.id)}

    @api.get("/saved/<saved_id>", **described(200, Saved, 401, 404))
    def show_saved(path: SavedPath) -> dict[str, Any]:
        """Show one, if it is your own."""
        return as_json(find(account_of_token(), path.saved_id))

    @api.patch("/saved/<saved_id>", **described(200, Saved, 401, 404, body=Renamed))
    def rename_saved(path: SavedPath) -> dict[str, Any]:
        """Rename one; district and price stay as they were when it was saved."""
        account_id = account_of_token()
        find(account_id, path.saved_id)
        return as_json(rename(account_id, path.saved_id, read(Renamed).name))

    @api.delete("/saved/<saved_id>", **described(204, None, 401, 404))
    def delete_saved(path: SavedPath) -> Response:
        """Delete one; that can't be undone."""
        remove(account_of_token(), path.saved_id)
        return Response(status=204)

    return api


def read(model: type[BaseModel]) -> Any:
    """Return the request's JSON as `model`. Raises a 415, and ValidationError for what doesn't fit."""
    if request.mimetype != "application/json":
        abort(415, "Send application/json, and say so in Content-Type.")
    return model.model_validate_json(request.get_data())
