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
MOST_THREADS = 128  # unless it is set; each one waits for one slow body

# A page loads only files of its own app, runs no script and no style that is written into it, sends
# forms only to its own app, and is shown inside no other page.
POLICY = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
# The page that documents an API comes with a library, which writes its styles into it.
INLINE = "style-src 'self' 'unsafe-inline'; img-src 'self' data:"
DOCUMENTATION = "/openapi/"
HEADERS = {
    "content-security-policy": ("Content-Security-Policy", POLICY),
    "x-frame-options": ("X-Frame-Options", "DENY"),  # says frame-ancestors to older browsers
    "referrer-policy": ("Referrer-Policy", "same-origin"),  # a URL may hold what somebody typed
    "x-content-type-options": ("X-Content-Type-Options", "nosniff"),  # a file is what the app says
}
INLINE_HEADERS = HEADERS | {
    "content-security-policy": ("Content-Security-Policy", f"{POLICY}; {INLINE}")
}

OTHER_NAME = (
    "This app does not go by the name in the address. Ask for it by localhost or by its numbers, such "
    "as 127.0.0.1; or, if the name is yours, start it with TRUSTED_NAMES=THE.NAME in its environment."
)
TOO_MANY = "Too many requests are still being sent. Try again in a few seconds."
RETRY_AFTER = 5  # seconds

StartResponse = Callable[..., Any]
Application = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]


def number(name: str, default: int) -> int:
    """The number in a variable. Raises `WorkshopError` if it holds something else."""
    text = setting(name) or str(default)
    if not text.isdecimal():
        raise WorkshopError(
            f"{name} is {text!r}: set it to a number, such as {default}, or unset it."
        )
    return int(text)


def threads() -> int:
    """How many threads each worker has."""
    return number(THREADS, MOST_THREADS)


class Share:
    """How many of a worker's threads may wait for bodies at the same time, in all and for one address.

    A thread waits for a body until the client has sent it, and nothing in Python can end that. So bodies
    get three quarters of the threads, and one address half of those; pages are answered by the rest.
    """

    def __init__(self, number: int) -> None:
        self.most = max(1, number * 3 // 4)
        self.most_for_one = max(1, self.most // 2)
        self._waiting: Counter[str] = Counter()  # by address
        self._lock = threading.Lock()

    def take(self, address: str) -> bool:
        """Take a place for a client; False if there is none."""
        with self._lock:
            here = self._waiting[address]
            if here >= self.most_for_one or self._waiting.total() >= self.most:
                return False
            self._waiting[address] = here + 1
            return True

    def give_back(self, address: str) -> None:
        """Free the place that a client has taken."""
        with self._lock:
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
    """Return the headers that say what a page may do, except those the application has set itself.

    Browsers obey them; other clients don't have to.
    """
    there = {name.lower() for name, _ in headers}
    if "content-security-policy" in there:
        there.add("x-frame-options")  # the application has said who may frame it
    ours = INLINE_HEADERS if path.startswith(DOCUMENTATION) else HEADERS
    return [header for name, header in ours.items() if name not in there]


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


def refuse(environ: dict[str, Any], start: StartResponse, status: str, text: str) -> list[bytes]:
    """Answer in the app's place: a page for people, and problem+json below `/api/`."""
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
    """Return an error for programs (RFC 9457); `status` is one such as `400 Bad Request`."""
    code, _, title = status.partition(" ")
    return json.dumps({"title": title, "status": int(code), "detail": detail, "errors": []})


def behind_proxies(application: Application) -> Application:
    """Believe what so many proxies as `TRUSTED_PROXIES` says tell of the visitor, name and prefix."""
    if not (proxies := number(TRUSTED_PROXIES, 0)):
        return application
    from werkzeug.middleware.proxy_fix import ProxyFix  # here: most servers have no proxy in front

    every = dict.fromkeys(("x_for", "x_proto", "x_host", "x_port", "x_prefix"), proxies)
    return ProxyFix(application, **every)
