"""Stages 05 and 06 in a real browser: an answer to share, an API to try, and what an account keeps.

Each app is a process of its own, with a model and a database in a folder of the tests' own: nothing
in the checkout is read or changed. See `browser_support` for the browser, and for `page`, which
stays on this machine and tells of every error.
"""

import contextlib
import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from browser_support import (  # noqa: F401
    assert_fits,
    assert_says_what_it_shows,
    browser,
    browser_context_args,
    described,
    open_page,
    page,
    playwright,
    submit,
    watch,
)
from housing_support import BERKELEY, PASSWORD, built, trained  # noqa: F401
from playwright.sync_api import expect

from workshop import fetch_census
from workshop.core.build import model_module
from workshop.core.stages import find_stage, load_app_module
from workshop.host.background import Server
from workshop.host.ports import free_port

# ruff: noqa: F811 (a fixture that is imported is asked for by its name)

PERSON = {
    "age": 39,
    "workclass": "State-gov",
    "education": "Bachelors",
    "marital_status": "Never-married",
    "race": "White",
    "sex": "Male",
    "hours_per_week": 40,
}
SHARED = "/probability?" + "&".join(f"{name}={value}" for name, value in PERSON.items())
CHOSEN = {
    "Age": "39",
    "Kind of employer": "State-gov",
    "Education": "Bachelors",
    "Marital status": "Never-married",
    "Race": "White",
    "Sex": "Male",
    "Hours of work per week": "40",
}


@contextlib.contextmanager
def running(stage, config, *commands):
    """The app of `stage` with settings of the test's own, as a process; yields its address."""
    load_app_module(stage.slug)
    app = f"{stage.app_file}:create_app({config!r})"
    for command in commands:
        flask = [sys.executable, "-m", "flask", "--app", app, command]
        subprocess.run(flask, check=True, capture_output=True, stdin=subprocess.DEVNULL)
    port = free_port()
    serving = ["flask", "--app", app, "run", "--port", port]
    with Server(stage.slug, serving, f"http://127.0.0.1:{port}") as server:
        yield server.wait_until_ready().url


@pytest.fixture
def elsewhere(new_context):
    """Opens a page in another browser: no cookie, no history, and watched like `page`."""
    troubles = []

    def open_another(**options):
        context = new_context(**options)
        troubles.append(watch(context))
        return context.new_page()

    yield open_another
    assert not any(troubles), troubles


def labelled(page, label):
    return page.get_by_label(label, exact=True)


def choose(page, values):
    """Type into the fields, or choose in the lists, with these labels."""
    for label, value in values.items():
        field = labelled(page, label)
        if field.evaluate("e => e.tagName") == "SELECT":
            field.select_option(value)
        else:
            field.fill(value)


def main_heading(page):
    return page.get_by_role("heading", level=1)


def messages_beside(page, label):
    """What the page says is wrong with a field, after checking that the field refers to it."""
    field = labelled(page, label)
    expect(field).to_have_attribute("aria-invalid", "true")
    message = field.locator("xpath=following-sibling::*[1]").inner_text()
    assert message in described(page, field)
    return message


def try_out(page, method, path, body=None):
    """Send a request from the API's own page; returns the status and the answer's text it shows."""
    operation = page.locator(f".opblock-{method}", has=page.locator(f'[data-path="{path}"]'))
    operation.locator(".opblock-summary-control").click()
    operation.get_by_role("button", name="Try it out").click()
    if body is not None:
        operation.locator("textarea").fill(json.dumps(body))
    operation.get_by_role("button", name="Execute").click()
    answer = operation.locator(".live-responses-table")
    status = answer.locator("tbody .response-col_status").first
    expect(status).to_contain_text(re.compile(r"\d{3}"))
    return int(status.inner_text()[:3]), answer.locator(
        ".response-col_description"
    ).last.inner_text()


# 05 census


@pytest.fixture(scope="module")
def census_folder(tmp_path_factory) -> Path:
    module = model_module(find_stage("census"))
    return module.save(*module.train(fetch_census()), tmp_path_factory.mktemp("census")).parent


