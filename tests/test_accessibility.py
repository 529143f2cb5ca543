"""Every page in every state, held against axe-core, a keyboard, a narrow screen and one that is zoomed.

WORKSHOP_AXE is the path of axe-core's `axe.min.js`; it comes from npm, and only tests need it. Without it
these tests are skipped, unless WORKSHOP_REQUIRE_AXE=1 asks that they fail.
"""

import os
import threading
from itertools import count
from pathlib import Path

import pytest
from browser_support import assert_fits, browser, browser_context_args, playwright  # noqa: F401
from housing_support import BERKELEY, PASSWORD, few, housing_app, housing_model
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.serving import make_server

from workshop import fetch_census, fetch_housing, gallery
from workshop.datasets import read_iris
from workshop.stages import find_stage, load_app_module
from workshop.training import model_module

# ruff: noqa: F811 (a fixture that is imported is asked for by its name)

FLOWER = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}
PERSON = (
    "age=39&workclass=State-gov&education=Bachelors&marital_status=Never-married&race=White"
    "&sex=Male&hours_per_week=40"
)
ACCOUNT = {"username": "annaRUN", "password": PASSWORD}
WRONG = {"username": "nobody", "password": "wrong"}

# The state's name, the address, what is posted there, and the status.
STATES = [
    ("gallery", "/", None, 200),
    ("gallery: 404", "/nothing", None, 404),
    ("01", "/01_hello/", None, 200),
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
    ("05: 404", "/05_census/nothing", None, 404),
    ("05: 503", "/none/05_census/", None, 503),
    ("06", "/06_housing/", None, 200),
    ("06: result", "/06_housing/predict", BERKELEY, 200),
    ("06: errors", "/06_housing/predict", BERKELEY | {"latitude": "x"}, 422),
    ("06: model", "/06_housing/model", None, 200),
    ("06: 404", "/06_housing/nothing", None, 404),
    ("06: 503, no model", "/none/06_housing/", None, 503),
    ("06: 503, no tables", "/none/06_housing/login", None, 503),
    ("06: login", "/06_housing/login", None, 200),
    ("06: login errors", "/06_housing/login", WRONG, 422),
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
    ("06: delete?", "/06_housing/account/delete", None, 200),
    ("06: not deleted", "/06_housing/account/delete", {"password": "wrong"}, 422),
]


