"""What may arrive: a district, a name, a username and a password, typed into a form or sent as JSON.

Both ways lead to the same values and refuse the same ones.
"""

import unicodedata
from typing import Annotated, Any

from flask_wtf import FlaskForm
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError
from wtforms import FloatField, HiddenField, PasswordField, SelectField, StringField
from wtforms.fields import SelectChoice
from wtforms.validators import ValidationError
from wtforms.widgets import TextInput

from housing_database import NAME_LENGTH, USERNAME_LENGTH
from housing_model import FEATURES, UNITS, Card
from housing_picture import PLACES

# From the least to the most that is no slip of the finger: the districts of 1990 all lie well within,
# and the last two frame California.
LIMITS = {
    "median_income": (0, 100),
    "house_age": (0, 200),
    "average_rooms": (0, 1000),
    "average_bedrooms": (0, 1000),
    "population": (1, 1_000_000),
    "average_occupancy": (0, 10_000),
    "latitude": (32, 43),
    "longitude": (-125, -114),
}
PASSWORD_LENGTH = (8, 256)


# What is typed into a form


class NumberField(FloatField):
    """A number from `low` to `high`, typed with a decimal point or, where one may be, a comma."""

    # A browser's type="number" throws away what it can't read, so nothing could be said about it.
    # As text, what was typed arrives as it was typed.
    widget = TextInput()

    def _value(self) -> str:
        """What the field shows: what was typed, or its number without a needless `.0`."""
        if self.raw_data:
            return self.raw_data[0]
        return "" if self.data is None else f"{self.data:.10g}"

    def process_formdata(self, valuelist: list[str]) -> None:
        """Turn the typed text into a number, or say why it is none."""
        low, high = LIMITS[self.name]
        typed = valuelist[0].strip() if valuelist else ""
        if not typed:
            raise ValueError(f"Enter the {self.label.text.lower()} in {UNITS[self.name]}.")
        if self.name == "population" and "," in typed:
            raise ValueError("Enter the people without a comma, for example 1500.")
        # float() reads 1_0 as 10; and a minus sign may be typed, or copied from a page.
        plain = typed.replace(",", ".").replace("−", "-").replace("_", "?")
        try:
            number = float(plain)
        except ValueError:
            raise ValueError("This is not a number. Enter digits, for example 3.5.") from None
        if not low <= number <= high:  # false for nan as well
            raise ValueError(f"Enter a number from {low:,} to {high:,}.")
        self.data = number


class DistrictForm(FlaskForm):
    """The eight features of a district; a place from the list takes its own coordinates."""

    class Meta:
        # The app checks the CSRF token of every POST itself, before any form sees it. A question
        # asked with GET, as by a bookmark, changes nothing and needs none.
        csrf = False

    median_income = NumberField("Median income")
    house_age = NumberField("Age of the houses")
    average_rooms = NumberField("Average rooms")
    average_bedrooms = NumberField("Average bedrooms")
    population = NumberField("Population")
    average_occupancy = NumberField("Average occupancy")
    place = SelectField(
        "Place",
        choices=[SelectChoice("", "Latitude and longitude, as below"), *map(SelectChoice, PLACES)],
        validate_choice=False,  # done below, with a better message
    )
    latitude = NumberField("Latitude")
    longitude = NumberField("Longitude")

    def __init__(self, formdata: Any, **kwargs: Any) -> None:
        if formdata and formdata.get("place") in PLACES:
            formdata = formdata.copy()  # as a MultiDict that can be changed
            latitude, longitude = PLACES[formdata["place"]]
            formdata["latitude"], formdata["longitude"] = str(latitude), str(longitude)
        super().__init__(formdata, **kwargs)
        self.place.data = self.place.data or ""  # a link may leave it out

    def validate_place(self, field: SelectField) -> None:
        """Refuse what is not in the list, as a link written by hand may have it."""
        if field.data and field.data not in PLACES:
            raise ValidationError("Choose a place from the list.")

    @property
    def district(self) -> dict[str, float]:
        """The valid form's values, as the model and the API take them."""
        return {name: self[name].data for name in FEATURES}


class SaveForm(DistrictForm):
    """A district as it was judged, and the name to keep the answer under."""

    name = StringField("Name")
    model_version = HiddenField()

    def validate_name(self, field: StringField) -> None:
        """Refuse what `tidy_name` refuses."""
        field.data = _checked(tidy_name, field.data)


