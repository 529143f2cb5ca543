"""A journey through each stage, in a real browser: from its card in the gallery to what the app is for.

The whole workshop runs as a learner starts it, on a fresh copy, with models that `start` trained. No page
may send a request to another machine. `test_accessibility` visits every page; here somebody uses them.
"""

import json
import re
import time
from contextlib import suppress
from urllib.parse import urlencode

import pytest
from app_support import FLOWER, PERSON
from browser_support import assert_marked, assert_sound, field, fill, follow, heading, submit
from housing_support import BERKELEY
from playwright.sync_api import Error, expect

from workshop.core.stages import BASE, STAGES, find_stage, stages_with_app
from workshop.host.background import Server
from workshop.host.ports import free_port


@pytest.fixture(scope="module")
def site(browser, tmp_path_factory):
    """The address of the workshop as `start` runs it, with the stand-ins, which train quickly."""
    port = free_port()
    command = ["workshop", "start", "--no-lab", "--no-browser", "--port", port]
    fresh = {BASE: str(tmp_path_factory.mktemp("work")), "WORKSHOP_MIRROR": "", "DATABASE_URL": ""}
    with Server("workshop start", command, f"http://127.0.0.1:{port}", fresh) as server:
        deadline = time.monotonic() + 300
        while "Press Ctrl-C" not in server.log_end(100):
            assert server.is_running(), server.log_end(100)
            assert time.monotonic() < deadline, server.log_end(100)
            time.sleep(0.1)
        yield server.url


def enter(page, site, stage):
    """Open a stage's app from its card; return the app's address."""
    page.goto(f"{site}/")
    card = page.locator(f"#stage-{find_stage(stage).code}")
    assert follow(page, card.get_by_role("link", name="Open app")) == 200
    return page.url.rstrip("/")


def go(page, link):
    """Follow a link in the bar at the top of the page."""
    bar = page.get_by_role("navigation", name="Pages")
    assert follow(page, bar.get_by_role("link", name=link)) == 200


def test_the_gallery_leads_to_every_app_and_back(page, site):
    gallery = page.goto(f"{site}/")
    assert gallery.headers["cache-control"] == "no-store", "its links may contain this run's token"
    assert_sound(page)
    expect(page.get_by_text("Model trained")).to_have_count(sum(bool(s.model) for s in STAGES))
    for stage in stages_with_app():
        assert enter(page, site, stage.number) == f"{site}/{stage.slug}"
        assert_sound(page)
    assert page.goto(f"{site}/nothing").status == 404
    follow(page, page.get_by_role("link", name="All stages"))
    assert page.url == f"{site}/"


def test_01_greets_counts_visits_and_survives_a_crash(page, open_browser, site):
    app = enter(page, site, "hello")
    assert follow(page, page.get_by_role("link", name="/profile/Ada")) == 200
    expect(heading(page)).to_have_text("Profile of Ada")
    for browser, visits in [(page, 1), (page, 2), (open_browser(), 1)]:
        browser.goto(f"{app}/visits")
        expect(heading(browser)).to_have_text(f"Visits from this browser: {visits}")
    assert page.goto(f"{app}/oops").status == 500
    assert "Traceback" not in page.content()


def test_02_shows_what_was_typed_and_never_runs_it(page, site):
    enter(page, site, "templates")
    image = page.get_by_role("main").locator("img")
    assert image.evaluate("e => e.complete && e.naturalWidth > 0")
    go(page, "List")
    hostile = "<script>window.ran = true</script><b>Ada</b>"
    fill(page, {"Names": hostile})
    assert submit(page, "Show these names") == 200
    expect(page.get_by_role("main").get_by_text(hostile)).to_be_visible()
    assert page.evaluate("window.ran") is None
    go(page, "Condition")
    for day, status, title in [("1", 200, "odd"), ("32", 400, "Which day?")]:
        fill(page, {"Day of the month": day})
        assert submit(page, "Show the side") == status
        expect(heading(page)).to_contain_text(title)
        expect(page.get_by_label("Day of the month")).to_have_value(day)
    assert_marked(page, "Day of the month", "from 1 to 31")


