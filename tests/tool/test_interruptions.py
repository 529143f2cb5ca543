"""A command killed, interrupted or out of space leaves nothing broken, and the next run finishes the work.

The moments are counted in file changes, not in seconds, so each test run has the same ones. Below are the
tests with several processes: no child may outlive a killed parent.
"""

import json
import os
import shutil
import subprocess
import sys
import time

import commands_support
import psutil
import pytest
from commands_support import NOTE, PLACES, call, contents, interruptions, settings
from serve_support import RUN
from wheel_support import environ

from workshop.host.ports import free_port
from workshop.learn.my_copy import originals
from workshop.setup.process import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="Windows has neither fork nor these signals"),
]

AFTER_CTRL_C = "run the same command again to finish"


@pytest.fixture
def folder(tmp_path):
    """A folder whose name has spaces and non-ASCII letters."""
    folder = tmp_path / "here" / "Jürgens Übungen"
    folder.mkdir(parents=True)
    return folder


def files_that_stay(folder):
    """The contents of all files that a command keeps and that don't differ between two runs."""
    dropped = (".part", ".tmp", ".originals.json")
    return {
        file: content
        for file, content in contents(folder).items()
        if not file.endswith(dropped) and not file.startswith("aside/") and ".part/" not in file
    }


# At every change


@pytest.mark.parametrize("name", ["SIGKILL", "SIGINT"])
@pytest.mark.parametrize("place", ["catch-up", "catch-up --fresh", "kit"])
def test_each_file_is_whole_and_the_next_call_finishes(folder, tmp_path, place, name):
    """Each file is unchanged, or as an uninterrupted run in a twin of the folder writes it."""
    twin = tmp_path / "twin" / folder.name
    twin.mkdir(parents=True)
    function, look = PLACES[place](twin)
    assert call(function, twin, **settings(twin))[0] == 0
    expected = files_that_stay(look)

    function, look = PLACES[place](folder)
    before = files_that_stay(look)
    most = 10 if name == "SIGKILL" else 4
    for printed in interruptions(function, look, name, most, **settings(folder)):
        assert name == "SIGKILL" or AFTER_CTRL_C in printed
        for file, content in files_that_stay(look).items():
            assert content in (before.get(file), expected.get(file)), file
        everything = contents(look)
        assert "--fresh" not in place or NOTE in everything.values(), "the learner's work is kept"
        assert "kit.json" not in everything or "READ_ME_FIRST.txt" in everything
    assert files_that_stay(look) == expected
    for file in look.rglob("*"):
        os.utime(file, (time.time() - 7200,) * 2)  # which nobody is writing any more
    assert call(function, look, **settings(folder))[0] == 0
    left = [f for f in contents(look) if f.endswith((".part", ".tmp")) or ".part/" in f]
    assert [file for file in left if not file.startswith("aside/")] == []


def test_a_set_up_is_finished_by_the_next_call(folder):
    setting_up, house = PLACES["set-up"](folder)
    stamp = house / ".venv" / "workshop-setup"
    offline = {name: value for name, value in environ().items() if name not in os.environ}
    code, printed = call(setting_up, house / ".venv", 4, "SIGINT", **offline)
    assert code == 130
    assert AFTER_CTRL_C in printed
    for _ in interruptions(setting_up, house / ".venv", most=5, **offline):
        assert not stamp.exists() or stamp.read_text(encoding="ascii") == "half a li"
    run = subprocess.run(
        [sys.executable, "-m", "workshop"], cwd=house, env=environ(), capture_output=True, text=True
    )
    assert run.stdout.startswith("Usage:"), run.stderr
    assert "Setting up" not in run.stderr


# A full disk


@pytest.fixture(scope="module")
def own_mounts(tmp_path_factory):
    """The start of a command that mounts a disk, so that no other process sees it."""
    command = ["unshare", "--mount", *(["--user", "--map-root-user"] if os.geteuid() else []), "--"]
    mount = [*command, "mount", "-t", "tmpfs", "tmpfs", tmp_path_factory.mktemp("try")]
    if not shutil.which("unshare") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a disk needs Linux and permission to create namespaces")
    return command


@pytest.fixture(scope="module")
def told(own_mounts, tmp_path_factory):
    """What each command did on a full disk, as reported by commands_support.py."""
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


READ_ONLY = """
mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && cd "$1" && shift && exec "$@"
"""
TRAIN = """
import os, sys
from workshop import cli

code = cli.run(["train", "04"])
os.environ["WORKSHOP_WORK"] = sys.argv[1]
sys.exit(10 * code + cli.run(["train", "04"]))
"""


def test_where_nobody_may_write_the_copy_may_be_elsewhere(own_mounts, tmp_path):
    """In a copy of the repository that has no `work` yet."""
    house, work = tmp_path / "house", tmp_path / "meine Übungen"
    unwanted = shutil.ignore_patterns(".*", "work", "__pycache__", "model", "instance", "tests")
    shutil.copytree(ROOT, house, ignore=unwanted)
    variables = os.environ | {"PYTHONPATH": str(house), "PYTHONDONTWRITEBYTECODE": "1"}
    variables.pop("WORKSHOP_WORK", None)
    run = subprocess.run(
        [*own_mounts, "sh", "-c", READ_ONLY, "sh", house, sys.executable, "-c", TRAIN, work],
        env=variables,
        capture_output=True,
        encoding="utf-8",
    )
    assert run.returncode == 10, run.stderr
    [told] = [line for line in run.stderr.splitlines() if str(house / "work") in line]
    assert "Read-only file system" in told
    assert "set WORKSHOP_WORK" in told
    assert run.stdout.startswith("04_iris: trained on 112 rows")
    assert (work / "apps" / "04_iris" / "model" / "iris.json").exists()


# Several processes


@pytest.mark.parametrize(
    ("command", "lines"),
    [("serve 01 --workers 2", {"Started worker-1", "Started worker-2"})]
    + [("app 01 --debug", {"Debugger PIN"})],
)
def test_no_process_outlives_the_server_or_reloader_that_is_killed(folder, command, lines):
    with psutil.Popen(
        [sys.executable, "-c", RUN, *command.split(), "--port", str(free_port())],
        cwd=ROOT,
        env=os.environ | {"WORKSHOP_WORK": str(folder), "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    ) as server:
        while lines and (line := server.stdout.readline()):
            lines = {each for each in lines if each not in line}
        children = server.children(recursive=True)
        server.kill()
        server.wait()
        _, alive = psutil.wait_procs(children, timeout=30)
        alive = [child for child in alive if child.status() != psutil.STATUS_ZOMBIE]
        for child in alive:
            child.kill()
    assert lines == set(), "they were printed"
    assert children
    assert alive == []
