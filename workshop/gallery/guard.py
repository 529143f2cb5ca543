"""What keeps the pages of others away from this app's. The file is the same in every app, but for its name.

`guard(app)` answers only where the app is asked for by a name of its own, refuses a body that is too
long however it is sent, and tells browsers in headers what a page of the app may do. A browser keeps
to them; other clients need not.
"""

import ipaddress
import os
import re
from typing import IO

from flask import Flask, Request, Response, abort, request
from werkzeug.utils import cached_property
from werkzeug.wsgi import LimitedStream

# A page loads files of its own app alone, runs no script and no style that is written into it, sends
# forms to its own app alone, and is shown inside no other page.
POLICY = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
# The page that documents an API comes with a library, which writes its styles and scripts into it.
INLINE = "script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:"

HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "same-origin",  # an address may hold what somebody typed
    "X-Content-Type-Options": "nosniff",  # a file is what the app says it is
    "X-Frame-Options": "DENY",  # says frame-ancestors to older browsers
}
OTHER_NAME = (
    "This app does not go by the name in the address. Ask for it by localhost or by its numbers, such "
    "as 127.0.0.1; or, if the name is yours, start it with TRUSTED_NAMES=THE.NAME in its environment."
)


def guard(app: Flask, documentation: str | None = None) -> None:
    """Check the name each request asks for, and add HEADERS to each answer, errors included.

    The setting TRUSTED_NAMES lists names that count beside the usual ones; `*` lets any name in.
    `documentation` is the path of the pages that may hold scripts and styles.
    """
    app.request_class = WholeRequest
    app.config.setdefault("TRUSTED_NAMES", os.environ.get("TRUSTED_NAMES", "").split())

    @app.before_request
    def check_name() -> None:
        trusted = app.config["TRUSTED_NAMES"]
        if not ("*" in trusted or is_own_name(request.host, trusted)):
            abort(400, OTHER_NAME)

    @app.after_request
    def add_headers(response: Response) -> Response:
        response.headers.update(HEADERS)
        if documentation and request.path.startswith(documentation):
            response.headers["Content-Security-Policy"] = f"{POLICY}; {INLINE}"
        return response


class WholeRequest(Request):
    """A request whose body comes whole, or is refused with 413 as longer than MAX_CONTENT_LENGTH."""

    @cached_property
    def stream(self) -> IO[bytes]:
        """The body. Where the client has not said how long it is, Werkzeug would cut it at the limit."""
        limit = self.max_content_length
        unannounced = self.content_length is None and "wsgi.input_terminated" in self.environ
        if limit is None or not unannounced:
            return super().stream
        return WholeBody(self.environ["wsgi.input"], limit, is_max=True)


class WholeBody(LimitedStream):
    """A body that ends before its limit."""

    def readall(self) -> bytes:
        """Return all of it. Raises RequestEntityTooLarge where the limit comes first."""
        body = super().readall()
        if self.is_exhausted:
            self.on_exhausted()
        return body


def is_own_name(host: str, trusted: list[str]) -> bool:
    """Whether `host`, a name with or without a port, is this machine's: localhost, numbers, or `trusted`.

    A page from elsewhere can let a name of its own lead to this machine, and read what we answer (DNS
    rebinding). It can't do so with numbers, which no name server looks up.
    """
    name = re.sub(r":\d+$", "", host).strip("[]").lower()
    if name in ("localhost", *trusted):
        return True
    try:
        return bool(ipaddress.ip_address(name))
    except ValueError:
        return False
