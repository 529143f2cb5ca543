"""Makes a folder for a USB stick or for a web server in the room: all that set-up needs without a network.

    from-notebook-to-web-app/      the repository, and the same as from-notebook-to-web-app.zip
    wheels/                        the packages of the lock, for the systems and Python versions named
    adult/, housing/               the data sets at hand, laid out as `WORKSHOP_MIRROR` wants them
    READ_ME_FIRST.txt              what to type
    kit.json                       by which set-up and the data sets recognise the kit they are a part of

Every file is written under another name first: an interrupted run leaves whole files only, and the next one
goes on from there.
"""

import contextlib
import errno
import hashlib
import io
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import click
from packaging.requirements import Requirement
from packaging.tags import Tag, compatible_tags, cpython_tags, mac_platforms
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from workshop.core import datasets
from workshop.core.errors import WorkshopError
from workshop.core.files import sweep, write_whole
from workshop.setup.installer import NETWORK_TROUBLE, WRONG_HASH
from workshop.setup.lock import LOCK, locked
from workshop.setup.mirror import MARKER
from workshop.setup.process import ROOT

NAME = "from-notebook-to-web-app"
TEXT = "READ_ME_FIRST.txt"
PARTS = "wheels.part"  # the folder that pip fills, until the wheels in it are whole
BATCH = 40  # packages that pip gets in one go; an interruption loses no more than that
NO_WHEEL = re.compile(r"No matching distribution found for (\S+)")
DISK_FULL = re.compile(r"No space left|Errno 28|not enough space", re.IGNORECASE)


class KitFailed(WorkshopError):
    """The kit can't be made, or not all of it."""


@dataclass(frozen=True)
class System:
    """A kind of computer that wheels are made for.

    `platforms` are the platform tags that it installs; the oldest systems that the lock serves set the
    limit, because what they install, newer ones do as well.
    """

    title: str
    markers: dict[str, str]
    platforms: tuple[str, ...]


def _glibc_platforms(machine: str) -> tuple[str, ...]:
    """The tags of Linux with glibc 2.28 (Debian 10, Ubuntu 20.04, RHEL 8), newest first."""
    numbered = [f"manylinux_2_{minor}_{machine}" for minor in range(28, 4, -1)]
    return (*numbered, *(f"manylinux{year}_{machine}" for year in ("2014", "2010", "1")))


def _markers(os_name: str, sys_platform: str, platform_system: str, machine: str) -> dict[str, str]:
    return {
        "os_name": os_name,
        "sys_platform": sys_platform,
        "platform_system": platform_system,
        "platform_machine": machine,
    }


SYSTEMS = {
    "windows": System(
        "Windows (Intel or AMD, 64 bit)",
        _markers("nt", "win32", "Windows", "AMD64"),
        ("win_amd64",),
    ),
    "macos": System(
        "macOS 12 or newer on Apple's own processors",
        _markers("posix", "darwin", "Darwin", "arm64"),
        tuple(mac_platforms((12, 0), "arm64")),
    ),
    "macos-intel": System(
        "macOS 12 or newer on Intel",
        _markers("posix", "darwin", "Darwin", "x86_64"),
        tuple(mac_platforms((12, 0), "x86_64")),
    ),
    "linux": System(
        "Linux on Intel or AMD, 64 bit (Ubuntu 20.04, Debian 10 or newer)",
        _markers("posix", "linux", "Linux", "x86_64"),
        _glibc_platforms("x86_64"),
    ),
    "linux-arm": System(
        "Linux on ARM, 64 bit (Ubuntu 20.04, Debian 10 or newer)",
        _markers("posix", "linux", "Linux", "aarch64"),
        _glibc_platforms("aarch64"),
    ),
}


@dataclass(frozen=True, order=True)
class Target:
    """A system and a version of Python, such as `windows` and `3.12`."""

    system: str
    python: str

    def __str__(self) -> str:
        return f"{self.system} with Python {self.python}"

    @property
    def tags(self) -> frozenset[Tag]:
        """The tags of the wheels that this target can install."""
        version = [int(part) for part in self.python.split(".")]
        interpreter = "cp" + self.python.replace(".", "")
        platforms = SYSTEMS[self.system].platforms
        return frozenset(
            [
                *cpython_tags(version, [interpreter], platforms),
                *compatible_tags(version, interpreter, platforms),
            ]
        )

    def pins(self, micro: int) -> list[Requirement]:
        """What the lock wants on this target's Python x.y.`micro`."""
        full = f"{self.python}.{micro}"
        environment = {
            **SYSTEMS[self.system].markers,
            "implementation_name": "cpython",
            "implementation_version": full,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_version": "",
            "python_version": self.python,
            "python_full_version": full,
        }
        pins = map(Requirement, locked(LOCK))
        return [pin for pin in pins if not pin.marker or pin.marker.evaluate(environment)]


