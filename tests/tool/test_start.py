"""Runs `start`: the gallery, the apps and JupyterLab answer, and everything stops with it.

It runs from a copy of the workshop with two stages: iris, not trained yet, and one whose app is broken.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import psutil
import pytest

from workshop.core.errors import WorkshopError
from workshop.core.stages import BASE, STAGES
from workshop.host import network as room
from workshop.host import start
from workshop.host.ports import FOLDER, GALLERY_URL, PortInUse, free_port
from workshop.setup.process import ROOT

TWO_STAGES = """

BROKEN = Stage(number=77, name="broken", title="Broken", learn="To fix things.", minutes=5)
STAGES = (*(stage for stage in STAGES if stage.name == "iris"), BROKEN)
"""
# A learner's slip: a route that crashes.
CRASH = """

make_app = create_app

def create_app(config=None):
    app = make_app(config)
    app.add_url_rule("/slip", view_func=lambda: 1 / 0)
    return app
"""
RUN = "import sys; from workshop.cli import run; sys.exit(run(sys.argv[1:]))"
posix = pytest.mark.skipif(os.name != "posix", reason="Windows sends no such signal to one process")


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """A copy of the workshop with iris and a broken stage."""
    house = tmp_path_factory.mktemp("start") / "Büro Müller"
    ignored = shutil.ignore_patterns("__pycache__", "model")
    for place in ("workshop", "apps/04_iris"):
        shutil.copytree(ROOT / place, house / place, ignore=ignored)
    for place in ("data/iris.csv", "notebooks/04_iris.ipynb"):
        (house / place).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / place, house / place)
    with (house / "workshop" / "core" / "stages.py").open("a", encoding="utf-8") as table:
        table.write(TWO_STAGES)
    with (house / "apps" / "04_iris" / "app.py").open("a", encoding="utf-8") as app:
        app.write(CRASH)
    (house / "apps" / "77_broken").mkdir()
    (house / "apps" / "77_broken" / "app.py").write_text(
        "import no_such_module\n", encoding="utf-8"
    )
    return house


def launch(house, *options):
    """`start` as a process, and what it printed until it was ready.

    FLASK_DEBUG is set, and must have no effect.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, "start", "--no-browser", *map(str, options)],
        cwd=house,
        env=os.environ | {"PYTHONUTF8": "1", "WORKSHOP_WORK": "", "FLASK_DEBUG": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
    )
    printed = []
    for line in process.stdout:
        printed.append(line)
        if line.startswith("Press Ctrl-C"):
            break
    return process, "".join(printed)


def get(url):
    """Status and page of an address."""
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as answer:
        return answer.code, answer.read().decode()


def listening(processes):
    """(address, port) of everything that `processes` listen on."""
    found = set()
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):  # one that has ended listens on nothing
            for connection in process.net_connections("inet"):
                if connection.status == psutil.CONN_LISTEN:
                    found.add((connection.laddr.ip, connection.laddr.port))
    return found


