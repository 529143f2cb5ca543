"""Hostile text in every field of every form, in every address, and in everything that is kept.

Whatever comes back must be text: no element, no attribute and no template's answer may come from it.
"""

import re
from html.parser import HTMLParser
from urllib.parse import quote, urlsplit

import pytest
from host_support import Mounted, hosted
from housing_support import (  # noqa: F401
    BERKELEY,
    PASSWORD,
    app,
    built,
    config,
    few,
    join,
    trained,
)

from workshop import fetch_census
from workshop.core.build import model_module
from workshop.core.datasets import read_iris
from workshop.core.stages import STAGES, find_stage, load_app_module
from workshop.host import gallery

# ruff: noqa: F811 (a fixture that is imported is asked for by its name)

# Out of a text, an attribute with either quote, a title, a text area and a comment; and two templates.
HOSTILE = [
    "<zz onzz=1>{{ 7 * 1111111 }}{% zz %}",
    '" onzz=1 x="\'><zz>',
    "' onzz=1 x='\"><zz>",
    "--></title></textarea></option></script><zz onzz='1'>",
    "&lt;zz&gt; <zz",
    "javascript:zz()",
]


@pytest.fixture
def database_url():
    """SQLite alone: the pages are the same on PostgreSQL."""


class Reader(HTMLParser):
    """Collects what a browser would see: elements, attributes, texts, and the forms with their fields."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.attributes, self.text, self.forms = set(), [], [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs
        given = dict(attrs)
        if tag == "form":
            self.forms.append((given, []))
        if tag in ("input", "select", "textarea") and self.forms:
            self.forms[-1][1].append((given["name"], given.get("value", "")))

    def handle_data(self, data):
        self.text.append(data)


def assert_text_alone(answer, path):
    """Nothing of a hostile text is more than text; returns the page as it was read."""
    if answer.mimetype != "text/html":
        assert answer.mimetype in ("application/json", "application/problem+json", "text/csv"), path
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        return None
    page = Reader(answer.text)
    assert not [tag for tag in page.tags if tag.startswith("zz")], path
    assert not [name for name, _ in page.attributes if name.startswith("onzz")], path
    for name, value in page.attributes:
        assert name not in ("href", "src", "action") or not (value or "").startswith("javascript:")
    assert "7777777" not in answer.text, f"{path}: a template ran what was typed"
    return page


def assert_forms_escape(client, path, fills=None):
    """Send hostile texts by every form of a page, in one field and in all; returns how many were sent."""
    page = Reader(client.get(path).text)
    sent = 0
    for given, fields in page.forms:
        target = urlsplit(given.get("action") or path).path
        good = dict(fields) | (fills or {})
        names = [name for name, _ in fields]
        for text in HOSTILE:
            for changed in [*([name] for name in names), names]:
                values = {name: good.get(name, "") for name in names} | dict.fromkeys(changed, text)
                how = "query_string" if given.get("method", "get") == "get" else "data"
                answer = client.open(target, method=given.get("method", "get"), **{how: values})
                assert answer.status_code < 500
                if answer.status_code != 303:
                    assert_text_alone(answer, target)
                    sent += 1
    return sent


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folders with small models of stages 04 and 05."""
    folders = {}
    for slug, data in (("04_iris", read_iris), ("05_census", lambda: few(fetch_census()))):
        module = model_module(find_stage(slug))
        saved = module.save(*module.train(data()), tmp_path_factory.mktemp(slug))
        folders[slug] = saved.parent
    return folders


@pytest.fixture(params=["01_hello", "02_templates", "03_prime", "04_iris", "05_census"])
def client(request, models):
    settings = {"MODEL_FOLDER": models.get(request.param), "SECRET_KEY": "a test's"}
    return hosted(load_app_module(request.param).create_app(settings)).test_client()


def addresses(flask_app):
    """Every address that takes a text, with each hostile text in its place, and in a query."""
    for rule in flask_app.url_map.iter_rules():
        for text in HOSTILE:
            path = re.sub(r"<[^>]+>", quote(text, safe=""), rule.rule)
            yield f"{path}?{quote(text)}={quote(text)}&next={quote(text)}&sort={quote(text)}"
    yield from (f"/{quote(text, safe='')}" for text in HOSTILE)


def test_no_address_writes_into_a_page(client):
    for path in addresses(client.application):
        for method in ("GET", "POST"):
            if "/openapi/" in path or path.startswith("/static/"):
                continue  # files, and the library's page, which has scripts of its own
            assert_text_alone(client.open(path, method=method), path)


@pytest.mark.parametrize(
    ("slug", "paths"),
    [
        ("02_templates", ["/list", "/condition"]),
        ("03_prime", ["/"]),
        ("04_iris", ["/"]),
        ("05_census", ["/"]),
    ],
)
def test_no_field_writes_into_a_page(slug, paths, models):
    settings = {"MODEL_FOLDER": models.get(slug)}
    client = hosted(load_app_module(slug).create_app(settings)).test_client()
    for path in paths:
        assert assert_forms_escape(client, path) >= len(HOSTILE)


def test_no_value_of_stage_02_is_run_as_a_template():
    client = hosted(load_app_module("02_templates").create_app()).test_client()
    for text in HOSTILE:
        page = assert_text_alone(client.get("/list", query_string={"names": text}), text)
        first = text.split(",")[0].strip()
        assert any(first in " ".join(each.split()) for each in page.text), "shown as it was typed"


def test_what_somebody_keeps_in_stage_01_comes_back_as_json():
    client = hosted(load_app_module("01_hello").create_app({"SECRET_KEY": "x"})).test_client()
    for number, text in enumerate(HOSTILE):
        sent = client.put(f"/notes/{number}", json={"text": text})
        assert sent.status_code == 201
        back = client.get(f"/notes/{number}")
        assert (back.mimetype, back.json["text"]) == ("application/json", text)
        assert_text_alone(back, text)


# 06 housing: what is kept is shown later, on other pages


def test_no_field_of_an_account_writes_into_a_page(app):
    browser = app.test_client()
    for path in ("/register", "/login", "/"):
        assert assert_forms_escape(browser, path, {"password": PASSWORD}) >= len(HOSTILE)


@pytest.mark.parametrize("text", HOSTILE)
def test_what_an_account_keeps_is_shown_and_never_run(app, text):
    browser = join(app, "zoe").browser
    named = browser.post("/account/tokens", data={"name": text})
    assert named.status_code == 201
    assert_text_alone(named, "/account/tokens")
    saved = browser.post("/saved", data=BERKELEY | {"name": text})
    assert saved.status_code == 303
    for path in ("/saved", "/saved/1", "/account", "/account/delete", "/", "/model"):
        page = assert_text_alone(browser.get(path), path)
        if path in ("/saved", "/account"):
            assert text in [value for _, value in page.attributes] or any(
                " ".join(text.split()) in " ".join(each.split()) for each in page.text
            ), f"{path} shows it as it was typed"
    for path in ("/saved/1", "/account/delete", "/saved", "/account"):
        assert_forms_escape(browser, path, BERKELEY | {"password": "wrong", "name": text})


# The gallery


@pytest.mark.parametrize("text", HOSTILE)
def test_the_gallery_shows_a_broken_app_s_error_as_text(text):
    client = gallery.create_app(
        {s.slug: Mounted(s, None, text) for s in STAGES if s.app}
    ).test_client()
    page = assert_text_alone(client.get("/"), "/")
    assert any(text in each for each in page.text)
    assert_text_alone(client.get(f"/{quote(text, safe='')}"), text)
