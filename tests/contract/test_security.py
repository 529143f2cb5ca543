"""The headers of every answer, the host names that an app answers to, and bodies without a length.

The host sees to them for each app. 06 and 07 can be put on the internet by themselves, so they do it too.
"""

import re

import pytest
import requests
from app_support import API, PROBLEM, SLUGS, WITH_API, make, problem
from host_support import hosted

from workshop import serve
from workshop.core.stages import find_stage
from workshop.host import gallery
from workshop.host.ports import free_port
from workshop.host.server import served
from workshop.host.start import gallery_server

POLICY = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
ALONE = ["06_housing alone", "07_yours alone"]
NAMES = [*SLUGS, "gallery", *ALONE]


def guarded(name, folder, model=None):
    """An app as it meets the world: with the host's middleware around it, or only its own guard."""
    slug, _, alone = name.partition(" ")
    app = gallery.create_app({}) if name == "gallery" else make(slug, folder, model)
    app.add_url_rule("/crash", view_func=lambda: 1 / 0)
    return app if alone else hosted(app)


@pytest.fixture(scope="module")
def guarded_apps(models, tmp_path_factory):
    """Every app, once more, by its name: with a page that crashes."""
    folder = tmp_path_factory.mktemp
    return {name: guarded(name, folder("app"), models.get(name.split()[0])) for name in NAMES}


@pytest.fixture(params=NAMES)
def app(request, guarded_apps):
    return guarded_apps[request.param]


def assert_guarded(answer, path):
    policy = answer.headers["Content-Security-Policy"]
    # The page with the API's documentation comes from a library and has scripts in it.
    assert policy.startswith(POLICY) if path.startswith("/openapi/") else policy == POLICY
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "same-origin"
    assert answer.headers["X-Frame-Options"] == "DENY"
    for cookie in answer.headers.getlist("Set-Cookie"):
        assert re.search("HttpOnly.*SameSite=Lax", cookie)


def test_every_answer_carries_the_headers(app):
    client, seen = app.test_client(), set()
    paths = [re.sub(r"<[^>]+>", "7", rule.rule) for rule in app.url_map.iter_rules()]
    for path in [*paths, "/nothing", "/api/nothing", "/static/style.css"]:
        for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS"):
            answer = client.open(path, method=method, data=b"x", content_type="text/plain")
            seen.add(answer.status_code)
            assert_guarded(answer, path)
            answer.close()
    assert seen >= {200, 404, 405, 500}


OWN = ["localhost", "LOCALHOST:8000", "127.0.0.1:8001", "[::1]:8000", "[2001:db8::7]"]
FOREIGN = ["evil.example:8000", "localhost.evil.example", "rebound.localhost", "evil_one.example"]
FOREIGN += ["127.0.0.1.evil.example", "2130706433", "localhost:x", "[evil]", "-"]


def test_an_app_answers_to_localhost_and_to_ip_addresses_only(app):
    client = app.test_client()
    for host in OWN:
        assert client.get("/", headers={"Host": host}).status_code == 200, host
    for host in FOREIGN:
        for path in ("/", "/nothing", "/static/style.css", "/healthz"):
            answer = client.get(path, headers={"Host": host})
            assert answer.status_code == 400, (host, path)
            assert "TRUSTED_NAMES" in answer.text
            assert "evil" not in answer.text
            assert_guarded(answer, path)
    if client.get("/api/nothing").mimetype == PROBLEM:
        problem(client.get("/api/v1/model", headers={"Host": "evil.example"}), 400)


def test_more_names_come_from_the_environment(monkeypatch, models, tmp_path):
    def status(name, host):
        client = guarded(name, tmp_path, models.get(name.split()[0])).test_client()
        return client.get("/", headers={"Host": host}).status_code

    for name in ("02_templates", "gallery", *ALONE):
        monkeypatch.setenv("TRUSTED_NAMES", "prices.example.org laptop.local")
        assert status(name, "prices.example.org") == status(name, "Laptop.local:8000") == 200
        assert status(name, "example.org") == status(name, "*") == 400
        monkeypatch.setenv("TRUSTED_NAMES", "*")
        assert status(name, "evil.example") == 200
    monkeypatch.delenv("TRUSTED_NAMES")
    # The tool sets it for its servers: the name given as host; any name behind a hub's proxy.
    for host, behind, named, expected in (
        ("127.0.0.1", "", "laptop.local", 400),
        ("Laptop.local", "", "laptop.local", 200),
        ("Laptop.local", "", "evil.example", 400),
        ("127.0.0.1", "1", "hub.example.org", 200),
    ):
        monkeypatch.setenv("WORKSHOP_BEHIND_PROXY", behind)
        server = gallery_server(host, free_port(), None, "a-token")
        for environ in (server.environ, served(find_stage("templates"), host)):
            assert environ["FLASK_DEBUG"] == "0"
            with monkeypatch.context() as patched:
                patched.setenv("TRUSTED_NAMES", environ["TRUSTED_NAMES"])
                assert status("02_templates", f"{named}:8000") == expected


@pytest.mark.parametrize("name", ["01_hello", *WITH_API, *ALONE])
def test_a_body_that_is_too_long_is_refused_without_a_content_length(name, guarded_apps):
    app, slug = guarded_apps[name], name.split()[0]
    path = {"01_hello": "/notes", "03_prime": "/prime"}.get(slug) or API[slug]
    answer_is = {"01_hello": "application/json", "03_prime": "text/html"}.get(slug, PROBLEM)
    content = b"[" + b"1," * (app.config["MAX_CONTENT_LENGTH"] // 2) + b"1]"
    chunked = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}
    sent = {"data": content, "environ_overrides": chunked | {"CONTENT_LENGTH": ""}}
    for kind in ("application/json", "application/x-www-form-urlencoded", "text/csv"):
        answer = app.test_client().post(path, content_type=kind, **sent)
        assert answer.status_code in ((413,) if kind == "application/json" else (413, 415)), kind
        assert answer.mimetype == answer_is


def test_the_gallery_refuses_another_name_for_its_apps_too():
    with gallery_server("127.0.0.1", free_port(), None, "a-token") as server:
        server.wait_until_ready()
        for path in ("/", "/01_hello/", "/06_housing/api/v1/saved", "/06_housing/static/style.css"):
            answer = requests.get(server.url + path, headers={"Host": "evil.example"}, timeout=30)
            assert answer.status_code == 400, path
            assert answer.headers["X-Frame-Options"] == "DENY"


def test_the_debugger_stays_off_and_visits_survive_a_restart(monkeypatch):
    monkeypatch.setenv("FLASK_DEBUG", "1")
    with requests.Session() as browser:
        for count in (1, 2):
            with serve("hello") as url:
                assert f"Visits from this browser: {count}" in browser.get(f"{url}/visits").text
                answer = browser.get(f"{url}/oops", timeout=30)
        assert answer.status_code == 500
        assert "Traceback" not in answer.text
