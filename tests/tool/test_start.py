"""Runs `start`: the gallery, the apps and JupyterLab answer, and everything stops with it.

It runs from a copy of the workshop with two stages, neither of them trained: a broken one, and iris.
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

import psutil
import pytest
import requests
from serve_support import RUN, posix

from workshop.core.errors import WorkshopError
from workshop.host import network, start
from workshop.host.ports import PortInUse, free_port
from workshop.setup.process import ROOT

TWO_STAGES = """

BROKEN = Stage(number=77, name="broken", title="No", learn="Repairs.", minutes=5, model="no")
STAGES = (BROKEN, *(stage for stage in STAGES if stage.name == "iris"))
"""
# A learner's slip: a route that crashes.
CRASH = """

def create_app(config=None, make_app=create_app):
    app = make_app(config)
    app.add_url_rule("/slip", view_func=lambda: 1 / 0)
    return app
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """A copy of the workshop with iris and a broken stage."""
    house = tmp_path_factory.mktemp("start") / "Büro Müller"
    ignored = shutil.ignore_patterns("__pycache__", "model")
    for place in ("workshop", "apps/04_iris"):
        shutil.copytree(ROOT / place, house / place, ignore=ignored)
    for place in ("data", "notebooks", "apps/77_broken"):
        (house / place).mkdir()
    for place in ("data/iris.csv", "notebooks/04_iris.ipynb"):
        shutil.copy(ROOT / place, house / place)
    (house / "apps/77_broken/app.py").write_text("import no_such_module\n", encoding="utf-8")
    for place, text in {
        "workshop/core/stages.py": TWO_STAGES,
        "apps/04_iris/app.py": CRASH,
    }.items():
        with (house / place).open("a", encoding="utf-8") as file:
            file.write(text)
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
    answer = requests.get(url, timeout=30)
    return answer.status_code, answer.text


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
        assert re.search("stage 77 .*\n.*no_model.*\n(.*\n)+.*04_iris: trained on", printed)

        status, page = get(f"http://127.0.0.1:{port}/")
        assert status == 200
        assert "✓ Model trained" in page
        lab = f"http://127.0.0.1:{lab_port}"
        for way in ("lab/tree/notebooks/04_iris.ipynb", "rise/slides/04_iris.ipynb"):
            assert f'"{lab}/{way}?token={token}"' in page
        assert "No module named &#39;no_such_module&#39;" in page, "the broken stage says why"
        assert get(f"http://127.0.0.1:{port}/77_broken/")[0] == 503
        assert get(f"http://127.0.0.1:{port}/04_iris/slip")[0] == 500

        again, told = launch(house, "--port", port, "--lab-port", lab_port)
        told += again.communicate(timeout=60)[0]
        assert told.endswith(f"open http://127.0.0.1:{port}/\n")
        assert told.count("\n") == 1
        assert again.returncode == 1

        assert "Petal length" in get(f"http://127.0.0.1:{port}/04_iris/")[1]
        slides = "rise/slides/04_iris.ipynb"
        for path in ("lab", slides, "api/contents/apps/04_iris/app.py", "api/contents/notebooks"):
            assert get(f"{lab}/{path}?token={token}")[0] == 200
        assert get(f"{lab}/api/contents")[0] == 403, "nothing without the token"
        settings = f"{lab}/lab/api/settings/@jupyterlab/apputils-extension:notification"
        schema = json.loads(get(f"{settings}?token={token}")[1])["schema"]
        assert schema["properties"]["fetchNews"]["default"] == "false", "no pop-up asks for news"
        for part in started:
            with contextlib.suppress(psutil.NoSuchProcess):  # one that has ended shows nothing
                assert token not in str(part.cmdline())

        # The room: a visitor at another address sees the gallery and the apps, and nothing else.
        other = next(iter(network.addresses("0.0.0.0")), None)  # noqa: S104
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
        with pytest.raises(requests.ConnectionError, match="refused"):
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
def test_everything_stops_when_it_is_killed(house):
    process, _ = launch(house, "--port", free_port(), "--lab-port", free_port())
    started = psutil.Process(process.pid).children(recursive=True)
    here = {"127.0.0.1", "::1"}
    assert {ip for ip, _ in listening(started)} <= here, "by default, nobody else is let in"
    process.kill()
    process.communicate(timeout=60)
    assert psutil.wait_procs(started, timeout=30)[1] == []


@pytest.mark.parametrize(
    ("lab_port", "present", "told"),
    [
        (8123, False, "--port or --lab-port"),
        (None, True, "--no-lab"),
        (None, False, "TRUSTED_PROXIES is 'abc': set it to a number"),
    ],
)
def test_settings_that_do_not_fit_are_refused(monkeypatch, lab_port, present, told):
    monkeypatch.setenv("TRUSTED_PROXIES", "abc")
    with pytest.raises(WorkshopError, match=told):
        start.run_workshop("127.0.0.1", 8123, lab_port, False, present)


@pytest.mark.parametrize("found", [None, {"folder": "another", "lab_port": None}])
def test_ports_in_use_are_one_sentence_with_free_ones(monkeypatch, found):
    monkeypatch.setattr(start, "gallery_at", lambda url: found)
    one, two = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    with one, two, pytest.raises(PortInUse, match=r"Another .* --port \d+ --lab-port \d+\.$"):
        start.require_ports("127.0.0.1", one.getsockname()[1], two.getsockname()[1])


def test_jupyterlab_stays_on_this_machine_and_out_of_its_owner_s_settings(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    server = start.lab_server(8888, "secret", "http://127.0.0.1:8000")
    assert "--ServerApp.ip=127.0.0.1" in server.command
    assert "secret" not in " ".join(server.command)
    for folder in ("WORKSPACES", "SETTINGS"):
        assert server.environ[f"JUPYTERLAB_{folder}_DIR"].startswith(str(tmp_path))
