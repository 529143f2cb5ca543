"""Stage 02: a value, an inherited frame, a loop, a condition; and hostile text in a template."""

import re
from datetime import date

import pytest
from app_support import Page
from jinja2 import ChoiceLoader, DictLoader

from workshop.core.stages import load_app_module

templates_app = load_app_module("02_templates")
HOSTILE = '<script>alert("boo")</script>'


@pytest.fixture
def client():
    settings = {"TESTING": True, "TODAY": lambda: date(2026, 11, 21)}
    return templates_app.create_app(settings).test_client()


def names_on(client, query):
    page = client.get(f"/list{query}").text
    return re.findall("<li>(.*)</li>", page[page.index("<ol>") : page.index("</ol>")])


def test_the_heading_is_from_python_and_the_bar_of_the_frame_marks_the_current_page(client):
    assert Page(client.get("/heading")).in_tag("h1") == ["This heading comes from Python"]
    for address in ("/extend", "/list", "/condition"):
        page = Page(client.get(address))
        assert "02 · Templates" in page.in_tag("a")
        assert page.all("footer")
        assert [a["href"] for a in page.all("a") if "aria-current" in a] == [address]


def test_the_list_has_its_names_in_order_and_as_they_were_typed(client):
    assert names_on(client, "") == ["Ada", "Grace", "Katherine", "Alan"]
    assert names_on(client, "?names=Linus,, Guido ,") == ["Linus", "Guido"]
    assert "4 names on the list" in client.get("/list").text
    assert "1 name on the list" in client.get("/list?names=Ada").text
    for query in ("?names=", "?names=,,"):
        assert names_on(client, query) == ["Nobody is on the list yet."]
        assert "0 names on the list" in client.get(f"/list{query}").text
    for name in (HOSTILE, "नमस्ते", "' onfocus=alert(1) x='", "{{ 6 * 7 }}"):
        page = Page(client.get("/list", query_string={"names": name}))
        assert page.in_tag("li")[-1] == page.all("input")[0]["value"] == name


def test_the_side_follows_the_day(client):
    for day in range(1, 32):
        right, wrong = ("even", "odd") if day % 2 == 0 else ("odd", "even")
        page = client.get(f"/condition?day={day}").text
        assert Page(page).in_tag("h1") == [f"Park on the {right} side"]
        assert f"That day is the {templates_app.ordinal(day)}, and {day} is {right}." in page
        assert wrong not in page
    assert "Today is the 21st, and 21 is odd." in client.get("/condition").text
    assert templates_app.create_app().config["TODAY"]() == date.today()
    expected = ["1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "101st", "111th"]
    assert [templates_app.ordinal(int(each[:-2])) for each in expected] == expected


def test_an_invalid_day_gets_a_message(client):
    for day in ("", "0", "32", "1.5", "1_0", "٣", HOSTILE, "\0", "9" * 5000):
        reply = client.get("/condition", query_string={"day": day})
        assert reply.status_code == 400
        page = Page(reply)
        assert "Enter a whole number from 1 to 31" in page.text
        (field,) = page.all("input")
        assert (field["aria-invalid"], field["value"]) == ("true", day)
        assert "day-message" in field["aria-describedby"]
    (field,) = Page(client.get("/condition?day=%2012%20")).all("input")
    assert (field["aria-invalid"], field["aria-describedby"]) == ("false", "day-hint")


def test_a_broken_template_becomes_a_page_without_its_source():
    for broken in ("index.html", "base.html"):
        app = templates_app.create_app()
        broken_one = DictLoader({broken: "{% for secret_name in %}"})
        app.jinja_env.loader = ChoiceLoader([broken_one, app.jinja_env.loader])
        reply = app.test_client().get("/")
        assert reply.status_code == 500
        assert not re.search("secret_name|Traceback", reply.text)
