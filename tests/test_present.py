"""Slides: every cell's part in them, and `start --present` in a real browser, without a network."""

from itertools import pairwise

import nbformat
import pytest
from browser_support import browser, browser_context_args, playwright, watch  # noqa: F401
from playwright.sync_api import expect

from workshop.core.errors import WorkshopError
from workshop.core.stages import STAGES
from workshop.host import start
from workshop.host.ports import free_port
from workshop.upkeep import refresh_notebooks as notebooks

FILES = [file for stage in STAGES for file in stage.notebook_files]


def kinds(notebook):
    return [cell.metadata.slideshow.slide_type for cell in notebook.cells]


def of_cells(*cells):
    """A notebook: a text is prose, a text in a list is code."""
    made = [
        nbformat.v4.new_code_cell(*cell)
        if isinstance(cell, list)
        else nbformat.v4.new_markdown_cell(cell)
        for cell in cells
    ]
    return nbformat.v4.new_notebook(cells=made)


# The rule


def test_a_heading_begins_a_slide_and_prose_is_what_the_presenter_says():
    cells = ["## Why?", "Because.", ["1"], "So:", ["2"], "## What next?", "More.", ["3"]]
    notebook = of_cells(*cells)
    notebooks.mark_slides(notebook)
    assert kinds(notebook) == [
        *("slide", "notes", "fragment", "notes", "subslide"),
        *("slide", "notes", "fragment"),
    ]


@pytest.mark.parametrize(
    "looked_at",
    [
        "Three things:\n\n- one",
        "Two steps:\n\n1. one",
        "| a | b |\n|---|---|\n| 1 | 2 |",
        "![A flower](flower.png)",
        "A script:\n\n```python\nprint()\n```",
    ],
    ids=["list", "steps", "table", "picture", "code"],
)
def test_what_a_room_looks_at_is_on_the_slide(looked_at):
    notebook = of_cells("# Title", looked_at, looked_at)
    notebooks.mark_slides(notebook)
    assert kinds(notebook) == ["slide", "fragment", "subslide"]


def test_words_with_a_dash_a_number_or_a_hash_are_prose():
    notebook = of_cells("# Title", "It is -1.\n1994 was a year - and #1 a hash, `a | b` a choice.")
    notebooks.mark_slides(notebook)
    assert kinds(notebook) == ["slide", "notes"]


def test_marking_changes_the_marks_alone_and_twice_is_once():
    notebook = of_cells("# Title", "Prose.", ["1 + 1"])
    notebook.cells[2].metadata["tags"] = ["kept"]
    sources = [cell.source for cell in notebook.cells]
    notebooks.mark_slides(notebook)
    once = nbformat.writes(notebook)
    notebooks.mark_slides(notebook)
    assert nbformat.writes(notebook) == once
    assert [cell.source for cell in notebook.cells] == sources
    assert notebook.cells[2].metadata["tags"] == ["kept"]


def test_refresh_marks(tmp_path):
    file = tmp_path / "small.ipynb"
    nbformat.write(of_cells("# Title", "Prose.", ["1 + 1"]), file)
    notebooks.refresh(file)
    assert kinds(nbformat.read(file, as_version=4)) == ["slide", "notes", "fragment"]


@pytest.fixture(params=FILES, ids=lambda file: file.stem)
def notebook(request):
    return nbformat.read(request.param, as_version=4)


def test_every_cell_carries_the_mark_that_the_rule_gives(notebook):
    found = [cell.metadata.get("slideshow", {}).get("slide_type") for cell in notebook.cells]
    notebooks.mark_slides(notebook)
    assert found == kinds(notebook), "run: python3 -m workshop refresh STAGE"


def test_a_heading_has_a_cell_of_its_own(notebook):
    # Else the prose below it would fill the slide that it begins.
    prose = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    headings = [source for source in prose if notebooks.HEADING.match(source)]
    assert [source for source in headings if "\n" in source.strip()] == []
    inner = [line for source in prose for line in source.splitlines()[1:] if line.startswith("#")]
    assert [line for line in inner if notebooks.HEADING.match(line)] == []


def test_every_slide_begins_with_something_to_look_at_and_there_are_notes(notebook):
    notebooks.mark_slides(notebook)
    assert kinds(notebook)[0] == "slide"
    for kind, cell in zip(kinds(notebook), notebook.cells, strict=True):
        if kind in ("slide", "subslide") and cell.cell_type == "markdown":
            assert notebooks.HEADING.match(cell.source) or notebooks.LOOKED_AT.search(cell.source)
    assert kinds(notebook).count("notes") >= 2
    for before, after in pairwise(kinds(notebook)):
        assert (before, after) != ("slide", "subslide"), "a heading stands alone on its slide"


