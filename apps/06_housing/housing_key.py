"""The key that signs sessions. It is never written into the code, where everybody could read it."""

import os
import secrets
from pathlib import Path

from flask import Flask

KEY_NAME = "secret_key"


def secret_key(app: Flask) -> str:
    """Return the key in the app's instance folder: made at the first start, and kept from then on.

    If the folder can't be written, the key lasts as long as this process, and the log says so.
    """
    path = Path(app.instance_path, KEY_NAME)
    try:
        if not path.exists():
            make_key(path)
        return path.read_text(encoding="ascii")
    except OSError as error:
        app.logger.warning(
            "The secret key can't be kept in %s (%s), so a restart ends all sessions; "
            "set SECRET_KEY to a long random text",
            path.parent,
            error.strerror,
        )
        return secrets.token_hex(32)


def make_key(path: Path) -> None:
    """Write a new key, complete from the start, unless another process was faster."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{KEY_NAME}.{secrets.token_hex(4)}.tmp")
    try:
        file = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode=0o600)
        with os.fdopen(file, "w", encoding="ascii") as opened:
            opened.write(secrets.token_hex(32))
        # Of two processes one wins here: neither system replaces a file that is there.
        publish = os.rename if os.name == "nt" else os.link
        publish(partial, path)
    except FileExistsError:
        pass
    finally:
        partial.unlink(missing_ok=True)
