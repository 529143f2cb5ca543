"""A command killed or interrupted at any moment leaves nothing broken, and the next run finishes the work.

The moments are counted in file changes, not in seconds, so each test run has the same ones. Below are the
tests with several processes: no child may outlive a killed parent.
"""

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from commands_support import NOTE, PLACES, call, contents, interruptions, settings
from serve_support import RUN
from setup_support import environ

from workshop.core import files
from workshop.host.ports import free_port
from workshop.setup.process import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="Windows has neither fork nor these signals"),
]

SIGNALS = pytest.mark.parametrize("name", ["SIGKILL", "SIGINT"])


@pytest.fixture
def folder(tmp_path):
    """A folder whose name has spaces and non-ASCII letters."""
    folder = tmp_path / "here" / "Jürgens Übungen"
    folder.mkdir(parents=True)
    return folder


def age(folder):
    """Make everything in a folder look two hours old."""
    for file in folder.rglob("*"):
        os.utime(file, (time.time() - 7200,) * 2)


def told_of(name, printed):
    """Check the sentence after Ctrl-C; a killed process prints nothing."""
    if name == "SIGINT":
        assert "run the same command again to finish" in printed


def files_that_stay(folder):
    """The contents of all files that a command keeps and that don't differ between two runs."""
    dropped = (".part", ".tmp", ".originals.json")
    return {
        file: content
        for file, content in contents(folder).items()
        if not file.endswith(dropped) and not file.startswith("aside/") and ".part/" not in file
    }


# At every change


@SIGNALS
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
        told_of(name, printed)
        for file, content in files_that_stay(look).items():
            assert content in (before.get(file), expected.get(file)), file
        everything = contents(look)
        assert "--fresh" not in place or NOTE in everything.values(), (
            "the learner's own work is kept"
        )
        assert "kit.json" not in everything or "READ_ME_FIRST.txt" in everything
    assert files_that_stay(look) == expected
    age(look)
    assert call(function, look, **settings(folder))[0] == 0
    left = [f for f in contents(look) if f.endswith((".part", ".tmp")) or ".part/" in f]
    assert [file for file in left if not file.startswith("aside/")] == []


@SIGNALS
def test_a_model_is_whole_or_the_one_before(folder, name):
    train, app = PLACES["train"](folder)
    work, model = folder / "work", app / "model"
    assert call(train, work, **settings(folder))[0] == 0
    most = 12 if name == "SIGKILL" else 3
    for printed in interruptions(train, work, name, most, **settings(folder)):
        told_of(name, printed)
        found = json.loads((model / "iris.json").read_text(encoding="utf-8"))
        assert found["stage"] == "04_iris"
        assert len((model / "iris.joblib").read_bytes()) > 500
    digest = hashlib.sha256((model / "iris.joblib").read_bytes()).hexdigest()
    assert json.loads((model / "iris.json").read_text(encoding="utf-8"))["sha256"] == digest


def test_a_set_up_is_finished_by_the_next_call(folder):
    setting_up, house = PLACES["set-up"](folder)
    stamp = house / ".venv" / "workshop-setup"
    for n in (2, 4):
        code, printed = call(setting_up, house / ".venv", n, "SIGINT", **quiet())
        assert code == 130
        told_of("SIGINT", printed)
    for _ in interruptions(setting_up, house / ".venv", most=5, **quiet()):
        assert not stamp.exists() or stamp.read_text(encoding="ascii") == "half a li"
    run = subprocess.run(
        [sys.executable, "-m", "workshop"], cwd=house, env=environ(), capture_output=True, text=True
    )
    assert run.stdout.startswith("Usage:"), run.stderr
    assert "Setting up" not in run.stderr


def quiet():
    """The variables that keep set-up off the network."""
    return {name: value for name, value in environ().items() if name not in os.environ}


def test_ctrl_c_while_the_workshop_is_still_being_loaded():
    code = (
        "import os, runpy, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "sys.addaudithook(lambda event, a: event == 'import' and a[0] == 'workshop.setup.environment' "
        "and os.kill(os.getpid(), signal.SIGINT))\n"
        "runpy.run_module('workshop', run_name='__main__', alter_sys=True)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 130
    assert "Traceback" not in run.stderr
    told_of("SIGINT", run.stderr)


def test_what_a_killed_write_left_is_removed_and_nothing_else(tmp_path):
    (tmp_path / "a.txt.0123abcd.part").touch()
    (tmp_path / "my.part").touch()
    age(tmp_path)
    (tmp_path / "b.txt.0123abcd.part").touch()  # as if being written now
    files.write_whole(tmp_path / "c.txt", b"")
    assert {file.name for file in tmp_path.iterdir()} == {"b.txt.0123abcd.part", "c.txt", "my.part"}


# Several processes


@contextlib.contextmanager
def started(work, *arguments):
    """A command in a separate process, killed at the end with all its children."""
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | {"WORKSHOP_WORK": str(work), "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )
    try:
        yield process
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
        process.kill()
        process.communicate()


def read_until(process, *texts):
    """Read a process's output until each of `texts` has appeared in a line."""
    wanted, read = list(texts), []
    while wanted:
        line = process.stdout.readline()
        assert line, f"it stopped after printing {''.join(read)}"
        read.append(line)
        wanted = [text for text in wanted if text not in line]
    return "".join(read)


def outlive(process, name="SIGKILL"):
    """Send only this process a signal, and return those of its children that survive it."""
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    process.send_signal(getattr(signal, name))
    process.wait()
    deadline = time.monotonic() + 30
    while (alive := list(filter(is_alive, children))) and time.monotonic() < deadline:
        time.sleep(0.05)
    for child in alive:
        child.kill()
    return alive


def is_alive(process):
    """Whether a process is running; a zombie isn't."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_no_worker_outlives_a_server_that_is_killed(folder):
    with started(folder, "serve", "01", "--workers", "2", "--port", free_port()) as server:
        read_until(server, "Started worker-1", "Started worker-2")
        assert outlive(server) == []


def test_no_app_outlives_its_reloader(folder):
    with started(folder, "app", "01", "--debug", "--port", free_port()) as app:
        read_until(app, "Debugger PIN")
        assert outlive(app) == []
