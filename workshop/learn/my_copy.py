"""The learner's own copy of notebooks and apps in `work/`, so that `git pull` never meets their changes.

What the repository tracks stays as it came; the learner works in the copy, which git ignores. The copy
follows the repository file by file: what the learner has not changed is brought up to date, what they
have changed is theirs, and nothing of it is ever overwritten or deleted without being set aside first.
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

# What a learner opens and runs, and what the notebooks' links lead to.
COPIED = ("notebooks", "apps", "docs", "data/iris.csv", "data/penguins.csv", "data/README.md")
# What programs leave next to the files that somebody opens with them.
CACHES = {"__pycache__", ".ipynb_checkpoints", ".virtual_documents", ".DS_Store", "Thumbs.db"}
MADE = {*CACHES, "model", "instance"}  # by running an app, not by anyone's hand
RECORD = ".originals.json"  # in the copy: for each file, the fingerprints of what was copied there
ASIDE = "aside"
DAMAGED = "is cut short or damaged; rename it, and the next start brings a new one"


class CopyFailed(WorkshopError):
    """The learner's copy can't be made or brought up to date."""


@dataclass
class Outcome:
    """The files that stayed because the learner has changed them, each named by its path in the copy."""

    kept: list[Path] = field(default_factory=list)
    behind: list[Path] = field(default_factory=list)  # of these, the ones with a newer original
    damaged: list[Path] = field(
        default_factory=list
    )  # of these, the notebooks that can't be opened


def use_my_copy(make: bool = True) -> None:
    """Let this process, and all that it starts, work in the learner's copy, made or brought up to date first.

    Says where the workshop has moved on. `WORKSHOP_WORK` names another place for the copy; with the
    repository itself there, nothing is copied. With `make=False` the copy is used as it is, if there is
    one. Raises `CopyFailed`.
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
            click.echo(f"There is a newer {name}; yours, which you have changed, stays as it is.")
        for path in outcome.damaged:
            click.echo(f"{path.as_posix()} {DAMAGED}.")


def bring_up_to_date(copy: Path) -> Outcome:
    """Copy every original that `copy` lacks or has an older version of, unless the learner changed it.

    Interrupted at any moment, it leaves whole files, and the next call finishes. Raises `CopyFailed`.
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
        # Written before the copies: should they be interrupted, the old and the new version are in it.
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
    """Return what the record in `copy` says; nothing if it's damaged or isn't there."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        found = json.loads((copy / RECORD).read_bytes())
        return found if isinstance(found, dict) else {}
    return {}


def originals() -> Iterator[Path]:
    """Yield every file that belongs in a copy, as a path from the repository's root."""
    for place in COPIED:
        found = ROOT / place
        for file in sorted(found.rglob("*")) if found.is_dir() else [found]:
            path = file.relative_to(ROOT)
            is_own = path.parts[0] == "apps" and path.parts[1] in {*TYPED, PORTS}  # a learner's
            if file.is_file() and not is_own and not MADE.intersection(path.parts):
                yield path


def fingerprint(file: Path) -> str | None:
    """Return what changes when somebody changes a file; None if there is no such file.

    Of a notebook, only the text of its cells counts: running them, and even saving their outputs, changes
    nobody's work. Nor do empty cells at its end, where JupyterLab adds one when somebody has run the last.
    """
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return None
    if file.suffix == ".ipynb" and (cells := cells_of(content)) is not None:
        while cells and not cells[-1][1].strip():
            cells.pop()
        content = json.dumps(cells).encode()  # of a damaged one, every byte counts
    return hashlib.sha256(content).hexdigest()


def cells_of(content: bytes) -> list[tuple[str, str]] | None:
    """Return type and text of each cell of a notebook; None if it's damaged, such as cut short."""
    try:
        cells = json.loads(content.decode())["cells"]  # as JupyterLab reads it
        return [(cell["cell_type"], "".join(cell["source"])) for cell in cells]
    except (ValueError, KeyError, TypeError):
        return None


def stage_files(stage: Stage) -> list[Path]:
    """Return the files of a stage's notebooks and app in the copy, as paths from its root."""
    files = [*stage.notebook_files, *(stage.folder.rglob("*") if stage.app else ())]
    paths = [file.relative_to(base()) for file in files if file.is_file()]
    return sorted(path for path in paths if not CACHES.intersection(path.parts))


def set_aside(paths: list[Path]) -> Path | None:
    """Copy files of the copy into a folder named by the time, and return it; None if nothing is new.

    A file that was set aside before and has not changed since is not copied again.
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
    """Bring a stage back to how it came, to the byte: outputs, model and database included.

    Returns what was brought back or taken away, and the folder in which all of it was set aside first.
    """
    touched = [path for path in stage_files(stage) if not _is_as_it_came(path)]
    folder = set_aside(touched)
    for path in touched:
        (base() / path).unlink()
    bring_up_to_date(base())  # which copies what isn't there
    return touched, folder


def _is_as_it_came(path: Path) -> bool:
    """Return whether a file of the copy is an original, to the byte."""
    original = ROOT / path
    is_original = original.is_file() and not MADE.intersection(path.parts)
    return is_original and original.read_bytes() == (base() / path).read_bytes()
