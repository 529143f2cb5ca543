"""Stage 06 as something to play with: a change gives a new answer on the same page, and is said once."""

import re

import pytest
from browser_support import field, heading, serving, submit
from playwright.sync_api import expect


@pytest.fixture
def site(apps):
    """The address of the app with a small model."""
    with serving(apps["06_housing"]) as url:
        yield url


@pytest.fixture
def answered(page, site):
    """A page with the answer for a typical district, which notes if it is ever left."""
    page.goto(f"{site}/")
    assert submit(page, "Estimate the price") == 200
    page.evaluate("window.stayed = true")
    return page


def shown(page):
    return heading(page).inner_text()


def test_a_change_moves_the_answer_its_address_and_what_is_said(answered, site, open_browser):
    before, page = shown(answered), answered
    curve = page.locator(".curve").get_attribute("d")
    field(page, "Median income").fill("8,1")
    expect(heading(page)).not_to_have_text(before)
    expect(page).to_have_url(re.compile(r"/predict\?.*median_income=8\.1&"))
    expect(page.get_by_role("status")).to_contain_text(shown(page))
    field(page, "Age of the houses").fill("10")
    expect(page.locator(".curve")).not_to_have_attribute("d", curve)
    page.get_by_label("Over what?").select_option("house_age")
    expect(page.locator("#curve figcaption")).to_contain_text("age of the houses")
    expect(page).to_have_url(re.compile("over=house_age"))
    assert page.evaluate("window.stayed")
    other = open_browser(java_script_enabled=False)
    other.goto(page.url)
    expect(heading(other)).to_have_text(shown(page))
    field(other, "Median income").fill("1")
    assert submit(other, "Estimate the price") == 200
    field(page, "Median income").fill("1")
    expect(heading(page)).to_have_text(shown(other))


def test_a_click_on_the_map_chooses_the_place_and_a_place_its_coordinates(answered):
    page = answered
    for x, y, latitude in [(0.2, 0.2, 40), (0.7, 0.9, 33)]:
        box = page.locator("#map").bounding_box()
        page.locator("#map").click(position={"x": x * box["width"], "y": y * box["height"]})
        expect(page).to_have_url(re.compile(f"latitude={latitude}"))
    field(page, "Place").select_option("Fresno")
    expect(page.locator("#map-figure figcaption")).to_contain_text("0 km from Fresno")
    field(page, "Latitude").fill("40.8")
    expect(field(page, "Place")).to_have_value("")
    assert page.evaluate("window.stayed")


def test_what_is_wrong_is_said_at_its_field_and_the_answer_stays(new_context, site):
    page = new_context().new_page()  # not watched: the API's 422 is what this is about
    page.goto(f"{site}/")
    submit(page, "Estimate the price")
    before, income = shown(page), field(page, "Median income")
    for typed, message in [("abc", "not a number"), ("900", "100")]:
        income.fill(typed)
        expect(page.locator("#median_income-message")).to_contain_text(message)
        expect(income).to_be_focused()
    assert shown(page) == before
    income.fill("9")
    expect(heading(page)).not_to_have_text(before)
    expect(page.locator("#median_income-message")).to_have_count(0)


def test_the_command_of_the_chosen_terminal_is_shown_and_copied(answered):
    page = answered
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.locator("label", has_text="PowerShell").click()
    page.get_by_role("button", name="Copy", exact=True).click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()").startswith("Invoke-RestMethod")
