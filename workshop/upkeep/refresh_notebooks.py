"""Runs notebooks and stores their outputs, so that what a notebook shows is what it does today.

It also marks every cell for a slide show (`workshop start --present`), by one rule, so that nobody has
to mark by hand.
"""

import logging
import re
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from workshop.core.errors import WorkshopError
from workshop.core.files import write_whole

CELL_LIMIT = 300  # seconds
HEADING = re.compile(r"#{1,6} ")
# A list, a table, a picture or a block of code: a room looks at these, and hears the rest.
LOOKED_AT = re.compile(r"^ *(?:[-*]|\d+\.) |^\||!\[|^```", re.MULTILINE)


class NotebookFailed(WorkshopError):
    """A cell of a notebook raised an error that the notebook does not expect."""


def run(notebook: nbformat.NotebookNode, folder: Path, name: str) -> None:
    """Run a notebook in `folder`, from top to bottom in a new kernel; its outputs are put into it.

    Raises `NotebookFailed`, which names the cell of the notebook called `name`.
    """
    # The kernel's log would hold that it listens on 127.0.0.1, and a traceback of what Ctrl-C has stopped
    # in it. The errors of cells come another way.
    quiet = {"record_timing": False, "extra_arguments": ["--IPKernelApp.log_level=50"]}
    client = NotebookClient(notebook, timeout=CELL_LIMIT, kernel_name="python3", **quiet)
    try:
        # Not `execute`, which takes Ctrl-C for itself and then fails with an error of its own.
        with client.setup_kernel(cwd=str(folder)):
            for index, cell in enumerate(notebook.cells):
                client.execute_cell(cell, index, client.code_cells_executed + 1)
    except CellExecutionError as error:
        number = sum(cell.get("execution_count") is not None for cell in notebook.cells)
        raise NotebookFailed(
            f"{name}: code cell {number} raised {error.ename}: {error.evalue}"
        ) from error
    except KeyboardInterrupt:
        logging.getLogger(
            "asyncio"
        ).disabled = True  # it may report a task that waits for the kernel
        raise


def mark_slides(notebook: nbformat.NotebookNode) -> None:
    """Mark each cell with its part in a slide show; marking once more changes nothing.

    A heading begins a slide, and the first thing to look at below it appears there at the next step.
    Whatever else there is to look at, code with its output above all, gets a slide of its own below that
    one. Prose is what the presenter says: it becomes the speaker notes of the slide it follows.
    """
    shows_something = True  # the slide so far: what comes before any heading begins one too
    for cell in notebook.cells:
        is_prose = cell.cell_type == "markdown"
        if is_prose and HEADING.match(cell.source):
            kind, shows_something = "slide", False
        elif is_prose and not LOOKED_AT.search(cell.source):
            kind = "notes"
        else:
            kind = "subslide" if shows_something else "fragment"
            shows_something = True
        cell.metadata["slideshow"] = {"slide_type": kind}


def refresh(file: Path) -> None:
    """Run a notebook, store its outputs in it and mark its slides; if it fails, the file stays as it was."""
    notebook = nbformat.read(file, as_version=4)
    run(notebook, file.parent, file.name)
    mark_slides(notebook)
    # Every version of Python would write its own number here, in files that are otherwise the same.
    notebook.metadata["language_info"] = {"name": "python"}
    write_whole(file, f"{nbformat.writes(notebook)}\n".encode())
