"""What a flower may look like when it arrives: typed into the form, or sent as JSON.

Both ways lead to the same four numbers in centimetres, and both refuse the same ones.
"""

from typing import Annotated, Any

from flask_wtf import FlaskForm
from pydantic import BaseModel, ConfigDict, Field
from wtforms import FloatField
from wtforms.widgets import TextInput

MAX_CM = 30  # no iris has a petal or sepal as long as this: more is a slip of the finger


class CentimetresField(FloatField):
    """A length in cm, above 0 and at most MAX_CM, typed with a decimal point or a decimal comma.

    `example` is what its messages suggest: a length that such a leaf can have, such as "5.1".
    """

    # A browser's type="number" throws away what it can't read ("5,1" arrives as 51, "abc" as
    # nothing), so nothing could be said about it. As text, what was typed arrives as it was typed.
    widget = TextInput()

    def __init__(self, label: str, example: str, **settings: Any) -> None:
        super().__init__(label, **settings)
        self.example = example

    def process_formdata(self, valuelist: list[str]) -> None:
        """Turn the typed text into a number, or say why it is none."""
        typed = valuelist[0].strip() if valuelist else ""
        if not typed:
            raise ValueError(
                f"Enter the {self.label.text.lower()} in cm, for example {self.example}."
            )
        try:
            number = float(typed.replace(",", ".").replace("_", "?"))  # float() reads 1_0 as 10
        except ValueError:
            raise ValueError(
                f"This is not a number. Enter digits, for example {self.example}."
            ) from None
        if not 0 < number <= MAX_CM:  # false for nan as well
            raise ValueError(f"Enter a number above 0 and at most {MAX_CM}.")
        self.data = number


class FlowerForm(FlaskForm):
    """The form of the start page: four lengths in cm."""

    class Meta:
        # A CSRF token protects a form that changes something in your name. This one asks a
        # question, and nothing remembers it: no account, no session, and so no SECRET_KEY.
        csrf = False

    sepal_length = CentimetresField("Sepal length", example="5.1")
    sepal_width = CentimetresField("Sepal width", example="3.5")
    petal_length = CentimetresField("Petal length", example="1.4")
    petal_width = CentimetresField("Petal width", example="0.2")


Centimetres = Annotated[float, Field(gt=0, le=MAX_CM)]  # nan is refused too: it is not above 0


class Flower(BaseModel):
    """The body of POST /api/predict: the four lengths in cm as JSON numbers, and nothing else."""

    model_config = ConfigDict(strict=True, extra="forbid")

    sepal_length: Centimetres
    sepal_width: Centimetres
    petal_length: Centimetres
    petal_width: Centimetres
