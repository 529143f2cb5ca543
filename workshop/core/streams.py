"""What a command line names to read from and write to: files, links, pipes, and `-`, a standard stream."""

import os
import shutil
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO

import click

STANDARD = Path("-")


def open_input(path: Path) -> AbstractContextManager[BinaryIO]:
    """Open a file or a pipe for reading, or standard input, which stays open. Raises OSError."""
    return nullcontext(click.get_binary_stream("stdin")) if path == STANDARD else path.open("rb")


def progress(file: BinaryIO, label: str) -> AbstractContextManager[Any]:
    """A bar, as wide as the file has bytes, in the terminal. How long a pipe is, nobody knows."""
    length = os.fstat(file.fileno()).st_size
    return click.progressbar(length=length, label=label, file=sys.stderr)


def real_output(path: Path) -> Path:
    """Where a result with this path goes: a link leads to its file, which may be new."""
    if str(path) == "/dev/stdout":
        return STANDARD
    return path if is_stream(path) or not path.is_symlink() else Path(os.path.realpath(path))


def is_stream(output: Path) -> bool:
    """Whether a result can be written there only bit by bit: standard output, a pipe or a device."""
    return output == STANDARD or (output.exists() and not output.is_file())


def is_same(file: BinaryIO, output: Path) -> bool:
    """Whether an open file is the one that a result would replace."""
    return output.is_file() and os.path.samestat(os.fstat(file.fileno()), output.stat())


def deliver(part: Path, output: Path) -> None:
    """Make a finished file the content of `output`, as `real_output` gives it. Raises OSError.

    A file is exchanged in one step and keeps its permissions, if it has one name and may be written.
    Anything else is opened, so that it stays what it is.
    """
    if output == STANDARD:
        stream = click.get_binary_stream("stdout")
        try:
            copy(part, stream)
        except BrokenPipeError:  # `head` has read enough; Python itself would complain once more
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            raise
    elif output.is_symlink() or (output.exists() and not may_be_exchanged(output)):
        with output.open("wb") as opened:
            copy(part, opened)
    else:
        if output.exists():
            shutil.copymode(output, part)
        part.replace(output)


def copy(part: Path, stream: BinaryIO) -> None:
    """Write a file's content to a stream. Raises OSError."""
    with part.open("rb") as source:
        shutil.copyfileobj(source, stream)
    stream.flush()


def may_be_exchanged(output: Path) -> bool:
    """Whether this is a file with one name (no hard links), which may be written."""
    return output.is_file() and output.stat().st_nlink == 1 and os.access(output, os.W_OK)


def unused(path: Path) -> Path:
    """Make an empty file where there is none: at `path`, else at `x-2.csv` for `x.csv`, and so on.

    Returns where. Raises OSError.
    """
    found, number = path, 1
    while True:
        try:
            found.touch(exist_ok=False)
        except FileExistsError:
            number += 1
            found = path.with_stem(f"{path.stem}-{number}")
        else:
            return found
