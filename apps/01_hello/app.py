"""Stage 01: a request comes in, and a view answers it.

This stage teaches routes and their converters, methods, status codes, a signed session cookie,
friendly error pages, and the debugger. Run it in this folder with `flask --app app.py run`; for the
debugger, add `--debug`.
"""

import os
import secrets
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from flask import Flask, Response, abort, json, request, session, url_for
from werkzeug.exceptions import HTTPException

from hello_notes import Notes, sent_fields
from hello_pages import ADVICE, TITLES, page


def create_app(config: dict | None = None) -> Flask:
    """Return the app. `config` overrides settings, such as SECRET_KEY."""
    app = Flask(__name__)
    app.config.from_mapping(SESSION_COOKIE_SAMESITE="Lax", MAX_CONTENT_LENGTH=4096)  # bytes
    app.config.from_mapping(config)
    app.secret_key = app.secret_key or os.environ.get("SECRET_KEY") or kept_key(app)
    notes = Notes()

    @app.get("/hello")
    def hello() -> str:
        return "<h1>hello world</h1>"

    @app.get("/profile/<string:name>")
    def profile(name: str) -> str:
        return page(f"Profile of {name}")

    @app.get("/square/<int:number>")
    def square(number: int) -> str:
        if number > 10**100:
            abort(400, "Choose a number of at most 100 digits.")
        return page(f"{number} × {number} = {number * number}")

    @app.get("/half/<float:number>")
    def half(number: float) -> str:
        return page(f"{number} / 2 = {number / 2}")

    @app.get("/files/<path:subpath>")
    def files(subpath: str) -> str:
        return page(f"You asked for {subpath}", "This view shows the path and opens no file.")

    @app.get("/")
    def index() -> str:
        links = [
            url_for("hello"),
            url_for("profile", name="Ada"),
            url_for("square", number=12),
            url_for("half", number=2.5),
            url_for("files", subpath="letters/2026/to-ada.txt"),
            url_for("read_note", name="welcome"),
            url_for("visits"),
            url_for("oops"),
        ]
        text = f"Programs can POST a note to {url_for('create_note')}."
        return page("Hello, Flask", f"Plain on purpose: stage 02 adds the design. {text}", links)

    @app.post("/notes")
    def create_note() -> tuple[dict[str, str], int, dict[str, str]]:
        name, text = sent_fields("name", "text")
        notes.write(name, text, replace=False)
        return {"name": name, "text": text}, 201, {"Location": url_for("read_note", name=name)}

    @app.get("/notes/<name>")
    def read_note(name: str) -> dict[str, str]:
        return notes.read(name)

    @app.put("/notes/<name>")
    def write_note(name: str) -> tuple[dict[str, str], int]:
        [text] = sent_fields("text")
        is_new = notes.write(name, text, replace=True)
        return {"name": name, "text": text}, 201 if is_new else 200

    @app.delete("/notes/<name>")
    def delete_note(name: str) -> tuple[str, int]:
        notes.delete(name)
        return "", 204

    @app.get("/visits")
    def visits() -> str:
        session["visits"] = session.get("visits", 0) + 1
        return page(f"Visits from this browser: {session['visits']}")

    @app.get("/oops")
    def oops() -> str:
        names = ["Ada", "Grace"]
        return page(names[2])  # there is no third name, so this view crashes, on purpose

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> Response:
        """Return every error, even a crash (500): as JSON for the notes, otherwise as a page."""
        response = error.get_response()  # keeps headers such as the Allow of a 405
        if request.path.split("/")[1] == "notes":
            response.data = json.dumps({"error": error.description, "status": error.code})
            response.content_type = "application/json"
        else:
            title = f"{TITLES.get(error.code, error.name)} ({error.code})"
            response.data = page(title, ADVICE.get(error.code, error.description))
        return response

    return app


def kept_key(app: Flask) -> str:
    """Return the app's random key, created at the first start and kept in its instance folder."""
    file = Path(app.instance_path, "secret_key")
    key = secrets.token_hex(32)
    try:
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError), TemporaryDirectory(dir=file.parent) as folder:
                draft = Path(folder, file.name)
                draft.touch(mode=0o600)  # only its owner may read it
                draft.write_text(key)
                file.hardlink_to(draft)  # never half a key; if two processes do this, one fails
        return file.read_text()
    except OSError as error:
        app.logger.warning("The secret key can't be kept (%s): sessions end at a restart.", error)
        return key
