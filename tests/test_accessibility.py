"""Every page in every state, held against axe-core, a keyboard, a narrow screen and one that is zoomed;
and without JavaScript, because none has any.

WORKSHOP_AXE is the path of axe-core's `axe.min.js`; it comes from npm, and only tests need it. Without it
these tests are skipped, unless WORKSHOP_REQUIRE_AXE=1 asks that they fail.
"""

import os
import shutil
import threading
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest
from browser_support import browser, browser_context_args, playwright  # noqa: F401
from host_support import Mounted, train_in
from housing_support import (  # noqa: F401
    BERKELEY,
    PASSWORD,
    built,
    few,
    housing_app,
    trained,
)
from playwright.sync_api import expect
from werkzeug.exceptions import NotFound
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.serving import make_server

from workshop import fetch_census
from workshop.core.build import model_module
from workshop.core.datasets import read_iris
from workshop.core.stages import find_stage, load_app_module
from workshop.host import gallery

# ruff: noqa: F811 (a fixture that is imported is asked for by its name)

FLOWER = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}
PERSON = (
    "age=39&workclass=State-gov&education=Bachelors&marital_status=Never-married&race=White"
    "&sex=Male&hours_per_week=40"
)
YOURS = {"f0": "Biscoe", "f1": "46,1", "f3": "210", "f6": "2008"}
ACCOUNT = {"username": "annaRUN", "password": PASSWORD}
WRONG = {"username": "nobody", "password": "wrong"}

# The state's name, the address, what is posted there, and the status.
STATES = [
    ("gallery", "/", None, 200),
    ("gallery: 404", "/nothing", None, 404),
    ("01", "/01_hello/", None, 200),
    ("01: hello", "/01_hello/hello", None, 200),
    ("01: profile", "/01_hello/profile/Ada", None, 200),
    ("01: square", "/01_hello/square/12", None, 200),
    ("01: 400", f"/01_hello/square/{'9' * 102}", None, 400),
    ("01: half", "/01_hello/half/2.5", None, 200),
    ("01: file", "/01_hello/files/letters/2026/to-ada.txt", None, 200),
    ("01: visits", "/01_hello/visits", None, 200),
    ("01: 404", "/01_hello/nothing", None, 404),
    ("01: 500", "/01_hello/oops", None, 500),
    *((f"02: {path}", f"/02_templates/{path}", None, 200) for path in ("", "heading", "extend")),
    ("02: names", "/02_templates/list", None, 200),
    ("02: no names", "/02_templates/list?names=", None, 200),
    ("02: a day", "/02_templates/condition?day=7", None, 200),
    ("02: no day", "/02_templates/condition?day=32", None, 400),
    ("02: 404", "/02_templates/nothing", None, 404),
    ("03", "/03_prime/", None, 200),
    ("03: prime", "/03_prime/prime", {"number": "97"}, 200),
    ("03: not prime", "/03_prime/prime", {"number": "91"}, 200),
    ("03: errors", "/03_prime/prime", {"number": "x"}, 422),
    ("03: 404", "/03_prime/nothing", None, 404),
    ("04", "/04_iris/", None, 200),
    ("04: result", "/04_iris/classify", FLOWER, 200),
    ("04: errors", "/04_iris/classify", FLOWER | {"sepal_width": "x"}, 422),
    ("04: model", "/04_iris/model", None, 200),
    ("04: 404", "/04_iris/nothing", None, 404),
    ("04: 503", "/none/04_iris/", None, 503),
    ("05", "/05_census/", None, 200),
    ("05: result", f"/05_census/probability?{PERSON}", None, 200),
    ("05: errors", "/05_census/probability?age=x", None, 422),
    ("05: model", "/05_census/model", None, 200),
    ("05: API", "/05_census/openapi/swagger", None, 200),
    ("05: 404", "/05_census/nothing", None, 404),
    ("05: 503", "/none/05_census/", None, 503),
    ("06", "/06_housing/", None, 200),
    ("06: result", "/06_housing/predict", BERKELEY, 200),
    ("06: errors", "/06_housing/predict", BERKELEY | {"latitude": "x"}, 422),
    ("06: model", "/06_housing/model", None, 200),
    ("06: API", "/06_housing/openapi/swagger", None, 200),
    ("06: 404", "/06_housing/nothing", None, 404),
    ("06: 503, no model", "/none/06_housing/", None, 503),
    ("06: 503, no tables", "/none/06_housing/login", None, 503),
    ("06: login", "/06_housing/login", None, 200),
    ("06: login errors", "/06_housing/login", WRONG, 422),
    ("06: too many log-ins", "/06_housing/login", WRONG, 429),
    ("06: register", "/06_housing/register", None, 200),
    ("06: register errors", "/06_housing/register", {"username": "", "password": ""}, 422),
    ("06: registered", "/06_housing/register", ACCOUNT, 200),
    ("06: nothing saved", "/06_housing/saved", None, 200),
    ("06: result to save", "/06_housing/predict", BERKELEY, 200),
    ("06: not saved", "/06_housing/saved", BERKELEY | {"name": ""}, 422),
    ("06: saved", "/06_housing/saved", BERKELEY | {"name": "By the bay"}, 200),
    ("06: one of the saved", "/06_housing/saved/RUN", None, 200),
    ("06: not renamed", "/06_housing/saved/RUN", {"name": ""}, 422),
    ("06: account", "/06_housing/account", None, 200),
    ("06: a new token", "/06_housing/account/tokens", {"name": "mine"}, 201),
    ("06: no token", "/06_housing/account/tokens", {"name": ""}, 422),
    ("07", "/07_yours/", None, 200),
    ("07: result", "/07_yours/predict", YOURS, 200),
    ("07: errors", "/07_yours/predict", YOURS | {"f1": "long"}, 422),
    ("07: model", "/07_yours/model", None, 200),
    ("07: document", "/07_yours/docs", None, 200),
    ("07: 404", "/07_yours/nothing", None, 404),
    ("07: 503", "/none/07_yours/", None, 503),
    ("06: delete?", "/06_housing/account/delete", None, 200),
    ("06: not deleted", "/06_housing/account/delete", {"password": "wrong"}, 422),
]

