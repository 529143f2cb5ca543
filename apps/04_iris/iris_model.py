"""The iris model: train it, save it with its card, load it, and predict for one flower.

Train it in this folder with `python iris_model.py iris.csv`. For your own table, change the names below
and `build_pipeline`. If something still doesn't fit, an error message says what.
"""

import hashlib
import io
import json
import logging
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import pandas as pd
import sklearn
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, confusion_matrix
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

FEATURES = ["sepal_length", "sepal_width", "petal_length", "petal_width"]  # columns of numbers
TARGET = "species"  # the column to predict: words or whole numbers
UNIT = "cm"  # of the features; "" if they have none
ABOVE, AT_MOST = 0, 30  # no iris is larger, so a number outside this range is a typo

STAGE = "04_iris"
FILE = Path(__file__).resolve()
MODEL_FOLDER = FILE.parent / "model"
MODEL_NAME, CARD_NAME = "iris.joblib", "iris.json"
COMMAND = f"python {FILE.name} data.csv"  # trains the model, in a copy of this folder
if (FILE.parent / f"../../notebooks/{FILE.parent.name}.ipynb").exists():
    COMMAND = f"python3 -m workshop train {STAGE[:2]}"  # in the workshop
log = logging.getLogger(__name__)
Card = dict[str, Any]


def build_pipeline() -> Pipeline:
    """Return the untrained estimator: scaling, then logistic regression."""
    return Pipeline([("scale", StandardScaler()), ("classify", LogisticRegression())])


def train(flowers: pd.DataFrame, source: str = "data/iris.csv") -> tuple[Pipeline, Card]:
    """Train on three quarters of the flowers and test on the rest. Return the estimator and its card.

    `flowers` has the FEATURES and the TARGET as columns, and a row per flower. The estimator returned
    is the one that was tested. Raises ValueError if the table doesn't fit the names at the top of this file.
    """
    check_table(flowers)
    training, test = train_test_split(flowers[[*FEATURES, TARGET]], random_state=0)
    estimator = build_pipeline().fit(training[FEATURES], training[TARGET])
    return estimator, make_card(estimator, training, test, source)


def make_card(estimator: Any, training: pd.DataFrame, test: pd.DataFrame, source: str) -> Card:
    """Return what users of the model should know: where it comes from, and how accurate it is."""
    ranges = training[FEATURES].agg(["min", "median", "max"])
    predicted = estimator.predict(test[FEATURES])
    accuracy = accuracy_score(test[TARGET], predicted)
    matrix = confusion_matrix(test[TARGET], predicted, labels=estimator.classes_)
    flowers = pd.concat([training.assign(used_for="training"), test.assign(used_for="test")])
    # Hash the table instead of the file, whose line endings Git may have changed.
    csv = flowers[list(training)].sort_index().to_csv(index=False, lineterminator="\n")
    return {
        "stage": STAGE,
        "name": "Iris classifier",
        "data": {
            "source": source,
            "rows_train": len(training),
            "rows_test": len(test),
            "sha256": hashlib.sha256(csv.encode()).hexdigest(),
        },
        "features": {name: {"unit": UNIT, **ranges[name].to_dict()} for name in FEATURES},
        "classes": estimator.classes_.tolist(),
        "metrics": {"accuracy": float(accuracy), "confusion_matrix": matrix.tolist()},
        "versions": {"python": sys.version.split()[0], "scikit_learn": sklearn.__version__},
        "flowers": flowers.to_dict("records"),  # for the picture; leave them out for a big table
    }


def check_table(table: pd.DataFrame) -> None:
    """Raise ValueError if the table doesn't fit the names at the top of this file."""
    if missing := {*FEATURES, TARGET} - set(table):
        names = f"no column {', '.join(sorted(missing))}, only {', '.join(map(str, table))}"
        raise ValueError(f"the table has {names}: change FEATURES and TARGET in {FILE.name}")
    if words := list(table[FEATURES].select_dtypes(exclude="number")):
        raise ValueError(f"not all numbers: {', '.join(words)}; change FEATURES in {FILE.name}")
    low, high = table[FEATURES].min(axis=None), table[FEATURES].max(axis=None)
    if not ABOVE < low <= high <= AT_MOST:
        limits = f"should be above {ABOVE} and at most {AT_MOST}, not {low:g} to {high:g}"
        raise ValueError(f"the features {limits}: change ABOVE and AT_MOST in {FILE.name}")


@dataclass(frozen=True)
class Answer:
    """The model's prediction for one flower, which the page and the API both show."""

    species: str  # as in the card: a number if the classes are numbers
    probabilities: dict[str, float]  # of each class; empty if the estimator gives none


@dataclass(frozen=True)
class IrisModel:
    """A trained estimator and its card."""

    estimator: Any
    card: Card

    @property
    def typical(self) -> dict[str, float]:
        """A typical flower: the median of each feature."""
        return {name: self.card["features"][name]["median"] for name in FEATURES}

    def answer(self, flower: dict[str, float]) -> Answer:
        """Return the prediction for one flower, a number for each of FEATURES."""
        # An estimator that knows its features' names may use only some of FEATURES.
        columns = getattr(self.estimator, "feature_names_in_", FEATURES)
        row = pd.DataFrame([flower])[list(columns)]
        species = self.estimator.predict(row).tolist()[0]
        if not hasattr(self.estimator, "predict_proba"):
            return Answer(species, {})
        probabilities = self.estimator.predict_proba(row).tolist()[0]
        return Answer(species, dict(zip(self.card["classes"], probabilities, strict=True)))


