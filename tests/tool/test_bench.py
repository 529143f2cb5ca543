"""`tools/bench.py`: a short run measures something, and docs/speed.md has its sections."""

import os
import re
import subprocess
import sys

import pytest

from workshop.setup.process import ROOT


@pytest.mark.slow
def test_a_short_run_measures_every_contender_that_is_here():
    """Without a network, and so without FastAPI: the run says that it left it out."""
    sections = [f"--only={name}" for name in ("requests", "batch", "start-up")]
    run = subprocess.run(
        [sys.executable, ROOT / "tools" / "bench.py", "--rounds=1", "--seconds=0.2", *sections],
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
    page = (ROOT / "docs" / "speed.md").read_text(encoding="utf-8")
    titles = re.findall(r"^\| (.+?) \| median", run.stdout, re.MULTILINE)
    assert len(titles) == 3
    assert [title for title in titles if f"| {title} |" not in page] == []
