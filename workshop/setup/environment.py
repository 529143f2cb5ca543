"""The Python environment that the workshop runs in: where it is, whether it is complete, how to make it.

A stamp, written last, records that the environment is complete, and the lock, project file and folder it was
made for. While the stamp matches, a command only has to hash two small files. A missing stamp means that
set-up was interrupted and starts over (downloaded packages are still in the installer's cache).
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
    "This Python can't create virtual environments: install its venv package "
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
        """Whether its Python exists and has the settings file that ties it to this environment."""
        return self.python.exists() and (not self.own or (self.prefix / "pyvenv.cfg").is_file())

    def digest(self, *locks: Path) -> str:
        """The content of a valid stamp; it changes with the locks, the project file and the folder."""
        whole = hashlib.sha256(os.fsencode(f"{ROOT}\n{self.prefix}\n"))
        for file in (*locks, PROJECT):
            whole.update(file.read_bytes())
        return whole.hexdigest()

    def is_stamped(self, stamp: Path, *locks: Path) -> bool:
        """Whether a stamp records that everything in the locks is installed."""
        try:
            return stamp.read_text(encoding="ascii") == self.digest(*locks)
        except (OSError, UnicodeDecodeError):  # if a lock is missing, set-up reports it
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
    """The locked packages with a missing or truncated file; maps each to the path of one such file.

    Packages that aren't installed at all are left out. Truncated compiled files are deleted, because Python
    makes new ones.
    """
    found = {}
    for name in {pin.partition("==")[0] for pin in locked(LOCK)}:
        for installed in importlib.metadata.distributions(name=name):
            for file, _, size in csv.reader((installed.read_text("RECORD") or "").splitlines()):
                path = Path(installed.locate_file(file))
                # Files listed without a size are the record itself and compiled files.
                if size and not (path.is_file() and path.stat().st_size == int(size)):
                    found[name] = file
                elif path.suffix == ".py":
                    drop_cut(Path(importlib.util.cache_from_source(path)))
    return found


def drop_cut(compiled: Path) -> None:
    """Delete a compiled file if it is truncated, for example because the disk was full."""
    try:
        marshal.loads(compiled.read_bytes()[16:])  # noqa: S302  # nosec B302 (as an import would)
    except FileNotFoundError:
        pass
    except (EOFError, ValueError, TypeError):
        compiled.unlink()


def shadows(folders: Iterable[Path]) -> list[Path]:
    """The files in `folders` with the same name as a module of Python or of an installed package.

    Programs and notebooks next to such a file import it instead of that module.
    """
    taken = {*sys.stdlib_module_names, *importlib.metadata.packages_distributions()} - {"workshop"}
    files = [file for folder in folders if folder.is_dir() for file in sorted(folder.iterdir())]
    modules = [f for f in files if f.suffix == ".py" or (f / "__init__.py").is_file()]
    return [file for file in modules if file.stem in taken]


def how_to_reinstall() -> str:
    """What to do about packages that aren't as they should be."""
    environment = find_environment()
    what = "the .venv folder" if environment.own else environment.stamp
    return f"delete {what} and run any workshop command again"


def make_environment(prefix: Path) -> None:
    """Create the virtual environment, replacing anything an interrupted set-up left behind."""
    if not is_plain(prefix):
        raise SetupError(
            f"The environment can't be created in {ROOT}: rename the folder, using only letters, digits and "
            "spaces, then run the same command again."
        )
    if prefix.is_symlink() or prefix.is_file():
        prefix.unlink()  # only the link: its target isn't ours to delete
    try:
        import venv  # here, because most runs don't need it

        # With links, like `python -m venv`: a copied Python may not find its shared library.
        # Without pip: it takes longer to install than everything else does with uv.
        venv.create(prefix, clear=True, symlinks=os.name == "posix")
    except ImportError as error:
        raise SetupError(NO_VENV) from error
