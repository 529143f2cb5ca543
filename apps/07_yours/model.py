"""The trained model and its card: reads both, checks what visitors send, and answers.

The card is a JSON file that says what the model learned from, how good it is, and which model file
belongs to it. The form, the API and its document are made from the card, so a model of another table
needs no change here. A model file is a pickle, and opening a pickle can run any code; so a file that is
not the one its card describes is never opened.
"""

import hashlib
import importlib.metadata
import io
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import joblib
import numpy as np
import pandas as pd
from pydantic import BaseModel, BeforeValidator, Field, ValidationError, create_model

from table import OTHER, clean_name, is_gap, likeliest, number, word_key

HERE = Path(__file__).resolve().parent
MODEL_FOLDER, CARD_NAME = HERE / "model", "card.json"
IN_WORKSHOP = HERE.name == "07_yours" and any(
    (up / "workshop").is_dir() for up in HERE.parents[1:3]
)
TRAIN = "python3 -m workshop train 07" if IN_WORKSHOP else "python train.py data.csv TARGET"


class ModelUnavailable(Exception):
    """There is no model that may be used. The message says why, and ends with the remedy."""

    def __init__(self, problem: str, remedy: str = f"train one with {TRAIN}") -> None:
        super().__init__(f"{problem}; {remedy}")
        self.problem = problem


class Refusal(Exception):
    """A row that the model can't answer; each of `errors` has a `field` and a `message`."""

    def __init__(self, *errors: dict[str, str]) -> None:
        super().__init__(errors[0]["message"])
        self.errors = list(errors)


class Feature(BaseModel):
    """A column of the table.

    A number has its 1 % and 99 % quantiles as `low` and `high`, and the median as `typical`. Words are
    listed in the table's own spelling, the most common one being `typical`; with `other`, the table has
    more of them, each in too few rows to be listed.
    """

    name: str
    kind: Literal["number", "words"]
    gaps: bool  # whether a value may be missing, as it is in some row of the table
    typical: float | str
    decimal: Literal[".", ","] = "."
    unit: str = ""  # a sign in the cells, such as $ or %
    low: float = 0.0
    high: float = 0.0
    words: list[str] = []
    other: bool = False


class Interval(BaseModel):
    """How far from a predicted number the truth may be, for `level` of the rows."""

    level: float
    width: float  # to each side, in the target's unit
    relative: bool  # the estimator predicts the logarithm of the target, and `width` is one as well
    floor: float | None  # 0 where the target is never negative
    coverage: float  # the share of rows whose truth was in it, though they had no part in its width


class Card(BaseModel):
    """What anyone who uses the model should know; it was tested on each third of the table in turn."""

    target: Feature  # its `words` are the classes; of kind `number`, a number is predicted
    features: list[Feature]
    left_out: dict[str, str]  # columns that the model doesn't use, and why
    data: dict[str, str | int]
    estimator: str
    metrics: dict[str, float]
    classes: dict[
        str, dict[str, int]
    ]  # `rows` of each class, how many are `found`, how often it's `said`
    interval: Interval | None
    trained: str
    versions: dict[str, str]
    previous: str | None  # the version in use before this one
    model_file: Annotated[str, Field(pattern=r"^[0-9a-f]{12}\.joblib$")]
    sha256: str  # of the model file
    card_sha256: str  # of the other fields


