"""Runs notebooks and stores their outputs, so that what a notebook shows is what it does today."""

from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from workshop.errors import WorkshopError

CELL_LIMIT = 300  # seconds


class NotebookFailed(WorkshopError):
    """A cell of a notebook raised an error that the notebook does not expect."""


def run(notebook: nbformat.NotebookNode, folder: Path, name: str) -> None:
    """Run a notebook in `folder`, from top to bottom in a new kernel; its outputs are put into it.

    Raises `NotebookFailed`, which names the cell of the notebook called `name`.
    """
    client = NotebookClient(
        notebook,
        timeout=CELL_LIMIT,
        kernel_name="python3",
        record_timing=False,
        extra_arguments=[
            "--IPKernelApp.log_level=40"
        ],  # errors only: not that it listens on 127.0.0.1
        resources={"metadata": {"path": str(folder)}},
    )
    try:
        client.execute()
    except CellExecutionError as error:
        number = sum(cell.get("execution_count") is not None for cell in notebook.cells)
        raise NotebookFailed(
            f"{name}: code cell {number} raised {error.ename}: {error.evalue}"
        ) from error


def refresh(file: Path) -> None:
    """Run a notebook and store its outputs in it; if it fails, the file stays as it was."""
    notebook = nbformat.read(file, as_version=4)
    run(notebook, file.parent, file.name)
    # Every version of Python would write its own number here, in files that are otherwise the same.
    notebook.metadata["language_info"] = {"name": "python"}
    part = file.with_suffix(".part")
    try:
        with part.open("w", encoding="utf-8", newline="\n") as target:
            nbformat.write(notebook, target)
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
