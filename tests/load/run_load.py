"""Load `serve 05 --workers 2` over 256 connections, kill one worker, and stop the server under load.

    python tests/load/run_load.py [--seconds 60]

Serves a copy of stage 05 on a free port, trains a model there if there is none, and prints what it measures.
Exits with 1, and a sentence for each, if one of these promises is broken:

- Every answer is right, except for the requests that the killed worker had, or that were waiting for it. At
  most one answer in twenty is "try again later": all requests come from one address, which gets only its
  share of the threads.
- While a worker is replaced, the other one serves. The new one answers within 2 seconds, or within twice the
  time that the server took to start, if that is longer.
- After 100,000 requests, the workers have at most 1.1 times the memory they had when the new one had been
  there for 10,000. If the time is too short for that many, memory is measured at the end.
- A request sent before the server is told to stop is answered.
"""

import argparse
import asyncio
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from workshop.host.ports import free_port, status_of
from workshop.setup.process import ROOT

CONNECTIONS = 256
TURNS = (
    25  # requests over one connection, before another one is opened, so that every worker gets some
)
WORKERS = 2
FIRST = 10_000  # requests from the new worker's first one to the first measurement of memory
LAST = 100_000  # requests in all before the last one
MORE_MEMORY = 1.1
MOST_LATER = 0.05  # of all answers
NEW_WORKER = 2.0  # seconds
KILL_AFTER = 3_000  # requests
PATIENCE = 60  # seconds
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
LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")


class LoadError(Exception):
    """There is nothing to measure."""


