"""Trains the models that the stages serve, each with its own stage's code."""

from types import ModuleType

from workshop import datasets
from workshop.errors import WorkshopError
from workshop.stages import Stage, load_module


class TrainingFailed(WorkshopError):
    """A model can't be trained or saved."""


def model_module(stage: Stage) -> ModuleType:
    """The module of a stage that trains, saves and loads its model, such as `iris_model`."""
    return load_module(stage, f"{stage.model}_model")


def train(stage: Stage) -> str:
    """Train a stage's model and save it with its card. Returns one line that says how well it does."""
    module = model_module(stage)
    pipeline, card = module.train(getattr(datasets, stage.dataset)())
    try:
        module.save(pipeline, card)
    except OSError as error:
        raise TrainingFailed(
            f"the model of stage {stage.slug} can't be saved in {stage.card_file.parent} "
            f"({error.strerror}): make room, or move the workshop to a folder of your own"
        ) from error
    numbers = [(name, x) for name, x in card["metrics"].items() if isinstance(x, float)]
    measured = [f"{name} {x:,.3f}" if x < 10 else f"{name} {x:,.0f}" for name, x in numbers[:3]]
    return f"{stage.slug}: trained on {card['data']['rows_train']:,} rows; {', '.join(measured)}"
