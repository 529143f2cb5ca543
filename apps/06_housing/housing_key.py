"""The key that signs sessions. It is never written into the code, where everybody could read it."""

import os
import secrets
import time
from pathlib import Path

from flask import Flask


def secret_key(app: Flask) -> str:
    """Return the key in the app's instance folder: made at the first start, and kept from then on.

    If the folder can't be written, the key lasts as long as this process, and the log says so.
    """
    path, new = Path(app.instance_path, "secret_key"), secrets.token_hex(32)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "x", opener=lambda *args: os.open(*args, mode=0o600)) as file:
            file.write(new)
        return new
    except OSError as error:
        if not path.is_file():
            problem = f"The secret key can't be kept in {path.parent} ({error.strerror})"
            remedy = "so a restart ends all sessions; set SECRET_KEY to a long random text"
            app.logger.warning("%s, %s", problem, remedy)
            return new
    while not (key := path.read_text(encoding="ascii").strip()):
        time.sleep(0.05)  # another process is writing it at this moment
    return key
