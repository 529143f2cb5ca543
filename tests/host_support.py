"""Apps with the host's middleware, in the tests' process."""

import subprocess
import sys
from pathlib import Path

from flask import Flask

from workshop.core import datasets
from workshop.core.build import model_module
from workshop.core.stages import Stage
from workshop.host.guard import guard
from workshop.host.mount import Mount
from workshop.setup.process import ROOT


def hosted(app: Flask) -> Flask:
    """An app with the host's middleware around it."""
    app.wsgi_app = guard(app.wsgi_app, app.config["MAX_CONTENT_LENGTH"])
    return app


class Mounted(Mount):
    """A mount with a given app, or with the reason why it doesn't start."""

    def __init__(self, stage: Stage, app: Flask | None, problem: str | None = None) -> None:
        self.stage, self.app, self.problem, self._has_model = stage, app, problem, False
        self._guarded = app and guard(app.wsgi_app, app.config["MAX_CONTENT_LENGTH"])

    def look(self) -> None:
        """Never create the app again."""


def train_in(copy: Path, stage: Stage) -> None:
    """Train the model of a stage into a copy of its folder."""
    if stage.table:
        table, target = stage.table
        run = [sys.executable, "train.py", "--model=linear", ROOT / table, target]
        subprocess.run(run, cwd=copy, check=True, stdout=subprocess.DEVNULL)
    else:
        module = model_module(stage)
        module.save(*module.train(getattr(datasets, stage.dataset)()), copy / "model")
