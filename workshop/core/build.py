"""Builds what stages need, each with its own stage's code: trains models and makes databases."""

import os
import subprocess
import sys
import traceback
from pathlib import Path
from types import ModuleType

from flask import Flask

from workshop.core import datasets
from workshop.core.errors import WorkshopError
from workshop.core.own_apps import TYPED, OwnApp
from workshop.core.stages import Stage, base, load_module
from workshop.setup.process import ROOT


class TrainingFailed(WorkshopError):
    """A model can't be trained or saved."""


class DatabaseFailed(WorkshopError):
    """A stage's database can't be made."""


def model_module(stage: Stage) -> ModuleType:
    """The module of a stage that trains, saves and loads its model, such as `iris_model`.

    Raises `TrainingFailed` if its code, which learners edit, can't even be imported.
    """
    name = "model" if stage.table else f"{stage.model}_model"
    try:
        return load_module(stage, name)
    except Exception as error:
        raise TrainingFailed(f"{where(error, stage.folder)}; {mend(stage)}") from error


def why_untrained(stage: Stage) -> str | None:
    """Why a stage has no model that its app can use, as its own code says; None if it has one.

    Raises `TrainingFailed` if that code can't be imported.
    """
    module = model_module(stage)
    try:
        module.load()
    except module.ModelUnavailable as problem:
        return str(problem)
    return None


def model_problem(app: Flask) -> str | None:
    """Why this app has no model that it can use, as its own `/healthz` says; None if it has one."""
    answer = app.test_client().get("/healthz")
    if answer.status_code in (200, 404):  # an app of a learner's own need not have such a page
        return None
    told = answer.get_json(silent=True)
    return str(told.get("reason", answer.status)) if isinstance(told, dict) else answer.status


def where(error: BaseException, folder: Path) -> str:
    """What stopped the code of an app, and where: the last line of the traceback within `folder`."""
    if isinstance(error, SyntaxError) and error.filename:
        file, line = Path(error.filename), error.lineno
    else:
        frames = traceback.extract_tb(error.__traceback__)
        inside = [f for f in frames if Path(f.filename).is_relative_to(folder)] or frames
        file, line = Path(inside[-1].filename), inside[-1].lineno
    name = file.relative_to(base()).as_posix() if file.is_relative_to(base()) else file.name
    return f"{name}, line {line}: {traceback.format_exception_only(error)[-1].strip()}"


def mend(stage: Stage | OwnApp) -> str:
    """What to do about an app whose code stops."""
    if isinstance(stage, OwnApp) and stage.name not in TYPED:
        return "fix that line"  # nobody but the learner has this app
    if isinstance(stage, OwnApp):
        command = f"python3 -m workshop catch-up {stage.name} --fresh"
        return f"fix that line, or get the app as the notebook shows it with: {command}"
    return f"mend that line, or get the stage back with: python3 -m workshop catch-up {stage.code} --fresh"


def train(stage: Stage) -> str:
    """Train a stage's model and save it with its card. Returns one line that says how well it does."""
    if stage.table:
        return _run_train_script(stage)
    module = model_module(stage)
    data = getattr(datasets, stage.dataset)()
    try:
        pipeline, card = module.train(data)
    except Exception as error:
        raise TrainingFailed(f"{where(error, stage.folder)}; {mend(stage)}") from error
    try:
        module.save(pipeline, card)
    except module.ModelUnavailable as error:
        raise TrainingFailed(f"the model of stage {stage.slug} was not saved: {error}") from error
    except OSError as error:
        raise TrainingFailed(
            f"the model of stage {stage.slug} can't be saved in {stage.card_file.parent} "
            f"({error.strerror}): make room, or move the workshop to a folder of your own"
        ) from error
    numbers = [(name, x) for name, x in card["metrics"].items() if isinstance(x, float)]
    measured = [f"{name} {x:,.3f}" if x < 10 else f"{name} {x:,.0f}" for name, x in numbers[:3]]
    return f"{stage.slug}: trained on {card['data']['rows_train']:,} rows; {', '.join(measured)}"


def _run_train_script(stage: Stage) -> str:
    """Run a stage's own `train.py` in its folder; return its line about the training."""
    table, target = stage.table
    run = subprocess.run(
        [sys.executable, "train.py", "--model=linear", ROOT / table, target],
        cwd=stage.folder,
        env=os.environ | {"PYTHONUTF8": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
    )
    if run.returncode:
        reason = (run.stderr.strip() or "no reason given").splitlines()[-1]
        raise TrainingFailed(f"the model of stage {stage.slug} can't be trained: {reason}")
    told = run.stdout.strip().splitlines()
    return f"{stage.slug}: {next((line for line in told if 'trained on' in line), told[-1])}"


def export(stage: Stage, file: Path) -> str:
    """Write the data of a stage as a CSV file whose column `part` says train or test; return what it is.

    The real data if it can be had, else the stand-in, which has the same form. Raises `WorkshopError`.
    """
    if stage.dataset not in ("fetch_census", "fetch_housing"):
        raise WorkshopError(f"stage {stage.slug} has no data to export; stages 05 and 06 have some")
    data = getattr(datasets, stage.dataset)()
    parts = {"train": data.train, "test": data.test}
    try:
        with file.open("w", encoding="utf-8", newline="") as opened:
            for name, rows in parts.items():
                table = rows.copy()
                table.insert(0, "part", name)
                table.to_csv(opened, index=False, header=name == "train", lineterminator="\n")
    except OSError as error:
        raise WorkshopError(f"{file} can't be written: {error.strerror}") from error
    return f"{file}: {sum(map(len, parts.values())):,} rows of {data.source}"


def make_database(stage: Stage) -> str:
    """Run `flask --app apps/NN_name/app.py init-db`; return what it says. Repeating it does no harm.

    The app gets no model: a database needs none, and its libraries take longer to import than all the rest.
    Raises `DatabaseFailed` with the reason.
    """
    app = f"{stage.app_file}:create_app({ {'MODEL_FOLDER': os.devnull} })"
    run = subprocess.run(
        [sys.executable, "-m", "flask", "--app", app, "init-db"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
    )
    if run.returncode:
        reason = (run.stderr.strip() or "no reason given").splitlines()[-1]
        raise DatabaseFailed(f"the database of stage {stage.slug} can't be made: {reason}")
    return run.stdout.strip()
