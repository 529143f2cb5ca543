"""Downloads the wheels that other computers need, and checks them against the hashes in the lock.

pip downloads them into a temporary folder, so the kit's folder never contains half a file.
"""

import contextlib
import errno
import hashlib
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import click
from packaging.requirements import Requirement
from packaging.tags import Tag, compatible_tags, cpython_tags, mac_platforms
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from workshop.core.errors import WorkshopError
from workshop.setup.installer import NETWORK_TROUBLE, WRONG_HASH
from workshop.setup.lock import locked

PARTS = "wheels.part"  # the folder that pip downloads into
NO_WHEEL = re.compile(r"No matching distribution found for (\S+)")
DISK_FULL = re.compile(r"No space left|Errno 28|not enough space", re.IGNORECASE)


class KitFailed(WorkshopError):
    """The kit can't be made, or is incomplete."""


class System(NamedTuple):
    """A kind of computer that wheels are made for.

    `markers` are its values of the environment markers in a lock; `platforms` are the platform tags it can
    install. They are those of the oldest systems that the lock supports, so newer ones can use the same
    wheels.
    """

    title: str
    markers: dict[str, str]
    platforms: list[str]


def _glibc(machine: str) -> list[str]:
    """The platform tags of Linux with glibc 2.28 (Debian 10, Ubuntu 20.04, RHEL 8), newest first."""
    versions = [f"_2_{minor}" for minor in range(28, 4, -1)] + ["2014", "2010", "1"]
    return [f"manylinux{version}_{machine}" for version in versions]


def _mac(machine: str) -> list[str]:
    return list(mac_platforms((12, 0), machine))


LINUX = "Linux on {}, 64 bit (Ubuntu 20.04, Debian 10 or newer)"
MAC = "macOS 12 or newer on {}"
MARKERS = ("os_name", "sys_platform", "platform_system", "platform_machine")
SYSTEMS = {
    name: System(title, dict(zip(MARKERS, markers.split(), strict=True)), platforms)
    for name, title, markers, platforms in (
        ("windows", "Windows (Intel or AMD, 64 bit)", "nt win32 Windows AMD64", ["win_amd64"]),
        ("macos", MAC.format("Apple's own processors"), "posix darwin Darwin arm64", _mac("arm64")),
        ("macos-intel", MAC.format("Intel"), "posix darwin Darwin x86_64", _mac("x86_64")),
        ("linux", LINUX.format("Intel or AMD"), "posix linux Linux x86_64", _glibc("x86_64")),
        ("linux-arm", LINUX.format("ARM"), "posix linux Linux aarch64", _glibc("aarch64")),
    )
}


@dataclass(frozen=True, order=True)
class Target:
    """A system and a version of Python, such as `windows` and `3.12`."""

    system: str
    python: str

    def __str__(self) -> str:
        return f"{self.system} with Python {self.python}"

    @property
    def tags(self) -> set[Tag]:
        """The tags of the wheels that this target can install."""
        version = [int(part) for part in self.python.split(".")]
        interpreter = "cp" + self.python.replace(".", "")
        platforms = SYSTEMS[self.system].platforms
        exact = cpython_tags(version, [interpreter], platforms)
        return {*exact, *compatible_tags(version, interpreter, platforms)}

    def wanted(self, micro: int, locks: Iterable[Path]) -> dict[str, str]:
        """The locks' packages for this target's Python x.y.`micro`, such as `click==8.5.1`.

        Each has its entry for pip, without the marker, which pip would evaluate for this computer.
        """
        python = {"python_version": self.python, "python_full_version": f"{self.python}.{micro}"}
        environment = SYSTEMS[self.system].markers | python
        found = {}
        for pin, entry in (item for lock in locks for item in locked(lock).items()):
            package = Requirement(pin)
            if not package.marker or package.marker.evaluate(environment):
                name = f"{package.name}{package.specifier}"
                found[name] = entry.replace(pin, name, 1)
        return found


def this_system() -> str:
    """The name of this computer's system. Raises `KitFailed` if no kit can be made for it."""
    here = (sys.platform, platform.machine().lower())
    for name, system in SYSTEMS.items():
        markers = system.markers
        if here == (markers["sys_platform"], markers["platform_machine"].lower()):
            return name
    raise KitFailed(
        f"A kit can't be made for this computer's own system ({sys.platform}, {platform.machine()}): name "
        "the attendees' systems, such as: --platform windows --platform macos"
    )


