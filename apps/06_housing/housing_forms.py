"""Checks a district, a name, a username and a password, typed into a form or sent as JSON.

The forms and the API accept and refuse the same values.
"""

import re
import string
import unicodedata
from typing import Annotated, Any, ClassVar

from flask_wtf import FlaskForm
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, create_model
from wtforms import FloatField, HiddenField, PasswordField, SelectField, StringField
from wtforms.fields import SelectChoice
from wtforms.validators import ValidationError
from wtforms.widgets import TextInput

from housing_database import NAME_LENGTH, USERNAME_LENGTH
from housing_model import FEATURES, UNITS
from housing_picture import PLACES

# For each feature: its label, the smallest and the largest number that can't be a typo (the districts of
# 1990 are well within them, and the last two frame California), and its description and example in the
# API's documentation.
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
USERNAME_CHARACTERS = f"{string.ascii_lowercase}{string.digits}._-"
LABELS = {name: label for name, (label, *_) in FIELDS.items()}
LIMITS = {name: (low, high) for name, (_, low, high, _, _) in FIELDS.items()}


class NumberField(FloatField):
    """A number within its LIMITS, typed with a decimal point or, except for people, a comma."""

    # As text, the input arrives as it was typed; type="number" drops what isn't a number.
    widget = TextInput()

    def _value(self) -> str:
        """Return what the field shows: what was typed, or a number without needless zeros."""
        return (
            f"{self.data:.10g}"
            if isinstance(self.data, float) and not self.raw_data
            else super()._value()
        )

    def process_formdata(self, valuelist: list[str]) -> None:
        """Turn what was typed into a number, or say what is wrong with it."""
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
        # GET, such as from a bookmark, changes nothing and doesn't need a token.
        csrf = False

    place = SelectField(
        "Place",
        choices=[SelectChoice("", "Latitude and longitude, as below"), *map(SelectChoice, PLACES)],
        validate_choice=False,  # done below, with a better message
    )
    over = SelectField(
        "Over what?",  # the curve; the place has the map
        choices=[SelectChoice(name, FIELDS[name][0]) for name in FEATURES[:-2]],
        validate_choice=False,
    )

    def __init__(self, formdata: Any, **kwargs: Any) -> None:
        if formdata and formdata.get("place") in PLACES:
            formdata = formdata.copy()  # as a MultiDict that can be changed
            latitude, longitude = PLACES[formdata["place"]]
            formdata["latitude"], formdata["longitude"] = str(latitude), str(longitude)
        super().__init__(formdata, **kwargs)
        self.place.data = self.place.data or ""  # a link may leave it out
        if self.over.data not in FEATURES[:-2]:
            self.over.data = FEATURES[0]

    def validate_place(self, field: SelectField) -> None:
        """Refuse a value that isn't in the list, which can only come from an edited link."""
        if field.data and field.data not in PLACES:
            raise ValidationError("Choose a place from the list.")

    @property
    def district(self) -> dict[str, float]:
        """The valid form's values, as the model and the API take them."""
        return {name: self[name].data for name in FEATURES}


for name, (label, *_) in FIELDS.items():
    setattr(DistrictForm, name, NumberField(label))


# A name is one line of visible characters and spaces, with any white space around it. The API's document
# has the same pattern, so it uses only what the regular expressions of Python and JavaScript share.
UNSEEN = r"\x00-\x1f\x7f-\xa0\xad\u061c\u1680\u180e\u2000-\u200f\u2028-\u202f\u205f-\u206f\ufeff"
NAME_PATTERN = rf"^\s*[^\s{UNSEEN}]([^{UNSEEN}]*[^\s{UNSEEN}])?\s*$"


def tidy_name(text: str | None) -> str:
    """Return a name without white space around it. Raises ValueError, with a sentence for people."""
    text = text or ""
    if not text.strip():
        raise ValueError("Enter a name.")
    if len(text) > NAME_LENGTH:
        raise ValueError(f"Enter a name of at most {NAME_LENGTH} characters.")
    if not re.fullmatch(NAME_PATTERN, text):
        raise ValueError("Enter a name of letters, digits and signs, in one line.")
    return text.strip()


