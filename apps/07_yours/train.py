"""Trains the model: `python train.py data.csv species`. It says what it understood and how good the model is.

A linear model and boosted trees are tried on three shuffled folds of the table, so that each row is predicted
by a model that has not seen it. The better one is trained again on all rows. A single rename replaces the
previous model with it, and `python train.py --rollback` goes back to the previous one.
"""

import argparse
import hashlib
import io
import json
import sys
import warnings
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import sklearn
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import log_loss
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import model
import table
from table import FEWEST_ROWS, TableProblem, number

SMALLEST, SMALL = 20, 50  # rows: with fewer, no model; with fewer, a warning
MOST_NUMBERED = 10  # more different whole numbers are amounts, not classes
LEVEL = 0.9  # the share of rows whose true value an interval should contain


def train(path: Path, target: str, options: argparse.Namespace) -> tuple[Any, dict[str, Any]]:
    """Return the estimator trained on a CSV file, and the fields of its card. Raises TableProblem."""
    data = table.read_table(path)
    for name in [target, *options.drop, *options.keep]:
        if name not in data.columns:
            names = ", ".join(model.likeliest(name, data.columns)[:20])
            raise TableProblem(f'There is no column "{name}". The columns are: {names}.')
    print(f"{path.name}: {data.rows_in_file:,} rows and {len(data.columns)} columns.")
    marks = table.decimal_marks(data)
    goal, values = find_target(data, target, marks[target], options.task)
    used = [place for place, value in enumerate(values) if value is not None]
    if len(used) < SMALL:
        print(f"Warning: {len(used)} rows are very few. Don't rely on this model.")
    if len(values) < data.rows_in_file:
        print(f"Of these rows, {len(values):,} are drawn at random and used.")
    features, left_out, columns = [], {}, {}
    for name in [name for name in data.columns if name != target]:
        found = table.describe(data, name, marks[name], name in options.keep)
        found = "you asked for that" if name in options.drop else found
        if isinstance(found, str):
            left_out[name] = found
            print(f'Left out "{name}": {found}.')
        else:
            features.append(found)
            cells = data.columns[name]
            converted = {cell: model.convert(found, cell) for cell in set(cells)}
            columns[name] = [converted[cells[place]] for place in used]
    if not features:
        raise TableProblem("No column is left to learn from. Keep one with --keep COLUMN.")
    for kind in ("number", "words"):
        names = [x["name"] + " (with gaps)" * x["gaps"] for x in features if x["kind"] == kind]
        print(f"Columns of {kind.removesuffix('s')}s: {', '.join(names) or 'none'}.")
    truth, frame = np.array([values[place] for place in used]), model.to_frame(features, columns)
    estimator, results = choose(goal["words"], frame, truth, options.model)
    rows = {"file": path.name, "rows": data.rows_in_file, "rows_used": len(used)}
    card = {"target": goal, "features": features, "left_out": left_out, "data": rows}
    return estimator, card | results


def find_target(data: table.Table, name: str, mark: str, task: str) -> tuple[dict, list]:
    """Return the target and its value in each row, None for a row that can't be used. Raises TableProblem."""
    cells = data.columns[name]
    # Among words, None can be one of them.
    gaps = {cell for cell in cells if table.is_gap(cell) and (mark or cell.casefold() != "none")}
    count = Counter(cell for cell in cells if cell not in gaps)
    if count.total() < SMALLEST:
        raise TableProblem(f"Only {count.total()} rows have a target; a model needs {SMALLEST}.")
    classes = sorted(word for word, rows in count.items() if rows >= FEWEST_ROWS)
    whole = mark and all(number(cell, mark).is_integer() for cell in count)
    few = whole and len(classes) == len(count) <= MOST_NUMBERED
    guess = "classes" if few or not mark or len(count) <= 2 else "numbers"
    task = guess if task == "auto" else task
    has = f'The target "{name}" has {len(count):,} different {"numbers" if mark else "words"}'
    if task == "numbers" and not mark:
        raise TableProblem(f"{has}, and not all are numbers: predict classes, or change those.")
    if task == "classes" and len(count) > table.MOST_WORDS:
        raise TableProblem(f"{has}, too many to be classes: put them into fewer groups.")
    if len(count) < 2 or (task == "classes" and len(classes) < 2):
        raise TableProblem(f'Fewer than two values of "{name}" are in {FEWEST_ROWS} rows or more.')
    print(f"{has}, so {task} are predicted." if task == guess else f"{has}; {task} are predicted.")
    if task == "numbers":
        goal = table.describe(data, name, mark, keep=True) | {"words": []}
        return goal, [None if cell in gaps else number(cell, mark) for cell in cells]
    if len(classes) < len(count):
        print(f"Left out: the rows of classes that have fewer than {FEWEST_ROWS} rows each.")
    typical = max(classes, key=count.get)
    goal = {"name": name, "kind": "words", "gaps": False, "typical": typical, "words": classes}
    return goal, [cell if cell in classes else None for cell in cells]


