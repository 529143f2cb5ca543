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

from flask import Flask

from workshop.core import datasets
from workshop.core.build import bring_back, model_module, remedy, where, why_untrained
from workshop.core.errors import WorkshopError
from workshop.core.files import shown_path
from workshop.core.own_apps import OwnApp, find_app
from workshop.core.stages import Stage, base, load_module
from workshop.host.mount import make_app
from workshop.teach.doctor import Finding

ROUND_TRIP = "iris"  # the stage whose model is trained in a moment

# Deleted in the end, as far as Windows lets go of its files.
temporary_folder = partial(TemporaryDirectory, ignore_cleanup_errors=True)

Result = tuple[bool, str] | tuple[bool, str, bool]  # of a step: the last fields of a `Finding`


def model(stage: Stage) -> Result:
    """Whether the model is there, and is the one its card describes."""
    reason = why_untrained(stage)
    if not stage.card_file.exists():
        fix = f"start does it, or: python3 -m workshop train {stage.code}"
        return True, f"not trained yet; {fix}", True
    return not reason, reason or "trained, and the file is the one its card describes"


def round_trip(stage: Stage) -> Result:
    """Train, save and load with the code of stage 04, in a folder that is thrown away."""
    module = model_module(stage)
    with temporary_folder() as folder:
        module.save(*module.train(datasets.read_iris()), Path(folder))
        module.load(Path(folder))
    return True, "trained, saved and loaded a model"


def app(stage: Stage) -> Result:
    """One request to the app, for its first page; a database and a secret key of its own are made for it."""
    with temporary_folder() as folder:
        own = {"INSTANCE_FOLDER": Path(folder), "DATABASE_URL": None} if stage.database else {}
        made = load_module(stage, "app").create_app(own)
        if not isinstance(made, Flask):
            fix = f"end it with `return app`, or {bring_back(stage)}"
            return False, f"create_app returns no app; {fix}"
        if stage.database:
            made.test_cli_runner().invoke(args=["init-db"])
        status = first_status(made)
    if status < 400:
        return True, "its first page answers"
    if status == 503 and stage.model:
        return True, "answers that it has no model it can use (see model)", True
    fix = remedy(stage, shown_path(stage.app_file, base()))
    return False, f"its first page answers with the error {status}; {fix}"


def database(stage: Stage) -> Result:
    """The database that the app would use: its own file, or the server that DATABASE_URL names."""
    module = load_module(stage, f"{stage.name}_database")
    create_app = load_module(stage, "app").create_app
    is_own = not os.environ.get("DATABASE_URL")
    fix = "start its server or correct DATABASE_URL, or unset it to use the app's own file"
    try:
        made = create_app({"SECRET_KEY": "of no use"})  # with none, the app would write one
    except Exception as error:
        if is_own:
            raise
        return False, f"DATABASE_URL can't be used ({error}); {fix}"
    with made.app_context():
        try:
            module.open_session()
        except module.DatabaseUnavailable as problem:
            if problem.remedy == "make it with":
                fix = f"start sees to it, or: python3 -m workshop app {stage.code}"
                return True, f"{problem.problem}; {fix}", True
            if not problem.command:  # it is only busy
                return False, str(problem)
            if is_own:
                file = shown_path(Path(module.db.engine.url.database), base())
                fix = f"rename {file} and let start make a new one"
            return False, f"{problem.problem}; {fix}"
    return True, "opens, and has its tables"


def your_app(own: OwnApp) -> Result:
    """One request to an app of the learner's own, for its first page."""
    os.chdir(own.folder)  # as where it is served
    status = first_status(make_app(own))
    if status < 400:
        return True, "its first page answers"
    return True, f"it starts, and answers its address / with status {status}", True


def first_status(app: Flask) -> int:
    """The status of an app's first page. An error in its view comes here, without a page that hides it."""
    app.testing = True
    return app.test_client().get("/").status_code


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
            yield Finding(subject, False, f"{where(error, stage.folder)}; {remedy(stage)}")
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
