"""What a page costs its visitors, measured without a clock: bytes, blocking scripts, and layout shifts."""

from urllib.parse import urlencode

import pytest
from app_support import FLOWER, PERSON
from browser_support import serving
from host_support import Mounted
from housing_support import BERKELEY
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from workshop.core.stages import stages_with_app
from workshop.host import gallery

# Each page, and the largest size in kilobytes of it and all that it loads, uncompressed: about a quarter
# more than today. The API pages load a library's script, which the workshop's server compresses.
PAGES = {
    "/": 40,
    "/04_iris/model": 40,
    f"/04_iris/classify?{urlencode(FLOWER)}": 50,
    "/05_census/model": 35,
    f"/05_census/probability?{urlencode(PERSON)}": 50,
    "/06_housing/register": 20,
    f"/06_housing/predict?{urlencode(BERKELEY)}": 55,
    "/06_housing/openapi/swagger": 2000,
}

# Adds up the layout shifts that no click caused, from the start.
WATCH = """window.shift = 0; new PerformanceObserver((list) => {
  for (const each of list.getEntries()) if (!each.hadRecentInput) window.shift += each.value;
}).observe({type: "layout-shift", buffered: true});"""
BLOCKING = """() => [...document.scripts]
  .filter(each => !each.defer && !each.async && each.type !== "module" && each.closest("head"))
  .map(each => each.outerHTML)"""


@pytest.fixture(scope="module")
def site(apps):
    """The URL of a server with the gallery and every stage's app."""
    mounts = {each.slug: Mounted(each, apps[each.slug]) for each in stages_with_app()}
    below = {f"/{slug}": mount.app for slug, mount in mounts.items()}
    with serving(DispatcherMiddleware(gallery.create_app(mounts).wsgi_app, below)) as url:
        yield url


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
