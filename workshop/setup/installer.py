"""Installs the packages of a lock with uv, or with pip where uv isn't available; hashes are checked.

They come from a place: the folder or URL with the wheels of a mirror or kit, or None for the network.
"""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
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

# What pip prints when a file is not the one whose hash the lock has.
WRONG_HASH = "DO NOT MATCH THE HASHES"

PIP_FOR_OTHERS = (22, 3)  # the first pip that installs for another Python than its own

MIRROR_LIMIT = 5.0  # seconds to wait for a server in the room


class NotServed(SetupError):
    """A place is not there, or lacks a package; another place may have it."""


def listing_at(url: str) -> bytes | None:
    """The page with which a server lists the files of a folder, up to the first wheel.

    Empty if there is no such page, and None if no server answers in time.
    """
    import base64
    import http.client
    import urllib.request  # here, because only a URL needs them
    from urllib.error import HTTPError

    deadline = time.monotonic() + MIRROR_LIMIT
    try:
        mirror.go_past_proxy(url)
        address = urlsplit(url)
        login, _, host = address.netloc.rpartition("@")
        request = urllib.request.Request(address._replace(netloc=host).geturl())  # noqa: S310 (http or https)
        if login:  # urllib would take a name and password for a part of the host
            token = base64.b64encode(unquote(login).encode()).decode()
            request.add_header("Authorization", f"Basic {token}")
        found = b""
        with urllib.request.urlopen(request, timeout=MIRROR_LIMIT) as answer:  # noqa: S310
            while b".whl" not in found and time.monotonic() < deadline:
                part = answer.read1()
                if not part:
                    break
                found += part
        return found
    except HTTPError:
        return b""
    except (OSError, ValueError, http.client.HTTPException):
        return None


def wheels_in(place: str) -> str | None:
    """The folder or URL with the wheels of a kit or mirror; None if it has none.

    They are in its folder `wheels`; a local folder may also hold them directly. Raises `NotServed` with the
    reason, a clause, if the place itself is not there or can't be read.
    """
    if mirror.is_url(place):
        url = f"{place.rstrip('/')}/wheels/"
        listing = listing_at(url)
        if listing is None:
            raise NotServed(f"{mirror.shown(place)} does not answer")
        return url if b".whl" in listing else None
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
    """The places to try, one after the other: `WORKSHOP_MIRROR`, the kit around this folder, the network."""
    for name, place in mirror.mirrors():
        try:
            found = wheels_in(place)
        except NotServed as reason:
            say(f"{name} can't be used ({reason}), so the packages come from elsewhere.")
        else:
            if found:
                yield found
    yield None


def find_links(place: str | None) -> list[str]:
    """Options with which pip and uv take every package from a folder or URL of wheels."""
    if place is None:
        return []
    options = ["--no-index", "--find-links", place]
    if place.lower().startswith("http:"):
        # pip ignores a server without https unless it is told to trust it.
        options += ["--trusted-host", urlsplit(place).netloc.rpartition("@")[2]]
    return options


def pip_for(environment: Environment) -> list[str | Path]:
    """The command that runs pip for the environment: the pip of this Python, if it can do that.

    Raises `SetupError` where there is no pip at all.
    """
    try:
        version = importlib.metadata.version("pip")
    except importlib.metadata.PackageNotFoundError:
        version = ""
    if tuple(map(int, re.findall(r"\d+", version)[:2])) >= PIP_FOR_OTHERS:
        return [sys.executable, "-m", "pip", "--python", environment.python]
    command = [environment.python, "-m", "pip"]
    if subprocess.run([*command, "--version"], capture_output=True).returncode:
        if not environment.own:
            raise SetupError(
                f"{environment.python} has no pip: install it for this Python, then run the same "
                "command again."
            )
        make = [environment.python, "-m", "ensurepip"]
        if subprocess.run(make, capture_output=True).returncode:
            raise SetupError(NO_VENV)
    return command


def get_uv(pip: Sequence[str | Path], source: Sequence[str], file: Path) -> bool:
    """Install the uv that `file` names with pip; False where there is none for this system.

    Raises `NotServed` where the network can't be reached, or where the file is not the one that was locked.
    """
    patience = ["--retries", "1", "--timeout", "15"]
    command = [*pip, "install", "--quiet", *patience, *source, "-r", file]
    run = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if run.returncode and WRONG_HASH in run.stderr:
        raise NotServed(
            "The package uv is not the file that the workshop expects (its hash differs): it is damaged, or "
            "somebody replaced it, so get the packages from another place."
        )
    if run.returncode and NETWORK_TROUBLE.search(run.stderr):
        raise NotServed(
            "The packages cannot be downloaded: connect to a network (check the proxy, if there is one) "
            "and run the same command again, or get a kit from your instructor and set WORKSHOP_MIRROR "
            "to its folder."
        )
    return run.returncode == 0


@dataclass(frozen=True)
class Installer:
    """The command that installs packages into the environment from one place, with uv or with pip."""

    command: list[str | Path]
    is_uv: bool
    place: str | None

    def install(self, lock: Path) -> None:
        """Install every package of `lock`. A file whose hash is not in the lock is refused.

        Raises `NotServed` where a package isn't available.
        """
        # pip needs no uv, which has no wheel on some of the systems where pip steps in.
        wanted = [e for pin, e in locked(lock).items() if self.is_uv or not pin.startswith("uv==")]
        with tempfile.TemporaryDirectory() as folder:
            packages = Path(folder, "packages.txt")
            packages.write_text("\n".join(wanted), encoding="utf-8")
            self._run("--require-hashes", "-r", packages)

    def install_workshop(self) -> None:
        """Install the workshop itself. Raises `NotServed` if what builds it isn't there."""
        # No build isolation: what builds it (flit-core) came with the lock, so nothing is downloaded.
        # "." because the path of the folder may hold brackets, which would be read as extras.
        self._run("--no-deps", "--no-build-isolation", "-e", ".")

    def _run(self, *what: str | Path) -> None:
        if subprocess.run([*self.command, *what], cwd=ROOT).returncode == 0:
            return  # a command that fails has said why, on stderr
        if self.place:
            raise NotServed("Not all packages could be installed from there.")
        raise NotServed(
            "The packages could not all be installed (the lines above say why): check the network and "
            "the free space on the disk, then run the same command again."
        )


def find_installer(environment: Environment, place: str | None) -> Installer:
    """The uv that this computer has, or else the locked one, or else pip.

    Raises `NotServed` where `place` has no packages, and `SetupError` where there is no pip.
    """
    if environment.own:
        # Where a system asks for --user installs, pip would refuse to fill `.venv`.
        os.environ["PIP_USER"] = "0"
    source = find_links(place)
    # In a terminal uv draws a progress bar. Elsewhere it would print a line for each package.
    quiet = [] if sys.stderr.isatty() else ["--quiet"]
    with_uv = ["pip", "install", *quiet, "--python", environment.python, *source]
    if found := shutil.which("uv"):
        return Installer([found, *with_uv], True, place)
    pip = pip_for(environment)
    uv = [entry for pin, entry in locked(LOCK).items() if pin.startswith("uv==")]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "uv.txt")  # hashes can only be given in files
        file.write_text("\n".join(uv), encoding="utf-8")
        if uv and get_uv(pip, source, file):
            return Installer([environment.python, "-m", "uv", *with_uv], True, place)
    say("      uv isn't available here, so pip does it, which takes longer")
    quiet = ["--quiet", "--disable-pip-version-check"]
    return Installer([*pip, "install", *quiet, *source], False, place)
