"""Serves the gallery, a single stage's app and the apps that notebooks start, all with granian.

Flask's development server isn't meant for production. granian runs on Windows, macOS and Linux. Each worker
is a process that answers many requests in parallel; workers share only files.
"""

import contextlib
import json
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from workshop.core.build import where
from workshop.core.errors import WorkshopError
from workshop.core.own_apps import OwnApp, find_app
from workshop.core.stages import Stage, require_app
from workshop.host.end_with_parent import follow
from workshop.host.guard import (
    Application,
    StartResponse,
    behind_proxies,
    threads,
    trusted_proxies,
)
from workshop.host.network import reachable, trusted_names, url_of
from workshop.host.ports import require_port, status_of

LOGS = Path(__file__).with_name("logs.json")

SERVED = "WORKSHOP_SERVED"  # the variable that tells a worker which stage to serve

STDOUT = 1
MOMENT = "%Y-%m-%d %H:%M:%S%z"  # as in logs.json

ONE_WORKER = os.name == "nt"  # on Windows, granian can't share a port between processes
HEADER_LIMIT = 5  # seconds for a request's headers, so that a slow client can't delay the stop
HEADER_SIZE = 64 * 1024  # bytes for the headers, many times what browsers send
STOP_LIMIT = 10  # seconds for open requests to finish once the server is asked to stop


class OneLine(logging.Formatter):
    """Formats each event as one line, even if a client put control characters into its address."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return one_line(super().formatMessage(record))


def one_line(text: str) -> str:
    """Escape control characters, so that a request for `/%0A...` can't forge a line in the log."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class NewsFilter(logging.Filter):
    """Drops two of granian's messages: the address, which comes too early, and a warning about threads."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith(("Listening at", "Configuration allows"))


def log_requests(application: Application) -> Application:
    """Print a line for each request before its response is sent.

    granian's own request log prints it after the response. There it competes with the client's next request
    for Python's lock, which costs as much as a whole request to a small app.
    """

    def answer(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        began, code = time.perf_counter(), "500"  # granian's answer to an exception
        # The query string is left out on purpose: in stage 05 it contains a person's age and income.
        asked = '{REMOTE_ADDR} "{REQUEST_METHOD} {PATH_INFO}"'.format_map(environ)

        def start(status: str, *more: Any) -> Any:
            nonlocal code
            code = status[:3]
            return start_response(status, *more)

        try:
            return application(environ, start)
        finally:
            took = (time.perf_counter() - began) * 1000  # milliseconds
            line = f"{time.strftime(MOMENT)} INFO    {asked} {code} {took:.1f} ms"
            with contextlib.suppress(OSError):  # the log's pipe is closed, or its disk is full
                os.write(STDOUT, f"{one_line(line)}\n".encode())

    return answer


def run(
    target: str, host: str, port: int, workers: int = 1, tell: tuple[str, str] | None = None
) -> None:
    """Serve the application factory `target` (`module:function`) until Ctrl-C or SIGTERM.

    With `tell`, a URL and some text, dead workers are replaced, and the text is printed once the URL
    answers. Raises SystemExit if a worker doesn't start.
    """
    from granian import Granian
    from granian.constants import HTTPModes, Interfaces
    from granian.http import HTTP1Settings

    server = Granian(
        target,
        address=host,
        port=port,
        interface=Interfaces.WSGI,
        http=HTTPModes.http1,
        websockets=False,
        factory=True,
        workers=workers,
        blocking_threads=threads(),
        http1_settings=HTTP1Settings(
            header_read_timeout=HEADER_LIMIT * 1000,  # milliseconds
            max_buffer_size=HEADER_SIZE,
        ),
        log_dictconfig=json.loads(LOGS.read_text(encoding="utf-8")),
        respawn_failed_workers=tell is not None,
        workers_kill_timeout=STOP_LIMIT,
    )
    if tell:
        server.on_startup(threading.Thread(target=announce, args=tell, daemon=True).start)
    server.serve()


def announce(url: str, text: str) -> None:
    """Print `text` as soon as `url` answers."""
    time.sleep(0.2)  # on Linux, granian forks its workers, and this thread must be idle meanwhile
    while status_of(url) is None:
        time.sleep(0.05)
    click.echo(text)


def end_with_main_process() -> None:
    """Make sure that this worker stops when it should. Its factory calls this first."""
    # On Linux, a worker inherits the signal handlers of granian's main process. Until it installs its own,
    # which can take seconds, they would ignore the signal to stop.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if hasattr(signal, "pthread_sigmask"):
        # A terminal sends Ctrl-C to the workers as well. The main process stops them anyway, and after two
        # signals at the same time, one of granian's workers may wait forever.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    if main := multiprocessing.parent_process():
        follow(main.pid)  # if the main process is killed, it can't stop its workers


def create_app() -> Application:
    """The factory that each worker calls: it returns the served stage's app."""
    end_with_main_process()
    from workshop.host.mount import Mount  # here, so that the main process doesn't import Flask

    stage = find_app(os.environ[SERVED])
    if isinstance(stage, OwnApp):
        os.chdir(stage.folder)  # so that relative paths work as with `flask run`
    return behind_proxies(Mount(stage))


def create_app_or_say_why() -> Application:
    """The factory for a server in a terminal: if the app doesn't start, the log says why in one line."""
    try:
        return log_requests(create_app())
    except Exception as error:  # a learner's code may raise anything
        folder = find_app(os.environ[SERVED]).folder
        reason = str(error) if isinstance(error, WorkshopError) else where(error, folder)
        logging.getLogger(__name__).error(
            "The app doesn't start. %s: fix that, save the file, and run the same command again",
            reason,
        )
        raise SystemExit(1) from error


def served(stage: Stage | OwnApp, host: str) -> dict[str, str]:
    """The environment variables that tell workers what to serve on `host`."""
    return {SERVED: stage.slug, "FLASK_DEBUG": "0", **trusted_names(host)}


def serve_stage(
    stage: Stage | OwnApp, host: str, port: int | None, workers: int, tell: str
) -> None:
    """Serve a stage, or a learner's own app, until Ctrl-C or SIGTERM.

    `tell` is printed once the app answers; `{url}` and `{workers}` in it are filled in. Raises
    `WorkshopError` if the stage has no app, the port is in use, or a variable has no valid value.
    """
    require_app(stage)
    port = port or stage.port
    require_port(port, "--port", host)
    trusted_proxies()  # here rather than in each worker
    if workers > 1 and ONE_WORKER:
        click.echo("On Windows, granian can run only one worker, so this command starts one.")
        workers = 1
    os.environ |= served(stage, host)
    asked = "1 worker" if workers == 1 else f"{workers} workers"
    url = url_of(reachable(host), port)
    tell = tell.format(url=url, workers=asked)
    run("workshop.host.server:create_app_or_say_why", host, port, workers, (url, tell))


if __name__ == "__main__":
    run(sys.argv[1], sys.argv[2], int(sys.argv[3]))
