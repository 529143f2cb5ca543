"""The trained model and its card: reads both, checks what visitors send, and predicts.

The card is a JSON file that says what the model was trained on, how good it is, and which model file
belongs to it; train.py writes it. The form, the API and its document are made from the card, so a model
for another table needs no change here. A model file is a pickle, and opening a pickle can run any code,
so a file is opened only if it is the one its card describes.
"""

import difflib
import hashlib
import importlib.metadata
import io
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import joblib
import numpy as np
import pandas as pd
from pydantic import BaseModel, BeforeValidator, Field, ValidationError, create_model

from table import OTHER, is_gap, number, word_key

HERE = Path(__file__).resolve().parent
MODEL_FOLDER, CARD_NAME = HERE / "model", "card.json"
TRAIN = "python train.py data.csv TARGET"
if HERE.name == "07_yours" and any((above / "workshop").is_dir() for above in HERE.parents[1:3]):
    TRAIN = "python3 -m workshop train 07"

# A target is described like a feature (see `describe` in table.py); the words of one are its classes.
FIELDS = ("target", "features", "left_out", "data", "estimator", "metrics", "classes", "interval")
FIELDS += ("trained", "versions", "previous", "model_file", "sha256", "card_sha256")


class ModelUnavailable(Exception):
    """There is no usable model. The message says why, and ends with the remedy."""

    def __init__(self, problem: str, remedy: str = f"train one with {TRAIN}") -> None:
        super().__init__(f"{problem}; {remedy}")
        self.problem = problem


class Refusal(Exception):
    """A row that the model can't use; each of `errors` has a `field` and a `message`."""

    def __init__(self, *errors: dict[str, Any]) -> None:
        super().__init__(errors[0]["message"])
        self.errors = list(errors)


