"""`serve` and its servers: they are ready when the block begins, always stopped, and show their log."""

import os
import socket
import subprocess
import sys

import psutil
import pytest
from serve_support import get, until

from workshop.core.errors import ServerDied, WorkshopError
from workshop.host import background
from workshop.host.background import serve
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
def app_file(work):
    """The file of stage 01's app in a learner's copy."""
    return work.write("01_hello", APP)


@pytest.fixture
def processes():
    """Returns the processes that the test has started; checks that none is left in the end."""
    before = set(psutil.Process().children(recursive=True))

    def started():
        return set(psutil.Process().children(recursive=True)) - before

    yield started
    assert psutil.wait_procs(started(), timeout=10)[1] == []


def test_serve_stops_when_its_block_raises(app_file, processes, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # isn't used for this machine
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(KeyboardInterrupt), serve(1) as url:
        assert status_of(url) == 200
        assert status_of(f"{url}/nowhere") == 404
        assert processes()
        raise KeyboardInterrupt
    assert processes() == set()
    assert status_of(url) is None


def test_the_log_of_a_crashed_app_is_shown_instead_of_the_request_s_error(app_file, processes):
    with pytest.raises(ServerDied, match="01_hello[^$]*out of memory"), serve(1) as url:
        get(url, "/die")
    with pytest.raises(ServerDied, match="out of memory"), serve(1) as url:
        status_of(f"{url}/die")  # unnoticed
        psutil.wait_procs(processes(), timeout=10)


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("raise RuntimeError('fix me')", "01_hello[^$]*RuntimeError: fix me"),
        ("import time; time.sleep(60)", "01_hello"),
    ],
)
def test_an_app_that_does_not_start_is_stopped_and_named(
    app_file, processes, monkeypatch, code, told
):
    app_file.write_text(code, encoding="utf-8")
    if "sleep" in code:
        monkeypatch.setattr(background, "START_LIMIT", 0.5)
    with pytest.raises(ServerDied, match=told), serve(1):
        pytest.fail("the block must not run")
    assert processes() == set()


def test_what_can_not_be_served_is_a_sentence():
    for name in ("nine", 0):
        with pytest.raises(WorkshopError, match="00_start_here") as error, serve(name):
            pytest.fail("the block must not run")
        shown = error.value._render_traceback_()
        assert shown == [f"{type(error.value).__name__}: {error.value}"], (
            "all that a notebook shows"
        )


def test_the_app_ends_when_the_process_that_serves_it_is_killed(app_file):
    code = "with serve(1) as url:\n    print(url, flush=True)\n    input()\n"
    command = [sys.executable, "-c", f"from workshop import serve\n{code}"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, **pipes) as kernel:
        url = kernel.stdout.readline().strip()
        servers = psutil.Process(kernel.pid).children(recursive=True)
        assert servers
        kernel.kill()
    assert psutil.wait_procs(servers, timeout=20)[1] == []
    assert status_of(url) is None


def test_a_port_in_use_is_named_with_a_free_one_and_its_option():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert not is_free(port)
        with pytest.raises(PortInUse, match=f"^Port {port} ") as error:
            require_port(port, "--lab-port")
    suggested = int(str(error.value).rstrip(".").split("--lab-port ")[1])
    assert suggested != port
    assert 0 < suggested < 65536


@pytest.mark.parametrize("host", ["no.such.host.invalid", "192.0.2.1"])
def test_an_address_that_this_machine_does_not_have_is_named(host):
    with pytest.raises(WorkshopError, match=f"{host}.*--host"):
        require_port(free_port(), "--port", host)


def test_a_server_ends_with_its_parent_even_if_another_process_made_the_pipe_non_blocking():
    read, write = os.pipe()
    os.set_blocking(read, False)
    command = [sys.executable, "-m", "workshop.host.end_with_parent", "http.server", "--bind"]
    port = free_port()
    server = subprocess.Popen([*command, "127.0.0.1", str(port)], cwd=ROOT, stdin=read)
    os.close(read)
    try:
        until(lambda: status_of(f"http://127.0.0.1:{port}/") is not None)
        os.close(write)
        server.wait(20)
    finally:
        server.kill()
    assert status_of(f"http://127.0.0.1:{port}/") is None
