"""Measure how fast the workshop is on this machine, compared with alternatives you might use.

    .venv/bin/python tools/bench.py [--rounds 3] [--seconds 2] [--only SECTION]

Contenders take turns, and the tables show medians: compare only numbers from the same run. FastAPI and
set-up's packages are downloaded; what isn't available is left out, with a reason. See docs/speed.md.
"""

import argparse
import contextlib
import json
import os
import platform
import re
import selectors
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import joblib
import pandas as pd
import requests
from flask import Flask, request
from uv import find_uv_bin

from workshop import fetch_census
from workshop.core.build import train
from workshop.core.errors import WorkshopError
from workshop.core.stages import BASE, find_stage, stages_with_app, stages_with_model
from workshop.host.background import Server, granian
from workshop.host.ports import free_port
from workshop.host.server import end_with_main_process, served
from workshop.setup.process import ROOT

TOOLS = Path(__file__).resolve().parent
PERSON = {
    "age": 39,
    "workclass": "State-gov",
    "education": "Bachelors",
    "marital_status": "Never-married",
    "race": "White",
    "sex": "Male",
    "hours_per_week": 40,
}
Rows = dict[str, tuple[float, ...]]  # the measurements of each alternative, round by round


class LeftOut(WorkshopError):
    """A measurement isn't possible here; the message says why."""


def create_empty() -> Flask:
    """An app that only reads JSON and returns JSON of the same size as stage 05's."""
    end_with_main_process()
    app = Flask(__name__)
    answer = {f"contribution of {name}": -0.12345678901234567 for name in PERSON}

    @app.post("/predictions")
    def predict() -> dict[str, object]:
        request.get_json()
        return answer

    return app


def create_fastapi() -> Any:
    """FastAPI with stage 05's pipeline at `/pipeline`, and one that takes dictionaries at `/dictionary`."""
    from fastapi import FastAPI
    from pydantic import create_model

    Person = create_model("Person", **{name: (type(each), ...) for name, each in PERSON.items()})
    pipeline = joblib.load(Path(os.environ["BENCH_MODELS"], "pipeline.joblib"))
    dictionary = joblib.load(Path(os.environ["BENCH_MODELS"], "dictionary.joblib"))
    app = FastAPI()

    # `async`, because passing such a short task to another thread takes longer than the task.
    @app.post("/pipeline")
    async def ask_pipeline(person: Person) -> dict[str, float]:
        frame = pd.DataFrame([person.model_dump()])
        return {"probability": float(pipeline.predict_proba(frame)[0, 1])}

    @app.post("/dictionary")
    async def ask_dictionary(person: Person) -> dict[str, float]:
        return {"probability": float(dictionary.predict_proba([person.model_dump()])[0, 1])}

    return app


def census_pipeline() -> Any:
    """The trained scikit-learn pipeline of stage 05."""
    return joblib.load(find_stage(5).card_file.with_suffix(".joblib"))


def dictionary_pipeline() -> Any:
    """A logistic regression like stage 05's after a `DictVectorizer`, so it doesn't need a data frame."""
    from sklearn.feature_extraction import DictVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MaxAbsScaler

    people = fetch_census().train.dropna()
    model = make_pipeline(DictVectorizer(), MaxAbsScaler(), LogisticRegression(max_iter=1000))
    return model.fit(people[list(PERSON)].to_dict("records"), people["income"])


@contextlib.contextmanager
def serving(port: int, module: str, *arguments: object, **environ: str) -> Iterator[str]:
    """Run a module as a server on this port; return its URL once it answers. Raises `ServerDied`."""
    environ = {"PYTHONPATH": str(TOOLS)} | environ
    url = f"http://127.0.0.1:{port}"
    with Server("A server to measure", [module, *arguments], url, environ) as server:
        server.wait_until_ready()
        yield url


def serving_factory(target: str, **environ: str) -> contextlib.AbstractContextManager[str]:
    """Serve `target` the way the workshop serves every app, with one worker."""
    port = free_port()
    return serving(port, *granian(target, "127.0.0.1", port), **environ)


def serving_census() -> contextlib.AbstractContextManager[str]:
    """Stage 05 as `python3 -m workshop serve 05` serves it."""
    return serving_factory("workshop.host.server:create_app", **served(find_stage(5), "127.0.0.1"))


