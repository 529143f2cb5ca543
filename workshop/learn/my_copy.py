"""The learner's own copy of notebooks and apps in `work/`, so that `git pull` never meets their changes.

What the repository tracks stays as it came; the learner works in the copy, which git ignores. The copy
follows the repository file by file: what the learner has not changed is brought up to date, what they
have changed is theirs, and nothing of it is ever overwritten or deleted without being set aside first.
"""

import hashlib
import json
import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import click

from workshop.core.errors import WorkshopError
from workshop.core.files import sweep, write_whole
from workshop.core.own_apps import PORTS, TYPED
from workshop.core.stages import BASE, COPY, Stage, base
from workshop.setup.process import ROOT

# What a learner opens and runs, and what the notebooks' links lead to.
COPIED = ("notebooks", "apps", "docs", "data/iris.csv", "data/README.md")
MADE = {
    "__pycache__",
    ".ipynb_checkpoints",
    "model",
    "instance",
}  # by running, not by anyone's hand
RECORD = ".originals.json"
ASIDE = "aside"


class CopyFailed(WorkshopError):
    """The learner's copy can't be made or brought up to date."""


@dataclass
class Outcome:
    """What became of the learner's files; each is named by its path in the copy."""

    kept: list[Path] = field(default_factory=list)  # changed by the learner, and left alone
    behind: list[Path] = field(default_factory=list)  # of these, the ones with a newer original
    aside: Path | None = None  # the folder that holds what was set aside, if anything was


def use_copy(make: bool = True) -> Outcome:
    """Make the copy or bring it up to date, and let this process and all it starts work in it.

    `WORKSHOP_WORK` names another place for it; with the repository itself there, nothing is copied.
    With `make=False` the copy is used as it is, if there is one. Raises `CopyFailed`.
    """
    copy = Path(os.environ.get(BASE) or COPY).absolute()
    if not make and not copy.is_dir():
        return Outcome()
    os.environ[BASE] = str(copy)
    return Outcome() if copy == ROOT or not make else bring_up_to_date(copy)


def use_my_copy() -> None:
    """Work in the learner's copy of notebooks and apps, and say where the workshop has moved on."""
    for path in use_copy().behind:
        name = path.as_posix()
        click.echo(f"There is a newer {name}; yours, which you have changed, stays as it is.")


def bring_up_to_date(copy: Path) -> Outcome:
    """Copy every original that `copy` lacks or holds an older version of, unless the learner changed it.

    Interrupted at any moment, it leaves whole files, and the next call finishes. Raises `CopyFailed`.
    """
    outcome = Outcome()
    try:
        copy.mkdir(parents=True, exist_ok=True)
        before = _read_record(copy)
        now = {path.as_posix(): [fingerprint(ROOT / path)] for path in originals()}
        for folder in {copy, *((copy / name).parent for name in now)}:
            sweep(folder)
        stale = []
        for name, [original] in now.items():
            mine = fingerprint(copy / name)
            if mine is None or (mine != original and mine in before.get(name, [])):
                stale.append(name)
            elif mine != original:
                outcome.kept.append(Path(name))
                if original not in before.get(name, []):
                    outcome.behind.append(Path(name))
                    now[name] = before.get(name, [])  # not the version that the learner changed
        if stale:
            # Should this be interrupted, the old version and the new one both count as unchanged.
            _write_record(copy, before | {name: before.get(name, []) + now[name] for name in now})
        for name in stale:
            write_whole(copy / name, (ROOT / name).read_bytes())
        for name in before.keys() - now.keys():  # gone from the workshop
            if fingerprint(copy / name) in before[name]:
                (copy / name).unlink()
        if stale or now != before:
            _write_record(copy, now)
    except OSError as error:
        raise CopyFailed(
            f"Your copy of the notebooks and apps can't be made in {copy} ({error.strerror}): make room, "
            "or set WORKSHOP_WORK to a folder of your own."
        ) from error
    return outcome


