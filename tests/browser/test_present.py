"""Slides: every cell's part in them, and `start --present` in a real browser, without a network."""

from itertools import pairwise

import nbformat
import pytest
from browser_support import watch
from playwright.sync_api import expect

from workshop.core.errors import WorkshopError
from workshop.core.stages import BASE, STAGES
from workshop.host import start
from workshop.host.ports import free_port
from workshop.upkeep import refresh_notebooks as notebooks

FILES = [file for stage in STAGES for file in stage.notebook_files]
LOOKED_AT = [
    "Three things:\n\n- one",
    "Two steps:\n\n1. one",
    "| a | b |\n|---|---|\n| 1 | 2 |",
    "![A flower](flower.png)",
    "A script:\n\n```python\nprint()\n```",
]


def kinds(notebook):
    """The marks that the rule gives, after checking that a second time changes nothing."""
    notebooks.mark_slides(notebook)
    once = nbformat.writes(notebook)
    notebooks.mark_slides(notebook)
    assert nbformat.writes(notebook) == once
    return [cell.metadata.slideshow.slide_type for cell in notebook.cells]


def of_cells(*cells):
    """A notebook: a string is prose, a string in a list is code."""
    code, prose = nbformat.v4.new_code_cell, nbformat.v4.new_markdown_cell
    made = [code(*cell) if isinstance(cell, list) else prose(cell) for cell in cells]
    return nbformat.v4.new_notebook(cells=made)


def test_a_heading_begins_a_slide_and_prose_is_what_the_presenter_says():
    cells = ["## Why?", "Because.", ["1"], "It is -1.\n1994 was a year", ["2"], "## Next?", ["3"]]
    found = kinds(of_cells(*cells))
    assert found == ["slide", "notes", "fragment", "notes", "subslide", "slide", "fragment"]


@pytest.mark.parametrize("cell", LOOKED_AT)
def test_what_a_room_looks_at_is_on_the_slide(cell):
    assert kinds(of_cells("# Title", cell, cell)) == ["slide", "fragment", "subslide"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_cell_carries_its_mark_and_a_heading_has_a_cell_of_its_own(file):
    notebook = nbformat.read(file, as_version=4)
    found = [cell.metadata.get("slideshow", {}).get("slide_type") for cell in notebook.cells]
    assert found == kinds(notebook), "run: python3 -m workshop refresh STAGE"
    assert ("slide", "subslide") not in pairwise(found), "an empty slide"
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and notebooks.HEADING.match(cell.source):
            assert "\n" not in cell.source.strip(), "its text would fill the slide"


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """JupyterLab as `start --present` runs it, on a folder with one notebook; its address."""
    folder = tmp_path_factory.mktemp("present")
    (folder / "notebooks").mkdir()
    shown = of_cells(
        *("# 04 · A title", "You say this **aloud**.", "- you show a list", ["print(6 * 7)"])
    )
    notebooks.mark_slides(shown)
    shown.metadata["language_info"] = {"name": "python"}  # as `refresh` does: so a kernel is found
    nbformat.write(shown, folder / "notebooks" / "shown.ipynb")
    with pytest.MonkeyPatch.context() as patch, start.large_type() as settings:
        patch.setenv(BASE, str(folder))
        with start.lab_server(free_port(), "secret", "http://127.0.0.1:8000", settings) as server:
            yield server.wait_until_ready().url
    assert not settings.exists(), "they end with the talk"


@pytest.mark.slow
def test_slides_are_shown_step_by_step_with_notes_and_code_runs(context, lab):
    trouble = watch(context)
    context.set_default_timeout(60_000)
    page = context.new_page()
    page.set_viewport_size({"width": 1280, "height": 720})
    page.goto(f"{lab}/rise/notebooks/shown.ipynb?token=secret")
    slide = page.locator("section.present section.present")
    expect(slide).to_have_attribute("id", "slide-0-0", timeout=60_000)
    item = slide.locator("li")
    expect(item).to_be_hidden()
    page.keyboard.press("Space")
    expect(item).to_be_visible()
    assert item.evaluate("e => parseFloat(getComputedStyle(e).fontSize)") > 24

    with context.expect_page() as opened:
        page.keyboard.press("s")
    notes = opened.value.locator(".speaker-controls-notes strong")
    expect(notes).to_have_text("aloud", timeout=60_000)
    expect(slide.locator("aside.notes")).to_be_hidden()

    page.bring_to_front()
    page.keyboard.press("Space")
    expect(slide).to_have_attribute("id", "slide-0-1")
    slide.locator(".cm-content").click()
    page.keyboard.press("Shift+Enter")
    output = page.locator("#slide-0-1 .jp-OutputArea-output")
    expect(output).to_have_text("42\n", timeout=60_000)

    page.goto(f"{lab}/lab/tree/notebooks/shown.ipynb?token=secret")
    prose = page.locator(".jp-RenderedMarkdown p").first
    expect(prose).to_have_css("font-size", "22px", timeout=60_000)
    # In a narrow output, a word goes to the next line whole.
    pieces = page.evaluate("""() => {
        const area = document.createElement("div")
        area.className = "jp-OutputArea-output"
        area.innerHTML = "<pre style='width: 12ch'>two words <span>unbroken</span></pre>"
        document.body.append(area)
        return area.querySelector("span").getClientRects().length
    }""")
    assert pieces == 1, "the word is in pieces"
    assert [each for each in trouble if "leaves this machine" in each] == []


def test_slides_without_jupyterlab_are_refused():
    with pytest.raises(WorkshopError, match="--no-lab"):
        start.run_workshop("127.0.0.1", free_port(), None, open_browser=False, present=True)
