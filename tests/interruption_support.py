"""Interrupts a command at a moment that repeats: at its n-th change of a file, whatever the clock says."""

import io
import multiprocessing
import os
import signal
import sys
from functools import partial
from pathlib import Path

from workshop import cli

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.symlink"}

# Each call is forked from a process that has imported the large packages already.
FORKS = multiprocessing.get_context("forkserver") if os.name == "posix" else None
if FORKS:
    HEAVY = (
        "sklearn.linear_model",
        "sklearn.model_selection",
        "workshop.teach.usb_kit",
        "workshop.upkeep.refresh_notebooks",
    )
    FORKS.set_forkserver_preload(["interruption_support", *HEAVY])


class Interrupter:
    """An audit hook that counts what changes below `folder`, and sends a signal before the n-th change.

    Starting another process counts as well. With SIGKILL, a file that is about to be written then holds
    half a line, as if the computer had gone off in the middle of it.
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
    """In the forked process: call `function`, whose output goes into a file, with the hook in place."""
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
    """Call `function`, which gives an exit code, in a process of its own.

    With `n`, the signal `name` interrupts it at its n-th change below `folder`. Returns (exit code, what
    was printed); the code of a process that was killed is -9.
    """
    printed = f"{folder}.printed"
    process = FORKS.Process(target=_call, args=(function, environ, printed, folder, n, name))
    process.start()
    process.join()
    return process.exitcode, Path(printed).read_text(encoding="utf-8")


def interruptions(function, folder, name="SIGKILL", most=12, **environ):
    """Call `function` again and again, each time interrupted a little later, and give what each printed.

    Each begins with what those before have left behind. It ends with a call that is not interrupted,
    which has to succeed, and at the latest after `most` interrupted ones.
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
        n, step = n + step, step + (count > 3)  # one by one first, then further and further
    code, printed = call(function, folder, **environ)
    assert code == 0, printed


# What is called. The forked process is its own, so nothing here has to be put back. It also has imported
# already what is imported here.


def command(*arguments):
    """`python3 -m workshop ARGUMENTS`."""
    return partial(cli.run, [str(argument) for argument in arguments])


def refresh(root):
    """`refresh 01` on the notebook in `root`, without a kernel: each cell's output is its source."""
    import nbformat

    from workshop.upkeep import refresh_notebooks as notebooks

    def run(notebook, folder, name):
        for cell in notebook.cells:
            cell.outputs = [nbformat.v4.new_output("stream", text=cell.source)]

    cli.ROOT, notebooks.run = Path(root), run
    return cli.run(["refresh", "01"])


def make_kit(house, index, stick):
    """`kit STICK` in the small workshop `house`; pip gets wheels from `index`."""
    from workshop.core import datasets
    from workshop.teach import usb_kit

    usb_kit.ROOT, usb_kit.LOCK = house, house / "requirements.txt"
    datasets.DATA = house / "data"
    os.environ |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(index), "PIP_CONFIG_FILE": os.devnull}
    return cli.run(["kit", str(stick), "--platform", "linux", "--python", "3.11"])


def set_up(house, wheels):
    """`python3 -m workshop` in `house`, which isn't set up yet, with the packages in the folder `wheels`."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "workshop"]:
        del sys.modules[
            name
        ]  # so that the workshop in `house` is imported, as when it is run there
    sys.path.insert(0, str(house))
    from workshop.__main__ import main
    from workshop.setup import process

    os.environ["WORKSHOP_MIRROR"] = str(wheels)
    process.replace_process = lambda _: 0  # the command itself doesn't matter here
    return main([])


def fetch(home, members):
    """Fetch a small data set of these `members` from the mirror into `home`."""
    from workshop.core import datasets

    members = tuple(datasets.Member(*member) for member in members)
    datasets.CENSUS = datasets.RemoteData("Census data", "adult.zip", "adult", members)
    try:
        return 0 if datasets.fetch_files(datasets.CENSUS, home).files else 1
    except KeyboardInterrupt:
        return 130  # as of any function; the commands above say it in words
