"""Commands that write files, and two ways to disturb them: a signal at a given moment, and a full disk.

A command is interrupted at its n-th file change, whenever that is. `python commands_support.py FOLDER` runs
each command on a small full disk, and again with free space, and prints the results as JSON. It must run in
its own mount namespace, so that no other process sees the disk.
"""

import contextlib
import io
import json
import multiprocessing
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

from wheel_support import lock_of, make_house, pack, pretend

from workshop import cli

NOTE = "# my own work\n"
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.symlink"}

# Each call is forked from a process that has already imported the large packages.
FORKS = multiprocessing.get_context("forkserver") if os.name == "posix" else None
if FORKS:
    HEAVY = (
        "sklearn.linear_model",
        "sklearn.model_selection",
        "workshop.teach.usb_kit",
    )
    FORKS.set_forkserver_preload(["commands_support", *HEAVY])


class Interrupter:
    """An audit hook that counts changes in `folder`, and sends a signal before the n-th change.

    Starting a process counts as a change. With SIGKILL, a file about to be written contains half a line, as
    if the computer had been switched off while writing.
    """

    def __init__(self, folder, n, name):
        self.folder, self.left, self.name = str(folder), n, name

    def __call__(self, event, arguments):
        if self.left <= 0 or not self.is_change(event, arguments):
            return
        self.left -= 1
        if self.left == 0:
            if event == "open" and self.name == "SIGKILL":
                Path(arguments[0]).write_text("half a li", encoding="utf-8")
            os.kill(os.getpid(), getattr(signal, self.name))

    def is_change(self, event, arguments):
        if event == "subprocess.Popen":
            return True
        path = arguments[0] if arguments else None
        if not isinstance(path, str | bytes | os.PathLike):
            return False
        path = os.fsdecode(path)
        writes = event in CHANGES or (event == "open" and arguments[2] & WRITING)
        return bool(writes) and path.startswith(self.folder) and "__pycache__" not in path


def _call(function, environ, printed, folder, n, name):
    """In the forked process: call `function` with the hook, and its output in a file."""
    os.environ.update(environ)
    file = os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in ("stdout", "stderr"):
        number = getattr(sys, f"__{stream}__").fileno()
        os.dup2(file, number)
        setattr(sys, stream, io.TextIOWrapper(io.FileIO(number, "w"), "utf-8", write_through=True))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if n:
        sys.addaudithook(Interrupter(folder, n, name))
    os._exit(function())


def call(function, folder, n=0, name="SIGKILL", **environ):
    """Call `function`, which returns an exit code, in a separate process.

    With `n`, the signal `name` interrupts it at its n-th change in `folder`. Returns (exit code, output); the
    code of a killed process is -9.
    """
    printed = f"{folder}.printed"
    process = FORKS.Process(target=_call, args=(function, environ, printed, folder, n, name))
    process.start()
    process.join()
    return process.exitcode, Path(printed).read_text(encoding="utf-8")


def interruptions(function, folder, name="SIGKILL", most=12, **environ):
    """Call `function` repeatedly, interrupting it a little later each time, and yield each call's output.

    Each call starts with whatever the previous ones left behind. The last call, after at most `most`
    interrupted ones, isn't interrupted and has to succeed.
    """
    n, step = 1, 1
    for count in range(most):
        code, printed = call(function, folder, n, name, **environ)
        if code == 0:
            assert count, "nothing was interrupted"
            return
        assert code == {"SIGKILL": -9, "SIGINT": 130}[name], printed
        assert "Traceback" not in printed
        yield printed
        n, step = n + step, step + (count > 3)  # in steps of one first, then in growing steps
    code, printed = call(function, folder, **environ)
    assert code == 0, printed


# The functions to call. They run in a forked process, so they needn't undo their changes.


def command(*arguments):
    """`python3 -m workshop ARGUMENTS`."""
    return partial(cli.run, [str(argument) for argument in arguments])


