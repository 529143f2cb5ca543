"""The census model: train it, save it with its card, load it, and predict for one person.

Train it in this folder with `python census_model.py census_standin.csv`: a table with the columns below,
`education_num`, and `part`, which says `train` or `test`. The estimator is a logistic regression, because
it can explain itself: it adds up one number per feature. `save` writes these numbers into the card (see
`census_weights`), so the app needs neither scikit-learn nor pandas to answer. Both are slow to import, so
only the functions that train import them.
"""

from __future__ import annotations

import hashlib
import json
import logging
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from census_decisions import count_decisions, decide
from census_weights import MISSING, add_up, contribution, people_to_compare, read_weights, sigmoid

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline

NUMBERS = ["age", "hours_per_week"]
CATEGORIES = ["workclass", "education", "marital_status", "race", "sex"]
FEATURES = ["age", "workclass", "education", "marital_status", "race", "sex", "hours_per_week"]
OPTIONAL = {"workclass"}  # may be missing
TARGET = "income"  # 1 for more than $50,000 a year, else 0
CLASSES = ["<=50K", ">50K"]  # what 0 and 1 mean: dollars a year, in 1994
UNITS = {"age": "years", "hours_per_week": "hours"}

STAGE = "05_census"
HERE = Path(__file__).resolve().parent
MODEL_FOLDER = HERE / "model"
MODEL_NAME, CARD_NAME = "census.joblib", "census.json"
TOLERANCE = 1e-12  # how far a probability of the table may be from the estimator's own

Card = dict[str, Any]
# The fields that a card must have, and their parts
PARTS = {
    "data": "source is_real rows_train rows_test sha256",
    "metrics": "accuracy roc_auc brier groups decisions",
    "versions": "python scikit_learn",
    "weights": " ".join(FEATURES),
    **{f"features > {name}": "unit min median max" for name in NUMBERS},
    **{f"features > {name}": "categories most_common optional" for name in CATEGORIES},
}
CARD_FIELDS = ["stage", "name", "classes", "intercept", "sha256", "card_sha256"]
CARD_FIELDS += [f"{field} > {part}" for field, parts in PARTS.items() for part in parts.split()]

log = logging.getLogger(__name__)


def build_pipeline() -> Pipeline:
    """Return the untrained estimator: scaling and one-hot encoding, then logistic regression.

    Every column it makes has mean 0 over the training people. So the intercept is the answer for
    an average of all of them, and each coefficient says how far a person's value moves from it.
    """
    import pandas as pd
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    # pd.NA covers both kinds of missing value: nan, as in a file, and None, as in JSON.
    one_hot = Pipeline(
        [
            ("fill", SimpleImputer(missing_values=pd.NA, strategy="constant", fill_value=MISSING)),
            ("encode", OneHotEncoder(handle_unknown="ignore", sparse_output=False)),
            ("center", StandardScaler(with_std=False)),
        ]
    )
    prepare = ColumnTransformer(
        [("numbers", StandardScaler(), NUMBERS), ("categories", one_hot, CATEGORIES)]
    )
    return Pipeline([("prepare", prepare), ("classify", LogisticRegression(max_iter=1000))])


def train(census: Any) -> tuple[Pipeline, Card]:
    """Train on `census.train` and test on `census.test`. Return the estimator and its card.

    `census` is what `fetch_census()` returns: two tables of one person per row, with the FEATURES
    (missing values as nan), `education_num` and the TARGET; and `source` and `is_real`. The estimator
    is the one that was tested. Raises ValueError if a table lacks a column.
    """
    from sklearn.metrics import accuracy_score, brier_score_loss, roc_auc_score

    for part in (census.train, census.test):
        if missing := {*FEATURES, TARGET, "education_num"} - set(part):
            raise ValueError(f"the table has no column {', '.join(sorted(missing))}")
    training, test = (part[[*FEATURES, TARGET]] for part in (census.train, census.test))
    pipeline = build_pipeline().fit(training[FEATURES], training[TARGET])
    probabilities = pipeline.predict_proba(test[FEATURES])[:, 1]
    answers = pipeline.predict(test[FEATURES])
    counts = count_decisions(test, (test[TARGET] == 1).to_numpy(), probabilities)
    # The hash is of the tables, not of a file, which may be a download, an archive or a stand-in.
    csv = "".join(part.to_csv(index=False, lineterminator="\n") for part in (training, test))
    return pipeline, {
        "stage": STAGE,
        "name": "Census income classifier",
        "data": {
            "source": census.source,
            "is_real": bool(census.is_real),
            "rows_train": len(training),
            "rows_test": len(test),
            "sha256": hashlib.sha256(csv.encode()).hexdigest(),
        },
        "features": {name: describe(name, census.train) for name in FEATURES},
        "classes": CLASSES,
        "metrics": {
            "accuracy": float(accuracy_score(test[TARGET], answers)),
            "roc_auc": float(roc_auc_score(test[TARGET], probabilities)),
            "brier": float(brier_score_loss(test[TARGET], probabilities)),
            "groups": decide(counts, 50)[1:],
            "decisions": counts,
        },
        "versions": {"python": sys.version.split()[0], "scikit_learn": version("scikit-learn")},
    }