def wheels_held(folder: Path) -> Iterator[tuple[Path, str, frozenset[Tag]]]:
    """The wheels in a folder: each file, its package (such as `click==8.5.1`), and its tags."""
    for file in folder.glob("*.whl"):
        with contextlib.suppress(InvalidWheelFilename):
            name, version, _, tags = parse_wheel_filename(file.name)
            yield file, f"{name}=={version}", tags


def delete_damaged_wheels(folder: Path, locks: Iterable[Path]) -> None:
    """Delete wheels whose hash isn't in the locks, for example because a stick was unplugged too early."""
    text = "".join("\n" + lock.read_text(encoding="utf-8") for lock in locks)
    for file, pin, _ in wheels_held(folder):
        with file.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
        if f"\n{pin} " in text and f"sha256:{digest}" not in text:
            file.unlink()


def get_wheels(target: Target, folder: Path, locks: Sequence[Path]) -> list[str]:
    """Get the wheels that a target needs and the kit lacks. Returns the packages without such a wheel."""
    tags, unserved = target.tags, []
    held = {pin for _, pin, of in wheels_held(folder / "wheels") if not tags.isdisjoint(of)}
    # A lock may have different packages for the first and the later releases of a Python version.
    for micro in (0, 99):
        wanted = {p: entry for p, entry in target.wanted(micro, locks).items() if p not in held}
        held.update(wanted)
        if wanted:
            click.echo(f"  3/4 wheels for {target}: {len(wanted)} to get")
            unserved += download(wanted, target, folder)
    click.echo(f"  3/4 wheels for {target}: {'some are missing' if unserved else 'all are there'}")
    return unserved


def download(wanted: dict[str, str], target: Target, folder: Path) -> list[str]:
    """Download packages, given with their entries in a lock. Returns those without a wheel for the target.

    Raises `KitFailed` if there is no network, or no pip.
    """
    part, unserved = folder / PARTS, []
    part.mkdir()
    try:
        while wanted:
            (part / "wanted.txt").write_text("\n".join(wanted.values()), encoding="utf-8")
            command = pip_download(part / "wanted.txt", target, part)
            run = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace")
            if run.returncode == 0:
                break
            missing = unserved_by(run.stdout + run.stderr, wanted)
            del wanted[missing]  # then try again; pip caches what it has downloaded
            unserved.append(missing)
        (folder / "wheels").mkdir(exist_ok=True)
        for wheel in part.glob("*.whl"):
            wheel.replace(folder / "wheels" / wheel.name)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return unserved


def pip_download(wanted: Path, target: Target, into: Path) -> list[str | Path]:
    """The pip command that downloads the wheels listed in a file for another system; uv can't do this."""
    return [
        *(sys.executable, "-m", "pip", "download"),
        *("--disable-pip-version-check", "--progress-bar=off", "--retries=1", "--timeout=15"),
        *("--no-deps", "--only-binary=:all:", "--require-hashes"),
        "--ignore-requires-python",  # the lock's markers are more precise
        *("--implementation=cp", f"--python-version={target.python}"),
        f"--abi=cp{target.python.replace('.', '')}",
        *(f"--platform={tag}" for tag in SYSTEMS[target.system].platforms),
        *("--dest", into, "-r", wanted),
    ]


def unserved_by(said: str, wanted: Iterable[str]) -> str:
    """The package for which pip found no wheel, according to its output.

    Raises `KitFailed`, or OSError for a full disk, if something else went wrong.
    """
    if DISK_FULL.search(said):
        raise OSError(errno.ENOSPC, "")
    if NETWORK_TROUBLE.search(said):
        raise KitFailed(
            "The wheels can't be downloaded: connect to a network (check the proxy, if there is one), then "
            "run the same command again; it continues where it stopped."
        )
    if WRONG_HASH in said:
        raise KitFailed(
            "A package isn't the file that the workshop expects (its hash is different): it was damaged or "
            "replaced on the way, so run the same command again on another network."
        )
    missing = NO_WHEEL.search(said)
    if not missing or missing[1] not in wanted:
        last = (said.strip() or "it said nothing").splitlines()[-1]
        raise KitFailed(f"pip can't get the wheels ({last}): run the same command again.")
    return missing[1]
