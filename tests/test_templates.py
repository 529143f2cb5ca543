"""Stage 02: every page of the app, good and bad; and every check of its exercises."""

import re
from datetime import date
from html import escape
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from exercise_support import copy_of, judge  # noqa: F401
from flask import Flask
from flask.testing import FlaskClient
from jinja2 import ChoiceLoader, DictLoader
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import Client

from workshop import check
from workshop.core.stages import find_stage, load_app_module

# ruff: noqa: F811 (a fixture that is imported is asked for by its name)

templates_app = load_app_module("02_templates")
STATIC = find_stage("02_templates").folder / "static"

HOSTILE = '<script>alert("boo")</script>'
PAGES = ["/", "/heading", "/extend", "/list", "/condition"]
# Pages as visitors meet them, the unhappy ones included.
ADDRESSES = [*PAGES, "/list?names=", "/condition?day=4", "/condition?day=x", "/no-such-page"]


class Page(HTMLParser):
    """A page's elements as (tag, attributes), and the text of those that have no element in them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.elements and data.strip():
            self.texts.append((self.elements[-1][0], data.strip()))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def text(self, tag: str) -> list[str]:
        return [text for name, text in self.texts if name == tag]


@pytest.fixture
def app() -> Flask:
    return templates_app.create_app({"TESTING": True, "TODAY": lambda: date(2026, 11, 21)})


@pytest.fixture
def client(app) -> FlaskClient:
    return app.test_client()


def names_on(client: FlaskClient, query: str) -> list[str]:
    page = client.get(f"/list{query}").text
    return re.findall("<li>(.*)</li>", page[page.index("<ol>") : page.index("</ol>")])


# --- the pages -----------------------------------------------------------------------------------


@pytest.mark.parametrize("address", PAGES)
def test_every_page_answers_html_with_one_heading(client, address):
    reply = client.get(address)
    assert reply.status_code == 200
    assert reply.mimetype == "text/html"
    assert len(Page(reply.text).text("h1")) == 1
    assert client.head(address).status_code == 200


def test_the_index_leads_to_every_page(client):
    links = {link["href"].partition("?")[0] for link in Page(client.get("/").text).all("a")}
    assert set(PAGES) <= links


def test_the_heading_is_the_value_from_python(client, app):
    assert Page(client.get("/heading").text).text("h1") == ["This heading comes from Python"]
    with app.test_request_context("/heading"):
        page = app.jinja_env.get_template("heading.html").render(heading=HOSTILE)
    assert Page(page).text("h1") == [HOSTILE]
    assert HOSTILE not in page


def test_the_extended_page_stands_in_the_frame(client):
    page = Page(client.get("/extend").text)
    assert page.text("title") == ["A page in a frame"]
    assert "02 · Templates" in page.text("a")
    assert page.all("footer")


@pytest.mark.parametrize("address", ["/extend", "/list", "/condition"])
def test_the_bar_marks_the_page_one_is_on(client, address):
    marked = [a for a in Page(client.get(address).text).all("a") if "aria-current" in a]
    assert [a["href"] for a in marked] == [address]


def test_the_list_has_its_names_in_order(client):
    assert names_on(client, "") == ["Ada", "Grace", "Katherine", "Alan"]
    assert names_on(client, "?names=Linus,, Guido ,") == ["Linus", "Guido"]
    assert "4 names on the list" in client.get("/list").text
    assert "1 name on the list" in client.get("/list?names=Ada").text


@pytest.mark.parametrize("query", ["?names=", "?names=%20", "?names=,,"])
def test_an_empty_list_says_so(client, query):
    assert names_on(client, query) == ["Nobody is on the list yet."]
    assert "0 names on the list" in client.get(f"/list{query}").text


def test_a_hostile_name_is_shown_and_never_run(client):
    reply = client.get("/list", query_string={"names": HOSTILE})
    page = Page(reply.text)
    assert page.all("script") == []
    assert HOSTILE in page.text("li")
    assert page.all("input")[0]["value"] == HOSTILE, "what was typed stays in its field"


@pytest.mark.parametrize("name", ["नमस्ते", "Zoë", "' onfocus=alert(1) x='", '"><b>', "{{ 6 * 7 }}"])
def test_any_name_comes_back_as_it_was_typed(client, name):
    page = Page(client.get("/list", query_string={"names": name}).text)
    assert page.text("li")[-1] == name
    assert set(page.all("input")[0]) == {"id", "name", "value", "autocomplete", "aria-describedby"}


@pytest.mark.parametrize("day", range(1, 32))
def test_the_side_follows_the_day(client, day):
    right, wrong = ("even", "odd") if day % 2 == 0 else ("odd", "even")
    page = client.get(f"/condition?day={day}").text
    assert Page(page).text("h1") == [f"Park on the {right} side"]
    assert f"That day is the {templates_app.ordinal(day)}, and {day} is {right}." in page
    assert wrong not in page
    houses = {"even": "2, 4, 6", "odd": "1, 3, 5"}[right]
    assert f"the car stands by houses {houses}." in page


@pytest.mark.parametrize(
    ("today", "side"), [(date(2026, 11, 21), "odd"), (date(2028, 2, 28), "even")]
)
def test_without_a_day_today_counts(today, side):
    page = templates_app.create_app({"TODAY": lambda: today}).test_client().get("/condition").text
    assert f"Today is the {templates_app.ordinal(today.day)}, and {today.day} is {side}." in page
    assert Page(page).all("input")[0]["value"] == str(today.day)


def test_today_is_the_date_of_this_machine():
    assert templates_app.create_app().config["TODAY"]() == date.today()


@pytest.mark.parametrize(
    "day",
    [
        "",
        " ",
        "0",
        "32",
        "-1",
        "+1",
        "1.5",
        "1e1",
        "1_0",
        "٣",
        "x",
        "nan",
        HOSTILE,
        "\0",
        "9" * 5000,
    ],
    ids=lambda day: repr(day[:9]),
)
def test_a_day_that_is_none_gets_a_message(client, day):
    reply = client.get("/condition", query_string={"day": day})
    assert reply.status_code == 400
    page = Page(reply.text)
    assert page.text("h1") == ["Which day?"]
    assert "Enter a whole number from 1 to 31" in " ".join(page.text("p"))
    field = page.all("input")[0]
    assert field["aria-invalid"] == "true"
    assert "day-message" in field["aria-describedby"]
    assert page.all("script") == []
    assert f'value="{escape(day)}"' in reply.text.replace("&#34;", "&quot;")


def test_a_sound_day_is_not_marked_as_wrong(client):
    field = Page(client.get("/condition?day=%2012%20").text).all("input")[0]
    assert field["aria-invalid"] == "false"
    assert field["aria-describedby"] == "day-hint"


TEENS = ["11th", "12th", "13th", "111th"]
OTHERS = ["0th", "1st", "2nd", "3rd", "4th", "10th", "20th", "21st", "22nd", "23rd", "101st"]


@pytest.mark.parametrize("text", [*OTHERS, *TEENS])
def test_ordinals(text):
    assert templates_app.ordinal(int(text[:-2])) == text


# --- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address", ["/no-such-page", "/list/", "/%00", "/static/", "/static/../app.py"]
)
def test_an_unknown_address_gets_a_friendly_page(client, address):
    reply = client.get(address)
    assert reply.status_code == 404
    assert "There is no page at this address." in reply.text
    assert Page(reply.text).all("a")[0]["href"] == "/"


@pytest.mark.parametrize("address", PAGES)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_another_method_gets_a_friendly_page(client, address, method):
    reply = client.open(address, method=method, data=b"x" * 100)
    assert reply.status_code == 405
    assert "GET" in reply.headers["Allow"]
    assert "does not answer that kind of request" in reply.text


@pytest.mark.parametrize("broken", ["index.html", "base.html", "_macros.html"])
def test_a_broken_template_becomes_a_page_that_says_nothing_of_it(broken):
    app = templates_app.create_app()
    loaders = [DictLoader({broken: "{% for secret_name in %}"}), app.jinja_env.loader]
    app.jinja_env.loader = ChoiceLoader(loaders)
    reply = app.test_client().get("/")
    assert reply.status_code == 500
    assert "The terminal that runs the app says what." in reply.text
    assert "secret_name" not in reply.text
    assert "Traceback" not in reply.text


# --- what holds for every page -------------------------------------------------------------------


@pytest.mark.parametrize("address", ADDRESSES)
def test_links_and_files_work_below_a_prefix(app, address):
    mounted = Client(DispatcherMiddleware(Flask("outside"), {"/02_templates": app}))
    page = Page(mounted.get(f"/02_templates{address}").text)
    targets = [a.get("href") or a.get("src") or a.get("action") for _, a in page.elements]
    targets = [target for target in targets if target and not target.startswith("#")]
    assert targets
    for target in targets:
        assert target.startswith("/02_templates/")
        assert mounted.get(target).status_code == 200, target


@pytest.mark.parametrize("address", ADDRESSES)
def test_pages_have_no_inline_script_or_style(client, address):
    page = Page(client.get(address).text)
    assert not page.all("script")
    assert not page.all("style")
    assert not [
        a for _, attributes in page.elements for a in attributes if a == "style" or a[:2] == "on"
    ]


@pytest.mark.parametrize("address", ADDRESSES)
def test_pages_can_be_heard(client, address):
    page = Page(client.get(address).text)
    assert page.all("html")[0]["lang"] == "en"
    assert len(page.all("main")) == 1
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels == sorted(levels)
    assert levels[0] == 1
    assert all(image["alt"] for image in page.all("img"))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for field in page.all("input"):
        assert field["id"] in [label["for"] for label in page.all("label")]
        assert set(field["aria-describedby"].split()) <= set(ids)
    for drawing in page.all("svg"):
        assert drawing["role"] == "img"
        assert drawing["aria-labelledby"] in ids


@pytest.mark.parametrize("name", ["fill.svg", "icon.svg"])
def test_pictures_are_sound_and_load_nothing(client, name):
    reply = client.get(f"/static/{name}")
    assert reply.status_code == 200
    assert reply.mimetype == "image/svg+xml"
    assert ElementTree.fromstring(reply.data).tag.endswith("svg")  # noqa: S314 (our own file)
    assert not re.search("script|href|url\\(|style", (STATIC / name).read_text(encoding="utf-8"))


# --- the exercises -------------------------------------------------------------------------------


@pytest.mark.parametrize("number", ["02.1", "02.2"])
@pytest.mark.parametrize("blank", [..., None])
def test_blank_is_not_solved_yet(number, blank):
    verdict = check(number, blank)
    assert verdict.status == "not yet"
    assert "answer" in verdict.message or "LIST" in verdict.message


@pytest.mark.parametrize(
    "answer",
    ["<h2>Hello, {{ name }}!</h2>", "<h2>\n  Hello, <em>{{name}}</em>!\n</h2>\n<p>Welcome.</p>"],
)
def test_a_greeting_is_right(answer):
    verdict = check("02.1", answer)
    assert verdict.status == "solved", verdict.message


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        ("<h2>Hello, Ada!</h2>", "the same for Ada and for Grace"),
        ("<h2>Hello, {name}!</h2>", "two braces"),
        ("<h2>Hello, {{ nmae }}!</h2>", "'nmae' is undefined. The template gets `name`."),
        ("<h2>Hello, {{ name }!</h2>", "Jinja stops at line 1"),
        ("Hello, {{ name }}!", "between <h2> and </h2>"),
        ("<h1>Hello, {{ name }}!</h1>", "between <h2> and </h2>"),
        ("<h2>Hello, {{ name|safe }}!</h2>", "Leave `safe` out"),
        ("<h2>Hello {{ name }}</h2>", "must be 'Hello, Ada!', but it is 'Hello Ada'"),
        (lambda name: f"<h2>Hello, {name}!</h2>", "a string in quotes"),
        (7, "a string in quotes"),
    ],
)
def test_a_wrong_greeting_gets_its_hint(answer, hint):
    verdict = check("02.1", answer)
    assert verdict.status == "wrong"
    assert hint in verdict.message


def list_template(entry="{{ name }}", loop="names|sort", empty="<li>No guests yet</li>") -> str:
    """The answer to exercise 02.2, with mistakes where you want them."""
    start, end = "<ul>{% for name in LOOP %}".replace("LOOP", loop), "{% endfor %}</ul>"
    return f"{start}<li>{entry}</li>{{% else %}}{empty}{end}"


@pytest.mark.parametrize(
    "answer",
    [
        list_template(),
        list_template(empty="<li>\n  No guests yet\n</li>"),
        "<ul>{% if names %}{% for name in names|sort %}<li>{{ name }}</li>{% endfor %}"
        "{% else %}<li>No guests yet</li>{% endif %}</ul>",
    ],
)
def test_a_guest_list_is_right(answer):
    verdict = check("02.2", answer)
    assert verdict.status == "solved", verdict.message


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (list_template(loop="names"), "names|sort"),
        (list_template(loop="names|sort(reverse=true)"), "from Z to A"),
        (list_template(empty=""), "after `{% else %}`"),
        (list_template(empty="<li>Nobody is on the list yet.</li>"), "must be 'No guests yet'"),
        (list_template(entry="{{ name|safe }}"), "Leave `safe` out"),
        (list_template(entry="{{ loop.index }}"), "but they are 1, 2, 3"),
        (list_template(loop="guests|sort"), "'guests' is undefined. The template gets `names`."),
        (list_template().replace("{% endfor %}", ""), "needs to be closed is 'for'"),
        ("<ul><li>{{ names|sort|join(', ') }}</li></ul>", "the page has one entry"),
        ("{{ names|sort }}", "no entry"),
        (["Ada"], "a string in quotes"),
        (list_template(empty="No guests yet"), "Put it in `<li>` and `</li>`"),
        (list_template(loop="sorted(names)"), "use `names|sort`"),
        (list_template(entry="{{ names }}"), "`{{ name }}`, without s"),
        (list_template(entry="{{ names }}", loop="names"), "`{{ name }}`, without s"),
        ("{% if names = [] %}{% endif %}", "To compare, write `==`"),
    ],
)
def test_a_wrong_guest_list_gets_its_hint(answer, hint):
    verdict = check("02.2", answer)
    assert verdict.status == "wrong"
    assert hint in verdict.message


END = "    @app.errorhandler(HTTPException)\n"
VIEW = """    @app.get("/seats/<int:count>")
    def seats(count):
        return render_template("seats.html", count=count)