def originals() -> Iterator[Path]:
    """Every file that belongs into a copy, as a path from the repository's root."""
    for place in COPIED:
        found = ROOT / place
        for file in sorted(found.rglob("*")) if found.is_dir() else [found]:
            path = file.relative_to(ROOT)
            is_own = path.parts[0] == "apps" and path.parts[1] in {
                *TYPED,
                PORTS,
            }  # of a learner's apps
            if file.is_file() and not is_own and not MADE.intersection(path.parts):
                yield path


def fingerprint(file: Path) -> str | None:
    """What changes when somebody changes a file; None where there is none.

    Of a notebook only the cells' text counts: running them, and even saving the outputs, changes no work
    of anybody's.
    """
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return None
    if file.suffix == ".ipynb":
        try:
            cells = json.loads(content)["cells"]
            texts = [(cell["cell_type"], "".join(cell["source"])) for cell in cells]
            content = json.dumps(texts).encode()
        except (ValueError, KeyError, TypeError):
            pass  # no notebook any more, so every byte counts
    return hashlib.sha256(content).hexdigest()


def stage_files(stage: Stage, copy: Path) -> list[Path]:
    """The files of one stage in the copy and of their originals: notebooks and app."""
    files = {file.relative_to(base()) for file in stage.notebook_files}
    if stage.app:
        for root in (copy, ROOT):
            folder = root / "apps" / stage.slug
            files |= {f.relative_to(root) for f in folder.rglob("*") if f.is_file()}
    kept = [path for path in files if not {"__pycache__", ".ipynb_checkpoints"} & set(path.parts)]
    return sorted(kept)


def changed_files(stage: Stage, copy: Path) -> list[Path]:
    """The files of a stage that the learner, or the running app, has changed or added."""
    return [
        path
        for path in stage_files(stage, copy)
        if fingerprint(copy / path) not in (None, fingerprint(ROOT / path))
    ]


def set_aside(paths: list[Path], copy: Path) -> Path | None:
    """Copy files of `copy` into a folder named by the time, and return it; None if there is nothing new.

    A file that was set aside before and has not changed since is not copied again.
    """
    shelf = copy / ASIDE
    new = [path for path in paths if not _is_aside(copy / path, path, shelf)]
    if not new:
        return None
    folder = shelf / time.strftime("%Y-%m-%d_%H-%M-%S")
    if folder.exists():
        folder = folder.with_name(f"{folder.name}_{secrets.token_hex(2)}")
    for path in new:
        write_whole(folder / path, (copy / path).read_bytes())
    return folder


def _is_aside(file: Path, path: Path, shelf: Path) -> bool:
    content = file.read_bytes()
    return any(kept.read_bytes() == content for kept in shelf.glob(f"*/{path.as_posix()}"))


def reset(stage: Stage, copy: Path) -> tuple[list[Path], Path | None]:
    """Bring a stage back to how it came, to the byte: outputs, model and database included.

    Returns what was put back or taken away, and the folder in which all of it was set aside first.
    """
    touched = [path for path in stage_files(stage, copy) if not _is_as_it_came(path, copy)]
    folder = set_aside(touched, copy)
    for path in touched:
        if (ROOT / path).exists() and not MADE.intersection(path.parts):
            write_whole(copy / path, (ROOT / path).read_bytes())
        else:
            (copy / path).unlink()
    return touched, folder


def _is_as_it_came(path: Path, copy: Path) -> bool:
    if not (copy / path).exists():
        return True  # deleted, and brought back by `bring_up_to_date`
    is_made = bool(MADE.intersection(path.parts))
    same = (ROOT / path).exists() and (copy / path).read_bytes() == (ROOT / path).read_bytes()
    return same and not is_made


def _read_record(copy: Path) -> dict[str, list[str]]:
    """Of each file, the fingerprints that an original had when it was copied; empty without a record."""
    try:
        found = json.loads((copy / RECORD).read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write_record(copy: Path, record: dict[str, list[str]]) -> None:
    write_whole(copy / RECORD, json.dumps(record, indent=1).encode())
