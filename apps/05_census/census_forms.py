"""Check a person who is typed into the form or sent to the API.

Both refuse the same values, and both get their categories from the model's card: the form for its lists,
and `Person`, which checks what a program sends, for its types.
"""

import json
import math
from functools import cache, lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from flask import request
from flask_wtf import FlaskForm
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model
from pydantic import ValidationError as Invalid
from werkzeug.exceptions import HTTPException
from wtforms import IntegerField, SelectField
from wtforms.validators import ValidationError
from wtforms.widgets import TextInput

from census_model import FEATURES, OPTIONAL, Card, CensusModel

LIMITS = {  # both ends included
    "age": (17, 120),  # the data has nobody younger; anything above is a typo
    "hours_per_week": (1, 168),  # everyone in the data works; a week has 168 hours
}
MAX_PEOPLE = 10_000  # in one batch
TOO_MANY_ERRORS = 100_000  # to look at: a full batch has fewer values
COMPRESSED = "The body is compressed. Send it as it is, with no Content-Encoding."


def spell_out(value: str | int | None) -> str:
    """Return a person's value in words: `Bachelor's degree` for `Bachelors`."""
    return "Not known" if value is None else words().get(value, str(value))


@cache
def words() -> dict[str, str]:
    """Return the data's abbreviations spelled out. Only what people read changes, not what is sent.

    The file is read at the first call, because a Dask worker gets this module without it.
    """
    return json.loads(Path(__file__).with_name("census_words.json").read_text("utf-8"))


class WholeNumberField(IntegerField):
    """A whole number from `low` to `high`."""

    # A browser's type="number" drops input that isn't a number, so no message could say what was wrong
    # with it. As text, it arrives as it was typed.
    widget = TextInput()

    def __init__(self, label: str, limits: tuple[int, int], **kwargs: Any) -> None:
        super().__init__(label, **kwargs)
        self.low, self.high = limits

    def process_formdata(self, valuelist: list[str]) -> None:
        """Turn the typed text into a number, or say what is wrong with it."""
        typed = valuelist[0].strip() if valuelist else ""
        if not typed:
            raise ValueError(f"Enter the {self.label.text.lower()}, for example 40.")
        try:
            self.data = int(typed.replace("_", "?"))  # int() reads 4_0 as 40
        except ValueError:
            raise ValueError("This is not a whole number. Enter digits, for example 40.") from None
        if not self.low <= self.data <= self.high:
            raise ValueError(f"Enter a whole number from {self.low} to {self.high}.")


class CategoryField(SelectField):
    """One of the categories the model was trained on; with "Not known" first if the feature is optional."""

    def offer(self, categories: list[str], optional: bool) -> None:
        """Fill the list with what the model knows."""
        self.known = {"", *categories} if optional else set(categories)
        self.choices = [(name, spell_out(name)) for name in categories]
        if optional:
            self.choices.insert(0, ("", spell_out(None)))
            self.data = self.data or ""  # a link may leave it out
        elif self.data not in self.known:  # or the first category would look selected
            self.choices.insert(0, ("", "Choose from the list"))

    def pre_validate(self, form: FlaskForm) -> None:
        """Refuse a value that isn't in the list, which can only come from an edited link."""
        if self.data and self.data not in self.known:
            problem = "The model doesn't know the value in the address. Choose from the list."
            raise ValidationError(problem)
        if (self.data or "") not in self.known:
            raise ValidationError(f"Choose the {self.label.text.lower()} from the list.")


class PersonForm(FlaskForm):
    """The form of the start page: the seven features of the model."""

    class Meta:
        # A CSRF token protects a form that changes something in your name. This one only asks a
        # question with GET: there is no account, no session and no SECRET_KEY.
        csrf = False

    age = WholeNumberField("Age", LIMITS["age"])
    sex = CategoryField("Sex", description="as the survey recorded it")
    race = CategoryField("Race", description="as the survey recorded it")
    marital_status = CategoryField("Marital status", description="in 1994")
    education = CategoryField("Education", description="the highest level reached")
    workclass = CategoryField("Kind of employer", description="of the main job")
    hours_per_week = WholeNumberField("Hours of work per week", LIMITS["hours_per_week"])

    def __init__(self, card: Card, formdata: Any, **kwargs: Any) -> None:
        super().__init__(formdata, **kwargs)
        self.card = card
        for name, feature in card["features"].items():
            if "categories" in feature:
                self[name].offer(feature["categories"], feature["optional"])

    @property
    def person(self) -> dict[str, str | int | None]:
        """The valid form's values, as the model and the API take them."""
        return {name: self[name].data or None for name in FEATURES}