@pytest.fixture(scope="module")
def census_model(census_folder):
    """The model that the app serves, to hold its pages against."""
    return model_module(find_stage("census")).load(census_folder)


@pytest.fixture(scope="module")
def census(browser, census_folder):
    with running(find_stage("census"), {"MODEL_FOLDER": str(census_folder)}) as url:
        yield url


@pytest.mark.parametrize(
    ("address", "status"),
    [("/", 200), (SHARED, 200), ("/probability", 422), ("/model", 200), ("/nothing", 404)],
)
def test_the_census_pages_fit_and_say_what_they_show(page, census, address, status):
    open_page(page, census + address, status)


def test_the_census_form_offers_what_the_model_knows(page, census, census_model):
    page.goto(f"{census}/")
    for name, feature in census_model.card["features"].items():
        field = page.locator(f"[name={name}]")
        if "categories" not in feature:
            expect(field).to_have_value(f"{feature['median']:.0f}")
            continue
        offered = field.locator("option").evaluate_all("all => all.map(e => e.value)")
        assert offered == [""] * feature["optional"] + feature["categories"]
        expect(field).to_have_value(feature["most_common"])


def test_the_census_form_answers_with_a_link_to_share(page, census, census_model, elsewhere):
    page.goto(f"{census}/")
    choose(page, CHOSEN)
    assert submit(page, "Estimate the probability") == 200
    assert page.url.startswith(f"{census}/probability?")
    probability = census_model.answer(PERSON).probability
    answer = f"Probability of earning more than $50K: {probability:.1%}"
    expect(main_heading(page)).to_have_text(answer)
    assert answer in page.title()
    exact = float(page.locator("data").get_attribute("value"))
    assert exact == pytest.approx(probability, abs=1e-9)
    assert_fits(page)
    assert_says_what_it_shows(page)

    friend = elsewhere()
    open_page(friend, page.url)
    expect(main_heading(friend)).to_have_text(answer)
    assert friend.locator("data").get_attribute("value") == page.locator("data").get_attribute(
        "value"
    )


def test_the_gauge_and_the_bars_can_be_read_without_seeing_them(page, census, census_model):
    page.goto(census + SHARED)
    probability = census_model.answer(PERSON).probability
    gauge = page.get_by_role("img", name=f"{probability:.1%} on a scale from 0% to 100%")
    expect(gauge).to_be_visible()
    bars = page.locator(".bars").get_by_role("listitem")
    contributions = census_model.explain(PERSON)
    strongest_first = sorted(contributions.values(), key=abs, reverse=True)
    expect(bars).to_have_count(len(contributions))
    for bar, value in zip(bars.all(), strongest_first, strict=True):
        figure = f"{value:+.2f}".replace("-", "−")
        expect(bar).to_contain_text(f"{figure} ({'up' if value > 0 else 'down'})")
        drawing = bar.locator("svg")
        expect(drawing).to_have_attribute("aria-hidden", "true")
        # On its side of the axis, and nowhere else.
        axis = drawing.locator("path.axis").bounding_box()["x"]
        box = drawing.locator("rect.value").bounding_box()
        assert (box["x"] + box["width"] / 2 > axis) == (value > 0)
    expect(page.get_by_text("never use this to decide about a person")).to_be_visible()


def test_the_census_form_keeps_what_was_typed_and_says_what_is_wrong_beside_it(page, census):
    page.goto(f"{census}/")
    choose(page, CHOSEN | {"Age": "forty", "Hours of work per week": "169"})
    assert submit(page, "Estimate the probability") == 422
    assert page.title().startswith("Error: ")
    for label, value in (CHOSEN | {"Age": "forty", "Hours of work per week": "169"}).items():
        expect(labelled(page, label)).to_have_value(value)
    assert "not a whole number" in messages_beside(page, "Age")
    assert "from 1 to 168" in messages_beside(page, "Hours of work per week")
    expect(labelled(page, "Race")).to_have_attribute("aria-invalid", "false")
    assert_fits(page)
    assert_says_what_it_shows(page)
    page.get_by_role("alert").get_by_role("link", name="Age").click()
    expect(labelled(page, "Age")).to_be_focused()
    choose(page, CHOSEN)
    assert submit(page, "Estimate the probability") == 200