def tidy_username(text: str | None) -> str:
    """Return a username in the one spelling that `Anna`, `ANNA` and `ａｎｎａ` share: `anna`.

    Raises ValueError, with a sentence for people. Letters of other scripts, some Latin ones (such as the
    dotless ı) and invisible characters could make two names look alike, so none is accepted.
    An accent is fine: only the letter below it counts.
    """
    name = unicodedata.normalize(
        "NFKC", unicodedata.normalize("NFKC", text or "").casefold()
    ).strip()
    if not 1 <= len(name) <= USERNAME_LENGTH:
        raise ValueError(f"Choose a username of 1 to {USERNAME_LENGTH} characters.")
    if any(unicodedata.normalize("NFD", char)[0] not in USERNAME_CHARACTERS for char in name):
        signs = "Latin letters, digits, dots, hyphens and underscores"
        raise ValueError(f"Choose a username of {signs}, with no spaces.")
    return name


def check_new_password(password: str, username: str) -> None:
    """Raise ValidationError, with a sentence for people, for a password that is easy to guess."""
    if not 8 <= len(password) <= 256:
        raise ValidationError("Choose a password of 8 to 256 characters.")
    if password.casefold() == username.casefold():
        raise ValidationError("Choose a password other than the username.")


class SaveForm(DistrictForm):
    """A district with a prediction, and the name to save it under."""

    name = StringField("Name", filters=[tidy_name])
    model_version = HiddenField()


class NameForm(FlaskForm):
    """Only a name, for a saved prediction."""

    name = StringField("Name", filters=[tidy_name])


class TokenForm(NameForm):
    """The name of a token, and after how many days it expires: never, if none are chosen."""

    AFTER: ClassVar = {"": "Never", "1": "In a day", "30": "In 30 days", "365": "In a year"}
    days = SelectField(
        "Expires", choices=[SelectChoice(*each) for each in AFTER.items()], default=""
    )


class PasswordForm(FlaskForm):
    """The password again, before something that can't be undone."""

    password = PasswordField("Password")
    status: tuple = (200,)  # to send the form back with; logging in finds out whether it is right


class LoginForm(PasswordForm):
    """Username and password."""

    username = StringField("Username")


class RegisterForm(FlaskForm):
    """A new username and password."""

    username = StringField("Username", filters=[tidy_username])
    password = PasswordField("Password")

    def validate_password(self, field: PasswordField) -> None:
        """Refuse a password that is easy to guess."""
        check_new_password(field.data or "", self.username.data or "")


class NewPasswordForm(PasswordForm):
    """The password, and the one to change it to."""

    new = PasswordField("New password")

    def __init__(self, formdata: Any, username: str) -> None:
        super().__init__(formdata)
        self.username = username

    def validate_new(self, field: PasswordField) -> None:
        """Refuse a password that is easy to guess."""
        check_new_password(field.data or "", self.username)


STRICT = ConfigDict(strict=True, extra="forbid")

# `create_model` writes the class for us, with a line for each feature.
fields = {
    name: (float, Field(ge=low, le=high, description=description, examples=[example]))
    for name, (_, low, high, description, example) in FIELDS.items()
}
District = create_model("District", __config__=STRICT, __doc__="One district.", **fields)


NAME_SCHEMA = {"minLength": 1, "maxLength": NAME_LENGTH, "pattern": NAME_PATTERN}
ABOUT = {"description": "Any name, in one line", "examples": ["My street"]}


class Renamed(BaseModel):
    """The new name of a saved prediction."""

    model_config = STRICT
    name: Annotated[str, AfterValidator(tidy_name), Field(json_schema_extra=NAME_SCHEMA, **ABOUT)]


class NewSaved(Renamed):
    """What to save; the app itself predicts the price."""

    district: District
