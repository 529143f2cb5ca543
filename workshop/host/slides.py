"""The notebooks as slides for a projector. `start --present` makes them from the current notebooks.

They go into the folder `slides` next to `notebooks`, so the relative paths in the cells work there too.
"""

import math
import re
from collections.abc import Iterator

from nbformat import NotebookNode, from_dict, read, writes
from nbformat.v4 import new_markdown_cell

from workshop.core.files import write_whole
from workshop.core.stages import STAGES, base

FOLDER = "slides"
HEADING = re.compile(r"#{1,6} ")
# A list, a table, a picture or a block of code: the audience sees these, and hears the rest.
SEEN = re.compile(r"^ *(?:[-*]|\d+\.) |^\||!\[|^```", re.MULTILINE)
ITEM = re.compile(r"^(?= *(?:[-*]|\d+\.) )", re.MULTILINE)
SENTENCE = re.compile(r"(?<=[.!?])\)?\s+(?=[A-Z*`(\[])")
SHOW = re.compile(r"(?:from workshop import show\s+)?show\([^)]*\)")
LONGEST_LEAD = 160  # characters; a longer sentence goes to the speaker notes

# Heights, in lines of code in labconfig's style: a page of 1280 × 720 pixels, and what is on it.
PAGE = 28
HEADING_LINES, PROSE_LINE, ROW, FIGURE, DRAWING, AROUND = 2.6, 1.4, 1.3, 22, 15, 0.8
LETTERS = 95  # per line of prose


def make_slides() -> None:
    """Write the slides of every notebook."""
    for file in (file for stage in STAGES for file in stage.notebook_files):
        if file.is_file():
            slides = as_slides(read(file, as_version=4))
            write_whole(base() / FOLDER / file.name, writes(slides).encode())


def as_slides(notebook: NotebookNode) -> NotebookNode:
    """Return a notebook with each cell marked for a slide show.

    A heading starts a slide, with the first sentence below it, which answers the heading. Code, outputs,
    lists and pictures follow step by step, as many as fit on a page; the rest goes on a page below. Only the
    first sentence of a list item is shown. The presenter says the rest of the prose, so it goes to the
    speaker notes. Exercises, sections for the curious and cells whose slide type is "skip" are left out.
    """
    slides = from_dict({**notebook, "cells": []})
    skipped = {"slide_type": "skip"}
    cells = [cell for cell in notebook.cells if cell.metadata.get("slideshow") != skipped]
    for section in sections(cells):
        begin, *rest = section
        if re.match(r"#+ (?:Exercise \d|For the curious)", begin.source):
            continue
        parts = [part for cell in rest for part in split(cell, is_lead=cell is rest[0])]
        if re.match(r"#+ Exercises", begin.source):
            parts = [(kind, cell) for kind, cell in parts if cell.cell_type == "markdown"]
        slides.cells += [marked(begin, "slide"), *paged(parts)]
    return slides


def sections(cells: list[NotebookNode]) -> Iterator[list[NotebookNode]]:
    """Yield each heading with the cells below it."""
    found: list[NotebookNode] = []
    for cell in cells:
        if found and cell.cell_type == "markdown" and HEADING.match(cell.source):
            yield found
            found = []
        found.append(cell)
    yield found


def split(cell: NotebookNode, is_lead: bool) -> Iterator[tuple[str, NotebookNode]]:
    """Yield the parts of a cell, each with `lead`, `shown` or `notes`."""
    if cell.cell_type != "markdown":
        yield "shown", cell
        return
    shown, heard, blocks = [], [], blocks_of(cell.source)
    for place, block in enumerate(blocks):
        after = "".join(blocks[place + 1 : place + 2])
        introduces = block.endswith((":", "*")) and len(block) <= LONGEST_LEAD
        if SEEN.search(block) or (introduces and SEEN.search(after)):
            block, rest_of_items = first_sentences(block)
            shown.append(block)
            heard.append(rest_of_items)
            continue
        lead, *rest = SENTENCE.split(block, maxsplit=1)
        if is_lead and place == 0 and len(lead) <= LONGEST_LEAD:
            yield "lead", part_of(cell, "lead", lead)
            block = "".join(rest)
        heard.append(block)
    for kind, texts in (("shown", shown), ("notes", heard)):
        if text := "\n\n".join(filter(None, texts)):
            yield kind, part_of(cell, kind, text)


