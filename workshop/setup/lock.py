"""The locks: which packages to install, each with one version and the hashes of its files."""

import re
from pathlib import Path

from workshop.setup.process import ROOT

LOCK = ROOT / "requirements.txt"
TEST_LOCK = ROOT / "requirements-dev.txt"  # what only the tests need
PROJECT = ROOT / "pyproject.toml"


def locked(lock: Path) -> dict[str, str]:
    """The requirements of a lock, such as `numpy==2.4.6 ; python_full_version < '3.12'`.

    Each maps to its entry: the lines with its name and the hashes, one of which its file must match.
    """
    text = lock.read_text(encoding="utf-8")
    entries = re.findall(r"^[a-z0-9].*==.*(?:(?<=\\)\n.*)*", text, re.MULTILINE)
    return {entry.partition("\\")[0].strip(): entry for entry in entries}
