"""Where the repository is, and how set-up runs: its messages, its lock, and the hand-over to a command."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def setting(name: str) -> str:
    """An environment variable's value, or "" if it isn't set, without surrounding quotes and spaces.

    With `set NAME="VALUE" `, cmd.exe, the old command prompt of Windows, keeps both in the value.
    """
    return os.environ.get(name, "").strip(" \"'")


def is_plain(folder: Path) -> bool:
    """Whether a folder's path has no characters that confuse venv and other tools."""
    return os.pathsep not in str(folder) and str(folder).isprintable()


class SetupError(Exception):
    """Set-up can't continue; the message is one sentence that says what to do."""


def say(text: str) -> None:
    """Print what set-up is doing, on stderr because stdout belongs to the command."""
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
        return False  # a file system without locks: continue without one
    return False


@contextlib.contextmanager
def one_at_a_time(
    waiting: str = "Another command is setting up the workshop: waiting for it to finish ...",
) -> Iterator[None]:
    """Wait while another process holds this folder's lock; it is released when that process ends."""
    with Path(__file__).open("rb") as file:
        # On Windows nobody else can read locked bytes, so lock one beyond the end.
        file.seek(2**30)
        if is_taken(file.fileno()):
            say(waiting)
            while is_taken(file.fileno()):
                time.sleep(0.2)
        yield


def replace_process(command: Sequence[str | Path]) -> int:
    """Run `command` instead of this process; on Windows, wait for it and return its exit code."""
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
            continue  # Ctrl-C reached the command too; wait until it has finished
