"""Protects this app from other sites' pages: names, headers, bodies.

Environment variables
    TRUSTED_NAMES    the app's own host names; `.example.org` is any name below it, `*` any name at all.
                     Default: localhost, numeric addresses, and the name that a host such as Render announces.
    FRAME_ANCESTORS  who may show the app in a frame, such as `https://example.org`. Default: nobody, or
                     Hugging Face if the app runs in a Space.
"""

import ipaddress
import os
import re

from flask import Flask, Response, abort, request

HOSTS = {  # what hosts announce, and the name that follows from it
    "RENDER_EXTERNAL_HOSTNAME": "{}",
    "SPACE_HOST": "{}",  # Hugging Face Spaces
    "WEBSITE_HOSTNAME": "{}",  # Azure App Service
    "RAILWAY_PUBLIC_DOMAIN": "{}",
    "KOYEB_PUBLIC_DOMAIN": "{}",
    "FLY_APP_NAME": "{}.fly.dev",
    "PYTHONANYWHERE_DOMAIN": ".{}",  # any name below it: only PythonAnywhere can give those
}
OTHER_NAME = "This app goes by another name. If the name is yours, set TRUSTED_NAMES=THE.NAME."


def guard(app: Flask) -> None:
    """Refuse other names, and bodies that are too long, and tell browsers what a page may do."""
    announced = [name.format(os.environ[key]) for key, name in HOSTS.items() if os.environ.get(key)]
    names = [*os.environ.get("TRUSTED_NAMES", "").split(), *announced]
    app.config.setdefault("TRUSTED_NAMES", [name.lower() for name in names])
    in_space = "https://huggingface.co" if os.environ.get("SPACE_HOST") else "'none'"
    frames = os.environ.get("FRAME_ANCESTORS") or in_space

    @app.before_request
    def check_request() -> None:
        if not is_own_name(request.host, app.config["TRUSTED_NAMES"]):
            abort(400, OTHER_NAME)
        # If a body doesn't state its length, Werkzeug reads it up to the limit and no further.
        limit = app.config["MAX_CONTENT_LENGTH"]
        if request.content_length is None and len(request.get_data()) >= limit:
            abort(413)

    @app.after_request
    def add_headers(response: Response) -> Response:
        response.headers["Content-Security-Policy"] = (
            "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors " + frames
        )
        if frames == "'none'":
            response.headers["X-Frame-Options"] = "DENY"  # says it to older browsers
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "same-origin"
        return response


def is_own_name(host: str, trusted: list[str]) -> bool:
    """Whether `host`, with or without a port, is localhost, an IP address or one of the `trusted` names.

    Another site can point its own name at this machine and read what the app answers (DNS rebinding). It
    can't do that with numeric addresses, which aren't looked up.
    """
    name = re.sub(r":\d+$", "", host).strip("[]").lower()
    above = [each for each in trusted if each.startswith(".")]
    if "*" in trusted or name in ("localhost", *trusted) or name.endswith(tuple(above)):
        return True
    try:
        return bool(ipaddress.ip_address(name))
    except ValueError:
        return False