def make_kit(house, index, stick):
    """`kit STICK` in the small workshop `house`; pip gets wheels from `index`."""
    from workshop.core import datasets
    from workshop.teach import usb_kit

    usb_kit.ROOT, usb_kit.LOCK = house, house / "requirements.txt"
    datasets.DATA = house / "data"
    os.environ.pop("WORKSHOP_MIRROR", None)  # so that no kit contains data
    os.environ |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(index), "PIP_CONFIG_FILE": os.devnull}
    return cli.run(["kit", str(stick), "--platform", "linux", "--python", "3.11"])


def set_up(house, wheels):
    """`python3 -m workshop` in `house`, not set up yet, with the packages in the folder `wheels`."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "workshop"]:
        del sys.modules[name]  # so that the workshop in `house` is imported
    sys.path.insert(0, str(house))
    from workshop.__main__ import main
    from workshop.setup import installer, process, set_up

    os.environ["WORKSHOP_MIRROR"] = str(wheels)
    # As if pip had installed uv: the test interrupts what uv and the workshop write.
    installer.find_uv = set_up.find_uv = lambda *_: [Path(sys.executable).with_name("uv")]
    process.replace_process = lambda _: 0  # the command itself isn't tested here
    return main([])


# Each of these prepares a folder, and returns the function to call and the folder to watch. The parent's path
# has no spaces. `settings` returns the environment variables.


def settings(folder):
    return {"WORKSHOP_WORK": str(folder / "work")}


def the_copy(folder):
    return command("catch-up", "01"), folder / "work"


def going_back(folder):
    call(command("catch-up", "01"), folder, **settings(folder))
    (folder / "work" / "apps" / "01_hello" / "app.py").write_text(NOTE, encoding="utf-8")
    (folder / "work" / "notebooks" / "01_hello.ipynb").unlink()
    return command("catch-up", "01", "--fresh"), folder / "work"


def training(folder):
    call(command("catch-up", "01"), folder, **settings(folder))
    return command("train", "04"), folder / "work" / "apps" / "04_iris"


def a_kit(folder):
    house, index = (folder.parent / part for part in ("workshop", "index"))
    for place in (house, index):
        place.mkdir()
    for package in ("click-8.5.1-py3-none-any.whl", "idna-3.20-py3-none-any.whl"):
        pretend(package, index)  # pip splits this variable at spaces
    (house / "requirements.txt").write_text(lock_of(index), encoding="utf-8")
    os.utime(house / "requirements.txt", (1e9, 1e9))  # archives contain modification times
    return partial(make_kit, house, index, folder / "stick"), folder / "stick"


def a_set_up(folder):
    house, wheels = make_house(folder / "workshop"), folder.parent / "wheels"
    wheels.mkdir()
    for package in ("click", "flit-core"):
        pack(package, wheels)
    (house / "requirements.txt").write_text(lock_of(wheels), encoding="utf-8")
    return partial(set_up, house, wheels), house


PLACES = {
    "catch-up": the_copy,
    "catch-up --fresh": going_back,
    "train": training,
    "kit": a_kit,
    "set-up": a_set_up,
}


def contents(folder):
    """The files in a folder and their contents as text, without environments."""
    return {
        file.relative_to(folder).as_posix(): file.read_text("utf-8", "replace")
        for file in sorted(folder.rglob("*"))
        if file.is_file() and not {"__pycache__", ".venv"} & set(file.parts)
    }


def fill(disk, room):
    """Write into a file until only `room` bytes are free. Returns that file."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (2**16, 2**12, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"x" * size)
        file.truncate(file.tell() - room)
    return filler


def meet_full_disk(name, disk):
    """Run a command on the full disk, then with free space; return the outputs and the files each time."""
    function, look = PLACES[name](disk)
    told = {"before": contents(look)}
    filler = fill(disk, 400_000 if name == "set-up" else 0)  # which needs space later
    told |= {"refused": call(function, disk, **settings(disk)), "after": contents(look)}
    filler.unlink()
    return told | {"with room": call(function, disk, **settings(disk)), "end": contents(look)}


if __name__ == "__main__":
    told = {}
    for name in PLACES:
        disk = Path(sys.argv[1], name.replace(" ", ""), "volle Scheibe")
        disk.mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", disk], check=True)
        told[name] = meet_full_disk(name, disk)
        subprocess.run(["umount", disk], check=True)
    print(json.dumps(told))
