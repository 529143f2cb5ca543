"""Servers as processes of their own: started, waited for, and always stopped.

`serve` is the helper for notebooks; `workshop start` uses the same `Server` for the gallery and JupyterLab.
"""

import contextlib
import errno
import hashlib
import http.client
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

from workshop.databases import make_database
from workshop.errors import WorkshopError
from workshop.leash import end_tree
from workshop.stages import ROOT, Stage, find_stage

START_LIMIT = 60.0  # seconds; a cold laptop imports scikit-learn in about ten
STOP_LIMIT = 10.0

FREE_PORTS = range(
    20_000, 32_768
)  # above the usual servers, below what any system gives to clients

# A proxy can't reach 127.0.0.1, so what the environment says of one is not for us.
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))

# The variable that tells a kernel which workshop it belongs to, for the doctor in a notebook.
GALLERY_URL = "WORKSHOP_URL"

# Tells this copy of the workshop from others without telling where it lies.
FOLDER = hashlib.sha256(os.fsencode(ROOT)).hexdigest()[:16]


class PortInUse(WorkshopError):
    """Another program listens on the port that is wanted."""


class ServerDied(WorkshopError):
    """A server ended by itself, or did not answer in time; the message ends with its log."""


def refusal(port: int, host: str = "127.0.0.1") -> OSError | None:
    """Why a server could not listen on `port` now, or None if it could."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        if os.name == "posix":
            # As servers do: a port whose last connections are still closing counts as free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error
    return None


def is_free(port: int) -> bool:
    """Whether a server could listen on `port` of this machine now."""
    return refusal(port) is None


def require_port(port: int, option: str, host: str = "127.0.0.1") -> None:
    """Raise `WorkshopError` if nothing can listen on `port`; `option` is what chooses another one."""
    error = refusal(port, host)
    if error is None:
        return
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        raise WorkshopError(
            f"This machine has no address {host}: leave --host out, "
            "or let the whole network in with --host 0.0.0.0."
        )
    if isinstance(error, PermissionError):
        raise WorkshopError(
            f"Port {port} is kept by the system: choose another port, such as {option} 8100."
        )
    raise PortInUse(
        f"Port {port} is in use by another program (perhaps a workshop that still runs): "
        f"end that one, or choose another port, such as {option} {another_port(port)}."
    )


def another_port(port: int) -> int:
    """A port to suggest in place of one that is in use."""
    return port + 100 if port + 100 < 65536 else port - 100


def require_app(stage: Stage) -> None:
    """Raise `WorkshopError` if a stage is a notebook alone."""
    if not stage.app:
        raise WorkshopError(f"stage {stage.slug} has no app; open its notebook instead")


def free_port() -> int:
    """A port that nothing listens on at this moment.

    It is none of those that systems give to clients: such a one could be taken before a server has it.
    """
    while True:
        port = secrets.choice(FREE_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):  # in use
            probe.bind(("127.0.0.1", port))
            return port


def status_of(url: str, timeout: float = 5.0) -> int | None:
    """The HTTP status that `url` answers, or None if nothing answers."""
    try:
        with DIRECT.open(url, timeout=timeout) as answer:
            return answer.status
    except urllib.error.HTTPError as answer:
        return answer.code
    except (OSError, ValueError, http.client.HTTPException):  # nothing there, or no web server
        return None


def gallery_at(url: str) -> dict | None:
    """What the gallery at `url` says of itself, or None if no gallery answers there.

    Its `folder` is `FOLDER` if this copy of the workshop runs it.
    """
    try:
        with DIRECT.open(f"{url}/healthz", timeout=2) as answer:
            found = json.load(answer)
    except (OSError, ValueError, http.client.HTTPException):
        return None
    return found if isinstance(found, dict) and found.get("service") == "workshop" else None


class Server:
    """`python -m MODULE ARGS` as a server at `url`, on a leash (see `workshop.leash`).

    Use it as a context manager: it has answered once when the block begins, and is gone when it ends.
    Raises `ServerDied`, with the end of its log, if it does not come up.
    """

    def __init__(
        self, name: str, command: Sequence[object], url: str, environ: dict[str, str] | None = None
    ):
        self.name = name
        self.command = [sys.executable, "-m", "workshop.leash", *map(str, command)]
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
    """Run a stage's app in a process of its own, and give its base URL: `with serve("iris") as url:`.

    The app listens on a free port of this machine alone, has answered once when the block begins, and is
    stopped when the block ends. Raises `ServerDied`, with the end of its log, if it does not come up.
    """
    with running_app(stage) as server:
        yield server.url


@contextlib.contextmanager
def running_app(stage: str | int) -> Iterator[Server]:
    """What `serve` runs, for those who also want to read its log."""
    found = find_stage(stage)
    require_app(found)
    if found.database:
        make_database(found)
    port = free_port()
    command = ["flask", "--app", found.app_file, "run", "--port", port]
    name, url = f"the app of stage {found.slug}", f"http://127.0.0.1:{port}"
    with Server(name, command, url, {"FLASK_DEBUG": "0"}) as server:  # whatever the terminal says
        server.wait_until_ready()
        trouble = None
        try:
            yield server
        except OSError as error:
            # A request that broke off: a dying app closes its connections a moment before it is gone.
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.process.wait(0.5)
            if server.is_running():
                raise
            trouble = error
        if not server.is_running():
            raise ServerDied(
                f"{server.name} stopped while you used it. Its log ends with:\n{server.log_end()}"
            ) from trouble
