"""Apps in the gallery that are loading or don't start. test_serve.py has models that change."""

import gzip
import sys

import pytest
from flask import Flask, Response, request
from serve_support import until
from werkzeug.test import Client

from workshop.core.stages import find_stage
from workshop.host import gallery
from workshop.host.library_files import send_small

WELL = "from flask import Flask\ndef create_app():\n    app = Flask(__name__)\n"
WELL += "    app.add_url_rule('/', view_func=lambda: 'the app itself')\n    return app\n"


@pytest.fixture
def work(tmp_path, monkeypatch):
    """Writes stage 02's app in a learner's copy; then `get(path)` asks a gallery with only that stage."""
    stage = find_stage("templates")
    monkeypatch.setenv("WORKSHOP_WORK", str(tmp_path))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "workshop_stage_02_templates", raising=False)
    monkeypatch.setattr(gallery, "stages_with_app", lambda: [stage])
    monkeypatch.setattr(gallery, "end_with_main_process", lambda: None)

    def write(source):
        stage.folder.mkdir(parents=True)
        stage.app_file.write_text(source, encoding="utf-8")
        client = Client(gallery.create_gallery())
        return lambda path: client.get(path, headers={"Host": "localhost"})

    yield write
    sys.modules.pop("workshop_stage_02_templates", None)


def test_an_app_loads_on_the_first_request_and_meanwhile_the_gallery_answers(work, tmp_path):
    loading, may_go_on = tmp_path / "loading", tmp_path / "go"
    wait = f"while not pathlib.Path({str(may_go_on)!r}).exists(): time.sleep(.01)\n"
    get = work(f"import pathlib, time\npathlib.Path({str(loading)!r}).touch()\n" + wait + WELL)
    assert get("/healthz").status_code == 200
    assert not loading.exists()
    before = get("/").text
    page = get("/02_templates/list")
    assert page.status_code == 503
    assert page.headers["Retry-After"] == page.headers["Refresh"] == "1"
    assert "default-src 'self'" in page.headers["Content-Security-Policy"]
    api = get("/02_templates/api/x")
    assert (api.status_code, api.mimetype) == (503, "application/problem+json")
    assert get("/02_templates/healthz").json["status"] == "loading"
    may_go_on.touch()
    until(lambda: get("/02_templates/").status_code == 200)
    assert get("/02_templates/").text == "the app itself"
    assert get("/").text != before, "its card has changed"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import flask\n\nimport no_such_module\n", "line 3: ModuleNotFoundError: No module named"),
        ("def create_app(:\n", "line 1: SyntaxError"),
        ("import sys\nsys.exit(3)\n", "line 2: SystemExit: 3"),
    ],
)
def test_an_app_that_does_not_start_says_where_and_what_to_do(work, source, reason):
    get = work(source)
    until(lambda: get("/02_templates/healthz").json["status"] == "broken")
    page = get("/02_templates/")
    assert page.status_code == 503
    assert page.headers.get("Refresh") is None
    assert f"apps/02_templates/app.py, {reason}" in page.text
    assert "python3 -m workshop catch-up 02 --fresh" in page.text
    assert "Traceback" not in page.text
    assert "catch-up 02 --fresh" in get("/02_templates/api/x").json["detail"]


def test_a_library_s_files_are_compressed_and_cached():
    app, script = Flask(__name__), "let a = 1;\n" * 9000

    @app.get("/openapi/<name>")
    @app.get("/static/<name>")
    def file(name):
        answer = Response(script, content_type="text/javascript")
        answer.add_etag()
        return answer.make_conditional(request)

    client = Client(send_small(app.wsgi_app))
    takes = {"Accept-Encoding": "gzip, br"}
    small = client.get("/openapi/lib.js?v=1", headers=takes)
    assert gzip.decompress(small.data).decode() == script
    assert (small.headers["Content-Encoding"], small.headers["Vary"]) == ("gzip", "Accept-Encoding")
    assert small.cache_control.max_age > 30 * 24 * 3600
    again = takes | {"If-None-Match": small.headers["ETag"]}
    assert client.get("/openapi/lib.js?v=1", headers=again).status_code == 304
    assert client.get("/openapi/lib.js", headers=takes).cache_control.max_age is None, "no version"
    assert client.get("/openapi/lib.js?v=1").text == script, "for clients that don't accept gzip"
    learners = client.get("/static/lib.js?v=1", headers=takes)
    assert (learners.text, learners.cache_control.max_age) == (script, None)
