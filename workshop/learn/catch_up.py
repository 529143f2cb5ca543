"""`python3 -m workshop catch-up STAGE`: takes a learner to the start of a stage, even if they skipped some.

`catch-up hello` and `catch-up my` make one of the apps that learners type from a notebook.
"""

from collections.abc import Iterator

from workshop.core import datasets
from workshop.core.build import make_database, train, why_untrained
from workshop.core.errors import WorkshopError
from workshop.core.files import write_whole
from workshop.core.own_apps import TYPED, OwnApp
from workshop.core.stages import STAGES, Stage, base, find_stage
from workshop.learn import my_copy
from workshop.setup.process import ROOT


def catch_up(stage: Stage, fresh: bool) -> Iterator[str]:
    """Build everything that the stages before `stage` build, and yield a line for each step.

    No file that the learner has changed is overwritten: it stays, and a copy of a changed notebook is
    set aside. With `fresh`, the original files of the stage are restored; anything changed or added is set
    aside first. A second call finds everything done. Raises `WorkshopError` at the end if part of an earlier
    stage can't be built.
    """
    copy = base()
    if copy != ROOT:
        yield from _own_files(stage, fresh)
    elif fresh:
        raise WorkshopError(
            "WORKSHOP_WORK names the repository itself, where git can undo your changes: "
            f"git restore notebooks apps/{stage.slug}"
        )
    failed = []
    for before in STAGES[: STAGES.index(stage)]:
        try:
            yield from _build(before)
            for name, code in TYPED.items():
                if code == before.code and copy != ROOT and not OwnApp(name).app_file.exists():
                    yield from bring_typed(name, fresh=False)
        except WorkshopError as error:
            failed.append(before.code)
            yield f"  stage {before.code}: {error}"
    if failed:
        stages = " and ".join(failed)
        raise WorkshopError(f"Stage {stages} couldn't be built; the lines above say why.")
    first = stage.notebook_files[0] if stage.notebook_files else stage.folder
    yield f"You are at the start of stage {stage.code}: open {first.relative_to(copy).as_posix()} in {copy}"
    yield (
        "To go on: run python3 -m workshop start, and press Notebook on the card of stage "
        f"{stage.code}"
    )


def _own_files(stage: Stage, fresh: bool) -> Iterator[str]:
    """Keep the files that the learner has changed in this stage; with `fresh`, restore the originals."""
    if fresh:
        touched, folder = my_copy.reset(stage)
        yield from (f"  {path.as_posix()}: restored to the original" for path in touched)
    else:
        mine = [
            path
            for path in my_copy.stage_files(stage)
            if not my_copy.MADE.intersection(path.parts)
            and my_copy.fingerprint(base() / path) != my_copy.fingerprint(ROOT / path)
        ]
        folder = my_copy.set_aside([path for path in mine if path.suffix == ".ipynb"])
        for path in mine:
            yield f"  {path.as_posix()}: you have changed it, so it stays as it is"
    if folder:
        yield f"  A copy of your changes is in {folder}"


def _build(stage: Stage) -> Iterator[str]:
    """Fetch the data, train the model and make the database of one stage, if they are missing."""
    if stage.model:
        if why_untrained(stage):
            yield f"  Training the model of stage {stage.code} ..."
            yield f"  {train(stage)}"
    elif stage.dataset:
        getattr(datasets, stage.dataset)()
    if stage.database:
        make_database(stage)


def bring_typed(name: str, fresh: bool) -> Iterator[str]:
    """Write `apps/NAME/app.py` as the notebook shows it, and the model that it opens; yield a line for each.

    If the file exists, it is the learner's, and it stays. With `fresh`, it is set aside and replaced.
    """
    app, copy = OwnApp(name), base()
    if copy == ROOT:
        raise WorkshopError(
            f"WORKSHOP_WORK names the repository itself, which has no app {name}: unset it."
        )
    file = app.app_file.relative_to(copy)
    shown = (ROOT / "notebooks" / "solutions" / file).read_bytes()
    if fresh and app.app_file.exists() and app.app_file.read_bytes() != shown:
        folder = my_copy.set_aside([file]) or copy / my_copy.ASIDE
        yield f"  {file.as_posix()}: yours has been set aside in {folder}"
        app.app_file.unlink()
    if app.app_file.exists():
        yield f"  {file.as_posix()}: it already exists, so it stays as it is"
    else:
        write_whole(app.app_file, shown)
        yield f"  {file.as_posix()}: as the notebook of stage {TYPED[name]} shows it"
    stage = find_stage(TYPED[name])
    model = app.folder / f"{stage.model}.joblib"
    if stage.model and not model.exists():
        yield from _build(stage)
        write_whole(model, stage.card_file.with_suffix(".joblib").read_bytes())
        yield f"  {model.relative_to(copy).as_posix()}: the model of stage {stage.code}"
