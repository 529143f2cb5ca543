"""The learner's own apps in `work/apps`: names and ports, the commands, the gallery, and catch-up.

Each test works in its own copy, which `WORKSHOP_WORK` names.
"""

import json
import re
import shutil

import pytest
import requests
from exercise_support import SOLUTIONS, Copy
from own_apps_support import HELLO, work  # noqa: F401

from workshop import cli
from workshop.core.own_apps import (
    FIRST_PORT,
    PORTS,
    TYPED,
    NoSuchApp,
    OwnApp,
    check_name,
    find_app,
    own_apps,
)
from workshop.core.stages import BASE, find_stage
from workshop.host import gallery
from workshop.host.background import Server, serve
from workshop.host.ports import free_port
from workshop.learn import my_copy
from workshop.learn.catch_up import bring_typed, catch_up
from workshop.setup.process import ROOT

# ruff: noqa: F811 (a fixture that is imported is asked for by its name)

FACTORY = """from flask import Flask


def create_app():
    app = Flask(__name__)
    app.add_url_rule("/", view_func=lambda: "from a factory")
    return app
"""


# Names and ports


GOOD = ["my", "wine-2026", "A_b", "x" * 40]
BAD = ["", "x" * 41, "my app", "ä", "../my", "a.b", "my\n", "04", "4", "IRIS", "con"]


def test_a_name_has_letters_digits_and_two_signs_and_is_no_stage():
    for name in GOOD:
        assert check_name(name) == name
    for name in BAD:
        with pytest.raises(NoSuchApp):
            check_name(name)


def test_apps_are_found_next_to_the_stages(work):
    for name in ("zoo", "my", "04_iris", "no app"):
        work.write(name)
    (work.root / "apps" / "empty").mkdir()
    assert [app.name for app in own_apps()] == ["my", "zoo"]
    assert find_app("my") == OwnApp("my")
    assert find_app("4") == find_stage("04")
    with pytest.raises(NoSuchApp, match=r"my, zoo .*work/apps/nix/app\.py"):
        find_app("nix")


def test_hello_is_the_learners_app_once_it_is_typed_and_stage_01_before(work):
    assert find_app("hello") == find_stage("01")
    work.write("hello")
    assert find_app("hello") == OwnApp("hello")
    assert find_app("01") == find_app("01_hello") == find_stage("01")


def test_an_app_keeps_the_port_it_got_first(work):
    for name in ("b", "a", "c"):
        work.write(name)
    assert OwnApp("b").port == FIRST_PORT == 8010
    assert OwnApp("a").port == 8011
    shutil.rmtree(work.root / "apps" / "b")
    assert (OwnApp("c").port, OwnApp("a").port) == (8012, 8011)
    (work.root / "apps" / PORTS).write_text("[torn", encoding="utf-8")
    assert OwnApp("a").port == FIRST_PORT


# The commands and the gallery


def running(*command, port=None):
    """`python -m workshop COMMAND` with a port, as a server."""
    port = port or free_port()
    return Server("an app", ["workshop", *command, "--port", port], f"http://127.0.0.1:{port}")


@pytest.mark.parametrize("command", [["app"], ["serve"], ["app", "--debug"]], ids=" ".join)
def test_a_command_runs_an_app(work, command):
    work.write("hello")
    name, *options = command
    with running(name, "hello", *options) as server:
        server.wait_until_ready()
        assert "Hello world" in requests.get(server.url, timeout=10).text


def test_two_apps_with_modules_of_the_same_name_run_side_by_side(work):
    code = HELLO.replace('return f"', 'return f"{model.NAME}')
    for name, text in {"one": code, "two": FACTORY.replace('"from', 'model.NAME + " from')}.items():
        folder = work.write(name, f"import model\n{text}").parent
        (folder / "model.py").write_text(f"NAME = {name!r}\n", encoding="utf-8")
    with serve("one") as first, serve("two") as second:
        assert requests.get(first, timeout=10).text.startswith("one")
        assert requests.get(second, timeout=10).text == "two from a factory"


