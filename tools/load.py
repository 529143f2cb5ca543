"""Load `serve 05 --workers 2` over 256 connections, kill one worker, and stop the server under load.

    python tools/load.py [--seconds 60]

Trains a copy of stage 05, serves it, and prints what it measures. Exits with 1 if a promise is broken:

- Every answer is right, except for the requests that the killed worker had, or that were waiting for it. At
  most one answer in twenty is "try again later": all requests come from one address, which gets only its
  share of the threads.
- While a worker is replaced, the other one serves. The new one answers within 2 seconds, or within twice the
  time that the server took to start, if that is longer.
- At the end, the workers have at most 1.1 times the memory they had 10,000 requests after the new one came.
- A request sent before the server is told to stop is answered.
"""

import argparse
import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from workshop.core.errors import WorkshopError
from workshop.core.stages import BASE
from workshop.host.background import Server
from workshop.host.ports import free_port
from workshop.learn.exercises.census_data import PERSON
from workshop.setup.process import ROOT

CONNECTIONS = 256
TURNS = 25  # requests over one connection, before another is opened, so that every worker gets some
WORKERS = 2
WARM = 10_000  # requests after which the new worker has all the memory it needs
MORE_MEMORY = 1.1
MOST_LATER = 0.05  # of all answers
NEW_WORKER = 2.0  # seconds
KILL_AFTER = 3_000  # requests
PATIENCE = 60  # seconds
BODY = json.dumps(PERSON)
REQUEST = (
    "POST /api/v1/predictions HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    f"Content-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n{BODY}"
).encode()
LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")


class Client:
    """Many connections, each of which sends its next request as soon as it has an answer."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.seconds: list[float] = []  # of each right answer
        self.later = 0  # answers that said to try again later
        self.wrong: list[bytes] = []  # other answers
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
                    if head.startswith(b"HTTP/1.1 200 ") and b'"probability":' in body:
                        self.seconds.append(time.perf_counter() - began)
                    elif head.startswith(b"HTTP/1.1 503 ") and b"\r\nretry-after: " in head:
                        self.later += 1
                    else:
                        self.wrong.append((head + body)[:200])
            except (ConnectionError, asyncio.IncompleteReadError):
                self.lost.append((port, opened))
            self.ports.remove(port)
            writer.close()
            turns = TURNS


def workers_of(server: psutil.Process) -> dict[int, psutil.Process]:
    """Return the workers that are running, by their process ids."""
    return {
        child.pid: child
        for child in server.children()
        if child.is_running() and child.status() != psutil.STATUS_ZOMBIE
    }


def ports_of(workers: list[psutil.Process]) -> set[int]:
    """Return the clients' ports of the workers' connections."""
    return {each.raddr.port for one in workers for each in one.net_connections() if each.raddr}


def memory_of(server: psutil.Process) -> float:
    """Return the megabytes of all workers."""
    return sum(worker.memory_info().rss / 1e6 for worker in workers_of(server).values())


async def until(happened: Callable[[], bool], problem: str, seconds: float = PATIENCE) -> None:
    """Wait until something has happened. Raises WorkshopError with the problem if it takes too long."""
    limit = time.perf_counter() + seconds
    while not happened():
        if time.perf_counter() > limit:
            raise WorkshopError(f"{problem} in {seconds:.0f} s")
        await asyncio.sleep(0.05)


async def run(
    seconds: float, process: subprocess.Popen, port: int, start: float
) -> dict[str, bool]:
    """Load the server. Return what was measured, with whether the promise about it was kept."""
    client, server, end = Client(port), psutil.Process(process.pid), time.perf_counter() + seconds
    await until(lambda: len(workers_of(server)) == WORKERS, "too few workers")
    # They start with different numbers of turns, so that they don't all reconnect at the same time.
    asking = [asyncio.create_task(client.ask(TURNS - i % TURNS)) for i in range(CONNECTIONS)]
    await until(lambda: len(client.seconds) >= KILL_AFTER, f"fewer than {KILL_AFTER:,} answers")

    old = workers_of(server)
    victim = old[max(old)]
    kept = ports_of([worker for worker in old.values() if worker != victim])
    victim.kill()
    killed, before = time.perf_counter(), len(client.seconds)
    await until(lambda: not psutil.pid_exists(victim.pid), "the killed worker didn't end")
    gone = time.perf_counter()  # until then, the system may have given it new connections

    def is_replaced() -> bool:
        return bool(ports_of([new for pid, new in workers_of(server).items() if pid not in old]))

    await until(is_replaced, "no new worker came")
    replaced, new = time.perf_counter() - killed, len(client.seconds)
    await until(lambda: len(client.seconds) >= new + WARM, "too few answers", seconds + PATIENCE)
    earlier = memory_of(server)
    await asyncio.sleep(max(0, end - time.perf_counter()))

    later, answers, lost = memory_of(server), len(client.seconds), len(client.lost)
    in_progress, client.stopping = len(client.ports), True
    server.terminate()
    ended, waiting = await asyncio.wait(asking, timeout=PATIENCE)
    # Connections that were just being opened may be refused now.
    errors = [task.exception() for task in ended]
    unexpected = [each for each in errors if each and not isinstance(each, ConnectionError)]
    unanswered = len(waiting) + len(client.lost) - lost
    status = await asyncio.to_thread(process.wait, PATIENCE)

    ordered = sorted(client.seconds)
    p50, p99 = (1000 * ordered[len(ordered) * p // 100] for p in (50, 99))
    limit = max(NEW_WORKER, 2 * start)
    others = [port for port, opened in client.lost[:lost] if port in kept or opened > gone]
    return {
        f"{answers:,} right answers, p50 {p50:.0f} ms, p99 {p99:.0f} ms": answers > 0,
        f"{len(client.wrong)} wrong answers {client.wrong[:1]}": not client.wrong,
        f"{client.later:,} requests told to try again": client.later <= MOST_LATER * answers,
        f"{lost} requests lost, {len(others)} of them not by the killed worker": not others,
        f"a new worker after {replaced:.1f} s, of at most {limit:.1f} s": replaced <= limit,
        f"{new - before:,} answers by the other one meanwhile": new > before,
        f"{earlier:.0f} MB warmed up, {later:.0f} MB at the end": later <= MORE_MEMORY * earlier,
        f"{unanswered} of {in_progress} requests lost at the stop": not unanswered,
        f"exit status {status}": status == 0,
        f"{len(unexpected)} errors of the client {unexpected[:1]}": not unexpected,
    }


def load(folder: Path, seconds: float) -> dict[str, bool]:
    """Serve a copy of stage 05 that is made in `folder`, and load it."""
    ignored = shutil.ignore_patterns("__pycache__", "model")
    shutil.copytree(ROOT / "apps" / "05_census", folder / "apps" / "05_census", ignore=ignored)
    train, work = [sys.executable, "-m", "workshop", "train", "05"], {BASE: str(folder)}
    subprocess.run(train, cwd=ROOT, env=os.environ | work, check=True, stdout=subprocess.DEVNULL)
    port = free_port()
    command = ["workshop", "serve", "05", "--port", port, "--workers", WORKERS]
    began = time.perf_counter()
    with Server("serve 05", command, f"http://127.0.0.1:{port}", work) as server:
        server.wait_until_ready()
        return asyncio.run(run(seconds, server.process, port, time.perf_counter() - began))


def main() -> int:
    """Return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60, help="how long the load lasts")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measured = load(Path(folder), options.seconds)
    for sentence, is_kept in measured.items():
        print(f"{'kept' if is_kept else 'BROKEN'}: {sentence}")
    return 0 if all(measured.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