# In a browser


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """JupyterLab as `start --present` runs it, on a folder with one notebook: its address, and its token."""
    folder = tmp_path_factory.mktemp("present")
    (folder / "notebooks").mkdir()
    shown = of_cells(
        "# 04 · A title",
        "You say this **aloud**.",
        "- you show a list",
        ["print(6 * 7)"],
        ["print(*range(200), sep='\\n')"],
    )
    notebooks.mark_slides(shown)
    shown.metadata["language_info"] = {"name": "python"}  # as `refresh` does: so a kernel is found
    notebooks.run(shown, folder, "shown.ipynb")
    nbformat.write(shown, folder / "notebooks" / "shown.ipynb")
    with pytest.MonkeyPatch.context() as patch, start.large_type() as settings:
        patch.setenv("WORKSHOP_WORK", str(folder))
        server = start.lab_server(free_port(), "secret", "http://127.0.0.1:8000", settings)
        with server:
            server.wait_until_ready()
            yield server.url


@pytest.fixture
def page(context):
    """A page whose requests must stay on this machine; JupyterLab's own console is not ours to judge."""
    trouble = watch(context)
    yield context.new_page()
    assert [each for each in trouble if "leaves this machine" in each] == []


def size_of_type(page, selector):
    found = page.locator(selector).first
    return found.evaluate("e => parseFloat(getComputedStyle(e).fontSize)")


def test_slides_are_shown_step_by_step_with_notes_and_without_a_network(page, context, lab):
    page.set_viewport_size({"width": 1280, "height": 720})
    page.goto(f"{lab}/rise/notebooks/shown.ipynb?token=secret")
    heading = page.get_by_role("heading", name="04 · A title")
    expect(heading).to_be_visible(timeout=60_000)
    slide = page.locator("section.present section.present")
    expect(slide).to_have_attribute("id", "slide-0-0")
    item = slide.locator("li")
    expect(item).to_be_hidden()
    page.keyboard.press("Space")
    expect(item).to_be_visible()
    expect(item).to_have_text("you show a list")
    assert size_of_type(page, "section.present section.present li") > 24

    with context.expect_page() as opened:
        page.keyboard.press("s")
    speaker = opened.value
    expect(speaker.locator(".speaker-controls-notes strong")).to_have_text("aloud", timeout=60_000)
    expect(slide.locator("aside.notes")).to_be_hidden()

    page.bring_to_front()
    page.keyboard.press("Space")
    expect(slide).to_have_attribute("id", "slide-0-1")
    expect(slide.locator(".cm-content")).to_have_text("print(6 * 7)")
    expect(slide.locator(".jp-OutputArea-output")).to_have_text("42\n")
    assert size_of_type(page, "section.present section.present .cm-content") > 20

    page.keyboard.press("Space")
    expect(slide).to_have_attribute("id", "slide-0-2")
    expect(slide).to_have_css("overflow-y", "scroll")
    assert slide.evaluate("e => e.getBoundingClientRect().height <= innerHeight")


def test_code_on_a_slide_runs(page, lab):
    page.goto(f"{lab}/rise/notebooks/shown.ipynb?token=secret")
    slide = page.locator("section.present section.present")
    expect(slide).to_have_attribute("id", "slide-0-0", timeout=60_000)
    page.keyboard.press("Space")
    expect(slide.locator("li")).to_be_visible()
    page.keyboard.press("Space")
    expect(slide).to_have_attribute("id", "slide-0-1")
    slide.locator(".cm-content").click()
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("print(6 * 8)")
    page.keyboard.press("Shift+Enter")
    expect(page.locator("#slide-0-1 .jp-OutputArea-output")).to_have_text("48\n", timeout=60_000)


def test_jupyterlab_has_large_type(page, lab):
    page.goto(f"{lab}/lab/tree/notebooks/shown.ipynb?token=secret")
    expect(page.get_by_role("heading", name="04 · A title")).to_be_visible(timeout=60_000)
    expect(page.locator(".jp-RenderedMarkdown p").first).to_have_css("font-size", "22px")


def test_slides_without_jupyterlab_are_refused():
    with pytest.raises(WorkshopError, match="leave out --no-lab, or --present"):
        start.run_workshop("127.0.0.1", free_port(), None, open_browser=False, present=True)


def test_settings_made_while_presenting_end_with_it():
    with start.large_type() as folder:
        assert list(folder.rglob("*.jupyterlab-settings"))
    assert not folder.exists()