# Routes that answer with no page of their own: JSON, a file, or the way to another page.
NO_PAGE = {
    *("static", "openapi.static", "swagger.static", "healthz"),
    *("create_note", "read_note", "write_note", "delete_note", "saved.download"),
    *("prime_nothing", "classify_nothing", "saved.delete_from_page"),
    *("accounts.logout", "accounts.logout_everywhere", "accounts.revoke_token"),
    "predict_nothing",
    *("openapi.openapi", "openapi.doc_url", "swagger.oauth2-redirect"),
}


@pytest.fixture(scope="module")
def apps(built, tmp_path_factory):
    """Every app with its model, by the path it is at, and below /none the same apps without any."""
    none = tmp_path_factory.mktemp("none")
    mounted = {}
    for slug in ("01_hello", "02_templates", "03_prime"):
        mounted[f"/{slug}"] = load_app_module(slug).create_app({"SECRET_KEY": "a test's"})
    for slug, data in (("04_iris", read_iris), ("05_census", lambda: few(fetch_census()))):
        module, app = model_module(find_stage(slug)), load_app_module(slug)
        folder = module.save(*module.train(data()), tmp_path_factory.mktemp(slug)).parent
        mounted[f"/{slug}"] = app.create_app({"MODEL_FOLDER": folder})
        mounted[f"/none/{slug}"] = app.create_app({"MODEL_FOLDER": none})
    yours = tmp_path_factory.mktemp("yours") / "07"
    ignored = shutil.ignore_patterns("model", "__pycache__")
    shutil.copytree(find_stage("yours").folder, yours, ignore=ignored)
    train_in(yours, find_stage("yours"))
    make = load_app_module("07_yours").create_app
    mounted["/07_yours"] = make({"MODEL_FOLDER": yours / "model", "PREDICTION_LOG": "off"})
    mounted["/none/07_yours"] = make({"MODEL_FOLDER": none})
    settings = {"DATABASE_URL": None, "WTF_CSRF_ENABLED": False, "INSTANCE_FOLDER": none / "x"}
    mounted["/none/06_housing"] = housing_app.create_app(settings | {"MODEL_FOLDER": none})
    settings |= {"MODEL_FOLDER": built, "INSTANCE_FOLDER": none / "instance"}
    housing = mounted["/06_housing"] = housing_app.create_app(settings)
    housing.test_cli_runner().invoke(args=["init-db"])
    return mounted


@pytest.fixture(scope="module")
def site(browser, apps):
    """A server with the gallery and the apps; its address."""
    mounted = {path[1:]: app for path, app in apps.items() if path.count("/") == 1}
    mounts = {slug: Mounted(find_stage(slug), app) for slug, app in mounted.items()}
    mounts["02_templates"] = Mounted(find_stage(2), None, "SyntaxError: a stray bracket")
    landing = gallery.create_app(mounts)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv(gallery.LAB_PORT, "9")
        patched.setenv(gallery.LAB_TOKEN, "a-token")
        patched.setenv(gallery.ROOM, "http://192.0.2.7:8000/")
        server = make_server(
            "127.0.0.1", 0, DispatcherMiddleware(landing.wsgi_app, apps), threaded=True
        )
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.port}"
        server.shutdown()
        thread.join()
        server.server_close()


