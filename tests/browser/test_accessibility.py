"""Every page in every state: axe-core in both color schemes, the keyboard, narrow and zoomed screens.

Set WORKSHOP_AXE to the path of axe-core's `axe.min.js`, which npm installs. Without it, the tests that need
it are skipped, or fail if WORKSHOP_REQUIRE_AXE=1 is set.
"""

import os
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlencode

import pytest
from app_support import FLOWER, PERSON, make
from browser_support import follow, heading, serving
from host_support import Mounted
from housing_support import BERKELEY, PASSWORD
from playwright.sync_api import expect
from werkzeug.exceptions import HTTPException
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from workshop.core.stages import STAGES, find_stage, load_app_module, stages_with_app
from workshop.host import gallery

pytestmark = pytest.mark.slow

YOURS = {"f0": "Biscoe", "f1": "46,1", "f3": "210", "f6": "2008"}
WRONG = {"username": "nobody", "password": "wrong"}

# By status: every page of stages 01 to 05 and 07, and those of 06 for guests.
PLAIN = {
    200: f"""/ /cheat-sheet.html /01_hello/hello /01_hello/profile/Ada /01_hello/square/12 /01_hello/half/2.5
        /01_hello/visits /01_hello/files/letters/2026/to-ada.txt /02_templates/heading /02_templates/extend
        /02_templates/list /02_templates/list?names= /02_templates/condition?day=7 /04_iris/model
        /05_census/model /05_census/table /05_census/openapi/swagger
        /05_census/probability?{urlencode(PERSON)}&compare=sex /06_housing/model /06_housing/login
        /06_housing/register /06_housing/openapi/swagger /07_yours/model /07_yours/docs""",
    400: f"/01_hello/square/{'9' * 102} /02_templates/condition?day=32",
    404: "/nothing",
    422: "/05_census/probability?age=x",
    500: "/01_hello/oops",
    503: "/bare/06_housing/login",
}
OWN_PAGES = "saved saved/1 saved/1/delete account account/password account/delete"  # when logged in
# Every state of every page: its address, what is posted there, and the status.
STATES = [
    *((address, None, status) for status in PLAIN for address in PLAIN[status].split()),
    *((f"/{stage.slug}/", None, 200) for stage in stages_with_app()),
    *((f"/{stage.slug}/nothing", None, 404) for stage in stages_with_app()),
    *((f"/none/{stage.slug}/", None, 503) for stage in STAGES if stage.model),
    *(("/03_prime/prime", {"number": n}, 422 if n == "x" else 200) for n in ("97", "91", "x")),
    ("/04_iris/classify", FLOWER, 200),
    ("/04_iris/classify", FLOWER | {"sepal_width": "x"}, 422),
    ("/05_census/table", {}, 422),
    ("/07_yours/predict", YOURS, 200),
    ("/07_yours/predict", YOURS | {"over": "f0"}, 200),
    ("/07_yours/predict", YOURS | {"f1": "long"}, 422),
    ("/06_housing/predict", BERKELEY, 200),
    ("/06_housing/predict", BERKELEY | {"latitude": "x"}, 422),
    ("/06_housing/login", WRONG, 422),
    ("/06_housing/login", WRONG, 429),  # after five more
    ("/06_housing/register", {"username": "", "password": ""}, 422),
    (
        "/06_housing/register",
        {"username": "anna", "password": PASSWORD},
        200,
    ),  # logged in from now on
    ("/06_housing/saved", None, 200),
    ("/06_housing/predict", BERKELEY, 200),
    ("/06_housing/saved", BERKELEY | {"name": ""}, 422),
    ("/06_housing/saved", BERKELEY | {"name": "By the bay"}, 200),
    *((f"/06_housing/{address}", None, 200) for address in OWN_PAGES.split()),
    ("/06_housing/saved/1", {"name": ""}, 422),
    ("/06_housing/account/tokens", {"name": "mine"}, 201),
    ("/06_housing/account/tokens", {"name": ""}, 422),
    ("/06_housing/account/password", {"password": "wrong", "new_password": "12"}, 422),
    ("/06_housing/account/delete", {"password": "wrong"}, 422),
]

# Routes that return JSON, a file or a redirect instead of a page.
NO_PAGE = """static openapi.static swagger.static healthz create_note read_note write_note delete_note
    saved.download prime_nothing classify_nothing accounts.logout accounts.logout_everywhere
    accounts.revoke_token openapi.openapi openapi.doc_url swagger.oauth2-redirect"""


@pytest.fixture(scope="session")  # made before Playwright's event loop runs in this thread
def by_path(models, tmp_path_factory):
    """The apps by path: `/none/...` have no model, and `/bare/06_housing` no database."""
    place, url = tmp_path_factory.mktemp, {"DATABASE_URL": None}
    slugs = [stage.slug for stage in stages_with_app()]
    found = {f"/{slug}": make(slug, place("instance"), models.get(slug), **url) for slug in slugs}
    found |= {f"/none/{s.slug}": make(s.slug, place("none"), **url) for s in STAGES if s.model}
    bare = url | {"MODEL_FOLDER": models["06_housing"], "INSTANCE_FOLDER": place("bare")}
    return found | {"/bare/06_housing": load_app_module("06_housing").create_app(bare)}


