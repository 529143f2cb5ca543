"""The form: it turns what was typed into a number from 0 to LARGEST, or into a helpful message."""

import re

from flask_wtf import FlaskForm
from wtforms import IntegerField
from wtforms.widgets import TextInput

from primes import LARGEST

RANGE = f"from 0 to {LARGEST:,}"


def capped_int(digits: str) -> int:
    """Return the number in `digits`, or LARGEST + 1 if it has more digits than LARGEST.

    Python's int() refuses more than 4,300 digits, so a longer string never reaches it.
    """
    significant = digits.lstrip("0") or "0"
    return int(significant) if len(significant) <= len(str(LARGEST)) else LARGEST + 1


class WholeNumberField(IntegerField):
    """A whole number from 0 to LARGEST, typed in digits."""

    # With type="number", a browser discards what it can't read ("abc" arrives as nothing), so no
    # message could say what is wrong. As text, everything arrives exactly as typed.
    widget = TextInput()

    def process_formdata(self, valuelist: list[str]) -> None:
        """Turn the typed text into a number. Raises ValueError with a message for the visitor."""
        typed = valuelist[0].strip() if valuelist else ""
        if not typed:
            raise ValueError("Enter a whole number, for example 91.")
        if re.fullmatch(r"[-−]\s*\d+", typed):
            raise ValueError(f"Prime numbers are never negative. Enter a number {RANGE}.")
        if not typed.isdecimal():
            if re.search(r"\d", typed) and re.fullmatch(r"[-−+.,_' \d]+", typed):
                raise ValueError(
                    "Enter a whole number with digits only: no point, comma, space or sign."
                )
            raise ValueError("This is not a whole number. Enter digits only, for example 91.")
        number = capped_int(typed)
        if number > LARGEST:
            raise ValueError(f"This number is too large for this page. Enter a number {RANGE}.")
        self.data = number


class NumberForm(FlaskForm):
    """The form of the start page: one number."""

    class Meta:
        # A CSRF token protects a form that changes something in your name. This one asks a
        # question, and nothing remembers it: no account, no session, and so no SECRET_KEY.
        csrf = False

    number = WholeNumberField("Your number")
