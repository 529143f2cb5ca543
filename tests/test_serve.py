"""`serve` for real: workers, their log, what becomes of requests when one dies or all are to stop."""

import contextlib
import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import psutil
import pytest

from workshop import cli
from workshop.host import server as host
from workshop.host.ports import free_port, status_of
from workshop.setup.process import ROOT

RUN = "import sys; from workshop.cli import run; sys.exit(run(sys.argv[1:]))"
posix = pytest.mark.skipif(os.name != "posix", reason="Windows sends no such signal to one process")
PATIENCE = 60  # seconds; nothing here is about speed
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
def work(tmp_path, monkeypatch):
    """A copy of a learner's own, whose stage 01 is the app above."""
    work = tmp_path / "Büro Müller"
    (work / "apps" / "01_hello").mkdir(parents=True)
    (work / "apps" / "01_hello" / "app.py").write_text(APP, encoding="utf-8")
    monkeypatch.setenv("WORKSHOP_WORK", str(work))
    return work


@contextlib.contextmanager
def serving(work, stage, *options, wait=True):
    """`serve` in a group of processes of its own: the process, its URL, and a function that reads its log."""
    port = free_port()
    log = work.parent / "log"
    with log.open("wb") as opened:
        process = subprocess.Popen(
            [sys.executable, "-c", RUN, "serve", stage, "--port", str(port), *options],
            cwd=ROOT,
            stdout=opened,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    family = psutil.Process(process.pid)
    try:
        url = f"http://127.0.0.1:{port}"
        if wait:
            until(lambda: status_of(url + "/") is not None or process.poll() is not None)
        yield process, url, lambda: log.read_text(encoding="utf-8")
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            for each in [*family.children(recursive=True), family]:
                each.kill()
        process.wait()


def until(done):
    """Return once `done()` is true; fail if that never comes."""
    deadline = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.05)


def killed(log):
    """Whether granian killed a worker because it did not end within `STOP_LIMIT`.

    It says so, at once, also of a worker that ended by itself: two of its threads wait for each worker, and
    the one that comes second is told for a moment that the worker is still there.
    """
    moments = {
        what: datetime.fromisoformat(moment)
        for moment, what in re.findall(
            r"^(\S+ \S+) +[A-Z]+ +(Shutting|Killing) ", log, re.MULTILINE
        )
    }
    almost = timedelta(seconds=host.STOP_LIMIT - 1)  # the log has whole seconds
    return "Killing" in moments and moments["Killing"] - moments["Shutting"] >= almost


def get(url, path="/"):
    """The page at an address, asked for over a connection of its own."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=PATIENCE)
    with contextlib.closing(connection):
        connection.request("GET", path)
        return connection.getresponse().read().decode()


def workers(url):
    """The process ids of the workers that answer now."""
    return {int(get(url)) for _ in range(40)}


@posix
def test_two_workers_serve_and_ctrl_c_ends_them_in_peace(work):
    with serving(work, "01", "--workers", "2") as (process, url, log):
        until(lambda: f"Serving 01_hello at {url}/ with 2 workers; Ctrl-C ends it.\n" in log())
        until(lambda: len(workers(url)) == 2)
        assert process.pid not in workers(url)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does it: to everyone in the group
        assert process.wait(PATIENCE) == 0
        assert status_of(url) is None
        assert not killed(log())
        assert "Traceback" not in log()


@posix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_request_under_way_is_answered_before_the_end(work, number):
    folder = work / "apps" / "01_hello"
    with serving(work, "01") as (process, url, log), ThreadPoolExecutor() as pool:
        answer = pool.submit(get, url, "/slow")
        until((folder / "slow.began").exists)
        process.send_signal(number)
        until(lambda: "Stopping worker-1" in log())
        with pytest.raises(ConnectionError):
            get(url)
        (folder / "slow.may.end").touch()
        assert answer.result() == "done"
        assert process.wait(PATIENCE) == 0
        assert not killed(log())


@posix
def test_a_client_that_never_ends_its_request_does_not_hold_up_the_end(work):
    with serving(work, "01") as (process, url, log):
        address = ("127.0.0.1", int(url.rpartition(":")[2]))
        with socket.create_connection(address) as slow, socket.create_connection(address) as idle:
            slow.sendall(b"GET / HTTP/1.1\r\nHo")
            idle.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert idle.recv(100).startswith(b"HTTP/1.1 200 OK")
            process.terminate()
            assert process.wait(PATIENCE) == 0
        assert not killed(log()), "the limit for headers let it go before the worker was killed"


@posix
def test_ctrl_c_while_an_app_is_still_being_loaded(work):
    began = work / "began"
    code = f"import pathlib, time; pathlib.Path({str(began)!r}).touch(); time.sleep(600)"
    (work / "apps" / "01_hello" / "app.py").write_text(code, encoding="utf-8")
    with serving(work, "01", wait=False) as (process, _, log):
        until(began.exists)
        process.terminate()
        assert process.wait(PATIENCE) == 0
        assert "Stopped worker-1" in log()
        assert not killed(log())


@posix
def test_a_worker_that_dies_is_replaced_and_the_other_goes_on(work):
    with serving(work, "01", "--workers", "2") as (process, url, log):
        until(lambda: len(workers(url)) == 2)
        victim, other = workers(url)
        os.kill(victim, signal.SIGKILL)
        until(lambda: victim not in psutil.pids() or psutil.Process(victim).status() == "zombie")
        until(lambda: log().count("Started worker") == 3)
        until(lambda: len(workers(url)) == 2)
        assert other in workers(url)
        assert victim not in workers(url)
        assert process.poll() is None


@posix
def test_the_log_has_a_line_for_each_request_and_no_client_writes_another(work):
    with serving(work, "01") as (_, url, log):
        get(url, "/a%0A2026-01-01%20INFO%20forged%1b%5B31m?age=39")
        until(lambda: '"GET /a' in log())
        lines = log().splitlines()
    line = next(each for each in lines if '"GET /a' in each)
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d{4} INFO    127\.0\.0\.1 "
        r'"GET /a\\n2026-01-01 INFO forged\\x1b\[31m" 404 \d+\.\d ms',
        line,
    )
    assert not [each for each in lines if each.startswith("2026-01-01")]
    assert "age=39" not in "".join(lines), "what was asked about somebody stays out of the log"
    assert any(each.endswith("WARNING an app\\nwas made") for each in lines)


@posix
def test_every_worker_takes_up_a_model_that_is_trained_meanwhile(work):
    ignored = shutil.ignore_patterns("__pycache__", "model")
    shutil.copytree(ROOT / "apps" / "04_iris", work / "apps" / "04_iris", ignore=ignored)
    with serving(work, "04", "--workers", "2") as (_, url, log):
        until(lambda: log().count("Started worker") == 2)
        assert {status_of(f"{url}/model") for _ in range(10)} == {503}
        subprocess.run(
            [sys.executable, "-c", RUN, "train", "04"],
            cwd=ROOT,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        until(lambda: {status_of(f"{url}/model") for _ in range(40)} == {200})


# A model that changes while its app is served


@pytest.fixture
def trained(work, tmp_path):
    """Stage 04 with a model in the learner's copy, and a function that puts another one there."""
    ignored = shutil.ignore_patterns("__pycache__", "model")
    folder = work / "apps" / "04_iris"
    shutil.copytree(ROOT / "apps" / "04_iris", folder, ignore=ignored)
    subprocess.run(
        [sys.executable, "-c", RUN, "train", "04"], cwd=ROOT, check=True, capture_output=True
    )
    return folder / "model"


