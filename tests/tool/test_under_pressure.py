"""A fuzzer at the APIs and a crowd at a served app, each for a short while.

The nightly run on GitHub gives both the time they need (`.github/workflows/tests.yml`).
"""

import shlex
import subprocess
import sys

import pytest

from workshop.setup.process import ROOT

SCHEMATHESIS = [sys.executable, "-m", "uv", "tool", "run", "--quiet", "schemathesis@4.32.5"]

pytestmark = pytest.mark.slow


def run(script, *options):
    """Run a script of tools/; it prints what it found, and ends with 0 if that is nothing."""
    command = [sys.executable, ROOT / "tools" / script, *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_fuzzer_finds_nothing():
    if subprocess.run([*SCHEMATHESIS, "--version"], capture_output=True).returncode:
        pytest.skip("schemathesis, which comes from the package index, isn't available here")
    run("fuzz.py", "--cases", "60", "--schemathesis", shlex.join(SCHEMATHESIS))


def test_a_crowd_is_served_while_a_worker_is_killed():
    run("load.py", "--seconds", "15")