def test_03_says_what_is_prime_and_keeps_what_was_typed(page, site):
    app = enter(page, site, "prime")
    fill(page, {"Your number": "9.5"})
    assert submit(page, "Is it prime?") == 422
    expect(page.get_by_label("Your number")).to_have_value("9.5")
    assert_marked(page, "Your number")
    for typed, answer in [
        ("97", "97 is a prime number"),
        ("91", "91 = 7 × 13, so it is not prime"),
    ]:
        page.goto(f"{app}/")
        fill(page, {"Your number": typed})
        assert submit(page, "Is it prime?") == 200
        expect(heading(page)).to_have_text(answer)


@pytest.mark.parametrize(
    ("stage", "label", "button", "says"),
    [
        ("iris", "Sepal width", "Classify", "not a number"),
        ("census", "Age", "Estimate", "not a whole number"),
        ("housing", "Median income", "Estimate the price", "not a number"),
        ("yours", "bill_length_mm", "Predict", "Send a number"),
    ],
)
def test_a_refused_form_keeps_what_was_typed_and_leads_to_what_is_wrong(
    page, site, stage, label, button, says
):
    enter(page, site, stage)
    fill(page, {label: "wide"})
    assert submit(page, button) == 422
    assert_marked(page, label, says)
    expect(field(page, label)).to_have_value("wide")
    expect(page.get_by_role("alert")).to_be_focused()
    page.get_by_role("alert").get_by_role("link", name=re.compile(f"{label}.*{says}")).click()
    expect(field(page, label)).to_be_focused()
    assert_sound(page)


def test_04_answers_what_if_without_reloading_the_page(page, open_browser, site):
    enter(page, site, "iris")
    assert submit(page, "Classify") == 200
    page.evaluate("window.isSamePage = true")
    star = page.locator("use.mark[x]")
    before = star.bounding_box()
    page.get_by_label("Slider: Petal length").fill("6")
    with page.expect_response("**/api/predict") as answer:
        fill(page, {"Petal width": "2,5"})
    for told in (heading(page), page.get_by_role("status")):
        expect(told).to_have_text("Predicted species: Virginica")
    expect(page).to_have_title(re.compile("Virginica"))
    expect(field(page, "Petal length")).to_have_value("6")
    assert star.bounding_box() != before, "the star has moved"
    assert json.loads(page.locator("#json").inner_text()) == answer.value.json()
    asked = page.url
    fill(page, {"Petal width": "wide"})
    assert_marked(page, "Petal width", "not a number")
    expect(page.get_by_role("status")).to_contain_text("not a number")
    fill(page, {"Petal width": "2,5"})
    expect(field(page, "Petal width")).to_have_attribute("aria-invalid", "false")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_text("PowerShell").click()
    page.get_by_role("button", name="Copy the command").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()").startswith("Invoke-RestMethod")
    assert page.evaluate("window.isSamePage")

    friend = open_browser(java_script_enabled=False)
    assert friend.goto(asked).status == 200
    expect(heading(friend)).to_have_text("Predicted species: Virginica")
    expect(
        friend.get_by_role("slider").or_(friend.get_by_role("button", name="Copy"))
    ).to_have_count(0)


def test_04_shows_the_last_answer_and_says_when_there_is_none(page, site):
    enter(page, site, "iris")
    assert submit(page, "Classify") == 200
    slider, first = page.get_by_label("Slider: Petal length"), "**/classify?*petal_length=1.1*"
    held = []
    page.route(first, lambda route: held.append(route))  # answered later
    with page.expect_request(first):
        slider.fill("1.1")
    slider.fill("6.9")
    expect(heading(page)).to_have_text("Predicted species: Virginica")
    with suppress(Error):  # the page has given up on it
        held[0].continue_()
    page.wait_for_timeout(1000)
    expect(heading(page)).to_have_text("Predicted species: Virginica")
    page.route("**/classify?*", lambda route: route.abort())
    slider.fill("2")
    expect(page.get_by_role("status")).to_contain_text("doesn't answer")