@pytest.fixture(scope="module")
def site(browser, by_path):
    """The URL of a server with the gallery, where no model is trained, and the apps."""
    mounts = {stage.slug: Mounted(stage, by_path[f"/{stage.slug}"]) for stage in stages_with_app()}
    mounts["02_templates"] = Mounted(find_stage(2), None, "SyntaxError: a stray bracket")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv(gallery.LAB_PORT, "9")
        patched.setenv(gallery.LAB_TOKEN, "a-token")
        patched.setenv(gallery.ROOM, "http://192.0.2.7:8000/")
        with serving(DispatcherMiddleware(gallery.create_app(mounts).wsgi_app, by_path)) as url:
            yield url


# Submits a form a moment later, so that this call returns before the page is replaced.
POST = """([action, values]) => {
  const form = Object.assign(document.createElement('form'), {method: 'post', action});
  for (const [name, value] of Object.entries(values))
    form.append(Object.assign(document.createElement('input'), {name, value}));
  document.body.append(form); setTimeout(() => form.submit());
}"""


def states(page, site):
    """Bring the page into each state in turn; yield the state's name: address and status."""
    for address, posted, status in STATES:
        if status == 429:
            for _ in range(5):
                page.request.post(site + address, form=posted)
        if posted is None:
            answer = page.goto(site + address)
        else:
            with page.expect_navigation() as navigation:
                page.evaluate(POST, [site + address, posted])
            answer = navigation.value
        name = f"{address} {status}"
        assert answer.status == status, name
        if "/openapi/" in address:  # open two operations that take a body, ready to try
            for button in (".opblock-summary-control", ".try-out__btn"):
                takes_a_body = page.locator(f".opblock-post {button}, .opblock-patch {button}")
                takes_a_body.first.wait_for()
                takes_a_body.evaluate_all("all => all.slice(-2).forEach(each => each.click())")
            page.locator(".body-param__text").first.wait_for()
        yield name


# Each check returns a list of problems: what's wrong, and where.


@pytest.fixture(scope="module")
def axe():
    """axe-core's script."""
    if path := os.environ.get("WORKSHOP_AXE"):
        return Path(path).read_text(encoding="utf-8")
    end = pytest.fail if os.environ.get("WORKSHOP_REQUIRE_AXE") == "1" else pytest.skip
    end("WORKSHOP_AXE names no axe.min.js (npm install axe-core)")


# Stage 01 has no stylesheet: its pages ask for the browser's own dark colors. axe assumes that a background
# without a style is white, so this sets the one that is drawn anyway. Then it waits: scripts are told about
# a new color scheme in the next frame, and what they change may fade in.
SETTLED = """async () => {
  if (!document.styleSheets.length) document.documentElement.style.backgroundColor = 'Canvas';
  for (const _ of [1, 2]) await new Promise(requestAnimationFrame);
  const fading = document.getAnimations().filter(each => each.effect.getComputedTiming().endTime < 5000);
  await Promise.allSettled(fading.map(each => each.finished));
}"""


def barriers(page, axe):
    """What axe finds: rule and element. In the dark scheme, only the colors differ."""
    page.evaluate(axe)
    found = []
    for scheme, rules in {"light": None, "dark": ["color-contrast"]}.items():
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        page.evaluate(SETTLED)
        options = {"resultTypes": ["violations"]} | ({"runOnly": rules} if rules else {})
        for each in page.evaluate("options => axe.run(document, options)", options)["violations"]:
            found += [(each["id"], f"{scheme}: {node['html'][:120]}") for node in each["nodes"]]
    return found


FOCUSED = """() => {
  const focused = document.activeElement;
  if (focused === document.body || focused === document.documentElement) return null;
  const all = [...document.querySelectorAll('a[href], button, input, select, textarea, summary')]
    .filter(e => e.type !== 'hidden' && e.tabIndex >= 0 && e.checkVisibility())
    .filter(e => e.type !== 'radio' || e.checked);  // Tab goes to the chosen one, the arrows to the others
  const style = getComputedStyle(focused);
  const box = focused.getBoundingClientRect();
  return {place: all.indexOf(focused), of: all.length, ring: parseFloat(style.outlineWidth),
    line: style.outlineStyle, seen: box.right > 0 && box.bottom > 0 && box.width > 0,
    scrolls: focused.hasAttribute('tabindex'), html: focused.outerHTML.slice(0, 90)};
}"""


