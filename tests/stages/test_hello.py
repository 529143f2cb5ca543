"""Stage 01: URL parameters, notes in JSON, a count in a cookie, and the key that signs it."""

import json
import os
import re
import stat
import sys

import pytest
from flask import Flask

from workshop.core.stages import load_app_module

hello_app = load_app_module("01_hello")
hello_notes = sys.modules["hello_notes"]
NOTE = {"name": "milk", "text": "two bottles"}


@pytest.fixture
def client():
    return hello_app.create_app().test_client()


def heading(response):
    """The text of a page's only h1, as HTML."""
    [found] = re.findall("<h1>(.*?)</h1>", response.text)
    return found


def error(response, status):
    """Check that a response is an error in JSON, and return its sentence."""
    assert (response.status_code, response.mimetype) == (status, "application/json")
    assert response.json == {"error": response.json["error"], "status": status}
    return response.json["error"]


def test_a_part_of_the_address_reaches_the_view_and_another_address_is_a_404(client):
    for path, shown in {
        "/hello": "hello world",
        "/profile/<script>": "Profile of &lt;script&gt;",
        f"/square/{10**20}": f"{10**20} × {10**20} = {10**40}",
        "/half/2.5": "2.5 / 2 = 1.25",
        "/files/a/b/c.txt": "You asked for a/b/c.txt",
    }.items():
        response = client.get(path)
        assert (response.status_code, heading(response)) == (200, shown)
    for path in ("/hello/", "/profile/", "/square/-1", "/half/3", f"/square/{'9' * 5000}"):
        assert heading(client.get(path)) == "There is no page here (404)"
    refused = client.get(f"/square/{'9' * 4000}")
    assert refused.status_code == 400
    assert "at most 100 digits" in refused.text


def test_a_note_is_created_read_changed_and_deleted_at_its_location(client):
    text = "<script>\u0000 \ud800 नमस्ते\n"
    for name in ("milk", "100% wool?", "नमस्ते", "#1", "a\\b", "x" * 40):
        note = {"name": name, "text": text}
        created = client.post("/notes", json=note)
        assert (created.status_code, created.json) == (201, note)
        address = created.headers["Location"]
        assert address.isascii()
        assert client.get(address).json == note
        changed = client.put(address, json={"text": "three bottles"})
        assert (changed.status_code, changed.json) == (200, note | {"text": "three bottles"})
    assert error(client.post("/notes", json={"name": "#1", "text": "overwritten?"}), 422)
    deleted = client.delete(address)
    assert (deleted.status_code, deleted.text) == (204, "")
    assert error(client.get(address), 404)
    assert error(client.delete(address), 404)
    assert client.put(address, json={"text": "two bottles"}).status_code == 201


NO_NOTES = [[], None, {"name": "a"}, {"text": "b"}, NOTE | {"more": "c"}, NOTE | {"text": " "}]
NO_NOTES += [NOTE | {"name": name} for name in (5, " ", "a/b", "..", "a\nb", "x" * 41, "\ud800")]


def test_what_is_no_note_is_refused_in_json_with_a_reason(client):
    for body in NO_NOTES:
        sent = client.post("/notes", data=json.dumps(body), content_type="application/json")
        assert re.match("(Send|Choose) ", error(sent, 422)), body
    for body in ({}, [], {"text": 5}, NOTE):
        assert "text" in error(client.put("/notes/milk", json=body), 422)
    assert client.get("/notes/milk").status_code == 404
    for name in ("x" * 41, "%00"):
        assert error(client.put(f"/notes/{name}", json={"text": "t"}), 422)
    for body in (b"", b"{", b"\xff\xfe\x00", b"[" * 4096):
        response = client.post("/notes", data=body, content_type="application/json")
        assert "not valid JSON" in error(response, 400)
    for method, path in (("POST", "/notes"), ("PUT", "/notes/a")):
        response = client.open(path, method=method, data=b'{"text": "t"}')
        assert "application/json" in error(response, 415)
    assert "4,096 bytes" in error(client.post("/notes", json=NOTE | {"text": "x" * 5000}), 413)
    assert error(client.get("/notes"), 405)


def test_the_number_of_notes_is_limited(client):
    for i in range(hello_notes.MAX_NOTES - 1):  # one is there from the start
        assert client.put(f"/notes/{i}", json={"text": "t"}).status_code == 201
    assert "delete one" in error(client.put("/notes/more", json={"text": "t"}), 422)
    assert "delete one" in error(client.post("/notes", json=NOTE), 422)
    client.delete("/notes/0")
    assert client.post("/notes", json=NOTE).status_code == 201


def test_each_browser_has_its_own_count_and_a_forged_cookie_counts_for_nothing(client):
    assert [heading(client.get("/visits"))[-1] for _ in range(3)] == ["1", "2", "3"]
    _, signature = client.get_cookie("session").value.split(".", 1)
    forger = hello_app.create_app({"SECRET_KEY": "a guess"}).test_client()
    with forger.session_transaction() as session:
        session["visits"] = 1000
    forged = forger.get_cookie("session").value
    other = client.application.test_client()
    assert heading(other.get("/visits")) == "Visits from this browser: 1"
    for value in (forged, f"{forged.split('.')[0]}.{signature}", "x", "..."):
        other.set_cookie("session", value)
        assert heading(other.get("/visits")) == "Visits from this browser: 1"


def test_the_key_is_a_setting_or_kept_where_only_its_owner_can_read_it(tmp_path, monkeypatch):
    made = Flask("app", instance_path=str(tmp_path / "instance"))
    file = tmp_path / "instance" / "secret_key"
    keys = {hello_app.kept_key(made), hello_app.kept_key(made)}
    assert keys == {file.read_text(encoding="ascii")}
    assert len(keys.pop()) == 64
    if os.name == "posix":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    monkeypatch.setenv("SECRET_KEY", "from the environment")
    assert hello_app.create_app().secret_key == "from the environment"
