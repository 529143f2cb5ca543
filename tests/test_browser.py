"""The pages in a real browser: filled in, read, looked at narrow and wide, and never asking another machine.

Any installed Chromium, Chrome or Edge will do. Where there is none these tests are skipped, unless
WORKSHOP_REQUIRE_BROWSER=1 asks that they fail. WORKSHOP_BROWSER names a browser in an unusual place.
"""

import os
import shutil
import subprocess
import sys
import threading
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Error, expect, sync_playwright
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.serving import make_server

from workshop import datasets, gallery, serve, training
from workshop.running import free_port, status_of
from workshop.stages import ROOT, STAGES, find_stage, load_app_module, stages_with_app
from workshop.start import gallery_server

NARROW = (320, 390)
SETOSA = {"Sepal length": "5.1", "Sepal width": "3.5", "Petal length": "1.4", "Petal width": "0.2"}


# The browser


def installed_browsers():
    """Every browser of the Chromium family found here, the likeliest first; nothing is downloaded."""
    if named := os.environ.get("WORKSHOP_BROWSER"):
        return [named]
    names = ("chromium", "google-chrome", "chrome", "microsoft-edge", "msedge", "chromium-browser")
    usual = [Path(found) for name in names if (found := shutil.which(name))]
    for variable in ("ProgramFiles", "ProgramFiles(x86)", "LocalAppData"):
        if folder := os.environ.get(variable):
            usual += [
                Path(folder, "Google/Chrome/Application/chrome.exe"),
                Path(folder, "Chromium/Application/chrome.exe"),
                Path(folder, "Microsoft/Edge/Application/msedge.exe"),
            ]
    if sys.platform == "darwin":
        for folder in (Path("/Applications"), Path.home() / "Applications"):
            for name in ("Google Chrome", "Chromium", "Microsoft Edge"):
                usual.append(folder / f"{name}.app/Contents/MacOS/{name}")
    return [str(path) for path in usual if path.exists()]


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
    # Chromium's sandbox refuses to work for root, as in a container.
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    options = browser_type_launch_args | {"args": ["--no-sandbox"] if root else []}
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
    assert trouble == []


def run_one_browser_test(**environ):
    command = [sys.executable, "-m", "pytest", __file__, "-n0", "-p", "no:cacheprovider"]
    return subprocess.run(
        [*command, "-k", "test_a_script_that_fails_is_noticed"],
        cwd=ROOT,
        env=os.environ | {"WORKSHOP_BROWSER": str(ROOT / "no-such-browser")} | environ,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
    )


def test_without_a_browser_the_tests_are_skipped_and_say_why():
    run = run_one_browser_test(WORKSHOP_REQUIRE_BROWSER="")
    assert run.returncode == 0, run.stdout
    assert "1 skipped" in run.stdout
    assert "no-such-browser does not start" in run.stdout


def test_without_a_browser_the_tests_fail_where_one_is_required():
    run = run_one_browser_test(WORKSHOP_REQUIRE_BROWSER="1")
    assert run.returncode == 1, run.stdout
    assert "WORKSHOP_REQUIRE_BROWSER=1, but" in run.stdout


def test_a_machine_without_any_browser_finds_none(monkeypatch):
    for variable in ("WORKSHOP_BROWSER", "ProgramFiles", "ProgramFiles(x86)", "LocalAppData"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "platform", "linux")
    assert installed_browsers() == []


ELSEWHERE = "elsewhere.invalid"


@pytest.mark.parametrize(
    "body",
    [
        f'<img src="http://{ELSEWHERE}/a.png" alt="">',
        f'<link rel="stylesheet" href="https://{ELSEWHERE}/a.css">',
        f'<script>fetch("http://{ELSEWHERE}/").catch(() => {{}})</script>',
        f'<script>new WebSocket("ws://{ELSEWHERE}/")</script>',
    ],
    ids=["image", "stylesheet", "fetch", "socket"],
)
def test_a_request_that_leaves_this_machine_is_noticed(context, body):
    trouble = watch(context)
    page = context.new_page()
    page.set_content(body)
    page.wait_for_timeout(200)
    assert any("leaves this machine" in each and ELSEWHERE in each for each in trouble)


