"""The learner's own copy of notebooks and apps in `work/`, so that `git pull` never meets their changes.

The files that the repository tracks stay unchanged; the learner works in the copy, which git ignores. The
copy follows the repository file by file: a file that the learner hasn't changed is updated, and one that
they have changed is never overwritten or deleted without being set aside first.
"""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import click

from workshop.core.errors import WorkshopError
from workshop.core.files import sweep, write_whole
from workshop.core.own_apps import PORTS, TYPED
from workshop.core.stages import BASE, COPY, Stage, base
from workshop.setup.process import ROOT, is_plain, setting

# What a learner opens and runs, and what the notebooks link to.
COPIED = ("notebooks", "apps", "docs", "data/iris.csv", "data/penguins.csv", "data/README.md")
# What programs leave next to the files they open.
CACHES = {"__pycache__", ".ipynb_checkpoints", ".virtual_documents", ".DS_Store", "Thumbs.db"}
MADE = {*CACHES, "model", "instance"}  # made by running an app, not by hand
RECORD = ".originals.json"  # in the copy: for each file, the fingerprints of what was copied there
ASIDE = "aside"
DAMAGED = "is cut short or damaged; rename it, and the next start makes a new copy"


class CopyFailed(WorkshopError):
    """The learner's copy can't be made or brought up to date."""


@dataclass
class Outcome:
    """The files that stay because the learner has changed them, each as its path in the copy."""

    kept: list[Path] = field(default_factory=list)
    behind: list[Path] = field(default_factory=list)  # of these, the ones with a newer original
    damaged: list[Path] = field(default_factory=list)  # the notebooks that can't be opened


def use_my_copy(make: bool = True) -> None:
    """Let this process, and every process it starts, work in the learner's copy, which is updated first.

    Prints which changed files have newer originals. `WORKSHOP_WORK` names another folder for the copy; if it
    names the repository itself, nothing is copied. With `make=False`, the copy is used as it is, if there
    is one. Raises `CopyFailed`.
    """
    copy = (base() if setting(BASE) else COPY).absolute()
    if not is_plain(copy):
        raise CopyFailed(
            f"No copy can be made in {copy}: set WORKSHOP_WORK to a folder whose path has letters, "
            "digits and spaces."
        )
    if make or copy.is_dir():
        os.environ[BASE] = str(copy)
    if make and copy != ROOT:
        outcome = bring_up_to_date(copy)
        for path in outcome.behind:
            name = path.as_posix()
            click.echo(f"There is a newer {name}; you have changed yours, so it stays as it is.")
        for path in outcome.damaged:
            click.echo(f"{path.as_posix()} {DAMAGED}.")


def bring_up_to_date(copy: Path) -> Outcome:
    """Copy every original that is missing from `copy` or out of date there, unless the learner changed it.

    If it is interrupted, every file is whole, and the next call finishes the job. Raises `CopyFailed`.
    """
    outcome, record, stale = Outcome(), {}, []
    try:
        copy.mkdir(parents=True, exist_ok=True)
        before = _read_record(copy)
        for path in originals():
            name = path.as_posix()
            mine, original = fingerprint(copy / path), fingerprint(ROOT / path)
            record[name] = copied = before.get(name, [])
            if mine in (None, original, *copied):
                record[name] = list(dict.fromkeys([*copied, original]))
                if mine != original:
                    stale.append(path)
            else:
                outcome.kept.append(path)
                if path.suffix == ".ipynb" and cells_of((copy / path).read_bytes()) is None:
                    outcome.damaged.append(path)
                if original not in copied:
                    outcome.behind.append(path)
        for name in before.keys() - record.keys():  # gone from the workshop
            if fingerprint(copy / name) in before[name]:
                (copy / name).unlink()
        # Written before the copies: if they are interrupted, it lists both the old and the new version.
        if record != before:
            write_whole(copy / RECORD, json.dumps(record, indent=1).encode())
        for folder in {copy, *((copy / name).parent for name in record)}:
            sweep(folder)
        for path in stale:
            write_whole(copy / path, (ROOT / path).read_bytes())
    except OSError as error:
        raise CopyFailed(
            f"Your copy of the notebooks and apps can't be made in {copy} ({error.strerror}): make room, "
            "or set WORKSHOP_WORK to a folder of your own."
        ) from error
    return outcome


