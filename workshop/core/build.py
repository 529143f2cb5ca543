"""Trains the stages' models and creates their databases, each with the stage's own code."""

import contextlib
import io
import os
import subprocess
import sys
import traceback
import warnings
from pathlib import Path
from types import ModuleType, SimpleNamespace

from workshop.core import datasets
from workshop.core.errors import WorkshopError
from workshop.core.files import shown_path
from workshop.core.own_apps import TYPED, OwnApp
from workshop.core.stages import Stage, base, load_module
from workshop.setup.process import ROOT


class TrainingFailed(WorkshopError):
    """A model can't be trained or saved."""


class DatabaseFailed(WorkshopError):
    """A stage's database can't be created."""


def model_module(stage: Stage) -> ModuleType:
    """The module of a stage that loads its model, and usually trains it too, such as `iris_model`.

    Raises `TrainingFailed` if its code, which learners edit, can't be imported.
    """
    return _module(stage, "model" if stage.table else f"{stage.model}_model")


def _module(stage: Stage, name: str) -> ModuleType:
    try:
        return load_module(stage, name)
    except Exception as error:
        raise TrainingFailed(f"{where(error, stage.folder)}; {remedy(stage)}") from error


def why_untrained(stage: Stage) -> str | None:
    """Why a stage's own code can't load its model; None if it can.

    Raises `TrainingFailed` if that code can't be imported.
    """
    module = model_module(stage)
    try:
        module.load()
    except module.ModelUnavailable as problem:
        return str(problem)
    return None


def where(error: BaseException, folder: Path) -> str:
    """The error in an app's code, and where: the last line of the traceback inside `folder`."""
    if isinstance(error, SyntaxError) and error.filename:
        file, line = Path(error.filename), error.lineno
    else:
        frames = traceback.extract_tb(error.__traceback__)
        inside = [f for f in frames if Path(f.filename).is_relative_to(folder)] or frames
        file, line = Path(inside[-1].filename), inside[-1].lineno
    name = shown_path(file, base()) if file.is_relative_to(base()) else file.name
    return f"{name}, line {line}: {traceback.format_exception_only(error)[-1].strip()}"


def remedy(stage: Stage | OwnApp, what: str = "that line") -> str:
    """What to do about an app whose code fails or does the wrong thing."""
    if isinstance(stage, OwnApp) and stage.name not in TYPED:
        return f"fix {what}"  # the learner wrote this app, so there is no original to restore
    return f"fix {what}, or {bring_back(stage)}"


def bring_back(stage: Stage | OwnApp) -> str:
    """How to restore the original of an app that comes with the workshop."""
    it = "app from the notebook" if isinstance(stage, OwnApp) else "stage"
    return f"restore the {it} with: python3 -m workshop catch-up {stage.code} --fresh"


def train(stage: Stage) -> str:
    """Train a stage's model and save it with its card. Returns one line with its metrics."""
    if stage.table:
        module = _module(stage, "train")
        # As `python train.py --model=linear FILE TARGET` would, but without starting another Python.
        linear = SimpleNamespace(task="auto", drop=[], keep=[], model="linear")
        arguments = ROOT / stage.table[0], stage.table[1], linear
    else:
        module = model_module(stage)
        arguments = (getattr(datasets, stage.dataset)(),)
    told = io.StringIO()
    try:
        with contextlib.redirect_stdout(told), warnings.catch_warnings():
            if stage.table:
                warnings.simplefilter("ignore")  # as `train.py` does; it reports what matters
            trained, card = module.train(*arguments)
    except Exception as error:
        raise TrainingFailed(f"{where(error, stage.folder)}; {remedy(stage)}") from error
    try:
        module.save(trained, card)
    except model_module(stage).ModelUnavailable as error:
        raise TrainingFailed(f"the model of stage {stage.slug} was not saved: {error}") from error
    except OSError as error:
        raise TrainingFailed(
            f"the model of stage {stage.slug} can't be saved in {stage.card_file.parent} "
            f"({error.strerror}): free some space, or move the workshop to a folder of your own"
        ) from error
    if lines := [line for line in told.getvalue().splitlines() if "trained on" in line]:
        return f"{stage.slug}: {lines[0]}"
    numbers = [(name, x) for name, x in card["metrics"].items() if isinstance(x, float)]
    measured = [f"{name} {x:,.3f}" if x < 10 else f"{name} {x:,.0f}" for name, x in numbers[:3]]
    return f"{stage.slug}: trained on {card['data']['rows_train']:,} rows; {', '.join(measured)}"


def make_database(stage: Stage) -> str:
    """Run `flask --app apps/NN_name/app.py init-db`; return its output. It's safe to repeat.

    The app is created without its model, which isn't needed here and takes longest to import.
    Raises `DatabaseFailed` with the reason.
    """
    app = f"{stage.app_file}:create_app({ {'MODEL_FOLDER': os.devnull} })"
    run = subprocess.run(
        [sys.executable, "-m", "flask", "--app", app, "init-db"],
        env=os.environ | {"PYTHONUTF8": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
    )
    if run.returncode:
        reason = (run.stderr.strip() or "no reason given").splitlines()[-1]
        raise DatabaseFailed(f"the database of stage {stage.slug} can't be created: {reason}")
    return run.stdout.strip()


def export(stage: Stage, file: Path) -> str:
    """Write a stage's data to a CSV file, with a column `part` (train or test); return a one-line summary.

    Uses the real data if available, otherwise the stand-in, with the same columns. Raises `WorkshopError`.
    """
    import pandas as pd

    if stage.dataset not in ("fetch_census", "fetch_housing"):
        raise WorkshopError(f"stage {stage.slug} has no data to export; stages 05 and 06 do")
    data = getattr(datasets, stage.dataset)()
    rows = pd.concat({"train": data.train, "test": data.test}, names=["part"]).reset_index("part")
    try:
        rows.to_csv(file, index=False, lineterminator="\n")
    except OSError as error:
        raise WorkshopError(f"{file} can't be written: {error.strerror}") from error
    return f"{file}: {len(rows):,} rows of {data.source}"
