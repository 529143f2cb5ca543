"""Runs servers as separate processes, and always stops them.

Notebooks use `serve`; `workshop start` uses the same `Server` for the gallery and JupyterLab.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

from workshop.core.errors import ServerDied
from workshop.core.own_apps import OwnApp, find_app
from workshop.core.stages import require_app
from workshop.host.end_with_parent import end_tree
from workshop.host.ports import free_port, status_of
from workshop.host.server import served
from workshop.setup.mirror import bypass_proxies_here
from workshop.setup.process import ROOT

START_LIMIT = 60.0  # seconds; a cold laptop imports scikit-learn in about ten
STOP_LIMIT = 10.0


def granian(target: str, host: str, port: int) -> list[object]:
    """The command line, after `python -m`, that serves the factory `target` (`module:function`)."""
    return ["workshop.host.server", target, host, port]


class Server:
    """Runs `python -m MODULE ARGS` as a server at `url`, which stops with this process.

    Use it as a context manager: the server has stopped when the block ends. If this process is killed,
    `workshop.host.end_with_parent` stops the server.
    """

    def __init__(
        self, name: str, command: Sequence[object], url: str, environ: dict[str, str] | None = None
    ):
        self.name = name
        self.command = [sys.executable, "-m", "workshop.host.end_with_parent", *map(str, command)]
        self.url = url.rstrip("/")
        self.environ = environ or {}

    def __enter__(self) -> Self:
        bypass_proxies_here()  # `start` does this too, but a notebook may run without it
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.log = Path(self.folder.name, "log")
        with self.log.open("ab") as written:
            self.process = subprocess.Popen(
                self.command,
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=written,
                stderr=subprocess.STDOUT,
                env=os.environ | {"PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1"} | self.environ,
                # A separate process group, so that Ctrl-C reaches only us and we stop everything in order.
                start_new_session=os.name == "posix",
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            )
        self.news = self.log.open(encoding="utf-8", errors="replace")
        return self

    def wait_until_ready(self) -> Self:
        """Return once the server answers. Raises `ServerDied`, with the end of its log, if it doesn't."""
        deadline = time.monotonic() + START_LIMIT
        while True:
            answered = status_of(f"{self.url}/") is not None
            self.require_running("stopped unexpectedly")  # or another server has answered
            if answered:
                return self
            if time.monotonic() > deadline:
                raise self.died(f"didn't answer within {START_LIMIT:.0f} seconds")
            time.sleep(0.05)

    def require_running(self, what: str) -> None:
        """Raise `ServerDied` if the process has ended; its message says `what` the server did."""
        if not self.is_running():
            raise self.died(what)

    def died(self, what: str) -> ServerDied:
        return ServerDied(f"{self.name} {what}. Its log ends with:\n{self.log_end()}")

    def log_end(self, lines: int = 20) -> str:
        """The last lines that the server printed."""
        return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-lines:])

    def log_news(self) -> str:
        """What the server has printed since the last call."""
        return self.news.read()

    def is_running(self) -> bool:
        return self.process.poll() is None

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self.process.stdin.close()  # tells `end_with_parent` to stop the server
        if os.name == "posix":  # Windows has no gentle way
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_LIMIT)
        end_tree(self.process.pid)
        self.process.wait()
        self.news.close()
        self.folder.cleanup()


@contextlib.contextmanager
def serve(stage: str | int) -> Iterator[str]:
    """Run a stage's app, or your own, as a process: `with serve("iris") as url:` gives its base URL.

    The app listens on a free port, for this machine only. It's ready when the block begins, and has stopped
    when the block ends. Raises `ServerDied`, with the end of its log, if the app doesn't start.
    """
    with running_app(stage) as server:
        yield server.url


@contextlib.contextmanager
def running_app(stage: str | int) -> Iterator[Server]:
    """Like `serve`, but gives the `Server`, whose log you can read."""
    found = find_app(stage)
    require_app(found)
    port = free_port()
    command = granian("workshop.host.server:create_app", "127.0.0.1", port)
    name = f"the app {'' if isinstance(found, OwnApp) else 'of stage '}{found.slug}"
    environ = served(found, "127.0.0.1")
    with Server(name, command, f"http://127.0.0.1:{port}", environ) as server:
        server.wait_until_ready()
        try:
            yield server
        except OSError:
            # A request was cut off. A crashing app closes its connections before its process ends, and
            # granian notices only a moment later.
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.process.wait(3)
            server.require_running("stopped while you used it")
            raise
        server.require_running("stopped while you used it")