def describe(name: str, people: pd.DataFrame) -> dict[str, Any]:
    """Return the card's entry for one feature of the training people."""
    column = people[name]
    if name in NUMBERS:
        numbers = column.agg(["min", "median", "max"]).astype(float).to_dict()
        return {"type": "number", "unit": UNITS[name], **numbers}
    if name == "education":  # from preschool to doctorate: the data has a number for each level
        categories = people.groupby(name)["education_num"].min().sort_values().index
    else:
        categories = sorted(column.dropna().unique())
    return {
        "type": "category",
        "categories": [str(category) for category in categories],
        "most_common": str(column.mode()[0]),
        "optional": bool(column.isna().any()),
    }


@dataclass(frozen=True)
class Answer:
    """The prediction for one person, as the page and the API show it."""

    probability: float  # of earning more than $50,000 a year, from 0 to 1
    label: str  # one of CLASSES
    contributions: dict[str, float]  # what each feature adds to the intercept, in log-odds


@dataclass(frozen=True, eq=False)
class CensusModel:
    """A trained model as its card describes it: an intercept and a table of weights."""

    card: Card

    @property
    def version(self) -> str:
        """The start of the model file's SHA-256, which changes whenever the model does."""
        return self.card["sha256"][:12]

    @property
    def typical(self) -> dict[str, Any]:
        """A typical person: each feature's median or most common value."""
        return {
            name: feature["most_common"] if "categories" in feature else round(feature["median"])
            for name, feature in self.card["features"].items()
        }

    def explain(self, person: Mapping[str, Any]) -> dict[str, float]:
        """Return what each feature adds to the intercept, in log-odds.

        `person` has a value for each of FEATURES; None or nan for a category that isn't known.
        Raises ValueError for a category the model was not trained on.
        """
        weights = self.card["weights"]
        return {name: contribution(weights, name, person[name]) for name in FEATURES}

    def answer(self, person: Mapping[str, Any]) -> Answer:
        """Return the prediction for one person, and what each feature adds to it: see `explain`."""
        contributions = self.explain(person)
        probability = sigmoid(add_up(self.card["intercept"], contributions.values()))
        return Answer(probability, label(probability), contributions)

    def probability_by_sex(self, person: Mapping[str, Any]) -> dict[str, float]:
        """Return the probability for the same person with each sex, everything else as it is."""
        sexes = self.card["features"]["sex"]["categories"]
        return {sex: self.answer({**person, "sex": sex}).probability for sex in sexes}


def label(probability: float) -> str:
    """Return the class: the more probable of the two."""
    return CLASSES[probability > 0.5]


class ModelUnavailable(Exception):
    """There is no usable model. The message says why, and ends with what to do."""

    def __init__(self, problem: str, remedy: str = "build it with") -> None:
        in_workshop = any((above / "workshop/__main__.py").exists() for above in HERE.parents[1:3])
        if in_workshop and HERE.parts[-2:] == ("apps", STAGE):
            self.command = f"python3 -m workshop train {STAGE[:2]}"
        else:
            self.command = f"python {Path(__file__).name} data.csv"
        self.problem, self.remedy = problem, remedy
        super().__init__(f"{problem}; {remedy} {self.command}")


def save(pipeline: Pipeline, card: Card, folder: Path = MODEL_FOLDER) -> Path:
    """Write the pipeline and its card, with the table of weights, into `folder`.

    Returns the model file's path. The old model stays until the new one is complete. Raises
    ModelUnavailable for what `load` would refuse and for a pipeline that the table doesn't describe,
    and OSError, for example if the disk is full.
    """
    import joblib

    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        new = Path(temporary)
        joblib.dump(pipeline, new / MODEL_NAME)
        content = (new / MODEL_NAME).read_bytes()
        problem = (
            "Stage 05 needs a sum of weights, and this estimator isn't one; stage 07 takes any"
        )
        remedy = "put the logistic regression back and train again with"
        try:
            card = card | read_weights(pipeline) | {"sha256": hashlib.sha256(content).hexdigest()}
            card["card_sha256"] = hash_card(card)
            (new / CARD_NAME).write_text(json.dumps(card, indent=1))
            difference = largest_difference(pipeline, load(new))
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise ModelUnavailable(problem, remedy) from error
        if not difference <= TOLERANCE:  # written so that nan is refused too
            raise ModelUnavailable(problem, remedy)
        for name in (MODEL_NAME, CARD_NAME):
            (new / name).replace(folder / name)  # a rename, so nobody ever reads half a file
    return folder / MODEL_NAME


