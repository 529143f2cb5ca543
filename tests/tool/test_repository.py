"""The locks, the README's map and links, and which files are committed."""

import re
import shutil
import subprocess

import pytest

from workshop.core.stages import STAGES
from workshop.setup.lock import LOCK, TEST_LOCK, locked
from workshop.setup.process import ROOT

LOCKS = {"requirements.in": LOCK, "requirements-dev.in": TEST_LOCK}
# Packages that learners, and programs that use this repository, can rely on.
PROMISED = {
    "flask",
    "scikit-learn",
    "joblib",
    "pandas",
    "seaborn",
    "jupyterlab",
    "nbval",
    "requests",
}


def direct_dependencies(file):
    """The packages in `file`, as pairs (name, reason)."""
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    found = [re.match(r"([a-z][a-z0-9-]*)\S*\s*(?:#\s*(.*))?$", line) for line in lines]
    return [(match[1], match[2]) for match in found if match]


@pytest.mark.parametrize("file", LOCKS)
def test_every_direct_dependency_has_its_reason_and_is_locked(file):
    pinned = {pin.partition("==")[0] for pin in locked(LOCKS[file])}
    dependencies = direct_dependencies(file)
    assert dependencies
    for name, reason in dependencies:
        assert reason, name
        assert name in pinned


def test_attendees_install_what_they_use_in_the_versions_that_the_tests_have():
    named = {name for name, _ in direct_dependencies("requirements.in")}
    assert named >= PROMISED | {"pytest"}
    pinned = {pin.partition("==")[0] for pin in locked(LOCK)}
    assert not pinned & {"playwright", "pytest-playwright", "hypothesis", "pytest-xdist"}
    both = [pin for pin in locked(TEST_LOCK) if pin.partition("==")[0] in pinned]
    assert both
    versions = {pin.partition(" ;")[0] for pin in locked(LOCK)}
    assert {pin.partition(" ;")[0] for pin in both} <= versions


@pytest.mark.parametrize("lock", LOCKS.values(), ids=lambda lock: lock.name)
def test_a_lock_pins_exact_versions_with_their_hashes_and_names_no_index(lock):
    text = lock.read_text(encoding="utf-8")
    packages = [line for line in text.splitlines() if line and not line.startswith((" ", "#"))]
    assert packages
    assert all(re.match(r"[a-z0-9-]+==\S+( ; .+)? \\$", line) for line in packages)
    assert "://" not in text
    entries = locked(lock)
    assert len(entries) == len(packages)
    hashes = r"( \\\n    --hash=sha256:[0-9a-f]{64})+"
    for pin, entry in entries.items():
        assert re.fullmatch(re.escape(pin) + hashes, entry)


def test_the_readme_maps_every_stage_and_its_links_lead_somewhere():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for stage in STAGES:
        rows = [row for row in readme.splitlines() if row.startswith("|") and stage.code in row]
        assert any(stage.title in row and str(stage.minutes) in row for row in rows), stage.slug
    targets = re.findall(r"\]\((?!https?://|#)([^)#]+)", readme)
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_nothing_is_committed_that_must_not_be():
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip("this copy isn't a git checkout")
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    files = listed.stdout.split("\n")
    assert len(files) > 20
    assert [
        f for f in files if re.search(r"\.(joblib|pkl|zip)$|(adult|cal_housing)\.(data|test)$", f)
    ] == []
