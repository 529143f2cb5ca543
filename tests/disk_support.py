"""A disk of 1 MB for the tests that fill one: a file system that only one process and its children see."""

import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from workshop.setup.process import ROOT

NO_DISK = "making a file system needs Linux, root, and the right to do so"

# For the program that runs on the disk: `fill` leaves no room in a folder, `make_room` ends that.
ROOM = """
from pathlib import Path

def fill(folder):
    with open(Path(folder, "filler"), "wb", buffering=0) as filler:
        try:
            while True:
                filler.write(bytes(4096))
        except OSError:
            pass

def make_room(folder):
    Path(folder, "filler").unlink()
"""


def run_on_small_disk(folder: Path, code: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run Python code to which `folder` is an empty disk of 1 MB, with `settings` in its environment.

    The code may use `fill` and `make_room`. What it writes to the folder is gone when it ends.
    """
    mounted = 'mount -t tmpfs -o size=1m tmpfs "$0" && exec "$@"'
    return subprocess.run(
        ["unshare", "--mount", "sh", "-c", mounted, folder, sys.executable, "-c", ROOM + code],
        cwd=ROOT,
        env=os.environ | settings,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )


@cache
def can_make_a_disk() -> bool:
    """Whether `run_on_small_disk` works here; in many containers even root may mount nothing."""
    if not shutil.which("unshare") or os.geteuid() != 0:
        return False
    with tempfile.TemporaryDirectory() as folder:
        return run_on_small_disk(Path(folder), "").returncode == 0