def test_a_script_that_fails_is_noticed(context):
    trouble = watch(context)
    page = context.new_page()
    page.set_content("<script>console.error('told'); throw new Error('thrown')</script>")
    page.wait_for_timeout(200)
    assert any("console: told" in each for each in trouble)
    assert any("script: " in each and "thrown" in each for each in trouble)


# What every page must hold


def assert_fits(page):
    """No page scrolls sideways, on the narrowest phone or on a projector."""
    for width in (*NARROW, 1280):
        page.set_viewport_size({"width": width, "height": 800})
        wide = page.evaluate("document.documentElement.scrollWidth")
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


# 04 iris


@pytest.fixture(scope="module")
def iris(browser):
    with serve("iris") as url:
        if status_of(f"{url}/healthz") == 503:
            training.train(find_stage("iris"))
        yield url


def fill(page, flower):
    for label, typed in flower.items():
        page.get_by_label(label).fill(typed)


def test_the_iris_form_answers_setosa(page, iris):
    open_page(page, f"{iris}/")
    fill(page, SETOSA)
    assert submit(page, "Classify this flower") == 200
    expect(page.get_by_role("heading", level=1)).to_have_text("Predicted species: Setosa")
    expect(page.get_by_role("listitem").filter(has_text="Setosa").first).to_contain_text("98.1%")
    assert_fits(page)
    assert_says_what_it_shows(page)
    page.get_by_role("link", name="Try another flower").click()
    expect(page.get_by_role("button", name="Classify this flower")).to_be_visible()


def test_the_iris_form_works_as_it_comes_and_by_keyboard_alone(page, iris):
    page.goto(f"{iris}/")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_label("Sepal length")).to_be_focused()
    with page.expect_navigation():
        page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Predicted species: ")


def test_the_iris_form_keeps_what_was_typed_and_says_what_is_wrong_beside_it(page, iris):
    page.goto(f"{iris}/")
    fill(page, SETOSA | {"Sepal width": "wide", "Petal width": "-1"})
    assert submit(page, "Classify this flower") == 422
    expect(page.get_by_label("Sepal length")).to_have_value("5.1")
    for label, typed, message in [
        ("Sepal width", "wide", "This is not a number"),
        ("Petal width", "-1", "Enter a number above 0"),
    ]:
        field = page.get_by_label(label)
        expect(field).to_have_value(typed)
        expect(field).to_have_attribute("aria-invalid", "true")
        expect(field.locator("xpath=following-sibling::*[1]")).to_contain_text(message)
        assert message in described(page, field)
    assert_fits(page)
    assert_says_what_it_shows(page)
    page.get_by_role("link", name="Sepal width").click()
    expect(page.get_by_label("Sepal width")).to_be_focused()
    fill(page, SETOSA)
    assert submit(page, "Classify this flower") == 200


def described(page, field):
    """What a screen reader adds to a field's name: the texts that aria-describedby refers to."""
    ids = field.get_attribute("aria-describedby").split()
    return " ".join(page.locator(f"id={each}").inner_text() for each in ids)


def test_the_iris_app_works_without_javascript(new_context, iris):
    context = new_context(java_script_enabled=False)
    trouble = watch(context)
    page = context.new_page()
    page.goto(f"{iris}/")
    fill(page, SETOSA)
    assert submit(page, "Classify this flower") == 200
    assert "Predicted species: Setosa" in page.title()
    assert trouble == []


def test_the_models_card_is_a_page(page, iris):
    open_page(page, f"{iris}/model")
    expect(page.get_by_text("97.4%").or_(page.get_by_text("0.974")).first).to_be_visible()


