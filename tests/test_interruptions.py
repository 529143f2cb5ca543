"""Killed or interrupted at any moment, a command leaves nothing broken, and the next call finishes.

The moments are counted in changes of files, not in seconds, so each run meets the same ones. What several
processes do to each other is below: two that start at once, and what is left when one is killed.
"""

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from functools import partial

import nbformat
import psutil
import pytest
from interruption_support import call, command, fetch, interruptions, make_kit, refresh, set_up
from setup_support import environ, make_house
from wheel_support import lock_of, pack, pretend

from workshop.core import files
from workshop.host.ports import free_port
from workshop.learn.my_copy import originals
from workshop.setup.process import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="Windows has neither fork nor these signals"),
]

RUN = "import sys; from workshop.cli import run; sys.exit(run(sys.argv[1:]))"
SIGNALS = pytest.mark.parametrize("name", ["SIGKILL", "SIGINT"])
NOTE = "# my own work\n"


@pytest.fixture
def folder(tmp_path):
    """A folder whose name has spaces and letters that are not ASCII."""
    folder = tmp_path / "Jürgens Übungen"
    folder.mkdir()
    return folder


def parts(folder):
    """What is in a folder under a name that no file keeps."""
    return [file for file in folder.rglob("*") if file.name.endswith((".part", ".tmp"))]


def age(folder):
    """Make everything in a folder look two hours old."""
    for file in folder.rglob("*"):
        os.utime(file, (time.time() - 7200,) * 2)


def told_of(name, printed, subject):
    """Check the one sentence that follows Ctrl-C; a process that is killed says nothing."""
    if name == "SIGINT":
        assert printed.endswith(f"\n{subject} was interrupted: the same command finishes it.\n")


# --- at every change --------------------------------------------------------------------------------


@SIGNALS
def test_catch_up_loses_nothing_of_the_learner(folder, name):
    work = folder / "work"
    catch_up, here = command("catch-up", "01", "--fresh"), {"WORKSHOP_WORK": str(work)}
    assert call(catch_up, work, **here)[0] == 0
    app = work / "apps" / "01_hello" / "app.py"
    app.write_text(NOTE, encoding="utf-8")
    (work / "notebooks" / "01_hello.ipynb").unlink()
    most = 10 if name == "SIGKILL" else 4
    for printed in interruptions(catch_up, work, name, most, **here):
        told_of(name, printed, "catch-up")
        shelf = work.glob("aside/*/apps/01_hello/app.py")
        assert NOTE in [file.read_text(encoding="utf-8") for file in (app, *shelf) if file.exists()]
    assert [path for path in originals() if not same(work / path, ROOT / path)] == []
    age(work)
    assert call(catch_up, work, **here)[0] == 0
    assert [part for part in parts(work) if "aside" not in part.parts] == []


def same(file, original):
    return file.read_bytes() == original.read_bytes()


@SIGNALS
def test_the_first_copy_is_whole_files(folder, name):
    work = folder / "work"
    catch_up, here = command("catch-up", "01"), {"WORKSHOP_WORK": str(work)}
    most = 9 if name == "SIGKILL" else 4
    for printed in interruptions(catch_up, work, name, most, **here):
        told_of(name, printed, "catch-up")
        made = [path for path in originals() if (work / path).exists()]
        assert [path for path in made if not same(work / path, ROOT / path)] == []
    assert [path for path in originals() if not same(work / path, ROOT / path)] == []


@SIGNALS
def test_a_model_is_whole_or_the_one_before(folder, name):
    work = folder / "work"
    train, here = command("train", "04"), {"WORKSHOP_WORK": str(work)}
    most = 12 if name == "SIGKILL" else 3
    assert call(train, work, **here)[0] == 0
    model = work / "apps" / "04_iris" / "model"
    for printed in interruptions(train, work, name, most, **here):
        told_of(name, printed, "train")
        found = json.loads((model / "iris.json").read_text(encoding="utf-8"))
        assert found["stage"] == "04_iris"
        assert len((model / "iris.joblib").read_bytes()) > 500
    content = (model / "iris.joblib").read_bytes()
    card = json.loads((model / "iris.json").read_text(encoding="utf-8"))
    assert card["sha256"] == hashlib.sha256(content).hexdigest()


