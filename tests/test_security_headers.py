"""What every answer of every app says to browsers, which names the apps go by, and the key that signs."""

import os
import re
import shutil
import stat
import subprocess
import sys

import pytest
import requests
from host_support import hosted
from werkzeug.test import Client

from workshop import serve
from workshop.core.stages import find_stage, load_app_module, stages_with_app
from workshop.host import gallery
from workshop.host.guard import guard
from workshop.host.ports import free_port
from workshop.host.server import served
from workshop.host.start import gallery_server
from workshop.setup.process import ROOT

POLICY = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
APPS = [*(stage.slug for stage in stages_with_app()), "gallery"]
METHODS = ("GET", "POST", "PUT", "DELETE", "OPTIONS")
each_app = pytest.mark.parametrize("name", APPS)


@pytest.fixture(params=APPS)
def app(request, tmp_path, monkeypatch):
    """An app without a model or a database: its pages answer 200, 4xx and 503."""
    return make(request.param, tmp_path)


def make(name, folder, **more):
    """An app as the host serves it: its middleware around it."""
    if name == "gallery":
        app = gallery.create_app({})
    else:
        paths = {"MODEL_FOLDER": folder / "model", "INSTANCE_FOLDER": folder}
        app = load_app_module(name).create_app(paths | {"SECRET_KEY": "a test's"} | more)
    return hosted(app)


def addresses(app):
    """An address of each route of the app, and one of none."""
    samples = {"int": "7", "float": "2.5", "path": "a/b"}
    for rule in app.url_map.iter_rules():
        yield re.sub(r"<(?:(\w+)(?:\([^)]*\))?:)?\w+>", lambda m: samples.get(m[1], "x"), rule.rule)
    yield from ("/nothing", "/api/nothing", "/static/style.css", "/static/nothing")


def assert_guarded(answer, path):
    inline = path.startswith("/openapi/")
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith(POLICY) if inline else policy == POLICY
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "same-origin"
    assert answer.headers["X-Frame-Options"] == "DENY"
    for cookie in answer.headers.getlist("Set-Cookie"):
        assert "HttpOnly" in cookie
        assert "SameSite=Lax" in cookie


def test_every_answer_carries_the_headers(app):
    client = app.test_client()
    seen = set()
    for path in addresses(app):
        for method in METHODS:
            answer = client.open(path, method=method, data=b"x", content_type="text/plain")
            seen.add(answer.status_code)
            assert_guarded(answer, path)
            answer.close()
    assert seen >= {200, 404, 405} or seen >= {200, 404, 503}  # 503: it has no model, and no view


def test_an_error_of_the_app_itself_carries_them_too(app):
    def crash():
        raise RuntimeError("on purpose")

    app.add_url_rule("/crash", view_func=crash)
    answer = app.test_client().get("/crash")
    assert answer.status_code in (500, 503)  # 503: it has no model, and no view
    assert_guarded(answer, "/crash")


def test_no_page_holds_scripts_or_styles_of_its_own(app):
    client = app.test_client()
    for path in set(addresses(app)) - {"/openapi/swagger", "/openapi/oauth2-redirect.html"}:
        answer = client.get(path)
        if answer.mimetype == "text/html":
            assert not re.findall(r"<style|<script|<[^>]+\s(?:style|on\w+)\s*=", answer.text), path
        answer.close()


def test_a_header_that_the_app_has_set_stays():
    def app(environ, start_response):
        framed = "frame-ancestors https://example.org"
        start_response(
            "200 OK", [("Content-Security-Policy", framed), ("Referrer-Policy", "no-referrer")]
        )
        return [b""]

    answer = Client(guard(app)).get("/", headers={"Host": "localhost"})
    assert answer.headers["Content-Security-Policy"] == "frame-ancestors https://example.org"
    assert "X-Frame-Options" not in answer.headers
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


# Names


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "localhost:8000", "LOCALHOST", "127.0.0.1:8001", "[::1]:8000", "[::1]"),
        *("192.168.1.17:8000", "10.0.0.1", "[2001:db8::7]:8000"),
    ],
)
def test_an_app_goes_by_localhost_and_by_numbers(app, host):
    assert app.test_client().get("/", headers={"Host": host}).status_code in (200, 503)


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example:8000", "localhost.evil.example", "rebound.localhost", "evil_one.example"),
        *("127.0.0.1.evil.example", "2130706433", "localhost:x", "[evil]", "-"),
    ],
)
def test_another_name_is_refused(app, host):
    for path in ("/", "/nothing", "/static/style.css", "/healthz"):
        answer = app.test_client().get(path, headers={"Host": host})
        assert answer.status_code == 400
        assert "does not go by the name in the address" in answer.text
        assert "evil" not in answer.text
        assert_guarded(answer, path)


