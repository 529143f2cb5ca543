"""Every page of every app: its links below a prefix, what assistive technology needs, nothing that a strict
policy forbids; and the pages that say what went wrong."""

import json
import re
import secrets
from urllib.parse import urlencode

import pytest
from app_support import FLOWER, FORM, NEW, NUMBER, PROBLEM, WITH_API, WITH_MODEL, Page, make, submit
from flask import Flask
from housing_support import join
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import Client

PREFIX = "/some/where"
# Other pages than the first one, for valid and invalid queries.
PAGES = {
    "01_hello": ["/profile/Ada", "/visits", "/oops"],
    "02_templates": ["/heading", "/extend", "/list", "/condition?day=4", "/condition?day=x"],
    "04_iris": ["/home", "/model", f"/classify?{urlencode(FLOWER)}", "/classify?x=y"],
    "05_census": ["/home", "/model", "/table", "/probability", "/openapi/swagger"],
    "06_housing": ["/model", "/predict?x=y", "/register", "/login?next=/saved"],
    "07_yours": ["/model", "/docs"],
    NEW: ["/model", "/docs"],
}


def answers(slug, client):
    """Yield responses of an app: of all its pages, its form, and an address without a page."""
    yield from (client.get(path) for path in ["/", *PAGES.get(slug, ()), "/nothing"])
    if slug == "06_housing":
        anna = join(client.application, f"anna-{secrets.token_hex(4)}")
        saved = f"/saved/{anna.saves('her own')['id']}"
        for path in ("/", "/saved", saved, f"{saved}/delete", "/account", "/account/delete"):
            yield anna.browser.get(path)
    if slug in WITH_API:
        yield submit(slug, client)
        yield submit(slug, client, **{NUMBER.get(slug, "number"): "x"})


def assert_valid(page, path):
    """Assert what is true of each of our own pages; axe, in tests/browser, checks the rest."""
    for tag, attributes in page.elements:
        assert tag not in ("style", "iframe"), path
        assert tag != "script" or attributes.get("src"), path
        assert not [name for name in attributes if name == "style" or name.startswith("on")], path
    ids = [attributes["id"] for _, attributes in page.elements if attributes.get("id")]
    assert len(ids) == len(set(ids)), path
    assert len(page.all("h1")) == len(page.all("main")) == 1, path
    labelled = {label["for"] for label in page.all("label")}
    for field in (*page.all("input"), *page.all("select")):
        assert field.get("type") == "hidden" or field["id"] in labelled, path


def test_every_page_is_valid_and_its_links_stay_below_a_prefix(slug, apps, client):
    mounted = Client(DispatcherMiddleware(Flask("outside"), {PREFIX: apps[slug]}))
    links = set()
    for answer in answers(slug, client):
        if answer.request.path != "/openapi/swagger":  # the library's, which has scripts
            assert_valid(Page(answer), answer.request.path)
        if answer.request.method == "GET":
            query = answer.request.query_string.decode()
            links |= Page(mounted.get(f"{PREFIX}{answer.request.path}?{query}")).links
    assert len(links) > 3
    for link in links:
        assert link.startswith(f"{PREFIX}/"), link
        # The address of a form exists even if a GET of it gets a 405 or 422.
        assert mounted.get(link).status_code in (200, 302, 303, 405, 422) or "/oops" in link, link


def test_links_to_the_gallery_appear_only_if_the_server_gives_their_addresses(client):
    known = {"workshop.gallery_url": "/out/", "workshop.notebook_url": "/out/notebook/x"}
    assert not {"/out/", "/out/notebook/x"} & Page(client.get("/")).links
    assert set(known.values()) <= Page(client.get("/", environ_base=known)).links


def test_no_two_pages_of_the_workshop_have_the_same_title(apps):
    seen = {}
    for slug, app in apps.items():
        for path in {"/", *PAGES.get(slug, ())} - {"/home"}:
            answer, page = app.test_client().get(path), (slug, path.partition("?")[0])
            if answer.status_code == 200:
                title = re.search("<title>(.*?)</title>", answer.text)[1]
                assert seen.setdefault(title, page) == page, title


@pytest.mark.parametrize("slug", ["05_census", "06_housing"])
def test_the_documentation_page_and_its_files_need_no_network(slug, client):
    assert client.get("/openapi/").location == "/openapi/swagger"
    page = Page(client.get("/openapi/swagger"))
    (config,) = (each["data-config"] for each in page.all("div") if "data-config" in each)
    assert json.loads(config)["validatorUrl"] is None, "the page would ask another host for a badge"
    assert {client.get(link).status_code for link in page.links} == {200}


def test_the_first_page_leads_to_every_page_and_head_works(slug, apps, client):
    assert client.head("/").status_code == 200
    rules = apps[slug].url_map.iter_rules()
    whole = {rule.rule for rule in rules if "GET" in rule.methods and not rule.arguments}
    elsewhere = ("/api/", "/openapi/", "/saved", "/account")  # the last two need a login
    hidden = {"/", "/home", "/healthz", "/predict", *FORM.values()}
    links = {link.partition("?")[0] for link in Page(client.get("/")).links}
    assert {rule for rule in whole - hidden if not rule.startswith(elsewhere)} <= links


def test_an_address_or_method_that_is_not_there_gets_a_page_that_leads_back(client):
    for path in ("/nothing", "/static/no.css", "/static/../app.py", "/%ff%00"):
        answer = client.get(path)
        assert (answer.status_code, answer.mimetype) == (404, "text/html"), path
        assert "/" in Page(answer).links
    answer = client.delete("/")
    assert (answer.status_code, answer.mimetype) == (405, "text/html")
    assert "GET" in answer.headers["Allow"]


def test_a_crash_shows_no_details(slug, models, tmp_path, caplog):
    app = make(slug, tmp_path, models.get(slug))

    def crash():
        raise RuntimeError("a secret detail")

    kinds = {"/crash": "text/html"} | ({"/api/crash": PROBLEM} if slug in WITH_API else {})
    for path in kinds:
        app.add_url_rule(path, endpoint=path, view_func=crash)
    for path, kind in kinds.items():
        answer = app.test_client().get(path)
        assert (answer.status_code, answer.mimetype) == (500, kind)
        assert not re.search("secret|Traceback|RuntimeError", answer.text)
    assert "a secret detail" in caplog.text  # in the log only


@pytest.mark.parametrize("slug", WITH_MODEL)
def test_without_a_model_every_page_says_what_to_do(slug, tmp_path, caplog):
    client = make(slug, tmp_path).test_client()
    told = client.get("/healthz")
    assert (told.status_code, told.json["status"]) == (503, "unavailable")
    remedy = f"python3 -m workshop train {'07' if slug == NEW else slug[:2]}"
    assert told.json["reason"].endswith(remedy)
    assert told.json["reason"] in caplog.text
    for path in ["/", *PAGES[slug], "/nothing"]:
        if not path.startswith("/openapi/"):
            answer = client.get(path)
            assert answer.status_code == 503
            assert remedy in Page(answer).text
            assert_valid(Page(answer), path)
    assert slug == "04_iris" or client.get("/api/v1/model").mimetype == PROBLEM
    assert client.get("/static/style.css").status_code == 200
