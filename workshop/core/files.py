"""Writes files atomically, so nobody ever reads half of one; and formats paths for messages."""

import contextlib
import re
import secrets
import time
from pathlib import Path

from workshop.setup.process import ROOT

PART = re.compile(r".+\.[0-9a-f]{8}\.part")
LEFT_BEHIND = 3600  # seconds; no write takes that long, so an older part is abandoned


def write_whole(file: Path, content: bytes) -> None:
    """Write a file under a temporary name, then rename it. Creates the folder if necessary.

    If it raises OSError, the file is unchanged.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    sweep(file.parent)
    part = file.with_name(f"{file.name}.{secrets.token_hex(4)}.part")
    try:
        part.write_bytes(content)
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Delete the temporary files that killed processes left in a folder, if it exists."""
    limit = time.time() - LEFT_BEHIND
    with contextlib.suppress(OSError):  # not urgent: the next write tries again
        for file in folder.iterdir():
            if PART.fullmatch(file.name) and file.stat().st_mtime < limit:
                file.unlink()


def shown_path(path: Path, folder: Path = ROOT) -> str:
    """A path for messages: relative to `folder` if it's inside, with forward slashes."""
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)