def first_sentences(block: str) -> tuple[str, str]:
    """Return a block with only the first sentence of each list item, and the rest of the items."""
    before, *items = ITEM.split(block)
    if "```" in block or not items:
        return block, ""
    leads, rests = [before] if before else [], []
    for item in items:
        marker, text = item[: item.index(" ", len(item) - len(item.lstrip())) + 1], item.lstrip()
        lead, *rest = SENTENCE.split(text.partition(" ")[2].rstrip(), maxsplit=1)
        leads.append(f"{marker}{lead}\n")
        rests += rest
    return "".join(leads).rstrip(), "\n\n".join(rests)


def blocks_of(text: str) -> list[str]:
    """Return the blocks of Markdown between empty lines; a fenced code block is one block."""
    found: list[str] = []
    for block in re.split(r"\n{2,}", text):
        if found and found[-1].count("```") % 2:
            found[-1] += f"\n\n{block}"
        else:
            found.append(block)
    return found


def part_of(cell: NotebookNode, kind: str, text: str) -> NotebookNode:
    """Return a new cell with part of a cell's prose."""
    attachments = {"attachments": cell.attachments} if "attachments" in cell else {}
    return new_markdown_cell(text, id=f"{cell.id}-{kind}"[-64:], **attachments)


def paged(parts: list[tuple[str, NotebookNode]]) -> Iterator[NotebookNode]:
    """Yield the cells below a heading, each marked with its slide type."""
    height, is_first = HEADING_LINES, True
    shown = [cell for kind, cell in parts if kind == "shown"]
    for kind, cell in parts:
        if kind != "shown":
            height += lines(cell) if kind == "lead" else 0
            yield marked(cell, "-" if kind == "lead" else "notes")
            continue
        # One line of code isn't a page: it stays with the next cell, and a last one with the cell before.
        shown.pop(0)
        stays = shown and (is_line(cell) or (len(shown) == 1 and is_line(shown[0])))
        together = lines(cell) + (lines(shown[0]) if stays else 0)
        overflows = height + (together if together < PAGE else lines(cell)) > PAGE
        begins = overflows and not (is_first and height <= HEADING_LINES)
        height, is_first = (lines(cell) if begins else height + lines(cell)), False
        yield marked(cell, "subslide" if begins else "fragment")


def is_line(cell: NotebookNode) -> bool:
    """Return whether a cell is one line of code that prints nothing."""
    return cell.cell_type == "code" and "\n" not in cell.source.strip() and not cell.outputs


def is_source_hidden(cell: NotebookNode) -> bool:
    """Return whether only a cell's output is shown: a figure, or the code that `show` prints."""
    figure = any("image/png" in output.get("data", {}) for output in cell.get("outputs", []))
    return figure or bool(SHOW.fullmatch(cell.source.strip()))


def lines(cell: NotebookNode) -> float:
    """Return the height of a cell on a slide, in lines of code."""
    if cell.cell_type == "markdown":
        written = [line for line in cell.source.split("\n") if line.strip()]
        return AROUND + sum(
            DRAWING if line.startswith("![") else PROSE_LINE * math.ceil(len(line) / LETTERS)
            for line in written
        )
    data = [output.get("data", {}) for output in cell.outputs]
    if any("image/png" in each for each in data):
        return FIGURE
    height = 0 if is_source_hidden(cell) else AROUND + len(cell.source.splitlines())
    for output, each in zip(cell.outputs, data, strict=True):
        if "text/html" in each:
            height += AROUND + ROW * each["text/html"].count("<tr")
        else:
            height += AROUND + len(
                f"{output.get('text') or each.get('text/plain', '')}".splitlines()
            )
    return height


def marked(cell: NotebookNode, kind: str) -> NotebookNode:
    """Return a copy of a cell with its slide type."""
    metadata = {**cell.metadata, "slideshow": {"slide_type": kind}}
    if cell.cell_type == "code" and is_source_hidden(cell):
        metadata["jupyter"] = {"source_hidden": True}
    return from_dict({**cell, "metadata": metadata})
