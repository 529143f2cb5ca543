"""`serve` and the servers beneath it: up when they say so, always stopped, and their log shown."""

import signal
import socket
import subprocess
import sys
import threading
import urllib.request

import psutil
import pytest

from workshop.core.errors import ServerDied, WorkshopError
from workshop.core.own_apps import NoSuchApp
from workshop.host import background, ports
from workshop.host.background import Server, serve
from workshop.host.end_with_parent import end_tree
from workshop.host.ports import PortInUse, free_port, is_free, require_port, status_of
from workshop.setup.process import ROOT

APP = """
import os
from flask import Flask

def create_app():
    app = Flask(__name__)

    @app.get("/")
    def index():
        return "here"

    @app.get("/die")
    def die():
        print("out of memory", flush=True)
        os._exit(3)

    return app
"""


@pytest.fixture
def app_file(tmp_path, monkeypatch):
    """The app of stage 01 in a learner's copy, which the test may write."""
    file = tmp_path / "apps" / "01_hello" / "app.py"
    file.parent.mkdir(parents=True)
    file.write_text(APP, encoding="utf-8")
    monkeypatch.setenv("WORKSHOP_WORK", str(tmp_path))
    return file


@pytest.fixture
def processes():
    """The processes that the test's servers start; after the test, none is left."""
    before = set(psutil.Process().children(recursive=True))

    def started():
        return set(psutil.Process().children(recursive=True)) - before

    yield started
    gone, alive = psutil.wait_procs(started(), timeout=10)
    assert alive == []


def get(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read().decode()


# serve


def test_serve_runs_a_real_stage_and_stops_it(processes):
    with serve("iris") as url:
        assert status_of(f"{url}/model") in (200, 503)  # 503: not trained on this machine
        assert processes()
    assert processes() == set()
    assert status_of(url) is None


def test_serve_stops_when_the_block_raises(app_file, processes):
    with pytest.raises(ZeroDivisionError), serve(1) as url:
        assert get(url) == "here"
        print(1 / 0)
    assert processes() == set()


def test_serve_stops_when_the_block_is_interrupted(app_file, processes):
    with pytest.raises(KeyboardInterrupt), serve(1):
        raise KeyboardInterrupt
    assert processes() == set()


def test_an_error_of_the_block_is_its_own_while_the_app_lives(app_file, processes):
    with pytest.raises(FileNotFoundError), serve(1):
        (app_file.parent / "not there").read_text()


def test_the_log_of_an_app_that_dies_is_shown_instead_of_the_broken_request(app_file, processes):
    with pytest.raises(ServerDied) as died, serve(1) as url:
        get(f"{url}/die")
    assert "the app of stage 01_hello stopped while you used it. Its log ends with:" in str(
        died.value
    )
    assert "out of memory" in str(died.value)


def test_an_app_that_died_unnoticed_is_told(app_file, processes):
    with pytest.raises(ServerDied, match="out of memory"), serve(1) as url:
        status_of(f"{url}/die")
        psutil.wait_procs(processes(), timeout=10)


def test_the_log_of_an_app_that_does_not_start_is_shown(app_file, processes):
    app_file.write_text("raise RuntimeError('mend me')", encoding="utf-8")
    with pytest.raises(ServerDied) as died, serve(1):
        pytest.fail("the block must not run")
    assert str(died.value).startswith(
        "the app of stage 01_hello stopped by itself. Its log ends with:"
    )
    assert "RuntimeError: mend me" in str(died.value)
    assert processes() == set()


def test_an_app_that_never_answers_is_given_up(app_file, processes, monkeypatch):
    monkeypatch.setattr(background, "START_LIMIT", 0.5)
    app_file.write_text("import time; time.sleep(60)", encoding="utf-8")
    with pytest.raises(ServerDied, match="did not answer within"), serve(1):
        pytest.fail("the block must not run")
    assert processes() == set()


def test_an_app_that_ignores_the_signal_is_ended_too(app_file, processes, monkeypatch):
    monkeypatch.setattr(background, "STOP_LIMIT", 0.5)
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    app_file.write_text(stubborn + APP, encoding="utf-8")
    with serve(1) as url:
        assert get(url) == "here"
    assert processes() == set()


def test_an_unknown_stage_lists_those_there_are():
    with pytest.raises(NoSuchApp) as error, serve("nine"):
        pytest.fail("the block must not run")
    assert str(error.value).startswith("there is no stage 'nine'; the stages are 00_start_here, ")
    assert error.value._render_traceback_() == [f"NoSuchApp: {error.value}"]


def test_a_stage_without_an_app_says_so(processes):
    with pytest.raises(WorkshopError, match="stage 00_start_here has no app"), serve(0):
        pytest.fail("the block must not run")
    assert processes() == set()


def test_the_app_ends_when_the_one_who_serves_it_is_killed(app_file):
    code = (
        "from workshop import serve\n"
        "with serve(1) as url:\n"
        "    print(url, flush=True)\n"
        "    input()\n"
    )
    kernel = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        url = kernel.stdout.readline().strip()
        assert status_of(url) is not None
        servers = psutil.Process(kernel.pid).children(recursive=True)
        assert servers
    finally:
        kernel.kill()
        kernel.communicate()
    assert psutil.wait_procs(servers, timeout=20)[1] == []
    assert status_of(url) is None


# The leash


@pytest.mark.skipif(
    not hasattr(signal, "SIGTERM") or sys.platform == "win32", reason="POSIX groups"
)
def test_end_tree_ends_what_a_server_started(tmp_path):
    code = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print(child.pid, flush=True); time.sleep(60)\n"
    )
    leader = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    child = psutil.Process(int(leader.stdout.readline()))
    end_tree(leader.pid)
    leader.communicate()
    assert psutil.wait_procs([child], timeout=10)[1] == []
    end_tree(leader.pid)  # gone already: nothing to do