@contextlib.contextmanager
def serving_fastapi() -> Iterator[str]:
    """FastAPI with uvicorn and its speed-ups, in a separate folder. Raises `LeftOut`."""
    with tempfile.TemporaryDirectory() as folder:
        place = ["--python", sys.executable, "--target", folder]
        run([find_uv_bin(), "pip", "install", *place, "fastapi", "uvicorn[standard]"], "FastAPI")
        joblib.dump(census_pipeline(), Path(folder, "pipeline.joblib"))
        joblib.dump(dictionary_pipeline(), Path(folder, "dictionary.joblib"))
        port = free_port()
        options = ["--factory", "--port", port, "--log-level", "error"]
        environ = {"PYTHONPATH": f"{TOOLS}{os.pathsep}{folder}", "BENCH_MODELS": folder}
        with serving(port, "uvicorn", "bench:create_fastapi", *options, **environ) as url:
            yield url


def measure_requests(rounds: int, seconds: float) -> Rows:
    """One prediction over HTTP: responses per second from one worker over eight connections."""
    expected = float(census_pipeline().predict_proba(pd.DataFrame([PERSON]))[0, 1])

    def way(url: str, path: str, is_stage_05: bool = False) -> Callable[[], float]:
        def measure() -> float:
            answer = requests.post(url + path, json=PERSON, timeout=60)
            if is_stage_05 and abs(answer.json()["probability"] - expected) > 1e-9:
                raise LeftOut(f"{path} is wrong: {answer.text} instead of {expected}")
            return ask(url, path, answer.content, seconds) / seconds

        return measure

    with contextlib.ExitStack() as stack:
        census = stack.enter_context(serving_census())
        empty = stack.enter_context(serving_factory("bench:create_empty"))
        ways = {
            "stage 05": way(census, "/api/v1/predictions", True),
            "an empty Flask app on the same server": way(empty, "/predictions"),
        }
        try:
            fastapi = stack.enter_context(serving_fastapi())
            ways["FastAPI, the plain pipeline"] = way(fastapi, "/pipeline", True)
            ways["FastAPI, a `DictVectorizer`"] = way(fastapi, "/dictionary")
        except WorkshopError as reason:
            print(f"Left out: {reason}", file=sys.stderr)
        return in_turns(rounds, ways)


def ask(url: str, path: str, expected: bytes, seconds: float) -> int:
    """Count the responses with the body `expected` in `seconds`. Raises `LeftOut` for any other response.

    The client must cost less than the servers that it measures, so it implements only the HTTP they need.
    """
    body = json.dumps(PERSON).encode()
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
    message = "\r\n".join([*lines, "Content-Type: application/json", "", ""]).encode() + body
    address = ("127.0.0.1", int(url.rpartition(":")[2]))
    count = 0
    with selectors.DefaultSelector() as selector, contextlib.ExitStack() as stack:
        for _ in range(8):  # each sends its next request as soon as it gets a response
            connection = stack.enter_context(socket.create_connection(address))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            selector.register(connection, selectors.EVENT_READ, bytearray())
            connection.sendall(message)
        deadline = time.perf_counter() + seconds
        while time.perf_counter() < deadline:
            for key, _ in selector.select(timeout=1):
                received = key.fileobj.recv(1 << 20)
                key.data.extend(received)
                head, _, answer = key.data.partition(b"\r\n\r\n")
                length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
                if received and (not length or len(answer) < int(length[1])):
                    continue
                if not head.startswith(b"HTTP/1.1 200 ") or answer != expected:
                    raise LeftOut(f"{path} gives a wrong answer: {bytes(key.data[:200])!r}")
                count += 1
                key.data.clear()
                key.fileobj.sendall(message)
    return count


def measure_batch(rounds: int, seconds: float) -> Rows:
    """Seconds for 10,000 people in one request, compared with calling the pipeline without a server."""
    people = [PERSON | {"age": 17 + each % 74} for each in range(10_000)]
    as_json = json.dumps({"people": people}).encode()
    as_csv = pd.DataFrame(people).to_csv(index=False).encode()
    pipeline = census_pipeline()

    def post(url: str, body: bytes, kind: str) -> None:
        headers = {"Content-Type": kind, "Accept": kind}
        reply = requests.post(f"{url}/api/v1/predictions/batch", body, headers=headers, timeout=60)
        if reply.status_code != 200:
            raise LeftOut(f"a batch is answered with {reply.status_code}: {reply.text[:200]}")

    def parse_and_predict() -> None:
        pipeline.predict_proba(pd.DataFrame(json.loads(as_json)["people"]))

    with serving_census() as url:
        ways = {
            "stage 05, JSON": timed(lambda: post(url, as_json, "application/json")),
            "stage 05, CSV": timed(lambda: post(url, as_csv, "text/csv")),
            "parsing the JSON, one `predict_proba`": timed(parse_and_predict),
        }
        return in_turns(rounds, ways)