def this_system() -> str:
    """The name of this computer's system. Raises `KitFailed` if no kit can be made for it."""
    machine = {"amd64": "x86_64", "arm64": "arm64", "aarch64": "arm64"}.get(
        platform.machine().lower(), platform.machine().lower()
    )
    names = {
        ("win32", "x86_64"): "windows",
        ("darwin", "arm64"): "macos",
        ("darwin", "x86_64"): "macos-intel",
        ("linux", "x86_64"): "linux",
        ("linux", "arm64"): "linux-arm",
    }
    try:
        return names[sys.platform, machine]
    except KeyError as error:
        raise KitFailed(
            f"No kit can be made for this computer itself ({sys.platform}, {platform.machine()}): name the "
            "systems of the others, such as: --platform windows --platform macos"
        ) from error


def make_kit(folder: Path, systems: Sequence[str] = (), pythons: Sequence[str] = ()) -> None:
    """Make the kit in `folder`, or add to the one that is there, and tell each step on stdout.

    Without `systems` or `pythons` (such as `3.12`), this computer's own is meant. Raises `KitFailed`.
    """
    folder = folder.expanduser().absolute()
    refuse(folder)
    pythons = pythons or ["{}.{}".format(*sys.version_info)]
    named = {Target(name, python) for name in systems or [this_system()] for python in pythons}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(folder / PARTS, ignore_errors=True)  # of a kit that was interrupted
        targets = sorted(named | read_marker(folder))
        click.echo(f"Making a kit in {folder} for {', '.join(map(str, targets))}")
        click.echo(f"  1/4 the workshop: {copy_repository(folder)} files")
        held = copy_data(folder)
        click.echo(f"  2/4 data: {', '.join(held) or 'none is at hand'}")
        (folder / "wheels").mkdir(exist_ok=True)
        delete_damaged_wheels(folder / "wheels")
        lacking = {target: get_wheels(target, folder) for target in targets}
        whole = [target for target in targets if not lacking[target]]
        click.echo(f"  4/4 {TEXT}, which says what to type")
        put(folder / TEXT, read_me(whole, held).encode("ascii"))
        put(folder / MARKER, marker(whole, held))
    except OSError as error:
        raise KitFailed(sentence_for(error, folder)) from error
    wheels = list((folder / "wheels").glob("*.whl"))
    size = sum(wheel.stat().st_size for wheel in wheels) / 1e6
    click.echo(f"{len(wheels)} wheels, {size:,.0f} MB.")
    if len(whole) < len(targets):
        for target in targets:
            if lacking[target]:
                click.echo(f"{target}: no wheel of {', '.join(lacking[target])}", err=True)
        raise KitFailed(
            "The kit is made, but it can't serve what the lines above name: there, set-up needs a network."
        )
    click.echo(
        "The kit is whole. Run the command again to add others, with --platform (or --platform all) and "
        "--python."
    )


def refuse(folder: Path) -> None:
    """Raise `KitFailed` for a place where no kit may be made."""
    place = folder.resolve()
    if place.is_relative_to(ROOT) or (place / NAME) == ROOT:
        raise KitFailed(
            f"{folder} and the workshop would get mixed up: name a folder elsewhere, such as one on a USB "
            "stick."
        )
    if folder.exists() and not folder.is_dir():
        raise KitFailed(f"{folder} is a file: name a folder, which need not exist yet.")


def sentence_for(error: OSError, folder: Path) -> str:
    """What to do about a file system that refuses."""
    if error.errno == errno.ENOSPC:
        return (
            f"The disk of {folder} is full: make room (a kit takes up to 0.5 GB for each system), then run "
            "the same command again; it goes on where it stopped."
        )
    return f"The kit can't be written in {folder} ({error.strerror}): name a folder where you may write."


def put(file: Path, content: bytes) -> None:
    """Write a file, whole or not at all, unless it is there already."""
    if file.is_file() and file.read_bytes() == content:
        sweep(file.parent)
        return
    write_whole(file, content)


# --- the repository -------------------------------------------------------------------------------