def test_a_form_works_by_keyboard_and_without_javascript(open_browser, site):
    page = open_browser(java_script_enabled=False)
    enter(page, site, "census")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(field(page, "Age")).to_be_focused()
    with page.expect_navigation():
        page.keyboard.press("Enter")
    expect(heading(page)).to_contain_text("Probability of earning more than $50K: ")


def test_05_explains_its_answer_and_compares_it_with_the_other_sex(page, site):
    enter(page, site, "census")
    fill(page, {"Age": "39", "Hours of work per week": "40", "Education": "Bachelors"})
    assert submit(page, "Estimate") == 200
    assert_sound(page)
    exact = page.locator("data").first.get_attribute("value")
    expect(heading(page)).to_contain_text(f"{float(exact):.1%}")
    expect(page.get_by_role("img", name=f"{float(exact):.1%} on a scale")).to_be_visible()
    bars = page.locator(".bars").get_by_role("listitem")
    expect(bars).not_to_have_count(0)
    for bar in bars.all():  # each on the correct side of the axis
        axis = bar.locator("path.axis").bounding_box()["x"]
        box = bar.locator("rect.value").bounding_box()
        assert (box["x"] + box["width"] / 2 > axis) == ("(up)" in bar.inner_text())

    page.get_by_role("button", name="The same person, other sex").click()
    expect(page.locator("#others").get_by_role("listitem")).to_have_count(2)
    curve = page.get_by_role("img", name="Probability from age")
    before = curve.get_attribute("aria-label")
    with page.expect_response("**/api/v1/predictions") as answer:
        page.get_by_label("Marital status").select_option("Never-married")
    expect(page.locator("data").first).not_to_have_attribute("value", exact)
    exact = page.locator("data").first.get_attribute("value")
    assert answer.value.json()["probability"] == float(exact)
    expect(page.get_by_role("status")).to_contain_text(f"{float(exact):.1%}")
    expect(curve).not_to_have_attribute("aria-label", before)
    expect(page).to_have_url(re.compile("Never-married"))
    expect(page.locator("#others").get_by_role("listitem")).to_have_count(2)


def test_05_moves_the_line_scores_a_file_and_lets_people_try_the_api(page, site):
    enter(page, site, "census")
    go(page, "The model")
    page.get_by_label("The line, in percent").fill("30")
    expect(page.get_by_role("heading", name="With the line at 30%")).to_be_visible()
    expect(page.get_by_role("status")).to_contain_text("Line at 30%")
    go(page, "Many people")
    row = "39,Male,White,Never-married,Bachelors,40"
    people = f"name,age,sex,race,marital_status,education,hours_per_week\nA,{row}\nB,x{row}\n"
    file = {"name": "people.csv", "mimeType": "text/csv", "buffer": people.encode()}
    page.get_by_label("CSV file").set_input_files(file)
    expect(page.get_by_role("status")).to_contain_text("1 of 2 people")
    expect(page.get_by_text("Line 3, age")).to_be_visible()
    assert_sound(page)
    with page.expect_download() as download:
        page.get_by_role("button", name="Save the scored file").click()
    assert download.value.path().read_text("utf-8").count("<=50K") == 1
    go(page, "The API")
    path = page.locator('[data-path="/api/v1/predictions/batch"]')
    batch = page.locator(".opblock-post", has=path)
    batch.locator(".opblock-summary-control").click()
    batch.get_by_role("button", name="Try it out").click()
    batch.get_by_role("button", name="Execute").click()  # the page's own example
    answer = batch.locator(".live-responses-table")
    expect(answer).to_contain_text('"predictions"')
    expect(answer.locator(".response-col_status").last).to_contain_text("200")


