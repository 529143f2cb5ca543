"""Load `serve 05 --workers 2` over 256 connections, kill a worker meanwhile, and stop the server under load.

    python tests/load/run_load.py [--seconds 60]

Serves a copy of stage 05 on a free port of this machine, with a model trained there if there is none. Prints
what it measured, and exits with 1 and a sentence for each promise that is broken:

- every answer is right, except for the requests that the killed worker had: on its connections, or waiting
  for it to take them. At most one in twenty is told to try again later: all of them come from one address,
  which gets only its share of the threads;
- while it is replaced, the other one serves, and a new one answers within 2 seconds, or within twice the time
  that the first start of this run took, if that is longer on a busy machine;
- after 100,000 requests the workers have at most 1.1 times the memory that they had once the new one had
  been there for 10,000. If there is no time for so many, memory is measured at the end, and that is said;
- a request that was sent before the server is told to stop is answered.
"""

import argparse
import contextlib
import json
import os
import re
import selectors
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from workshop.host.ports import free_port, status_of
from workshop.setup.process import ROOT

CONNECTIONS = 256
TURNS = 25  # requests over one connection; then it opens another, so that all workers get some
WORKERS = 2
FIRST = 10_000  # requests since the new worker came, after which memory is measured
LAST = 100_000  # requests in all, after which it is measured again
MORE_MEMORY = 1.1
MOST_LATER = 0.05  # of all answers
NEW_WORKER = 2.0  # seconds
KILL_AFTER = 3_000  # requests
PATIENCE = 60  # seconds for anything to come at all
RUN = "import sys; from workshop.cli import run; sys.exit(run(sys.argv[1:]))"
PERSON = {
    "age": 39,
    "workclass": "State-gov",
    "education": "Bachelors",
    "marital_status": "Never-married",
    "race": "White",
    "sex": "Male",
    "hours_per_week": 40,
}
BODY = json.dumps(PERSON).encode()
HEAD = (
    "POST /api/v1/predictions HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    f"Content-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n"
)
REQUEST = HEAD.encode() + BODY
RIGHT = (b"HTTP/1.1 200 ", b'"probability":')
LATER = (b"HTTP/1.1 503 ", b"\r\nretry-after: ")


class LoadError(Exception):
    """There is nothing to measure."""


def is_complete(answer: bytearray) -> bool:
    """Whether all of a response with a Content-Length has arrived."""
    head, separator, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    if separator and not length:
        raise ValueError(f"an answer without Content-Length: {bytes(head)!r}")
    return bool(separator) and len(body) >= int(length[1])


@dataclass
class Connection:
    """One connection with a request in progress."""

    socket: socket.socket
    port: int  # the client's own, by which the server's process knows the connection
    turns: int
    began: float = 0.0
    received: bytearray = field(default_factory=bytearray)


class Client:
    """Many connections; each asks again as soon as it is answered."""

    def __init__(self, port: int) -> None:
        self.address = ("127.0.0.1", port)
        self.selector = selectors.DefaultSelector()
        self.seconds: list[float] = []  # of each right answer
        self.later = 0  # answers that said to try again later
        self.wrong: list[str] = []  # other answers
        self.lost: list[int] = []  # the ports of connections that ended without one

    @property
    def under_way(self) -> int:
        return len(self.selector.get_map())

    @property
    def ports(self) -> set[int]:
        return {key.data.port for key in self.selector.get_map().values()}

    def connect(self, turns: int = 0) -> None:
        """Open a connection and ask over it."""
        opened = socket.create_connection(self.address, timeout=PATIENCE)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = Connection(opened, opened.getsockname()[1], turns)
        self.selector.register(opened, selectors.EVENT_READ, connection)
        self.ask(connection)

    def ask(self, connection: Connection) -> None:
        connection.received.clear()
        connection.began = time.perf_counter()
        with contextlib.suppress(ConnectionError):  # reading from it tells as well
            connection.socket.sendall(REQUEST)

    def receive(self, asks_on: bool = True) -> None:
        """Take in what has come; ask on, over the same connection or a new one."""
        for key, _ in self.selector.select(timeout=0.1):
            connection = key.data
            try:
                part = connection.socket.recv(1 << 16)
            except ConnectionError:
                part = b""
            answer = connection.received
            answer += part
            if part and not is_complete(answer):
                continue
            if not part:
                self.lost.append(connection.port)
            elif answer.startswith(RIGHT[0]) and RIGHT[1] in answer:
                self.seconds.append(time.perf_counter() - connection.began)
            elif answer.startswith(LATER[0]) and LATER[1] in answer:
                self.later += 1
            else:
                self.wrong.append(answer[:200].decode("utf-8", "replace"))
            connection.turns += 1
            if part and asks_on and connection.turns < TURNS:
                self.ask(connection)
                continue
            self.selector.unregister(connection.socket)
            connection.socket.close()
            if asks_on:
                self.connect()


