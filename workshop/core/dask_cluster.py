"""When one machine is not enough: the same scoring on the workers of a Dask cluster.

Dask is no part of the set-up; `python3 -m uv pip install distributed` in the workshop's environment adds it.
The workers may be other machines, which have the packages of requirements.txt but not this folder: so they
are sent the stage's own modules, and the model. Whoever can speak to a Dask scheduler can run any code on its
workers, so a cluster belongs into a network that you trust.
"""

import collections
import contextlib
import copy
import importlib.metadata
import io
import zipfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from workshop.core.errors import WorkshopError

PATIENCE = 10  # seconds to wait for the scheduler


class ClusterFailed(WorkshopError):
    """A Dask cluster can't be used."""


@contextlib.contextmanager
def cluster(address: str, folder: Path) -> Iterator[Callable[..., Iterator[tuple[Any, Any]]]]:
    """Give a function that judges chunks on the cluster at `address`, with the modules in `folder`.

    Raises `ClusterFailed` if Dask is not installed, nothing answers, or the workers can't do the work.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise ClusterFailed(
            "Dask is not installed: install it into the workshop's environment with "
            "`.venv/bin/python -m uv pip install distributed` (on Windows `.venv\\Scripts\\python`)."
        ) from error
    try:
        client = Client(address, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ClusterFailed(
            f"No Dask scheduler answers at {address}: start one with `dask scheduler`, and give the "
            "address that it prints."
        ) from error
    with client:
        require_workers(client, address)
        send_modules(client, folder)

        def judge(
            function: Callable[..., Any], model: Any, header: list[str], chunks: Iterable[Any]
        ) -> Iterator[tuple[Any, Any]]:
            """Give each chunk and what `function` says of its rows, in the chunks' order."""
            # As the result of a task: what a worker held that has gone is made again elsewhere. Data
            # that is scattered would be gone with it.
            there = client.submit(copy.copy, model, pure=False)
            # Enough to keep all workers busy, and so few that the memory here stays the same.
            most = 2 * sum(client.nthreads().values())
            waiting = collections.deque()
            for chunk in chunks:
                answer = client.submit(function, there, header, chunk.rows, pure=False)
                waiting.append((chunk, answer))
                if len(waiting) >= most:
                    chunk, answer = waiting.popleft()
                    yield chunk, result_of(answer)
            for chunk, answer in waiting:
                yield chunk, result_of(answer)

        yield judge


def result_of(answer: Any) -> Any:
    """What a worker has answered. Raises `ClusterFailed` if the cluster has lost it."""
    from distributed import KilledWorker

    try:
        return answer.result()
    except KilledWorker as error:
        raise ClusterFailed(
            "A chunk has ended several of the cluster's workers: look into their logs."
        ) from error
    except (CancelledError, OSError) as error:  # the latter when the connection breaks
        raise ClusterFailed(
            "The cluster's scheduler has gone: start it anew, and run this again."
        ) from error


def version_here() -> str:
    """The version of scikit-learn that is installed on this machine."""
    return importlib.metadata.version("scikit-learn")


def require_workers(client: Any, address: str) -> None:
    """Raise `ClusterFailed` unless there are workers, with the scikit-learn that is installed here."""
    found = client.run(importlib.metadata.version, "scikit-learn", on_error="return")
    if not found:
        raise ClusterFailed(f"The cluster has no workers: start some with `dask worker {address}`.")
    ours = version_here()
    others = {str(version) for version in found.values()} - {ours}
    if others:
        raise ClusterFailed(
            f"The cluster's workers have scikit-learn {', '.join(sorted(others))} instead of {ours}: "
            "install requirements.txt on them."
        )


def send_modules(client: Any, folder: Path) -> None:
    """Send the modules of a stage, all but its app, to the workers that are there and those to come."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for file in sorted(folder.glob("*.py")):
            if file.stem != "app":
                # A fixed date, so that the same modules are the same archive.
                archive.writestr(zipfile.ZipInfo(file.name), file.read_bytes())
    # The name changes with the content: Python would take another archive of this name for read already.
    name = f"{folder.name}_{sha256(packed.getvalue()).hexdigest()[:12]}.zip"
    with TemporaryDirectory() as place:
        path = Path(place, name)
        path.write_bytes(packed.getvalue())
        try:
            client.upload_file(str(path))
        except ImportError as error:
            raise ClusterFailed(
                f"The cluster's workers lack a package ({error}): install requirements.txt on them."
            ) from error