def test_a_command_for_an_app_that_is_not_there_lists_those_that_are(work, capsys, monkeypatch):
    monkeypatch.setattr(cli, "use_my_copy", lambda: None)
    work.write("wine")
    assert cli.run(["app", "mine"]) == 2
    assert "wine" in capsys.readouterr().err


def test_the_gallery_lists_the_apps_links_the_one_that_runs_and_imports_none(work):
    """A learner's file that never finishes importing must not stop the whole class."""
    mark = work.root / "imported"
    work.write("my")
    work.write("endless", f"open({str(mark)!r}, 'w').close()\nwhile True:\n    pass\n")
    port = free_port()
    (work.root / "apps" / PORTS).write_text(json.dumps({"my": port}), encoding="utf-8")
    link = f'href="http://127.0.0.1:{port}/"'

    def page():
        return gallery.create_app({}).test_client().get("/").text

    assert "python3 -m workshop app my" in page()
    assert "python3 -m workshop app endless" in page()
    assert link not in page()
    with running("app", "my", port=port) as server:
        server.wait_until_ready()
        assert link in page()
    assert not mark.exists()


# catch-up


@pytest.fixture
def with_model(work):
    """A copy with stage 04's app and its model."""
    Copy(work.root, "iris").add_model()
    return work


@pytest.mark.parametrize("name", TYPED)
def test_catch_up_brings_a_typed_app_and_keeps_the_learners(with_model, name):
    list(bring_typed(name, fresh=False))
    file = OwnApp(name).app_file
    assert file.read_bytes() == (SOLUTIONS / "apps" / name / "app.py").read_bytes()
    assert (file.parent / "iris.joblib").exists() == (name == "my")
    file.write_text("mine", encoding="utf-8")
    list(bring_typed(name, fresh=False))
    assert file.read_text(encoding="utf-8") == "mine"


def test_fresh_sets_the_learners_file_aside(work):
    file = work.write("hello", "mine")
    told = "\n".join(bring_typed("hello", fresh=True))
    assert file.read_text(encoding="utf-8") == HELLO
    aside = re.search(r"set aside in (.+)", told)[1]
    [kept] = work.root.glob("aside/*/apps/hello/app.py")
    assert str(kept).startswith(aside)
    assert kept.read_text(encoding="utf-8") == "mine"
    list(bring_typed("hello", fresh=True))  # unchanged, so nothing is set aside
    assert [kept] == list(work.root.glob("aside/*/apps/hello/app.py"))


def test_a_stage_brings_what_the_stages_before_it_have_typed(with_model):
    my_copy.bring_up_to_date(with_model.root)
    list(catch_up(find_stage("04"), fresh=False))
    assert OwnApp("hello").app_file.exists()
    assert not OwnApp("my").app_file.exists(), "it comes later"
    mine = with_model.write("hello", "mine")
    list(catch_up(find_stage("05"), fresh=False))
    assert mine.read_text(encoding="utf-8") == "mine"
    assert (OwnApp("my").folder / "iris.joblib").exists()


def test_the_command_brings_an_app_but_not_into_the_repository(work, capsys, monkeypatch):
    assert cli.run(["catch-up", "hello"]) == 0
    assert OwnApp("hello").app_file.exists()
    assert cli.run(["catch-up", "nix"]) == 2
    assert "'nix'" in capsys.readouterr().err
    monkeypatch.setenv(BASE, str(ROOT))
    assert cli.run(["catch-up", "hello"]) == 1
    assert not (ROOT / "apps" / "hello").exists()


def test_what_a_run_in_the_repository_leaves_comes_into_no_copy(monkeypatch, tmp_path):
    for place in ("apps/my/iris.joblib", f"apps/{PORTS}", "apps/01_hello/app.py"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).touch()
    monkeypatch.setattr(my_copy, "ROOT", tmp_path)
    monkeypatch.setattr(my_copy, "COPIED", ("apps",))
    assert [path.as_posix() for path in my_copy.originals()] == ["apps/01_hello/app.py"]