@contextlib.contextmanager
def served(folder: Path) -> Iterator[tuple[psutil.Process, int, float]]:
    """Serve a fresh copy of stage 05: its main process, its port, and the seconds until all workers came."""
    app = folder / "apps" / "05_census"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "apps" / "05_census", app, ignore=ignored)
    port, log = free_port(), folder / "log"
    environ = os.environ | {"WORKSHOP_WORK": str(folder), "PYTHONUTF8": "1"}
    call = [sys.executable, "-c", RUN]
    if not (app / "model").exists():
        train = subprocess.run([*call, "train", "05"], cwd=ROOT, env=environ, capture_output=True)
        if train.returncode:
            raise LoadError(f"stage 05 can't be trained: {train.stderr.decode()[-500:]}")
    with log.open("wb") as opened:
        began = time.perf_counter()
        process = psutil.Popen(
            [*call, "serve", "05", "--port", str(port), "--workers", str(WORKERS)],
            cwd=ROOT,
            env=environ,
            stdout=opened,
            stderr=subprocess.STDOUT,
        )
    try:
        url = f"http://127.0.0.1:{port}/model"
        while log.read_text().count("Started worker") < WORKERS or status_of(url) != 200:
            if process.poll() is not None or time.perf_counter() - began > PATIENCE:
                raise LoadError(f"the server does not answer: {log.read_text()[-500:]}")
            time.sleep(0.02)
        yield process, port, time.perf_counter() - began
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            for each in [*process.children(recursive=True), process]:
                each.kill()
        process.wait()


def workers_of(process: psutil.Process) -> dict[int, psutil.Process]:
    """The workers that live, by their process ids."""
    return {
        child.pid: child
        for child in process.children()
        if child.is_running() and child.status() != psutil.STATUS_ZOMBIE
    }


def ports_of(worker: psutil.Process) -> set[int]:
    """The clients' ports of the connections that a worker has."""
    return {connection.raddr.port for connection in worker.net_connections() if connection.raddr}


def memory_of(process: psutil.Process) -> dict[int, float]:
    """The megabytes of each worker."""
    return {pid: worker.memory_info().rss / 1e6 for pid, worker in workers_of(process).items()}


