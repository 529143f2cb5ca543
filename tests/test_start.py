"""`start` for real: the gallery, the apps and JupyterLab answer, and everything ends with it.

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
from workshop.core.stages import STAGES
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
    """`start` in a process of its own: the process, and what it printed until it was ready.

    Its terminal asks for Flask's debugger, which the workshop must not heed.
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
def test_everything_answers_when_the_addresses_are_printed_and_ctrl_c_ends_it(house):
    port, lab_port = free_port(), free_port()
    ports = "--port", port, "--lab-port", lab_port
    process, printed = launch(house, "--host", "0.0.0.0", "--present", *ports)  # noqa: S104
    started = psutil.Process(process.pid).children(recursive=True)
    try:
        assert f"The workshop   http://127.0.0.1:{port}/\n" in printed
        token = re.search(r"/lab\?token=([0-9a-f]{32})\n", printed)[1]
        assert "Training the model of stage 04 ...\n  04_iris: trained on 112 rows" in printed

        status, page = get(f"http://127.0.0.1:{port}/")
        assert status == 200
        assert "✓ Model trained" in page
        lab = f"http://127.0.0.1:{lab_port}"
        for way in ("lab/tree", "rise"):
            assert f'"{lab}/{way}/notebooks/04_iris.ipynb?token={token}"' in page
        assert f'"{lab}/lab/tree/apps/04_iris/app.py?token={token}"' in page
        assert 'press "Slides" on a stage' in printed
        assert "No module named &#39;no_such_module&#39;" in page, "the broken stage says why"
        status, page = get(f"http://127.0.0.1:{port}/77_broken/")
        assert status == 503
        assert "python3 -m workshop catch-up 77 --fresh" in page
        assert json.loads(get(f"http://127.0.0.1:{port}/77_broken/api/x")[1])["status"] == 503

        assert get(f"http://127.0.0.1:{port}/04_iris/slip")[0] == 500

        again, told = launch(house, "--port", port, "--lab-port", lab_port)
        told += again.communicate(timeout=60)[0]
        assert told == f"The workshop already runs: open http://127.0.0.1:{port}/\n"
        assert again.returncode == 1

        status, page = get(f"http://127.0.0.1:{port}/04_iris/")
        assert (status, "Petal length" in page) == (200, True)

        assert get(f"{lab}/api/contents?token={token}")[0] == 200
        assert get(f"{lab}/api/contents/apps/04_iris/app.py?token={token}")[0] == 200
        assert get(f"{lab}/rise/notebooks/04_iris.ipynb?token={token}")[0] == 200
        assert "04_iris.ipynb" in get(f"{lab}/api/contents/notebooks?token={token}")[1]
        assert get(f"{lab}/api/contents")[0] == 403, "nothing without the token"
        assert get(f"{lab}/lab?token={token}")[0] == 200
        settings = f"{lab}/lab/api/settings/@jupyterlab/apputils-extension:notification"
        schema = json.loads(get(f"{settings}?token={token}")[1])["schema"]
        assert schema["properties"]["fetchNews"]["default"] == "false", "no pop-up asks for news"
        themes = f"{lab}/lab/api/settings/@jupyterlab/apputils-extension:themes?token={token}"
        assert json.loads(get(themes)[1])["settings"]["overrides"]["code-font-size"] == "22px"
        assert token not in str([part.cmdline() for part in started])

        # The room: somebody at another address sees the gallery and the apps, and nothing else.
        other = next(iter(room.addresses("0.0.0.0")), None)  # noqa: S104
        assert f"For the room: http://{other}:{port}/\n" in printed or other is None
        assert "JupyterLab stays on this computer.\n" in printed or other is None
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
    assert "ZeroDivisionError" in rest, "whoever mends an app looks for the traceback here"
    assert rest.endswith("The workshop has ended.\n")
    assert process.returncode == 0
    assert alive == []


@posix
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_without_jupyterlab_until_it_is_told_to_end(house, name):
    port = free_port()
    process, printed = launch(house, "--port", port, "--no-lab")
    started = psutil.Process(process.pid).children(recursive=True)
    try:
        assert f"The workshop   http://127.0.0.1:{port}/\n" in printed
        assert "JupyterLab" not in printed
        status, page = get(f"http://127.0.0.1:{port}/")
        assert status == 200
        assert "token=" not in page
        assert listening(started) == {("127.0.0.1", port)}
    finally:
        process.send_signal(getattr(signal, name))
        process.communicate(timeout=60)
        alive = psutil.wait_procs(started, timeout=20)[1]
    assert alive == []
    assert process.returncode == (0 if name == "SIGTERM" else -signal.SIGHUP)


def test_everything_ends_when_it_is_killed(house):
    port, lab_port = free_port(), free_port()
    process, printed = launch(house, "--port", port, "--lab-port", lab_port)
    started = psutil.Process(process.pid).children(recursive=True)
    try:
        assert f"The workshop   http://127.0.0.1:{port}/\n" in printed
        assert len(started) >= 2
    finally:
        process.kill()
        process.communicate()
        alive = psutil.wait_procs(started, timeout=30)[1]
    assert alive == []


TOGETHER = """
import sys, time
from pathlib import Path
from workshop import cli
from workshop.host import start

make_databases, here = start.make_databases, Path(sys.argv.pop())

def wait_for_the_other():
    (here / str(time.time_ns())).touch()
    deadline = time.monotonic() + 2
    while len(list(here.iterdir())) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    make_databases()

start.make_databases = wait_for_the_other
sys.exit(cli.run(sys.argv[1:]))
"""