def repository_files() -> list[Path]:
    """The files that belong to the workshop, as paths from its root.

    They are those that git tracks; in a copy without git, all that `.gitignore` does not name.
    """
    if (ROOT / ".git").exists() and shutil.which("git"):
        run = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True)
        if run.returncode == 0:
            files = [Path(os.fsdecode(name)) for name in run.stdout.split(b"\0") if name]
            return sorted(file for file in files if (ROOT / file).is_file())
    return sorted(files_not_ignored())


def files_not_ignored() -> Iterator[Path]:
    """The files that `.gitignore` does not name, as paths from the workshop's root."""
    lines = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    patterns = [".git/", *(line for line in lines if line and not line.startswith("#"))]
    for name, folders, files in os.walk(ROOT):
        here = Path(name).relative_to(ROOT)
        folders[:] = [f for f in folders if not is_ignored(here / f, patterns, is_folder=True)]
        yield from (here / f for f in files if not is_ignored(here / f, patterns))


def is_ignored(path: Path, patterns: Iterable[str], is_folder: bool = False) -> bool:
    """Whether a line of `.gitignore` names `path` itself; the folders above it are not looked at."""
    for pattern in patterns:
        if pattern.endswith("/") and not is_folder:
            continue
        wanted = pattern.strip("/").split("/")
        # With a slash in it a pattern counts from the root, without one it names a file anywhere.
        parts = path.parts if "/" in pattern.rstrip("/") else path.parts[-1:]
        if len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted)):
            return True
    return False


def copy_repository(folder: Path) -> int:
    """Put the workshop into the kit, as a folder and zipped. Returns the number of files."""
    files = repository_files()
    packed = io.BytesIO()
    # A stick may bring dates from before 1980, which a zip archive can't hold.
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as archive:
        for file in files:
            archive.write(ROOT / file, f"{NAME}/{file.as_posix()}")
            put(folder / NAME / file, (ROOT / file).read_bytes())
    target = folder / f"{NAME}.zip"
    for name in names_in(target) - names_in(packed):  # gone from the workshop since the last kit
        outdated = (folder / name).resolve()
        if outdated.is_relative_to((folder / NAME).resolve()):
            outdated.unlink(missing_ok=True)
    put(target, packed.getvalue())
    return len(files)


def names_in(archive: Path | io.BytesIO) -> set[str]:
    """What a zip archive holds; nothing if it is none."""
    try:
        with zipfile.ZipFile(archive) as unzipped:
            return set(unzipped.namelist())
    except (FileNotFoundError, zipfile.BadZipFile):
        return set()


# --- the data -------------------------------------------------------------------------------------


def copy_data(folder: Path) -> list[str]:
    """Put the data sets that can be had into the kit, verified. Returns their titles."""
    held = []
    for dataset in (datasets.CENSUS, datasets.HOUSING):
        sweep(folder / dataset.folder)
        try:
            datasets.read_mirror(dataset, str(folder), datasets.TIME_LIMIT)
        except datasets.DataUnavailableError:
            fetched = datasets.fetch_files(dataset)
            if fetched.files is None:
                datasets.tell(dataset, fetched, "a kit with the stand-in only")
                continue
            archive = io.BytesIO()
            with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
                for name, content in fetched.files.items():
                    packed.writestr(name, content)
            put(folder / dataset.folder / dataset.archive, archive.getvalue())
        held.append(dataset.title.lower())
    return held


# --- the wheels -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wheel:
    """A wheel in the kit, as its file name describes it."""

    name: str
    version: Version
    tags: frozenset[Tag]

    def serves(self, pin: Requirement, tags: frozenset[Tag]) -> bool:
        """Whether this is the wheel of a pinned package, and one that those `tags` can install."""
        return (
            self.name == canonicalize_name(pin.name)
            and pin.specifier.contains(self.version, prereleases=True)
            and not self.tags.isdisjoint(tags)
        )


def hashes_of(lock: Path) -> dict[str, list[str]]:
    """The hashes of each package in a lock, such as `{"click==8.5.1": ["sha256:2f...", "sha256:91..."]}`.

    They are those of all its files, for every system.
    """
    return {
        re.split(r"[ ;]", pin)[0]: re.findall(r"--hash=(\S+)", entry)
        for pin, entry in locked(lock).items()
    }


