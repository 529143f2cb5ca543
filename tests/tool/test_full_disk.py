"""Commands on a full disk: one sentence, no half-written files, and with free space they finish."""

import json
import os
import subprocess
import sys

import commands_support
import pytest
from commands_support import NOTE, PLACES
from setup_support import environ

from workshop.learn.my_copy import originals
from workshop.setup.process import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def own_mounts(tmp_path_factory):
    """The start of a command that mounts a disk, so that no other process sees it."""
    command = ["unshare", "--mount", *(["--user", "--map-root-user"] if os.geteuid() else []), "--"]
    try:
        mount = ["mount", "-t", "tmpfs", "tmpfs", tmp_path_factory.mktemp("try")]
        subprocess.run([*command, *mount], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a disk needs Linux and permission to create namespaces")
    return command


@pytest.fixture(scope="module")
def told(own_mounts, tmp_path_factory):
    """What each command did, as reported by commands_support.py."""
    run = subprocess.run(
        [*own_mounts, sys.executable, commands_support.__file__, tmp_path_factory.mktemp("disks")],
        env=environ() | {"OMP_NUM_THREADS": "1", "WORKSHOP_OFFLINE": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


# Files that exist in the end, by command.
WHOLE = {
    "catch-up": {path.as_posix() for path in originals()},
    "train": {"model/iris.joblib", "model/iris.json"},
    "kit": {"kit.json", "wheels/click-8.5.1-py3-none-any.whl"},
}


@pytest.mark.parametrize("name", PLACES)
def test_a_full_disk_is_one_sentence_and_nothing_half_written(told, name):
    code, printed = told[name]["refused"]
    assert code == 1
    assert "Traceback" not in printed
    last = printed.splitlines()[-1]
    assert "space left" in last or "full" in last
    assert "make room" in last or "free" in last, "the remedy"
    before, after, end = (told[name][when] for when in ("before", "after", "end"))
    assert [file for file in after if file.endswith((".part", ".tmp"))] == []
    assert after.items() >= before.items()
    new = after.keys() - before.keys()
    assert {file: after[file] for file in new} == {file: end.get(file) for file in new}
    code, printed = told[name]["with room"]
    assert code == 0, printed
    assert WHOLE.get(name, set()) <= end.keys()
    if name == "catch-up --fresh":
        app = "apps/01_hello/app.py"
        assert end[app] == (ROOT / app).read_text(encoding="utf-8")
        assert NOTE in [content for file, content in end.items() if file.startswith("aside/")]