ABOUT = {  # what the API's documentation says about each feature, and an example
    "age": ("Age in years", 39),
    "workclass": ("Kind of employer; null or left out if it isn't known", "State-gov"),
    "education": ("Highest level reached", "Bachelors"),
    "marital_status": ("Marital status", "Never-married"),
    "race": ("Race, as the survey of 1994 recorded it", "White"),
    "sex": ("Sex, as the survey of 1994 recorded it", "Male"),
    "hours_per_week": ("Usual hours of work a week", 40),
}
STRICT = ConfigDict(strict=True, extra="forbid", validate_assignment=True)


def whole(value: Any) -> Any:
    """Turn 20.0 into 20: JSON has only one kind of number, as does a CSV column with a gap."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


@lru_cache(maxsize=8)
def api_models(model: CensusModel | None) -> tuple[type[BaseModel], type[BaseModel]]:
    """Return the classes that check one person and a batch of the API, made from the model's card.

    Without a model, a category is any string: the API's documentation works without one too.
    """
    fields: dict[str, Any] = {}
    for name, (description, example) in ABOUT.items():
        kind: Any = str
        if name in LIMITS:
            low, high = LIMITS[name]
            kind = Annotated[int, Field(ge=low, le=high), BeforeValidator(whole)]
        elif model:
            kind = Literal[tuple(model.card["features"][name]["categories"])]
        default = {"default": None} if name in OPTIONAL else {}
        about = Field(description=description, examples=[example], **default)
        fields[name] = (kind | None if name in OPTIONAL else kind, about)
    person = create_model("Person", __config__=STRICT, __doc__="One person.", **fields)
    about = Field(max_length=MAX_PEOPLE, description="The answers keep the order")
    people = create_model("People", __config__=STRICT, people=(list[person], about))
    return person, people


class Refusal(HTTPException):
    """A request that can't be answered: its status, a sentence, and what is wrong with each field."""

    def __init__(self, code: int, detail: str, errors: list[dict[str, Any]] | tuple = ()) -> None:
        super().__init__(detail)
        self.code, self.errors = code, errors


def errors_of(invalid: Invalid, card: Card) -> list[dict[str, Any]]:
    """Return the errors pydantic has found, each with `field` and `message`, and `index` in a batch.

    Raises Refusal: a 400 if the body isn't JSON, and a 422 if there are too many errors to list.
    """
    if invalid.error_count() > TOO_MANY_ERRORS:
        raise Refusal(422, f"There are {invalid.error_count():,} errors, too many to name.")
    errors = []
    for each in invalid.errors(include_url=False, include_context=False):
        message, word = each["msg"], each["input"]
        match each["loc"]:
            case ("people", int(index), *rest):
                place, field = {"index": index}, (*rest, "person")[0]
            case loc:
                place = {"index": None} if invalid.title == "People" else {}
                field = (*loc, "body")[0]
        if each["type"] == "json_invalid":
            raise explain_bad_json(word, message)
        if isinstance(word, float) and not math.isfinite(word):  # json.dumps knows their names
            remedy = "send null if this isn't known" if field in OPTIONAL else "send a value"
            message = f"{json.dumps(word)} is not a value: {remedy}."
        elif each["type"] == "literal_error" and isinstance(word, str):
            message = f"Unknown category. Known: {', '.join(card['features'][field]['categories'])}"
        elif each["type"] == "literal_error":
            message = "Input should be a valid string"
        errors.append(place | {"field": str(field), "message": message})
    return errors


def explain_bad_json(body: bytes, message: str) -> Refusal:
    """Return a refusal that says what a body seems to be instead of JSON, or the parser's `message`."""
    encoding = json.detect_encoding(body)
    if request.content_encoding or body.startswith(b"\x1f\x8b"):  # as gzip does
        return Refusal(415, COMPRESSED)
    if encoding == "utf-8-sig":
        return Refusal(400, "The JSON begins with a byte-order mark. Send it without one.")
    if encoding != "utf-8":
        return Refusal(400, f"The JSON is {encoding.upper()}. Send it as UTF-8.")
    return Refusal(400, f"{message}.")


def refuse_batch(errors: list[dict[str, Any]]) -> Refusal:
    """Return the errors of a batch, by index and field, as a 422."""
    detail = "Nothing was predicted: the batch has errors, by index and field."
    return Refusal(422, detail, errors)