def delete_damaged_wheels(folder: Path) -> None:
    """Delete each wheel that the lock names and that is not as its hash says.

    A stick was pulled out too early, or somebody has exchanged the file.
    """
    hashes = hashes_of(LOCK)
    for file in folder.glob("*.whl"):
        try:
            name, version, *_ = parse_wheel_filename(file.name)
        except InvalidWheelFilename:
            continue
        with file.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
        known = hashes.get(f"{name}=={version}")
        if (known and f"sha256:{digest}" not in known) or not zipfile.is_zipfile(file):
            file.unlink()


def wheels_held(folder: Path) -> list[Wheel]:
    """The wheels in a folder."""
    held = []
    for file in folder.glob("*.whl"):
        with contextlib.suppress(InvalidWheelFilename):
            name, version, _, tags = parse_wheel_filename(file.name)
            held.append(Wheel(name, version, tags))
    return held


def get_wheels(target: Target, folder: Path) -> list[str]:
    """Get the wheels that the kit lacks for a target. Returns the packages that have none for it."""
    tags, held = target.tags, wheels_held(folder / "wheels")
    lots: list[list[str]] = []
    # A lock may tell apart the first releases of a Python from the later ones.
    for pins in (target.pins(0), target.pins(99)):
        asked = {pin for lot in lots for pin in lot}
        lacking = [
            f"{pin.name}{pin.specifier}"
            for pin in pins
            if not any(wheel.serves(pin, tags) for wheel in held)
        ]
        lots.append([pin for pin in lacking if pin not in asked])
    batches = [lot[i : i + BATCH] for lot in lots for i in range(0, len(lot), BATCH)]
    total = sum(map(len, batches))
    label = f"  3/4 wheels for {target}: "
    if not total:
        click.echo(f"{label}all are there")
        return []
    click.echo(f"{label}{total} to get")
    unserved, done = [], 0
    is_terminal = sys.stdout.isatty()
    with click.progressbar(
        length=total, label="     ", hidden=not is_terminal, file=sys.stdout
    ) as bar:
        for batch in batches:
            unserved += download(batch, target, folder, bar.update)
            done += len(batch)
            if not is_terminal:
                click.echo(f"      {done} of {total}")
    # Where there is no uv, set-up takes pip.
    return [pin for pin in unserved if not pin.startswith("uv==")]


def download(
    pins: Sequence[str], target: Target, folder: Path, advance: Callable[[int], None]
) -> list[str]:
    """Let pip get the wheels of `pins`. Returns those that have none for the target.

    Calls `advance(1)` for each package. Raises `KitFailed` if there is no network, or no pip.
    """
    part = folder / PARTS
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    hashes = hashes_of(LOCK)
    wanted, unserved, seen = list(pins), [], set()
    try:
        while wanted:
            lines = []
            # Without the lock's markers, which pip would ask about this computer.
            asked = [" ".join([pin, *(f"--hash={h}" for h in hashes[pin])]) for pin in wanted]
            (part / "wanted.txt").write_text("\n".join(asked), encoding="utf-8")
            with subprocess.Popen(
                pip_download(part / "wanted.txt", target, part),
                stdin=subprocess.PIPE,  # the leash: should this process be killed, pip ends too
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                errors="replace",
            ) as pip:
                for line in pip.stdout:
                    lines.append(line)
                    # The second is what pip says of a wheel in a folder.
                    if line.startswith(("Collecting ", "Processing ")) and line not in seen:
                        seen.add(line)
                        advance(1)
            if pip.returncode == 0:
                break
            missing = unserved_by(lines, wanted, folder)
            wanted.remove(missing)
            unserved.append(missing)
        for wheel in part.glob("*.whl"):
            wheel.replace(folder / "wheels" / wheel.name)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return unserved


def pip_download(wanted: Path, target: Target, into: Path) -> list[str | Path]:
    """The command that gets the wheels named in a file, for another system; uv has none for it."""
    platforms = [
        option for tag in SYSTEMS[target.system].platforms for option in ("--platform", tag)
    ]
    return [
        sys.executable,
        "-m",
        "workshop.host.end_with_parent",
        "pip",
        "download",
        "--disable-pip-version-check",
        "--progress-bar=off",
        "--retries=1",
        "--timeout=15",
        "--no-deps",
        "--only-binary=:all:",
        "--ignore-requires-python",  # the lock has seen to that, to the micro version
        f"--python-version={target.python}",
        "--implementation=cp",
        "--abi=cp" + target.python.replace(".", ""),
        *platforms,
        "--dest",
        into,
        "-r",
        wanted,
    ]


