"""A disk that is really full: `python full_disk_support.py FOLDER` runs commands on one, and tells in JSON.

To be run in a mount namespace of its own, where it may mount a small disk that nobody else sees. Each command
meets a disk without a free byte, and then the same one with room.
"""

import contextlib
import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import nbformat
from interruption_support import call, command, make_kit, refresh, set_up
from setup_support import make_house
from wheel_support import lock_of, pack, pretend

NOTE = "# my own work\n"


def fill(folder, room):
    """Write into a file until the disk has but `room` bytes left. Returns that file."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (2**16, 2**12, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"x" * size)
        file.truncate(file.tell() - room)
    return filler


def contents(folder):
    """The files in a folder, with their contents as far as they can be told in JSON."""
    return {
        file.relative_to(folder).as_posix(): file.read_text("utf-8", "replace")
        for file in sorted(folder.rglob("*"))
        if file.is_file() and "__pycache__" not in file.parts
    }


def meet(disk, function, look, room=0, **environ):
    """Call `function` on the full disk, then with room; of `look`, a folder, tell what is there."""
    before = contents(look)
    filler = fill(disk, room)
    refused = call(function, disk, **environ)
    after = contents(look)
    filler.unlink()
    return {
        "refused": refused,
        "before": before,
        "after": after,
        "with room": call(function, disk, **environ),
        "end": contents(look),
    }


# Each of these prepares a disk, and says what is called there, which folder counts, and what room is left.


def the_copy(disk):
    return command("catch-up", "01"), disk / "work"


def going_back(disk):
    call(command("catch-up", "01"), disk, WORKSHOP_WORK=str(disk / "work"))
    (disk / "work" / "apps" / "01_hello" / "app.py").write_text(NOTE, encoding="utf-8")
    return command("catch-up", "01", "--fresh"), disk / "work"


def training(disk):
    call(command("catch-up", "01"), disk, WORKSHOP_WORK=str(disk / "work"))
    return command("train", "04"), disk / "work" / "apps" / "04_iris"


def refreshing(disk):
    (disk / "notebooks").mkdir()
    cells = [nbformat.v4.new_code_cell("a cell", id="one")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), disk / "notebooks" / "01_hello.ipynb")
    return partial(refresh, disk), disk / "notebooks"


def a_kit(disk):
    house, index = (disk.parent / part for part in ("workshop", "index"))
    for place in (house, index):
        place.mkdir()
    pretend("click-8.5.1-py3-none-any.whl", index)
    (house / "requirements.txt").write_text(lock_of(index), encoding="utf-8")
    return partial(make_kit, house, index, disk / "stick"), disk / "stick"


def a_set_up(disk):
    house, wheels = make_house(disk / "workshop"), disk.parent / "wheels"
    wheels.mkdir()
    for package in ("click", "flit-core"):
        pack(package, wheels)
    (house / "requirements.txt").write_text(lock_of(wheels), encoding="utf-8")
    gets_stuck_later = 400_000
    return partial(set_up, house, wheels), house / "workshop", gets_stuck_later


PLACES = {
    "catch-up": the_copy,
    "catch-up --fresh": going_back,
    "train": training,
    "refresh": refreshing,
    "kit": a_kit,
    "set-up": a_set_up,
}


def main():
    folder, told = Path(sys.argv[1]), {}
    for name, prepare in PLACES.items():
        disk = folder / "volle Scheibe"
        disk.mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", disk], check=True)
        told[name] = meet(disk, *prepare(disk), WORKSHOP_WORK=str(disk / "work"))
        subprocess.run(["umount", disk], check=True)
    print(json.dumps(told))


if __name__ == "__main__":
    main()
