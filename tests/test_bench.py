"""`tools/bench.py`: its contenders take turns, a wrong answer ends it, and a short run measures something."""

import contextlib
import importlib.util
import itertools
import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from workshop.setup.process import ROOT

SCRIPT = ROOT / "tools" / "bench.py"


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("bench", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def answering(answers):
    """Give the next of these answers, a status and a body, to each request; the server's URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # the connection stays open

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            status, body = next(answers)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_short_run_measures_every_contender_that_is_here():
    """Without a network, and so without FastAPI: the run says that it left it out."""
    sections = [f"--only={name}" for name in ("requests", "batch", "start-up")]
    run = subprocess.run(
        [sys.executable, SCRIPT, "--rounds=1", "--seconds=0.2", *sections],
        env=os.environ | {"UV_OFFLINE": "1", "UV_NO_CACHE": "1"},
        capture_output=True,
        encoding="utf-8",
    )
    assert run.returncode == 0, run.stderr
    assert re.search("Left out: FastAPI isn't available here", run.stderr)
    rows = dict(re.findall(r"^\| ([^|]+) \| ([\d.,]+) \|", run.stdout, re.MULTILINE))
    assert {"stage 05", "an empty Flask app on the same server"} <= rows.keys()
    assert {"stage 05, JSON", "stage 05, CSV", "06_housing"} <= rows.keys()
    assert all(float(number.replace(",", "")) > 0 for number in rows.values())


def test_right_answers_are_counted(bench):
    with answering(itertools.repeat((200, b"right"))) as url:
        assert bench.ask(url, "/", b"right", 0.3) > 8


@pytest.mark.parametrize("wrong", [(200, b"other"), (500, b"right")])
def test_a_wrong_answer_is_no_measurement(bench, wrong):
    answers = itertools.chain([(200, b"right")] * 20, itertools.repeat(wrong))
    with answering(answers) as url, pytest.raises(bench.LeftOut, match="a wrong answer"):
        bench.ask(url, "/", b"right", 10)


def test_contenders_take_turns_and_the_first_round_does_not_count(bench):
    turns = []

    def way(name):
        def measure():
            turns.append(name)
            return len(turns)

        return measure

    rows = bench.in_turns(2, {"a": way("a"), "b": way("b")})
    assert turns == ["a", "b"] * 3
    assert rows == {"a": (3, 5), "b": (4, 6)}


def test_the_table_has_medians_extremes_and_ratios_round_by_round(bench):
    made = bench.table("what", {"a": (1, 10, 100), "b": (2, 20, 1000)})
    assert made.splitlines()[2:] == ["| a | 10 | 1 | 100 | 1 |", "| b | 20 | 2 | 1,000 | 2 |"]


def test_a_command_that_fails_says_why(bench):
    with pytest.raises(bench.LeftOut, match="FastAPI isn't available here: no network"):
        bench.run([sys.executable, "-c", "raise SystemExit('no network')"], "FastAPI")


def test_the_page_on_speed_shows_what_the_script_measures(bench):
    page = (ROOT / "docs" / "speed.md").read_text(encoding="utf-8")
    for title, _ in bench.SECTIONS.values():
        assert f"| {title} |" in page
    assert "tools/bench.py" in page


def test_the_script_stays_short():
    assert len(SCRIPT.read_text(encoding="utf-8").splitlines()) <= 350