# Ports and answers


def test_a_free_port_is_free():
    port = free_port()
    assert is_free(port)
    assert require_port(port, "--port") is None


def test_a_free_port_is_no_client_s_and_none_in_use(monkeypatch):
    found = {free_port() for _ in range(50)}
    assert max(found) < 32_768, "Linux gives those from there on to clients, the others later ones"
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken, free = other.getsockname()[1], free_port()
        monkeypatch.setattr(ports, "FREE_PORTS", [taken, free])
        assert {free_port() for _ in range(20)} == {free}


def test_a_port_in_use_names_the_port_and_the_option():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert not is_free(port)
        with pytest.raises(PortInUse) as error:
            require_port(port, "--lab-port")
    told = str(error.value)
    assert told.startswith(f"Port {port} is in use by another program")
    suggested = int(told.rstrip(".").split("--lab-port ")[1])
    assert suggested != port
    assert 0 < suggested < 65536


def test_a_suggested_port_exists(monkeypatch):
    monkeypatch.setattr(ports, "refusal", lambda *_: OSError(98, "in use"))
    with pytest.raises(PortInUse, match="--port 65400"):
        require_port(65500, "--port")


@pytest.mark.parametrize("host", ["no.such.host.invalid", "192.0.2.1"])
def test_an_address_that_is_not_this_machine_s_is_no_matter_of_the_port(host):
    with pytest.raises(WorkshopError) as error:
        require_port(free_port(), "--port", host)
    assert str(error.value).startswith(f"This machine has no address {host}: leave --host out")


def test_a_port_that_the_system_keeps(monkeypatch):
    monkeypatch.setattr(ports, "refusal", lambda *_: PermissionError(13, "Permission denied"))
    with pytest.raises(WorkshopError, match="Port 80 is kept by the system: .* --port 8100"):
        require_port(80, "--port")


def test_what_is_no_web_server_has_no_status():
    with socket.create_server(("127.0.0.1", 0)) as server:

        def talk():
            connection, _ = server.accept()
            with connection:
                connection.recv(1024)
                connection.sendall(b"SSH-2.0-OpenSSH\r\n")

        thread = threading.Thread(target=talk)
        thread.start()
        assert status_of(f"http://127.0.0.1:{server.getsockname()[1]}/") is None
        thread.join()


def test_a_proxy_is_not_asked_for_this_machine(monkeypatch, app_file):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    with serve(1) as url:
        assert status_of(url) == 200
        assert status_of(f"{url}/nowhere") == 404


def test_a_server_keeps_its_secrets_out_of_the_command_line():
    server = Server(
        "JupyterLab", ["jupyterlab"], "http://127.0.0.1:1/", {"JUPYTER_TOKEN": "secret"}
    )
    assert "secret" not in " ".join(server.command)
    assert server.url == "http://127.0.0.1:1"
