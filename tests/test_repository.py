"""What holds for the repository as a whole."""

import re
import shutil
import subprocess

import pytest

from workshop.core.stages import STAGES
from workshop.setup.lock import LOCK, locked
from workshop.setup.process import ROOT


def direct_dependencies():
    """The lines of requirements.in that name a package: (name, reason)."""
    lines = (ROOT / "requirements.in").read_text(encoding="utf-8").splitlines()
    found = [re.match(r"([a-z][a-z0-9-]*)\S*\s*(?:#\s*(.*))?$", line) for line in lines]
    return [(match[1], match[2]) for match in found if match]


def test_every_direct_dependency_has_its_reason_and_is_locked():
    locked = set(re.findall(r"^([a-z0-9-]+)==", LOCK.read_text(encoding="utf-8"), re.MULTILINE))
    dependencies = direct_dependencies()
    assert len(dependencies) > 10
    for name, reason in dependencies:
        assert reason, name
        assert name in locked


def test_the_lock_pins_exact_versions_with_their_hashes_and_names_no_index():
    lines = LOCK.read_text(encoding="utf-8").splitlines()
    packages = [line for line in lines if line and not line.startswith((" ", "#"))]
    assert packages
    assert all(re.match(r"[a-z0-9-]+==\S+( ; .+)? \\$", line) for line in packages)
    assert "://" not in LOCK.read_text(encoding="utf-8")
    entries = locked(LOCK)
    assert len(entries) == len(packages)
    hashes = r"( \\\n    --hash=sha256:[0-9a-f]{64})+"
    for pin, entry in entries.items():
        assert re.fullmatch(re.escape(pin) + hashes, entry)


def test_the_lock_serves_every_system():
    text = LOCK.read_text(encoding="utf-8")
    assert "sys_platform == 'win32'" in text
    assert "sys_platform == 'darwin'" in text


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.slug)
def test_the_readme_maps_every_stage(stage):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = [line for line in readme.splitlines() if line.startswith("|") and stage.code in line]
    assert any(stage.title in row and str(stage.minutes) in row for row in rows)


def test_links_of_the_readme_lead_somewhere():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = re.findall(r"\]\((?!https?://|#)([^)#]+)", readme)
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_nothing_is_committed_that_must_not_be():
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip("this copy is no git checkout")
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    files = listed.stdout.split("\n")
    assert len(files) > 20
    assert [f for f in files if re.search(r"\.(joblib|pkl|zip)$|adult\.(data|test)$", f)] == []
