"""Trains the model: `python train.py data.csv species`. It says what it understood and how good the model is.

A linear model and boosted trees are tried on three shuffled folds of the table, so that each row is predicted
by a model that has not seen it. The better one is trained again on all rows. One rename puts it in the
place of the model before it, and `python train.py --rollback` goes back to that one.
"""

import argparse
import hashlib
import importlib.metadata
import io
import json
import math
import platform
import sys
import warnings
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import log_loss, mean_absolute_error
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import model
import table
from table import FEWEST_ROWS, TableProblem, number, quoted

SMALLEST, SMALL = 20, 50  # rows: with fewer, no model; with fewer, a warning
MOST_NUMBERED = 10  # more different whole numbers are amounts, not classes
LEVEL = 0.9  # the share of rows whose truth an interval should hold


def train(path: Path, target: str, options: argparse.Namespace) -> tuple[Any, dict[str, Any]]:
    """Return the estimator trained on a CSV file, and the fields of its card. Raises TableProblem."""
    data = table.read_table(path)
    for name in [target, *options.drop, *options.keep]:
        if name not in data.columns:
            names = quoted(table.likeliest(name, data.columns)[:20])
            raise TableProblem(f'There is no column "{name}". The columns are {names}.')
    print(f"{path.name}: {data.rows_in_file:,} rows and {len(data.columns)} columns.")
    marks = table.decimal_marks(data)
    goal, values = find_target(data, target, marks[target], options.task)
    used = [place for place, value in enumerate(values) if value is not None]
    if len(used) < SMALLEST:
        raise TableProblem(
            f"Only {len(used)} rows have a target to learn from: a model needs at least {SMALLEST}."
        )
    if len(used) < SMALL:
        print(f"Warning: {len(used)} rows are very few. Don't rely on this model.")
    if len(data.columns[target]) < data.rows_in_file:
        print(f"{len(data.columns[target]):,} of the rows, drawn at random, are used.")
    features, left_out, columns = [], {}, {}
    for name, cells in data.columns.items():
        found = table.describe(data, name, marks[name], name in options.keep)
        found = "you asked for that" if name in options.drop else found
        if name == target:
            continue
        if isinstance(found, str):
            left_out[name] = found
            print(f'Left out "{name}": {found}.')
        else:
            features.append(feature := model.Feature(**found))
            converted = {cell: model.convert(feature, cell) for cell in set(cells)}
            columns[name] = [converted[cells[place]] for place in used]
    if not features:
        raise TableProblem("No column is left to learn from. Keep one with --keep COLUMN.")
    for kind in ("number", "words"):
        names = [f"{x.name} (with gaps)" if x.gaps else x.name for x in features if x.kind == kind]
        print(f"Columns of {kind.removesuffix('s')}s: {', '.join(names) or 'none'}.")
    truth = np.array([values[place] for place in used])
    estimator, results = choose(features, goal, columns, truth, options.model)
    return estimator, results | {
        "target": goal.model_dump(),
        "features": [feature.model_dump() for feature in features],
        "left_out": left_out,
        "data": {"file": path.name, "rows": data.rows_in_file, "rows_used": len(used)},
    }


def find_target(
    data: table.Table, name: str, mark: str, task: str
) -> tuple[model.Feature, list[Any]]:
    """Return the target, and its value in each row, or None if the row can't be used.

    In a target of words, `None` is a class and no gap. Raises TableProblem.
    """
    cells = data.columns[name]
    gaps = {cell for cell in cells if table.is_gap(cell) and (mark or cell.casefold() != "none")}
    count = Counter(cell for cell in cells if cell not in gaps)
    if len(count) < 2:
        raise TableProblem(f'The target "{name}" has only one value: there is nothing to predict.')
    few = len(count) <= MOST_NUMBERED and min(count.values()) >= FEWEST_ROWS
    few = few and all(number(cell, mark or ".").is_integer() for cell in count if mark)
    found = "classes" if few or not mark or len(count) == 2 else "numbers"
    why = f"{len(count):,} different {'numbers' if mark else 'words'}"
    task = found if task == "auto" else task
    print(f'The target "{name}" has {why}, so {task} are predicted (see --task).')
    if task == "numbers":
        if not mark:
            odd = next(cell for cell in count if number(cell) is None)
            raise TableProblem(f'The target "{name}" can\'t be numbers: one cell is "{odd}".')
        known = [cell for cell in cells if cell not in gaps]
        goal = model.Feature(name=name, gaps=False, **table.describe_numbers(known, mark))
        return goal, [None if cell in gaps else number(cell, mark) for cell in cells]
    if len(count) > table.MOST_WORDS:
        raise TableProblem(f'The target "{name}" has {why}, too many to be classes: group them.')
    classes = sorted(word for word, rows in count.items() if rows >= FEWEST_ROWS)
    if len(classes) < 2:
        raise TableProblem(
            f'The target "{name}" needs two classes of {FEWEST_ROWS} rows or more to tell apart.'
        )
    if rare := len(count) - len(classes):
        print(f"Left out: the rows of {rare} classes that have fewer than {FEWEST_ROWS} rows.")
    typical = max(classes, key=count.get)
    goal = model.Feature(name=name, kind="words", gaps=False, typical=typical, words=classes)
    return goal, [cell if cell in classes else None for cell in cells]