def largest_difference(pipeline: Pipeline, model: CensusModel) -> float:
    """Return how far a probability of the table of weights is from the pipeline's own, at most.

    Compares every category, missing ones included, with both ends of every number.
    """
    import pandas as pd

    people = people_to_compare(model.card["features"], model.typical)
    expected = pipeline.predict_proba(pd.DataFrame(people))[:, 1]
    return max(abs(expected - [model.answer(person).probability for person in people]))


def load(folder: Path = MODEL_FOLDER) -> CensusModel:
    """Return the model in `folder`, if its card belongs to its model file.

    The card has everything an answer needs, so the model file isn't opened: a pickle can run any code.
    The hashes guard against mix-ups, damage and cards edited by hand, but not against an attacker who can
    write to the folder. Raises ModelUnavailable.
    """
    try:
        for pause in (0, 0.2):  # if the two don't match, a save may be in progress: look again
            time.sleep(pause)
            card = check_card((folder / CARD_NAME).read_bytes())
            content = (folder / MODEL_NAME).read_bytes()
            if hashlib.sha256(content).hexdigest() == card["sha256"]:
                return make_model(card)
    except FileNotFoundError:
        raise ModelUnavailable("There is no trained model yet") from None
    except OSError as error:
        problem = f"The file {Path(error.filename).name} can't be read ({error.strerror})"
        raise ModelUnavailable(problem) from error
    raise ModelUnavailable(f"The model file {MODEL_NAME} is not the one its card describes")


def check_card(text: bytes) -> Card:
    """Return the card, if it has every field and fits this app. Raises ModelUnavailable."""
    try:
        card = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelUnavailable(f"The card {CARD_NAME} is damaged: it isn't JSON") from error
    for field in CARD_FIELDS:
        part = card
        for name in field.split(" > "):
            if not isinstance(part, dict) or name not in part:
                raise ModelUnavailable(f"The card {CARD_NAME} has no field {field}")
            part = part[name]
    if (card["stage"], list(card["features"])) != (STAGE, FEATURES):
        raise ModelUnavailable(f"The card {CARD_NAME} is of another stage or other features")
    # Read from the package's metadata, because importing scikit-learn takes seconds.
    trained, used = str(card["versions"]["scikit_learn"]), version("scikit-learn")
    if trained.split(".")[:2] != used.split(".")[:2]:
        problem = f"The model was trained with scikit-learn {trained}, but {used} is installed"
        raise ModelUnavailable(problem, f"install scikit-learn {trained}, or train again with")
    if trained != used:
        log.warning("The model was trained with scikit-learn %s; %s is installed", trained, used)
    return card


def make_model(card: Card) -> CensusModel:
    """Return the model this card describes, after trying it on a typical person. Raises ModelUnavailable."""
    if card["card_sha256"] != hash_card(card):
        raise ModelUnavailable(f"The card {CARD_NAME} has changed since it was saved")
    model = CensusModel(card)
    try:
        model.answer(model.typical)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ModelUnavailable(f"The card {CARD_NAME} can't be used ({reason})") from error
    return model


def hash_card(card: Card) -> str:
    """Return the SHA-256 of all of a card's fields except `card_sha256`."""
    fields = {name: value for name, value in card.items() if name != "card_sha256"}
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def read_table(path: Path) -> SimpleNamespace:
    """Return the table in a CSV file with the column `part`, as `train` takes it.

    Raises OSError if the file can't be read, and ValueError if it isn't such a table.
    """
    import pandas as pd

    table = pd.read_csv(path)
    if set(table.get("part", ())) != {"train", "test"}:
        raise ValueError("the table needs a column named part that contains only train and test")
    parts = {name: people.reset_index(drop=True) for name, people in table.groupby("part")}
    return SimpleNamespace(**parts, source=path.name, is_real="standin" not in path.stem)


if __name__ == "__main__":
    try:
        table = Path(sys.argv[1] if sys.argv[1:] else "census_standin.csv")
        pipeline, card = train(read_table(table))
        save(pipeline, card)
    except (OSError, ValueError, ModelUnavailable) as error:
        sys.exit(f"No model was saved: {error}")
    print(f"Saved in {MODEL_FOLDER}; accuracy on the test rows: {card['metrics']['accuracy']:.3f}")
