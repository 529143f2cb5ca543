"""The notebooks are as `refresh` leaves them, and keep the rules that can be checked."""

import base64
import builtins
import json
import re
import struct
from itertools import pairwise
from statistics import median

import nbformat
import pytest
from notebook_support import names

from workshop.core.stages import STAGES
from workshop.setup.process import ROOT
from workshop.upkeep.refresh_notebooks import NotebookFailed, refresh

FILES = [file for stage in STAGES for file in stage.notebook_files]


@pytest.fixture(params=FILES, ids=lambda file: file.stem)
def notebook(request):
    return nbformat.read(request.param, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_the_stage_table_lists_every_notebook():
    assert sorted((ROOT / "notebooks").glob("*.ipynb")) == sorted(FILES)


def test_a_notebook_is_stored_as_it_ran(notebook):
    # nbval compares nothing where the execution count is missing, and says nothing about it.
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))
    for cell in code_cells(notebook):
        if any(output.output_type == "error" for output in cell.outputs):
            assert "raises-exception" in cell.metadata.get("tags", []), cell.source
        if "show(" in cell.source:
            for output in cell.outputs:
                shown = output.get("data", {}).get("text/plain", "")
                assert len(shown.splitlines()) <= 25, f"longer than a screen: {cell.source}"
    for before, cell in pairwise(notebook.cells):
        if {"nbval-ignore-output", "nbval-skip"} & set(cell.metadata.get("tags", [])):
            assert "compare" in before.source + cell.source, f"the reason is missing: {cell.source}"


def test_a_notebook_is_easy_to_read(notebook):
    """Short cells, its parts in order, and no words that belittle."""
    lengths = [len(cell.source.splitlines()) for cell in code_cells(notebook)]
    assert median(lengths) <= 5
    assert max(lengths) <= 20
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert re.match(r"# \d\d[a-z]? · \w", text)
    parts = ("You will", "You need", "Exercise", "What broke", "Recap")
    places = [text.find(part) for part in parts]
    assert -1 not in places
    assert places == sorted(places)
    assert text.find("Next", places[-1]) > 0
    assert not re.findall(r"\b(?:simply|just)\b", text, flags=re.IGNORECASE)


def test_new_terms_are_few_and_optional_sections_come_last(notebook):
    """At most 20 terms, bold where they are explained, up to the recap; after it, sections that run alone."""
    terms, given, behind = [], set(), False
    for cell in notebook.cells:
        if heading := re.match("## (.+)", cell.source if cell.cell_type == "markdown" else ""):
            assert heading[1].startswith("For the curious") == behind, heading[1]
            behind = behind or heading[1] == "Recap"
            given = set(dir(builtins))
        if cell.cell_type == "code" and behind:
            gives, needs = names(cell.source)
            assert needs <= given, "a section for the curious begins with what it needs"
            given |= gives
        elif cell.cell_type == "markdown" and not behind:
            prose = re.sub("```.*?```|`[^`]*`", "code", cell.source, flags=re.DOTALL)
            terms += re.findall(r"\*\*(.+?)\*\*", prose, flags=re.DOTALL)
    assert behind
    assert len(terms) <= 20, terms
    assert len(set(terms)) == len(terms), "a term is explained once"


def write(file, *sources):
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), file)


FIGURE = """import matplotlib.pyplot as plt
figure, panel = plt.subplots(figsize=(4, 3))
panel.bar(["rose", "tulip"], [1, 2], label="this year")
panel.set(title="Flowers", ylabel="number")
panel.legend()
plt.show()"""


def test_refresh_stores_outputs_that_repeat_and_sharp_figures_with_their_words(tmp_path):
    file = tmp_path / "small.ipynb"
    write(file, "1 + 1", FIGURE)
    refresh(file)
    once = file.read_bytes()
    refresh(file)
    assert file.read_bytes() == once
    assert b"timestamp" not in once
    number, figure = [cell["outputs"][0] for cell in json.loads(once)["cells"]]
    assert number["data"] == {"text/plain": ["2"]}
    drawn = struct.unpack(">II", base64.b64decode(figure["data"]["image/png"])[16:24])
    described = figure["metadata"]["image/png"]
    assert 1.9 < drawn[0] / described["width"] < 2.1
    words = (
        "Title: Flowers. Horizontal axis: rose, tulip. Vertical axis: number. Legend: this year."
    )
    assert described["alt"] == words


def test_every_figure_has_alternative_text():
    figures = [
        output["metadata"]["image/png"]
        for stage in STAGES
        for file in stage.notebook_files
        for cell in nbformat.read(file, as_version=4).cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    assert figures
    assert all(len(figure["alt"]) > 20 for figure in figures)


def test_a_notebook_that_fails_names_its_cell_and_is_not_changed(tmp_path):
    file = tmp_path / "broken.ipynb"
    write(file, "1", "1 / 0", "2")
    before = file.read_bytes()
    with pytest.raises(NotebookFailed, match=r"broken\.ipynb: code cell 2 .* ZeroDivisionError"):
        refresh(file)
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]
