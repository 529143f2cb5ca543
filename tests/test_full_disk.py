"""Commands on a disk that is full: one sentence, nothing half written, and with room they finish.

And a workshop in a folder where nobody may write: it says so, and works with the copy somewhere else.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from full_disk_support import NOTE, PLACES
from setup_support import environ

from workshop.learn.my_copy import originals
from workshop.setup.process import ROOT

pytestmark = pytest.mark.slow

SENTENCES = {
    "catch-up": "Your copy of the notebooks and apps can't be made in ",
    "catch-up --fresh": "can't be written (No space left on device): make room, or move",
    "train": "the model of stage 04_iris can't be saved in ",
    "refresh": "can't be written (No space left on device): make room, or move",
    "kit": "The disk of ",
    "set-up": "The disk is full: free about 1 GB, then run the same command again.",
}


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What to put before a command that mounts something, so that nobody else sees it."""
    command = ["unshare", "--mount", *(["--user", "--map-root-user"] if os.geteuid() else []), "--"]
    try:
        mount = ["mount", "-t", "tmpfs", "tmpfs", tmp_path_factory.mktemp("try")]
        subprocess.run([*command, *mount], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("disks can be mounted on Linux alone, and where namespaces are allowed")
    return command


@pytest.fixture(scope="module")
def told(alone, tmp_path_factory):
    """What each command did, as tests/full_disk_support.py tells it."""
    run = subprocess.run(
        [*alone, sys.executable, Path(__file__).with_name("full_disk_support.py")]
        + [tmp_path_factory.mktemp("disks")],
        env=environ() | {"OMP_NUM_THREADS": "1", "WORKSHOP_OFFLINE": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.mark.parametrize("name", PLACES)
def test_a_full_disk_is_one_sentence_and_nothing_half_written(told, name):
    code, printed = told[name]["refused"]
    assert code == 1
    assert "Traceback" not in printed
    assert printed.count(SENTENCES[name]) == 1
    assert SENTENCES[name] in printed.splitlines()[-1]
    before, after, end = (told[name][when] for when in ("before", "after", "end"))
    assert {file for file in after if file.endswith((".part", ".tmp"))} == set()
    assert {file: after.get(file) for file in before} == before
    new = after.keys() - before.keys()
    assert {file: after[file] for file in new} == {file: end.get(file) for file in new}
    code, printed = told[name]["with room"]
    assert code == 0, printed


def test_with_room_the_copy_is_whole(told):
    expected = {path.as_posix() for path in originals()}
    assert expected <= told["catch-up"]["end"].keys()


def test_going_back_loses_nothing(told):
    app = "apps/01_hello/app.py"
    end = told["catch-up --fresh"]["end"]
    assert end[app] == (ROOT / app).read_text(encoding="utf-8")
    assert NOTE in [content for file, content in end.items() if file.startswith("aside/")]


def test_with_room_the_model_is_there(told):
    end = told["train"]["end"]
    assert {"model/iris.joblib", "model/iris.json"} <= end.keys()


def test_with_room_the_notebook_has_its_output(told):
    assert '"text": [' in told["refresh"]["end"]["01_hello.ipynb"]


def test_with_room_the_kit_is_whole(told):
    assert {"kit.json", "wheels/click-8.5.1-py3-none-any.whl"} <= told["kit"]["end"].keys()


READ_ONLY = """
mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && cd "$1" && shift && exec "$@"
"""
TRAIN = """
import os, sys
from workshop import cli

del os.environ["WORKSHOP_WORK"]
code = cli.run(["train", "04"])
os.environ["WORKSHOP_WORK"] = sys.argv[1]
sys.exit(10 * code + cli.run(["train", "04"]))
"""


def test_where_nobody_may_write_the_copy_may_be_elsewhere(alone, tmp_path):
    work = tmp_path / "meine Übungen"
    run = subprocess.run(
        [*alone, "sh", "-c", READ_ONLY, "sh", ROOT, sys.executable, "-c", TRAIN, work],
        capture_output=True,
        encoding="utf-8",
    )
    assert run.returncode == 10, run.stderr
    assert run.stderr.startswith(
        f"Your copy of the notebooks and apps can't be made in {ROOT / 'work'} (Read-only file "
        "system): make room, or set WORKSHOP_WORK to a folder of your own.\n"
    )
    assert run.stdout.startswith("04_iris: trained on 112 rows")
    assert (work / "apps" / "04_iris" / "model" / "iris.json").exists()
