"""The gallery and its apps inside a hosted JupyterLab, as on Binder: behind a proxy and under its prefix."""

import json
import shutil
from urllib.parse import urljoin

import pytest
import requests
from browser_support import assert_sound, submit
from housing_support import PASSWORD
from playwright.sync_api import expect
from serve_support import until

from workshop.core.stages import STAGES, stages_with_app, stages_with_model
from workshop.host.background import Server
from workshop.host.network import BEHIND_PROXY
from workshop.host.ports import free_port
from workshop.setup.process import ROOT

pytestmark = pytest.mark.slow

PREFIX = "/user/ada/"


@pytest.fixture(scope="module")
def hosted(browser, tmp_path_factory):
    """A JupyterLab under a prefix, with the launcher that set-up installs: the gallery's address."""
    folder = tmp_path_factory.mktemp("hosted")
    ignored = shutil.ignore_patterns("__pycache__", "instance")
    shutil.copytree(ROOT / "apps", folder / "work" / "apps", ignore=ignored)  # with their models
    port = free_port()
    settings = f"base_url={PREFIX} port={port} port_retries=0 open_browser=False allow_root=True"
    options = [f"--ServerApp.{each}" for each in [*settings.split(), f"root_dir={folder}"]]
    environ = {BEHIND_PROXY: "1", "JUPYTER_TOKEN": "secret", "WORKSHOP_WORK": str(folder / "work")}
    url = f"http://127.0.0.1:{port}{PREFIX}"
    with Server("JupyterLab", ["jupyterlab", *options], url, environ) as server:
        server.wait_until_ready()
        visitor = requests.Session()
        first = visitor.get(f"{url}workshop/?token=secret", timeout=300)
        assert first.status_code == 200, first.text
        for stage in stages_with_model():  # `start` trains what is not trained
            model = f"{url}workshop/{stage.slug}/model"
            until(lambda page=model: visitor.get(page, timeout=60).status_code == 200)
        yield f"{url}workshop"


@pytest.fixture
def visitor(page, hosted):
    """A page of somebody who is logged in at the hosted JupyterLab."""
    page.goto(f"{hosted}/?token=secret")
    return page


def test_the_launcher_has_a_tile_and_nobody_gets_in_without_the_token(hosted):
    token = {"token": "secret"}
    info = f"{hosted.removesuffix('/workshop')}/server-proxy/servers-info"
    [tile] = requests.get(info, token, timeout=30).json()["server_processes"]
    assert tile["launcher_entry"]["enabled"]
    icon = requests.get(urljoin(hosted, tile["launcher_entry"]["icon_url"]), token, timeout=30)
    assert "<svg" in icon.text
    assert requests.get(f"{hosted}/", timeout=30, allow_redirects=False).status_code in (302, 403)


def links(visitor):
    """Where everything on the page leads or comes from."""
    parts = "a[href], link[href], img[src], script[src], form[action]"
    return visitor.locator(parts).evaluate_all(
        "all => all.map(e => e.getAttribute('action') ? e.action : e.href || e.src)"
    )


def test_the_gallery_and_every_app_open_and_their_links_stay_under_the_prefix(visitor, hosted):
    assert_sound(visitor)
    expect(visitor.locator(".card")).to_have_count(len(STAGES))
    assert links(visitor)
    assert [link for link in links(visitor) if not link.startswith(f"{hosted}/")] == []
    for stage in stages_with_app():
        visitor.goto(f"{hosted}/")
        card = visitor.locator(f"#stage-{stage.code}")
        with visitor.expect_navigation() as navigation:
            card.get_by_role("link", name="Open app").click()
        assert navigation.value.status == 200 or stage in stages_with_model()
        home = f"{hosted}/{stage.slug}/"
        assert visitor.url == home
        others = {link for link in links(visitor) if not link.startswith(home)}
        assert others == {f"{hosted}/"}, "only to all stages"


def test_the_api_of_stage_05_can_be_tried_out(visitor, hosted):
    visitor.goto(f"{hosted}/05_census/openapi/swagger")
    operation = visitor.locator(".opblock-post", has_text="/predictions").first
    operation.locator(".opblock-summary-control").click()
    operation.get_by_role("button", name="Try it out").click()
    with visitor.expect_response(lambda answer: answer.request.method == "POST") as sent:
        operation.get_by_role("button", name="Execute").click()
    assert sent.value.url.startswith(f"{hosted}/05_census/api/v1/predictions")
    assert json.loads(sent.value.text())
    assert sent.value.status == 200


def test_an_account_of_stage_06_is_made_and_kept(visitor, hosted):
    visitor.goto(f"{hosted}/06_housing/register")
    visitor.get_by_label("Username").fill("ada")
    visitor.get_by_label("Password").fill(PASSWORD)
    assert submit(visitor, "Register") == 200
    assert visitor.url.startswith(f"{hosted}/06_housing/")
    expect(visitor.get_by_role("status")).to_contain_text("Welcome, ada.")
    visitor.goto(f"{hosted}/06_housing/saved")
    assert visitor.url == f"{hosted}/06_housing/saved", "logged in, and not sent away"
