"""Protects this app from other sites' pages: the name check, headers, and a limit on bodies."""

import ipaddress
import os
import re

from flask import Flask, Response, abort, request

# A page loads only its own app's files, runs no script and no style that is written into it, sends
# forms only to its own app, and can't be shown inside another page.
POLICY = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
# The page that documents the API comes with a library, which writes styles into it.
INLINE = "style-src 'self' 'unsafe-inline'; img-src 'self' data:"
HEADERS = {
    "Referrer-Policy": "same-origin",  # an address may contain what somebody typed
    "X-Content-Type-Options": "nosniff",  # a file is what the app says it is
    "X-Frame-Options": "DENY",  # tells older browsers what frame-ancestors tells newer ones
}
OTHER_NAME = (
    "This app does not go by the name in the address. Ask for it by localhost or by its numbers, such "
    "as 127.0.0.1; or, if the name is yours, start it with TRUSTED_NAMES=THE.NAME in its environment."
)


def guard(app: Flask) -> None:
    """Check each request's name and body before any view runs, and add HEADERS to each answer."""
    app.config.setdefault("TRUSTED_NAMES", os.environ.get("TRUSTED_NAMES", "").lower().split())

    @app.before_request
    def check() -> None:
        if not is_own_name(request.host, app.config["TRUSTED_NAMES"]):
            abort(400, OTHER_NAME)
        # Where a client doesn't say how long its body is, Werkzeug would cut it at the limit.
        limit, unsaid = app.config["MAX_CONTENT_LENGTH"], request.content_length is None
        if unsaid and len(request.get_data()) >= limit:
            abort(413)

    @app.after_request
    def add_headers(response: Response) -> Response:
        inline = request.path.startswith("/openapi/")
        response.headers["Content-Security-Policy"] = f"{POLICY}; {INLINE}" if inline else POLICY
        response.headers.update(HEADERS)
        return response


def is_own_name(host: str, trusted: list[str]) -> bool:
    """Return whether `host`, with or without a port, is this machine's: localhost, numbers, or `trusted`.

    Another site can point its own name at this machine, and read what the app answers (DNS
    rebinding). It can't do that with numeric addresses, which aren't looked up.
    """
    name = re.sub(r":\d+$", "", host).strip("[]").lower()
    if "*" in trusted or name in ("localhost", *trusted):
        return True
    try:
        return bool(ipaddress.ip_address(name))
    except ValueError:
        return False
