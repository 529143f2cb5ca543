"""What the place that serves an app does for it, as WSGI middleware: names, headers, bodies, proxies.

On the internet nginx, a platform or a container's supervisor does the same. The apps know nothing of it,
so that a learner reads in them only what the app itself does.

Environment variables
    TRUSTED_NAMES    host names that count next to localhost and numeric addresses; `*` lets any name in
    TRUSTED_PROXIES  how many proxies stand in front and are to be believed (default 0)
"""

import io
import ipaddress
import json
import os
import re
import string
import threading
from collections.abc import Callable, Iterable
from functools import lru_cache
from html import escape
from typing import Any
from urllib.parse import quote

from werkzeug.datastructures import Headers
from werkzeug.middleware.proxy_fix import ProxyFix

TRUSTED_NAMES = "TRUSTED_NAMES"
TRUSTED_PROXIES = "TRUSTED_PROXIES"
THREADS = "WORKSHOP_THREADS"  # the variable that sets how many threads a worker has
MOST_THREADS = 128  # unless it is set; each one waits for one slow body

# A page loads only files of its own app, runs no script and no style that is written into it, sends
# forms only to its own app, and is shown inside no other page.
POLICY = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
# The page that documents an API comes with a library, which writes its styles and scripts into it.
INLINE = "script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:"
DOCUMENTATION = "/openapi/"

OTHER_NAME = (
    "This app does not go by the name in the address. Ask for it by localhost or by its numbers, such "
    "as 127.0.0.1; or, if the name is yours, start it with TRUSTED_NAMES=THE.NAME in its environment."
)
TOO_MANY = "Too many requests are still being sent. Try again in a few seconds."
RETRY_AFTER = 5  # seconds

Application = Callable[[dict[str, Any], Callable], Iterable[bytes]]


def threads() -> int:
    """How many threads each worker has."""
    return int(os.environ.get(THREADS) or MOST_THREADS)


