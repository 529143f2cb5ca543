"""What a person may look like when they arrive: typed into the form, or sent to the API.

All ways lead to the same seven values and refuse the same ones. Which categories there are is
nowhere in this file: the model's card says so, and form and API read it there.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from operator import itemgetter
from typing import Annotated, Any, Literal

from flask_wtf import FlaskForm
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationInfo,
)
from pydantic import ValidationError as Invalid
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict
from wtforms import IntegerField, SelectField
from wtforms.validators import ValidationError
from wtforms.widgets import TextInput

from census_model import FEATURES, OPTIONAL, Card, CensusModel

MIN_AGE, MAX_AGE = 17, 120  # the census data has nobody younger; more is a slip of the finger
MIN_HOURS, MAX_HOURS = 1, 168  # the census data has people who work; a week has 168 hours
MAX_PEOPLE = 10_000  # in one batch
# The same two ranges as regular expressions, for the API's description of a CSV file.
AGE_PATTERN = "(1[7-9]|[2-9][0-9]|1[01][0-9]|120)"
HOURS_PATTERN = "([1-9][0-9]?|1[0-5][0-9]|16[0-8])"

# The data's abbreviations, for people; what is sent and judged stays the data's own word.
SPELLED_OUT = {
    "Federal-gov": "Federal government",
    "Local-gov": "Local government",
    "Never-worked": "Never worked",
    "Private": "Private company",
    "Self-emp-inc": "Self-employed, incorporated",
    "Self-emp-not-inc": "Self-employed, not incorporated",
    "State-gov": "State government",
    "Without-pay": "Without pay",
    "1st-4th": "1st to 4th grade",
    "5th-6th": "5th to 6th grade",
    "7th-8th": "7th to 8th grade",
    "9th": "9th grade",
    "10th": "10th grade",
    "11th": "11th grade",
    "12th": "12th grade, no diploma",
    "HS-grad": "High school graduate",
    "Some-college": "Some college, no degree",
    "Assoc-voc": "Associate degree, vocational",
    "Assoc-acdm": "Associate degree, academic",
    "Bachelors": "Bachelor's degree",
    "Masters": "Master's degree",
    "Prof-school": "Professional school",
    "Married-AF-spouse": "Married, spouse in the armed forces",
    "Married-civ-spouse": "Married, civilian spouse",
    "Married-spouse-absent": "Married, spouse absent",
    "Never-married": "Never married",
    "Amer-Indian-Eskimo": "American Indian or Eskimo",
    "Asian-Pac-Islander": "Asian or Pacific Islander",
}


def spell_out(value: str | int | None) -> str:
    """Return a person's value in words: `Bachelor's degree` for `Bachelors`."""
    return "Not known" if value is None else SPELLED_OUT.get(value, str(value))


class WholeNumberField(IntegerField):
    """A whole number from `low` to `high`."""

    # A browser's type="number" throws away what it can't read, so nothing could be said about it.
    # As text, what was typed arrives as it was typed.
    widget = TextInput()

    def __init__(self, label: str, low: int, high: int, **kwargs: Any) -> None:
        super().__init__(label, **kwargs)
        self.low, self.high = low, high

    def process_formdata(self, valuelist: list[str]) -> None:
        """Turn the typed text into a number, or say why it is none."""
        typed = valuelist[0].strip() if valuelist else ""
        if not typed:
            raise ValueError(f"Enter the {self.label.text.lower()}, for example 40.")
        try:
            number = int(typed.replace("_", "?"))  # int() reads 4_0 as 40
        except ValueError:
            raise ValueError("This is not a whole number. Enter digits, for example 40.") from None
        if not self.low <= number <= self.high:
            raise ValueError(f"Enter a whole number from {self.low} to {self.high}.")
        self.data = number


class CategoryField(SelectField):
    """One of the categories the model was trained on; with "Not known" first where that may be."""

    def offer(self, categories: list[str], optional: bool) -> None:
        """Fill the list with what the model knows."""
        self.known = {"", *categories} if optional else set(categories)
        self.choices = [(name, spell_out(name)) for name in categories]
        if optional:
            self.choices.insert(0, ("", spell_out(None)))
            self.data = self.data or ""  # a link may leave it out
        elif self.data not in self.known:  # or the first category would look chosen
            self.choices.insert(0, ("", "Choose from the list"))

    def pre_validate(self, form: FlaskForm) -> None:
        """Refuse what is not in the list, as a link written by hand may have it."""
        if not self.data and "" not in self.known:
            raise ValidationError(f"Choose the {self.label.text.lower()} from the list.")
        if self.data not in self.known:
            raise ValidationError(
                "The model doesn't know what the address says here. Choose from the list."
            )


class PersonForm(FlaskForm):
    """The form of the start page: the seven features of the model."""

    class Meta:
        # A CSRF token protects a form that changes something in your name. This one asks a
        # question with GET, and nothing remembers it: no account, no session, no SECRET_KEY.
        csrf = False

    age = WholeNumberField("Age", MIN_AGE, MAX_AGE)
    sex = CategoryField("Sex", description="as the census asked")
    race = CategoryField("Race", description="as the census asked")
    marital_status = CategoryField("Marital status", description="in 1994")
    education = CategoryField("Education", description="the highest level reached")
    workclass = CategoryField("Kind of employer", description="of the main job")
    hours_per_week = WholeNumberField("Hours of work per week", MIN_HOURS, MAX_HOURS)

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


def typical_person(card: Card) -> dict[str, str | int]:
    """Return the person the form starts with: each feature's median or most common value."""
    return {
        name: feature["most_common"] if "categories" in feature else round(feature["median"])
        for name, feature in card["features"].items()
    }


def whole(value: Any) -> Any:
    """Take 20.0 for 20: JSON has one kind of number, and so has a column with a gap in a CSV."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def known(value: str, info: ValidationInfo) -> str:
    """Refuse a category that is not on the model's card, which is the validation's context."""
    card: Card = info.context
    categories = card["features"][info.field_name]["categories"]
    if value not in categories:
        raise PydanticCustomError(
            "unknown_category",
            "Unknown category. Known: {known}",
            {"known": ", ".join(categories)},
        )
    return value


Category = Annotated[str, AfterValidator(known)]
Age = Annotated[int, Field(ge=MIN_AGE, le=MAX_AGE), BeforeValidator(whole)]
Hours = Annotated[int, Field(ge=MIN_HOURS, le=MAX_HOURS), BeforeValidator(whole)]


class Person(BaseModel):
    """One person, as the API takes them. Validate with the model's card as the context."""

    model_config = ConfigDict(strict=True, extra="forbid")

    age: Age = Field(description="Age in years", examples=[39])
    workclass: Category | None = Field(
        default=None,
        description="Kind of employer; null or left out where it is not known",
        examples=["State-gov"],
    )
    education: Category = Field(description="Highest level reached", examples=["Bachelors"])
    marital_status: Category = Field(description="Marital status", examples=["Never-married"])
    race: Category = Field(description="Race, as the census of 1994 asked", examples=["White"])
    sex: Category = Field(description="Sex, as the census of 1994 asked", examples=["Male"])
    hours_per_week: Hours = Field(description="Usual hours of work a week", examples=[40])


class People(BaseModel):
    """Many people in one call."""

    model_config = ConfigDict(strict=True, extra="forbid")

    people: list[Person] = Field(
        max_length=MAX_PEOPLE,
        description=f"Up to {MAX_PEOPLE:,} people; the answers keep the order",
    )


# The two classes above have words for whatever is wrong, and call a Python function for every value.
# What follows takes and refuses the same people several times as fast, because a model's categories
# are part of the type, and has no words: whom it refuses, the classes above refuse with a reason.


@lru_cache(maxsize=8)
def types_for(model: CensusModel) -> Mapping[str, Any]:
    """Return the type of each value that the API takes for this model."""
    types: dict[str, Any] = {"age": Age, "hours_per_week": Hours}
    for name in FEATURES:
        if name not in types:
            word: Any = Literal[tuple(model.card["features"][name]["categories"])]
            types[name] = Annotated[word | None, Field(default=None)] if name in OPTIONAL else word
    return types


@lru_cache(maxsize=8)
def reader_for(model: CensusModel) -> TypeAdapter[dict[str, Any]]:
    """Return what reads one person for this model, as a dictionary of all features."""
    fields = dict(types_for(model))
    known_person = TypedDict("known_person", fields)
    known_person.__pydantic_config__ = ConfigDict(strict=True, extra="forbid")
    return TypeAdapter(known_person)


def read_person(body: bytes, model: CensusModel) -> dict[str, Any]:
    """Return the person that a JSON body describes. Raises pydantic's ValidationError."""
    with suppress(Invalid):
        return reader_for(model).validate_json(body)
    return Person.model_validate_json(body, context=model.card).model_dump()


def read_people(body: bytes, model: CensusModel) -> list[tuple]:
    """Return the people that a JSON body describes, each as a tuple of the FEATURES.

    Raises pydantic's ValidationError. A person becomes a tuple as soon as the parser has read them:
    a dictionary for each would take four times the memory of the body.
    """
    read, values = reader_for(model).validate_python, itemgetter(*FEATURES)

    def shrink(found: dict[str, Any]) -> Any:
        return found if "people" in found else values(read(found))

    with suppress(ValueError, RecursionError):  # no UTF-8, no JSON, nested too deep, not a person
        match json.loads(body.decode(), object_hook=shrink):
            case {"people": [*people], **others} if not others and len(people) <= MAX_PEOPLE:
                if all(type(each) is tuple for each in people):  # so each has been read
                    return people
    batch = People.model_validate_json(body, context=model.card)
    return [values(each) for each in batch.model_dump()["people"]]