def _read_record(copy: Path) -> dict[str, list[str]]:
    """Return the record in `copy`; an empty one if it's damaged or isn't there."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        found = json.loads((copy / RECORD).read_bytes())
        return found if isinstance(found, dict) else {}
    return {}


def originals() -> Iterator[Path]:
    """Yield every file that belongs in a copy, as a path relative to the repository's root."""
    for place in COPIED:
        found = ROOT / place
        for file in sorted(found.rglob("*")) if found.is_dir() else [found]:
            path = file.relative_to(ROOT)
            is_own = path.parts[0] == "apps" and path.parts[1] in {*TYPED, PORTS}  # a learner's
            if file.is_file() and not is_own and not MADE.intersection(path.parts):
                yield path


def fingerprint(file: Path) -> str | None:
    """Return a hash that changes when somebody edits a file; None if there is no such file.

    In a notebook, only the text of the cells counts: running them and saving the outputs isn't an edit.
    Empty cells at the end don't count either: JupyterLab adds one when somebody runs the last cell.
    """
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return None
    if file.suffix == ".ipynb" and (cells := cells_of(content)) is not None:
        while cells and not cells[-1][1].strip():
            cells.pop()
        content = json.dumps(cells).encode()  # in a damaged one, every byte counts
    return hashlib.sha256(content).hexdigest()


def cells_of(content: bytes) -> list[tuple[str, str]] | None:
    """Return the type and text of each cell of a notebook; None if it's damaged, for example cut short."""
    try:
        cells = json.loads(content.decode())["cells"]  # as JupyterLab reads it
        return [(cell["cell_type"], "".join(cell["source"])) for cell in cells]
    except (ValueError, KeyError, TypeError):
        return None


def stage_files(stage: Stage) -> list[Path]:
    """Return the files of a stage's notebooks and app in the copy, as paths relative to its root."""
    files = [*stage.notebook_files, *(stage.folder.rglob("*") if stage.app else ())]
    paths = [file.relative_to(base()) for file in files if file.is_file()]
    return sorted(path for path in paths if not CACHES.intersection(path.parts))


def set_aside(paths: list[Path]) -> Path | None:
    """Set files of the copy aside in a folder named after the time, and return it; None if nothing is new.

    A file that hasn't changed since it was last set aside isn't copied again.
    """
    shelf, contents = base() / ASIDE, {path: (base() / path).read_bytes() for path in paths}
    new = {
        path: content
        for path, content in contents.items()
        if all(old.read_bytes() != content for old in shelf.glob(f"*/{path.as_posix()}"))
    }
    if not new:
        return None
    while (folder := shelf / time.strftime("%Y-%m-%d_%H-%M-%S")).exists():
        time.sleep(0.1)
    for path, content in new.items():
        write_whole(folder / path, content)
    return folder


def reset(stage: Stage) -> tuple[list[Path], Path | None]:
    """Restore the original files of a stage, byte for byte, including its outputs, model and database.

    Returns the files that were restored or removed, and the folder in which they were set aside first.
    """
    touched = [path for path in stage_files(stage) if not _is_as_it_came(path)]
    folder = set_aside(touched)
    for path in touched:
        (base() / path).unlink()
    bring_up_to_date(base())  # copies the missing files
    return touched, folder


def _is_as_it_came(path: Path) -> bool:
    """Return whether a file of the copy is an original, byte for byte."""
    original = ROOT / path
    is_original = original.is_file() and not MADE.intersection(path.parts)
    return is_original and original.read_bytes() == (base() / path).read_bytes()