@posix
def test_everything_answers_when_the_addresses_are_printed_and_ctrl_c_stops_it(house):
    port, lab_port = free_port(), free_port()
    ports = "--port", port, "--lab-port", lab_port
    process, printed = launch(house, "--host", "0.0.0.0", "--present", *ports)  # noqa: S104
    started = psutil.Process(process.pid).children(recursive=True)
    try:
        assert f" http://127.0.0.1:{port}/\n" in printed
        token = re.search(r"/lab\?token=([0-9a-f]{32})\n", printed)[1]
        assert "04_iris: trained on 112 rows" in printed

        status, page = get(f"http://127.0.0.1:{port}/")
        assert status == 200
        assert "✓ Model trained" in page
        lab = f"http://127.0.0.1:{lab_port}"
        for way in ("lab/tree/notebooks", "rise/slides"):
            assert f'"{lab}/{way}/04_iris.ipynb?token={token}"' in page
        assert f'"{lab}/lab/tree/apps/04_iris/app.py?token={token}"' in page
        assert "No module named &#39;no_such_module&#39;" in page, "the broken stage says why"
        status, page = get(f"http://127.0.0.1:{port}/77_broken/")
        assert status == 503
        assert "python3 -m workshop catch-up 77 --fresh" in page
        assert json.loads(get(f"http://127.0.0.1:{port}/77_broken/api/x")[1])["status"] == 503

        assert get(f"http://127.0.0.1:{port}/04_iris/slip")[0] == 500

        again, told = launch(house, "--port", port, "--lab-port", lab_port)
        told += again.communicate(timeout=60)[0]
        assert told.endswith(f"open http://127.0.0.1:{port}/\n")
        assert told.count("\n") == 1
        assert again.returncode == 1

        assert "Petal length" in get(f"http://127.0.0.1:{port}/04_iris/")[1]
        for path in ("lab", "rise/slides/04_iris.ipynb", "api/contents/apps/04_iris/app.py"):
            assert get(f"{lab}/{path}?token={token}")[0] == 200
        for folder in ("slides", "notebooks"):
            assert "04_iris.ipynb" in get(f"{lab}/api/contents/{folder}?token={token}")[1]
        assert get(f"{lab}/api/contents")[0] == 403, "nothing without the token"
        settings = f"{lab}/lab/api/settings/@jupyterlab/apputils-extension:notification"
        schema = json.loads(get(f"{settings}?token={token}")[1])["schema"]
        assert schema["properties"]["fetchNews"]["default"] == "false", "no pop-up asks for news"
        themes = f"{lab}/lab/api/settings/@jupyterlab/apputils-extension:themes?token={token}"
        assert json.loads(get(themes)[1])["settings"]["overrides"]["code-font-size"] == "22px"
        for part in started:
            with contextlib.suppress(psutil.NoSuchProcess):  # one that has ended shows nothing
                assert token not in str(part.cmdline())

        # The room: a visitor at another address sees the gallery and the apps, and nothing else.
        other = next(iter(room.addresses("0.0.0.0")), None)  # noqa: S104
        assert f" http://{other}:{port}/\n" in printed or other is None
        there = f"http://{other or '127.0.0.2'}"
        status, page = get(f"{there}:{port}/")
        assert (status, "Model trained" in page) == (200, True)
        assert token not in page
        assert get(f"{there}:{port}/04_iris/")[0] == 200
        for trick in ("console", "04_iris/console", "lab", f"proxy/{lab_port}/"):
            assert get(f"{there}:{port}/{trick}")[0] == 404, trick
        debugger = "__debugger__=yes&cmd=resource&f=debugger.js"
        assert "EVALEX" not in get(f"{there}:{port}/04_iris/?{debugger}")[1]
        with pytest.raises(urllib.error.URLError, match="refused"):
            get(f"{there}:{lab_port}/lab?token={token}")

        addresses = listening(started)
        assert ("0.0.0.0", port) in addresses  # noqa: S104
        assert {ip for ip, number in addresses if number != port} <= {"127.0.0.1", "::1"}
    finally:
        process.send_signal(signal.SIGINT)
        rest = process.communicate(timeout=60)[0]
        alive = psutil.wait_procs(started, timeout=20)[1]
    assert "ZeroDivisionError" in rest, "the terminal shows an app's traceback"
    assert process.returncode == 0
    assert alive == []


@posix
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGKILL"])
def test_everything_stops_after_a_signal(house, name):
    port, lab_port = free_port(), free_port()
    with_lab = name == "SIGKILL"
    lab = ["--lab-port", lab_port] if with_lab else ["--no-lab"]
    process, printed = launch(house, "--port", port, *lab)
    started = psutil.Process(process.pid).children(recursive=True)
    try:
        assert f"http://127.0.0.1:{port}/\n" in printed
        assert ("JupyterLab" in printed) == with_lab
        status, page = get(f"http://127.0.0.1:{port}/")
        assert status == 200
        assert ("token=" in page) == with_lab
        assert with_lab or listening(started) == {("127.0.0.1", port)}
    finally:
        process.send_signal(getattr(signal, name))
        process.communicate(timeout=60)
        alive = psutil.wait_procs(started, timeout=30)[1]
    assert alive == []
    assert process.returncode == (0 if name == "SIGTERM" else -getattr(signal, name))


TOGETHER = """
import sys, time
from pathlib import Path
from workshop import cli
from workshop.host import start

gallery_server, here = start.gallery_server, Path(sys.argv.pop())

def wait_for_the_other(*asked):
    (here / str(time.time_ns())).touch()
    deadline = time.monotonic() + 2
    while len(list(here.iterdir())) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    return gallery_server(*asked)

start.gallery_server = wait_for_the_other
sys.exit(cli.run(sys.argv[1:]))
"""