@pytest.mark.parametrize("name", ["03_prime", "04_iris", "05_census", "06_housing"])
def test_an_api_refuses_another_name_in_its_own_form(name, tmp_path):
    client = make(name, tmp_path).test_client()
    answer = client.get("/api/v1/model", headers={"Host": "evil.example"})
    assert answer.mimetype == "application/problem+json"
    assert answer.json.keys() == {"title", "status", "detail", "errors"}
    assert (answer.status_code, answer.json["status"]) == (400, 400)


def test_names_can_be_given_in_the_environment(monkeypatch, tmp_path):
    def status(name, host):
        client = make(name, tmp_path).test_client()
        return client.get("/", headers={"Host": host}).status_code

    monkeypatch.setenv("TRUSTED_NAMES", "prices.example.org laptop.local")
    for name in ("02_templates", "gallery"):
        assert status(name, "prices.example.org") == status(name, "Laptop.local:8000") == 200
        assert status(name, "example.org") == status(name, "*") == 400
    monkeypatch.setenv("TRUSTED_NAMES", "*")
    assert status("02_templates", "evil.example") == 200


@pytest.mark.parametrize(
    ("host", "behind", "named", "trusted"),
    [
        ("0.0.0.0", "", "laptop.local", False),  # noqa: S104 (asked for by name)
        ("Laptop.local", "", "laptop.local", True),
        ("Laptop.local", "", "evil.example", False),
        ("127.0.0.1", "1", "hub.example.org", True),
    ],
)
def test_the_tool_s_servers_know_the_name_they_were_given(
    monkeypatch, tmp_path, host, behind, named, trusted
):
    monkeypatch.setenv("WORKSHOP_BEHIND_PROXY", behind)
    server = gallery_server(host, free_port(), None, "a-token")
    for environ in (server.environ, served(find_stage("templates"), host)):
        with monkeypatch.context() as patched:
            patched.setenv("TRUSTED_NAMES", environ["TRUSTED_NAMES"])
            client = make("02_templates", tmp_path).test_client()
            answer = client.get("/", headers={"Host": f"{named}:8000"})
            assert answer.status_code == (200 if trusted else 400)
        assert environ["FLASK_DEBUG"] == "0"


def test_the_gallery_refuses_another_name_for_its_apps_too():
    with gallery_server("127.0.0.1", free_port(), None, "a-token") as server:
        server.wait_until_ready()
        for path in ("/", "/01_hello/", "/06_housing/api/v1/saved", "/06_housing/static/style.css"):
            answer = requests.get(server.url + path, headers={"Host": "evil.example"}, timeout=30)
            assert answer.status_code == 400, path
            assert answer.headers["X-Frame-Options"] == "DENY"


# The debugger


def test_the_debugger_stays_off_whatever_the_terminal_says(monkeypatch):
    monkeypatch.setenv("FLASK_DEBUG", "1")
    with serve("hello") as url:
        answer = requests.get(f"{url}/oops", timeout=30)
    assert answer.status_code == 500
    assert "This page broke (500)" in answer.text
    assert "Traceback" not in answer.text


# The key


def test_all_workers_of_stage_01_share_a_key_that_a_restart_keeps(tmp_path):
    copy = tmp_path / "müde app"
    ignored = shutil.ignore_patterns("instance", "__pycache__")
    shutil.copytree(ROOT / "apps" / "01_hello", copy, ignore=ignored)
    environ = {name: value for name, value in os.environ.items() if name != "SECRET_KEY"}
    command = [sys.executable, "-c", "import app; print(app.create_app().secret_key)"]

    def start():
        return subprocess.Popen(command, cwd=copy, env=environ, stdout=subprocess.PIPE, text=True)

    at_once = [start() for _ in range(4)]
    keys = {worker.communicate()[0].strip() for worker in [*at_once, start()]}
    [key] = keys
    file = copy / "instance" / "secret_key"
    assert len(key) == 64
    assert file.read_text(encoding="ascii") == key
    if os.name == "posix":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_visit_counts_on_after_a_restart():
    with requests.Session() as browser:
        for count in (1, 2):
            with serve("hello") as url:
                assert f"Visits from this browser: {count}" in browser.get(f"{url}/visits").text


def test_bytes_in_a_query_that_are_no_text_are_no_crash(tmp_path):
    client = make("02_templates", tmp_path).test_client()
    for query in ("names=\xff\xfe", "names=Gr\xc3\xb6\xc3\x9fe"):  # as a server hands bytes on
        environ = {"QUERY_STRING": query, "PATH_INFO": "/list"}
        answer = client.get("/list", environ_overrides=environ)
        assert answer.status_code == 200
    assert "Größe" in answer.text
