"""`tools/bench.py`: its contenders take turns, and a short run measures something."""

import importlib.util
import os
import re
import subprocess
import sys

import pytest

from workshop.setup.process import ROOT

SCRIPT = ROOT / "tools" / "bench.py"


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("bench", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_a_short_run_measures_every_contender_that_is_here():
    """Without a network, and so without FastAPI: the run says that it left it out."""
    sections = [f"--only={name}" for name in ("requests", "batch", "start-up")]
    run = subprocess.run(
        [sys.executable, SCRIPT, "--rounds=1", "--seconds=0.2", *sections],
        env=os.environ | {"UV_OFFLINE": "1", "UV_NO_CACHE": "1"},
        capture_output=True,
        encoding="utf-8",
    )
    assert run.returncode == 0, run.stderr
    assert "FastAPI" in run.stderr
    rows = dict(re.findall(r"^\| ([^|]+) \| ([\d.,]+) \|", run.stdout, re.MULTILINE))
    assert {"stage 05", "an empty Flask app on the same server"} <= rows.keys()
    assert {"stage 05, JSON", "stage 05, CSV", "06_housing"} <= rows.keys()
    assert all(float(number.replace(",", "")) > 0 for number in rows.values())


def test_contenders_take_turns_and_the_first_round_does_not_count(bench):
    turns = []

    def way(name):
        return lambda: turns.append(name) or len(turns)

    rows = bench.in_turns(2, {"a": way("a"), "b": way("b")})
    assert turns == ["a", "b"] * 3
    assert rows == {"a": (3, 5), "b": (4, 6)}
    made = bench.table("what", {"a": (1, 10, 100), "b": (2, 20, 1000)})
    assert made.splitlines()[2:] == ["| a | 10 | 1 | 100 | 1 |", "| b | 20 | 2 | 1,000 | 2 |"]
    page = (ROOT / "docs" / "speed.md").read_text(encoding="utf-8")
    assert all(f"| {title} |" in page for title, _ in bench.SECTIONS.values())
