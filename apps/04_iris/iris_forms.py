"""A flower as it arrives: typed into the form, or sent to the API as JSON.

Both have a field for each of FEATURES and refuse the same numbers.
"""

from typing import Annotated

from flask_wtf import FlaskForm
from pydantic import ConfigDict, Field, create_model
from wtforms import FloatField
from wtforms.widgets import TextInput

from iris_model import ABOVE, AT_MOST, FEATURES, UNIT

Number = Annotated[float, Field(gt=ABOVE, le=AT_MOST)]  # refuses nan too: it isn't above anything

# The body of POST /api/predict: a JSON number for each feature, and nothing else. `create_model` writes
# the class for us: `class Flower(BaseModel)`, with a line such as `sepal_length: Number` for each feature.
STRICT = ConfigDict(strict=True, extra="forbid")
Flower = create_model("Flower", __config__=STRICT, **dict.fromkeys(FEATURES, Number))


class NumberField(FloatField):
    """A number in the form, typed with a decimal point or a decimal comma."""

    # A browser's type="number" discards what it can't read ("5,1" arrives as 51, "abc" as
    # nothing), so the app couldn't say what is wrong. As text, everything arrives as it was typed.
    widget = TextInput()

    def process_formdata(self, valuelist: list[str]) -> None:
        """Turn the typed text into a number, or say what is wrong with it."""
        typed = valuelist[0].strip() if valuelist else ""
        example = f"for example {self.object_data:g}"  # the form starts with a typical flower
        if not typed:
            unit = f" in {UNIT}" if UNIT else ""
            raise ValueError(f"Enter the {self.label.text.lower()}{unit}, {example}.")
        try:
            self.data = float(typed.replace(",", ".").replace("_", "?"))  # float() reads 1_0 as 10
        except ValueError:
            raise ValueError(f"This is not a number. Enter digits, {example}.") from None
        if not ABOVE < self.data <= AT_MOST:  # false for nan as well
            raise ValueError(f"Enter a number above {ABOVE} and at most {AT_MOST}.")


class FlowerForm(FlaskForm):
    """The form of the start page. The loop below gives it a field for each of FEATURES."""

    class Meta:
        # A CSRF token protects a form that changes something in your name. This form only asks
        # a question and stores nothing: no account, no session, and so no SECRET_KEY.
        csrf = False


for name in FEATURES:
    setattr(FlowerForm, name, NumberField(name.replace("_", " ").capitalize()))