def run(seconds: float) -> list[str]:
    """Do it all and print what was measured. Returns a sentence for each promise that was broken."""
    with tempfile.TemporaryDirectory() as folder, served(Path(folder)) as (server, port, start):
        print(f"start: {start:.1f} s until {WORKERS} workers were there", flush=True)
        client = Client(port)
        began = looked = time.perf_counter()
        for number in range(CONNECTIONS):
            client.connect(turns=number % TURNS)  # so that they don't all end at once
        killed = replaced = None
        dying = False
        memory: dict[int, dict[int, float]] = {}  # of each worker, after so many answers
        # On a busy machine it goes on until there is something to measure.
        while (now := time.perf_counter()) < began + seconds + (0 if memory else PATIENCE):
            client.receive()
            answers = len(client.seconds)
            if killed is None and answers >= KILL_AFTER:
                old = workers_of(server)
                victim = old[max(old)]
                kept = set().union(*(ports_of(old[pid]) for pid in old if pid != victim.pid))
                ports = client.ports - kept
                victim.kill()
                killed, before = time.perf_counter(), answers
                dying = True
            elif dying:
                # Until all of it is gone, the system goes on to give it new connections.
                ports |= client.ports - kept
                dying = psutil.pid_exists(victim.pid)
            elif killed and replaced is None and now > looked + 0.05:
                looked = now
                workers = workers_of(server)
                if any(ports_of(workers[pid]) for pid in workers.keys() - old.keys()):
                    replaced, meanwhile, new = now - killed, answers - before, answers
            # The new worker first has to warm up: each of its threads takes some memory.
            if (not memory and replaced and answers >= new + FIRST) or (
                len(memory) == 1 and answers >= LAST
            ):
                memory[answers] = memory_of(server)
        took, lost = time.perf_counter() - began, client.lost
        if replaced is None or not memory:
            return [f"no new worker came in {seconds:.0f} s" if killed else f"{answers} answers"]
        if len(memory) == 1:
            memory[answers] = memory_of(server)

        client.lost, under_way = [], client.under_way
        server.terminate()
        while client.under_way and time.perf_counter() < began + took + PATIENCE:
            client.receive(asks_on=False)
        status = server.wait(PATIENCE)
        unanswered = client.under_way + len(client.lost)

    ordered = sorted(client.seconds[:answers])
    p50, p99, longest = (
        1000 * ordered[min(answers - 1, answers * p // 100)] for p in (50, 99, 100)
    )
    (first, earlier), (last, later) = memory.items()
    growth = sum(later.values()) / sum(earlier.values())
    limit = max(NEW_WORKER, 2 * start)
    not_its = [port for port in lost if port not in ports]
    print(f"load: {answers:,} answers in {took:.0f} s over {CONNECTIONS} connections")
    print(f"load: {client.later:,} times the answer was to try again later")
    print(f"load: p50 {p50:.0f} ms, p99 {p99:.0f} ms, longest {longest:.0f} ms")
    print(f"kill: {len(lost)} requests lost, of {len(ports)} that the worker had")
    print(f"kill: a new worker after {replaced:.1f} s; {meanwhile:,} answers meanwhile")
    print(f"memory: {shown(earlier)} after {first:,} answers, {shown(later)} after {last:,}")
    if last < LAST:
        print(
            f"memory: {LAST:,} don't fit into {seconds:.0f} s here, so this is the memory at the end"
        )
    print(f"stop: {under_way - unanswered} of {under_way} requests in progress were answered")
    promises = {
        f"{len(client.wrong)} answers were wrong, such as {client.wrong[:1]}": not client.wrong,
        f"{client.later:,} requests were told to try again": client.later <= MOST_LATER * answers,
        f"{len(not_its)} requests were lost that the killed worker did not have": not not_its,
        f"a new worker took {replaced:.1f} s, and {limit:.1f} s are promised": replaced <= limit,
        "the other worker did not serve meanwhile": meanwhile > 0,
        f"the workers' memory grew to {growth:.2f} times what it was": growth <= MORE_MEMORY,
        f"the end lost {unanswered} of {under_way} requests": not unanswered,
        f"the server ended with {status}": status == 0,
    }
    return [sentence for sentence, held in promises.items() if not held]


def shown(memory: dict[int, float]) -> str:
    return " and ".join(f"{each:.1f} MB" for each in memory.values())


def main() -> int:
    """Run, tell, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60, help="how long the load lasts")
    options = parser.parse_args()
    try:
        broken = run(options.seconds)
    except (LoadError, OSError) as error:
        broken = [f"the server does not serve ({error})"]
    for sentence in broken:
        print(f"BROKEN: {sentence}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