def choose(classes: list[str], frame: Any, truth: np.ndarray, wanted: str) -> tuple[Any, dict]:
    """Return the better estimator, trained on all rows, and what the card says about how good it is.

    Positive, skewed numbers are predicted as logarithms, because their errors grow with them.
    """
    relative = bool(not classes and truth.min() > 0 and pd.Series(truth).skew() > 1)
    aim = np.log(truth) if relative else truth
    folds = (StratifiedKFold if classes else KFold)(3, shuffle=True, random_state=0)
    method, error = ("predict_proba", "log_loss") if classes else ("predict", "mean_absolute_error")
    estimators, tried = build_estimators(frame, classes), {}
    for name in estimators if wanted == "auto" else [wanted]:
        found = cross_val_predict(estimators[name], frame, aim, cv=folds, method=method)
        tried[name] = measure(classes, truth, found, relative)
        metrics = tried[name]["metrics"]
        told = f"{metrics[error]:.4g} (trivial answer: {metrics[f'{error}_trivial']:.4g})"
        print(f"{name.capitalize()} model: {error.replace('_', ' ')} {told}.")
    best = min(tried, key=lambda name: tried[name]["metrics"][error])
    metrics, counts = tried[best]["metrics"], tried[best]["classes"]
    print(f"The {best} model is used, trained on all {len(truth):,} rows.")
    if classes:
        rare = min(classes, key=lambda word: counts[word]["rows"])
        hits, rows = counts[rare]["found"], counts[rare]["rows"]
        print(f'It finds {hits} of {rows} rows of "{rare}", the rarest class.')
    if metrics[error] >= metrics[f"{error}_trivial"]:
        print("It is no better than the trivial answer: the columns say little about the target.")
    metrics |= {f"{error}_{name}": each["metrics"][error] for name, each in tried.items()}
    return estimators[best].fit(frame, aim), tried[best] | {"estimator": best}


