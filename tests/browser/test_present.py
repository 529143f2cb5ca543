"""Slides: the type of each cell, and `start --present` in a real browser, without a network."""

import shutil

import nbformat
import pytest
from browser_support import watch
from playwright.sync_api import expect

from workshop.core.stages import BASE, STAGES
from workshop.host import slides, start
from workshop.host.ports import free_port

FILES = [file for stage in STAGES for file in stage.notebook_files]
CODE = nbformat.v4.new_code_cell
FIGURE = nbformat.v4.new_output("display_data", {"image/png": ""})
TEN = "a = 1\n" * 10


def of_cells(*cells):
    """Return a notebook of these cells: a string is prose."""
    prose = nbformat.v4.new_markdown_cell
    made = [prose(cell) if isinstance(cell, str) else cell for cell in cells]
    return nbformat.v4.new_notebook(cells=made)


def pages(notebook):
    """Return what each page of the slides shows, and its speaker notes."""
    made = slides.as_slides(notebook)
    nbformat.validate(made)
    found = []
    for cell in made.cells:
        kind = cell.metadata.slideshow.slide_type
        if kind in ("slide", "subslide"):
            found.append([])
        found[-1].append(f"notes: {cell.source}" if kind == "notes" else cell.source)
    return found


def test_a_cell_with_the_slide_type_skip_is_left_out():
    skipped = CODE("1", metadata={"slideshow": {"slide_type": "skip"}})
    assert pages(of_cells("## A", skipped, CODE("2"))) == [["## A", "2"]]


def test_the_first_sentences_are_shown_and_the_rest_goes_to_the_notes():
    cells = ["## Why?", "Because. It is -1.\n\nMore.", CODE("1"), "Said.", CODE("2"), "## Next?"]
    first = ["## Why?", "Because.", "notes: It is -1.\n\nMore.", "1", "notes: Said.", "2"]
    assert pages(of_cells(*cells)) == [first, ["## Next?"]]
    items = "Do this:\n\n1. Open `a.py`. It is\n   empty.\n2. Type.\n   - `b`: a name. More."
    [[_, shown, notes]] = pages(of_cells("# T", items))
    assert shown == "Do this:\n\n1. Open `a.py`.\n2. Type.\n   - `b`: a name."
    assert notes == "notes: It is\n   empty.\n\nMore."


@pytest.mark.parametrize(
    "seen", ["1. one", "| a | b |\n|---|---|\n| 1 | 2 |", "![A](a.png)", "```\na\n\nb\n```"]
)
def test_lists_tables_pictures_and_code_are_on_the_slide(seen):
    [page] = pages(of_cells("# Title", CODE("1"), f"Said.\n\nLook:\n\n{seen}\n\nSaid too."))
    assert page == ["# Title", "1", f"Look:\n\n{seen}", "notes: Said.\n\nSaid too."]


def test_pages_are_filled_and_exercises_and_sections_for_the_curious_are_left_out():
    for cells, lengths in [
        (map(CODE, [TEN, TEN, TEN, TEN]), [3, 2]),
        (map(CODE, [TEN, TEN, "b = 1", TEN]), [3, 2]),
        ((CODE(TEN), CODE("b", outputs=[FIGURE]), CODE("c")), [2, 2]),
    ]:
        assert [len(page) for page in pages(of_cells("# T", *cells))] == lengths
    cells = ["## Exercises", "Try.", CODE("x"), "## Exercise 04.1", "Do.", CODE("answer = ...")]
    cells += ["## Recap", "## For the curious: why?", CODE("x")]
    assert pages(of_cells(*cells)) == [["## Exercises", "Try."], ["## Recap"]]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_slides_of_a_notebook_start_with_what_you_will_do_and_no_page_is_one_line(file):
    notebook = nbformat.read(file, as_version=4)
    made = pages(notebook)
    title = [text for text in made[0] if not text.startswith("notes: ")]
    assert title[0].startswith("# ")
    assert "You will" in title[-1]
    assert len(made) < 42
    lines = {cell.source for cell in notebook.cells if slides.is_line(cell)}
    for page in made:
        assert any(not text.startswith("notes: ") and text not in lines for text in page), page
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and slides.HEADING.match(cell.source):
            assert "\n" not in cell.source.strip(), "a heading needs its own cell"


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The address of a JupyterLab, as `start --present` runs it, with every notebook's slides."""
    folder = tmp_path_factory.mktemp("present")
    (folder / "notebooks").mkdir()
    for file in FILES:
        shutil.copy(file, folder / "notebooks")
    shown = of_cells(
        *("# 04 · A title", "You read this. You say this **aloud**.", "- you show a list"),
        CODE("print(6 * 7)\n" + "# so\n" * 22),
    )
    shown.metadata["language_info"] = {"name": "python"}  # so JupyterLab finds a kernel
    with pytest.MonkeyPatch.context() as patch, start.large_type() as settings:
        patch.setenv(BASE, str(folder))
        slides.make_slides()
        nbformat.write(slides.as_slides(shown), folder / "slides" / "a_title.ipynb")
        with start.lab_server(free_port(), "secret", "http://127.0.0.1:8000", settings) as server:
            yield server.wait_until_ready().url
    assert not settings.exists(), "they end with the talk"


@pytest.mark.slow
def test_slides_are_shown_step_by_step_with_notes_and_code_runs(context, lab):
    trouble = watch(context)
    context.set_default_timeout(60_000)
    page = context.new_page()
    page.set_viewport_size({"width": 1280, "height": 720})
    page.goto(f"{lab}/rise/slides/a_title.ipynb?token=secret")
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

    page.goto(f"{lab}/lab/tree/notebooks/00_start_here.ipynb?token=secret")
    prose = page.locator(".jp-RenderedMarkdown p").first
    expect(prose).to_have_css("font-size", "22px", timeout=60_000)
    expect(prose).not_to_have_css("max-width", "none")  # our style sheet comes after JupyterLab's
    width = prose.evaluate("e => parseFloat(getComputedStyle(e).maxWidth)")
    assert width < 50 * 22, "a line has about 90 letters, of half that width each"
    expect(page.locator(".jp-TableOfContents")).to_be_visible()
    assert [each for each in trouble if "leaves this machine" in each] == []


# Lays out every page, with all its fragments, and returns the heights.
HEIGHTS = """() => [...document.querySelectorAll(".slides > section > section")].map(page => {
    for (const each of [page.parentElement, page]) { each.hidden = false; each.style.display = "block" }
    for (const each of page.querySelectorAll(".fragment")) each.classList.add("visible")
    return [page.id, page.scrollHeight]
})"""


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_no_page_is_taller_than_the_projector(context, lab, file):
    context.set_default_timeout(60_000)
    page = context.new_page()
    page.set_viewport_size({"width": 1280, "height": 720})
    page.goto(f"{lab}/rise/slides/{file.name}?token=secret")
    expect(page.locator("section.present section.present")).to_have_count(1, timeout=60_000)
    expected = len(pages(nbformat.read(file, as_version=4)))
    expect(page.locator(".slides > section > section")).to_have_count(expected)
    page.wait_for_load_state("networkidle")
    heights = dict(page.evaluate(HEIGHTS))
    assert min(heights.values()) > 0
    expect(page.locator(".jp-OutputArea-output img:not([alt])")).to_have_count(0)
    assert {name: height for name, height in heights.items() if height > 720} == {}