class Share:
    """How many of a worker's threads may wait for bodies at the same time, in all and for one address.

    A thread waits for a body until the client has sent it, and nothing in Python can end that. So bodies
    get three quarters of the threads, and one address half of those; pages are answered by the rest.
    """

    def __init__(self, number: int) -> None:
        self.most = max(1, number * 3 // 4)
        self.most_for_one = max(1, self.most // 2)
        self._waiting: dict[str, int] = {}  # by address
        self._all = 0
        self._lock = threading.Lock()

    def take(self, address: str) -> bool:
        """Take a place for a client; False if there is none."""
        with self._lock:
            here = self._waiting.get(address, 0)
            if here >= self.most_for_one or self._all >= self.most:
                return False
            self._waiting[address] = here + 1
            self._all += 1
            return True

    def give_back(self, address: str) -> None:
        with self._lock:
            self._all -= 1
            self._waiting[address] -= 1
            if not self._waiting[address]:
                del self._waiting[address]


SHARE = Share(threads())  # of this worker


def guard(
    application: Application, body_limit: int | None = None, share: Share = SHARE
) -> Application:
    """Check the name each request asks for, wait for its body, and add headers to each answer.

    A body comes to the application whole, up to `body_limit` bytes; of one that is longer, the length is
    announced, so that Flask refuses it with 413 however it was sent. A header that the application has set
    itself stays as it is.
    """

    def answer(environ: dict[str, Any], start_response: Callable) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")

        def start(status: str, headers: list[tuple[str, str]], *more: object) -> Callable:
            found = Headers(headers)
            add_headers(found, path)
            return start_response(status, found.to_wsgi_list(), *more)

        name = environ.get("HTTP_HOST") or environ.get("SERVER_NAME", "")
        if not is_own_name(name, os.environ.get(TRUSTED_NAMES, "")):
            return refuse(environ, start, "400 Bad Request", OTHER_NAME)
        query = environ.get("QUERY_STRING", "")
        if (
            not query.isascii()
        ):  # bytes that no browser sends as they are; Werkzeug fails on some of them
            environ["QUERY_STRING"] = quote(query, safe=string.printable, encoding="latin-1")
        if has_body(environ):
            address = environ.get("REMOTE_ADDR", "")
            if not share.take(address):
                return refuse(environ, start, "503 Service Unavailable", TOO_MANY)
            try:
                take_body(environ, body_limit)
            finally:
                share.give_back(address)
        return application(environ, start)

    return answer


def add_headers(headers: Headers, path: str) -> None:
    """Tell browsers what a page may do; they keep to it, and other clients need not."""
    if "Content-Security-Policy" not in headers:
        inline = path.startswith(DOCUMENTATION)
        headers["Content-Security-Policy"] = f"{POLICY}; {INLINE}" if inline else POLICY
        headers.setdefault("X-Frame-Options", "DENY")  # says frame-ancestors to older browsers
    headers.setdefault("Referrer-Policy", "same-origin")  # an address may hold what somebody typed
    headers.setdefault("X-Content-Type-Options", "nosniff")  # a file is what the app says it is


@lru_cache(maxsize=256)
def is_own_name(host: str, names: str) -> bool:
    """Whether `host`, with or without a port, is this machine's name: localhost, numbers, or one of `names`.

    A page from elsewhere can let a name of its own lead to this machine, and read what we answer (DNS
    rebinding). It can't do so with numbers, which no name server looks up.
    """
    name = re.sub(r":\d+$", "", host).strip("[]").lower()
    trusted = names.lower().split()
    if "*" in trusted or name in ("localhost", *trusted):
        return True
    try:
        return bool(ipaddress.ip_address(name))
    except ValueError:
        return False


def has_body(environ: dict[str, Any]) -> bool:
    """Whether a request announces a body, with its length or without."""
    return environ.get("CONTENT_LENGTH", "") not in ("", "0") or "HTTP_TRANSFER_ENCODING" in environ


def take_body(environ: dict[str, Any], limit: int | None) -> None:
    """Read the body, as far as it may be long, and hand it on with its length."""
    chunked = "HTTP_TRANSFER_ENCODING" in environ  # which says more than a length
    announced = "" if chunked else environ.get("CONTENT_LENGTH", "")
    if announced.isdecimal() and limit is not None and int(announced) > limit:
        return  # refused unread
    most = int(announced) if announced.isdecimal() else -1 if limit is None else limit + 1
    body = environ["wsgi.input"].read(most)
    environ["wsgi.input"] = io.BytesIO(body)
    environ["CONTENT_LENGTH"] = str(len(body))
    environ.pop("HTTP_TRANSFER_ENCODING", None)


def refuse(environ: dict[str, Any], start: Callable, status: str, text: str) -> Iterable[bytes]:
    """Answer in the app's place: a page for people, and problem+json (RFC 9457) below `/api/`."""
    code, _, title = status.partition(" ")
    if environ.get("PATH_INFO", "").startswith("/api/"):
        problem = {"title": title, "status": int(code), "detail": text, "errors": []}
        kind, body = "application/problem+json", json.dumps(problem)
    else:
        kind = "text/html; charset=utf-8"
        body = (
            '<!doctype html><html lang="en"><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{title}</title><h1>{title}</h1><p>{escape(text)}</p></html>"
        )
    content = body.encode()
    headers = [("Content-Type", kind), ("Content-Length", str(len(content)))]
    if code == "503":
        headers.append(("Retry-After", str(RETRY_AFTER)))
    start(status, headers)
    return [content]


def behind_proxies(application: Application) -> Application:
    """Believe what so many proxies as `TRUSTED_PROXIES` says tell of the visitor, name and prefix."""
    number = int(os.environ.get(TRUSTED_PROXIES) or 0)
    if not number:
        return application
    return ProxyFix(
        application, x_for=number, x_proto=number, x_host=number, x_port=number, x_prefix=number
    )
