"""`python -m workshop.teach.try_stage SECONDS STAGE...`: tries the code of stages, and tells the doctor.

A process of its own, because learners change this code: it may end Python, never return, or print what it
likes. Each line on standard output is JSON: the slug of the stage that begins, a finding, or at the end an
empty text. Nothing of the learner's is changed: what the code makes goes into temporary folders.
"""

import contextlib
import faulthandler
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from workshop.core import datasets
from workshop.core.build import mend, model_module, where
from workshop.core.errors import WorkshopError
from workshop.core.stages import Stage, base, find_stage, load_module
from workshop.teach.doctor import Finding

ROUND_TRIP = "iris"  # the stage whose model is trained in a moment
SAME = 1e-12  # probabilities that differ by less are the same, added up in another order


def model(stage: Stage) -> Iterator[Finding]:
    """Whether the model is there, and is the one its card describes."""
    module = model_module(stage)
    if not stage.card_file.exists():
        text = f"not trained yet; start does it, or: python3 -m workshop train {stage.code}"
        yield Finding("model", True, f"{stage.slug}: {text}", note=True)
        return
    try:
        module.load()
    except module.ModelUnavailable as problem:
        yield Finding("model", False, f"{stage.slug}: {problem}")
    else:
        text = "trained, and the file is the one its card describes"
        yield Finding("model", True, f"{stage.slug}: {text}")


def round_trip(stage: Stage) -> Iterator[Finding]:
    """Train, save, load and predict with the code of stage 04, in a folder that is thrown away."""
    import numpy as np
    import pandas as pd

    module = model_module(stage)
    pipeline, card = module.train(datasets.read_iris())
    with temporary_folder() as folder:
        module.save(pipeline, card, folder)
        loaded = module.load(folder)
    flower = {name: feature["median"] for name, feature in card["features"].items()}
    expected = pipeline.predict_proba(pd.DataFrame([flower])[module.FEATURES])[0]
    answer = loaded.answer(flower).probabilities
    if np.allclose(list(answer.values()), expected, rtol=0, atol=SAME):
        text = "trained, saved and loaded a model, and its answer is the same"
        yield Finding("round trip", True, f"{stage.slug}: {text}")
    else:
        text = f"{stage.slug}: a model answers differently once it was saved and loaded"
        yield Finding("round trip", False, f"{text}; {mend_file(stage, module.__name__)}")


def app(stage: Stage) -> Iterator[Finding]:
    """One request to the app, for its first page; a database and a secret key of its own are made for it."""
    from flask import Flask

    with temporary_folder() as folder:
        own = {"INSTANCE_FOLDER": folder, "DATABASE_URL": None} if stage.database else {}
        made = load_module(stage, "app").create_app(own)
        if not isinstance(made, Flask):
            text = f"create_app returns no app; end it with `return app`, or {bring_back(stage)}"
            yield Finding("app", False, f"{stage.slug}: {text}")
            return
        made.testing = True  # an error in a view comes here, instead of a page that hides it
        if stage.database:
            made.test_cli_runner().invoke(args=["init-db"])
        status = made.test_client().get("/").status_code
    if status < 400:
        yield Finding("app", True, f"{stage.slug}: its first page answers")
    elif status == 503 and stage.model:
        text = "answers that it has no model it can use (see model)"
        yield Finding("app", True, f"{stage.slug}: {text}", note=True)
    else:
        text = f"its first page answers with the error {status}; {mend_file(stage, 'app')}"
        yield Finding("app", False, f"{stage.slug}: {text}")


def database(stage: Stage) -> Iterator[Finding]:
    """The database that the app would use: its own file, or the server that DATABASE_URL names."""
    module = load_module(stage, f"{stage.name}_database")
    create_app = load_module(stage, "app").create_app
    try:
        made = create_app({"SECRET_KEY": "of no use"})  # with none, the app would write one
    except Exception as error:
        if not os.environ.get("DATABASE_URL"):
            raise
        fix = "correct it, or unset it to use the app's own file"
        yield Finding("database", False, f"DATABASE_URL can't be used ({error}); {fix}")
        return
    with made.app_context():
        url = module.db.engine.url
        try:
            module.open_session()
        except module.DatabaseUnavailable as problem:
            if problem.remedy == "make it with":
                fix = f"start sees to it, or: python3 -m workshop app {stage.code}"
                text = f"{stage.slug}: {problem.problem}; {fix}"
                yield Finding("database", True, text, note=True)
                return
            if url.get_backend_name() == "sqlite":
                fix = f"rename {shown(Path(url.database))} and let start make a new one"
            else:
                shown_url = url.render_as_string(hide_password=True)
                fix = f"check that its server runs (DATABASE_URL is {shown_url})"
            yield Finding("database", False, f"{stage.slug}: {problem.problem}; {fix}")
            return
    yield Finding("database", True, f"{stage.slug}: opens, and has its tables")


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder that is deleted in the end, as far as Windows lets go of its files."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def shown(file: Path) -> str:
    """A file's path as a learner knows it: from the folder that holds notebooks and apps."""
    return file.relative_to(base()).as_posix() if file.is_relative_to(base()) else str(file)


def mend_file(stage: Stage, name: str) -> str:
    """What to do about code that runs, and does the wrong thing."""
    return f"mend {shown(stage.folder / name)}.py, or {bring_back(stage)}"


def bring_back(stage: Stage) -> str:
    return f"get the stage back with: python3 -m workshop catch-up {stage.code} --fresh"


def steps(stage: Stage) -> Iterator[Callable[[Stage], Iterator[Finding]]]:
    """What there is to try in a stage."""
    if stage.model:
        yield model
    if stage.name == ROUND_TRIP:
        yield round_trip
    if stage.app:
        yield app
    if stage.database:
        yield database


def rehearse(stage: Stage) -> Iterator[Finding]:
    """Try one stage, up to the first step at which its code breaks."""
    for step in steps(stage):
        subject = step.__name__.replace("_", " ")
        try:
            yield from step(stage)
        except WorkshopError as error:
            yield Finding(subject, False, f"{stage.slug}: {error}")
            return
        except (Exception, SystemExit) as error:  # noqa: BLE001 (learners' code; any end of it is the finding)
            yield Finding(subject, False, f"{where(error, stage.folder)}; {mend(stage)}")
            return


def main(seconds: float, stages: list[Stage]) -> None:
    """Try the stages, each within so many seconds."""
    report = sys.stdout

    def tell(what: object) -> None:
        print(json.dumps(what), file=report, flush=True)

    with contextlib.redirect_stdout(sys.stderr):
        for stage in stages:
            tell(stage.slug)
            # Code that never returns is ended; the log then says where it was.
            faulthandler.dump_traceback_later(seconds, exit=True)
            for finding in rehearse(stage):
                tell(asdict(finding))
        faulthandler.cancel_dump_traceback_later()
        tell("")


if __name__ == "__main__":
    main(float(sys.argv[1]), [find_stage(code) for code in sys.argv[2:]])