POST = """([action, values]) => {
  const form = document.createElement('form');
  form.method = 'post'; form.action = action;
  for (const [name, value] of Object.entries(values)) {
    const field = document.createElement('input');
    field.name = name; field.value = value; form.append(field);
  }
  document.body.append(form); form.submit();
}"""


RUNS = count(1)


def states(page, site):
    """Bring the page into each state, one after the other; yields its name.

    Each run has an account of its own, with one saved row: its number takes the place of RUN.
    """
    run = str(next(RUNS))
    for name, address, posted, status in STATES:
        address = address.replace("RUN", run)
        posted = posted and {key: str(each).replace("RUN", run) for key, each in posted.items()}
        if status == 429:
            for _ in range(5):
                page.request.post(site + address, form=posted)
        if posted is None:
            answer = page.goto(site + address)
        else:
            with page.expect_navigation() as navigation:
                page.evaluate(POST, [site + address, posted])
            answer = navigation.value
        assert answer.status == status, name
        if "API" in name:
            open_operations(page)
        yield name


def open_operations(page):
    """On a page that documents an API: open two operations that take a body, ready to be tried."""
    for button in (".opblock-summary-control", ".try-out__btn"):
        takes_a_body = page.locator(f".opblock-post {button}, .opblock-patch {button}")
        takes_a_body.first.wait_for()
        takes_a_body.evaluate_all("all => all.slice(-2).forEach(each => each.click())")
    page.locator(".body-param__text").first.wait_for()


# What each check finds: nothing, or pairs of what is wrong and where.


@pytest.fixture(scope="module")
def axe():
    """The text of axe-core."""
    path = os.environ.get("WORKSHOP_AXE", "")
    if path:
        return Path(path).read_text(encoding="utf-8")
    reason = "WORKSHOP_AXE names no axe.min.js (npm install axe-core)"
    if os.environ.get("WORKSHOP_REQUIRE_AXE") == "1":
        pytest.fail(f"WORKSHOP_REQUIRE_AXE=1, but {reason}", pytrace=False)
    pytest.skip(reason)


# Stage 01 has no stylesheet: its pages ask for the browser's own dark colours. axe takes a background that
# no style sets for white, so this sets the one that is drawn anyway.
AS_DRAWN = """() => {
  if (!document.styleSheets.length) document.documentElement.style.backgroundColor = 'Canvas';
}"""


def barriers(page, axe):
    """What axe finds: rule and element. In the dark, colours alone are different."""
    page.evaluate(axe)
    found = []
    for scheme, rules in {"light": None, "dark": ["color-contrast"]}.items():
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        page.evaluate(AS_DRAWN)
        options = {"resultTypes": ["violations"]} | ({"runOnly": rules} if rules else {})
        violations = page.evaluate(
            "o => axe.run(document, o).then(found => found.violations)", options
        )
        for each in violations:
            found += [(each["id"], f"{scheme}: {node['html'][:120]}") for node in each["nodes"]]
    return found


FOCUSED = """() => {
  const focused = document.activeElement;
  if (focused === document.body || focused === document.documentElement) return null;
  const all = [...document.querySelectorAll('a[href], button, input, select, textarea, summary')]
    .filter(e => e.type !== 'hidden' && e.tabIndex >= 0 && e.checkVisibility());
  const style = getComputedStyle(focused);
  const box = focused.getBoundingClientRect();
  return {place: all.indexOf(focused), of: all.length, ring: parseFloat(style.outlineWidth),
    line: style.outlineStyle, seen: box.right > 0 && box.bottom > 0 && box.width > 0,
    scrolls: focused.hasAttribute('tabindex'), html: focused.outerHTML.slice(0, 90)};
}"""


def keyboard(page):
    """Where Tab goes: to everything, in the order in which it is written, and it is seen where one is."""
    expected, total = 0, None
    while total is None or expected < total:
        page.keyboard.press("Tab")
        found = page.evaluate(FOCUSED)
        if not found:
            return [("Tab leaves the page before its end", f"{expected} of {total}")]
        if found["place"] < 0 and found["scrolls"]:
            continue  # a table that can be moved with the arrows
        total = found["of"]
        if found["place"] != expected:
            return [("Tab goes elsewhere", found["html"])]
        if not found["seen"] or found["line"] == "none" or found["ring"] < 1:
            return [("the focus is not seen", found["html"])]
        expected += 1
    return []


# 1280 pixels at 200 % are 640 wide; where only the text is twice as large, it must fit too.
SCREENS = [(320, "100%"), (390, "100%"), (640, "100%"), (1280, "100%"), (1280, "200%")]