class NameForm(FlaskForm):
    """A name alone, for a saved prediction or a token."""

    name = StringField("Name")

    def validate_name(self, field: StringField) -> None:
        """Refuse what `tidy_name` refuses."""
        field.data = _checked(tidy_name, field.data)


class LoginForm(FlaskForm):
    """Username and password; whether they are right is for the log-in to say."""

    username = StringField("Username")
    password = PasswordField("Password")


class RegisterForm(LoginForm):
    """A new username and password."""

    def validate_username(self, field: StringField) -> None:
        """Refuse what `tidy_username` refuses."""
        field.data = _checked(tidy_username, field.data)

    def validate_password(self, field: PasswordField) -> None:
        """Refuse a password that is soon guessed."""
        shortest, longest = PASSWORD_LENGTH
        if not shortest <= len(field.data or "") <= longest:
            raise ValidationError(f"Choose a password of {shortest} to {longest} characters.")
        if field.data.casefold() == (self.username.data or "").casefold():
            raise ValidationError("Choose a password other than the username.")


class PasswordForm(FlaskForm):
    """The password once more, before something that can't be undone."""

    password = PasswordField("Password")


def _checked(tidy: Any, value: str | None) -> str:
    try:
        return tidy(value or "")
    except ValueError as error:
        raise ValidationError(str(error)) from None


def tidy_name(text: str) -> str:
    """Return a name without spaces around it. Raises ValueError, with a sentence for people."""
    text = text.strip()
    if not text:
        raise ValueError("Enter a name.")
    if len(text) > NAME_LENGTH:
        raise ValueError(f"Enter a name of at most {NAME_LENGTH} characters.")
    if not text.isprintable():
        raise ValueError("Enter a name of letters, digits and signs, in one line.")
    return text


def tidy_username(text: str) -> str:
    """Return a username in one spelling. Raises ValueError, with a sentence for people."""
    text = unicodedata.normalize("NFKC", text).strip()
    if not text or len(text) > USERNAME_LENGTH:
        raise ValueError(f"Choose a username of 1 to {USERNAME_LENGTH} characters.")
    if not text.isprintable() or any(map(str.isspace, text)):
        raise ValueError("Choose a username of letters, digits and signs, with no spaces.")
    return text


def typical_district(card: Card) -> dict[str, float]:
    """Return the district the form starts with: the median of each feature."""
    return {name: round(card["features"][name]["median"], 2) for name in FEATURES}


# What is sent to the API


def _feature(name: str, description: str, example: float) -> Any:
    low, high = LIMITS[name]
    return Field(ge=low, le=high, allow_inf_nan=False, description=description, examples=[example])


class District(BaseModel):
    """One district, as the API takes it and gives it back."""

    model_config = ConfigDict(strict=True, extra="forbid")

    median_income: float = _feature("median_income", "Of its households, in 10,000 $ a year", 3.54)
    house_age: float = _feature("house_age", "Median age of its houses, in years", 29)
    average_rooms: float = _feature("average_rooms", "Per household", 5.23)
    average_bedrooms: float = _feature("average_bedrooms", "Per household", 1.05)
    population: float = _feature("population", "People in the district", 1166)
    average_occupancy: float = _feature("average_occupancy", "People per household", 2.82)
    latitude: float = _feature("latitude", "Degrees north", 34.26)
    longitude: float = _feature("longitude", "Degrees; negative in the west", -118.49)


def named(value: str) -> str:
    """Check the name in a body as the form checks it."""
    try:
        return tidy_name(value)
    except ValueError as error:
        raise PydanticCustomError("name", str(error)) from None


Name = Annotated[
    str,
    AfterValidator(named),
    # The same in the terms of a JSON schema, as near as it can say it.
    Field(description="A name of your own, in one line", examples=["My street"]),
]
NAME_SCHEMA = {"minLength": 1, "maxLength": NAME_LENGTH, "pattern": r"^[!-~]([ -~]*[!-~])?$"}


class NewSaved(BaseModel):
    """What is to be saved: the app itself asks the model for the price."""

    model_config = ConfigDict(strict=True, extra="forbid")

    name: Name
    district: District


class Renamed(BaseModel):
    """The new name of a saved prediction."""

    model_config = ConfigDict(strict=True, extra="forbid")

    name: Name
