"""The gallery's landing page: what it says of each stage, and who learns the way to JupyterLab."""

import os
from urllib.parse import urljoin

import pytest
from flask import Flask, abort, render_template
from host_support import Mounted
from werkzeug.test import Client

from workshop.core.stages import find_stage
from workshop.host import gallery, mount
from workshop.host import network as room
from workshop.host.ports import FOLDER
from workshop.setup.process import ROOT


@pytest.fixture
def gallery_page(monkeypatch):
    """The landing page as it is asked for from an address."""
    monkeypatch.setenv(gallery.LAB_PORT, "8888")
    monkeypatch.setenv(gallery.LAB_TOKEN, "secret")
    client = gallery.create_app({}).test_client()
    return lambda address: client.get("/", environ_base={"REMOTE_ADDR": address}).text


def test_the_token_is_for_whoever_sits_at_this_machine(gallery_page):
    assert "token=secret" in gallery_page("127.0.0.1")
    assert "token=secret" in gallery_page("::1")
    for address in ("192.168.1.17", "2001:db8::7", "127.0.0.1.example.org", ""):
        assert "secret" not in gallery_page(address)


def test_the_health_of_the_gallery_tells_the_doctor_who_it_is(monkeypatch):
    monkeypatch.setenv(gallery.LAB_PORT, "8888")
    monkeypatch.setenv(gallery.LAB_TOKEN, "secret")
    client = gallery.create_app({}).test_client()
    assert client.get("/healthz").json == {
        "status": "ok",
        "service": "workshop",
        "folder": FOLDER,
        "lab_port": 8888,
    }
    assert str(ROOT) not in client.get("/healthz").text
    monkeypatch.setenv(gallery.LAB_PORT, "")
    assert client.get("/healthz").json["lab_port"] is None


def test_a_changed_template_counts_from_the_next_start_on_as_code_does(tmp_path):
    page, broken = tmp_path / "templates" / "page.html", tmp_path / "templates" / "broken.html"
    page.parent.mkdir()
    page.write_text("as it was", encoding="utf-8")
    broken.write_text("{% if %}", encoding="utf-8")
    app = Flask(__name__, root_path=str(tmp_path))
    app.add_url_rule("/", view_func=lambda: render_template("page.html"))
    mount.read_templates(app)
    page.write_text("{{ new() }}", encoding="utf-8")
    assert app.test_client().get("/").text == "as it was"


def test_behind_a_proxy_nobody_learns_the_token(gallery_page, monkeypatch):
    monkeypatch.setenv(gallery.BEHIND_PROXY, "1")
    assert "secret" not in gallery_page("127.0.0.1")


def test_the_prefix_counts_behind_a_proxy_alone(monkeypatch):
    monkeypatch.setattr(gallery, "stages_with_app", lambda: [find_stage("templates")])
    monkeypatch.setattr(gallery, "end_with_main_process", lambda: None)
    headers = {"X-Forwarded-Prefix": "/user/ada/proxy/8000"}
    for behind, link in [
        ("1", 'href="/user/ada/proxy/8000/02_templates/"'),
        ("", 'href="/02_templates/"'),
    ]:
        monkeypatch.setenv(gallery.BEHIND_PROXY, behind)
        client = Client(gallery.create_gallery())
        assert link in client.get("/", headers=headers).text


@pytest.mark.parametrize(
    ("asked", "target", "relative"),
    [
        ("/p/06/register", "/p/06/saved", "saved"),
        ("/p/06/register", "/p/06/", "./"),
        ("/p/06/", "/p/06/saved?page=2", "saved?page=2"),
        ("/p/06/saved/7", "/p/06/login?next=/saved/7", "../login?next=/saved/7"),
        ("/p/06", "/p/06/", "06/"),
        ("/", "/", "./"),
    ],
)
def test_a_redirect_behind_a_proxy_is_relative(asked, target, relative):
    assert gallery.relative_to(asked, target) == relative
    assert urljoin(f"http://h{asked}", relative) == f"http://h{target}"


