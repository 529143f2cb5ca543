"""The tools for the supply chain: the table of licenses, and the audit of the locks."""

import json
import runpy
import subprocess
import sys

import pytest
from packaging.requirements import Requirement

from workshop.setup.lock import LOCK, TEST_LOCK, locked
from workshop.setup.process import ROOT

TOOLS = ROOT / "tools"
licences = runpy.run_path(str(TOOLS / "licences.py"))
audit = runpy.run_path(str(TOOLS / "audit.py"))


def test_every_locked_package_is_listed_with_the_license_it_states():
    names = [Requirement(pin).name for pin in locked(LOCK)]
    rows = dict(licences["ROW"].findall(licences["PAGE"].read_text(encoding="utf-8")))
    del rows["package"]
    assert set(rows) == set(names)
    assert not [row for row in rows.items() if "unknown" in row[1].lower()]
    # Of a package with two versions, one is listed.
    here = [n for n in names if names.count(n) == 1 and licences["is_installed"](n)]
    assert len(here) > 100
    assert {n: rows[n] for n in here} == {n: licences["stated"](n) for n in here}


FINE = {"name": "click", "version": "8.5.1", "vulns": []}
BAD = {"name": "x", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["1.1"]}]}


@pytest.mark.parametrize(
    ("packages", "required", "status", "sentence"),
    [
        ([FINE], True, 0, "1 packages"),
        ([FINE, BAD], False, 1, "x 1: CVE-1 (fixed in 1.1)\n"),
        ([{"name": "y", "skip_reason": "Dependency not found"}], True, 1, "NOT audited"),
        ([], False, 0, "NOT audited"),
    ],
)
def test_an_audit_without_answers_does_not_count_as_passed(
    packages, required, status, sentence, monkeypatch, capsys
):
    def pip_audit(command, **_):
        assert {str(LOCK), str(TEST_LOCK)} <= set(command)
        return subprocess.CompletedProcess(command, 0, json.dumps({"dependencies": packages}), "")

    monkeypatch.setattr(subprocess, "run", pip_audit)
    monkeypatch.setattr(sys, "argv", ["audit.py", *["--required"] * required])
    assert audit["main"]() == status
    assert sentence in capsys.readouterr().out
