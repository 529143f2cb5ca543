"""WSGI middleware for every app served here: it checks host names, adds headers and limits bodies.

In production, nginx, a platform or a container's supervisor does this. It isn't in the apps, so that
learners read only what the app itself does.

Environment variables
    TRUSTED_NAMES    host names to accept besides localhost and numeric addresses; `*` accepts any name
    TRUSTED_PROXIES  the number of proxies in front of the server that it trusts (default 0)
"""

import io
import ipaddress
import json
import os
import re
import string
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from functools import lru_cache
from html import escape
from typing import Any
from urllib.parse import quote

from workshop.core.errors import WorkshopError
from workshop.setup.process import setting

TRUSTED_NAMES = "TRUSTED_NAMES"
TRUSTED_PROXIES = "TRUSTED_PROXIES"
THREADS = "WORKSHOP_THREADS"  # the variable that sets how many threads a worker has
MOST_THREADS = 128  # the default; each thread can wait for one slow body

# A page may load files only from its own app, may not use inline scripts or styles, may send forms only to
# its own app, and may not be framed by another page.
POLICY = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
# The page that documents an API comes from a library that uses inline styles.
INLINE = "style-src 'self' 'unsafe-inline'; img-src 'self' data:"
DOCUMENTATION = "/openapi/"
HEADERS = {
    "content-security-policy": ("Content-Security-Policy", POLICY),
    "x-frame-options": ("X-Frame-Options", "DENY"),  # frame-ancestors for older browsers
    "referrer-policy": ("Referrer-Policy", "same-origin"),  # a URL may contain personal data
    "x-content-type-options": ("X-Content-Type-Options", "nosniff"),  # the app names a file's type
}
INLINE_HEADERS = HEADERS | {
    "content-security-policy": ("Content-Security-Policy", f"{POLICY}; {INLINE}")
}

OTHER_NAME = (
    "This app does not go by the name in the address. Ask for it by localhost or by its numbers, such "
    "as 127.0.0.1; or, if the name is yours, start it with TRUSTED_NAMES=THE.NAME in its environment."
)
TOO_MANY = "The server is still receiving too many other requests. Try again in a few seconds."
RETRY_AFTER = 5  # seconds

StartResponse = Callable[..., Any]
Application = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]


def number(name: str, default: int) -> int:
    """The number in an environment variable. Raises `WorkshopError` if its value isn't a number."""
    text = setting(name) or str(default)
    if not text.isdecimal():
        raise WorkshopError(
            f"{name} is {text!r}: set it to a number, such as {default or 1}, or unset it."
        )
    return int(text)


def threads() -> int:
    """How many threads each worker has. Raises `WorkshopError`, like `number`."""
    return number(THREADS, MOST_THREADS)


def trusted_proxies() -> int:
    """How many proxies in front of the server to trust. Raises `WorkshopError`, like `number`."""
    return number(TRUSTED_PROXIES, 0)


