"""A stage's app as in production: `python3 -m workshop serve STAGE`.

Flask's own server is for trying things out: it says so itself. Here granian runs the app, on Windows, macOS
and Linux: several requests at once in each worker, workers that share nothing but files, a line in the log
for each request, and an end that lets requests finish. The gallery runs on the same server.
"""

import logging
import multiprocessing
import os
import signal
import sys
from pathlib import Path

import click
from flask import Flask

from workshop.bootstrap import replace_process
from workshop.databases import make_database
from workshop.leash import follow
from workshop.patience import Patience
from workshop.room import trusted_names
from workshop.running import require_app, require_port
from workshop.stages import Stage, load_app_module

LOGS = Path(__file__).with_name("logs.json")

SERVED = "WORKSHOP_SERVED"  # the variable that tells a worker which stage it serves

# The query string is left out on purpose: in stage 05 it says how old somebody is and what they earn.
ACCESS = '%(addr)s "%(method)s %(path)s" %(status)d %(dt_ms).1f ms'

ONE_WORKER = os.name == "nt"  # where granian can't share a port between processes
# Seconds a client has for a request's first lines; a slow one must not hold up the end.
HEADER_LIMIT = 5
HEADER_SIZE = 64 * 1024  # bytes those lines may have, many times what browsers send
# Of each worker. Python runs one at a time, so one computes while the other reads or writes; five of them
# answer a fifth fewer requests. More workers serve more people.
THREADS = 2
STOP_LIMIT = 10  # seconds that requests have to finish once the server is asked to stop


class OneLine(logging.Formatter):
    """One line for each event, whatever a client put into its address: control characters are spelled out.

    Else a request for `/%0A...` could write a line of its own into the log, or colour the terminal.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:
        line = super().formatMessage(record)
        if line.isprintable():
            return line
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def granian(app: str, host: str, port: int, threads: int = THREADS) -> list[object]:
    """The command line, after `python -m`, that serves the factory `app` (`module:function`) with granian."""
    return [
        *("granian", "--interface", "wsgi", "--http", "1", "--no-ws"),
        *("--factory", app, "--host", host, "--port", port),
        *("--blocking-threads", threads, "--log-config", LOGS),
        *("--http1-header-read-timeout", HEADER_LIMIT * 1000),  # milliseconds
        *("--http1-buffer-size", HEADER_SIZE),
        *("--workers-kill-timeout", STOP_LIMIT),
    ]


def create_app() -> Flask:
    """What each worker calls: the app of the stage that is served."""
    # On Linux a worker begins with the signal handlers of granian's main process. Until it has its own,
    # they would swallow the signal to end, and imports can take seconds.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if hasattr(signal, "pthread_sigmask"):
        # A terminal sends Ctrl-C to the workers as well. The main process ends them all the same, and two
        # signals at once can leave one of granian's workers waiting for ever.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    if main := multiprocessing.parent_process():
        follow(main.pid)  # a main process that is killed can't end its workers
    app = load_app_module(os.environ[SERVED]).create_app()
    app.wsgi_app = Patience(app.wsgi_app, THREADS)
    return app


def serve(stage: Stage, host: str, port: int | None, workers: int) -> int:
    """Serve a stage until Ctrl-C or SIGTERM, in place of this process; its exit code where that can't be.

    A worker that dies is replaced. Raises `WorkshopError` if the stage has no app or the port is taken.
    """
    require_app(stage)
    port = port or stage.port
    require_port(port, "--port", host)
    if stage.database:
        click.echo(make_database(stage))
    if workers > 1 and ONE_WORKER:
        click.echo(
            "On Windows granian runs one worker, and so does this; its threads share the work."
        )
        workers = 1
    shown = f"[{host}]" if ":" in host else host
    asked = "1 worker" if workers == 1 else f"{workers} workers"
    click.echo(f"Serving {stage.slug} at http://{shown}:{port}/ with {asked}; Ctrl-C ends it.")
    os.environ |= {SERVED: stage.slug, "FLASK_DEBUG": "0"} | trusted_names(host)
    command = [
        *granian("workshop.production:create_app", host, port),
        *("--workers", workers, "--respawn-failed-workers"),
        *("--access-log", "--access-log-fmt", ACCESS),
    ]
    return replace_process([sys.executable, "-m", *map(str, command)])