def test_a_link_with_a_category_that_no_model_knows_asks_to_choose(page, census):
    open_page(page, census + SHARED.replace("Bachelors", "<script>x</script>"), status=422)
    assert "Choose from the list" in messages_beside(page, "Education")
    expect(labelled(page, "Age")).to_have_value("39")
    expect(labelled(page, "Kind of employer")).to_have_value("State-gov")


def test_the_census_form_works_by_keyboard_and_without_javascript(census, elsewhere):
    page = elsewhere(java_script_enabled=False)
    page.goto(f"{census}/")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(labelled(page, "Age")).to_be_focused()
    page.keyboard.type("39")
    with page.expect_navigation() as navigation:
        page.keyboard.press("Enter")
    assert navigation.value.status == 200
    expect(main_heading(page)).to_contain_text("Probability of earning more than $50K: ")


def test_the_census_api_can_be_read_and_tried_without_network(page, census, census_model):
    page.goto(f"{census}/")
    page.get_by_role("link", name="read and try the API").click()
    expect(page.get_by_text("Predict for one person")).to_be_visible()
    assert_fits(page)
    status, answer = try_out(page, "post", "/api/v1/predictions", PERSON)
    assert status == 200
    assert census_model.version in answer
    assert float(re.search(r'"probability": ([0-9.e-]+)', answer)[1]) == pytest.approx(
        census_model.answer(PERSON).probability, abs=1e-9
    )
    # With the example that the page brings along.
    status, answer = try_out(page, "post", "/api/v1/predictions/batch")
    assert (status, '"predictions"' in answer) == (200, True)


# 06 housing


DISTRICT = {
    "Median income": "8.1",
    "Age of the houses": "40",
    "Average rooms": "6.9",
    "Average bedrooms": "1.02",
    "Population": "330",
    "Average occupancy": "2.6",
    "Latitude": "37.88",
    "Longitude": "-122.23",
}
ASKED = "/predict?" + "&".join(f"{name}={value}" for name, value in BERKELEY.items())


@pytest.fixture(scope="module")
def housing(browser, built, tmp_path_factory):
    config = {
        "MODEL_FOLDER": str(built),
        "INSTANCE_FOLDER": str(tmp_path_factory.mktemp("instance")),
        "DATABASE_URL": None,  # SQLite in that folder, whatever the environment says
    }
    with running(find_stage("housing"), config, "init-db") as url:
        yield url


def go(page, link):
    """Follow a link of the page's head."""
    page.get_by_role("navigation", name="Pages").get_by_role("link", name=link).click()


def register(page, housing, name):
    page.goto(f"{housing}/")
    go(page, "Register")
    choose(page, {"Username": name, "Password": PASSWORD})
    assert submit(page, "Register") == 200
    expect(page.get_by_role("status")).to_contain_text(f"Welcome, {name}.")


def log_in(page, housing, name):
    page.goto(f"{housing}/")
    go(page, "Log in")
    choose(page, {"Username": name, "Password": PASSWORD})
    assert submit(page, "Log in") == 200


def predict(page, housing):
    """Ask for the price of the district; returns it as the page writes it."""
    page.goto(f"{housing}/")
    choose(page, DISTRICT)
    assert submit(page, "Estimate the price") == 200
    return re.fullmatch(r"Predicted price: (\$[0-9,]+)", main_heading(page).inner_text())[1]


def save(page, housing, name):
    price = predict(page, housing)
    choose(page, {"Name": name})
    assert submit(page, "Save to my account") == 200
    expect(page.get_by_role("status")).to_have_text(f"Saved “{name}”.")
    return price


def assert_sound(page):
    assert_fits(page)
    assert_says_what_it_shows(page)


