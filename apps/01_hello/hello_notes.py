"""The notes, kept in memory, and a clear error for each request that can't be carried out."""

from threading import Lock

from flask import abort, request
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge

MAX_NOTES = 100  # memory is finite, and anyone on the network can send notes
MAX_NAME = 40  # characters


class Notes:
    """The notes of one running app, by name. They are lost when the app stops."""

    def __init__(self) -> None:
        self._texts = {"welcome": "This note comes with the app. Change it, or delete it."}
        self._lock = Lock()  # a server answers several requests at the same time, each in a thread

    def read(self, name: str) -> dict[str, str]:
        """Return the note as `{"name", "text"}`; 404 if there is none."""
        text = self._texts.get(name)
        if text is None:
            abort(404, "There is no note with this name: create it with POST /notes.")
        return {"name": name, "text": text}

    def write(self, name: str, text: str, *, replace: bool) -> bool:
        """Save a note and return whether it is new.

        422 if the name can't be part of an address, if there are too many notes and, unless
        `replace`, if the name is taken.
        """
        if len(name) > MAX_NAME or not name.isprintable() or "/" in name or name in (".", ".."):
            abort(422, f"Choose a name of 1 to {MAX_NAME} printable characters without a slash.")
        with self._lock:
            is_new = name not in self._texts
            if not (is_new or replace):
                abort(422, "This name is taken: change the note with PUT, or choose another name.")
            if is_new and len(self._texts) >= MAX_NOTES:
                abort(422, f"There are already {MAX_NOTES} notes, the maximum: delete one first.")
            self._texts[name] = text
        return is_new

    def delete(self, name: str) -> None:
        """Delete a note; 404 if there is none."""
        if self._texts.pop(name, None) is None:
            abort(404, "There is no note with this name, so nothing was deleted.")


def sent_fields(*names: str) -> list[str]:
    """Return the values of these fields, all of them strings, from the request's JSON body.

    415 if the request doesn't declare its body as JSON, 400 if the body isn't JSON, 413 if it is
    too long, 422 if fields are missing, unknown, blank or not strings.
    """
    if not request.is_json:
        abort(415, "Send JSON, with the header Content-Type: application/json.")
    try:
        body = request.get_json()
    except RequestEntityTooLarge:
        abort(413, f"Send a shorter body: at most {request.max_content_length:,} bytes.")
    except (BadRequest, RecursionError):  # RecursionError: thousands of nested brackets
        abort(400, "The body of the request is not valid JSON: look for a missing quote or brace.")
    if not isinstance(body, dict) or set(body) != set(names):
        abort(422, f"Send a JSON object with {' and '.join(names)}, and nothing else.")
    for name in names:
        if not isinstance(body[name], str) or not body[name].strip():
            abort(422, f"Send a {name} that is a string and not blank.")
    return [body[name] for name in names]
