"""The cheat sheet prints on one page and needs no network, and its ten lines of Flask run."""

import re

import pytest
from browser_support import assert_sound, fill, heading, submit
from playwright.sync_api import expect

from workshop.core.stages import BASE, stages_with_app
from workshop.host.background import Server
from workshop.host.ports import free_port
from workshop.setup.process import ROOT

DOCS = ROOT / "docs"
STYLE = f"<style>{(DOCS / 'cheat-sheet.css').read_text(encoding='utf-8')}</style>"
LINK = '<link rel="stylesheet" href="cheat-sheet.css">'
SOURCE = (DOCS / "cheat-sheet.html").read_text(encoding="utf-8").replace(LINK, STYLE)


@pytest.fixture
def sheet(page):
    """The sheet, in a browser that is limited to this machine."""
    page.set_content(SOURCE)
    return page


def test_it_prints_on_one_page_of_a4_and_can_be_read_on_a_phone_without_color_or_network(sheet):
    pdf = sheet.pdf(prefer_css_page_size=True)
    width, height = re.search(rb"/MediaBox\s*\[0 0 (\S+) (\S+)\]", pdf).groups()
    assert (round(float(width)), round(float(height))) == (595, 842)  # points
    assert len(re.findall(rb"/Type\s*/Page\b(?!s)", pdf)) == 1
    smallest = "all => Math.min(...all.map(e => parseFloat(getComputedStyle(e).fontSize)))"
    assert sheet.locator("body *").evaluate_all(smallest) >= 8 * 4 / 3  # 8 points in pixels
    assert_sound(sheet)
    colors = set(re.findall(r"#[0-9a-f]{3,6}\b", SOURCE.lower()))
    assert all(len(set(color[1:])) == 1 for color in colors), "only shades of gray"
    assert not re.search(r"<(script|link|img)|@import|url\((?!_for)|https?://(?!127)", SOURCE)
    first, *_, last = stages_with_app()
    ports = f"{first.port} to {last.port} for {first.code} to {last.code}"
    for text in (ports, "http://127.0.0.1:8004/ the app of stage 04"):
        expect(sheet.locator("body")).to_contain_text(text, use_inner_text=True)


def test_the_ten_lines_run(sheet, tmp_path, monkeypatch):
    app, template, run = (
        sheet.locator(f"#{name}").text_content() for name in ("app", "template", "run")
    )
    assert sum(bool(line.strip()) for line in app.splitlines()) == 10
    monkeypatch.setenv(BASE, str(tmp_path))
    *command, name, debug = run.removeprefix("python3 -m ").split()
    assert (command, debug) == (["workshop", "app"], "--debug")
    mine = tmp_path / "apps" / name
    (mine / "templates").mkdir(parents=True)
    (mine / "app.py").write_text(app, encoding="utf-8")
    (mine / "templates" / "hello.html").write_text(template, encoding="utf-8")
    port = free_port()
    command += [name, debug, "--port", port]
    with Server("the ten lines", command, f"http://127.0.0.1:{port}") as server:
        server.wait_until_ready()
        for address, greeting in [("/", "Hello world"), ("/hello/%3Cb%3EAda", "Hello <b>Ada")]:
            sheet.goto(f"{server.url}{address}")
            expect(heading(sheet)).to_have_text(greeting)
        fill(sheet, {"Words": "well done"})
        submit(sheet, "Shout")
        expect(sheet.locator("body")).to_contain_text('"shout": "WELL DONE"')
