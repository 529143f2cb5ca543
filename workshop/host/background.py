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

from workshop.core.build import make_database
from workshop.core.errors import ServerDied
from workshop.core.own_apps import OwnApp, find_app
from workshop.core.stages import require_app
from workshop.host.end_with_parent import end_tree
from workshop.host.ports import free_port, status_of
from workshop.host.server import served
from workshop.setup.process import ROOT

START_LIMIT = 60.0  # seconds; a cold laptop imports scikit-learn in about ten
STOP_LIMIT = 10.0


def granian(target: str, host: str, port: int) -> list[object]:
    """The command line, after `python -m`, that serves the factory `target` (`module:function`)."""
    return ["workshop.host.server", target, host, port]


class Server:
    """`python -m MODULE ARGS` as a server at `url`, on a leash (see `workshop.host.end_with_parent`).

    Use it as a context manager: it has answered once when the block begins, and is gone when it ends.
    Raises `ServerDied`, with the end of its log, if it does not come up.
    """

    def __init__(
        self, name: str, command: Sequence[object], url: str, environ: dict[str, str] | None = None
    ):
        self.name = name
        self.command = [sys.executable, "-m", "workshop.host.end_with_parent", *map(str, command)]
        self.url = url.rstrip("/")
        self.environ = environ or {}

    def __enter__(self) -> Self:
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        log = Path(self.folder.name, "log")
        with log.open("ab") as written:
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
        self.log = log.open("rb")
        self.told = 0
        return self

    def wait_until_ready(self) -> Self:
        """Return when the server answers its first request."""
        deadline = time.monotonic() + START_LIMIT
        while status_of(self.url + "/") is None:
            if self.process.poll() is not None:
                raise ServerDied(
                    f"{self.name} stopped by itself. Its log ends with:\n{self.log_end()}"
                )
            if time.monotonic() > deadline:
                raise ServerDied(
                    f"{self.name} did not answer within {START_LIMIT:.0f} seconds. "
                    f"Its log ends with:\n{self.log_end()}"
                )
            time.sleep(0.05)
        if self.process.poll() is not None:
            raise ServerDied(f"{self.name} stopped by itself. Its log ends with:\n{self.log_end()}")
        return self

    def log_end(self, lines: int = 20) -> str:
        """The last lines of what the server printed."""
        self.log.seek(0)
        return "\n".join(self.log.read().decode("utf-8", "replace").splitlines()[-lines:])

    def log_news(self) -> str:
        """What the server has printed since this was last asked."""
        self.log.seek(self.told)
        news = self.log.read()
        self.told += len(news)
        return news.decode("utf-8", "replace")

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
        self.log.close()
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
    if found.database:
        make_database(found)
    port = free_port()
    command = granian("workshop.host.server:create_app", "127.0.0.1", port)
    name, url = (
        f"the app {found.slug}" if isinstance(found, OwnApp) else f"the app of stage {found.slug}",
        f"http://127.0.0.1:{port}",
    )
    with Server(name, command, url, served(found, "127.0.0.1")) as server:
        server.wait_until_ready()
        trouble = None
        try:
            yield server
        except OSError as error:
            # A request that broke off: a dying app closes its connections a moment before it is gone, and
            # granian takes another moment to notice, which is longer on a busy machine.
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.process.wait(3)
            if server.is_running():
                raise
            trouble = error
        if not server.is_running():
            raise ServerDied(
                f"{server.name} stopped while you used it. Its log ends with:\n{server.log_end()}"
            ) from trouble