@pytest.mark.parametrize(
    ("status", "badge"),
    [(200, "App is up"), (503, "App is up"), (500, "App answers with an error")],
)
def test_a_card_says_whether_its_app_is_up(status, badge):
    app = Flask(__name__)
    app.add_url_rule("/", view_func=lambda: ("", status) if status != 500 else abort(500))
    page = (
        gallery.create_app({"02_templates": Mounted(find_stage("templates"), app)})
        .test_client()
        .get("/")
        .text
    )
    assert [text for text in ("App is up", "App answers with an error") if text in page] == [badge]


def test_a_changed_app_says_that_it_wants_a_new_start(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKSHOP_WORK", str(tmp_path))
    folder = find_stage("templates").folder
    (folder / "templates").mkdir(parents=True)
    (folder / "model").mkdir()
    (folder / "app.py").write_text("first\n", encoding="utf-8")
    client = gallery.create_app(
        {"02_templates": Mounted(find_stage("templates"), Flask(__name__))}
    ).test_client()

    def says_so():
        return "Changed since the start" in client.get("/").text

    (folder / "model" / "new.json").write_text("{}", encoding="utf-8")
    assert not says_so(), "an app takes a new model up by itself"
    (folder / "templates" / "list.html").write_text("new", encoding="utf-8")
    assert says_so()
    (folder / "templates" / "list.html").unlink()
    assert not says_so()
    os.utime(folder / "app.py", ns=(1, 1))
    assert says_so()


def test_the_room_s_address_is_shown_where_others_are_let_in(gallery_page, monkeypatch):
    assert "For the room" not in gallery_page("127.0.0.1")
    monkeypatch.setenv(gallery.ROOM, "http://192.168.1.17:8000/")
    page = gallery_page("127.0.0.1")
    assert "<title>QR code of http://192.168.1.17:8000/</title>" in page
    assert page.index("For the room") < page.index("Start here"), "above, for whoever presents"
    page = gallery_page("192.168.1.20")
    assert page.index("For the room") > page.index("Start here")


# The room


@pytest.mark.parametrize(
    ("host", "found"),
    [
        ("127.0.0.1", []),
        ("localhost", []),
        ("::1", []),
        ("192.168.1.17", ["192.168.1.17"]),
        ("laptop.example", ["laptop.example"]),
        ("0.0.0.0", ["10.1.2.3", "192.168.1.17"]),  # noqa: S104
        ("::", ["10.1.2.3", "192.168.1.17"]),
    ],
)
def test_the_addresses_for_others(monkeypatch, host, found):
    ways = dict(zip(room.WAYS, ["10.1.2.3", None, "10.1.2.3", "169.254.7.7"], strict=True))
    monkeypatch.setattr(room, "_address_towards", ways.get)
    own = [(2, 1, 6, "", (address, 0)) for address in ("127.0.1.1", "192.168.1.17")]
    monkeypatch.setattr(room.socket, "getaddrinfo", lambda *_: own)
    assert room.addresses(host) == found


def test_a_machine_in_no_network_has_no_address_for_others(monkeypatch):
    def unknown(*_):
        raise OSError("no such name")

    monkeypatch.setattr(room, "_address_towards", lambda way: None)
    monkeypatch.setattr(room.socket, "getaddrinfo", unknown)
    assert room.addresses("0.0.0.0") == []  # noqa: S104


def test_asking_for_a_way_sends_nothing_and_never_fails():
    assert room._address_towards("127.0.0.1") == "127.0.0.1"
    assert room._address_towards("no-such-name.invalid") is None


def test_the_code_in_the_terminal_has_its_own_colours():
    lines = room.qr_for_terminal("http://192.168.1.17:8000/").splitlines()
    assert all(line.startswith("\x1b[97m\x1b[40m") and line.endswith("\x1b[0m") for line in lines)
    widths = {len(line) for line in lines}
    assert len(lines) > 10
    assert len(widths) == 1
