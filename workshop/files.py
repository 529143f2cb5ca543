"""Writes files whole or not at all: whoever reads one meanwhile never sees half of it."""

import secrets
from pathlib import Path


def write_whole(file: Path, content: bytes) -> None:
    """Write a file under another name first, then rename it; the folder is made if there is none.

    Raises OSError, and then the file is as it was.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f"{file.name}.{secrets.token_hex(4)}.part")
    try:
        part.write_bytes(content)
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
