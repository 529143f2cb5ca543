"""What the browser tests share: an installed browser, watched pages, and checks for every page.

`tests/conftest.py` makes the fixtures available to every test. Without Chromium, Chrome or Edge, the tests
that need one are skipped, or fail if WORKSHOP_REQUIRE_BROWSER=1 is set. WORKSHOP_BROWSER is the path of a
browser in an unusual place.

On a busy machine, a page may still be loading when the test's next line runs. That's why `follow` and
`submit` wait for the next page, and everything else uses `expect`, which waits until it's true.
"""

import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from wsgiref.types import WSGIApplication

import pytest
from playwright import sync_api
from playwright.sync_api import BrowserContext, Locator, Page, expect
from werkzeug.serving import make_server

from workshop.upkeep.browsers import installed_browsers

expect.set_options(timeout=30_000)  # milliseconds; only a failing test waits that long

# These fixtures replace pytest-playwright's own, which last for the whole session: its event loop would still
# be running in this process when a notebook or a test in another file starts one.


@pytest.fixture(scope="module")
def playwright() -> Iterator[sync_api.Playwright]:
    """Playwright, for the tests in one file."""
    with sync_api.sync_playwright() as started:
        yield started


@pytest.fixture(scope="module")
def browser_context_args() -> dict[str, object]:
    """Playwright's defaults."""
    return {}


@pytest.fixture(scope="module")
def browser(
    playwright: sync_api.Playwright, browser_type_launch_args: dict
) -> Iterator[sync_api.Browser]:
    """The first installed browser that starts."""
    own = playwright.chromium.executable_path  # exists only if Playwright downloaded it
    found = [*installed_browsers(), *([own] if Path(own).exists() else [])]
    if "WORKSHOP_BROWSER" in os.environ:
        found = found[:1]
    reason = "no Chromium, Chrome or Edge was found (WORKSHOP_BROWSER=PATH can name one)"
    for executable in found:
        try:
            options = browser_type_launch_args | {"executable_path": executable}
            started = playwright.chromium.launch(**options)
        except sync_api.Error as error:
            reason = f"{executable} does not start: {str(error).splitlines()[0]}"
            continue
        yield started
        started.close()
        return
    required = os.environ.get("WORKSHOP_REQUIRE_BROWSER") == "1"
    (pytest.fail if required else pytest.skip)(reason)


@contextmanager
def serving(application: WSGIApplication) -> Iterator[str]:
    """Serve an application in this process; yields its URL."""
    with make_server("127.0.0.1", 0, application, threaded=True) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.port}"
        server.shutdown()
        thread.join()


def watch(context: BrowserContext) -> list[str]:
    """Block a context's requests to other machines; return a list that collects what goes wrong."""
    trouble = []

    def is_here(url: str) -> bool:
        parts = urlsplit(url)
        return parts.hostname == "127.0.0.1" or parts.scheme in ("about", "blob", "data")

    def check(url: str) -> None:
        if not is_here(url):
            trouble.append(f"a request leaves this machine: {url}")

    def on_response(response: sync_api.Response) -> None:
        # A form that sends a request while someone types may get a 422, like one that is submitted.
        asks = response.status == 422 and response.request.resource_type == "fetch"
        if response.status >= 400 and not asks and not response.request.is_navigation_request():
            trouble.append(f"status {response.status} for {response.url}")

    def on_console(message) -> None:
        # The test checks the page's own status, and on_response that of everything it loads.
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            trouble.append(f"console: {message.text}")

    context.route(lambda url: not is_here(url), lambda route: route.abort())
    # This sees redirects as well, unlike a route.
    context.on("request", lambda request: check(request.url))
    context.on("response", on_response)
    context.on("console", on_console)
    context.on("weberror", lambda error: trouble.append(f"script: {error.error}"))
    context.on("page", lambda page: page.on("websocket", lambda socket: check(socket.url)))
    return trouble


@pytest.fixture
def open_browser(new_context: Callable[..., BrowserContext]) -> Iterator[Callable[..., Page]]:
    """Open a page in a new browser, without cookies or history, limited to this machine."""
    troubles = []

    def open_another(**options: object) -> Page:
        context = new_context(**options)
        troubles.append(watch(context))
        return context.new_page()

    yield open_another
    assert not any(troubles), troubles  # pytest doesn't rewrite asserts in this module


@pytest.fixture
def page(open_browser: Callable[..., Page]) -> Page:
    """A page that's limited to this machine; any error in a script or a request fails the test."""
    return open_browser()


def follow(page: Page, link: Locator) -> int:
    """Click something that leads to another page; return that page's status after it has loaded."""
    with page.expect_navigation() as navigation:
        link.click()
    return navigation.value.status


def submit(page: Page, button: str | re.Pattern) -> int:
    """Press the button with this name, which submits a form; return the status of the next page."""
    return follow(page, page.get_by_role("button", name=button))


def field(page: Page, label: str) -> Locator:
    """The field with this label, with or without a unit in parentheses after it."""
    return page.get_by_label(re.compile(rf"^\s*{re.escape(label)}\s*(\(.*\)\s*)?$"))


def fill(page: Page, values: dict[str, str]) -> None:
    """Type into the fields with these labels, or choose from their lists."""
    for label, value in values.items():
        found = field(page, label)
        if found.evaluate("e => e.tagName") == "SELECT":
            found.select_option(value)
        else:
            found.fill(value)


def heading(page: Page) -> Locator:
    """The page's main heading."""
    return page.get_by_role("heading", level=1)


def assert_marked(page: Page, label: str, message: str = "") -> None:
    """Assert that the field with this label is marked as wrong, and that its description says why."""
    found = field(page, label)
    expect(found).to_have_attribute("aria-invalid", "true")
    expect(found).to_have_accessible_description(re.compile(rf"\S.*{re.escape(message)}", re.S))
    expect(found.locator("xpath=following-sibling::*[1]")).to_contain_text(message)


def assert_sound(page: Page) -> None:
    """Assert that the page fits any screen, has one main heading, and names its pictures and fields."""
    for width in (320, 1280):
        page.set_viewport_size({"width": width, "height": 800})
        expect(page.locator("html")).to_have_js_property("scrollWidth", width)
    expect(heading(page)).to_have_count(1)
    named = page.locator("img:not([alt='']), [role=img], input:visible, select, textarea")
    for each in named.all():
        expect(each).to_have_accessible_name(re.compile(r"\S"))
