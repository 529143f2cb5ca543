"""Set-up with the standard library alone: makes `.venv`, fills it from the lock, runs the command inside.

A stamp, written last, says that the environment is whole and which lock, project file and folder it was
made for. While the stamp fits, a call costs one hash of two small files; when it is missing, set-up was
interrupted and starts over (what was downloaded is still in the installer's cache).

The packages come from `--wheels`, or else from the first of these that can serve: the mirror in
`WORKSHOP_MIRROR`, the kit that this folder is a part of, the network.
"""

import contextlib
import errno
import hashlib
import importlib.util
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from workshop import mirror

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.txt"
PROJECT = ROOT / "pyproject.toml"

# What pip prints when it cannot reach a package index, on any system.
NETWORK_TROUBLE = re.compile(
    r"connection broken|NewConnectionError|ConnectTimeout|ReadTimeout|Max retries|ProxyError|SSLError"
    r"|getaddrinfo|name resolution|Could not fetch URL|Network is unreachable",
    re.IGNORECASE,
)

# What pip prints when a file is not the one whose hash the lock has.
WRONG_HASH = "DO NOT MATCH THE HASHES"

NO_VENV = (
    "This Python cannot make virtual environments: install its venv package "
    "(on Debian and Ubuntu: sudo apt install python3-venv), then run the same command again."
)

PIP_FOR_OTHERS = (22, 3)  # the first pip that installs for another Python than its own

ROOM = 50e6  # bytes; where less is left after a failure, that is why

MIRROR_LIMIT = 5.0  # seconds a server in the room may be silent


class SetupError(Exception):
    """Set-up cannot go on; the message is one sentence that says what to do."""


class NotServed(SetupError):
    """The packages can't be had from one place; another one may have them."""


@dataclass(frozen=True)
class Environment:
    """The Python that the workshop runs in: `.venv`, or the current one with `WORKSHOP_NO_VENV=1`."""

    prefix: Path
    python: Path
    stamp: Path
    own: bool

    @property
    def digest(self) -> str:
        """What the stamp must hold: it changes with the lock, the project file and the folder."""
        whole = hashlib.sha256(os.fsencode(f"{ROOT}\n{self.prefix}\n"))
        for file in (LOCK, PROJECT):
            whole.update(file.read_bytes())
        return whole.hexdigest()

    @property
    def is_ready(self) -> bool:
        try:
            return self.python.exists() and self.stamp.read_text(encoding="ascii") == self.digest
        except (OSError, UnicodeDecodeError):
            return False

    @property
    def is_current(self) -> bool:
        return Path(sys.prefix).resolve() == self.prefix.resolve()


def find_environment() -> Environment:
    """The environment to use, whether it exists yet or not."""
    if os.environ.get("WORKSHOP_NO_VENV") == "1":
        prefix = Path(sys.prefix)
        return Environment(prefix, Path(sys.executable), ROOT / ".workshop-setup", own=False)
    prefix = ROOT / ".venv"
    python = prefix / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    return Environment(prefix, python, prefix / "workshop-setup", own=True)


def say(text: str) -> None:
    """Tell what set-up is doing; on stderr, because stdout belongs to the command."""
    print(text, file=sys.stderr, flush=True)


def sentence_for(error: OSError) -> str:
    """What to do about a file system that refuses."""
    if error.errno == errno.ENOSPC:
        return "The disk is full: free about 1 GB, then run the same command again."
    return (
        f"The workshop cannot write in {ROOT}: move it to a folder of your own, "
        "such as one in Documents, and run the same command there."
    )


def locked(lock: Path) -> dict[str, str]:
    """The requirements of a lock, such as `numpy==2.4.6 ; python_full_version < '3.12'`.

    To each belongs its entry: the lines that name it and the hashes, one of which its file must have.
    """
    text = lock.read_text(encoding="utf-8")
    entries = re.findall(r"^[a-z0-9].*==.*(?:(?<=\\)\n.*)*", text, re.MULTILINE)
    return {entry.partition("\\")[0].strip(): entry for entry in entries}


def make_environment(prefix: Path) -> None:
    """Make the virtual environment from nothing, whatever an interrupted set-up left there."""
    if os.pathsep in str(prefix) or not str(prefix).isprintable():
        raise SetupError(
            f"No environment can be made in {ROOT}: give the folder a name of letters, digits and "
            "spaces, then run the same command again."
        )
    if prefix.is_symlink() or prefix.is_file():
        prefix.unlink()  # the link alone: what it leads to is not the workshop's to clear
    try:
        import venv  # here, because a call that finds everything set up goes without it

        # Links, as `python -m venv` makes them: a copied Python may not find its shared library.
        # Without pip, which takes longer to install than all else together once uv is there.
        venv.create(prefix, clear=True, symlinks=os.name == "posix")
    except ImportError as error:
        raise SetupError(NO_VENV) from error


def status_of(url: str) -> int:
    """The status with which a server answers; 0 if none does."""
    import http.client
    import urllib.request  # here, because a call that finds everything set up goes without them
    from urllib.error import HTTPError

    try:
        mirror.go_past_proxy(url)
        with urllib.request.urlopen(url, timeout=MIRROR_LIMIT) as answer:  # noqa: S310 (http or https)
            return answer.status
    except HTTPError as error:
        return error.code
    except (OSError, ValueError, http.client.HTTPException):
        return 0


