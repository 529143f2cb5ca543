"""Score on the workers of a Dask cluster, when one machine is not enough.

The workers may be other machines that have the packages in requirements.txt but not this folder, so we send
them the stage's own modules, and the model with each chunk. Anyone who can reach a Dask scheduler can run any
code on its workers: keep a cluster on a network that you trust.
"""

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from importlib.metadata import version
from pathlib import Path
from typing import Any

from workshop.core.errors import WorkshopError

PATIENCE = 10  # seconds to wait for the scheduler
OURS = version("scikit-learn")  # on this machine
REMEDY = "install requirements.txt on them."


class ClusterFailed(WorkshopError):
    """A Dask cluster can't be used."""


@contextlib.contextmanager
def cluster(address: str, folder: Path) -> Iterator[Callable[..., Iterator[tuple[Any, Any]]]]:
    """Yield a function like `score.run_here` that uses the cluster at `address` and the modules in `folder`.

    Raises `ClusterFailed` if Dask isn't installed, no scheduler responds, or the workers can't do the work.
    """
    try:
        from distributed import Client, KilledWorker

        client = Client(address, timeout=PATIENCE, set_as_default=False)
    except ImportError as error:
        raise ClusterFailed(
            "Dask is not installed: install it into the workshop's environment with "
            "`.venv/bin/python -m uv pip install distributed` (on Windows `.venv\\Scripts\\python`)."
        ) from error
    except (OSError, ValueError) as error:
        remedy = "start one with `dask scheduler`, and use the address it prints."
        raise ClusterFailed(f"No Dask scheduler is responding at {address}: {remedy}") from error

    def run_there(score_rows: Any, chunks: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        # The queue is long enough to keep the workers busy, and short enough to fit in memory.
        queue, most = deque(), 2 * sum(client.nthreads().values())
        for chunk in chunks:
            queue.append((chunk, client.submit(score_rows, [row for _, row in chunk], pure=False)))
            if len(queue) >= most:
                chunk, answer = queue.popleft()
                yield chunk, answer.result()
        for chunk, answer in queue:
            yield chunk, answer.result()

    with client:
        prepare_workers(client, address, folder)
        try:
            yield run_there
        except (KilledWorker, CancelledError) as error:
            raise ClusterFailed(
                "The cluster lost a chunk of rows: check its logs, then score the file again."
            ) from error


def prepare_workers(client: Any, address: str, folder: Path) -> None:
    """Send a stage's modules, except its app, to all workers, including those that join later.

    Raises `ClusterFailed` if there are no workers, or their packages differ from the ones installed here.
    """
    found = client.run(version, "scikit-learn", on_error="return")
    if not found:
        raise ClusterFailed(f"The cluster has no workers: start some with `dask worker {address}`.")
    if others := ", ".join(sorted(set(map(str, found.values())) - {OURS})):
        raise ClusterFailed(f"The workers have scikit-learn {others} instead of {OURS}: {REMEDY}")
    try:
        for load in (False, True):  # upload all of them before loading one that imports another
            for file in sorted(folder.glob("*_*.py")):
                client.upload_file(str(file), load=load)
    except ImportError as error:
        raise ClusterFailed(
            f"The cluster's workers are missing a package ({error}): {REMEDY}"
        ) from error
