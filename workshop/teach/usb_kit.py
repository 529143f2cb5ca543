"""Makes a kit for a USB stick or for a web server in the room: everything that set-up needs offline.

    from-notebook-to-web-app/      the repository, also as from-notebook-to-web-app.zip
    wheels/                        the packages in the lock, for the chosen systems and Python versions
    adult/, housing/               the data sets that are available, where `WORKSHOP_MIRROR` looks for them
    READ_ME_FIRST.txt              what to type
    kit.json                       marks the folder as a kit, for set-up and the data sets

Each file is written under a temporary name first, so an interrupted run leaves only whole files, and the
next run continues from there.
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
# Without git: folders that contain generated or installed files, or a learner's work.
LEFT_OUT = {".git", ".venv", "__pycache__", "instance", "model", "work"}


def make_kit(
    folder: Path, systems: Sequence[str] = (), pythons: Sequence[str] = (), with_tests: bool = False
) -> None:
    """Make a kit in `folder`, or add to an existing one, and print each step.

    The default for `systems` and `pythons` (such as `3.12`) is this computer's own. `with_tests` adds the
    packages that only the tests need; once added, they stay. Raises `KitFailed`.
    """
    folder = folder.expanduser().absolute()
    refuse(folder)
    pythons = pythons or ["{}.{}".format(*sys.version_info)]
    named = {Target(name, python) for name in systems or [this_system()] for python in pythons}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(folder / PARTS, ignore_errors=True)  # left by an interrupted run
        earlier, had_tests = read_marker(folder)
        targets, with_tests = sorted(named | earlier), with_tests or had_tests
        click.echo(f"Making a kit in {folder} for {', '.join(map(str, targets))}")
        click.echo(f"  1/4 the workshop: {copy_repository(folder)} files")
        titles = copy_data(folder)
        click.echo(f"  2/4 data: {', '.join(titles) or 'none is available'}")
        locks = [LOCK, TEST_LOCK] if with_tests else [LOCK]
        delete_damaged_wheels(folder / "wheels", locks)
        lacking = {target: get_wheels(target, folder, locks) for target in targets}
        needed = LOCK.read_text(encoding="utf-8")
        whole = [t for t in targets if not any(pin in needed for pin in lacking[t])]
        click.echo(f"  4/4 {TEXT}, which says what to type")
        put(folder / TEXT, read_me(whole, titles).encode("ascii"))
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
            "The kit is ready, but set-up will need a network for the packages listed above."
        )
    click.echo(
        "The kit is complete. To add other systems, run the command again with --platform (or --platform "
        "all) and --python."
    )


def refuse(folder: Path) -> None:
    """Raise `KitFailed` if a kit can't be made in `folder`."""
    place = folder.resolve()
    if place.is_relative_to(ROOT) or (place / NAME) == ROOT:
        raise KitFailed(
            f"A kit in {folder} would mix with the workshop's own files: choose a folder elsewhere, such as "
            "one on a USB stick."
        )
    if folder.exists() and not folder.is_dir():
        raise KitFailed(f"{folder} is a file: name a folder; it doesn't have to exist yet.")


def sentence_for(error: OSError, folder: Path) -> str:
    """What to do about an error of the file system."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"The disk of {folder} is full: make room (a kit takes up to 0.5 GB for each system), then run "
            "the same command again; it continues where it stopped."
        )
    return f"The kit can't be written to {folder} ({error.strerror}): choose a folder you can write to."


def put(file: Path, content: bytes) -> None:
    """Write a file, whole or not at all, unless it already has this content."""
    if file.is_file() and file.read_bytes() == content:
        sweep(file.parent)
        return
    write_whole(file, content)


def repository_files() -> list[Path]:
    """The workshop's files as relative paths: those that git tracks, or without git all but `LEFT_OUT`."""
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
    """Copy the workshop into the kit, as a folder and as a zip file. Returns the number of files."""
    files = repository_files()
    packed = io.BytesIO()
    # A copy from a USB stick may have dates before 1980, which a zip archive can't store.
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
            outdated = (folder / name).resolve()  # deleted since the last run
            if outdated.is_relative_to((folder / NAME).resolve()) and outdated.is_file():
                outdated.unlink()
    put(target, packed.getvalue())
    return len(files)


def copy_data(folder: Path) -> list[str]:
    """Copy the available data sets into the kit, verified. Returns their titles."""
    titles = []
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
        titles.append(dataset.title.lower())
    return titles


def read_marker(folder: Path) -> tuple[set[Target], bool]:
    """The targets of an existing kit in `folder`, and whether it has the tests' packages."""
    try:
        content = json.loads((folder / MARKER).read_bytes())
        named = [(name, python) for name, python in content["targets"] if name in SYSTEMS]
        targets = {Target(*it) for it in named if re.fullmatch(r"3\.\d+", it[1])}
        return targets, bool(content.get("tests"))
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return set(), False


def read_me(targets: Sequence[Target], titles: Sequence[str]) -> str:
    """The kit's instructions, in ASCII, so that every program and browser displays them correctly."""
    served = {
        SYSTEMS[name].title: [target.python for target in targets if target.system == name]
        for name in SYSTEMS
    }
    lines = [f"    {title}\n        Python {', '.join(v)}" for title, v in served.items() if v]
    text = Path(__file__).with_name("read_me_first.txt").read_text(encoding="ascii")
    return text.format(
        name=NAME,
        systems="\n".join(lines) or "    (none yet: some packages were not available)",
        data=", ".join(titles) or "none; you work with made-up people and districts",
    )