def test_what_is_saved_in_one_browser_is_found_in_another(page, housing, elsewhere):
    register(page, housing, "anna")
    assert_sound(page)
    price = predict(page, housing)
    assert_sound(page)
    choose(page, {"Name": "By the bay"})
    assert submit(page, "Save to my account") == 200
    expect(page.get_by_role("status")).to_have_text("Saved “By the bay”.")
    assert_sound(page)
    go(page, "Account: anna")
    assert_sound(page)
    assert submit(page, re.compile("^Log out$")) == 200
    expect(page.get_by_role("status")).to_have_text("You are logged out.")
    expect(page.get_by_role("link", name="Saved")).to_have_count(0)

    other = elsewhere()
    log_in(other, housing, "anna")
    expect(main_heading(other)).to_have_text("Saved predictions")
    row = other.get_by_role("row").filter(has_text="By the bay")
    expect(row).to_contain_text(price)

    row.get_by_role("link", name="Rename").click()
    expect(main_heading(other)).to_have_text("By the bay")
    assert_sound(other)
    choose(other, {"Name": "On the hill"})
    assert submit(other, "Rename") == 200
    expect(other.get_by_role("row").filter(has_text="On the hill")).to_contain_text(price)
    expect(other.get_by_role("row").filter(has_text="By the bay")).to_have_count(0)

    with other.expect_download() as download:
        other.get_by_role("link", name="Download as CSV").click()
    assert download.value.suggested_filename == "saved-predictions.csv"
    with Path(download.value.path()).open(encoding="utf-8", newline="") as file:
        (saved,) = csv.DictReader(file)
    assert saved["name"] == "On the hill"
    assert f"${float(saved['price_usd']):,.0f}" == price
    assert {name: float(saved[name]) for name in BERKELEY} == BERKELEY

    assert submit(other, "Delete On the hill") == 200
    expect(other.get_by_role("status")).to_have_text("Deleted “On the hill”.")
    expect(other.get_by_text("There is nothing here yet.")).to_be_visible()
    other.reload()
    expect(other.get_by_text("There is nothing here yet.")).to_be_visible()
    assert_sound(other)


def test_a_guest_who_logs_in_to_save_comes_back_to_the_prediction(page, housing):
    price = predict(page, housing)
    page.get_by_role("main").get_by_role("link", name="Register").click()
    choose(page, {"Username": "guest", "Password": PASSWORD})
    assert submit(page, "Register") == 200
    expect(main_heading(page)).to_have_text(f"Predicted price: {price}")
    choose(page, {"Name": "After all"})
    assert submit(page, "Save to my account") == 200
    expect(page.get_by_role("row").filter(has_text="After all")).to_contain_text(price)


def test_nobody_finds_the_list_by_going_back_after_the_log_out(page, housing):
    register(page, housing, "leaver")
    save(page, housing, "A secret of mine")
    go(page, "Account: leaver")
    assert submit(page, re.compile("^Log out$")) == 200
    page.go_back()
    page.go_back()
    expect(main_heading(page)).to_have_text("Log in")
    expect(page.get_by_text("A secret of mine")).to_have_count(0)


def test_nobody_sees_what_another_person_has_saved(page, housing, elsewhere):
    register(page, housing, "owner")
    save(page, housing, "Mine alone")
    page.get_by_role("link", name="Mine alone", exact=True).click()
    other = elsewhere()
    register(other, housing, "visitor")
    open_page(other, page.url, status=404)
    go(other, "Saved")
    expect(other.get_by_text("There is nothing here yet.")).to_be_visible()


def test_a_token_opens_the_api_until_it_is_revoked(page, housing):
    register(page, housing, "maker")
    price = save(page, housing, "From the page")
    go(page, "Account: maker")
    choose(page, {"Name": "my front end"})
    assert submit(page, "Make a token") == 201
    token = page.locator("#new-token").inner_text()
    assert_sound(page)
    saved = f"{housing}/api/v1/saved"
    headers = {"Authorization": f"Bearer {token}"}
    (listed,) = requests.get(saved, headers=headers, timeout=60).json()
    assert (listed["name"], f"${listed['price_usd']:,.0f}") == ("From the page", price)
    body = {"name": "From the API", "district": BERKELEY}
    assert requests.post(saved, json=body, headers=headers, timeout=60).status_code == 201
    go(page, "Saved")
    expect(page.get_by_role("row").filter(has_text="From the API")).to_contain_text(price)

    go(page, "Account: maker")
    assert token not in page.content(), "a token is shown once"
    assert submit(page, "Revoke my front end") == 200
    expect(page.get_by_role("status")).to_have_text("Revoked the token “my front end”.")
    expect(page.get_by_role("row").filter(has_text="my front end")).to_have_count(0)
    assert requests.get(saved, headers=headers, timeout=60).status_code == 401


