"""The pages in a real browser: filled in, read, looked at narrow and wide, and never asking another machine.

Any installed Chromium, Chrome or Edge will do. Where there is none these tests are skipped, unless
WORKSHOP_REQUIRE_BROWSER=1 asks that they fail. WORKSHOP_BROWSER names a browser in an unusual place.
"""

import os
import shutil
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest
from browser_support import (  # noqa: F401
    assert_fits,
    assert_says_what_it_shows,
    browser,
    browser_context_args,
    described,
    installed_browsers,
    open_page,
    page,
    playwright,
    submit,
    watch,
)
from host_support import Mounted
from playwright.sync_api import expect
from werkzeug.serving import make_server

from workshop import serve
from workshop.core import build as training
from workshop.core import datasets
from workshop.core.stages import STAGES, find_stage, load_app_module, stages_with_app
from workshop.host import gallery, mount
from workshop.host.ports import free_port, health_of, status_of
from workshop.host.start import gallery_server
from workshop.setup.process import ROOT

# ruff: noqa: F811 (a fixture that is imported is asked for by its name)

SETOSA = {"Sepal length": "5.1", "Sepal width": "3.5", "Petal length": "1.4", "Petal width": "0.2"}


# The browser


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
        for stage in stages_with_app():
            while health_of(f"{server.url}/{stage.slug}").get("status") == "loading":
                time.sleep(0.05)
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
            f"http://127.0.0.1:9/lab/tree/notebooks/{file.name}?token=a-token"
            for file in stage.notebook_files
        ]
        assert links.evaluate_all("all => all.every(e => e.target === '_blank')")
        source = card.get_by_role("link", name="Source: app.py")
        expect(source).to_have_count(1 if stage.app else 0)
        if stage.app:
            href = f"http://127.0.0.1:9/lab/tree/apps/{stage.slug}/app.py?token=a-token"
            expect(source).to_have_attribute("href", href)
            expect(source).to_have_attribute("target", "_blank")
        for name in links.or_(source).all_inner_texts():
            assert name.endswith("(opens in a new tab)")
    first = page.get_by_role("main").get_by_role("link").first
    expect(first).to_have_text("Begin: open the notebook of stage 00 (opens in a new tab)")


@pytest.mark.parametrize("stage", stages_with_app(), ids=lambda stage: stage.slug)
def test_a_card_leads_to_its_app_and_says_whether_it_has_its_model(page, workshop, stage):
    page.goto(f"{workshop}/")
    card = card_of(page, stage)
    untrained = card.get_by_text("Model not trained").count()
    assert untrained + card.get_by_text("Model trained").count() == (1 if stage.model else 0)
    with page.expect_navigation() as navigation:
        card.get_by_role("link", name="Open app").click()
    # Untrained, it may have got its model this moment: a notebook that is tested meanwhile trains it.
    assert navigation.value.status in ((503, 200) if untrained else (200,))
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


def test_a_page_under_another_name_learns_nothing(context, workshop):
    # Browsers take every name under .localhost to this machine, as a hostile name server could any name.
    page = context.new_page()
    for path in ("/", "/04_iris/"):
        answer = page.goto((workshop + path).replace("127.0.0.1", "rebound.localhost"))
        assert answer.status == 400
        expect(page.get_by_text("does not go by the name in the address")).to_be_visible()
        assert "a-token" not in page.content()


def test_a_card_follows_the_state_of_its_model_and_its_app(page, tmp_path, monkeypatch):
    stage = find_stage("iris")
    folder = tmp_path / "apps" / stage.slug / "model"
    ignored = shutil.ignore_patterns("model", "__pycache__")
    shutil.copytree(stage.folder, folder.parent, ignore=ignored)
    monkeypatch.setenv("WORKSHOP_WORK", str(tmp_path))
    create_app = load_app_module(stage.slug).create_app
    app = SimpleNamespace(create_app=lambda: create_app({"MODEL_FOLDER": folder}))
    monkeypatch.setattr(mount, "load_module", lambda *_: app)
    broken = Mounted(find_stage(2), None, "SyntaxError: a stray bracket")
    landing = gallery.create_app({stage.slug: mount.Mount(stage), "02_templates": broken})
    server = make_server("127.0.0.1", 0, landing, threaded=True)
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