@posix
def test_of_two_that_start_at_once_one_runs_and_the_other_says_so(house, tmp_path):
    """Each of them, once it has found its port free, gives the other one time to do the same."""
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
    assert told == (
        "Another start is under way: waiting for it ...\n"
        f"The workshop already runs: open http://127.0.0.1:{port}/\n"
    )
    assert second.returncode == 1
    assert printed.endswith("\nThe workshop has ended.\n")
    assert first.returncode == 0


@pytest.mark.parametrize("option", ["--port", "--lab-port"])
def test_a_port_in_use_is_named_with_its_option(house, option):
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        ports = {"--port": free_port(), "--lab-port": free_port()} | {option: taken}
        options = [str(part) for pair in ports.items() for part in pair]
        process, printed = launch(house, *options)
        rest = process.communicate(timeout=60)[0]
    assert process.returncode == 1
    assert (printed + rest).startswith(f"Port {taken} is in use by another program")
    assert f"choose another port, such as {option} " in printed
    assert len((printed + rest).splitlines()) == 1


def test_a_port_in_use_stops_before_anything_is_started(monkeypatch):
    monkeypatch.setattr(start, "gallery_server", lambda *_: pytest.fail("nothing may be started"))
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        pytest.raises(PortInUse, match="such as --port "),
    ):
        start.run_workshop("127.0.0.1", other.getsockname()[1], None, open_browser=False)


def refused_ports(port, lab_port):
    """What `start` says of its ports before it starts anything."""
    with pytest.raises(PortInUse) as error:
        start.require_ports("127.0.0.1", port, lab_port)
    return str(error.value)


@pytest.fixture
def two_taken():
    """Two ports that other programs listen on."""
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as two,
    ):
        yield one.getsockname()[1], two.getsockname()[1]


def test_two_ports_in_use_are_told_in_one_sentence(two_taken, monkeypatch):
    monkeypatch.setattr(start, "gallery_at", lambda url: None)
    port, lab_port = two_taken
    monkeypatch.setattr(start, "another_port", lambda number: f"N{number}")
    assert refused_ports(port, lab_port) == (
        f"Ports {port} and {lab_port} are in use by another program: end that one, "
        f"or choose other ports, such as --port N{port} --lab-port N{lab_port}."
    )


def test_the_second_start_of_this_workshop_names_the_first_one_s_address(two_taken, monkeypatch):
    asked = []
    monkeypatch.setattr(start, "gallery_at", lambda url: asked.append(url) or {"folder": FOLDER})
    port, lab_port = two_taken
    address = f"http://127.0.0.1:{port}"
    assert refused_ports(port, lab_port) == f"The workshop already runs: open {address}/"
    assert asked == [address]


def test_another_copy_of_the_workshop_is_named(two_taken, monkeypatch):
    monkeypatch.setattr(start, "gallery_at", lambda url: {"folder": "another", "lab_port": None})
    told = refused_ports(two_taken[0], None)
    assert told.startswith(f"Port {two_taken[0]} is in use by another copy of the workshop: end ")
    assert "or choose another port, such as --port " in told


def test_a_model_that_cannot_be_trained_does_not_take_the_others_along(monkeypatch, capsys):
    stages = [stage for stage in STAGES if stage.model][:2]

    def train(stage):
        if stage is stages[0]:
            raise WorkshopError("data/iris.csv is damaged: get the repository once more")
        return f"{stage.slug}: trained"

    monkeypatch.setattr(start, "stages_with_model", lambda: stages)
    monkeypatch.setattr(start, "health_of", lambda url: {"status": "unavailable"})
    monkeypatch.setattr(start, "train", train)
    start.train_models("http://127.0.0.1:1")
    told = capsys.readouterr().out
    assert "  data/iris.csv is damaged: get the repository once more\n" in told
    assert f"  {stages[1].slug}: trained\n" in told


def test_jupyterlab_leaves_the_owner_s_tabs_and_settings_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    server = start.lab_server(8888, "secret", "http://127.0.0.1:8100")
    own = tmp_path / "share" / "jupyter" / "workshop"
    assert server.environ["JUPYTERLAB_WORKSPACES_DIR"] == str(own / "workspaces")
    assert server.environ["JUPYTERLAB_SETTINGS_DIR"] == str(own / "user-settings")
    assert server.environ[GALLERY_URL] == "http://127.0.0.1:8100"
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert start.lab_folders() == {}


def test_settings_for_jupyterlab_that_somebody_else_named_still_count(monkeypatch):
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", "theirs")
    environ = start.lab_server(8888, "secret", "http://127.0.0.1:8100").environ
    assert environ["JUPYTER_CONFIG_PATH"].split(os.pathsep) == [str(start.LAB), "theirs"]


def test_gallery_and_jupyterlab_cannot_share_a_port():
    port = free_port()
    with pytest.raises(WorkshopError, match="need a port each: change --port or --lab-port"):
        start.run_workshop("127.0.0.1", port, port, open_browser=False)


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
def test_the_printed_address_can_be_opened_on_this_machine(host, address):
    assert start.gallery_server(host, 8000, None, "secret").url == address


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])  # noqa: S104
def test_jupyterlab_stays_on_this_machine(host):
    gallery_server = start.gallery_server(host, 8000, 8888, "secret")
    servers = gallery_server, start.lab_server(8888, "secret", gallery_server.url)
    assert host in servers[0].command
    assert "--ServerApp.ip=127.0.0.1" in servers[1].command
    assert "secret" not in " ".join([*servers[0].command, *servers[1].command])
