"""Checks this machine's ports: which are free, which one to suggest, and what answers there."""

import contextlib
import errno
import hashlib
import http.client
import json
import os
import secrets
import socket
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

from workshop.core.errors import WorkshopError
from workshop.setup.process import ROOT

# Above the ports of common servers, below those that systems give to clients.
FREE_PORTS = range(20_000, 32_768)

# A proxy can't reach 127.0.0.1, so the environment's proxy settings are ignored.
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))

# The variable that tells the doctor in a notebook which workshop started its kernel.
GALLERY_URL = "WORKSHOP_URL"

# Identifies this copy of the workshop without revealing its path.
FOLDER = hashlib.sha256(os.fsencode(ROOT)).hexdigest()[:16]


class PortInUse(WorkshopError):
    """The port is in use by another program."""


def refusal(port: int, host: str = "127.0.0.1") -> OSError | None:
    """The error that a server would get if it listened on `port` now, or None."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        if os.name == "posix":
            # Servers set this too: a port whose last connections are still closing counts as free.
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
    """Raise `WorkshopError` if a server can't listen on `port`; `option` is the option that changes it."""
    if not (error := refusal(port, host)):
        return
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        raise WorkshopError(
            f"This machine has no address {host}: leave out --host, "
            "or let everyone on the network in with --host 0.0.0.0."
        )
    if isinstance(error, PermissionError):
        raise WorkshopError(
            f"Port {port} is reserved by the system: choose another port, such as {option} 8100."
        )
    raise PortInUse(
        f"Port {port} is in use by another program (perhaps a workshop that is still running): "
        f"stop that one, or choose another port, such as {option} {another_port(port)}."
    )


def another_port(port: int) -> int:
    """A free port to suggest instead of one that is in use."""
    steps = (*range(100, 2000, 100), *range(-100, -2000, -100))
    return next(
        (port + n for n in steps if 1023 < port + n < 65536 and is_free(port + n)), free_port()
    )


def free_port() -> int:
    """A port that nothing is listening on.

    It's outside the range that systems give to clients, so it's unlikely to be taken before a server starts.
    """
    while True:
        port = secrets.choice(FREE_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):  # in use
            probe.bind(("127.0.0.1", port))
            return port


def ask(url: str, timeout: float, read: Callable[[Any], Any]) -> Any:
    """Call `read` with the response to GET `url`; None if there is no response, or it can't be read."""
    try:
        try:
            answer = DIRECT.open(url, timeout=timeout)
        except urllib.error.HTTPError as error:
            answer = error  # a response too
        with answer:
            return read(answer)
    except (OSError, ValueError, http.client.HTTPException):  # no server, or no web server
        return None


def status_of(url: str, timeout: float = 5.0) -> int | None:
    """The HTTP status of `url`, or None if nothing answers."""
    return ask(url, timeout, lambda answer: answer.status)


def health_of(url: str, timeout: float = 2.0) -> dict:
    """The JSON of the page `/healthz` below `url`, even if its status is an error; empty if there is none."""
    found = ask(f"{url}/healthz", timeout, json.load)
    return found if isinstance(found, dict) else {}


def gallery_at(url: str) -> dict | None:
    """The health of the gallery at `url`, or None if no gallery answers there.

    Its `folder` is `FOLDER` if it belongs to this copy of the workshop.
    """
    found = health_of(url)
    return found if found.get("service") == "workshop" else None
