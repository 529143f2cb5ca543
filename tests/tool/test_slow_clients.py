"""Clients that are slow or send too much to real servers are cut off, and others are answered."""

import contextlib
import http.client
import json
import os
import socket

import pytest
from serve_support import get, serving, until
from werkzeug.test import Client
from werkzeug.wrappers import Response

from workshop.host.guard import Share, behind_proxies, guard
from workshop.host.ports import free_port
from workshop.host.server import HEADER_LIMIT
from workshop.host.start import gallery_server

SLOW = 2 * os.cpu_count() + 6  # clients: more than a server has threads
POST = (
    "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{framing}\r\n\r\n"
)


@pytest.fixture(scope="module", params=["serve", "gallery"])
def server(request):
    """A server, and the address of its notes."""
    if request.param == "serve":
        with serving("01") as (_, url, _):
            yield url, "/notes"
    else:
        with gallery_server("127.0.0.1", free_port(), None, "secret") as gallery:
            gallery.wait_until_ready()
            yield gallery.url, "/01_hello/notes"


def connected(url: str) -> socket.socket:
    host, port = url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), 120)


def answer(client: socket.socket) -> tuple[int, bytes]:
    """The status and the body of a response; 0 if the connection is closed without one."""
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
    ],
    ids=["address", "header", "headers"],
)
def test_first_lines_that_are_too_long_are_refused(server, lines, statuses):
    with connected(server[0]) as client:
        client.sendall(lines + b"\r\n\r\n")
        assert answer(client)[0] in statuses


def test_a_body_that_is_too_long_is_refused_even_without_a_length(server):
    url, notes = server
    chunk = b"1000\r\n" + b"a" * 4096 + b"\r\n"
    with connected(url) as client:
        client.sendall(POST.format(path=notes, framing="Transfer-Encoding: chunked").encode())
        client.sendall(chunk + chunk)  # and no end
        status, body = answer(client)
    assert status == 413
    assert json.loads(body)["status"] == 413
    assert "4,096 bytes" in json.loads(body)["error"]


def post(url, path, body, source="127.0.0.1"):
    """The status and the header Retry-After of the response to a note from `source`."""
    address = url.removeprefix("http://")
    connection = http.client.HTTPConnection(address, source_address=(source, 0))
    with contextlib.closing(connection):
        connection.request("POST", path, body, {"Content-Type": "application/json"})
        found = connection.getresponse()
        return found.status, found.getheader("Retry-After")


@pytest.mark.parametrize("framing", ["Transfer-Encoding: chunked", "Content-Length: 900"])
def test_bodies_that_never_arrive_do_not_affect_pages_and_other_people(server, framing):
    url, notes = server
    with contextlib.ExitStack() as stack:
        for _ in range(300):
            client = stack.enter_context(connected(url))
            client.sendall(POST.format(path=notes, framing=framing).encode())
        assert "<h1" in get(url), "the page waits for no body"
        # This address has used up its share once the server has accepted that many of them.
        until(lambda: post(url, notes, b"{}") == (503, "5"))
        assert post(url, notes, b"{}", source="127.0.0.2")[0] == 422
    until(lambda: post(url, notes, b"{}")[0] == 422)


def test_each_visitor_behind_a_proxy_has_a_separate_share(monkeypatch):
    monkeypatch.setenv("TRUSTED_PROXIES", "1")
    share = Share(4)  # three bodies in all, one for each address
    client = Client(behind_proxies(guard(Response("read"), share=share)))

    def post(visitor):
        headers = {"X-Forwarded-For": f"1.1.1.1, {visitor}", "Host": "localhost"}
        return client.post("/", data=b"x", headers=headers).status_code

    assert share.take("192.0.2.1")
    assert (post("192.0.2.1"), post("192.0.2.2")) == (503, 200)
    share.give_back("192.0.2.1")
    assert post("192.0.2.1") == 200