def test_dark_is_dark(page, iris):
    page.goto(f"{iris}/")
    paper = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number)"
    page.emulate_media(color_scheme="light")
    assert min(page.evaluate(paper)) > 200
    page.emulate_media(color_scheme="dark")
    assert max(page.evaluate(paper)) < 60


# The gallery


@pytest.fixture(scope="module")
def workshop(browser, iris):
    """The gallery as `start` serves it, with a JupyterLab that is said to listen on port 9."""
    with gallery_server("127.0.0.1", free_port(), 9, "a-token") as server:
        server.wait_until_ready()
        yield server.url


def card_of(page, stage):
    return page.locator(f"#stage-{stage.code}")


def test_the_gallery_shows_a_card_for_each_stage(page, workshop):
    response = open_page(page, f"{workshop}/")
    assert response.headers["cache-control"] == "no-store", "the token is for this run alone"
    expect(page.locator(".card")).to_have_count(len(STAGES))
    for stage in STAGES:
        card = card_of(page, stage)
        expect(card.get_by_role("heading", name=stage.title)).to_be_visible()
        expect(card).to_contain_text(stage.learn)
        expect(card).to_contain_text(f"{stage.minutes} minutes")
        links = card.get_by_role("link", name="notebook")
        addresses = links.evaluate_all("all => all.map(e => e.href)")
        assert addresses == [
            f"http://127.0.0.1:9/lab/tree/{file.name}?token=a-token"
            for file in stage.notebook_files
        ]
    first = page.get_by_role("main").get_by_role("link").first
    expect(first).to_have_text("Begin: open the notebook of stage 00")


@pytest.mark.parametrize("stage", stages_with_app(), ids=lambda stage: stage.slug)
def test_a_card_leads_to_its_app_and_says_whether_it_has_its_model(page, workshop, stage):
    page.goto(f"{workshop}/")
    card = card_of(page, stage)
    untrained = card.get_by_text("Model not trained").count()
    assert untrained + card.get_by_text("Model trained").count() == (1 if stage.model else 0)
    with page.expect_navigation() as navigation:
        card.get_by_role("link", name="Open app").click()
    assert navigation.value.status == (503 if untrained else 200)
    assert page.url == f"{workshop}/{stage.slug}/"
    assert_fits(page)
    assert_says_what_it_shows(page)


def test_a_mounted_app_stays_under_its_address(page, workshop):
    page.goto(f"{workshop}/04_iris/")
    fill(page, SETOSA)
    assert submit(page, "Classify this flower") == 200
    assert page.url == f"{workshop}/04_iris/classify"
    expect(page.get_by_role("heading", level=1)).to_have_text("Predicted species: Setosa")


def test_an_address_that_is_not_there_leads_back_to_the_stages(page, workshop):
    open_page(page, f"{workshop}/nothing", status=404)
    page.get_by_role("link", name="All stages").click()
    assert page.url == f"{workshop}/"


def test_a_page_under_another_name_learns_no_token(context, workshop):
    # Browsers take every name under .localhost to this machine, as a hostile name server could any name.
    page = context.new_page()
    page.goto(f"{workshop}/".replace("127.0.0.1", "rebound.localhost"))
    expect(page.get_by_role("heading", name=STAGES[0].title)).to_be_visible()
    assert "a-token" not in page.content()
    expect(page.get_by_text("Only the apps open from here.")).to_be_visible()
    expect(page.get_by_text(f"notebooks/{STAGES[0].notebook_files[0].name}")).to_be_visible()


