"""What the browser tests share: any installed browser, pages that are watched, and what each must hold.

Import the fixtures by name: those of pytest-playwright with the same names give way to them.
"""

import os
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Error, expect, sync_playwright

from workshop.upkeep.browsers import installed_browsers, launch_options

NARROW = (320, 390)


# The browser


# The four fixtures below take the place of pytest-playwright's own, which last for the whole session: its
# event loop would keep running in this process while a notebook or a test of another file wants one.


@pytest.fixture(scope="module")
def playwright():
    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="module")
def browser_context_args():
    return {}


@pytest.fixture(scope="module")
def browser(playwright, browser_type_launch_args):
    own = playwright.chromium.executable_path  # there only if somebody had Playwright download it
    found = [*installed_browsers(), *([own] if Path(own).exists() else [])]
    if "WORKSHOP_BROWSER" in os.environ:
        found = found[:1]
    options = browser_type_launch_args | launch_options()
    reason = "no Chromium, Chrome or Edge is found here (WORKSHOP_BROWSER=PATH can name one)"
    for executable in found:
        try:
            started = playwright.chromium.launch(**options | {"executable_path": executable})
        except Error as error:
            reason = f"{executable} does not start: {str(error).splitlines()[0]}"
            continue
        yield started
        started.close()
        return
    if os.environ.get("WORKSHOP_REQUIRE_BROWSER") == "1":
        pytest.fail(f"WORKSHOP_REQUIRE_BROWSER=1, but {reason}", pytrace=False)
    pytest.skip(reason)


def watch(context):
    """Keep every page of `context` on this machine; returns a list that fills with what goes wrong."""
    trouble = []

    def is_here(url):
        parts = urlsplit(url)
        return parts.hostname == "127.0.0.1" or parts.scheme in ("about", "blob", "data")

    def on_request(request):  # sees redirects too, which no route does
        if not is_here(request.url):
            trouble.append(f"a request leaves this machine: {request.url}")

    def on_response(response):
        if response.status >= 400 and not response.request.is_navigation_request():
            trouble.append(f"status {response.status} for {response.url}")

    def on_console(message):
        # A page's own status is for the test to judge, everything else's is seen by on_response.
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            trouble.append(f"console: {message.text}")

    def on_socket(socket):
        if not is_here(socket.url):
            trouble.append(f"a socket leaves this machine: {socket.url}")

    context.route(lambda url: not is_here(url), lambda route: route.abort())
    context.on("request", on_request)
    context.on("response", on_response)
    context.on("console", on_console)
    context.on("weberror", lambda error: trouble.append(f"script: {error.error}"))
    context.on("page", lambda page: page.on("websocket", on_socket))
    return trouble


@pytest.fixture
def page(context):
    trouble = watch(context)
    page = context.new_page()
    yield page
    assert trouble == [], trouble  # a support module: pytest shows no more by itself


# What every page must hold


def assert_fits(page):
    """No page scrolls sideways, on the narrowest phone or on a projector."""
    for width in (*NARROW, 1280):
        page.set_viewport_size({"width": width, "height": 800})
        wide = page.locator("html").evaluate("html => html.scrollWidth")
        assert wide <= width, f"{page.url} is {wide} pixels wide on a screen of {width}"


def assert_says_what_it_shows(page):
    """One main heading, no level skipped; images and drawings have a text, and fields a label."""
    expect(page.locator("h1")).to_have_count(1)
    headings = page.locator("h1, h2, h3, h4, h5, h6")
    levels = headings.evaluate_all("all => all.map(e => Number(e.tagName[1]))")
    assert all(after <= before + 1 for before, after in pairwise(levels)), levels
    for image in page.get_by_role("img").all():
        name = image.evaluate("e => e.getAttribute('alt') || e.querySelector('title')?.textContent")
        assert name, f"{page.url} shows a picture without saying what it is"
    unnamed = "all => all.filter(e => e.type != 'hidden' && !e.labels.length).map(e => e.name)"
    assert page.locator("input, select, textarea").evaluate_all(unnamed) == []


def open_page(page, url, status=200):
    """Go to `url` and hold the page against what every page must hold; returns the response."""
    response = page.goto(url)
    assert response.status == status
    assert_fits(page)
    assert_says_what_it_shows(page)
    return response


def submit(page, button):
    """Press a button that sends a form; returns the status of the page that answers."""
    with page.expect_navigation() as navigation:
        page.get_by_role("button", name=button).click()
    return navigation.value.status


def described(page, field):
    """What a screen reader adds to a field's name: the texts that aria-describedby refers to."""
    ids = field.get_attribute("aria-describedby").split()
    return " ".join(page.locator(f"id={each}").inner_text() for each in ids)
