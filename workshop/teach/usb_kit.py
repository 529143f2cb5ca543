"""Makes a folder for a USB stick, or for a web server in the room: all that set-up needs without a network.

    from-notebook-to-web-app/      the repository, and the same as from-notebook-to-web-app.zip
    wheels/                        the packages of the lock, for the systems and Python versions asked for
    adult/, housing/               the data sets that are available, where `WORKSHOP_MIRROR` looks for them
    READ_ME_FIRST.txt              what to type
    kit.json                       tells set-up and the data sets that they are part of a kit

Every file is written under another name first, so an interrupted run leaves only whole files, and the next
one continues from there.
"""

import contextlib
import errno
import io
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import click

from workshop.core import datasets
from workshop.core.files import sweep, write_whole
from workshop.setup.lock import LOCK, TEST_LOCK
from workshop.setup.mirror import MARKER
from workshop.setup.process import ROOT
from workshop.teach.wheels import (
    PARTS,
    SYSTEMS,
    KitFailed,
    Target,
    delete_damaged_wheels,
    get_wheels,
    this_system,
    wheels_held,
)

NAME = "from-notebook-to-web-app"
TEXT = "READ_ME_FIRST.txt"
# Where git can't say which files are the workshop's own: folders with what was made or installed here.
LEFT_OUT = {".git", ".venv", "__pycache__", "instance", "model", "work"}


def make_kit(
    folder: Path, systems: Sequence[str] = (), pythons: Sequence[str] = (), with_tests: bool = False
) -> None:
    """Make the kit in `folder`, or add to the one that is there, and report each step on stdout.

    Without `systems` or `pythons` (such as `3.12`), it is for this computer's own. `with_tests` brings what
    only the tests need, too; a kit that has it keeps it. Raises `KitFailed`.
    """
    folder = folder.expanduser().absolute()
    refuse(folder)
    pythons = pythons or ["{}.{}".format(*sys.version_info)]
    named = {Target(name, python) for name in systems or [this_system()] for python in pythons}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(folder / PARTS, ignore_errors=True)  # of a kit that was interrupted
        earlier, had_tests = read_marker(folder)
        targets, with_tests = sorted(named | earlier), with_tests or had_tests
        click.echo(f"Making a kit in {folder} for {', '.join(map(str, targets))}")
        click.echo(f"  1/4 the workshop: {copy_repository(folder)} files")
        held = copy_data(folder)
        click.echo(f"  2/4 data: {', '.join(held) or 'none is available'}")
        locks = [LOCK, TEST_LOCK] if with_tests else [LOCK]
        delete_damaged_wheels(folder / "wheels", locks)
        lacking = {target: get_wheels(target, folder, locks) for target in targets}
        needed = LOCK.read_text(encoding="utf-8")
        whole = [t for t in targets if not any(pin in needed for pin in lacking[t])]
        click.echo(f"  4/4 {TEXT}, which says what to type")
        put(folder / TEXT, read_me(whole, held).encode("ascii"))
        served = [[target.system, target.python] for target in whole]
        put(folder / MARKER, json.dumps({"targets": served, "tests": with_tests}).encode())
    except OSError as error:
        raise KitFailed(sentence_for(error, folder)) from error
    sizes = [file.stat().st_size for file, *_ in wheels_held(folder / "wheels")]
    click.echo(f"{len(sizes)} wheels, {sum(sizes) / 1e6:,.0f} MB.")
    if any(lacking.values()):
        for target in filter(lacking.get, targets):
            click.echo(f"{target}: no wheel of {', '.join(lacking[target])}", err=True)
        raise KitFailed(
            "The kit is made, but set-up needs a network for what the lines above list."
        )
    click.echo(
        "The kit is complete. To add other systems, run the command again with --platform (or --platform "
        "all) and --python."
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
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"The disk of {folder} is full: make room (a kit takes up to 0.5 GB for each system), then run "
            "the same command again; it continues where it stopped."
        )
    return f"The kit can't be written in {folder} ({error.strerror}): name a folder where you may write."


def put(file: Path, content: bytes) -> None:
    """Write a file, whole or not at all, unless it is there already."""
    if file.is_file() and file.read_bytes() == content:
        sweep(file.parent)
        return
    write_whole(file, content)


def repository_files() -> list[Path]:
    """The files that belong to the workshop, as paths from its root, as git or `LEFT_OUT` says."""
    files: list[Path] = []
    if (ROOT / ".git").exists() and shutil.which("git"):
        run = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True)
        files = [Path(os.fsdecode(name)) for name in run.stdout.split(b"\0") if name]
    if not files:
        for place, folders, names in os.walk(ROOT):
            folders[:] = [name for name in folders if name not in LEFT_OUT]
            files += [Path(place, name).relative_to(ROOT) for name in names]
    return sorted(file for file in files if (ROOT / file).is_file())


def copy_repository(folder: Path) -> int:
    """Put the workshop into the kit, as a folder and zipped. Returns the number of files."""
    files = repository_files()
    packed = io.BytesIO()
    # A stick may bring dates from before 1980, which a zip archive can't store.
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as archive:
        for file in files:
            archive.write(ROOT / file, f"{NAME}/{file.as_posix()}")
            put(folder / NAME / file, (ROOT / file).read_bytes())
    target = folder / f"{NAME}.zip"
    with (
        contextlib.suppress(FileNotFoundError, zipfile.BadZipFile),
        zipfile.ZipFile(target) as kept,
    ):
        for name in set(kept.namelist()) - {f"{NAME}/{file.as_posix()}" for file in files}:
            outdated = (folder / name).resolve()  # gone from the workshop since the last kit
            if outdated.is_relative_to((folder / NAME).resolve()) and outdated.is_file():
                outdated.unlink()
    put(target, packed.getvalue())
    return len(files)


def copy_data(folder: Path) -> list[str]:
    """Put the data sets that are available into the kit, verified. Returns their titles."""
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


def read_marker(folder: Path) -> tuple[set[Target], bool]:
    """The targets of the kit in `folder`, if there is one, and whether it has what the tests need."""
    try:
        content = json.loads((folder / MARKER).read_bytes())
        named = [(name, python) for name, python in content["targets"] if name in SYSTEMS]
        targets = {Target(*it) for it in named if re.fullmatch(r"3\.\d+", it[1])}
        return targets, bool(content.get("tests"))
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return set(), False


def read_me(targets: Sequence[Target], held: Sequence[str]) -> str:
    """The text that comes with the kit, in ASCII, so that every program and browser displays it correctly."""
    served = {
        SYSTEMS[name].title: [target.python for target in targets if target.system == name]
        for name in SYSTEMS
    }
    lines = [f"    {title}\n        Python {', '.join(v)}" for title, v in served.items() if v]
    text = Path(__file__).with_name("read_me_first.txt").read_text(encoding="ascii")
    return text.format(
        name=NAME,
        systems="\n".join(lines) or "    (none yet: some packages were not available)",
        data=", ".join(held) or "none; you work with made-up people and districts",
    )
