"""What the gallery says where an app is loading, or does not start, and how an app gets its new model."""

import os
import shutil
import subprocess
import sys
import time

import pytest
from werkzeug.test import Client

from workshop.core.stages import find_stage
from workshop.host import gallery
from workshop.host.mount import Mount
from workshop.setup.process import ROOT

WELL = "from flask import Flask\ndef create_app():\n    app = Flask(__name__)\n"
WELL += "    app.add_url_rule('/', view_func=lambda: 'the app itself')\n    return app\n"


@pytest.fixture
def work(tmp_path, monkeypatch):
    """Writes stage 02's app in a learner's copy, and gives the gallery with that one stage in it."""
    stage = find_stage("templates")
    monkeypatch.setenv("WORKSHOP_WORK", str(tmp_path))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "workshop_stage_02_templates", raising=False)
    monkeypatch.setattr(gallery, "stages_with_app", lambda: [stage])
    monkeypatch.setattr(gallery, "end_with_main_process", lambda: None)

    def write(source):
        stage.folder.mkdir(parents=True)
        stage.app_file.write_text(source, encoding="utf-8")
        return Client(gallery.create_gallery())

    yield write
    sys.modules.pop("workshop_stage_02_templates", None)


def ask(client, path):
    return client.get(path, headers={"Host": "localhost"})


def wait(client, done):
    """What the first page answers once `done` says so of it."""
    deadline = time.monotonic() + 60
    while not done(answer := ask(client, "/02_templates/")):
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.02)
    return answer


def test_while_an_app_loads_the_gallery_answers_and_says_so(work, tmp_path):
    may_go_on = tmp_path / "go"
    waiting = f"import pathlib, time\nwhile not pathlib.Path({str(may_go_on)!r}).exists(): time.sleep(.01)\n"
    client = work(waiting + WELL)
    assert "App is loading" in ask(client, "/").text
    page = ask(client, "/02_templates/list")
    assert page.status_code == 503
    assert page.headers["Retry-After"] == page.headers["Refresh"] == "1"
    assert "One moment: this app is loading" in page.text
    assert "default-src 'self'" in page.headers["Content-Security-Policy"]
    api = ask(client, "/02_templates/api/x")
    assert (api.status_code, api.mimetype) == (503, "application/problem+json")
    assert api.json["status"] == 503
    assert ask(client, "/02_templates/healthz").json["status"] == "loading"
    may_go_on.touch()
    assert wait(client, lambda answer: answer.status_code == 200).text == "the app itself"
    assert "App is up" in ask(client, "/").text


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import flask\n\nimport no_such_module\n", "line 3: ModuleNotFoundError: No module named"),
        ("def create_app(:\n", "line 1: SyntaxError"),
        ("import sys\nsys.exit(3)\n", "line 2: SystemExit: 3"),
    ],
    ids=["import", "syntax", "exit"],
)
def test_an_app_that_does_not_start_says_where_and_what_to_do(work, source, reason):
    client = work(source)
    page = wait(client, lambda answer: "does not start" in answer.text)
    assert page.status_code == 503
    assert f"apps/02_templates/app.py, {reason}" in page.text
    assert "python3 -m workshop catch-up 02 --fresh" in page.text
    assert "Traceback" not in page.text
    told = ask(client, "/02_templates/api/x")
    assert told.mimetype == "application/problem+json"
    assert "catch-up 02 --fresh" in told.json["detail"]
    assert ask(client, "/02_templates/healthz").json["status"] == "broken"
    assert "App does not start" in ask(client, "/").text
    assert ask(client, "/02_templates/").headers.get("Refresh") is None


def test_an_app_in_a_process_of_its_own_raises_what_its_code_raises(work):
    wait(work("import no_such_module\n"), lambda answer: "does not start" in answer.text)
    with pytest.raises(ModuleNotFoundError):
        Mount(find_stage("templates"))


def test_a_model_that_comes_while_the_app_runs_is_there_with_the_next_request(tmp_path):
    code = """
import time
from werkzeug.test import Client
from workshop.core.build import train
from workshop.core.stages import find_stage
from workshop.host.mount import LOOK_EVERY, Mount

stage = find_stage("iris")
mount = Mount(stage)
client = Client(mount)
def ask():
    time.sleep(2 * LOOK_EVERY)  # a mount does not look at its files at every request
    return client.get("/model", headers={"Host": "localhost"}).status_code

told = [mount.has_model, ask()]
train(stage)
told += [ask(), mount.has_model]
(stage.folder / "model" / "iris.json").write_text("damaged")
told += [ask(), mount.has_model]
print(told)
"""
    ignored = shutil.ignore_patterns("__pycache__", "model")
    shutil.copytree(ROOT / "apps" / "04_iris", tmp_path / "apps" / "04_iris", ignore=ignored)
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "WORKSHOP_WORK": str(tmp_path)},
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert run.stdout.strip() == "[False, 503, 200, True, 200, True]"
    assert "The new model is refused" in run.stderr