class Client:
    """Many connections, each of which sends its next request as soon as it has an answer."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.seconds: list[float] = []  # of each right answer
        self.later = 0  # answers that said to try again later
        self.wrong: list[str] = []  # other answers
        # The port of each connection that ended without an answer, and when it was opened
        self.lost: list[tuple[int, float]] = []
        self.ports: set[int] = set()  # of connections that wait for an answer
        self.stopping = False

    async def ask(self, turns: int) -> None:
        """Send requests over one connection after another. When stopping, wait for the last answer."""
        while not self.stopping:
            opened = time.perf_counter()
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            port = writer.get_extra_info("sockname")[1]
            self.ports.add(port)
            try:
                while turns and not self.stopping:
                    turns -= 1
                    began = time.perf_counter()
                    writer.write(REQUEST)
                    head = await reader.readuntil(b"\r\n\r\n")
                    body = await reader.readexactly(int(LENGTH.search(head)[1]))
                    self.count(head, body, time.perf_counter() - began)
            except (ConnectionError, asyncio.IncompleteReadError):
                self.lost.append((port, opened))
            self.ports.remove(port)
            writer.close()
            turns = TURNS

    def count(self, head: bytes, body: bytes, seconds: float) -> None:
        """Count an answer."""
        if head.startswith(b"HTTP/1.1 200 ") and b'"probability":' in body:
            self.seconds.append(seconds)
        elif head.startswith(b"HTTP/1.1 503 ") and b"\r\nretry-after: " in head:
            self.later += 1
        else:
            self.wrong.append((head + body)[:200].decode("utf-8", "replace"))


@contextlib.contextmanager
def served(folder: Path) -> Iterator[tuple[psutil.Process, int, float]]:
    """Serve a new copy of stage 05; yield its main process, its port, and the seconds it took to start."""
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
                raise LoadError(f"the server doesn't answer: {log.read_text()[-500:]}")
            time.sleep(0.02)
        yield process, port, time.perf_counter() - began
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            for each in [*process.children(recursive=True), process]:
                each.kill()
        process.wait()


def workers_of(process: psutil.Process) -> dict[int, psutil.Process]:
    """Return the workers that are running, by their process ids."""
    return {
        child.pid: child
        for child in process.children()
        if child.is_running() and child.status() != psutil.STATUS_ZOMBIE
    }


def ports_of(worker: psutil.Process) -> set[int]:
    """Return the clients' ports of a worker's connections."""
    return {connection.raddr.port for connection in worker.net_connections() if connection.raddr}


def memory_of(process: psutil.Process) -> dict[int, float]:
    """Return the megabytes of each worker."""
    return {pid: worker.memory_info().rss / 1e6 for pid, worker in workers_of(process).items()}


async def until(happened: Callable[[], bool], problem: str, seconds: float = PATIENCE) -> None:
    """Wait until something has happened. Raises LoadError with the problem if it takes too long."""
    limit = time.perf_counter() + seconds
    while not happened():
        if time.perf_counter() > limit:
            raise LoadError(f"{problem} in {seconds:.0f} s")
        await asyncio.sleep(0.05)


async def run(seconds: float, server: psutil.Process, port: int, start: float) -> list[str]:
    """Load the server and print the measurements. Return a sentence for each broken promise."""
    client = Client(port)
    began = time.perf_counter()
    # They start with different numbers of turns, so that they don't all reconnect at the same time.
    asking = [asyncio.create_task(client.ask(TURNS - i % TURNS)) for i in range(CONNECTIONS)]
    await until(lambda: len(client.seconds) >= KILL_AFTER, f"fewer than {KILL_AFTER:,} answers")

    old = workers_of(server)
    victim = old[max(old)]
    kept = set().union(*(ports_of(old[pid]) for pid in old if pid != victim.pid))
    had = len(client.ports - kept)
    victim.kill()
    killed, before = time.perf_counter(), len(client.seconds)
    await until(lambda: not psutil.pid_exists(victim.pid), "the killed worker didn't end")
    gone = time.perf_counter()  # until then, the system may have given it new connections

    def is_replaced() -> bool:
        workers = workers_of(server)
        return any(ports_of(workers[pid]) for pid in workers.keys() - old.keys())

    await until(is_replaced, "no new worker came")
    replaced, new = time.perf_counter() - killed, len(client.seconds)
    # Each thread of the new worker takes some memory when it starts, so let it warm up.
    await until(lambda: len(client.seconds) >= new + FIRST, "too few answers", seconds + PATIENCE)
    first, earlier = len(client.seconds), memory_of(server)
    while len(client.seconds) < LAST and time.perf_counter() < began + seconds:
        await asyncio.sleep(0.05)
    last, later = len(client.seconds), memory_of(server)
    while time.perf_counter() < began + seconds:
        await asyncio.sleep(0.05)

    took, answers, lost = time.perf_counter() - began, len(client.seconds), len(client.lost)
    in_progress, client.stopping = len(client.ports), True
    server.terminate()
    ended, waiting = await asyncio.wait(asking, timeout=PATIENCE)
    # Connections that were just being opened may be refused now.
    errors = [task.exception() for task in ended]
    unexpected = [each for each in errors if each and not isinstance(each, ConnectionError)]
    unanswered = len(waiting) + len(client.lost) - lost
    status = await asyncio.to_thread(server.wait, PATIENCE)

    ordered = sorted(client.seconds[:answers])
    p50, p99 = (1000 * ordered[answers * p // 100] for p in (50, 99))
    growth = sum(later.values()) / sum(earlier.values())
    limit = max(NEW_WORKER, 2 * start)
    others = [port for port, opened in client.lost[:lost] if port in kept or opened > gone]
    print(f"load: {answers:,} answers in {took:.0f} s over {CONNECTIONS} connections")
    print(f"load: {client.later:,} answers were to try again later")
    print(f"load: p50 {p50:.0f} ms, p99 {p99:.0f} ms, longest {1000 * ordered[-1]:.0f} ms")
    print(f"kill: {lost} requests lost, of the {had} that the worker had")
    print(f"kill: a new worker after {replaced:.1f} s; {new - before:,} answers meanwhile")
    print(f"memory: {shown(earlier)} after {first:,} answers, {shown(later)} after {last:,}")
    if last < LAST:
        print(f"memory: measured at the end, because {seconds:.0f} s are too short for {LAST:,}")
    print(f"stop: {in_progress - unanswered} of {in_progress} requests in progress were answered")
    promises = {
        f"{len(client.wrong)} answers were wrong, such as {client.wrong[:1]}": not client.wrong,
        f"{client.later:,} requests were told to try again": client.later <= MOST_LATER * answers,
        f"{len(others)} requests were lost that the killed worker did not have": not others,
        f"a new worker took {replaced:.1f} s, longer than {limit:.1f} s": replaced <= limit,
        "the other worker did not serve meanwhile": new > before,
        f"the workers' memory grew to {growth:.2f} times what it was": growth <= MORE_MEMORY,
        f"the stop lost {unanswered} of {in_progress} requests": not unanswered,
        f"the client failed: {unexpected[:1]}": not unexpected,
        f"the server's exit status is {status}": status == 0,
    }
    return [sentence for sentence, is_kept in promises.items() if not is_kept]


def shown(memory: dict[int, float]) -> str:
    return " and ".join(f"{each:.1f} MB" for each in memory.values())


def main() -> int:
    """Return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60, help="how long the load lasts")
    options = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory() as folder, served(Path(folder)) as served_app:
            broken = asyncio.run(run(options.seconds, *served_app))
    except (LoadError, OSError) as error:
        broken = [f"the server doesn't serve: {error}"]
    for sentence in broken:
        print(f"BROKEN: {sentence}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
