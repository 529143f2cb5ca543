"""Where the repository is, and how set-up runs: what it says, one at a time, and handing over."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def setting(name: str) -> str:
    """A variable's value, empty if it isn't set; without the quotes and spaces of `set NAME="VALUE" `.

    cmd.exe, the old command prompt of Windows, keeps both as part of the value.
    """
    return os.environ.get(name, "").strip(" \"'")


def is_plain(folder: Path) -> bool:
    """Whether no tool on the way takes a part of a folder's path for something else."""
    return os.pathsep not in str(folder) and str(folder).isprintable()


class SetupError(Exception):
    """Set-up cannot go on; the message is one sentence that says what to do."""


def say(text: str) -> None:
    """Tell what set-up is doing; on stderr, because stdout belongs to the command."""
    print(text, file=sys.stderr, flush=True)


def is_taken(descriptor: int) -> bool:
    """Lock an open file; return True if another process holds the lock."""
    try:
        if os.name == "posix":
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    except (BlockingIOError, PermissionError):
        return True
    except OSError:
        return False  # a file system without locks: go on without one
    return False


@contextlib.contextmanager
def one_at_a_time(
    waiting: str = "Another command is setting the workshop up: waiting for it ...",
) -> Iterator[None]:
    """Wait while another process holds this folder's lock. The lock goes when its process ends."""
    with Path(__file__).open("rb") as file:
        # Windows keeps even readers from locked bytes; nobody reads beyond the end.
        file.seek(2**30)
        if is_taken(file.fileno()):
            say(waiting)
            while is_taken(file.fileno()):
                time.sleep(0.2)
        yield


def replace_process(command: Sequence[str | Path]) -> int:
    """Run `command` instead of this process; return its exit code where a system can't do that."""
    arguments = [str(part) for part in command]
    if os.name == "posix":
        sys.stdout.flush()
        sys.stderr.flush()
        os.execv(arguments[0], arguments)  # noqa: S606 (meant to be without a shell)
    process = subprocess.Popen(arguments)
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue  # Ctrl-C reached the command too; it ends in its own time.
