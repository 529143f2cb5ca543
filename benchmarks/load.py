"""A client that asks a server as fast as it answers, over connections that stay open.

It is written to cost less than the servers that it measures, and knows no more of HTTP than that needs.
"""

import contextlib
import io
import re
import selectors
import socket
import sys
import time
from collections.abc import Callable

CONNECTIONS = 8  # each asks again as soon as it is answered
PERSON = {
    "age": 39,
    "workclass": "State-gov",
    "education": "Bachelors",
    "marital_status": "Never-married",
    "race": "White",
    "sex": "Male",
    "hours_per_week": 40,
}


def ask_in_process(app: Callable, path: str, body: bytes) -> bytes:
    """What a WSGI app answers to a POST of JSON, with no server and no connection. Ends if it is no 200."""
    environ = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": path,
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(body)),
    }
    statuses = []
    answer = b"".join(app(environ, lambda status, headers: statuses.append(status)))
    if statuses != ["200 OK"]:
        sys.exit(f"{path} is answered {statuses}: {answer[:500]!r}")
    return answer


def http_request(method: str, path: str, body: bytes = b"") -> bytes:
    """One request as it goes over the wire, on a connection that stays open."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
    if body:
        lines.append("Content-Type: application/json")
    return "\r\n".join([*lines, "", ""]).encode() + body


def http_load(request: bytes, expected: bytes) -> Callable[[int, float], tuple[int, int]]:
    """Ask for so many seconds; an answer is right if it is a 200 that contains `expected`."""

    def load(port: int, seconds: float) -> tuple[int, int]:
        right = wrong = 0
        with selectors.DefaultSelector() as selector, contextlib.ExitStack() as stack:
            for _ in range(CONNECTIONS):
                connection = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                selector.register(connection, selectors.EVENT_READ, bytearray())
                connection.sendall(request)
            deadline = time.perf_counter() + seconds
            while time.perf_counter() < deadline:
                for key, _ in selector.select(timeout=1):
                    received = key.fileobj.recv(1 << 20)
                    if not received:
                        raise ConnectionError("the server closed a connection")
                    key.data.extend(received)
                    if not is_complete(key.data):
                        continue
                    if key.data.startswith(b"HTTP/1.1 200 ") and expected in key.data:
                        right += 1
                    else:
                        wrong += 1
                    key.data.clear()
                    key.fileobj.sendall(request)
        return right, wrong

    return load


def is_complete(answer: bytearray) -> bool:
    """Whether all of a response with a Content-Length is there."""
    head, separator, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    if separator and not length:
        raise ValueError(f"an answer without Content-Length: {bytes(head)!r}")
    return bool(separator) and len(body) >= int(length[1])
