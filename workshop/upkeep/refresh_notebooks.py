"""Runs notebooks and stores their outputs, so that what a notebook shows is what it does today."""

import logging
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from workshop.core.errors import WorkshopError
from workshop.core.files import write_whole
from workshop.host.start import draw_sharply

CELL_LIMIT = 300  # seconds


class NotebookFailed(WorkshopError):
    """A cell of a notebook raised an error that the notebook does not expect."""


def run(notebook: nbformat.NotebookNode, folder: Path, name: str) -> None:
    """Run a notebook in `folder`, from top to bottom in a new kernel; its outputs are put into it.

    Raises `NotebookFailed`, which names the cell of the notebook called `name`.
    """
    # The kernel's log would hold that it listens on 127.0.0.1, and a traceback of what Ctrl-C has stopped
    # in it. The errors of cells come another way.
    quiet = {"record_timing": False, "extra_arguments": ["--IPKernelApp.log_level=50"]}
    quiet["coalesce_streams"] = (
        True  # what a cell prints is one output, however often it was flushed
    )
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
        # It may report a task that waits for the kernel.
        logging.getLogger("asyncio").disabled = True
        raise


def refresh(file: Path) -> None:
    """Run a notebook and store its outputs in it; if it fails, the file stays as it was."""
    draw_sharply()
    notebook = nbformat.read(file, as_version=4)
    run(notebook, file.parent, file.name)
    # Every version of Python would write its own number here, in files that are otherwise the same.
    notebook.metadata["language_info"] = {"name": "python"}
    write_whole(file, f"{nbformat.writes(notebook)}\n".encode())
