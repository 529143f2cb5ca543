"""The key that signs sessions. It is never in the code, where anyone could read it."""

import os
import secrets
import time
from pathlib import Path

import click
from flask import Flask

SHORTEST = 32  # characters; a new key has twice as many


class BadSetting(click.ClickException, ValueError):
    """A setting that keeps the app from starting. Flask's commands print the message without a traceback."""


def secret_key(app: Flask) -> str:
    """Return SECRET_KEY from the environment, or else the key in the app's instance folder.

    The app makes that key at its first start and keeps it, so every process of a server has the same
    key. Raises BadSetting for a key that is too weak, or if the key can't be kept.
    """
    key, where = os.environ.get("SECRET_KEY"), "SECRET_KEY"
    remedy = f"set it to {SHORTEST} random characters or more, or unset it"
    if key is None:
        where = Path(app.instance_path, "secret_key")
        key, remedy = kept_key(where), "delete this file, and the next start makes a new one"
    if not key:
        raise BadSetting(f"{where} is empty: {remedy}")
    if not key.isascii():
        raise BadSetting(f"{where} has characters that aren't ASCII: {remedy}")
    if len(key) < SHORTEST:
        raise BadSetting(
            f"{where} has only {len(key)} characters, so it could be guessed: {remedy}"
        )
    return key


def kept_key(path: Path) -> str:
    """Return the key in a file, and make the file if needed. Raises BadSetting if it can't be kept."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(path, "x", opener=lambda *args: os.open(*args, mode=0o600)) as file:
                file.write(secrets.token_hex(32))
        except FileExistsError:
            for _ in range(20):  # another process may be writing it at this moment
                if path.stat().st_size >= SHORTEST:
                    break
                time.sleep(0.05)
        return path.read_text(encoding="latin-1").strip()  # which reads anything
    except OSError as error:
        problem = f"The secret key can't be kept in {path} ({error.strerror})"
        remedy = "make that folder writable, or set SECRET_KEY to a long random string"
        raise BadSetting(f"{problem}: {remedy}") from error