def choose(
    features: list[model.Feature],
    goal: model.Feature,
    columns: dict,
    truth: np.ndarray,
    wanted: str,
) -> tuple[Any, dict[str, Any]]:
    """Return the better estimator, trained on all rows, and what the card says about how good it is."""
    frame = model.to_frame(features, columns)
    relative = not goal.words and is_skewed(truth)
    aim = np.log(truth) if relative else truth
    folds = (StratifiedKFold if goal.words else KFold)(3, shuffle=True, random_state=0)
    measure = measure_classes if goal.words else measure_numbers
    tried = {}
    for name, estimator in build_estimators(features, goal, len(truth)).items():
        if wanted in ("auto", name):
            method = "predict_proba" if goal.words else "predict"
            found = cross_val_predict(estimator, frame, aim, cv=folds, method=method)
            results = measure(goal, truth, found, relative, folds)
            error_name, error = next(iter(results["metrics"].items()))
            print(f"{name.capitalize()} model: {results.pop('summary')}")
            tried[name] = (error, estimator, results)
    best = min(tried, key=lambda name: tried[name][0])
    error, estimator, results = tried[best]
    results["metrics"] |= {f"{error_name}_{name}": tried[name][0] for name in tried}
    trivial = results["metrics"][f"{error_name}_trivial"]
    if error >= trivial:
        print(
            "Neither is better than the trivial answer: these columns say little about the target."
        )
    print(f"Saved: the {best} model, trained on all {len(truth):,} rows.")
    return estimator.fit(frame, aim), results | {"estimator": best}


