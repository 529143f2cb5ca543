"""Changed apps for the tests of the exercises that change one: the learner's copy, and edits in it.

The copy is `WORKSHOP_WORK`, which `check` and whatever it starts look at.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from workshop import check
from workshop.core.stages import BASE, find_stage
from workshop.learn.exercises import Verdict
from workshop.setup.process import ROOT

SOLUTIONS = ROOT / "notebooks" / "solutions"


class Copy:
    """A folder with a copy of one stage's app in it, the trained model included."""

    def __init__(self, root: Path, stage: str | int) -> None:
        self.root = root
        self.slug = find_stage(stage).slug
        self.app = root / "apps" / self.slug
        shutil.copytree(
            ROOT / "apps" / self.slug,
            self.app,
            # *.tmp: a notebook in another process may be saving its model at this moment.
            ignore=shutil.ignore_patterns("__pycache__", "instance", "*.tmp"),
            dirs_exist_ok=True,
        )

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace `old`, which must be there once, in a file of the app."""
        text = (self.app / name).read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{name} has {old!r} {text.count(old)} times"
        (self.app / name).write_text(text.replace(old, new), encoding="utf-8", newline="\n")

    def write(self, name: str, text: str) -> None:
        """Make a file of the app, or overwrite it."""
        (self.app / name).write_text(text, encoding="utf-8", newline="\n")

    def solve(self, number: str) -> None:
        """Make the change that an exercise asks for, as its stored solution has it."""
        if not shutil.which("git"):
            pytest.skip("the solution is a diff, and there is no git here to apply it")
        done = subprocess.run(
            ["git", "apply", SOLUTIONS / f"{number}.diff"],
            cwd=self.root,
            env=os.environ | {"GIT_CEILING_DIRECTORIES": str(self.root.parent)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr


@pytest.fixture
def copy_of(tmp_path, monkeypatch):
    """`copy_of(stage)` makes a copy of the stage's app and lets `check` look there."""

    def make(stage: str | int) -> Copy:
        monkeypatch.setenv(BASE, str(tmp_path))
        return Copy(tmp_path, stage)

    return make


def judge(number: str, status: str, hint: str = "") -> Verdict:
    """The verdict on an app exercise, which must have this status and the pattern `hint` in its message."""
    verdict = check(number)
    assert verdict.status == status, verdict
    assert re.search(hint, verdict.message), verdict
    assert "Traceback" not in verdict.message
    return verdict
