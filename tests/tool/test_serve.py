"""Runs `serve`: its workers, their log, and what happens to requests when a worker dies or all stop."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
from serve_support import PATIENCE, RUN, get, posix, serving, until

from workshop import cli
from workshop.host import server as host
from workshop.host.ports import free_port, status_of
from workshop.setup.process import ROOT

APP = """
import os, pathlib, time
from flask import Flask

HERE = pathlib.Path(__file__).parent

def create_app():
    app = Flask(__name__)
    app.logger.warning("an app\\nwas made")

    @app.get("/")
    def index():
        return str(os.getpid())

    @app.get("/slow")
    def slow():
        (HERE / "slow.began").touch()
        while not (HERE / "slow.may.end").exists():
            time.sleep(0.05)
        return "done"

    return app
"""


@pytest.fixture
def app_file(work):
    """The file of stage 01's app in a learner's copy."""
    return work.write("01_hello", APP)


def killed(log):
    """Whether granian killed a worker because it didn't end within `STOP_LIMIT`.

    granian sometimes logs "Killing" right away, even for a worker that has ended.
    """
    line = r"^(\S+ \S+) +[A-Z]+ +(Shutting|Killing) "
    moments = {
        what: datetime.fromisoformat(moment) for moment, what in re.findall(line, log, re.MULTILINE)
    }
    almost = timedelta(seconds=host.STOP_LIMIT - 1)  # the log has whole seconds
    return "Killing" in moments and moments["Killing"] - moments["Shutting"] >= almost


def workers(url):
    """The process ids of the workers that answer now."""
    return {int(get(url)) for _ in range(40)}


@posix
def test_a_worker_that_dies_is_replaced_and_ctrl_c_stops_all(work):
    work.write("01_hello", f"import time; time.sleep(1)\n{APP}")
    with serving("01", "--workers", "2", wait=False) as (process, url, log):
        until(lambda: f"{url}/ with 2 workers" in log())
        assert status_of(url) == 200, "the address is printed once it answers"
        until(lambda: len(workers(url)) == 2)
        victim, other = workers(url)
        assert process.pid not in (victim, other)
        os.kill(victim, signal.SIGKILL)
        until(lambda: log().count("Started worker") == 3)
        until(lambda: len(workers(url)) == 2)
        assert other in workers(url)
        assert victim not in workers(url)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the whole group
        assert process.wait(PATIENCE) == 0
        assert status_of(url) is None
        assert not killed(log())
        assert "Traceback" not in log()


@posix
def test_an_open_request_is_answered_before_the_server_stops(app_file):
    with serving("01") as (process, url, log), ThreadPoolExecutor() as pool:
        answer = pool.submit(get, url, "/slow")
        until(app_file.with_name("slow.began").exists)
        process.terminate()
        until(lambda: "Stopping worker-1" in log())
        with pytest.raises(ConnectionError):
            get(url)
        app_file.with_name("slow.may.end").touch()
        assert answer.result() == "done"
        assert process.wait(PATIENCE) == 0
        assert not killed(log())


@posix
def test_a_client_that_never_ends_its_request_does_not_delay_the_stop(app_file):
    with serving("01") as (process, url, log):
        address = ("127.0.0.1", int(url.rpartition(":")[2]))
        with socket.create_connection(address) as slow, socket.create_connection(address) as idle:
            slow.sendall(b"GET / HTTP/1.1\r\nHo")
            idle.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert idle.recv(100).startswith(b"HTTP/1.1 200 OK")
            process.terminate()
            assert process.wait(PATIENCE) == 0
        assert not killed(log()), "the time limit for headers ended the request first"


@posix
def test_the_log_has_a_line_for_each_request_and_no_client_can_forge_one(app_file):
    with serving("01") as (_, url, log):
        get(url, "/a%0A2026-01-01%20INFO%20forged%1b%5B31m?age=39")
        until(lambda: '"GET /a' in log())
        lines = log().splitlines()
    line = next(each for each in lines if '"GET /a' in each)
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d{4} INFO    127\.0\.0\.1 "
        r'"GET /a\\n2026-01-01 INFO forged\\x1b\[31m" 404 \d+\.\d ms',
        line,
    ), "and query strings, which contain personal data, aren't logged"
    assert any(each.endswith("WARNING an app\\nwas made") for each in lines)


@posix
def test_workers_reload_a_new_model_and_keep_the_old_one_if_it_is_damaged(work):
    ignored, folder = shutil.ignore_patterns("model"), work.root / "apps" / "04_iris"
    shutil.copytree(ROOT / "apps" / "04_iris", folder, ignore=ignored)

    def train():
        command = [sys.executable, "-c", RUN, "train", "04"]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)

    with serving("04", "--workers", "2") as (_, url, log):
        until(lambda: log().count("Started worker") == 2)

        def statuses(path="/model", times=10):
            return {status_of(url + path) for _ in range(times)}

        assert statuses() == {503}
        train()
        until(lambda: statuses(times=40) == {200})
        (folder / "model" / "iris.joblib").write_bytes(b"cut short")
        seen = set()
        until(lambda: seen.update(statuses()) or "The new model is refused" in log())
        assert seen == {200}
        (folder / "model" / "iris.json").unlink()
        assert statuses("/healthz") == {200}
        train()
        assert statuses() == {200}


def test_an_app_that_does_not_start_is_a_sentence_with_the_line(work):
    work.write("01_hello", "x = 1\ny = (\n")
    with serving("01", wait=False) as (process, _, log):
        assert process.wait(PATIENCE) == 1
        assert "apps/01_hello/app.py, line 2: SyntaxError" in log()
        assert "Traceback" not in log()


def test_what_cannot_be_served_is_a_sentence(monkeypatch, capsys):
    def refused(*options):
        assert cli.run(["serve", *options]) == 1
        return capsys.readouterr().err

    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert f"Port {port} " in refused("1", "--port", str(port))
    assert "00_start_here" in refused("0")
    monkeypatch.setenv("TRUSTED_PROXIES", "abc")
    told = refused("1", "--port", str(free_port()))
    assert "TRUSTED_PROXIES is 'abc': set it to a number" in told
