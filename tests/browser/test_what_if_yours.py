"""Stage 07 as something to play with, for a table of classes and one of numbers."""

import json
import re

import pytest
from browser_support import serving, submit
from playwright.sync_api import expect
from yours_support import API, HEADER, app, fit, plain_rows, write


@pytest.fixture(params=["kind", "y"])
def site(request, tmp_path):
    """The app of a table with this target, on its own server; its address."""
    fit(write(tmp_path / "table.csv", HEADER, plain_rows(200)), request.param, tmp_path / "model")
    settings = {"MODEL_FOLDER": tmp_path / "model", "PREDICTION_LOG": str(tmp_path / "log")}
    with serving(app.create_app(settings)) as address:
        yield address


def shown(page):
    """The prediction, the bars or the interval, and the picture in words."""
    return page.locator("#prediction, #bars, #low, #high, #curve h3, figcaption")


def sent_by_api(page):
    return json.loads(page.locator("#json").inner_text())


def test_a_change_moves_the_prediction_and_its_address_as_submitting_does(
    site, new_context, tmp_path
):
    page = new_context(
        permissions=["clipboard-read", "clipboard-write"]
    ).new_page()  # not watched: the API's 422 is part of this
    page.goto(f"{site}/")
    x = page.get_by_label("x", exact=True)
    assert submit(page, "Predict") == 200
    page.evaluate("window.stayed = true")
    before = shown(page).all_inner_texts()
    x.fill("long")
    expect(x).to_have_accessible_description(re.compile("Send a number"))
    assert shown(page).all_inner_texts() == before
    with page.expect_response(f"**{API}") as answer:
        x.fill("1,75")
    expect(page).to_have_url(re.compile(r"/predict\?.*1%2C75"))
    assert sent_by_api(page) == answer.value.json()
    asked = (tmp_path / "log").read_text(encoding="utf-8").splitlines()
    assert len(asked) == 2, "each question is logged once"
    expect(x).to_have_attribute("aria-invalid", "false")
    expect(page.get_by_role("status")).to_contain_text(page.locator("#prediction").inner_text())
    page.get_by_label("Change only").select_option("color")
    page.get_by_role("button", name="Draw").click()
    expect(page.locator("#curve").get_by_role("heading")).to_have_text(re.compile("over color"))
    expect(page).to_have_url(re.compile(r"over=f[12]"))
    after = shown(page).all_inner_texts()
    assert after[1] != before[1]
    assert page.evaluate("window.stayed")
    plain = new_context(java_script_enabled=False).new_page()
    plain.goto(page.url)
    assert shown(plain).all_inner_texts() == after
    assert sent_by_api(plain) == sent_by_api(page)
    plain.get_by_label("x", exact=True).fill("1.75")
    assert submit(plain, "Predict") == 200
    assert shown(plain).all_inner_texts() == after
    plain.get_by_label("Change only").select_option("x")
    assert submit(plain, "Draw") == 200
    expect(plain.get_by_role("img", name=re.compile("your row"))).to_be_visible()
