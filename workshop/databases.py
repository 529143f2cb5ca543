"""Makes and upgrades the databases of the stages that have one, each with its own app's command."""

import os
import subprocess
import sys

from workshop.errors import WorkshopError
from workshop.stages import Stage


class DatabaseFailed(WorkshopError):
    """A stage's database can't be made."""


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