@SIGNALS
def test_a_data_set_is_whole_or_not_there(folder, name, monkeypatch):
    contents = {"adult.data": b"rows\n" * 99, "adult.test": b"others\n" * 99}
    with zipfile.ZipFile(folder / "adult.zip", "w") as archive:
        for member, content in contents.items():
            archive.writestr(member, content)
    members = [(n, len(c), hashlib.sha256(c).hexdigest()) for n, c in contents.items()]
    home = folder / "data"
    fetching = partial(fetch, home, members)
    for _ in interruptions(fetching, home, name, WORKSHOP_MIRROR=str(folder)):
        for member, content in contents.items():
            assert not (home / member).exists() or (home / member).read_bytes() == content
    assert {member: (home / member).read_bytes() for member in contents} == contents


@SIGNALS
def test_a_notebook_keeps_its_outputs_until_it_has_new_ones(folder, name):
    file = folder / "notebooks" / "01_hello.ipynb"
    file.parent.mkdir()
    write_notebook(file, "a cell")
    for printed in interruptions(partial(refresh, folder), folder, name):
        told_of(name, printed, "refresh")
        assert outputs(file) in ([], ["a cell"])
    assert outputs(file) == ["a cell"]


def write_notebook(file, source):
    cell = nbformat.v4.new_code_cell(source, id="one")
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), file)


def outputs(file):
    return [found.text for found in nbformat.read(file, as_version=4).cells[0].outputs]


@SIGNALS
def test_a_kit_has_whole_files_and_the_next_call_finishes_it(folder, tmp_path, name):
    house, stick = folder / "workshop", folder / "stick"
    index = tmp_path / "index"  # pip takes a space for the end of a place in its variable
    for place in (house, index):
        place.mkdir()
    for package in ("click-8.5.1-py3-none-any.whl", "idna-3.20-py3-none-any.whl"):
        pretend(package, index)
    (house / "requirements.txt").write_text(lock_of(index), encoding="utf-8")
    most = 8 if name == "SIGKILL" else 4
    for printed in interruptions(partial(make_kit, house, index, stick), stick, name, most):
        told_of(name, printed, "kit")
        assert not (stick / "kit.json").exists() or (stick / "READ_ME_FIRST.txt").exists()
        for wheel in stick.glob("wheels/*.whl"):
            assert same(wheel, index / wheel.name)
    copy = stick / "from-notebook-to-web-app"
    assert same(copy / "requirements.txt", house / "requirements.txt")
    assert zipfile.ZipFile(f"{copy}.zip").testzip() is None
    assert {file.name for file in (stick / "wheels").iterdir()} == {f.name for f in index.iterdir()}
    age(stick)
    assert make_kit_again(house, index, stick) == 0
    assert parts(stick) == []


def make_kit_again(house, index, stick):
    return call(partial(make_kit, house, index, stick), stick)[0]


def test_a_kit_that_was_cut_off_at_its_end_leaves_no_folder_of_parts(folder):
    house, index, stick = (folder / part for part in ("workshop", "index", "stick"))
    for place in (house, index, stick / "wheels.part"):
        place.mkdir(parents=True)
    (house / "requirements.txt").write_text("", encoding="utf-8")
    (stick / "wheels.part" / "wanted.txt").touch()
    assert make_kit_again(house, index, stick) == 0
    assert not (stick / "wheels.part").exists()