def build_estimators(
    features: list[model.Feature], goal: model.Feature, rows: int
) -> dict[str, Any]:
    """Return the two estimators to choose from, not trained yet."""
    numbers = [feature.name for feature in features if feature.kind == "number"]
    words = [feature.name for feature in features if feature.kind == "words"]
    fill = SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)
    columns = make_column_transformer(
        (make_pipeline(fill, StandardScaler()), numbers),
        (OneHotEncoder(handle_unknown="ignore"), words),
    )
    linear = LogisticRegression(max_iter=1000) if goal.words else Ridge()
    boosted = HistGradientBoostingClassifier if goal.words else HistGradientBoostingRegressor
    return {
        "linear": make_pipeline(columns, linear),
        "boosted": boosted(
            max_iter=max(10, 100 // max(1, len(goal.words) // 5)),  # each class has its own trees
            min_samples_leaf=max(3, min(20, rows // 50)),
            early_stopping=False,  # it would fail where a class has few rows
            random_state=0,
        ),
    }


def is_skewed(truth: np.ndarray) -> bool:
    """Whether numbers are positive, and their logarithms closer to symmetric than they are."""
    if truth.min() <= 0:
        return False
    skews = [abs(np.mean(((x - x.mean()) / x.std()) ** 3)) for x in (truth, np.log(truth))]
    return bool(skews[0] > 1 and skews[0] > skews[1])


def measure_classes(
    goal: model.Feature, truth: np.ndarray, found: np.ndarray, *_: Any
) -> dict[str, Any]:
    """Return how good predicted probabilities are, next to those that are the same for every row."""
    said = np.array(goal.words)[found.argmax(axis=1)]
    count, hits = Counter(truth.tolist()), Counter(truth[truth == said].tolist())
    shares = np.array([count[word] / len(truth) for word in goal.words])
    metrics = {
        "log_loss": log_loss(truth, found, labels=goal.words),
        "log_loss_trivial": float(-(shares * np.log(shares)).sum()),
        "accuracy": float((truth == said).mean()),
        "accuracy_trivial": float(shares.max()),
    }
    classes = {
        word: {"rows": count[word], "found": hits[word], "said": int((said == word).sum())}
        for word in goal.words
    }
    rare = min(classes, key=count.get)
    summary = (
        "log loss {log_loss:.3f} (trivial answer {log_loss_trivial:.3f}), accuracy {accuracy:.1%} "
        "(trivial {accuracy_trivial:.1%})".format(**metrics)
        + f'; of {count[rare]} rows of the rarest class "{rare}", {hits[rare]} are found.'
    )
    return {"metrics": metrics, "classes": classes, "interval": None, "summary": summary}


def measure_numbers(
    goal: model.Feature, truth: np.ndarray, found: np.ndarray, relative: bool, folds: KFold
) -> dict[str, Any]:
    """Return how good predicted numbers are, next to the median, and the interval around them.

    The interval is as wide as the errors of rows that were not trained on. Its coverage is measured on
    each fold with the errors of the two others.
    """
    errors = np.abs((np.log(truth) if relative else truth) - found)
    inside = []
    for others, fold in folds.split(found):
        inside.extend(errors[fold] <= np.quantile(errors[others], LEVEL))
    interval = {
        "level": LEVEL,
        "width": float(np.quantile(errors, LEVEL)),
        "relative": relative,
        "floor": 0.0 if truth.min() >= 0 and not relative else None,
        "coverage": float(np.mean(inside)),
    }
    with np.errstate(all="ignore"):
        value = model.ends(found, model.Interval(**interval))[0]
    mae = mean_absolute_error(truth, value) if np.isfinite(value).all() else sys.float_info.max
    metrics = {"mae": mae, "mae_trivial": float(np.abs(truth - np.median(truth)).mean())}
    summary = "mean absolute error {mae:.4g} (trivial answer {mae_trivial:.4g}).".format(**metrics)
    return {"metrics": metrics, "classes": {}, "interval": interval, "summary": summary}


def save(estimator: Any, fields: dict[str, Any], folder: Path = model.MODEL_FOLDER) -> model.Card:
    """Write the model and its card into `folder`, and keep the ones before. Raises OSError.

    Each is written under another name first, so that nobody ever reads half a file.
    """
    buffer = io.BytesIO()
    joblib.dump(estimator, buffer, compress=3)
    sha256 = hashlib.sha256(buffer.getvalue()).hexdigest()
    version = sha256[:12]
    before = current(folder)
    same = before and before.sha256 == sha256
    fields = fields | {
        "trained": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {
            "python": platform.python_version(),
            "scikit_learn": importlib.metadata.version("scikit-learn"),
        },
        "previous": before and (before.previous if same else before.sha256[:12]),
        "model_file": f"{version}.joblib",
        "sha256": sha256,
    }
    fields["card_sha256"] = model.card_hash(fields)
    card = model.Card.model_validate(fields)
    found = model.Model(estimator, card)
    found.answer(
        [found.read(found.typical)]
    )  # what load would refuse, or can't answer, is not saved
    content = json.dumps(fields, indent=1, ensure_ascii=False, allow_nan=False).encode()
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in {
        f"{version}.joblib": buffer.getvalue(),
        f"{version}.json": content,
        model.CARD_NAME: content,
    }.items():
        partial = folder / f"{name}.tmp"
        partial.write_bytes(data)
        partial.replace(folder / name)
    kept = {model.CARD_NAME} | {
        f"{v}{end}" for v in (version, card.previous) for end in (".joblib", ".json")
    }
    for file in folder.iterdir():
        if file.name not in kept:
            file.unlink()
    return card


def current(folder: Path) -> model.Card | None:
    """Return the card in use, if there is one."""
    try:
        return model.read_card(folder / model.CARD_NAME)
    except model.ModelUnavailable:
        return None


def roll_back(folder: Path = model.MODEL_FOLDER) -> str:
    """Go back to the model before this one, and return its version. Raises TableProblem."""
    card = current(folder)
    file = folder / f"{card and card.previous}.json"
    if not file.exists():
        raise TableProblem("There is no model before this one.")
    partial = folder / f"{model.CARD_NAME}.tmp"
    partial.write_bytes(file.read_bytes())
    partial.replace(folder / model.CARD_NAME)
    return card.previous


def main() -> None:
    """Read the command line, and do what it says."""
    parser = argparse.ArgumentParser(description="Train the model of this app on your own table.")
    parser.add_argument("csv", nargs="?", type=Path, help="the table")
    parser.add_argument("target", nargs="?", help="the column to predict")
    parser.add_argument("--task", choices=["auto", "classes", "numbers"], default="auto")
    parser.add_argument("--drop", action="append", default=[], metavar="COLUMN")
    parser.add_argument("--keep", action="append", default=[], metavar="COLUMN")
    parser.add_argument("--model", choices=["auto", "linear", "boosted"], default="auto")
    parser.add_argument("--rollback", action="store_true", help="go back to the model before")
    options = parser.parse_args()
    if not options.rollback and options.target is None:
        parser.error("name a CSV file and the column to predict, such as: data.csv species")
    warnings.simplefilter("ignore")  # of scikit-learn, about rare classes and slow convergence
    try:
        if options.rollback:
            print(f"The model in use is {roll_back()} again.")
            return
        before = current(model.MODEL_FOLDER)
        card = save(*train(options.csv, options.target, options))
        if before and [x.name for x in before.features] != [x.name for x in card.features]:
            print("The columns have changed, so the form and the API change too.")
    except (TableProblem, OSError) as problem:
        sys.exit(str(problem))


if __name__ == "__main__":
    main()