"""
SEATS = """{% extends "base.html" %}
{% block main %}
<h1>{% if count == 0 %}Sold out{% elif count == 1 %}1 seat left
{% else %}{{ count }} seats left{% endif %}</h1>
{% endblock %}
"""
CARD = '  {{ card(url_for("seats", count=3), "Seats", "How many are left.") }}\n</ul>'


def test_the_app_as_it_came_has_no_seats_yet(copy_of):
    copy_of("templates")
    judge("02.3", "not yet", "three steps: the template `templates/seats.html`")


def test_the_stored_solution_adds_the_seats(copy_of):
    copy_of("templates").solve("02.3")
    judge("02.3", "solved", "can be found")


def test_seats_need_a_card_on_the_start_page(copy_of):
    copy = copy_of("templates")
    copy.edit("app.py", END, VIEW + END)
    judge("02.3", "wrong", "no such file yet")

    copy.write("templates/seats.html", SEATS)
    judge("02.3", "wrong", "nobody can find it yet")

    copy.edit("templates/index.html", "</ul>", CARD)
    judge("02.3", "solved")

    copy.edit("templates/index.html", '"seats", count=3', '"seats"')
    judge("02.3", "wrong", "templates/index.html, line 2[01]: BuildError: .*'count'")


@pytest.mark.parametrize(
    ("right", "slip", "hint"),
    [
        ("== 0", "== -1", "/seats/0 must say 'Sold out'"),
        ("1 seat ", "1 seats ", "says '1 seats left'"),
        ("block main", "block content", "`{% block main %}`"),
        ("h1>", "h2>", "write it between `<h1>` and `</h1>`"),
        ("{{ count }}", "{{ seats }}", "shows no number. The view passes it by name"),
        ('{% extends "base.html" %}', "", "the bar with the links is missing"),
        ("base.html", "frame.html", "TemplateNotFound: frame.html"),
        ("{% endif %}", "", "templates/seats.html, line 5: TemplateSyntaxError: .*'endblock'"),
        ("count == 1", "count = 1", "templates/seats.html, line 3: TemplateSyntaxError: .*'='"),
        ("<int:count>", "<int:number>", "an argument of that name: `def seats\\(number\\):`"),
        (", count=count", "", "/seats/3 shows no number"),
        ("return render", "render", "The view `.*` returns nothing"),
        ("app.get", "app.post", "not for GET"),
        ('"seats.html"', "SEATS", r"line \d+: NameError: name 'SEATS'"),
        ("count):", "count)", r"line \d+ \(expected ':'\): fix that line"),
    ],
)
def test_a_typical_slip_in_the_seats_gets_its_hint(copy_of, right, slip, hint):
    assert right in VIEW + SEATS
    copy = copy_of("templates")
    copy.edit("app.py", END, VIEW.replace(right, slip) + END)
    copy.write("templates/seats.html", SEATS.replace(right, slip))
    judge("02.3", "wrong", hint)