def wheels_in(place: str) -> str | None:
    """The folder or URL `wheels/` of a kit or mirror; None if it has none.

    Raises `NotServed` if the place itself is not there.
    """
    if not mirror.is_url(place):
        folder = mirror.folder_of(place)
        if not folder.is_dir():
            raise NotServed(
                f"There is no folder {place}: give --wheels the folder that holds the .whl files."
            )
        return str((folder / "wheels").resolve()) if (folder / "wheels").is_dir() else None
    url = f"{place.rstrip('/')}/wheels/"
    status = status_of(url)
    if not status:
        raise NotServed(
            f"{mirror.shown(place)} does not answer: check the address, and that this computer is on the "
            "room's network, then run the same command again."
        )
    return url if status == 200 else None


def places(wheels: str | None) -> Iterator[str | None]:
    """The folders or URLs of wheels to try, one after the other; None is the network."""
    if wheels is not None:
        place = wheels if mirror.is_url(wheels) else str(mirror.folder_of(wheels).resolve())
        yield wheels_in(wheels) or place
        return
    for name, place in mirror.mirrors():
        try:
            found = wheels_in(place)
        except NotServed:
            say(f"{name} can't be reached, so the packages come from elsewhere.")
        else:
            if found:
                yield found
    yield None


def find_links(place: str) -> list[str]:
    """Options with which pip and uv take every package from a folder or URL of wheels."""
    options = ["--no-index", "--find-links", place]
    if place.lower().startswith("http:"):
        # pip ignores a server without https unless it is told to trust it.
        options += ["--trusted-host", urlsplit(place).netloc.rpartition("@")[2]]
    return options