def test_a_set_up_is_finished_by_the_next_call(folder):
    house, wheels = make_house(folder / "workshop"), folder / "wheels"
    wheels.mkdir()
    for package in ("click", "flit-core"):
        pack(package, wheels)
    (house / "requirements.txt").write_text(lock_of(wheels), encoding="utf-8")
    setting_up, stamp = partial(set_up, house, wheels), house / ".venv" / "workshop-setup"
    for n in (2, 4):
        code, printed = call(setting_up, house / ".venv", n, "SIGINT", **quiet())
        assert code == 130
        assert printed.endswith("\nSet-up was interrupted: the same command finishes it.\n")
    for _ in interruptions(setting_up, house / ".venv", most=5, **quiet()):
        assert not stamp.exists() or stamp.read_text(encoding="ascii") == "half a li"
    run = subprocess.run(
        [sys.executable, "-m", "workshop"], cwd=house, env=environ(), capture_output=True, text=True
    )
    assert run.stdout.startswith("Usage:"), run.stderr
    assert "Setting up" not in run.stderr


def quiet():
    """What keeps a set-up from the network."""
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
    assert run.stderr == "\nInterrupted: the same command finishes it.\n"


def test_what_a_killed_write_left_is_swept_away_and_nothing_else(tmp_path):
    (tmp_path / "a.txt.0123abcd.part").touch()
    (tmp_path / "my.part").touch()
    age(tmp_path)
    (tmp_path / "b.txt.0123abcd.part").touch()  # somebody is writing it now
    files.write_whole(tmp_path / "c.txt", b"")
    assert {file.name for file in tmp_path.iterdir()} == {"b.txt.0123abcd.part", "c.txt", "my.part"}


# --- several processes ------------------------------------------------------------------------------


@contextlib.contextmanager
def started(work, *arguments):
    """A command in a process of its own, killed at the end with all that it has started."""
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
    """Read what a process prints until each of `texts` was in a line."""
    wanted, read = list(texts), []
    while wanted:
        line = process.stdout.readline()
        assert line, f"it ended; it had printed {''.join(read)}"
        read.append(line)
        wanted = [text for text in wanted if text not in line]
    return "".join(read)


def outlive(process, name="SIGKILL"):
    """End a process alone by a signal; those of the processes that it has started which live on."""
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
    """Whether a process runs; one that nobody has asked for its exit code yet does not."""
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


REFRESH = """
import signal, sys
from pathlib import Path
from workshop import cli

signal.signal(signal.SIGINT, signal.default_int_handler)
cli.ROOT = Path(sys.argv[1])
sys.exit(cli.run(["refresh", "01"]))
"""


@SIGNALS
def test_no_kernel_outlives_a_refresh(folder, name):
    file = folder / "notebooks" / "01_hello.ipynb"
    file.parent.mkdir()
    write_notebook(file, "import time\nopen('begun', 'w').close()\ntime.sleep(600)")
    before = file.read_bytes()
    process = subprocess.Popen(
        [sys.executable, "-c", REFRESH, folder], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    while not (file.parent / "begun").exists():
        assert process.poll() is None
        time.sleep(0.05)
    assert outlive(process, name) == []
    printed = process.communicate()[0].decode()
    assert "Traceback" not in printed
    told_of(name, printed, "refresh")
    assert process.returncode == (130 if name == "SIGINT" else -9)
    assert file.read_bytes() == before


PIP = """
import sys, time
from pathlib import Path
Path(sys.argv[-1]).touch()
time.sleep(600)
"""
KIT = """
import sys
from pathlib import Path
from workshop.teach import wheels

begun = Path(sys.argv[1])
real = wheels.pip_download
wheels.pip_download = lambda *given: [*real(*given)[:3], "endless", begun / "begun"]
(begun / "endless.py").write_text(sys.argv[2])
wheels.download({"click==1": "click==1"}, wheels.Target("linux", "3.11"), begun)
"""


def test_no_pip_outlives_a_kit_that_is_killed(folder):
    process = subprocess.Popen(
        [sys.executable, "-c", KIT, folder, PIP],
        env=os.environ | {"PYTHONPATH": str(folder)},
        stderr=subprocess.DEVNULL,
    )
    while not (folder / "begun").exists():
        assert process.poll() is None
        time.sleep(0.05)
    assert outlive(process) == []
