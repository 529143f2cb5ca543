"""The gallery's landing page: its cards, and who sees the address of JupyterLab."""

import re
from urllib.parse import quote

import pytest
from app_support import Page
from flask import Flask, abort, request
from host_support import Mounted
from werkzeug.test import Client

from workshop.core.stages import STAGES, find_stage
from workshop.host import gallery


@pytest.fixture
def ask(monkeypatch):
    """Asks a gallery with one app, stage 05, which says what the gallery has told it."""

    def told():
        return {key: value for key, value in request.environ.items() if key.startswith("workshop.")}

    app = Flask(__name__)
    app.add_url_rule("/told", view_func=told)
    mount = Mounted(find_stage("census"), app)
    monkeypatch.setattr(gallery, "stages_with_app", lambda: [mount.stage])
    monkeypatch.setattr(gallery, "Mount", lambda stage, in_gallery: mount)
    monkeypatch.setattr(gallery, "end_with_main_process", lambda: None)
    monkeypatch.setenv(gallery.LAB_PORT, "8888")
    monkeypatch.setenv(gallery.LAB_TOKEN, "secret")

    def ask(path="/", address="127.0.0.1"):
        client = Client(gallery.create_gallery())
        return client.get(path, environ_base={"REMOTE_ADDR": address})

    return ask


def test_the_token_is_for_those_at_this_machine(ask, monkeypatch):
    for address in ("127.0.0.1", "::1"):
        assert "token=secret" in ask(address=address).text
    for address in ("192.168.1.17", "2001:db8::7", "127.0.0.1.example.org", ""):
        assert "secret" not in ask(address=address).text
    monkeypatch.setenv(gallery.BEHIND_PROXY, "1")
    assert "secret" not in ask().text


def test_an_app_is_told_where_its_pages_can_lead(ask):
    here = {"workshop.gallery_url": "/", "workshop.notebook_url": "/notebook/05_census"}
    assert ask("/05_census/told").json == here
    lab = "http://127.0.0.1:8888/lab/tree/notebooks"
    assert ask("/notebook/05_census").location == f"{lab}/05c_census_app.ipynb?token=secret"
    # From another machine, there is no link to a notebook, and no token.
    assert ask("/05_census/told", "192.168.1.20").json == {"workshop.gallery_url": "/"}
    assert ask("/notebook/05_census", "192.168.1.20").location == "/#stage-05"
    assert ask("/notebook/none").status_code == 404


def test_the_room_gets_an_address_and_a_qr_code_of_each_page(ask, monkeypatch):
    room = "http://192.168.1.17:8000/"
    assert ask("/qr/05_census.svg").status_code == 404, "nobody else is let in"
    assert room not in ask().text
    monkeypatch.setenv(gallery.ROOM, room)
    presenter, attendee = ask().text, ask(address="192.168.1.20").text
    first_card = 'id="stage-00"'
    assert presenter.index(room) < presenter.index(first_card), "above, for the presenter"
    assert attendee.index(room) > attendee.index(first_card)
    told = ask("/05_census/told").json
    assert told["workshop.room_url"] == f"{room}05_census"
    drawn = ask(told["workshop.qr_url"] + quote("/probability?age=39&city=São Paulo"))
    assert drawn.mimetype == "image/svg+xml"
    assert 'xmlns="http://www.w3.org/2000/svg"' in drawn.text, "or an <img> shows nothing"
    assert f"{room}05_census/probability?age=39&amp;city=S%C3%A3o%20Paulo<" in drawn.text
    assert ask(told["workshop.qr_url"] + "x" * 1000).status_code == 414


def test_a_card_says_whether_its_app_is_up():
    pages = {}
    for status in (200, 503, 500):
        app = Flask(__name__)
        app.add_url_rule("/", view_func=lambda s=status: ("", s) if s != 500 else abort(500))
        mounts = {"02_templates": Mounted(find_stage("templates"), app)}
        pages[status] = gallery.create_app(mounts).test_client().get("/").text
    assert pages[200] == pages[503], "an app without a model is up"
    assert pages[500] != pages[200]


def test_a_changed_app_s_card_says_that_it_needs_a_restart(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKSHOP_WORK", str(tmp_path))
    folder = find_stage("templates").folder
    (folder / "templates").mkdir(parents=True)
    (folder / "model").mkdir()
    (folder / "app.py").write_text("first\n", encoding="utf-8")
    mounts = {"02_templates": Mounted(find_stage("templates"), Flask(__name__))}
    client = gallery.create_app(mounts).test_client()
    before = client.get("/").text
    (folder / "model" / "new.json").write_text("{}", encoding="utf-8")
    assert client.get("/").text == before, "a new model needs no restart"
    (folder / "templates" / "list.html").write_text("new", encoding="utf-8")
    assert client.get("/").text != before


def test_only_the_learner_sees_what_is_solved(ask, tmp_path, monkeypatch):
    monkeypatch.setenv("WORKSHOP_WORK", str(tmp_path))
    assert "exercises solved" not in ask().text
    (tmp_path / ".solved").mkdir()
    (tmp_path / ".solved" / "04.2").touch()
    monkeypatch.setenv(gallery.ROOM, "http://192.168.1.17:8000/")
    assert len(re.findall(r"1 of \d exercises solved", ask().text)) == 1
    assert "exercises solved" not in ask(address="192.168.1.20").text


def test_the_gallery_leads_to_every_stage_from_a_lost_page_and_to_the_cheat_sheet(ask):
    client, page = gallery.create_app({}).test_client(), Page(ask().text)
    lost = client.get("/4")
    assert lost.status_code == 404
    links = Page(lost).links
    assert {f"/{stage.slug}/" for stage in STAGES if stage.app} | {"/", "/#stage-00"} <= links
    assert "/cheat-sheet.html" in page.links
    sheet = client.get("/cheat-sheet.html")
    assert client.get(f"/{Page(sheet).all('link')[0]['href']}").mimetype == "text/css"
    drawn = [each for each in page.all("figure") if each.get("class") == "drawing"]
    assert len(drawn) == sum(stage.app for stage in STAGES)
