"""What may arrive: a district, a name, a username and a password, typed into a form or sent as JSON.

Form and API lead to the same values and refuse the same ones.
"""

import unicodedata
from collections.abc import Callable
from typing import Annotated, Any

from flask_wtf import FlaskForm
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, create_model
from wtforms import FloatField, HiddenField, PasswordField, SelectField, StringField
from wtforms.fields import SelectChoice
from wtforms.validators import ValidationError
from wtforms.widgets import TextInput

from housing_database import NAME_LENGTH, USERNAME_LENGTH
from housing_model import FEATURES, UNITS
from housing_picture import PLACES

# For each feature: its label, the smallest and the largest number that is no slip of the finger (the
# districts of 1990 are well within, and the last two frame California), and its description and example
# in the API's documentation.
FIELDS = {
    "median_income": ("Median income", 0, 100, "Of its households, in 10,000 $ a year", 3.54),
    "house_age": ("Age of the houses", 0, 200, "Median age of its houses, in years", 29),
    "average_rooms": ("Average rooms", 0, 1000, "Per household", 5.23),
    "average_bedrooms": ("Average bedrooms", 0, 1000, "Per household", 1.05),
    "population": ("Population", 1, 1_000_000, "People in the district", 1166),
    "average_occupancy": ("Average occupancy", 0, 10_000, "People per household", 2.82),
    "latitude": ("Latitude", 32, 43, "Degrees north", 34.26),
    "longitude": ("Longitude", -125, -114, "Degrees; negative in the west", -118.49),
}
LIMITS = {name: (low, high) for name, (_, low, high, _, _) in FIELDS.items()}
EXAMPLE = {name: example for name, (*_, example) in FIELDS.items()}
PASSWORD_LENGTH = (8, 256)


# What people type into a form


class NumberField(FloatField):
    """A number within its LIMITS, typed with a decimal point or, except for people, a comma."""

    # A browser's type="number" throws away what it can't read, so the app couldn't say what is wrong.
    # As text, everything arrives as it was typed.
    widget = TextInput()

    def _value(self) -> str:
        """Return what the field shows: what was typed, or its number without a needless `.0`."""
        if self.raw_data:
            return self.raw_data[0]
        return "" if self.data is None else f"{self.data:.10g}"

    def process_formdata(self, valuelist: list[str]) -> None:
        """Turn the typed text into a number, or say what is wrong with it."""
        low, high = LIMITS[self.name]
        typed = valuelist[0].strip() if valuelist else ""
        if not typed:
            raise ValueError(f"Enter the {self.label.text.lower()} in {UNITS[self.name]}.")
        if self.name == "population" and "," in typed:
            raise ValueError("Enter the people without a comma, for example 1500.")
        # float() reads 1_0 as 10; and a minus sign may be copied from a page.
        plain = typed.replace(",", ".").replace("−", "-").replace("_", "?")
        try:
            number = float(plain)
        except ValueError:
            raise ValueError("This is not a number. Enter digits, for example 3.5.") from None
        if not low <= number <= high:  # false for nan as well
            raise ValueError(f"Enter a number from {low:,} to {high:,}.")
        self.data = number


class DistrictForm(FlaskForm):
    """The eight features of a district; the loop below adds them. A place has its own coordinates."""

    class Meta:
        # The app checks the CSRF token of every POST before any form sees it. A question asked with
        # GET, from a bookmark for example, changes nothing and needs no token.
        csrf = False

    place = SelectField(
        "Place",
        choices=[SelectChoice("", "Latitude and longitude, as below"), *map(SelectChoice, PLACES)],
        validate_choice=False,  # done below, with a better message
    )

    def __init__(self, formdata: Any, **kwargs: Any) -> None:
        if formdata and formdata.get("place") in PLACES:
            formdata = formdata.copy()  # as a MultiDict that can be changed
            latitude, longitude = PLACES[formdata["place"]]
            formdata["latitude"], formdata["longitude"] = str(latitude), str(longitude)
        super().__init__(formdata, **kwargs)
        self.place.data = self.place.data or ""  # a link may leave it out

    def validate_place(self, field: SelectField) -> None:
        """Refuse what is not in the list; a link written by hand may have anything."""
        if field.data and field.data not in PLACES:
            raise ValidationError("Choose a place from the list.")

    @property
    def district(self) -> dict[str, float]:
        """The valid form's values, as the model and the API take them."""
        return {name: self[name].data for name in FEATURES}


for name, (label, *_) in FIELDS.items():
    setattr(DistrictForm, name, NumberField(label))


def checked(tidy: Callable[[str], str]) -> Callable[[FlaskForm, StringField], None]:
    """Return a method for a form that tidies a field's text, or shows why `tidy` refuses it."""

    def validate(form: FlaskForm, field: StringField) -> None:
        try:
            field.data = tidy(field.data or "")
        except ValueError as error:
            raise ValidationError(str(error)) from None

    return validate


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


class SaveForm(DistrictForm):
    """A district that the model has answered, and the name to save the answer under."""

    name = StringField("Name")
    model_version = HiddenField()
    validate_name = checked(tidy_name)


class NameForm(FlaskForm):
    """Only a name, for a saved prediction or a token."""

    name = StringField("Name")
    validate_name = checked(tidy_name)


class LoginForm(FlaskForm):
    """Username and password; logging in finds out whether they are right."""

    username = StringField("Username")
    password = PasswordField("Password")


class RegisterForm(LoginForm):
    """A new username and password."""

    validate_username = checked(tidy_username)

    def validate_password(self, field: PasswordField) -> None:
        """Refuse a password that is easy to guess."""
        shortest, longest = PASSWORD_LENGTH
        if not shortest <= len(field.data or "") <= longest:
            raise ValidationError(f"Choose a password of {shortest} to {longest} characters.")
        if field.data.casefold() == (self.username.data or "").casefold():
            raise ValidationError("Choose a password other than the username.")


class PasswordForm(FlaskForm):
    """The password once more, before something that can't be undone."""

    password = PasswordField("Password")


# What programs send to the API

STRICT = ConfigDict(strict=True, extra="forbid")

# `create_model` writes the class for us, with a line for each feature.
District = create_model(
    "District",
    __config__=STRICT,
    __doc__="One district, as the API takes it and gives it back.",
    **{
        name: (float, Field(ge=low, le=high, description=description, examples=[example]))
        for name, (_, low, high, description, example) in FIELDS.items()
    },
)


# The same in the terms of a JSON schema, as nearly as it can say it.
NAME_SCHEMA = {"minLength": 1, "maxLength": NAME_LENGTH, "pattern": r"^[!-~]([ -~]*[!-~])?$"}
NAMED = Field(
    description="A name of your own, in one line",
    examples=["My street"],
    json_schema_extra=NAME_SCHEMA,
)
Name = Annotated[str, AfterValidator(tidy_name), NAMED]


class NewSaved(BaseModel):
    """What to save; the app itself asks the model for the price."""

    model_config = STRICT
    name: Name
    district: District


class Renamed(BaseModel):
    """The new name of a saved prediction."""

    model_config = STRICT
    name: Name
