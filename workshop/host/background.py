"""Servers as processes of their own: started, waited for, and always stopped.

`serve` is the helper for notebooks; `workshop start` uses the same `Server` for the gallery and JupyterLab.
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
    """`python -m MODULE ARGS` as a server at `url`, on a leash (see `workshop.host.end_with_parent`).

    Use it as a context manager: its process is gone when the block ends.
    """

    def __init__(
        self, name: str, command: Sequence[object], url: str, environ: dict[str, str] | None = None
    ):
        self.name = name
        self.command = [sys.executable, "-m", "workshop.host.end_with_parent", *map(str, command)]
        self.url = url.rstrip("/")
        self.environ = environ or {}

    def __enter__(self) -> Self:
        bypass_proxies_here()  # a notebook that another program has opened
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
                # A group of its own: Ctrl-C reaches us alone, and we end everything in order.
                start_new_session=os.name == "posix",
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            )
        self.news = self.log.open(encoding="utf-8", errors="replace")
        return self

    def wait_until_ready(self) -> Self:
        """Return once the server answers. Raises `ServerDied`, with the end of its log, if it never does."""
        deadline = time.monotonic() + START_LIMIT
        while True:
            answered = status_of(f"{self.url}/") is not None
            self.require_running("stopped by itself")  # or another server has answered
            if answered:
                return self
            if time.monotonic() > deadline:
                raise self.died(f"did not answer within {START_LIMIT:.0f} seconds")
            time.sleep(0.05)

    def require_running(self, what: str) -> None:
        """Raise `ServerDied`, which says `what` the server did, if its process has ended."""
        if not self.is_running():
            raise self.died(what)

    def died(self, what: str) -> ServerDied:
        return ServerDied(f"{self.name} {what}. Its log ends with:\n{self.log_end()}")

    def log_end(self, lines: int = 20) -> str:
        """The last lines of what the server printed."""
        return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-lines:])

    def log_news(self) -> str:
        """What the server has printed since this was last asked."""
        return self.news.read()

    def is_running(self) -> bool:
        return self.process.poll() is None

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self.process.stdin.close()  # letting go of the leash
        if os.name == "posix":  # elsewhere nothing can be asked to end gently
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_LIMIT)
        end_tree(self.process.pid)
        self.process.wait()
        self.news.close()
        self.folder.cleanup()


@contextlib.contextmanager
def serve(stage: str | int) -> Iterator[str]:
    """Run a stage's app, or your own, as a process, and give its base URL: `with serve("iris") as url:`.

    The app listens on a free port of this machine only, has answered once when the block begins, and is
    stopped when the block ends. Raises `ServerDied`, with the end of its log, if it does not come up.
    """
    with running_app(stage) as server:
        yield server.url


@contextlib.contextmanager
def running_app(stage: str | int) -> Iterator[Server]:
    """What `serve` runs, for those who also want to read its log."""
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
            # A request that broke off: a dying app closes its connections a moment before it is gone, and
            # granian takes another moment to notice, which is longer on a busy machine.
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.process.wait(3)
            server.require_running("stopped while you used it")
            raise
        server.require_running("stopped while you used it")
