"""Installs the packages of a lock with uv, which pip installs first; hashes are checked.

The packages come from a place: the folder or URL of a mirror's or kit's wheels, or None for the network.
"""

import base64
import http.client
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit

from workshop.setup import mirror
from workshop.setup.environment import NO_VENV, Environment
from workshop.setup.lock import LOCK, locked
from workshop.setup.process import ROOT, SetupError, say

# What pip prints when it cannot reach a package index, on any system.
NETWORK_TROUBLE = re.compile(
    r"connection broken|NewConnectionError|ConnectTimeout|ReadTimeout|Max retries|ProxyError|SSLError"
    r"|getaddrinfo|name resolution|Could not fetch URL|Network is unreachable",
    re.IGNORECASE,
)

# What pip prints when a file's hash isn't in the lock.
WRONG_HASH = "DO NOT MATCH THE HASHES"

# Variables that make pip install somewhere else; pip ignores empty ones.
ELSEWHERE = {"PIP_USER": "0", "PIP_TARGET": "", "PIP_PREFIX": "", "PIP_ROOT": ""}

MIRROR_LIMIT = 5.0  # seconds to wait for a server in the room


class NotServed(SetupError):
    """A place doesn't exist or lacks a package; another place may have it."""


def wheels_in(place: str) -> str | None:
    """The folder or URL with the wheels of a kit or mirror; None if it has none.

    Wheels are in its folder `wheels`; a local folder may also contain them directly. Raises `NotServed` with
    the reason, a clause, if the place itself doesn't exist or can't be read.
    """
    if mirror.is_url(place):
        url = f"{place.rstrip('/')}/wheels/"
        try:
            mirror.go_past_proxy(url)
            address = urlsplit(url)
            login, _, host = address.netloc.rpartition("@")
            request = urllib.request.Request(address._replace(netloc=host).geturl())  # noqa: S310 (http or https)
            if login:  # urllib would treat the name and password as part of the host
                token = base64.b64encode(unquote(login).encode()).decode()
                request.add_header("Authorization", f"Basic {token}")
            with urllib.request.urlopen(request, timeout=MIRROR_LIMIT) as page:  # noqa: S310
                return url if b".whl" in page.read(10**6) else None
        except HTTPError:
            return None
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise NotServed(f"{mirror.shown(place)} isn't responding") from error
    folder = mirror.folder_of(place)
    try:
        if not folder.is_dir():
            raise NotServed(f"there is no folder {place}")
        for held in (folder / "wheels", folder):
            if any(held.glob("*.whl")):
                return str(held.resolve())
    except OSError as error:
        raise NotServed(f"{place} can't be read: {error.strerror}") from error
    return None


def places() -> Iterator[str | None]:
    """The places to try, in order: `WORKSHOP_MIRROR`, the kit around this folder, the network."""
    for name, place in mirror.mirrors():
        try:
            if found := wheels_in(place):
                yield found
        except NotServed as reason:
            say(f"{name} can't be used ({reason}), so the packages will come from elsewhere.")
    yield None


def find_links(place: str | None) -> list[str]:
    """Options that make pip and uv take every package from a folder or URL of wheels."""
    if place is None:
        return []
    # pip and uv parse this as a URL, so characters such as # in a folder's name must be escaped.
    link = place if mirror.is_url(place) else Path(place).as_uri()
    options = ["--no-index", "--find-links", link]
    if place.lower().startswith("http:"):
        # pip ignores a server without https unless told to trust it.
        options += ["--trusted-host", urlsplit(place).netloc.rpartition("@")[2]]
    return options


def pip_for(environment: Environment) -> list[str | Path]:
    """The command that runs pip for the environment: this Python's pip, if it has one.

    Raises `SetupError` if there is no pip at all.
    """
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-P", "-m", "pip", "--python", environment.python]
    if not environment.own:
        raise SetupError(
            f"{environment.python} has no pip: install it for this Python, then run the same command again."
        )
    python = [environment.python, "-P", "-m"]
    if subprocess.run([*python, "ensurepip"], capture_output=True).returncode:
        raise SetupError(NO_VENV)
    return [*python, "pip"]


def find_uv(environment: Environment, place: str | None) -> list[str | Path]:
    """The command that runs the locked version of uv, which pip installs if the environment doesn't have it.

    Another uv on this computer isn't used, because only the locked one is known to check hashes as promised.
    Raises `NotServed` if it isn't available, and `SetupError` if there is no pip.
    """
    uv = [environment.python, "-P", "-m", "uv"]
    entries = {pin: entry for pin, entry in locked(LOCK).items() if pin.startswith("uv==")}
    read = {"capture_output": True, "text": True, "errors": "replace"}
    there = subprocess.run([*uv, "--version"], **read).stdout.split()[1:2]
    if [f"uv=={version}" for version in there] == list(entries):
        return uv
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "uv.txt")  # pip reads hashes only from files
        file.write_text("\n".join(entries.values()), encoding="utf-8")
        run = subprocess.run(
            [*pip_for(environment), "install", "--quiet", "--force-reinstall", "--retries=1"]
            + ["--timeout=15", *find_links(place), "-r", file],
            **read,
            # If variables name another place, pip would install there, or refuse.
            env=os.environ | (ELSEWHERE if environment.own else {}),
        )
    if run.returncode == 0:
        return uv
    if WRONG_HASH in run.stderr:
        raise NotServed(
            "The package uv isn't the file that the workshop expects (its hash differs). It is damaged, or "
            "somebody has replaced it: get the packages from another place."
        )
    if NETWORK_TROUBLE.search(run.stderr):
        raise NotServed(
            "The packages can't be downloaded: connect to a network (check the proxy, if there is one) "
            "and run the same command again, or get a kit from your instructor and set WORKSHOP_MIRROR "
            "to its folder."
        )
    reason = (run.stderr.strip() or "no reason given").splitlines()[-1]
    raise NotServed(
        f"uv, which installs the packages, isn't available ({reason}): use another network, or get a kit "
        "from your instructor and set WORKSHOP_MIRROR to its folder; then run the same command again."
    )


def install(environment: Environment, place: str | None, *what: str | Path) -> None:
    """Install packages into the environment from a place; `what` is the rest of uv's command line.

    Raises `NotServed` if a package isn't available, or isn't the file that the lock names.
    """
    uv = find_uv(environment, place)
    # uv draws a progress bar in a terminal; elsewhere it would print a line for each package.
    quiet = [] if sys.stderr.isatty() else ["--quiet"]
    into = ["--python", environment.python, *find_links(place)]
    if subprocess.run([*uv, "pip", "install", *quiet, *into, *what], cwd=ROOT).returncode == 0:
        return  # if it fails, it has printed the reason on stderr
    if place:
        raise NotServed("Some packages couldn't be installed from there.")
    raise NotServed(
        "Some packages couldn't be installed (the lines above say why): check the network and the "
        "free space on the disk, or set WORKSHOP_MIRROR if your instructor has a kit or a server with the "
        "packages; then run the same command again."
    )
