"""Apps that learners have changed, run in this process: a copy, edits in it, and what `check` says about it.

A separate process spends seconds on importing scikit-learn. exercises/test_checks.py and
exercises/test_solutions.py run apps as a learner's `check` does.
"""

import importlib
import io
import logging
import os
import re
import shutil
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace

import joblib
import pandas as pd
import pytest
from sklearn.utils import Bunch
from werkzeug import security
from werkzeug.serving import make_server

from workshop.core.build import model_module
from workshop.core.datasets import CENSUS_STANDIN, HOUSING_STANDIN, read_iris
from workshop.core.errors import ServerDied
from workshop.core.own_apps import TYPED, OwnApp
from workshop.core.stages import BASE, find_stage
from workshop.learn import exercises
from workshop.learn.exercises import Verdict, check_answer
from workshop.setup.process import ROOT

SOLUTIONS = ROOT / "notebooks" / "solutions"


class Copy:
    """A folder with one unchanged app: a stage's, or one that learners type from a notebook."""

    def __init__(self, root: Path, name: str) -> None:
        self.root = root
        if name in TYPED:
            self.app, original = root / "apps" / name, SOLUTIONS / "apps" / name
        else:
            slug = find_stage(name).slug
            self.app, original = root / "apps" / slug, ROOT / "apps" / slug
        ignored = shutil.ignore_patterns("__pycache__", "instance", "model", "*.tmp")
        shutil.copytree(original, self.app, ignore=ignored)

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace `old`, which must be there once, in a file of the app."""
        text = (self.app / name).read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{name} has {old!r} {text.count(old)} times"
        self.write(name, text.replace(old, new))

    def write(self, name: str, text: str) -> None:
        """Make a file of the app, or overwrite it."""
        # Bytecode of a file with the same length that was written in the same second would count as its own.
        shutil.rmtree(self.app / "__pycache__", ignore_errors=True)
        (self.app / name).write_text(text, encoding="utf-8", newline="\n")

    def solve(self, number: str) -> None:
        """Make the change that an exercise asks for, as its stored solution has it."""
        if not shutil.which("git"):
            pytest.skip("the solution is a diff, and there is no git here to apply it")
        environ = os.environ | {"GIT_CEILING_DIRECTORIES": str(self.root.parent)}
        command = ["git", "apply", SOLUTIONS / f"{number}.diff"]
        subprocess.run(command, cwd=self.root, env=environ, check=True)

    def add_model(self) -> None:
        """Save a small model where the app looks for one; `my` has a bare pipeline in a file."""
        if self.app.name == "my":
            joblib.dump(trained("04_iris")[0], self.app / "iris.joblib")
            return
        model_module(find_stage(self.app.name)).save(*trained(self.app.name), self.app / "model")


@cache
def people() -> Bunch:
    """The stand-in's people, as `train` and `test`: the checks' ranges fit them and the real ones."""
    table = pd.read_csv(CENSUS_STANDIN, na_values=["?"], keep_default_na=False)
    parts = dict(iter(table.drop(columns="part").groupby(table["part"])))
    return Bunch(**parts, source="stand-in", is_real=False)


@cache
def trained(slug: str) -> tuple[object, dict]:
    """A stage's estimator and its card, trained on what comes with the repository."""
    module = model_module(find_stage(slug))
    if slug == "04_iris":
        return module.train(read_iris())
    if slug == "05_census":
        return module.train(people())
    table = pd.read_csv(HOUSING_STANDIN)
    few = Bunch(train=table.head(1000), test=table.tail(300), source="stand-in", is_real=False)
    small = {n: each.set_params(max_iter=10) for n, each in module.build_estimators().items()}
    with pytest.MonkeyPatch.context() as patch:  # few trees: every app of every test reads them all
        patch.setattr(module, "build_estimators", lambda: small)
        return module.train(few)


@contextmanager
def modules_of(folder: Path) -> Iterator[None]:
    """Let imports find the modules in a folder, instead of those of the original app."""
    names = {file.stem for file in folder.glob("*.py")}
    originals = {name: sys.modules.pop(name) for name in names & sys.modules.keys()}
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in names & sys.modules.keys():
            del sys.modules[name]
        sys.modules.update(originals)


@contextmanager
def running_in_thread(name: str) -> Iterator[SimpleNamespace]:
    """Run the copy's app in a thread of this process; one that can't start leaves its traceback."""
    stage = OwnApp(name) if name in TYPED else find_stage(name)
    with modules_of(stage.folder):
        try:
            module = importlib.import_module("app")
            app = module.create_app() if hasattr(module, "create_app") else module.app
        except Exception:  # noqa: BLE001 (a learner's code may raise anything)
            raise ServerDied(traceback.format_exc()) from None
        if stage.database:
            made = app.test_cli_runner().invoke(args=["init-db"])
            assert made.exit_code == 0, made.output
        log = io.StringIO()
        handler = logging.StreamHandler(log)
        app.logger.addHandler(handler)
        with make_server("127.0.0.1", 0, app, threaded=True) as server:
            # It checks for shutdown every few milliseconds, not every half second.
            thread = threading.Thread(target=server.serve_forever, args=[0.01])
            thread.start()
            try:
                yield SimpleNamespace(
                    url=f"http://127.0.0.1:{server.port}", log_end=lambda _: log.getvalue()
                )
            finally:
                server.shutdown()
                thread.join()
                app.logger.removeHandler(handler)


def verdict_on(number: str, answer: object = ..., run_app=running_in_thread) -> Verdict:
    """What `check` says about an answer, or about the app that an exercise changes."""
    with pytest.MonkeyPatch.context() as patch:
        # Hashing a password is slow on purpose. These accounts live for a moment, and nobody attacks them.
        quick = partial(security.generate_password_hash, method="scrypt:1024:8:1")
        patch.setattr(security, "generate_password_hash", quick)
        patch.setattr(exercises, "_HINTED", set())  # a notebook's first check of its kind
        verdict = check_answer(number, answer, run_app)
    assert "Traceback" not in verdict.message
    return verdict


def assert_verdict(number: str, status: str, hint: str = "") -> None:
    """Assert the verdict on a changed app, and a pattern in its message."""
    verdict = verdict_on(number)
    assert verdict.status == status, verdict
    assert re.search(hint, verdict.message), verdict


@pytest.fixture
def copy_of(tmp_path, monkeypatch):
    """`copy_of(name)` makes a copy of an app and lets checks look there."""

    def make(name: str) -> Copy:
        monkeypatch.setenv(BASE, str(tmp_path))
        monkeypatch.delenv("DATABASE_URL", raising=False)
        return Copy(tmp_path, name)

    return make
