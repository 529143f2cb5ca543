"""Runs notebooks and stores their outputs, so that the outputs match the code."""

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
    """Run a notebook in `folder`, from top to bottom in a new kernel, and store its outputs in it.

    Raises `NotebookFailed`, whose message has the notebook's `name` and the cell's number.
    """
    client = NotebookClient(
        notebook,
        timeout=CELL_LIMIT,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,  # a cell's printed lines are one output, even if they were flushed
        # The kernel's log isn't for learners; errors in cells don't go through it.
        extra_arguments=["--IPKernelApp.log_level=50"],
    )
    try:
        # Not `execute`, which catches Ctrl-C and then fails with a different error.
        with client.setup_kernel(cwd=str(folder)):
            for index, cell in enumerate(notebook.cells):
                client.execute_cell(cell, index, client.code_cells_executed + 1)
    except CellExecutionError as error:
        number = sum(cell.get("execution_count") is not None for cell in notebook.cells)
        raise NotebookFailed(
            f"{name}: code cell {number} raised {error.ename}: {error.evalue}"
        ) from error
    except KeyboardInterrupt:
        # Otherwise it reports a task that is still waiting for the kernel.
        logging.getLogger("asyncio").disabled = True
        raise


def refresh(file: Path) -> None:
    """Run a notebook and store its outputs in the file; if a cell fails, the file isn't changed."""
    draw_sharply()
    notebook = nbformat.read(file, as_version=4)
    run(notebook, file.parent, file.name)
    # Each Python version would write its number here, and files would differ for no other reason.
    notebook.metadata["language_info"] = {"name": "python"}
    write_whole(file, f"{nbformat.writes(notebook)}\n".encode())
