"""Ports of this machine: which are free, which one to suggest, and what answers there."""

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

# Above the usual servers, below the ports that any system gives to clients.
FREE_PORTS = range(20_000, 32_768)

# A proxy can't reach 127.0.0.1, so what the environment says of one is not for us.
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))

# The variable that tells a kernel which workshop it belongs to, for the doctor in a notebook.
GALLERY_URL = "WORKSHOP_URL"

# Tells this copy of the workshop from others without giving away where it is.
FOLDER = hashlib.sha256(os.fsencode(ROOT)).hexdigest()[:16]


class PortInUse(WorkshopError):
    """Another program listens on the port that is wanted."""


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
    if not (error := refusal(port, host)):
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
    """A free port to suggest instead of one that is in use."""
    steps = (*range(100, 2000, 100), *range(-100, -2000, -100))
    return next(
        (port + n for n in steps if 1023 < port + n < 65536 and is_free(port + n)), free_port()
    )


def free_port() -> int:
    """A port that nothing listens on at this moment.

    It is none of those that systems give to clients: such a one could be taken before a server has it.
    """
    while True:
        port = secrets.choice(FREE_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):  # in use
            probe.bind(("127.0.0.1", port))
            return port


def ask(url: str, timeout: float, read: Callable[[Any], Any]) -> Any:
    """What `read` makes of the answer to GET `url`; None if nothing answers, or it can't be read."""
    try:
        try:
            answer = DIRECT.open(url, timeout=timeout)
        except urllib.error.HTTPError as error:
            answer = error  # an answer too
        with answer:
            return read(answer)
    except (OSError, ValueError, http.client.HTTPException):  # nothing there, or no web server
        return None


def status_of(url: str, timeout: float = 5.0) -> int | None:
    """The HTTP status that `url` answers, or None if nothing answers."""
    return ask(url, timeout, lambda answer: answer.status)


def health_of(url: str, timeout: float = 2.0) -> dict:
    """What the JSON page `/healthz` below `url` says, whether well or not; empty if there is none."""
    found = ask(f"{url}/healthz", timeout, json.load)
    return found if isinstance(found, dict) else {}


def gallery_at(url: str) -> dict | None:
    """What the gallery at `url` says of itself, or None if no gallery answers there.

    Its `folder` is `FOLDER` if this copy of the workshop runs it.
    """
    found = health_of(url)
    return found if found.get("service") == "workshop" else None