def pip_for(environment: Environment) -> list[str | Path]:
    """The command that runs pip for the environment: the pip of this Python, if it can do that.

    Raises `SetupError` where there is no pip at all.
    """
    import importlib.metadata  # here, because a call that finds everything set up goes without it

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

    Raises `NotServed` where no package can be had at all, or where this one is not what it should be.
    """
    patience = ["--retries", "1", "--timeout", "15"]
    command = [*pip, "install", "--quiet", *patience, *source, "-r", file]
    run = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if run.returncode and WRONG_HASH in run.stderr:
        raise NotServed(
            "The package uv is not the file that the workshop names (its hash differs): it is damaged, or "
            "was exchanged, so get the packages from another place, or go without --wheels."
        )
    if run.returncode and NETWORK_TROUBLE.search(run.stderr):
        raise NotServed(
            "The packages cannot be downloaded: connect to a network (check the proxy, if there is one) "
            "and run the same command again, or ask for a folder of wheels and add --wheels FOLDER."
        )
    return run.returncode == 0


def installer_for(
    environment: Environment, source: Sequence[str], folder: Path
) -> tuple[list[str | Path], Path]:
    """The command that installs packages, and the list of those it is to install.

    It is the uv that this computer has, or else the locked one, or else pip. Parts of the lock are
    written to `folder`, because hashes can be given in files only.
    """
    import shutil  # here, because a call that finds everything set up goes without it

    pins = locked(LOCK)
    uv = [entry for pin, entry in pins.items() if pin.startswith("uv==")]
    rest = [entry for pin, entry in pins.items() if not pin.startswith("uv==")]
    for name, entries in {"uv.txt": uv, "rest.txt": rest}.items():
        (folder / name).write_text("\n".join(entries), encoding="utf-8")
    # To a terminal uv draws a bar. Elsewhere it would print a line for each package.
    quiet = [] if sys.stderr.isatty() else ["--quiet"]
    with_uv = ["pip", "install", *quiet, "--python", environment.python, *source]
    found = shutil.which("uv")
    if found:
        return [found, *with_uv], LOCK
    pip = pip_for(environment)
    if uv and get_uv(pip, source, folder / "uv.txt"):
        return [environment.python, "-m", "uv", *with_uv], LOCK
    say("      uv can't be had here, so pip does it, which takes longer")
    return [*pip, "install", "--quiet", "--disable-pip-version-check", *source], folder / "rest.txt"


def install(environment: Environment, source: Sequence[str], folder: Path) -> None:
    """Install the lock, then the workshop itself. A file whose hash is not in the lock is refused.

    Raises `NotServed` where a package can't be had.
    """
    installer, packages = installer_for(environment, source, folder)
    # Some of them in two versions for two Pythons, and a few for other systems alone.
    say(f"  3/4 installing about {len({pin.partition('==')[0] for pin in locked(LOCK)})} packages")
    steps = [
        [*installer, "-r", packages],
        # No build isolation: what builds it (flit-core) came with the lock, so nothing is downloaded.
        [*installer, "--no-deps", "--no-build-isolation", "-e", ROOT],
    ]
    for number, step in enumerate(steps):
        if number:
            say("  4/4 installing the workshop itself")
        if subprocess.run(step).returncode:
            if source:
                raise NotServed(
                    "The folder of wheels does not hold all that this Python and system need (the "
                    "lines above say what is missing): ask for one that does, or go without --wheels."
                )
            raise NotServed(
                "The packages could not all be installed (the lines above say why): check the network and "
                "the free space on the disk, then run the same command again."
            )


def fill(environment: Environment, place: str | None) -> None:
    """Steps 2 to 4, with packages from one place. Raises `NotServed` where it lacks one."""
    say("  2/4 getting uv, which installs packages fast")
    if place:
        say(
            f"      (all packages come from {mirror.shown(place) if mirror.is_url(place) else place})"
        )
    import tempfile  # here, because a call that finds everything set up goes without it

    with tempfile.TemporaryDirectory() as folder:
        install(environment, find_links(place) if place else [], Path(folder))


def set_up(environment: Environment, wheels: str | None) -> None:
    """Make the environment whole. Raises `SetupError` with a sentence that says what to do."""
    for file in (LOCK, PROJECT):
        if not file.is_file():
            raise SetupError(
                f"{file.name} is not in {ROOT}: get the whole folder of the workshop again."
            )
    candidates = list(places(wheels))
    began = time.monotonic()
    where = environment.prefix if environment.own else environment.python
    say(f"Setting up the workshop in {where} (once; a minute or two, depending on the network)")
    try:
        if environment.own:
            # Where a system asks for --user installs, pip would refuse to fill `.venv`.
            os.environ["PIP_USER"] = "0"
        whole_before = environment.stamp.exists() and environment.python.exists()
        environment.stamp.unlink(missing_ok=True)
        if environment.own and not environment.is_current and not whole_before:
            say("  1/4 making the environment")
            make_environment(environment.prefix)
        else:
            say("  1/4 using the environment that is there")
        for place in candidates:
            try:
                fill(environment, place)
                break
            except NotServed:
                if place is candidates[-1]:
                    raise
                say(
                    "      that lacks something this Python and system need, so the next place is asked"
                )
        environment.stamp.write_text(environment.digest, encoding="ascii")
    except OSError as error:
        raise SetupError(sentence_for(error)) from error
    except SetupError as error:
        import shutil  # here, because a call that finds everything set up goes without it

        if (
            shutil.disk_usage(environment.prefix.parent).free < ROOM
        ):  # whatever an installer made of it
            raise SetupError(sentence_for(OSError(errno.ENOSPC, ""))) from error
        raise
    say(f"Set up in {time.monotonic() - began:.0f} s.")


def is_taken(descriptor: int) -> bool:
    """Lock an open file, or say that another process holds the lock."""
    try:
        if os.name == "posix":
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    except (BlockingIOError, PermissionError):
        return True
    except OSError:
        return False  # a file system without locks: go on without one
    return False


@contextlib.contextmanager
def one_at_a_time(
    waiting: str = "Another command is setting the workshop up: waiting for it ...",
) -> Iterator[None]:
    """Wait while another call sets up this folder. The lock of a process goes when it ends."""
    with Path(__file__).open("rb") as file:
        # Windows keeps even readers from locked bytes; those beyond the end are nobody's.
        file.seek(2**30)
        if is_taken(file.fileno()):
            say(waiting)
            while is_taken(file.fileno()):
                time.sleep(0.2)
        yield


def replace_process(command: Sequence[str | Path]) -> int:
    """Run `command` in place of this process, and return its exit code where a system cannot do that."""
    arguments = [str(part) for part in command]
    if os.name == "posix":
        sys.stdout.flush()
        sys.stderr.flush()
        os.execv(arguments[0], arguments)  # noqa: S606 (meant to be without a shell)
    process = subprocess.Popen(arguments)
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue  # Ctrl-C reached the command as well; it says goodbye in its own time.


def take_wheels(arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    """Take `--wheels FOLDER` out of the command line, wherever it stands."""
    wheels, rest = None, list(arguments)
    for number, argument in enumerate(arguments):
        if argument == "--wheels":
            wheels = "".join(arguments[number + 1 : number + 2])
            del rest[number : number + 2]
            break
        if argument.startswith("--wheels="):
            wheels = rest.pop(number).partition("=")[2]
            break
    if wheels == "":
        raise SetupError("--wheels needs a folder: python3 -m workshop start --wheels FOLDER")
    return wheels, rest


def main(arguments: Sequence[str]) -> int:
    """Set up if needed, then run the command inside the environment."""
    environment = find_environment()
    try:
        wheels, rest = take_wheels(arguments)
        ready = environment.is_ready
        if not ready:
            with one_at_a_time():
                if not environment.is_ready:
                    set_up(environment, wheels)
    except SetupError as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        say("\nSet-up was interrupted: the same command finishes it.")
        return 130
    if ready and environment.is_current:
        if importlib.util.find_spec("click") is None:
            # An upgraded Python looks for its packages in another folder.
            environment.stamp.unlink(missing_ok=True)
            say(
                "The packages are gone (was Python upgraded?): the same command installs them anew."
            )
            return 1
        from workshop.cli import run

        return run(rest)
    return replace_process([environment.python, "-m", "workshop", *rest])