def card_hash(card: Mapping[str, Any]) -> str:
    """Return the SHA-256 of all of a card's fields except `card_sha256`."""
    rest = {name: value for name, value in card.items() if name != "card_sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def read_card(path: Path) -> dict[str, Any]:
    """Return the card at `path`, checked. Raises ModelUnavailable."""
    try:
        card = dict(json.loads(path.read_bytes()))
    except FileNotFoundError as error:
        raise ModelUnavailable("There is no trained model yet") from error
    except (OSError, RecursionError, TypeError, ValueError) as error:
        raise ModelUnavailable(f"The card {path.name} can't be read") from error
    if missing := [name for name in FIELDS if name not in card]:
        raise ModelUnavailable(f"The card {path.name} has no field {missing[0]}")
    if card["card_sha256"] != card_hash(card):
        raise ModelUnavailable(f"The card {path.name} was changed after the training")
    return card


def load(folder: Path = MODEL_FOLDER) -> "Model":
    """Return the model in `folder`, if it is the one its card describes. Raises ModelUnavailable."""
    card = read_card(Path(folder, CARD_NAME))
    name, trained = card["model_file"], card["versions"]["scikit_learn"]
    used = importlib.metadata.version("scikit-learn")
    if trained.split(".")[:2] != used.split(".")[:2]:
        raise ModelUnavailable(
            f"The model was trained with scikit-learn {trained}, and {used} is installed",
            f"pip install scikit-learn=={trained}, or train the model again with {TRAIN}",
        )
    if trained != used:
        logging.warning("Trained with scikit-learn %s; %s is installed.", trained, used)
    try:
        content = Path(folder, name).read_bytes()
    except OSError as error:
        raise ModelUnavailable(f"The model file {name} is missing") from error
    if hashlib.sha256(content).hexdigest() != card["sha256"]:
        raise ModelUnavailable(f"The model file {name} doesn't match its card")
    try:
        return Model(joblib.load(io.BytesIO(content)), card)
    except Exception as error:  # an unknown pickle may raise anything
        raise ModelUnavailable(f"The model file {name} can't be opened") from error


@dataclass(frozen=True)
class Answer:
    """The prediction for one row: a class and probabilities, or a number and an interval."""

    prediction: str | float
    probabilities: dict[str, float] | None
    interval: list[float] | None  # both ends, the lower one first
    warnings: list[str]
    model_version: str


class Model:
    """The trained estimator, its card, and the pydantic model of a row."""

    def __init__(self, estimator: Any, card: dict[str, Any]) -> None:
        self.estimator, self.card, self.features = estimator, card, card["features"]
        self.row, self.version = row_model(self.features), card["sha256"][:12]
        self.typical = {each["name"]: each["typical"] for each in self.features}  # to begin with

    def read(self, row: object) -> dict[str, Any]:
        """Return the values of a row, by feature. Raises Refusal.

        Columns that the model leaves out are ignored. A name that isn't in the table is refused, so that a
        typo can't become a gap.
        """
        if not isinstance(row, dict):
            raise Refusal({"field": "body", "message": "Send each row as a JSON object."})
        names = {key: " ".join(key.split()).strip("\ufeff") for key in row}
        row = {names[key]: value for key, value in row.items() if names[key]}
        errors, known = {}, {*self.typical, *self.card["left_out"], self.card["target"]["name"]}
        for name in row.keys() - known:
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
        """Return an answer for each of the `rows`, which `read` has checked. Raises Refusal."""
        interval = self.card["interval"]
        ask = self.estimator.predict if interval else self.estimator.predict_proba
        try:
            with np.errstate(all="ignore"):
                found = np.array(ask(to_frame(self.features, rows)), dtype=float)
                found = np.transpose(ends(found, interval)) if interval else found
        except ValueError:  # a number became infinite along the way
            found = np.array(np.inf)
        if not np.isfinite(found).all():
            message = "Nothing can be predicted from numbers so far from those in the table."
            raise Refusal({"field": "body", "message": message})
        answers = []
        for row, values in zip(rows, found.tolist(), strict=True):
            warnings = [text for each in self.features if (text := warning(each, row))]
            shares = dict(zip(self.card["target"]["words"], values, strict=False)) or None
            prediction = max(shares, key=shares.get) if shares else values[0]
            both_ends = None if shares else values[1:]
            answers.append(Answer(prediction, shares, both_ends, warnings, self.version))
        return answers


def ends(found: Any, interval: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    """Return predictions and the lower and upper ends, turned back from logarithms if `relative`."""
    values = found, found - interval["width"], found + interval["width"]
    if interval["relative"]:
        return tuple(map(np.exp, values))
    floor = -np.inf if interval["floor"] is None else interval["floor"]
    return tuple(np.maximum(each, floor) for each in values)


def warning(feature: Mapping[str, Any], row: Mapping[str, Any]) -> str | None:
    """Return why the value of a feature makes the prediction less certain, or None."""
    value = row[feature["name"]]
    if value == OTHER:
        return f"{feature['name']}: the table has very few rows with this word, or none."
    if isinstance(value, str) or value is None or feature["low"] <= value <= feature["high"]:
        return None
    usual = f"{plain(feature['low'])} to {plain(feature['high'])}"
    return f"{feature['name']}: {plain(value)} is outside the usual range, {usual}."


def likeliest(name: str, names: Iterable[str]) -> list[str]:
    """Return `names`, the most similar to `name` first."""
    ratio = difflib.SequenceMatcher(b=name[:99].lower())
    likeness = {x: ratio.set_seq1(x.lower()) or ratio.ratio() for x in names}
    return sorted(likeness, key=likeness.get, reverse=True)


def plain(value: float) -> str:
    """Return a number with at most six digits, and without an exponent."""
    return np.format_float_positional(float(f"{value:.6g}"), trim="-")


def to_frame(features: Sequence[Mapping[str, Any]], rows: Any) -> pd.DataFrame:
    """Return rows, or columns by name, as the estimator needs them: columns of floats and categories."""
    frame = pd.DataFrame(rows, columns=[each["name"] for each in features], dtype=object)
    words = {x["name"]: pd.CategoricalDtype([*x["words"], OTHER]) for x in features if "words" in x}
    return frame.astype({name: words.get(name, float) for name in frame})


def row_model(features: Sequence[Mapping[str, Any]]) -> type[BaseModel]:
    """Return the pydantic model of a row. A column may have any name, so that is the field's alias."""
    fields = {}
    for place, feature in enumerate(features):
        kind, gaps = str if "words" in feature else float, feature["gaps"]
        check = BeforeValidator(partial(convert, feature))
        listed = "words" in feature and not feature["other"]
        extra = {"enum": feature["words"] + [None] * gaps} if listed else None
        field = Field(None if gaps else ..., alias=feature["name"], json_schema_extra=extra)
        fields[f"f{place}"] = (Annotated[kind | None if gaps else kind, check], field)
    return create_model("Row", **fields)


def convert(feature: Mapping[str, Any], value: object) -> float | str | None:
    """Return a cell as the model takes it: a number, a listed word, OTHER, or None for a gap.

    `value` is a string from the table or a form, or any value from JSON. Raises ValueError with a message
    that says what to send.
    """
    if isinstance(value, list | dict):
        raise ValueError("Send one value, not a list or an object.")
    text = "" if value is None else str(value).strip()
    if is_gap(text):
        if feature["gaps"]:
            return None
        raise ValueError("A value is needed: every row of the table has one.")
    if feature["kind"] == "number":
        mark = feature["decimal"] if isinstance(value, str) else "."
        found = number(text, mark)  # True and False aren't numbers
        if found is None and isinstance(value, str):  # typed with the other decimal mark
            found = number(text, "," if mark == "." else ".")
        if found is None:
            raise ValueError(f"Send a number, such as {plain(feature['typical'])}.")
        return found
    if text in feature["words"]:
        return text
    known = {word_key(word): word for word in reversed(feature["words"])}
    keys = [word_key(text), str(int(value)) if isinstance(value, bool) else ""]  # true can be 1
    found = next((known[key] for key in keys if key in known), None)
    if found is None and not feature["other"]:
        words = ", ".join(likeliest(text, feature["words"])[:10])
        raise ValueError(f"The table has no such word. Send one of: {words}.")
    return found or OTHER