def build_estimators(frame: Any, classes: list[str]) -> dict[str, Any]:
    """Return the two estimators to choose from, not trained yet."""
    numbers = list(frame.select_dtypes("number"))
    fill = SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)
    columns = make_column_transformer(
        (make_pipeline(fill, StandardScaler()), numbers),
        (OneHotEncoder(handle_unknown="ignore"), list(frame.columns.drop(numbers))),
    )
    linear = make_pipeline(columns, LogisticRegression(max_iter=1000) if classes else Ridge())
    boosted = (HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor)(
        max_iter=max(10, 100 // (1 + len(classes) // 10)),  # each class has its own trees
        min_samples_leaf=max(3, min(20, len(frame) // 10)),
        early_stopping=False,  # it would fail where a class has few rows
        random_state=0,
    )
    return {"linear": linear, "boosted": boosted}


def measure(classes: list, truth: Any, found: Any, relative: bool) -> dict[str, Any]:
    """Return how good the predictions are, for rows that were not trained on, and their interval.

    The trivial answer is the same for every row: the shares of the classes, or the median.
    """
    if classes:
        said = np.array(classes)[found.argmax(axis=1)]
        rows, hits, guesses = Counter(truth), Counter(truth[truth == said]), Counter(said)
        shares = np.array([rows[word] for word in classes]) / len(truth)
        metrics = {
            "log_loss": float(log_loss(truth, found, labels=classes)),
            "log_loss_trivial": float(-(shares * np.log(shares)).sum()),
            "accuracy": float((truth == said).mean()),
            "accuracy_trivial": float(shares.max()),
        }
        counts = {x: {"rows": rows[x], "found": hits[x], "said": guesses[x]} for x in classes}
        return {"metrics": metrics, "classes": counts, "interval": None}
    errors = np.abs((np.log(truth) if relative else truth) - found)
    floor = 0.0 if truth.min() >= 0 else None
    interval = {"width": float(np.quantile(errors, LEVEL)), "relative": relative, "floor": floor}
    with np.errstate(over="ignore"):
        value = model.ends(found, interval)[0].clip(max=1e300)
    metrics = {"mean_absolute_error": float(np.abs(truth - value).mean())}
    metrics["mean_absolute_error_trivial"] = float(np.abs(truth - np.median(truth)).mean())
    return {"metrics": metrics, "classes": {}, "interval": interval}


def save(estimator: Any, fields: dict[str, Any], folder: Path = model.MODEL_FOLDER) -> dict:
    """Write the model and its card, if `load` would accept them, and return the card. Raises OSError."""
    buffer = io.BytesIO()
    joblib.dump(estimator, buffer, compress=3)
    sha256 = hashlib.sha256(buffer.getvalue()).hexdigest()
    version, before = sha256[:12], current(folder)
    card = fields | {"sha256": sha256, "model_file": f"{version}.joblib", "previous": None}
    if before:
        same = before["sha256"] == sha256
        card["previous"] = before["previous"] if same else before["sha256"][:12]
    card["trained"] = datetime.now(UTC).isoformat(timespec="seconds")
    card["versions"] = {"python": sys.version.split()[0], "scikit_learn": sklearn.__version__}
    card["card_sha256"] = model.card_hash(card)
    trained = model.Model(estimator, card)
    trained.answer([trained.read(trained.typical)])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / card["model_file"]).write_bytes(buffer.getvalue())
    (folder / f"{version}.json").write_text(json.dumps(card, indent=1), encoding="utf-8")
    use(version, folder)
    return card


def use(version: str, folder: Path) -> None:
    """Put a model into use with a single rename, so nobody ever reads half a card."""
    partial = folder / f"{version}.tmp"
    partial.write_bytes((folder / f"{version}.json").read_bytes())
    partial.replace(folder / model.CARD_NAME)


def current(folder: Path) -> dict[str, Any] | None:
    """Return the card in use, if there is one."""
    try:
        return model.read_card(folder / model.CARD_NAME)
    except model.ModelUnavailable:
        return None


def roll_back(folder: Path = model.MODEL_FOLDER) -> str:
    """Go back to the previous model, and return its version. Raises TableProblem, OSError."""
    card = current(folder)
    if not (card and card["previous"]):
        raise TableProblem("There is no model before this one.")
    use(card["previous"], folder)
    return card["previous"]


def main() -> None:
    """Read the command line, and do what it says."""
    parser = argparse.ArgumentParser(description="Train the model of this app on your own table.")
    parser.add_argument("csv", nargs="?", type=Path, help="the table")
    parser.add_argument("target", nargs="?", help="the column to predict")
    parser.add_argument("--task", choices=["auto", "classes", "numbers"], default="auto")
    parser.add_argument("--drop", action="append", default=[], metavar="COLUMN")
    parser.add_argument("--keep", action="append", default=[], metavar="COLUMN")
    parser.add_argument("--model", choices=["auto", "linear", "boosted"], default="auto")
    parser.add_argument("--rollback", action="store_true", help="go back to the previous model")
    options = parser.parse_args()
    if not options.rollback and options.target is None:
        parser.error("name a CSV file and the column to predict, such as: data.csv species")
    sys.stdout.reconfigure(errors="replace")  # for terminals that lack a letter of some name
    warnings.simplefilter("ignore")  # of scikit-learn, about rare classes and slow convergence
    try:
        if options.rollback:
            print(f"The model in use is {roll_back()} again.")
            return
        before = current(model.MODEL_FOLDER)
        card = save(*train(options.csv, options.target, options))
        columns = [[x["name"] for x in each["features"]] for each in (before, card) if each]
        if columns[0] != columns[-1]:
            print("The columns have changed, so the form and the API change too.")
    except (TableProblem, OSError) as problem:
        sys.exit(str(problem))


if __name__ == "__main__":
    main()
