"""The learner's own apps in `work/apps`: names and ports, the commands, the gallery, and catch-up."""

import json
import shutil

import pytest
import requests
from exercise_support import SOLUTIONS, Copy

from workshop import cli
from workshop.core.own_apps import PORTS, TYPED, NoSuchApp, OwnApp, find_app, own_apps
from workshop.core.stages import BASE, find_stage
from workshop.host import gallery
from workshop.host.background import Server
from workshop.host.ports import free_port
from workshop.learn import my_copy
from workshop.learn.catch_up import bring_typed, catch_up
from workshop.setup.process import ROOT


def test_apps_are_found_next_to_the_stages(work):
    for name in ("zoo", "my", "04_iris", "no app"):
        work.write(name)
    assert [app.name for app in own_apps()] == ["my", "zoo"]
    assert find_app("my") == OwnApp("my")
    assert find_app("4") == find_stage("04")
    assert find_app("hello") == find_stage("01")
    work.write("hello")
    assert find_app("hello") == OwnApp("hello"), "once it is typed"
    assert find_app("01") == find_app("01_hello") == find_stage("01")
    with pytest.raises(NoSuchApp, match=r"hello, my, zoo .*work/apps/nix/app\.py"):
        find_app("nix")


def test_an_app_keeps_the_port_it_got_first(work):
    for name in ("b", "a", "c"):
        work.write(name)
    assert [OwnApp(name).port for name in ("b", "a")] == [8010, 8011]
    shutil.rmtree(work.root / "apps" / "b")
    assert [OwnApp(name).port for name in ("c", "a")] == [8012, 8011]
    (work.root / "apps" / PORTS).write_text("[torn", encoding="utf-8")
    assert OwnApp("a").port == 8010


def running(*command):
    """`python -m workshop COMMAND --port PORT` as a server."""
    return Server("an app", ["workshop", *command], f"http://127.0.0.1:{command[-1]}")


@pytest.mark.parametrize("command", [["app"], ["serve"], ["app", "--debug"]], ids=" ".join)
def test_a_command_runs_an_app(work, command):
    work.write("hello")
    name, *options = command
    with running(name, "hello", *options, "--port", free_port()) as server:
        server.wait_until_ready()
        assert "Hello world" in requests.get(server.url, timeout=10).text


def test_the_gallery_lists_the_apps_links_the_one_that_runs_and_imports_none(work):
    """A learner's file that never finishes importing must not stop the whole class."""
    work.write("my")
    work.write("endless", "while True:\n    pass\n")
    port = free_port()
    (work.root / "apps" / PORTS).write_text(json.dumps({"my": port}), encoding="utf-8")
    client, link = gallery.create_app({}).test_client(), f'href="http://127.0.0.1:{port}/"'
    page = client.get("/").text
    assert "python3 -m workshop app my" in page
    assert "python3 -m workshop app endless" in page
    assert link not in page
    with running("app", "my", "--port", port) as server:
        server.wait_until_ready()
        assert link in client.get("/").text


@pytest.mark.parametrize("name", TYPED)
def test_catch_up_brings_a_typed_app_and_keeps_the_learners(work, name):
    Copy(work.root, "iris").add_model()
    list(bring_typed(name, fresh=False))
    file = OwnApp(name).app_file
    original = (SOLUTIONS / "apps" / name / "app.py").read_bytes()
    assert file.read_bytes() == original
    assert (file.parent / "iris.joblib").exists() == (name == "my")
    file.write_text("mine", encoding="utf-8")
    list(bring_typed(name, fresh=False))
    assert file.read_text(encoding="utf-8") == "mine"
    for _ in range(2):  # the second time nothing has changed, so nothing is set aside
        list(bring_typed(name, fresh=True))
        assert file.read_bytes() == original
        [kept] = work.root.glob(f"aside/*/apps/{name}/app.py")
        assert kept.read_text(encoding="utf-8") == "mine"


def test_a_stage_brings_what_the_stages_before_it_have_typed(work):
    Copy(work.root, "iris").add_model()
    my_copy.bring_up_to_date(work.root)
    list(catch_up(find_stage("04"), fresh=False))
    assert OwnApp("hello").app_file.exists()
    assert not OwnApp("my").app_file.exists(), "it comes later"
    list(catch_up(find_stage("05"), fresh=False))
    assert (OwnApp("my").folder / "iris.joblib").exists()


def test_the_command_brings_an_app_but_not_into_the_repository(work, capsys, monkeypatch):
    assert cli.run(["catch-up", "hello"]) == 0
    assert OwnApp("hello").app_file.exists()
    for command in ("catch-up", "app"):
        assert cli.run([command, "nix"]) == 2
        assert "hello" in capsys.readouterr().err, "the apps that are there"
    monkeypatch.setenv(BASE, str(ROOT))
    assert cli.run(["catch-up", "hello"]) == 1
    assert not (ROOT / "apps" / "hello").exists()
