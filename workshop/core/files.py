"""Writes files whole or not at all, so nobody ever reads half of one; and says where a file is."""

import contextlib
import re
import secrets
import time
from pathlib import Path

from workshop.setup.process import ROOT

PART = re.compile(r".+\.[0-9a-f]{8}\.part")
LEFT_BEHIND = 3600  # seconds; no write takes that long, so a part that old is nobody's


def write_whole(file: Path, content: bytes) -> None:
    """Write a file under another name first, then rename it; the folder is made if there is none.

    Raises OSError, and then the file is as it was.
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
    """Delete the parts of files that killed processes left in a folder, if there is one."""
    limit = time.time() - LEFT_BEHIND
    with contextlib.suppress(OSError):  # it can wait: the next write sweeps again
        for file in folder.iterdir():
            if PART.fullmatch(file.name) and file.stat().st_mtime < limit:
                file.unlink()


def shown_path(path: Path, folder: Path = ROOT) -> str:
    """A path as a reader knows it: from `folder` if it is inside, with forward slashes."""
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)