def unserved_by(lines: Sequence[str], wanted: Sequence[str], folder: Path) -> str:
    """The package for which pip found no wheel. Raises `KitFailed` if that is not what went wrong."""
    said = "".join(lines)
    if "No module named pip" in said:
        raise KitFailed(
            f"{sys.executable} has no pip: install it, then run the same command again."
        )
    if DISK_FULL.search(said):
        raise KitFailed(sentence_for(OSError(errno.ENOSPC, ""), folder))
    if NETWORK_TROUBLE.search(said):
        raise KitFailed(
            "The wheels can't be downloaded: connect to a network (check the proxy, if there is one), then "
            "run the same command again; it goes on where it stopped."
        )
    if WRONG_HASH in said:
        raise KitFailed(
            "A package is not the file that the workshop names (its hash differs): it is damaged, or was "
            "exchanged, so run the same command again in another network."
        )
    missing = NO_WHEEL.search(said)
    if not missing or missing[1] not in wanted:
        last = lines[-1].strip() if lines else "it said nothing"
        raise KitFailed(f"pip can't get the wheels ({last}): run the same command again.")
    return missing[1]


# --- what the kit says of itself ------------------------------------------------------------------


def marker(targets: Sequence[Target], held: Sequence[str]) -> bytes:
    """The content of `kit.json`: the lock it was made for, the targets it serves, the data it holds."""
    content = {
        "lock": hashlib.sha256(LOCK.read_bytes()).hexdigest(),
        "targets": [[target.system, target.python] for target in targets],
        "data": list(held),
    }
    return json.dumps(content, indent=1).encode()


def read_marker(folder: Path) -> set[Target]:
    """The targets that the kit in `folder` was made for; none if there is no kit."""
    try:
        targets = json.loads((folder / MARKER).read_bytes())["targets"]
        return {Target(name, python) for name, python in targets if name in SYSTEMS}
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return set()


def read_me(targets: Sequence[Target], held: Sequence[str]) -> str:
    """The text that comes with the kit, in ASCII, so that every program and browser shows it right."""
    served = {
        SYSTEMS[name].title: [target.python for target in targets if target.system == name]
        for name in SYSTEMS
    }
    lines = [f"    {title}\n        Python {', '.join(v)}" for title, v in served.items() if v]
    return f"""\
FROM A NOTEBOOK TO A WEB APP, WITHOUT A NETWORK

This folder has all that the workshop needs on these computers:

{chr(10).join(lines) or "    (none yet: not all packages could be had)"}

On any other, set-up needs a network. Python itself is not in this folder; which
one you have, this tells you: python3 --version (on Windows: py --version).
Data in it: {", ".join(held) or "none; you work with made-up people and districts"}.


YOU HAVE THE USB STICK

1. Copy this whole folder to your disk, such as to Documents; then others can
   have the stick. Eject it before you pull it out.
2. Open a terminal in the folder {NAME} of your copy, the one
   that holds README.md. On Windows right-click the folder and choose Open in
   Terminal; on macOS and Linux type cd and a space, drag the folder into the
   terminal, and press Enter.
3. Type:
       Windows          py -m workshop start
       macOS, Linux     python3 -m workshop start


YOU GOT AN ADDRESS, SUCH AS http://192.168.1.20:9000

1. Open the address in your browser, click {NAME}.zip, and
   unpack what comes.
2. Open a terminal in the folder that holds README.md, as above.
3. Type these two lines, with the address that you got:
       Windows          $env:WORKSHOP_MIRROR = "http://192.168.1.20:9000"
                        py -m workshop start
       macOS, Linux     export WORKSHOP_MIRROR=http://192.168.1.20:9000
                        python3 -m workshop start
   (In the older Command Prompt of Windows the first line is
   set WORKSHOP_MIRROR=http://192.168.1.20:9000)
   Type both again when you open another terminal.


YOU ARE THE INSTRUCTOR

To give this folder to the room, open a terminal in it and type
       Windows          py -m http.server 9000
       macOS, Linux     python3 -m http.server 9000
Allow it when the firewall asks, and write http://YOUR-ADDRESS:9000 on the
board. A second terminal tells your address: type ipconfig on Windows,
ipconfig getifaddr en0 on macOS, hostname -I on Linux.
Until you press Ctrl-C, all in the network can read this folder, and nothing
else. An address like 192.168.1.20 is asked past any proxy; for a name with
dots in it, such as mirror.example.org, those with a proxy set NO_PROXY to that
name.
"""