def test_a_card_follows_the_state_of_its_model_and_its_app(page, tmp_path):
    stage = find_stage("iris")
    folder = tmp_path / "model"
    app = load_app_module(stage.slug).create_app({"MODEL_FOLDER": folder})
    landing = gallery.create_app(
        {stage.slug: app}, {"02_templates": "SyntaxError: a stray bracket"}
    )
    mounted = DispatcherMiddleware(landing.wsgi_app, {f"/{stage.slug}": app})
    server = make_server("127.0.0.1", 0, mounted, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        open_page(page, f"http://127.0.0.1:{server.port}/")
        card = card_of(page, stage)
        expect(card).to_contain_text("Model not trained")
        expect(card).to_contain_text("python3 -m workshop train 04")
        broken = card_of(page, find_stage(2))
        expect(broken).to_contain_text("App does not start")
        expect(broken).to_contain_text("SyntaxError: a stray bracket")
        expect(broken.get_by_role("link", name="Open app")).to_have_count(0)
        module = training.model_module(stage)
        module.save(*module.train(datasets.read_iris()), folder)
        page.reload()
        expect(card).to_contain_text("✓ Model trained")
        expect(card).not_to_contain_text("python3 -m workshop train")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


# 02 templates


@pytest.fixture(scope="module")
def templates(browser):
    with serve("templates") as url:
        yield url


@pytest.mark.parametrize(
    "address", ["/", "/heading", "/extend", "/list", "/list?names=", "/condition"]
)
def test_the_template_pages_render(page, templates, address):
    open_page(page, templates + address)


def test_the_picture_of_stage_02_loads_and_says_what_it_shows(page, templates):
    page.goto(f"{templates}/")
    image = page.get_by_role("main").locator("img")
    assert len(image.get_attribute("alt")) > 20
    assert image.evaluate("e => e.complete && e.naturalWidth > 0")


def test_a_hostile_name_is_shown_and_never_run(page, templates):
    page.goto(f"{templates}/list")
    name = "<script>window.ran = true; alert(1)</script>"
    dialogs = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    page.get_by_label("Names").fill(name)
    assert submit(page, "Show these names") == 200
    expect(page.get_by_role("main").get_by_text(name)).to_be_visible()
    expect(page.get_by_label("Names")).to_have_value(name)
    assert page.evaluate("window.ran") is None
    assert dialogs == []


@pytest.mark.parametrize(("day", "side"), [("1", "odd"), ("30", "even")])
def test_the_day_decides_the_side(page, templates, day, side):
    page.goto(f"{templates}/condition")
    page.get_by_label("Day of the month").fill(day)
    assert submit(page, "Show the side") == 200
    expect(page.get_by_role("heading", level=1)).to_contain_text(side)
    assert_says_what_it_shows(page)


def test_a_day_that_is_none_is_kept_with_its_message(page, templates):
    page.goto(f"{templates}/condition")
    page.get_by_label("Day of the month").fill("32")
    assert submit(page, "Show the side") == 400
    field = page.get_by_label("Day of the month")
    expect(field).to_have_value("32")
    expect(field).to_have_attribute("aria-invalid", "true")
    assert "from 1 to 31" in described(page, field)
    assert_fits(page)


# 03 prime


@pytest.fixture(scope="module")
def prime(browser):
    with serve("prime") as url:
        yield url


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        ("97", "97 is a prime number"),
        ("91", "91 = 7 × 13, so it is not prime"),
        ("1", "1 is not a prime number"),
        ("999999999989", "999999999989 is a prime number"),
    ],
)
def test_the_prime_form_answers(page, prime, typed, answer):
    open_page(page, f"{prime}/")
    page.get_by_label("Your number").fill(typed)
    assert submit(page, "Is it prime?") == 200
    expect(page.get_by_role("heading", level=1)).to_have_text(answer)
    assert_fits(page)
    assert_says_what_it_shows(page)


@pytest.mark.parametrize("typed", ["", "ninety-seven", "9.5", "-7", "1000000000001", "9" * 5000])
def test_the_prime_form_keeps_what_was_typed(page, prime, typed):
    page.goto(f"{prime}/")
    page.get_by_label("Your number").fill(typed)
    assert submit(page, "Is it prime?") == 422
    field = page.get_by_label("Your number")
    expect(field).to_have_value(typed)
    expect(field).to_have_attribute("aria-invalid", "true")
    assert page.locator("#number-message").inner_text() in described(page, field)
    assert_fits(page)
    page.get_by_label("Your number").fill("97")
    assert submit(page, "Is it prime?") == 200