class ModelUnavailable(Exception):
    """There is no usable model. The message says why, and ends with what to do."""

    def __init__(self, problem: str, remedy: str = "build it with") -> None:
        super().__init__(f"{problem}; {remedy} {COMMAND}")
        self.problem, self.remedy, self.command = problem, remedy, COMMAND


def save(estimator: Any, card: Card, folder: Path = MODEL_FOLDER) -> Path:
    """Write any trained estimator and its card into `folder`. Return the model file's path.

    The old model stays until the new one is complete. Raises ModelUnavailable if `load` would refuse
    the model, and OSError, for example if the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        new = Path(temporary)
        joblib.dump(estimator, new / MODEL_NAME)
        content = (new / MODEL_NAME).read_bytes()
        if b"__main__" in content:
            problem = "The model uses a function or class that only this notebook or script has"
            raise ModelUnavailable(problem, "move it to its own file next to app.py, or use")
        card = card | {"sha256": hashlib.sha256(content).hexdigest()}
        card["card_sha256"] = hash_card(card)
        (new / CARD_NAME).write_text(json.dumps(card, indent=1))
        load(new)
        for name in (MODEL_NAME, CARD_NAME):
            (new / name).replace(folder / name)  # renamed, so that nobody ever reads half a file
    return folder / MODEL_NAME


def load(folder: Path = MODEL_FOLDER) -> IrisModel:
    """Return the model in `folder`, after checking that it is the one its card describes.

    A model file is a pickle, and opening a pickle can run any code. So it is opened only if its SHA-256
    is the one in the card. That protects against mix-ups and damage, but not against somebody who can
    write to the folder, because they can replace the card, too. Raises ModelUnavailable.
    """
    try:
        for pause in (0, 0.2):  # if the two don't match, somebody may be saving: try again
            time.sleep(pause)
            card = check_card(json.loads((folder / CARD_NAME).read_bytes()))
            content = (folder / MODEL_NAME).read_bytes()
            if hashlib.sha256(content).hexdigest() == card["sha256"]:
                return open_model(content, card)
    except FileNotFoundError:
        raise ModelUnavailable("There is no trained model yet") from None
    except OSError as error:
        problem = f"The file {Path(error.filename).name} can't be read ({error.strerror})"
        raise ModelUnavailable(problem) from error
    except (ValueError, RecursionError) as error:
        raise ModelUnavailable(f"The card {CARD_NAME} is damaged: it isn't JSON") from error
    raise ModelUnavailable(f"The model file {MODEL_NAME} is not the one its card describes")


# The fields that a card must have, and their parts
CARD_FIELDS = ["stage", "name", "classes", "metrics > accuracy", "metrics > confusion_matrix"]
CARD_FIELDS += ["data > source", "data > rows_train", "data > rows_test", "data > sha256"]
CARD_FIELDS += ["versions > python", "versions > scikit_learn", "sha256", "card_sha256"]
for name in FEATURES:
    CARD_FIELDS += [f"features > {name} > {part}" for part in ("unit", "min", "median", "max")]


def check_card(card: Any) -> Card:
    """Return the card, if it has every field and fits this app. Raises ModelUnavailable."""
    fields = pd.json_normalize(card, sep=" > ", max_level=2) if isinstance(card, dict) else ()
    if missing := [field for field in CARD_FIELDS if field not in fields]:
        raise ModelUnavailable(f"The card {CARD_NAME} has no field {missing[0]}")
    if (card["stage"], list(card["features"])) != (STAGE, FEATURES):
        raise ModelUnavailable(f"The card {CARD_NAME} is of another stage or other features")
    trained, used = str(card["versions"]["scikit_learn"]), sklearn.__version__
    if trained.split(".")[:2] != used.split(".")[:2]:
        problem = f"The model was trained with scikit-learn {trained}, but {used} is installed"
        raise ModelUnavailable(problem, f"install scikit-learn {trained}, or train again with")
    if card["card_sha256"] != hash_card(card):
        raise ModelUnavailable(f"The card {CARD_NAME} has changed since it was saved")
    if trained != used:
        log.warning("The model was trained with scikit-learn %s; %s is installed", trained, used)
    return card


def open_model(content: bytes, card: Card) -> IrisModel:
    """Return the model in `content`, after trying it on a typical flower. Raises ModelUnavailable."""
    try:
        model = IrisModel(joblib.load(io.BytesIO(content)), card)
        model.answer(model.typical)
    except Exception as error:  # a file that isn't a model may raise anything
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ModelUnavailable(f"The model file {MODEL_NAME} can't be used ({reason})") from error
    if list(getattr(model.estimator, "classes_", card["classes"])) != card["classes"]:
        raise ModelUnavailable(f"The model file {MODEL_NAME} has other classes than its card")
    return model


def hash_card(card: Card) -> str:
    """Return the SHA-256 of a card's fields, except `card_sha256` itself."""
    fields = {name: value for name, value in card.items() if name != "card_sha256"}
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


if __name__ == "__main__":
    try:
        table = Path(sys.argv[1] if sys.argv[1:] else "iris.csv")
        estimator, card = train(pd.read_csv(table), source=table.name)
        save(estimator, card)
    except (OSError, ValueError, ModelUnavailable) as error:
        sys.exit(f"No model was saved: {error}")
    print(f"Saved in {MODEL_FOLDER}; accuracy on the test rows: {card['metrics']['accuracy']:.3f}")
