"""A learner's copy with their own apps in it, for the tests that run, list or examine them."""

from pathlib import Path

import pytest

from workshop.core.stages import BASE
from workshop.setup.process import ROOT

HELLO = (ROOT / "notebooks/solutions/apps/hello/app.py").read_text(encoding="utf-8")


class Work:
    """A learner's copy that holds only what a test puts into it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, name: str, text: str = HELLO) -> Path:
        """Make the app `name`; return its file."""
        file = self.root / "apps" / name / "app.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return file


@pytest.fixture
def work(tmp_path, monkeypatch):
    """The copy that commands and checks look at."""
    root = tmp_path / "meine Übungen"
    (root / "apps").mkdir(parents=True)
    monkeypatch.setenv(BASE, str(root))
    return Work(root)