def card_hash(fields: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the fields of a card, except `card_sha256`."""
    rest = {name: value for name, value in fields.items() if name != "card_sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def read_card(path: Path) -> Card:
    """Return the card at `path`, checked. Raises ModelUnavailable."""
    try:
        fields = json.loads(path.read_bytes())
        card = Card.model_validate(fields)
    except OSError as error:
        raise ModelUnavailable("There is no trained model yet") from error
    except ValidationError as error:
        field = ".".join(map(str, error.errors()[0]["loc"])) or "all of it"
        raise ModelUnavailable(f"The card {path.name} lacks a good value for {field}") from error
    except ValueError as error:
        raise ModelUnavailable(f"The card {path.name} is damaged: it isn't JSON") from error
    if card.card_sha256 != card_hash(fields):
        raise ModelUnavailable(f"The card {path.name} was changed after the training")
    return card


def load(folder: Path = MODEL_FOLDER) -> "Model":
    """Return the model in `folder`, if it is the one its card describes. Raises ModelUnavailable."""
    card = read_card(Path(folder, CARD_NAME))
    trained, used = card.versions["scikit_learn"], importlib.metadata.version("scikit-learn")
    if trained.split(".")[:2] != used.split(".")[:2]:
        raise ModelUnavailable(
            f"The model was trained with scikit-learn {trained}, and {used} is installed",
            f"pip install scikit-learn=={trained}, or train the model again with {TRAIN}",
        )
    if trained != used:
        logging.warning("Trained with scikit-learn %s; %s is installed.", trained, used)
    try:
        content = Path(folder, card.model_file).read_bytes()
    except OSError as error:
        raise ModelUnavailable(f"The model file {card.model_file} is missing") from error
    if hashlib.sha256(content).hexdigest() != card.sha256:
        raise ModelUnavailable(f"The model file {card.model_file} doesn't match its card")
    try:
        return Model(joblib.load(io.BytesIO(content)), card)
    except Exception as error:  # a pickle from elsewhere may raise anything
        raise ModelUnavailable(f"The model file {card.model_file} can't be opened") from error


@dataclass(frozen=True)
class Answer:
    """What the model says about one row: a class and probabilities, or a number and an interval."""

    prediction: str | float
    probabilities: dict[str, float] | None
    interval: list[float] | None  # both ends, the lower one first
    warnings: list[str]
    model_version: str


class Model:
    """The trained estimator, its card, and the pydantic model of a row."""

    def __init__(self, estimator: Any, card: Card) -> None:
        self.estimator, self.card, self.row = estimator, card, row_model(card.features)
        self.version = card.sha256[:12]
        self.typical = {each.name: each.typical for each in card.features}  # a row to begin with

    def read(self, row: object) -> dict[str, Any]:
        """Return the values of a row, by feature. Raises Refusal.

        Columns that the model leaves out are ignored. A name that the table never had is refused, so that
        a typing mistake can't become a gap.
        """
        if not isinstance(row, dict):
            raise Refusal({"field": "body", "message": "Send each row as a JSON object."})
        row = {clean_name(name) or "Unnamed: 0": value for name, value in row.items()}
        errors = {}
        for name in row.keys() - {*self.typical, *self.card.left_out, self.card.target.name}:
            nearest = likeliest(name, self.typical)[0]
            errors[name] = f'The table has no column with this name. Did you mean "{nearest}"?'
        try:
            values = self.row.model_validate(row).model_dump(by_alias=True)
        except ValidationError as invalid:
            for each in invalid.errors():
                reason = each.get("ctx", {}).get("error", "This column is missing.")
                errors[str(each["loc"][0])] = str(reason)
        if errors:
            raise Refusal(*({"field": name, "message": errors[name]} for name in sorted(errors)))
        return values

    def answer(self, rows: Sequence[Mapping[str, Any]]) -> list[Answer]:
        """Return an answer to each of the `rows`, which `read` has checked. Raises Refusal."""
        interval, classes = self.card.interval, getattr(self.estimator, "classes_", ())
        ask = self.estimator.predict if interval else self.estimator.predict_proba
        try:
            with np.errstate(all="ignore"):
                found = np.array(ask(to_frame(self.card.features, rows)), dtype=float)
                found = np.transpose(ends(found, interval)) if interval else found
        except ValueError:  # a number has become infinite on the way
            found = np.array(np.inf)
        if not np.isfinite(found).all():
            message = "No answer can be calculated from numbers so far from those of the table."
            raise Refusal({"field": "body", "message": message})
        answers = []
        for row, values in zip(rows, found.tolist(), strict=True):
            warnings = [text for each in self.card.features if (text := warning(each, row))]
            if interval:
                answers.append(Answer(values[0], None, values[1:], warnings, self.version))
            else:
                shares = dict(zip(classes, values, strict=True))
                best = max(shares, key=shares.get)
                answers.append(Answer(best, shares, None, warnings, self.version))
        return answers


def ends(found: Any, interval: Interval) -> tuple[Any, Any, Any]:
    """Return predicted numbers, and the lower and upper ends of their intervals."""
    ends = found, found - interval.width, found + interval.width
    if interval.relative:
        return tuple(np.exp(each) for each in ends)
    return ends if interval.floor is None else tuple(np.maximum(x, interval.floor) for x in ends)


def warning(feature: Feature, row: Mapping[str, Any]) -> str | None:
    """Return why the value of a feature makes the answer less certain, if it does."""
    value = row[feature.name]
    if value == OTHER:
        return f"{feature.name}: the table has very few rows with this word, or none."
    if feature.kind == "words" or value is None or feature.low <= value <= feature.high:
        return None
    usual = f"{plain(feature.low)} to {plain(feature.high)}"
    return f"{feature.name}: {plain(value)} is outside the usual range, {usual}."


def plain(value: float) -> str:
    """Return a number with six digits at most, and without an exponent."""
    return np.format_float_positional(float(f"{value:.6g}"), trim="-")


def to_frame(features: Sequence[Feature], rows: Any) -> pd.DataFrame:
    """Return rows, or columns by name, as the estimator takes them: columns of floats and categories."""
    frame = pd.DataFrame(rows, columns=[each.name for each in features], dtype=object)
    for each in features:
        words = pd.CategoricalDtype([*each.words, OTHER])
        frame[each.name] = frame[each.name].astype(float if each.kind == "number" else words)
    return frame


def row_model(features: Sequence[Feature]) -> type[BaseModel]:
    """Return the pydantic model of a row. A column may have any name, so that is the field's alias."""
    fields = {}
    for place, feature in enumerate(features):
        kind = float if feature.kind == "number" else str
        kind = Annotated[
            kind | None if feature.gaps else kind, BeforeValidator(partial(convert, feature))
        ]
        listed = {"enum": feature.words + [None] * feature.gaps}
        extra = listed if feature.words and not feature.other else None
        default = None if feature.gaps else ...
        fields[f"f{place}"] = (kind, Field(default, alias=feature.name, json_schema_extra=extra))
    return create_model("Row", **fields)


def convert(feature: Feature, value: object) -> float | str | None:
    """Return a cell as the model takes it: a number, a listed word, OTHER, or None for a gap.

    `value` is text, from the table or a form, or what JSON has instead. Raises ValueError with a message
    that says what to send.
    """
    value = value.strip() if isinstance(value, str) else value
    if value is None or (isinstance(value, str) and is_gap(value)):
        if feature.gaps:
            return None
        raise ValueError("A value is needed: every row of the table has one.")
    if isinstance(value, list | dict):
        raise ValueError("Send one value, not a list or an object.")
    found = _word(feature, value) if feature.words else _number(feature, value)
    if found is None and feature.words:
        words = likeliest(str(value), feature.words)
        raise ValueError(f"The table has no such word. Send one of: {', '.join(words[:10])}.")
    if found is None:
        raise ValueError(f"Send a number, such as {plain(feature.typical)}.")
    return found


def _number(feature: Feature, value: str | float) -> float | None:
    """Return a number of JSON, or one that was typed with either decimal mark."""
    if isinstance(value, str):
        found = number(value, feature.decimal)
        return number(value, "," if feature.decimal == "." else ".") if found is None else found
    return None if isinstance(value, bool) else number(repr(value))


def _word(feature: Feature, value: str | float) -> str | None:
    """Return the word that `value` spells. Where the table has 1 and 0, true and false will do."""
    if value in feature.words:
        return value
    known = {word_key(word): word for word in reversed(feature.words)}
    keys = [word_key(value), str(int(value)) if isinstance(value, bool) else ""]
    return next((known[key] for key in keys if key in known), OTHER if feature.other else None)
