"""`python -m workshop.teach.try_stage SECONDS NAME...`: tries the code of stages for the doctor.

NAME is a stage, or a learner's own app; learner's apps are tried one per process.

It's a separate process because learners change this code: it may exit Python, never return, or print
anything. Each line on standard output is JSON: the slug of the next stage, a finding, or, at the end, an
empty string. The learner's files aren't changed: whatever the code creates goes into temporary folders.
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

ROUND_TRIP = "iris"  # the stage whose model trains in a moment

# Windows may keep some files open, so errors during the cleanup are ignored.
temporary_folder = partial(TemporaryDirectory, ignore_cleanup_errors=True)

Result = tuple[bool, str] | tuple[bool, str, bool]  # of a step: the last fields of a `Finding`


def model(stage: Stage) -> Result:
    """Whether the model exists and matches its card."""
    reason = why_untrained(stage)
    if not stage.card_file.exists():
        fix = f"start trains it, or: python3 -m workshop train {stage.code}"
        return True, f"not trained yet; {fix}", True
    return not reason, reason or "trained, and the file matches its card"


def round_trip(stage: Stage) -> Result:
    """Train, save and load a model with the code of stage 04, in a temporary folder."""
    module = model_module(stage)
    with temporary_folder() as folder:
        module.save(*module.train(datasets.read_iris()), Path(folder))
        module.load(Path(folder))
    return True, "trained, saved and loaded a model"


def app(stage: Stage) -> Result:
    """Request the app's first page; the app gets a temporary database and secret key."""
    with temporary_folder() as folder:
        own = {"INSTANCE_FOLDER": Path(folder), "DATABASE_URL": None} if stage.database else {}
        made = load_module(stage, "app").create_app(own)
        if not isinstance(made, Flask):
            fix = f"add `return app` at its end, or {bring_back(stage)}"
            return False, f"create_app returns no app; {fix}"
        if stage.database:
            made.test_cli_runner().invoke(args=["init-db"])
        status = first_status(made)
    if status < 400:
        return True, "its first page loads"
    if status == 503 and stage.model:
        return True, "starts, but has no model it can use (see model)", True
    fix = remedy(stage, shown_path(stage.app_file, base()))
    return False, f"its first page fails with the error {status}; {fix}"


def database(stage: Stage) -> Result:
    """Whether the app's database works: its own file, or the server in DATABASE_URL."""
    module = load_module(stage, f"{stage.name}_database")
    create_app = load_module(stage, "app").create_app
    is_own = not os.environ.get("DATABASE_URL")
    fix = "start its server or correct DATABASE_URL, or unset it to use the app's own file"
    try:
        made = create_app({"SECRET_KEY": "unused"})  # without one, the app would write a key file
    except Exception as error:
        if is_own:
            raise
        return False, f"DATABASE_URL can't be used ({error}); {fix}"
    with made.app_context():
        try:
            module.open_session()
        except module.DatabaseUnavailable as problem:
            if problem.remedy == "make it with":
                fix = f"start creates it, or: python3 -m workshop app {stage.code}"
                return True, f"{problem.problem}; {fix}", True
            if not problem.command:  # it's only busy
                return False, str(problem)
            if is_own:
                file = shown_path(Path(module.db.engine.url.database), base())
                fix = f"rename {file}, and start will create a new one"
            return False, f"{problem.problem}; {fix}"
    return True, "works, and has its tables"


def your_app(own: OwnApp) -> Result:
    """Request the first page of a learner's own app."""
    os.chdir(own.folder)  # as the server does
    status = first_status(make_app(own))
    if status < 400:
        return True, "its first page loads"
    return True, f"starts, but its address / has the status {status}", True


def first_status(app: Flask) -> int:
    """The status of an app's first page; an exception in its view is raised here."""
    app.testing = True  # otherwise the exception would become an error page
    return app.test_client().get("/").status_code


def rehearse(stage: Stage | OwnApp) -> Iterator[Finding]:
    """Try one stage or app, up to the first step that fails."""
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
            ok, text, *note = step(stage)
            yield Finding(subject, ok, f"{stage.slug}: {text}", *note)
        except WorkshopError as error:
            yield Finding(subject, False, f"{stage.slug}: {error}")
            return
        except (Exception, SystemExit) as error:  # noqa: BLE001 (a learner's code may raise anything)
            yield Finding(subject, False, f"{where(error, stage.folder)}; {remedy(stage)}")
            return


def main(seconds: float, stages: list[Stage | OwnApp]) -> None:
    """Try the stages, with a time limit in seconds for each."""
    # Output of the code, or of a program that it starts, must not get mixed with the findings.
    report = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    tell = partial(print, file=report, flush=True)
    for stage in stages:
        tell(json.dumps(stage.slug))
        # Stop code that never returns; the log then says where it was.
        faulthandler.dump_traceback_later(seconds, exit=True)
        for finding in rehearse(stage):
            tell(json.dumps(asdict(finding)))
    faulthandler.cancel_dump_traceback_later()
    tell(json.dumps(""))


if __name__ == "__main__":
    main(float(sys.argv[1]), [find_app(name) for name in sys.argv[2:]])