@pytest.fixture(scope="module")
def site(browser, tmp_path_factory):
    """The gallery with every app and its model, and below /none the same apps without any."""
    none = tmp_path_factory.mktemp("none")
    mounted = {}
    for slug in ("01_hello", "02_templates", "03_prime"):
        mounted[f"/{slug}"] = load_app_module(slug).create_app({"SECRET_KEY": "a test's"})
    for slug, data in (("04_iris", read_iris), ("05_census", lambda: few(fetch_census()))):
        module, app = model_module(find_stage(slug)), load_app_module(slug)
        folder = module.save(*module.train(data()), tmp_path_factory.mktemp(slug)).parent
        mounted[f"/{slug}"] = app.create_app({"MODEL_FOLDER": folder})
        mounted[f"/none/{slug}"] = app.create_app({"MODEL_FOLDER": none})
    trained = housing_model.train(few(fetch_housing()))
    folder = housing_model.save(*trained, tmp_path_factory.mktemp("housing")).parent
    settings = {"DATABASE_URL": None, "WTF_CSRF_ENABLED": False, "INSTANCE_FOLDER": none / "x"}
    mounted["/none/06_housing"] = housing_app.create_app(settings | {"MODEL_FOLDER": none})
    settings |= {"MODEL_FOLDER": folder, "INSTANCE_FOLDER": none / "instance"}
    housing = mounted["/06_housing"] = housing_app.create_app(settings)
    housing.test_cli_runner().invoke(args=["init-db"])
    apps = {path[1:]: app for path, app in mounted.items() if path.count("/") == 1}
    landing = gallery.create_app(apps, {"02_templates": "SyntaxError: a stray bracket"})
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv(gallery.LAB_PORT, "9")
        patched.setenv(gallery.LAB_TOKEN, "a-token")
        patched.setenv(gallery.ROOM, "http://192.0.2.7:8000/")
        server = make_server(
            "127.0.0.1", 0, DispatcherMiddleware(landing.wsgi_app, mounted), threaded=True
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
        if posted is None:
            answer = page.goto(site + address)
        else:
            page.goto(site + address.rpartition("/")[0] + "/nothing")
            with page.expect_navigation() as navigation:
                page.evaluate(POST, [site + address, posted])
            answer = navigation.value
        assert answer.status == status, name
        yield name


# axe-core

# Stage 01 has no stylesheet: its pages ask for the browser's own dark colours. axe takes a background that
# no style sets for white, also where the browser draws it nearly black.
NOT_A_FAULT = [(name, "dark", "color-contrast") for name, *_ in STATES if name.startswith("01")]


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


def violations(page, axe, *rules):
    """What axe finds wrong with the page as it is, by all rules or by these: rule and element."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(axe)
    options = {"resultTypes": ["violations"]} | ({"runOnly": rules} if rules else {})
    found = page.evaluate("o => axe.run(document, o).then(found => found.violations)", options)
    return [(each["id"], node["html"][:120]) for each in found for node in each["nodes"]]


def test_axe_finds_nothing_on_any_page_light_or_dark(new_context, site, axe):
    page = new_context().new_page()
    found = []
    for name in states(page, site):
        for scheme, rules in (("light", ()), ("dark", ["color-contrast"])):
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            for rule, element in violations(page, axe, *rules):
                if (name, scheme, rule) not in NOT_A_FAULT:
                    found.append((name, scheme, rule, element))
    assert found == [], "\n".join(map(str, found))


def test_axe_finds_what_is_wrong(new_context, axe):
    page = new_context().new_page()
    page.set_content("<title>x</title><img src='data:,'><input><p style='color:#ccc'>pale</p>")
    assert {"image-alt", "label", "color-contrast", "html-has-lang"} <= {
        rule for rule, _ in violations(page, axe)
    }


# Keyboard, narrow screens, zoom

FOCUSED = """() => {
  const focused = document.activeElement;
  if (focused === document.body || focused === document.documentElement) return null;
  const all = [...document.querySelectorAll('a[href], button, input, select, textarea, summary')]
    .filter(e => e.type !== 'hidden' && e.checkVisibility());
  const style = getComputedStyle(focused);
  const box = focused.getBoundingClientRect();
  return {place: all.indexOf(focused), of: all.length, ring: parseFloat(style.outlineWidth),
    line: style.outlineStyle, seen: box.right > 0 && box.bottom > 0 && box.width > 0,
    skip: focused.matches('.skip'), html: focused.outerHTML.slice(0, 90)};
}"""


def test_tab_reaches_everything_in_order_and_is_seen(new_context, site):
    page = new_context().new_page()
    for name in states(page, site):
        expected, total = 0, None
        while total is None or expected < total:
            page.keyboard.press("Tab")
            found = page.evaluate(FOCUSED)
            assert found, f"{name}: Tab leaves the page before its end"
            if found["place"] < 0 and "tabindex" in found["html"]:
                continue  # a table that scrolls
            total = found["of"]
            assert found["place"] == expected, (name, found)
            assert found["seen"], (name, found)
            assert found["line"] != "none", (name, found)
            assert found["ring"] >= 1, (name, found)
            expected += 1


def test_every_state_fits_a_phone_and_a_screen_zoomed_to_200_percent(new_context, site):
    phone = new_context(viewport={"width": 320, "height": 640})
    page = phone.new_page()
    for name in states(page, site):
        assert_fits(page)
        # 1280 pixels at 200 % are 640 wide; where only the text is twice as large, it must fit too.
        page.set_viewport_size({"width": 640, "height": 400})
        assert page.evaluate("document.documentElement.scrollWidth") <= 640, name
        page.set_viewport_size({"width": 1280, "height": 800})
        page.evaluate("document.documentElement.style.fontSize = '200%'")
        assert page.evaluate("document.documentElement.scrollWidth") <= 1280, name
