"""`python -m workshop.teach.try_stage SECONDS NAME...`: tries the code of stages, and tells the doctor.

NAME is a stage, or an app of the learner's own; of these, one in each process.

A process of its own, because learners change this code: it may end Python, never return, or print anything.
Each line on standard output is JSON: the slug of the stage that begins, a finding, or at the end an empty
string. Nothing of the learner's is changed: what the code makes goes into temporary folders.
"""

import faulthandler
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from workshop.core import datasets
from workshop.core.build import mend, model_module, where
from workshop.core.errors import WorkshopError
from workshop.core.own_apps import OwnApp, find_app
from workshop.core.stages import Stage, base, load_module
from workshop.host.mount import make_app
from workshop.teach.doctor import Finding, shown_path

ROUND_TRIP = "iris"  # the stage whose model is trained in a moment
SAME = 1e-12  # probabilities that differ by less are the same, added up in another order

# Deleted in the end, as far as Windows lets go of its files.
temporary_folder = partial(TemporaryDirectory, ignore_cleanup_errors=True)

Result = tuple[bool, str] | tuple[bool, str, bool]  # of a step: the last fields of a `Finding`


def model(stage: Stage) -> Result:
    """Whether the model is there, and is the one its card describes."""
    module = model_module(stage)
    if not stage.card_file.exists():
        fix = f"start does it, or: python3 -m workshop train {stage.code}"
        return True, f"not trained yet; {fix}", True
    try:
        module.load()
    except module.ModelUnavailable as problem:
        return False, str(problem)
    return True, "trained, and the file is the one its card describes"


def round_trip(stage: Stage) -> Result:
    """Train, save, load and predict with the code of stage 04, in a folder that is thrown away."""
    import numpy as np
    import pandas as pd

    module = model_module(stage)
    pipeline, card = module.train(datasets.read_iris())
    with temporary_folder() as folder:
        module.save(pipeline, card, Path(folder))
        loaded = module.load(Path(folder))
    flower = {name: feature["median"] for name, feature in card["features"].items()}
    expected = pipeline.predict_proba(pd.DataFrame([flower])[module.FEATURES])[0]
    answer = loaded.answer(flower).probabilities
    if np.allclose(list(answer.values()), expected, rtol=0, atol=SAME):
        return True, "trained, saved and loaded a model, and its answer is the same"
    text = "a model answers differently once it was saved and loaded"
    return False, f"{text}; {mend_file(stage, module.__name__)}"


def app(stage: Stage) -> Result:
    """One request to the app, for its first page; a database and a secret key of its own are made for it."""
    from flask import Flask

    with temporary_folder() as folder:
        own = {"INSTANCE_FOLDER": Path(folder), "DATABASE_URL": None} if stage.database else {}
        made = load_module(stage, "app").create_app(own)
        if not isinstance(made, Flask):
            fix = f"end it with `return app`, or {bring_back(stage)}"
            return False, f"create_app returns no app; {fix}"
        made.testing = True  # an error in a view comes here, instead of a page that hides it
        if stage.database:
            made.test_cli_runner().invoke(args=["init-db"])
        status = made.test_client().get("/").status_code
    if status < 400:
        return True, "its first page answers"
    if status == 503 and stage.model:
        return True, "answers that it has no model it can use (see model)", True
    return False, f"its first page answers with the error {status}; {mend_file(stage, 'app')}"


def database(stage: Stage) -> Result:
    """The database that the app would use: its own file, or the server that DATABASE_URL names."""
    module = load_module(stage, f"{stage.name}_database")
    create_app = load_module(stage, "app").create_app
    try:
        made = create_app({"SECRET_KEY": "of no use"})  # with none, the app would write one
    except Exception as error:
        if not os.environ.get("DATABASE_URL"):
            raise
        fix = "correct it, or unset it to use the app's own file"
        return False, f"DATABASE_URL can't be used ({error}); {fix}"
    with made.app_context():
        url = module.db.engine.url
        try:
            module.open_session()
        except module.DatabaseUnavailable as problem:
            if problem.remedy == "make it with":
                fix = f"start sees to it, or: python3 -m workshop app {stage.code}"
                return True, f"{problem.problem}; {fix}", True
            if url.get_backend_name() == "sqlite":
                file = shown_path(Path(url.database), base())
                return False, f"{problem.problem}; rename {file} and let start make a new one"
            shown_url = url.render_as_string(hide_password=True)
            fix = f"check that its server runs (DATABASE_URL is {shown_url})"
            return False, f"{problem.problem}; {fix}"
    return True, "opens, and has its tables"


def your_app(own: OwnApp) -> Result:
    """One request to an app of the learner's own, for its first page."""
    os.chdir(own.folder)  # as where it is served
    made = make_app(own)
    made.testing = True
    status = made.test_client().get("/").status_code
    if status < 400:
        return True, "its first page answers"
    return True, f"it starts, and answers its address / with status {status}", True


def mend_file(stage: Stage, name: str) -> str:
    """What to do about code that runs, and does the wrong thing."""
    return f"mend {shown_path(stage.folder / name, base())}.py, or {bring_back(stage)}"


def bring_back(stage: Stage) -> str:
    return f"get the stage back with: python3 -m workshop catch-up {stage.code} --fresh"


def rehearse(stage: Stage | OwnApp) -> Iterator[Finding]:
    """Try one stage or app, up to the first step at which its code breaks."""
    steps = {
        model: stage.model,
        round_trip: stage.name == ROUND_TRIP,
        app: stage.app,
        database: stage.database,
    }
    if isinstance(stage, OwnApp):
        steps = {your_app: True}
    for step in filter(steps.get, steps):
        subject = step.__name__.replace("_", " ")
        try:
            well, text, *note = step(stage)
            yield Finding(subject, well, f"{stage.slug}: {text}", *note)
        except WorkshopError as error:
            yield Finding(subject, False, f"{stage.slug}: {error}")
            return
        except (Exception, SystemExit) as error:  # noqa: BLE001 (learners' code; any end of it is the finding)
            yield Finding(subject, False, f"{where(error, stage.folder)}; {mend(stage)}")
            return


def main(seconds: float, stages: list[Stage | OwnApp]) -> None:
    """Try the stages, each within so many seconds."""
    # What the code prints, or a program that it starts, must not get between the findings.
    report = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    tell = partial(print, file=report, flush=True)
    for stage in stages:
        tell(json.dumps(stage.slug))
        # Code that never returns is ended; the log then says where it was.
        faulthandler.dump_traceback_later(seconds, exit=True)
        for finding in rehearse(stage):
            tell(json.dumps(asdict(finding)))
    faulthandler.cancel_dump_traceback_later()
    tell(json.dumps(""))


if __name__ == "__main__":
    main(float(sys.argv[1]), [find_app(name) for name in sys.argv[2:]])
