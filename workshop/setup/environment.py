"""The Python environment that the workshop runs in: where it is, whether it is whole, how it is made.

A stamp, written last, says that the environment is whole and which lock, project file and folder it was
made for. While the stamp matches, a call costs one hash of two small files; when it is missing, set-up was
interrupted and starts over (what was downloaded is still in the installer's cache).
"""

import csv
import hashlib
import importlib.metadata
import importlib.util
import marshal
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from workshop.setup.lock import LOCK, PROJECT, locked
from workshop.setup.process import ROOT, SetupError, is_plain, setting

NO_VENV = (
    "This Python cannot make virtual environments: install its venv package "
    "(on Debian and Ubuntu: sudo apt install python3-venv), then run the same command again."
)


@dataclass(frozen=True)
class Environment:
    """The Python that the workshop runs in: `.venv`, or the current one with `WORKSHOP_NO_VENV=1`."""

    prefix: Path
    python: Path
    stamp: Path
    own: bool

    @property
    def test_stamp(self) -> Path:
        """The stamp of what only the tests need."""
        return self.stamp.with_name(f"{self.stamp.name}-tests")

    @property
    def is_ready(self) -> bool:
        """Whether everything that attendees use is installed."""
        return self.is_made and self.is_stamped(self.stamp, LOCK)

    @property
    def is_made(self) -> bool:
        """Whether its Python is there, and knows that it is this environment's."""
        return self.python.exists() and (not self.own or (self.prefix / "pyvenv.cfg").is_file())

    def digest(self, *locks: Path) -> str:
        """What a stamp must say: it changes with the locks, the project file and the folder."""
        whole = hashlib.sha256(os.fsencode(f"{ROOT}\n{self.prefix}\n"))
        for file in (*locks, PROJECT):
            whole.update(file.read_bytes())
        return whole.hexdigest()

    def is_stamped(self, stamp: Path, *locks: Path) -> bool:
        """Whether a stamp says that everything in the locks is installed."""
        try:
            return stamp.read_text(encoding="ascii") == self.digest(*locks)
        except (OSError, UnicodeDecodeError):  # one of the files may be missing: set-up says so
            return False

    @property
    def is_current(self) -> bool:
        """Whether this process runs in the environment."""
        return Path(sys.prefix).resolve() == self.prefix.resolve()

    def forget(self) -> None:
        """Delete the stamps, so that the next command sets up again. Raises OSError."""
        self.stamp.unlink(missing_ok=True)
        self.test_stamp.unlink(missing_ok=True)


def find_environment() -> Environment:
    """The environment to use, whether it exists yet or not."""
    if setting("WORKSHOP_NO_VENV") == "1":
        prefix = Path(sys.prefix)
        return Environment(prefix, Path(sys.executable), ROOT / ".workshop-setup", own=False)
    prefix = ROOT / ".venv"
    python = prefix / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    return Environment(prefix, python, prefix / "workshop-setup", own=True)


def damage() -> dict[str, str]:
    """The packages of the lock of which a file is gone or cut short, each with the path of such a file.

    What is not installed at all isn't among them. A compiled file that is cut short is deleted: Python
    makes another.
    """
    found = {}
    for name in {pin.partition("==")[0] for pin in locked(LOCK)}:
        for installed in importlib.metadata.distributions(name=name):
            for file, _, size in csv.reader((installed.read_text("RECORD") or "").splitlines()):
                path = Path(installed.locate_file(file))
                # A file without a size is the record itself, or what Python has compiled.
                if size and not (path.is_file() and path.stat().st_size == int(size)):
                    found[name] = file
                elif path.suffix == ".py":
                    drop_cut(Path(importlib.util.cache_from_source(path)))
    return found


def drop_cut(compiled: Path) -> None:
    """Delete a file that Python has compiled if it's cut short, as it may be since the disk was full."""
    try:
        marshal.loads(compiled.read_bytes()[16:])  # noqa: S302  # nosec B302 (as an import would)
    except FileNotFoundError:
        pass
    except (EOFError, ValueError, TypeError):
        compiled.unlink()


def shadows(folders: Iterable[Path]) -> list[Path]:
    """The files in `folders` that have the name of a module which the workshop, or Python, has too.

    Programs and notebooks next to such a file import it instead.
    """
    taken = {*sys.stdlib_module_names, *importlib.metadata.packages_distributions()} - {"workshop"}
    files = [file for folder in folders if folder.is_dir() for file in sorted(folder.iterdir())]
    modules = [f for f in files if f.suffix == ".py" or (f / "__init__.py").is_file()]
    return [file for file in modules if file.stem in taken]


def how_to_reinstall() -> str:
    """What to do about packages that are not as they should be."""
    environment = find_environment()
    what = "the .venv folder" if environment.own else environment.stamp
    return f"delete {what} and run any workshop command again"


def make_environment(prefix: Path) -> None:
    """Make the virtual environment from nothing, whatever an interrupted set-up left there."""
    if not is_plain(prefix):
        raise SetupError(
            f"No environment can be made in {ROOT}: give the folder a name of letters, digits and "
            "spaces, then run the same command again."
        )
    if prefix.is_symlink() or prefix.is_file():
        prefix.unlink()  # only the link: what it leads to is not the workshop's to clear
    try:
        import venv  # here, because a call that finds everything set up doesn't need it

        # Links, as `python -m venv` makes them: a copied Python may not find its shared library.
        # Without pip, which takes longer to install than everything else together once uv is there.
        venv.create(prefix, clear=True, symlinks=os.name == "posix")
    except ImportError as error:
        raise SetupError(NO_VENV) from error
