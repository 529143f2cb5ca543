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
PROMISED = {"flask", "scikit-learn", "joblib", "pandas", "seaborn", "jupyterlab", "nbval"}


def names_of(pins):
    return {pin.partition("==")[0] for pin in pins}


@pytest.mark.parametrize(("file", "lock"), LOCKS.items())
def test_a_dependency_has_its_reason_and_is_locked_with_its_hashes(file, lock):
    asked = re.findall(r"^([a-z][a-z0-9-]*)\S* *(#.+)?$", (ROOT / file).read_text("utf-8"), re.M)
    assert asked
    assert [name for name, reason in asked if not reason] == []
    entries = locked(lock)
    assert {name for name, _ in asked} <= names_of(entries)
    for pin, entry in entries.items():
        assert re.match(r"[a-z0-9-]+==\S+", pin)
        assert re.fullmatch(re.escape(pin) + r"( \\\n    --hash=sha256:[0-9a-f]{64})+", entry)
    assert "://" not in lock.read_text(encoding="utf-8"), "it names no index"


def test_attendees_install_what_they_use_in_the_versions_that_the_tests_have():
    ours, tests = locked(LOCK), locked(TEST_LOCK)
    assert names_of(ours) >= PROMISED | {"requests", "pytest"}
    assert not names_of(ours) & {"playwright", "pytest-playwright", "hypothesis", "pytest-xdist"}
    both = {pin.partition(" ;")[0] for pin in tests if pin.partition("==")[0] in names_of(ours)}
    assert both
    assert both <= {pin.partition(" ;")[0] for pin in ours}


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
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    files = listed.stdout.split("\n")
    assert len(files) > 20
    assert (
        subprocess.run(["git", "check-ignore", "--quiet", "work/a.ipynb"], cwd=ROOT).returncode == 0
    )
    bad = re.compile(r"\.(joblib|pkl|zip)$|(adult|cal_housing)\.(data|test)$")
    assert [file for file in files if bad.search(file)] == []
