"""`python3 -m workshop catch-up STAGE`: puts a learner at the start of a stage, whatever was skipped."""

from collections.abc import Iterator

from workshop.core import datasets
from workshop.core.build import make_database, train, why_untrained
from workshop.core.errors import WorkshopError
from workshop.core.stages import STAGES, Stage, base
from workshop.learn import my_copy
from workshop.setup.process import ROOT


class BehindStill(WorkshopError):
    """Something of an earlier stage can't be built; what was said before says why."""


def catch_up(stage: Stage, fresh: bool) -> Iterator[str]:
    """Build what the stages before `stage` would have built, and say what is done, line by line.

    No file that the learner has changed is overwritten: it stays, and a copy of a changed notebook is
    set aside. With `fresh` the stage is put back to how it came; what was changed or added is set aside
    first. A second call finds everything done. Raises `BehindStill` at the end if something is missing.
    """
    copy = base()
    yield from _own_files(stage, fresh)
    failed = []
    for before in STAGES:
        if before.number >= stage.number:
            break
        try:
            yield from _build(before)
        except WorkshopError as error:
            failed.append(before)
            yield f"  stage {before.code}: {error}"
    if failed:
        stages = " and ".join(before.code for before in failed)
        raise BehindStill(f"What stage {stages} builds is missing; the lines above say why.")
    first = stage.notebook_files[0] if stage.notebook_files else stage.folder
    yield f"You are at the start of stage {stage.code}: open {first.relative_to(copy).as_posix()} in {copy}"
    yield (
        "To go on: run python3 -m workshop start, and press Notebook on the card of stage "
        f"{stage.code}"
    )


def _own_files(stage: Stage, fresh: bool) -> Iterator[str]:
    """Keep, or with `fresh` put back, what the learner has changed in this stage."""
    copy = base()
    if copy == ROOT:
        if fresh:
            raise WorkshopError(
                "WORKSHOP_WORK names the repository itself, where git brings back what was changed: "
                f"git restore notebooks apps/{stage.slug}"
            )
        return
    if fresh:
        touched, folder = my_copy.reset(stage, copy)
        for path in touched:
            yield f"  {path.as_posix()}: back to how it came"
    else:
        changed = my_copy.changed_files(stage, copy)
        mine = [path for path in changed if not my_copy.MADE.intersection(path.parts)]
        folder = my_copy.set_aside([path for path in mine if path.suffix == ".ipynb"], copy)
        for path in mine:
            yield f"  {path.as_posix()}: you have changed it, so it stays as it is"
    if folder:
        yield f"  A copy of what was changed is in {folder}"


def _build(stage: Stage) -> Iterator[str]:
    """Fetch the data, train the model and make the database of one stage, where they are missing."""
    if stage.model:
        if why_untrained(stage):
            yield f"  Training the model of stage {stage.code} ..."
            yield f"  {train(stage)}"
    elif stage.dataset:
        getattr(datasets, stage.dataset)()
    if stage.database:
        make_database(stage)
