"""One way to serve: granian, for the gallery, for one stage's app, and for the apps that notebooks start.

Flask's own server is for trying things out: it says so itself. granian runs on Windows, macOS and Linux. It
answers many requests at once in each worker, and its workers share nothing but files.
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
from workshop.host.guard import Application, StartResponse, behind_proxies, threads
from workshop.host.network import reachable, trusted_names, url_of
from workshop.host.ports import require_port, status_of

LOGS = Path(__file__).with_name("logs.json")

SERVED = "WORKSHOP_SERVED"  # the variable that tells a worker which stage it serves

STDOUT = 1
MOMENT = "%Y-%m-%d %H:%M:%S%z"  # as in logs.json

ONE_WORKER = os.name == "nt"  # where granian can't share a port between processes
# Seconds a client has for a request's first lines; a slow one must not hold up the end.
HEADER_LIMIT = 5
HEADER_SIZE = 64 * 1024  # bytes those lines may have, many times what browsers send
STOP_LIMIT = 10  # seconds that requests have to finish once the server is asked to stop


class OneLine(logging.Formatter):
    """One line for each event, whatever a client put into its address: see `one_line`."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return one_line(super().formatMessage(record))


def one_line(text: str) -> str:
    """Spell out control characters.

    Otherwise a request for `/%0A...` could write a line of its own into the log, or color the terminal.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class NewsFilter(logging.Filter):
    """Drops two lines of granian's: it says where it listens before anything answers there, and it takes
    many threads for a mistake.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith(("Listening at", "Configuration allows"))


def log_requests(application: Application) -> Application:
    """Print a line for each request before its answer is sent.

    granian's own log of requests comes after that. Then the client's next request competes with it for
    Python's lock, which costs as much as a whole request to a small app.
    """

    def answer(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        began, code = time.perf_counter(), "500"  # granian's answer to an exception
        # The query string is left out on purpose: in stage 05 it says how old somebody is and what they earn.
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
            with contextlib.suppress(OSError):  # nobody reads the log any more, or its disk is full
                os.write(STDOUT, f"{one_line(line)}\n".encode())

    return answer


def run(
    target: str, host: str, port: int, workers: int = 1, tell: tuple[str, str] | None = None
) -> None:
    """Serve the application factory `target` (`module:function`) until Ctrl-C or SIGTERM.

    With `tell`, a URL and some text, a worker that dies is replaced, and the text is printed once the URL
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
    """Print `text` as soon as something answers at `url`."""
    time.sleep(
        0.2
    )  # on Linux, this process forks its workers, and this thread must not be busy then
    while status_of(url) is None:
        time.sleep(0.05)
    click.echo(text)


def end_with_main_process() -> None:
    """Make sure that this worker ends when it should. Its factory calls it before anything else."""
    # On Linux a worker begins with the signal handlers of granian's main process. Until it has its own,
    # they would swallow the signal to end, and imports can take seconds.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if hasattr(signal, "pthread_sigmask"):
        # A terminal sends Ctrl-C to the workers as well. The main process ends them anyway, and two
        # signals at the same time can leave one of granian's workers waiting forever.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    if main := multiprocessing.parent_process():
        follow(main.pid)  # a main process that is killed can't end its workers


def create_app() -> Application:
    """What each worker calls: the app of the stage that is served."""
    end_with_main_process()
    from workshop.host.mount import Mount  # here, so that the main process goes without Flask

    stage = find_app(os.environ[SERVED])
    if isinstance(stage, OwnApp):
        os.chdir(stage.folder)  # where it finds its files by their names, as with `flask run`
    return behind_proxies(Mount(stage))


def create_app_or_say_why() -> Application:
    """The same for somebody at a terminal: an app that does not start is one line in the log."""
    try:
        return log_requests(create_app())
    except Exception as error:  # whatever the code of a learner raises
        folder = find_app(os.environ[SERVED]).folder
        reason = str(error) if isinstance(error, WorkshopError) else where(error, folder)
        logging.getLogger(__name__).error(
            "The app does not start. %s: fix that, save the file, and run the same command again",
            reason,
        )
        raise SystemExit(1) from error


def served(stage: Stage | OwnApp, host: str) -> dict[str, str]:
    """The variables that tell workers what to serve, where the server listens on `host`."""
    return {SERVED: stage.slug, "FLASK_DEBUG": "0", **trusted_names(host)}


def serve_stage(
    stage: Stage | OwnApp, host: str, port: int | None, workers: int, tell: str
) -> None:
    """Serve a stage, or an app of a learner's own, until Ctrl-C or SIGTERM.

    `tell` is printed once the app answers, with its address for `{url}` and `{workers}`. Raises
    `WorkshopError` if the stage has no app or the port is taken.
    """
    require_app(stage)
    port = port or stage.port
    require_port(port, "--port", host)
    if workers > 1 and ONE_WORKER:
        click.echo(
            "On Windows granian runs one worker, and so does this; its threads share the work."
        )
        workers = 1
    os.environ |= served(stage, host)
    asked = "1 worker" if workers == 1 else f"{workers} workers"
    url = url_of(reachable(host), port)
    tell = tell.format(url=url, workers=asked)
    run("workshop.host.server:create_app_or_say_why", host, port, workers, (url, tell))


if __name__ == "__main__":
    run(sys.argv[1], sys.argv[2], int(sys.argv[3]))