def test_a_damaged_new_model_leaves_the_old_one_answering(trained, work):
    with serving(work, "04") as (_, url, log):
        until(lambda: status_of(f"{url}/model") == 200)
        (trained / "iris.joblib").write_bytes(b"cut short")
        statuses = set()
        until(
            lambda: statuses.add(status_of(f"{url}/model")) or "The new model is refused" in log()
        )
        assert statuses == {200}
        (trained / "iris.json").unlink()
        assert {status_of(f"{url}/healthz") for _ in range(5)} == {200}
        subprocess.run(
            [sys.executable, "-c", RUN, "train", "04"], cwd=ROOT, check=True, capture_output=True
        )
        assert {status_of(f"{url}/model") for _ in range(5)} == {200}


# What is said, and when


def test_an_address_is_printed_once_something_answers_there(work):
    (work / "apps" / "01_hello" / "app.py").write_text(
        f"import time; time.sleep(3)\n{APP}", encoding="utf-8"
    )
    with serving(work, "01", wait=False) as (_, url, log):
        until(lambda: url in log())
        assert status_of(url) == 200


@pytest.fixture
def run(monkeypatch):
    """What granian would be asked to serve."""
    calls = []
    monkeypatch.setattr(host, "run", lambda *asked: calls.append(asked))
    monkeypatch.setattr(os, "environ", os.environ.copy())
    return calls


def test_a_stage_without_an_app_says_so(run, capsys):
    assert cli.run(["serve", "0"]) == 1
    assert capsys.readouterr().err == "stage 00_start_here has no app; open its notebook instead\n"
    assert run == []


def test_a_port_in_use_is_a_sentence(run, capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert cli.run(["serve", "1", "--port", str(port)]) == 1
    assert f"Port {port} is in use by another program" in capsys.readouterr().err
    assert run == []


def test_the_database_of_stage_06_is_made_first(run, monkeypatch, capsys):
    monkeypatch.setattr(host, "make_database", lambda stage: f"{stage.slug}: ready")
    monkeypatch.setattr(host, "require_port", lambda *_: None)
    assert cli.run(["serve", "6", "--workers", "2"]) == 0
    assert capsys.readouterr().out == "06_housing: ready\n"
    [(target, address, port, workers, (url, told))] = run
    assert (address, port, workers) == ("127.0.0.1", 8006, 2)
    assert url == "http://127.0.0.1:8006/"
    assert told == "Serving 06_housing at http://127.0.0.1:8006/ with 2 workers; Ctrl-C ends it."
    assert os.environ[host.SERVED] == "06_housing"


def test_on_windows_it_is_one_worker_and_that_is_said(run, monkeypatch, capsys):
    monkeypatch.setattr(host, "ONE_WORKER", True)
    assert cli.run(["serve", "1", "--workers", "4", "--port", str(free_port())]) == 0
    assert "On Windows granian runs one worker" in capsys.readouterr().out
    assert run[0][3] == 1


@pytest.mark.parametrize(
    ("option", "number"), [("--workers", "0"), ("--workers", "many"), ("--threads", "0")]
)
def test_a_number_that_cannot_be(option, number, run, capsys):
    assert cli.run(["serve", "1", option, number]) == 2
    assert f"Invalid value for '{option}'" in capsys.readouterr().err
    assert run == []


def test_an_app_that_does_not_start_is_a_sentence_with_the_line(work):
    (work / "apps" / "01_hello" / "app.py").write_text("x = 1\ny = (\n", encoding="utf-8")
    with serving(work, "01", wait=False) as (process, _, log):
        assert process.wait(PATIENCE) == 1
        assert "apps/01_hello/app.py, line 2: SyntaxError" in log()
        assert "run the same command again" in log()
        assert "Traceback" not in log()