# A form with errors opens with the focus on its summary; this test starts at the top anyway.
TO_THE_TOP = """async () => {
  for (let frame = 0; frame < 2; frame++) await new Promise(requestAnimationFrame);  // it is set by then
  if (document.activeElement === document.body) return;
  document.body.tabIndex = -1; document.body.focus(); document.body.removeAttribute('tabindex');
}"""


def keyboard(page):
    """Whether Tab reaches every control, in the order of the HTML, and the focus is visible."""
    page.evaluate(TO_THE_TOP)
    expected, total = 0, None
    while total is None or expected < total:
        page.keyboard.press("Tab")
        found = page.evaluate(FOCUSED)
        if not found:
            return [(NO_CONTROLS, f"{expected} of {total}")]
        if found["place"] < 0 and found["scrolls"]:
            continue  # a table that the arrow keys scroll
        total = found["of"]
        if found["place"] != expected:
            return [("Tab goes elsewhere", found["html"])]
        if not found["seen"] or found["line"] == "none" or found["ring"] < 1:
            return [("the focus is not seen", found["html"])]
        expected += 1
    return []


# 640 is a 1280-pixel screen at 200% zoom; text at twice the size must fit as well.
SCREENS = [(320, "100%"), (640, "100%"), (1280, "100%"), (1280, "200%")]


def widths(page):
    """The screens on which the page scrolls sideways."""
    found, html = [], page.locator("html")
    for width, text in SCREENS:
        page.set_viewport_size({"width": width, "height": 800})
        wide = html.evaluate("(e, size) => { e.style.fontSize = size; return e.scrollWidth }", text)
        if wide > width:
            found.append(("scrolls sideways", f"{wide} pixels on {width}, text of {text}"))
    return found


# Known problems that aren't ours to fix, by state.
NO_CONTROLS = "Tab leaves the page before its end"
NOT_OURS = {
    # The first view a learner writes returns only a heading.
    "/01_hello/hello 200": f"document-title html-has-lang landmark-one-main region {NO_CONTROLS}",
    "/cheat-sheet.html 200": NO_CONTROLS,
}


def test_every_page_in_every_state(new_context, site, axe):
    page = new_context().new_page()  # unwatched: many of these pages are errors
    found = []
    for name in states(page, site):
        page.set_viewport_size({"width": 1280, "height": 720})
        for fault, where in keyboard(page) + barriers(page, axe) + widths(page):
            if fault not in NOT_OURS.get(name, ""):
                found.append((name, fault, where))
    assert found == [], "\n".join(map(str, found))


def test_the_page_of_an_api_says_what_to_do_without_javascript(open_browser, site):
    page = open_browser(java_script_enabled=False)
    for path in ("/05_census", "/06_housing"):
        page.goto(f"{site}{path}/openapi/swagger")
        expect(heading(page)).to_contain_text("API")
        assert follow(page, page.get_by_role("main").get_by_role("link")) == 200
        expect(page).to_have_url(f"{site}{path}/openapi/openapi.json")


def test_the_gallery_says_what_is_missing(page, site):
    page.goto(f"{site}/")
    expect(page.get_by_text("Model not trained")).to_have_count(sum(bool(s.model) for s in STAGES))
    expect(page.locator("#stage-02")).to_contain_text("SyntaxError: a stray bracket")
    expect(page.locator("#stage-02").get_by_role("link", name="Open app")).to_have_count(0)


def test_every_page_of_every_app_has_its_state(by_path):
    for stage in stages_with_app():
        app, seen = by_path[f"/{stage.slug}"], set()
        for address, posted, _ in STATES:
            slug, _, below = address.partition("?")[0][1:].partition("/")
            with suppress(HTTPException):
                found = app.url_map.bind("").match(f"/{below}", "POST" if posted else "GET")
                seen |= {found[0]} if slug == stage.slug else set()
        rules = [rule for rule in app.url_map.iter_rules() if not rule.rule.startswith("/api/")]
        missing = {rule.endpoint for rule in rules} - set(NO_PAGE.split()) - seen
        assert missing == set(), f"give the new page of {stage.slug} a state"


def test_the_checks_find_what_is_wrong(new_context, axe):
    context = new_context()
    page = context.new_page()
    page.set_content("""<!doctype html><title>x</title><meta name='color-scheme' content='dark light'>
        <img src='data:,'><input style='outline: none'><p style='width: 700px; color: #444'>dim</p>""")
    rules = {rule for rule, _ in barriers(page, axe)}
    assert {"image-alt", "label", "color-contrast", "html-has-lang"} <= rules
    assert "dark: <p style" in str(barriers(page, axe))
    assert keyboard(page)[0][0] == "the focus is not seen"
    assert [where.split()[3] for _, where in widths(page)] == ["320,", "640,"]
    page = context.new_page()
    page.set_content("""<a href='#' tabindex='2'>last</a> <a href='#' tabindex='1'>first</a>
        <p style='width: 50rem'>wide in large letters</p>""")
    assert keyboard(page)[0][0] == "Tab goes elsewhere"
    assert "200%" in str(widths(page))
