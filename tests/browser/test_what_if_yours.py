"""Stage 07 as something to play with, for a table of classes and one of numbers."""

import re

import pytest
from browser_support import serving, submit
from playwright.sync_api import expect
from yours_support import HEADER, app, fit, plain_rows, write


@pytest.fixture(params=["kind", "y"])
def site(request, tmp_path):
    """The app of a table with this target, on its own server; its address."""
    fit(write(tmp_path / "table.csv", HEADER, plain_rows(200)), request.param, tmp_path / "model")
    made = app.create_app({"MODEL_FOLDER": tmp_path / "model", "PREDICTION_LOG": "off"})
    with serving(made) as url:
        yield url


def shown(page):
    """The prediction, the bars or the interval, the picture in words, and the API's answer."""
    return page.locator("#prediction, #bars, #low, #high, #curve h3, figcaption, #json")


def test_a_change_moves_the_prediction_and_its_address_as_submitting_does(site, new_context):
    page = new_context(
        permissions=["clipboard-read", "clipboard-write"]
    ).new_page()  # not watched: the API's 422 is part of this
    page.goto(f"{site}/")
    x = page.get_by_label("x", exact=True)
    assert submit(page, "Predict") == 200
    page.evaluate("window.stayed = true")
    before = shown(page).all_inner_texts()
    x.fill("long")
    expect(x).to_have_attribute("aria-invalid", "true")
    expect(x).to_have_accessible_description(re.compile("Send a number"))
    assert shown(page).all_inner_texts() == before
    x.fill("1,75")
    expect(page).to_have_url(re.compile(r"/predict\?.*1%2C75"))
    expect(x).to_have_attribute("aria-invalid", "false")
    expect(page.get_by_role("status")).to_contain_text(page.locator("#prediction").inner_text())
    after = shown(page).all_inner_texts()
    assert after != before
    drawn = page.locator("#curve")
    page.get_by_label("Change only").select_option("color")
    page.get_by_role("button", name="Draw").click()
    expect(drawn.get_by_role("heading")).to_have_text(re.compile("over color"))
    expect(drawn.get_by_role("listitem")).to_have_count(2)
    expect(page).to_have_url(re.compile(r"over=f[12]"))
    after = shown(page).all_inner_texts()
    page.get_by_label("PowerShell").check()
    copy = page.get_by_role("button", name="Copy the command")  # of the tab that is shown
    copy.click()
    expect(page.get_by_text("Copied", exact=True)).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()").startswith("Invoke-RestMethod")
    assert page.evaluate("window.stayed")
    plain = new_context(java_script_enabled=False).new_page()
    plain.goto(page.url)
    assert shown(plain).all_inner_texts() == after
    plain.get_by_label("x", exact=True).fill("1.75")
    assert submit(plain, "Predict") == 200
    assert shown(plain).all_inner_texts() == after
    plain.get_by_label("Change only").select_option("x")
    assert submit(plain, "Draw") == 200
    expect(plain.get_by_role("img", name=re.compile("your row"))).to_be_visible()
    expect(plain.get_by_role("button", name=re.compile("Copy"))).to_have_count(0)