class Share:
    """Limits how many of a worker's threads wait for bodies at the same time, in all and for one address.

    A thread waits for a body until the client has sent it, and Python can't interrupt that. So bodies get
    three quarters of the threads, and a single address half of those; the rest serve pages.
    """

    def __init__(self, number: int) -> None:
        self.most = max(1, number * 3 // 4)
        self.most_for_one = max(1, self.most // 2)
        self._waiting: Counter[str] = Counter()  # by address
        self._lock = threading.Lock()

    def take(self, address: str) -> bool:
        """Reserve a thread for a client's body; False if none is free."""
        with self._lock:
            here = self._waiting[address]
            if here >= self.most_for_one or self._waiting.total() >= self.most:
                return False
            self._waiting[address] = here + 1
            return True

    def give_back(self, address: str) -> None:
        """Release the thread that was reserved for a client."""
        with self._lock:
            self._waiting[address] -= 1
            if not self._waiting[address]:
                del self._waiting[address]


SHARE = Share(threads())  # of this worker


def guard(
    application: Application, body_limit: int | None = None, share: Share = SHARE
) -> Application:
    """Check the host name of each request, read its body, and add headers to each response.

    The application gets the whole body if it has at most `body_limit` bytes. A longer one gets a
    Content-Length, even if the client sent none, so that Flask refuses it with 413. Headers that the
    application sets aren't changed.
    """

    def answer(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")

        def start(status: str, headers: list[tuple[str, str]], *more: object) -> Any:
            return start_response(status, headers + missing(headers, path), *more)

        name = environ.get("HTTP_HOST") or environ.get("SERVER_NAME", "")
        if not is_own_name(name, os.environ.get(TRUSTED_NAMES, "")):
            return refuse(environ, start, "400 Bad Request", OTHER_NAME)
        query = environ.get("QUERY_STRING", "")
        if not query.isascii():  # no browser sends such bytes, and Werkzeug fails on some of them
            environ["QUERY_STRING"] = quote(query, safe=string.printable, encoding="latin-1")
        announced = environ.get("CONTENT_LENGTH", "") not in ("", "0")
        if announced or "HTTP_TRANSFER_ENCODING" in environ:
            address = environ.get("REMOTE_ADDR", "")
            if not share.take(address):
                return refuse(environ, start, "503 Service Unavailable", TOO_MANY)
            try:
                take_body(environ, body_limit)
            finally:
                share.give_back(address)
        return application(environ, start)

    return answer


def missing(headers: list[tuple[str, str]], path: str) -> list[tuple[str, str]]:
    """Return the headers that tell a browser what a page may do, without those the application has set."""
    there = {name.lower() for name, _ in headers}
    if "content-security-policy" in there:
        there.add("x-frame-options")  # the application has its own rule for frames
    ours = INLINE_HEADERS if path.startswith(DOCUMENTATION) else HEADERS
    return [header for name, header in ours.items() if name not in there]


@lru_cache(maxsize=256)
def is_own_name(host: str, names: str) -> bool:
    """Whether `host`, with or without a port, is localhost, a numeric address, or one of `names`.

    Another site can point its own host name to this machine and read the responses (DNS rebinding). It
    can't do that with a numeric address, because no name server resolves those.
    """
    name = re.sub(r":\d+$", "", host).strip("[]").lower()
    trusted = names.lower().split()
    if "*" in trusted or name in ("localhost", *trusted):
        return True
    try:
        return bool(ipaddress.ip_address(name))
    except ValueError:
        return False


def take_body(environ: dict[str, Any], limit: int | None) -> None:
    """Read the body, up to the limit, and pass it on with its length."""
    chunked = "HTTP_TRANSFER_ENCODING" in environ  # it overrides Content-Length
    announced = "" if chunked else environ.get("CONTENT_LENGTH", "")
    if announced.isdecimal() and limit is not None and int(announced) > limit:
        return  # Flask refuses it unread
    most = -1 if limit is None else limit + 1
    if announced.isdecimal():
        most = min(int(announced), sys.maxsize)
    body = environ["wsgi.input"].read(most)
    environ["wsgi.input"] = io.BytesIO(body)
    environ["CONTENT_LENGTH"] = str(len(body))
    environ.pop("HTTP_TRANSFER_ENCODING", None)


def refuse(environ: dict[str, Any], start: StartResponse, status: str, text: str) -> list[bytes]:
    """Refuse a request before it reaches the app: with a page, or with problem+json below `/api/`."""
    if environ.get("PATH_INFO", "").startswith("/api/"):
        kind, body = "application/problem+json", problem_json(status, text)
    else:
        title = status.partition(" ")[2]
        kind = "text/html; charset=utf-8"
        body = (
            '<!doctype html><html lang="en"><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{title}</title><h1>{title}</h1><p>{escape(text)}</p></html>"
        )
    content = body.encode()
    headers = [("Content-Type", kind), ("Content-Length", str(len(content)))]
    if status.startswith("503"):
        headers.append(("Retry-After", str(RETRY_AFTER)))
    start(status, headers)
    return [content]


def problem_json(status: str, detail: str) -> str:
    """Return an error as problem+json (RFC 9457) for a `status` such as `400 Bad Request`."""
    code, _, title = status.partition(" ")
    return json.dumps({"title": title, "status": int(code), "detail": detail, "errors": []})


def behind_proxies(application: Application) -> Application:
    """Trust what `TRUSTED_PROXIES` proxies report: the client's address, host name, scheme and prefix."""
    if not (proxies := trusted_proxies()):
        return application
    from werkzeug.middleware.proxy_fix import ProxyFix  # here: few servers have a proxy in front

    every = dict.fromkeys(("x_for", "x_proto", "x_host", "x_port", "x_prefix"), proxies)
    return ProxyFix(application, **every)