@posix
def test_if_two_start_at_the_same_time_one_runs_and_the_other_says_so(house, tmp_path):
    """Each waits, after it has found its port free, so that the other could find it free too."""
    port = free_port()
    line = ["start", "--no-browser", "--no-lab", "--port", str(port), tmp_path]
    two = [
        subprocess.Popen(
            [sys.executable, "-c", TOGETHER, *line],
            cwd=house,
            env=os.environ | {"PYTHONUTF8": "1", "WORKSHOP_WORK": "", "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )
        for _ in range(2)
    ]
    try:
        deadline = time.monotonic() + 120
        while all(process.poll() is None for process in two):
            assert time.monotonic() < deadline, "both of them run"
            time.sleep(0.05)
        second, first = sorted(two, key=lambda process: process.poll() is None)
        told = second.communicate()[0]
        first.send_signal(signal.SIGTERM)
        printed = first.communicate()[0]
    finally:
        for process in two:
            process.kill()
            process.wait()
    assert told.endswith(f"open http://127.0.0.1:{port}/\n")
    assert second.returncode == 1
    assert "Traceback" not in told + printed
    assert first.returncode == 0


# Before anything is started


@pytest.fixture
def taken():
    """Two ports that other programs listen on."""
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as two,
    ):
        yield one.getsockname()[1], two.getsockname()[1]


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (None, "{0} and {1}: .*--port N{0} --lab-port N{1}"),
        ({"folder": FOLDER}, "http://127.0.0.1:{0}/$"),
        ({"folder": "another", "lab_port": None}, "Another copy.*--port"),
    ],
    ids=["another program", "this workshop", "another copy"],
)
def test_ports_in_use_are_one_sentence_that_says_by_what(taken, monkeypatch, found, told):
    monkeypatch.setattr(start, "gallery_at", lambda url: found)
    monkeypatch.setattr(start, "another_port", lambda number: f"N{number}")
    with pytest.raises(PortInUse, match=told.format(*taken)):
        start.require_ports("127.0.0.1", *taken)


@pytest.mark.parametrize(
    ("lab_port", "present", "proxies", "told"),
    [
        (8123, False, "", "--port or --lab-port"),
        (None, True, "", "--no-lab"),
        (None, False, "abc", "^TRUSTED_PROXIES is 'abc': set it to a number, such as 1"),
    ],
)
def test_what_start_refuses_is_one_sentence(monkeypatch, lab_port, present, proxies, told):
    monkeypatch.setenv("TRUSTED_PROXIES", proxies)
    with pytest.raises(WorkshopError, match=told):
        start.run_workshop("127.0.0.1", 8123, lab_port, open_browser=False, present=present)


def test_a_model_that_cannot_be_trained_does_not_stop_the_others(monkeypatch, capsys):
    stages = [stage for stage in STAGES if stage.model][:2]

    def train(stage):
        if stage is stages[0]:
            raise WorkshopError("data/iris.csv is damaged: download the workshop folder again")
        return f"{stage.slug}: trained"

    monkeypatch.setattr(start, "stages_with_model", lambda: stages)
    monkeypatch.setattr(start, "health_of", lambda url: {"status": "unavailable", "reason": "none"})
    monkeypatch.setattr(start, "status_of", lambda url: 503)
    monkeypatch.setattr(start, "train", train)
    start.train_models("http://127.0.0.1:1")
    told = capsys.readouterr().out
    assert "  data/iris.csv is damaged: download the workshop folder again\n" in told
    assert f"  {stages[1].slug}: trained\n" in told


# JupyterLab


def test_jupyterlab_does_not_use_the_owner_s_tabs_and_settings(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", "theirs")
    environ = start.lab_server(8888, "secret", "http://127.0.0.1:8100").environ
    own = tmp_path / "share" / "jupyter" / "workshop"
    assert environ["JUPYTERLAB_WORKSPACES_DIR"] == str(own / "workspaces")
    assert environ["JUPYTERLAB_SETTINGS_DIR"] == str(own / "user-settings")
    assert environ["JUPYTER_CONFIG_PATH"] == str(start.LAB)
    assert environ[GALLERY_URL] == "http://127.0.0.1:8100"
    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setenv(BASE, str(tmp_path / "copy"))
    assert start.lab_folders()["JUPYTER_CONFIG_DIR"].startswith(str(tmp_path / "copy"))


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),  # noqa: S104
        ("::", "http://127.0.0.1:8000"),
        ("::1", "http://[::1]:8000"),
        ("192.0.2.7", "http://192.0.2.7:8000"),
    ],
)
def test_the_gallery_s_address_opens_here_and_jupyterlab_stays_on_this_machine(host, address):
    gallery_server = start.gallery_server(host, 8000, 8888, "secret")
    lab_server = start.lab_server(8888, "secret", gallery_server.url)
    assert gallery_server.url == address
    assert host in gallery_server.command
    assert "--ServerApp.ip=127.0.0.1" in lab_server.command
    assert "secret" not in " ".join([*gallery_server.command, *lab_server.command])
