"""Flask, Streamlit or a model server? The census model behind each, measured side by side in one run.

    python3 -m workshop train 05
    python3 benchmarks/frameworks.py [--streamlit PYTHON] [--mlserver PYTHON] [--seconds 5] [--rounds 3]

PYTHON is the interpreter of an environment that has the tool; neither is a dependency of the workshop.
To make one (the versions of Python and scikit-learn must be those that trained the model):

    uv venv /tmp/streamlit && uv pip install --python /tmp/streamlit/bin/python \\
        streamlit pydantic joblib pandas scikit-learn
    uv venv /tmp/mlserver && uv pip install --python /tmp/mlserver/bin/python \\
        mlserver mlserver-sklearn pandas

Every server runs alone on this computer with one worker, is asked by 8 connections, each of which waits
for its answer before it asks again, and must answer the app's own probability: other answers are
counted as wrong and not as answers. Rounds go round all servers; the median is printed. Client and
server share the processor. Memory is the proportional set size of the server's processes (Linux
alone), once after the first answers and once while 50 more visitors have the page open.

What an "answer" is: for Flask a page as HTML, or JSON; for MLServer JSON; for Streamlit one run of the
script, from the pressed button to the last element on the page, over the WebSocket its pages use.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import html
import io
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import tokenize
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

from load import CONNECTIONS, PERSON, http_load, http_request, is_complete

REPOSITORY = Path(__file__).resolve().parent.parent
CENSUS = REPOSITORY / "apps" / "05_census"
STREAMLIT_APP = REPOSITORY / "benchmarks" / "streamlit_census.py"
NO_GC = ["--runner.postScriptGC", "false"]
VISITORS = 50
START_LIMIT = 60.0  # seconds
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass
class Contender:
    """A server: how it is started, how it is asked, and what was measured of it."""

    name: str
    python: str
    command: list[str]
    ready: str  # a path that answers 200 once it runs
    load: Callable[[int, float], tuple[int, int]]  # port, seconds -> right answers, wrong answers
    visit: Callable[[int], contextlib.AbstractContextManager[None]]
    files: dict[str, str] = field(default_factory=dict)  # settings that it reads in its folder
    rates: list[float] = field(default_factory=list)
    wrong: int = 0
    memory: list[float] = field(default_factory=list)
    memory_visited: list[float] = field(default_factory=list)


# --- asking over HTTP -----------------------------------------------------------------------------


@contextlib.contextmanager
def http_visit(port: int) -> Iterator[None]:
    """Fifty visitors have the form open: each has asked for it over a connection of its own."""
    with contextlib.ExitStack() as stack:
        for _ in range(VISITORS):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            connection.sendall(http_request("GET", "/"))
            answer = bytearray()
            while not is_complete(answer):
                answer += connection.recv(1 << 20)
        yield


# --- asking Streamlit -----------------------------------------------------------------------------

# Runs in Streamlit's own environment, which has its messages and a WebSocket client. It prints the
# right and wrong answers; or, asked to visit, opens the page and waits for its standard input to end.
STREAMLIT_CLIENT = '''
import asyncio, contextlib, json, sys, time
import websockets
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

port, seconds, connections, expected, person = json.loads(sys.argv[1])

async def run(socket, states=()):
    """Ask for one run of the script; return its elements."""
    message = BackMsg()
    message.rerun_script.widget_states.widgets.extend(states)
    await socket.send(message.SerializeToString())
    elements = []
    while True:
        message = ForwardMsg.FromString(await socket.recv())
        if message.WhichOneof("type") == "delta":
            elements.append(message.delta.new_element)
        if message.WhichOneof("type") == "script_finished":
            return elements

def filled_in(elements):
    """The state of every widget of the form, with the person's values and the button pressed."""
    state = BackMsg().rerun_script.widget_states
    for element in elements:
        kind = element.WhichOneof("type")
        if kind not in ("number_input", "selectbox", "button"):
            continue
        identity = getattr(element, kind).id
        widget = state.widgets.add(id=identity)
        if kind == "button":
            widget.trigger_value = True
        else:
            value = person[identity.split("-", 2)[2]]
            if kind == "number_input":
                widget.double_value = value
            else:
                widget.string_value = value
    return state.widgets

