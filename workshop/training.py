"""Trains the models that the stages serve, each with its own stage's code."""

import traceback
from pathlib import Path
from types import ModuleType

from workshop import datasets
from workshop.errors import WorkshopError
from workshop.stages import Stage, base, load_module


class TrainingFailed(WorkshopError):
    """A model can't be trained or saved."""


def model_module(stage: Stage) -> ModuleType:
    """The module of a stage that trains, saves and loads its model, such as `iris_model`.

    Raises `TrainingFailed` if its code, which learners edit, can't even be imported.
    """
    try:
        return load_module(stage, f"{stage.model}_model")
    except Exception as error:
        raise TrainingFailed(f"{where(error, stage.folder)}; {mend(stage)}") from error


def where(error: Exception, folder: Path) -> str:
    """What stopped the code of an app, and where: the last line of the traceback within `folder`."""
    if isinstance(error, SyntaxError) and error.filename:
        file, line = Path(error.filename), error.lineno
    else:
        frames = traceback.extract_tb(error.__traceback__)
        inside = [f for f in frames if Path(f.filename).is_relative_to(folder)] or frames
        file, line = Path(inside[-1].filename), inside[-1].lineno
    name = file.relative_to(base()).as_posix() if file.is_relative_to(base()) else file.name
    return f"{name}, line {line}: {traceback.format_exception_only(error)[-1].strip()}"


def mend(stage: Stage) -> str:
    """What to do about an app whose code stops."""
    return f"mend that line, or get the stage back with: python3 -m workshop catch-up {stage.code} --fresh"


def train(stage: Stage) -> str:
    """Train a stage's model and save it with its card. Returns one line that says how well it does."""
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