def log_in(page, button="Log in"):
    """Send the form for logging in, or for registering; return the status of the next page."""
    fill(page, {"Username": "guest", "Password": "correct horse battery"})
    return submit(page, button)


def test_06_keeps_what_a_guest_saves_in_any_browser_until_the_account_is_deleted(
    open_browser, site
):
    page = open_browser(java_script_enabled=False)
    app = enter(page, site, "housing")
    assert submit(page, "Estimate the price") == 200  # the form is already filled in
    price = re.search(r"\$[0-9,]+", heading(page).inner_text())[0]
    follow(page, page.get_by_role("main").get_by_role("link", name="Register"))
    assert log_in(page, "Register") == 200
    expect(heading(page)).to_contain_text(price)
    fill(page, {"Name": "By the bay"})
    assert submit(page, "Save to my account") == 200

    other = open_browser()
    other.goto(f"{app}/saved")  # leads to the login page first
    assert log_in(other) == 200
    expect(other.get_by_role("row").filter(has_text="By the bay")).to_contain_text(price)
    with other.expect_download() as download:
        other.get_by_role("link", name="Download as CSV").click()
    assert "By the bay" in download.value.path().read_text("utf-8")
    go(other, "Account: guest")
    fill(other, {"Name": "my front end"})
    assert submit(other, re.compile("token$")) == 201
    headers = {"Authorization": f"Bearer {other.locator('#new-token').inner_text()}"}
    answer = other.request.get(f"{app}/api/v1/saved", headers=headers)
    assert [each["name"] for each in answer.json()] == ["By the bay"]
    follow(other, other.get_by_role("link", name=re.compile("^Delete")))
    fill(other, {"Password": "correct horse battery"})
    assert submit(other, re.compile("^Delete")) == 200
    page.goto(f"{app}/login")
    assert log_in(page) == 422


def test_07_predicts_from_the_columns_of_its_table(page, site):
    enter(page, site, "yours")
    assert submit(page, "Predict") == 200
    expect(page.locator("#prediction")).to_have_text(re.compile("Adelie|Chinstrap|Gentoo"))
    go(page, "The API")


# What a page costs its visitors, measured without a clock: bytes, blocking scripts, and layout shifts

# Each page, and the most kilobytes that the server may send for it and all that it loads: about a quarter
# more than today. The API page loads a library's script, which is sent compressed.
PAGES = {
    "/": 40,
    "/04_iris/model": 40,
    f"/04_iris/classify?{urlencode(FLOWER)}": 50,
    "/05_census/model": 35,
    f"/05_census/probability?{urlencode(PERSON)}": 50,
    "/06_housing/register": 20,
    f"/06_housing/predict?{urlencode(BERKELEY)}": 70,
    "/06_housing/openapi/swagger": 640,
}

# Adds up the layout shifts that no click caused, from the start.
WATCH = """window.shift = 0; new PerformanceObserver((list) => {
  for (const each of list.getEntries()) if (!each.hadRecentInput) window.shift += each.value;
}).observe({type: "layout-shift", buffered: true});"""
BLOCKING = """() => [...document.scripts]
  .filter(each => !each.defer && !each.async && each.type !== "module" && each.closest("head"))
  .map(each => each.outerHTML)"""


@pytest.mark.parametrize("address", PAGES, ids=lambda address: address.partition("?")[0])
def test_a_page_is_small_and_neither_waits_for_scripts_nor_jumps(page, site, address):
    sent = []
    page.on("requestfinished", lambda request: sent.append(request.sizes()["responseBodySize"]))
    page.add_init_script(WATCH)
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.goto(site + address, wait_until="networkidle").status == 200
    assert 0 < sum(sent) <= 1000 * PAGES[address]
    assert page.evaluate(BLOCKING) == []
    assert page.evaluate("window.shift") < 0.01, "the page jumps (browsers call up to 0.1 good)"