def measure_startup(rounds: int, seconds: float) -> Rows:
    """Seconds to import and create an app in a new process, not counting Python's own start."""
    program = "import time; start = time.perf_counter(); {}; print(time.perf_counter() - start)"

    def way(folder: Path, code: str) -> Callable[[], float]:
        command = [sys.executable, "-c", program.format(code)]
        return lambda: float(run(command, folder.name, cwd=folder).splitlines()[-1])

    make = "from app import create_app; create_app()"
    return in_turns(rounds, {each.slug: way(each.folder, make) for each in stages_with_app()})


def measure_setup(rounds: int, seconds: float) -> Rows:
    """Seconds to make an environment with every package in the lock, all of them in uv's cache."""
    python = getattr(sys, "_base_executable", sys.executable)  # outside the workshop's environment
    uv = find_uv_bin()
    environ = os.environ | {"PATH": f"{Path(uv).parent}{os.pathsep}{os.environ['PATH']}"}
    environ.pop("WORKSHOP_MIRROR", None)

    def way(*commands: Sequence[str]) -> Callable[[], float]:
        def measure() -> float:
            with tempfile.TemporaryDirectory() as folder:
                shutil.copytree(ROOT / "workshop", Path(folder, "workshop"))
                for name in ("pyproject.toml", "requirements.txt", "README.md"):
                    shutil.copy(ROOT / name, folder)
                start = time.perf_counter()
                for command in commands:
                    run(command, "set-up", cwd=folder, env=environ)
                return time.perf_counter() - start

        return measure

    install = [uv, "pip", "install", "--python", "plain", "-r", "requirements.txt"]
    ways = {
        "`python3 -m workshop` for the first time": way([python, "-m", "workshop", "--help"]),
        "`uv venv`, `uv pip install`": way([uv, "venv", "--python", python, "plain"], install),
    }
    return in_turns(rounds, ways)


def timed(act: Callable[[], object]) -> Callable[[], float]:
    """Return a function that returns how many seconds `act` takes."""

    def measure() -> float:
        start = time.perf_counter()
        act()
        return time.perf_counter() - start

    return measure


def in_turns(rounds: int, ways: dict[str, Callable[[], float]]) -> Rows:
    """Measure each alternative once per round, so that a slow moment of the machine affects all of them.

    An extra first round, which doesn't count, fills caches.
    """
    found = [[measure() for measure in ways.values()] for _ in range(rounds + 1)]
    return dict(zip(ways, zip(*found[1:], strict=True), strict=True))


def table(title: str, rows: Rows) -> str:
    """A Markdown table of medians and extremes; ratios are relative to the first row, round by round."""
    lines = [f"| {title} | median | lowest | highest | ratio |", "|---|---:|---:|---:|---:|"]
    first = next(iter(rows.values()))
    for name, found in rows.items():
        ratios = [each / other for each, other in zip(found, first, strict=True)]
        numbers = (statistics.median(found), min(found), max(found), statistics.median(ratios))
        shown = (f"{each:,.0f}" if each >= 100 else f"{each:.3g}" for each in numbers)
        lines.append(f"| {name} | {' | '.join(shown)} |")
    return "\n".join(lines)


def run(command: Sequence[str], what: str, **options: Any) -> str:
    """Return what a command prints. Raises `LeftOut` with the end of its error message if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if done.returncode:
        raise LeftOut(f"{what} isn't available here: {done.stderr.strip()[-300:]}")
    return done.stdout


SECTIONS: dict[str, tuple[str, Callable[[int, float], Rows]]] = {
    "requests": ("one prediction, answers per second", measure_requests),
    "batch": ("10,000 people in one request, seconds", measure_batch),
    "start-up": ("importing and making an app, seconds", measure_startup),
    "set-up": ("set-up from nothing, seconds", measure_setup),
}


def main() -> None:
    """Measure the sections chosen on the command line, and print a table for each section."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2, help="for each server, in each round")
    parser.add_argument("--only", choices=SECTIONS, action="append", help="may be repeated")
    asked = parser.parse_args()
    os.environ[BASE] = str(ROOT)  # the originals, whatever the current folder is
    for stage in stages_with_model():
        if not stage.card_file.exists():
            print(train(stage), file=sys.stderr)
    for name in asked.only or SECTIONS:
        print(f"Measuring {name} ...", file=sys.stderr)
        title, measure = SECTIONS[name]
        try:
            print(f"{table(title, measure(asked.rounds, asked.seconds))}\n", flush=True)
        except WorkshopError as reason:
            print(f"Left out: {name}: {reason}", file=sys.stderr)
    versions = [f"{name} {version(name)}" for name in ("flask", "granian", "scikit-learn")]
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}"
    python = f"Python {platform.python_version()}"
    print(f"{asked.rounds} rounds; {', '.join([machine, python, *versions])}.")


if __name__ == "__main__":
    main()
