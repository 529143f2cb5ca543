"""Clients that are slow or have no measure, at real servers: they are cut off, and others are answered."""

import contextlib
import http.client
import json
import os
import socket

import pytest
from test_serve import get, serving, until

from workshop.host import patience
from workshop.host.guard import THREADS
from workshop.host.ports import free_port, status_of
from workshop.host.server import HEADER_LIMIT
from workshop.host.start import gallery_server

SLOW = 2 * os.cpu_count() + 6  # clients: more than a server has threads
POST = (
    "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{framing}\r\n\r\n"
)


@pytest.fixture(scope="module", params=["serve", "gallery"])
def server(request, tmp_path_factory):
    """A server, and the address of its notes."""
    if request.param == "serve":
        with serving(tmp_path_factory.mktemp("serve") / "work", "01") as (_, url, _):
            yield url, "/notes"
    else:
        with gallery_server("127.0.0.1", free_port(), None, "secret") as gallery:
            gallery.wait_until_ready()
            yield gallery.url, "/01_hello/notes"


@contextlib.contextmanager
def connected(url: str):
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=120) as client:
        yield client


def answer(client: socket.socket) -> tuple[int, bytes]:
    """The status and the body of an answer; 0 where the connection is closed without one."""
    found = http.client.HTTPResponse(client)
    try:
        found.begin()
        return found.status, found.read()
    except (ConnectionError, http.client.BadStatusLine):
        return 0, b""


def test_headers_that_trickle_are_cut_off_and_others_are_answered(server):
    url, _ = server
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(connected(url)) for _ in range(SLOW)]
        for client in slow:
            client.settimeout(5 * HEADER_LIMIT)  # not granian's own limit, which is six times ours
            client.sendall(b"GET / HTTP/1.1\r\nHost: local")
        assert "<h1" in get(url)
        assert {answer(client)[0] for client in slow} <= {0, 408}


@pytest.mark.parametrize(
    ("lines", "statuses"),
    [
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: localhost", {414, 431}),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nA: " + b"a" * 300_000, {431}),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"A: a\r\n" * 300, {431}),
        (b"what is this", {400}),
    ],
    ids=["address", "header", "headers", "no HTTP"],
)
def test_first_lines_that_are_too_long_or_none_are_refused(server, lines, statuses):
    url, _ = server
    with connected(url) as client:
        client.sendall(lines + b"\r\n\r\n")
        assert answer(client)[0] in statuses
    assert "<h1" in get(url)


def test_a_body_that_is_too_long_is_refused_though_it_says_no_length(server):
    url, notes = server
    chunk = b"1000\r\n" + b"a" * 4096 + b"\r\n"
    with connected(url) as client:
        client.sendall(POST.format(path=notes, framing="Transfer-Encoding: chunked").encode())
        client.sendall(chunk + chunk)  # and no end
        status, body = answer(client)
    assert status == 413
    said = "Send less: a body may have at most 4,096 bytes."
    assert json.loads(body) == {"error": said, "status": 413}


def test_bodies_that_trickle_end_their_worker_and_a_new_one_answers(tmp_path, monkeypatch):
    monkeypatch.setenv(patience.BODY_SECONDS, "1")
    with serving(tmp_path / "work", "01") as (_, url, log), contextlib.ExitStack() as stack:
        for _ in range(THREADS):
            client = stack.enter_context(connected(url))
            client.sendall(POST.format(path="/notes", framing="Content-Length: 9").encode() + b"1")
        until(lambda: "All threads of a worker wait for slow clients, so it ends" in log())
        until(lambda: status_of(f"{url}/") == 200)
        assert "Traceback" not in log()