async def ask(socket, states, deadline, counts):
    """Press the button again and again; the answers that come before the deadline count."""
    while time.perf_counter() < deadline:
        text = [e.metric.body for e in await run(socket, states) if e.HasField("metric")]
        if time.perf_counter() < deadline:
            counts["right" if text == [expected] else "wrong"] += 1

async def main():
    async with contextlib.AsyncExitStack() as stack:
        address = f"ws://127.0.0.1:{port}/_stcore/stream"
        sockets, states = [], []
        for _ in range(connections):
            socket = websockets.connect(address, max_size=None)
            sockets.append(await stack.enter_async_context(socket))
            states.append(filled_in(await run(sockets[-1])))
            await run(sockets[-1], states[-1])  # so that each has had an answer before the clock starts
        if not seconds:
            print("open", flush=True)
            await asyncio.to_thread(sys.stdin.read)
            return
        counts = {"right": 0, "wrong": 0}
        deadline = time.perf_counter() + seconds
        await asyncio.gather(*(ask(*each, deadline, counts) for each in zip(sockets, states)))
        print(json.dumps(counts))

asyncio.run(main())
'''


def streamlit_load(python: str, expected: str) -> Callable[[int, float], tuple[int, int]]:
    """Press the button for so many seconds; an answer is right if the page shows `expected`."""

    def load(port: int, seconds: float) -> tuple[int, int]:
        order = json.dumps([port, seconds, CONNECTIONS, expected, PERSON])
        command = [python, "-c", STREAMLIT_CLIENT, order]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        counts = json.loads(done.stdout)
        return counts["right"], counts["wrong"]

    return load


def streamlit_visit(python: str) -> Callable[[int], contextlib.AbstractContextManager[None]]:
    """Fifty visitors have the page open, and each has an answer on it."""

    @contextlib.contextmanager
    def visit(port: int) -> Iterator[None]:
        order = json.dumps([port, 0, VISITORS, "", PERSON])
        command = [python, "-c", STREAMLIT_CLIENT, order]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as client:
            if client.stdout.readline() != "open\n":
                raise RuntimeError("Streamlit's visitors could not open the page")
            yield
            client.stdin.close()

    return visit


# --- the contenders -------------------------------------------------------------------------------


def app_answer() -> float:
    """The probability that the stage's own code gives the person."""
    sys.path.insert(0, str(CENSUS))
    import census_model

    try:
        return census_model.load().predict_probability(PERSON)
    except census_model.ModelUnavailable as problem:
        sys.exit(str(problem))


def contenders(options: argparse.Namespace) -> list[Contender]:
    """Flask's page and API, and those of the optional two that were asked for."""
    probability = app_answer()
    shown = f"{probability:.1%}"
    granian = ["-m", "granian", "--interface", "wsgi", "--factory", "app:create_app"]
    granian += ["--workers", "1", "--log-level", "error", "--working-dir", str(CENSUS)]
    granian += ["--host", "127.0.0.1", "--port", "{port}"]
    page = http_request("GET", f"/probability?{urlencode(PERSON)}")
    heading = f"Probability of earning more than $50K: {shown}"
    api = http_request("POST", "/api/v1/predictions", json.dumps(PERSON).encode())
    exact = json.dumps(probability).encode()
    found = [
        Contender(name, sys.executable, granian, "/healthz", load, http_visit)
        for name, load in {
            "Flask, page": http_load(page, html.escape(heading).encode()),
            "Flask, API": http_load(api, b'"probability":' + exact),
        }.items()
    ]
    if options.streamlit:
        command = ["-m", "streamlit", "run", str(STREAMLIT_APP), "--server.port", "{port}"]
        command += ["--server.address", "127.0.0.1", "--server.headless", "true"]
        command += ["--browser.gatherUsageStats", "false", "--server.fileWatcherType", "none"]
        load, visit = streamlit_load(options.streamlit, shown), streamlit_visit(options.streamlit)
        # After each run Streamlit collects garbage, which takes longer than the run. It can be told not to.
        for name, option in {"Streamlit": [], "Streamlit, no GC": NO_GC}.items():
            started = [*command, *option]
            health = "/_stcore/health"
            found.append(Contender(name, options.streamlit, started, health, load, visit))
    if options.mlserver:
        found.append(mlserver(options.mlserver, exact))
    return found


def mlserver(python: str, exact: bytes) -> Contender:
    """MLServer with its scikit-learn runtime: two files of settings, and no code."""
    model = {
        "name": "census",
        "implementation": "mlserver_sklearn.SKLearnModel",
        "parameters": {"uri": str(CENSUS / "model" / "census.joblib")},
    }
    settings = {"host": "127.0.0.1", "http_port": "{port}", "parallel_workers": 0}
    settings |= {"grpc_port": "{port+1}", "metrics_port": "{port+2}", "debug": False}
    inputs = [
        {"name": name, "shape": [1], "datatype": "INT64", "data": [value]}
        if isinstance(value, int)
        else {
            "name": name,
            "shape": [1],
            "datatype": "BYTES",
            "data": [value],
            "parameters": {"content_type": "str"},
        }
        for name, value in PERSON.items()
    ]
    body = {"parameters": {"content_type": "pd"}, "inputs": inputs}
    body["outputs"] = [{"name": "predict_proba"}]
    path = "/v2/models/census/infer"
    return Contender(
        "MLServer, API",
        python,
        ["-c", "from mlserver.cli import main; main()", "start", "."],
        "/v2/models/census/ready",
        http_load(http_request("POST", path, json.dumps(body).encode()), exact[:12]),
        http_visit_without_page,
        {"model-settings.json": json.dumps(model), "settings.json": json.dumps(settings)},
    )


@contextlib.contextmanager
def http_visit_without_page(port: int) -> Iterator[None]:
    """Fifty open connections: there is no page to open."""
    with contextlib.ExitStack() as stack:
        for _ in range(VISITORS):
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        yield


# --- running and measuring them -------------------------------------------------------------------


def free_port() -> int:
    """A port that is free, and so are the two after it."""
    for _ in range(50):
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            first = stack.enter_context(socket.socket())
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            for other in (port + 1, port + 2):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", other))
            return port
    sys.exit("There are no three free ports in a row.")


@contextlib.contextmanager
def running(contender: Contender) -> Iterator[tuple[int, int]]:
    """Start a server in a folder of its own; give its port and its process id, and end it."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as log:
        for name, content in contender.files.items():
            for offset, word in enumerate(('"{port}"', '"{port+1}"', '"{port+2}"')):
                content = content.replace(word, str(port + offset))
            Path(folder, name).write_text(content, encoding="utf-8")
        command = [part.replace("{port}", str(port)) for part in contender.command]
        server = subprocess.Popen(
            [contender.python, *command],
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=os.environ | {"HOME": folder},
        )
        try:
            wait_until_ready(server, f"http://127.0.0.1:{port}{contender.ready}", log)
            yield port, server.pid
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGTERM)
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)
                server.wait()


def wait_until_ready(server: subprocess.Popen, url: str, log: io.TextIOBase) -> None:
    """Return once `url` answers 200; end the program with the server's log if it does not."""
    deadline = time.monotonic() + START_LIMIT
    while time.monotonic() < deadline and server.poll() is None:
        # What the opener raises is an OSError: refused, or a status such as 503.
        with contextlib.suppress(OSError), DIRECT.open(url, timeout=2) as answer:
            if answer.status == 200:
                return
        time.sleep(0.1)
    log.seek(0)
    sys.exit(f"A server did not start: {' '.join(server.args)}\n{log.read()[-3000:]}")


def memory_of(leader: int) -> float:
    """Megabytes of all processes in the session of `leader`, shared pages counted once."""
    total = 0
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # a process that ended meanwhile
            session = int(status.read_text().rpartition(")")[2].split()[3])
            if session == leader:
                rollup = (status.parent / "smaps_rollup").read_text()
                total += int(re.search(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE)[1])
    return total / 1000


def measure(contender: Contender, seconds: float) -> None:
    """One round: start it, ask it, weigh it, stop it."""
    with running(contender) as (port, pid):
        contender.load(port, 1)  # warms it up
        contender.memory.append(memory_of(pid))
        right, wrong = contender.load(port, seconds)
        contender.rates.append(right / seconds)
        contender.wrong += wrong
        before = memory_of(pid)
        with contender.visit(port):
            contender.memory_visited.append(memory_of(pid) - before)


# --- lines of code --------------------------------------------------------------------------------


def lines_of(files: list[Path]) -> int:
    """Lines that are neither empty nor comment; in Python, no docstrings either."""
    return sum(
        len(python_lines(file))
        if file.suffix == ".py"
        else sum(bool(line.strip()) for line in file.read_text(encoding="utf-8").splitlines())
        for file in files
    )


def python_lines(file: Path) -> set[int]:
    """The numbers of the lines that hold code."""
    text = file.read_text(encoding="utf-8")
    ignored = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    ignored |= {tokenize.ENCODING, tokenize.ENDMARKER}
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in ignored:
            lines |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        body = getattr(node, "body", None)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            match body:
                case [ast.Expr(value=ast.Constant(value=str())) as docstring, *_]:
                    lines -= set(range(docstring.lineno, docstring.end_lineno + 1))
    return lines


def print_lines() -> None:
    """Print what somebody has to write for each, besides the model's own modules."""
    own = {"census_model", "census_formula", "census_artifact"}
    python = {file.stem: file for file in CENSUS.glob("*.py") if file.stem not in own}
    api = [python[name] for name in ("census_api", "census_csv", "census_problems")]
    page = [file for file in python.values() if file not in api]
    print("Lines of code, without the model's own modules, which the first two share")
    rows = {
        "Flask: app, form, pictures": page,
        "Flask: templates": sorted(CENSUS.glob("templates/*.html")),
        "Flask: style": sorted(CENSUS.glob("static/*.css")),
        "Flask: API, CSV, errors": api,
        "Streamlit: all of it": [STREAMLIT_APP],
    }
    for name, files in rows.items():
        print(f"  {name:<28}{lines_of(files):>6}")
    settings = mlserver(sys.executable, b"").files.values()
    written_out = "\n".join(json.dumps(json.loads(text), indent=1) for text in settings)
    print(f"  {'MLServer: settings, no code':<28}{len(written_out.splitlines()):>6}")


# --- the table ------------------------------------------------------------------------------------


def main() -> int:
    """Print the tables; 1 if a server gave a wrong answer."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--streamlit", metavar="PYTHON", help="a Python that has Streamlit")
    parser.add_argument("--mlserver", metavar="PYTHON", help="a Python that has MLServer")
    parser.add_argument("--seconds", type=float, default=5, help="of asking, in each round")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()

    print_lines()
    chosen = contenders(options)
    for _ in range(options.rounds):
        for contender in chosen:
            measure(contender, options.seconds)

    print(
        f"\nMedian of {options.rounds} rounds of {options.seconds:g} s, {CONNECTIONS} connections"
    )
    print(
        f"{'':<18}{'answers/s':>10}{'range':>16}{'wrong':>7}{'MB':>7}{f'MB for {VISITORS} more':>16}"
    )
    for contender in chosen:
        rates = sorted(contender.rates)
        spread = f"{rates[0]:,.0f} to {rates[-1]:,.0f}"
        memory, visited = map(statistics.median, (contender.memory, contender.memory_visited))
        rate = statistics.median(rates)
        print(
            f"{contender.name:<18}{rate:>10,.0f}{spread:>16}{contender.wrong:>7}"
            f"{memory:>7.0f}{visited:>16.1f}"
        )
    for name in ("streamlit", "mlserver"):
        if not getattr(options, name):
            print(f"Not measured: {name} (give its interpreter with --{name}; see --help)")
    return int(any(contender.wrong for contender in chosen))


if __name__ == "__main__":
    sys.exit(main())