def widths(page):
    """On which screens the page scrolls sideways."""
    found = []
    for width, text in SCREENS:
        page.set_viewport_size({"width": width, "height": 800})
        page.evaluate("size => document.documentElement.style.fontSize = size", text)
        wide = page.locator("html").evaluate("html => html.scrollWidth")
        if wide > width:
            found.append(("scrolls sideways", f"{wide} pixels on {width}, text of {text}"))
    return found


SCRIPTS = """() => [...document.querySelectorAll('*')].filter(e => e.localName === 'script'
  || e.getAttributeNames().some(name => name.startsWith('on'))
  || [e.href, e.action].some(to => String(to).startsWith('javascript:')))
  .map(e => e.outerHTML.slice(0, 120))"""


def scripts(page):
    """What would not happen without JavaScript."""
    return [("needs JavaScript", html) for html in page.evaluate(SCRIPTS)]


# What the checks find and no page of ours can mend, state by state.
HELLO = {  # the first view that a learner writes returns one heading, and nothing else
    *("document-title", "html-has-lang", "landmark-one-main", "region"),
    "Tab leaves the page before its end",  # there is nothing to go to
}
LIBRARY = {  # the documentation page is drawn by a library's script; a style can't mend its elements
    "needs JavaScript",  # without it, the page says so and leads to the same as JSON
    "heading-order",  # its title is an h1, and each group of operations an h3
    "region",  # title and description stand outside of its main
    "landmark-unique",  # each operation's table of responses is a region of the same name
    "label",  # the field for a body has none
}
NOT_OURS = {"01: hello": HELLO, "05: API": LIBRARY, "06: API": LIBRARY}


def test_every_page_in_every_state(new_context, site, axe):
    page = new_context().new_page()
    found, known = [], set()
    for name in states(page, site):
        page.set_viewport_size({"width": 1280, "height": 720})
        for fault, where in keyboard(page) + barriers(page, axe) + widths(page) + scripts(page):
            if fault in NOT_OURS.get(name, ()):
                known.add((name, fault))
            else:
                found.append((name, fault, where))
    assert found == [], "\n".join(map(str, found))
    mended = {(name, fault) for name, faults in NOT_OURS.items() for fault in faults} - known
    assert mended == set(), "no longer found: take it out of NOT_OURS"


def test_the_page_of_an_api_says_what_to_do_without_javascript(new_context, site):
    page = new_context(java_script_enabled=False).new_page()
    for path in ("/05_census", "/06_housing"):
        page.goto(f"{site}{path}/openapi/swagger")
        expect(page.get_by_role("heading", level=1)).to_have_text(page.title())
        expect(page.get_by_text("Without JavaScript, read")).to_be_visible()
        page.get_by_role("link", name="the same as JSON").click()
        expect(page).to_have_url(f"{site}{path}/openapi/openapi.json")


def test_every_page_of_every_app_has_its_state(apps):
    for path, app in apps.items():
        if path.startswith("/none"):
            continue
        adapter = app.url_map.bind("localhost")
        seen = set()
        for _, address, posted, _ in STATES:
            if address.startswith(f"{path}/"):
                below = address.removeprefix(path).partition("?")[0]
                with suppress(NotFound):
                    seen.add(adapter.match(below, method="POST" if posted else "GET")[0])
        pages = {
            rule.endpoint for rule in app.url_map.iter_rules() if not rule.rule.startswith("/api/")
        }
        assert pages - NO_PAGE - seen == set(), f"give the new page of {path} a state"


BAD = """<!doctype html><title>x</title>
<img src='data:,'><input><p style='color:#ccc'>pale</p><p style='width: 700px'>wide</p>
<a href='javascript:x()' style='outline: none'>unseen</a>
<style>@media (prefers-color-scheme: dark) {body {background: #111; color: #222}}</style>"""


def test_the_checks_find_what_is_wrong(new_context, axe):
    context = new_context()
    page = context.new_page()
    page.set_content(BAD)
    assert {"image-alt", "label", "color-contrast", "html-has-lang"} <= {
        rule for rule, _ in barriers(page, axe)
    }
    assert "dark: <p style" in str(barriers(page, axe))
    assert keyboard(page)[0][0] == "the focus is not seen"
    assert [where.partition(" on ")[2] for _, where in widths(page)] == [
        *("320, text of 100%", "390, text of 100%", "640, text of 100%"),
    ]
    assert len(scripts(page)) == 1
    page = context.new_page()
    page.set_content("<a href='#' tabindex='2'>last</a> <a href='#' tabindex='1'>first</a>")
    assert keyboard(page)[0][0] == "Tab goes elsewhere"
    page.set_content(
        "<meta name='color-scheme' content='dark light'><p style='color: #444'>dim</p>"
    )
    assert "dark: <p" in str(barriers(page, axe))
    page.set_content("<p style='width: 50rem'>wide in large letters</p>")
    assert [where for _, where in widths(page) if "200%" in where]