def test_the_housing_api_can_be_tried_with_a_token_and_without_network(page, housing):
    register(page, housing, "reader")
    save(page, housing, "Seen through the API")
    go(page, "Account: reader")
    choose(page, {"Name": "the API's page"})
    assert submit(page, "Make a token") == 201
    token = page.locator("#new-token").inner_text()
    go(page, "The API")
    expect(page.get_by_text("Ask for one price")).to_be_visible()
    assert_fits(page)
    page.locator("button.authorize").first.click()
    page.locator(".modal-ux input").fill(token)
    page.locator(".modal-ux button.authorize").click()
    page.locator(".modal-ux button.btn-done").click()
    status, answer = try_out(page, "get", "/api/v1/saved")
    assert (status, "Seen through the API" in answer) == (200, True)
    status, answer = try_out(page, "post", "/api/v1/predictions", BERKELEY)
    assert (status, '"price_usd"' in answer) == (200, True)


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("/", 200),
        (ASKED, 200),
        ("/predict?latitude=1", 422),
        ("/model", 200),
        ("/register", 200),
        ("/login", 200),
        ("/saved", 200),  # by way of the log-in
        ("/nothing", 404),
    ],
)
def test_the_housing_pages_fit_and_say_what_they_show(page, housing, address, status):
    open_page(page, housing + address, status)


def test_the_housing_form_keeps_what_was_typed_and_says_what_is_wrong_beside_it(page, housing):
    page.goto(f"{housing}/")
    typed = DISTRICT | {"Median income": "much", "Latitude": "12"}
    choose(page, typed)
    assert submit(page, "Estimate the price") == 422
    for label, value in typed.items():
        expect(labelled(page, label)).to_have_value(value)
    assert "not a number" in messages_beside(page, "Median income")
    assert "from 32 to 43" in messages_beside(page, "Latitude")
    assert_sound(page)
    page.get_by_role("alert").get_by_role("link", name="Median income").click()
    expect(labelled(page, "Median income")).to_be_focused()


def test_a_place_of_the_list_is_shown_on_the_map(page, housing):
    page.goto(f"{housing}/")
    choose(page, {"Place": "Oakland"})
    assert submit(page, "Estimate the price") == 200
    drawing = page.get_by_role("img", name="Where the district lies in California")
    expect(drawing.locator("desc")).to_contain_text("from Oakland")
    expect(drawing.locator("path.mark")).to_be_visible()


def test_a_wrong_password_and_a_taken_name_keep_the_username(page, housing, elsewhere):
    register(page, housing, "taken")
    other = elsewhere()
    other.goto(f"{housing}/register")
    choose(other, {"Username": "taken", "Password": PASSWORD})
    assert submit(other, "Register") == 422
    assert "is taken" in messages_beside(other, "Username")
    expect(labelled(other, "Username")).to_have_value("taken")
    expect(labelled(other, "Password")).to_have_value("")
    assert_sound(other)
    other.goto(f"{housing}/login")
    choose(other, {"Username": "taken", "Password": "not " + PASSWORD})
    assert submit(other, "Log in") == 422
    assert "is wrong" in messages_beside(other, "Password")
    expect(labelled(other, "Username")).to_have_value("taken")
    expect(labelled(other, "Password")).to_have_value("")


def test_the_whole_way_works_without_javascript(housing, elsewhere):
    page = elsewhere(java_script_enabled=False)
    register(page, housing, "plain")
    save(page, housing, "Without a script")
    assert submit(page, "Delete Without a script") == 200
    go(page, "Account: plain")
    page.get_by_role("link", name="Delete my account").click()
    choose(page, {"Password": PASSWORD})
    assert submit(page, "Delete my account and everything in it") == 200
    expect(page.get_by_role("status")).to_contain_text("The account plain is deleted")
