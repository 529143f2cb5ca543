"""`rehearse` runs an app of stage 07 the way a host does: with `python wsgi.py` and environment variables."""

import contextlib
import os
import runpy
import sys
from collections.abc import Iterator

from workshop.host.background import Server
from workshop.host.ports import free_port


@contextlib.contextmanager
def rehearse(folder: str | os.PathLike[str], **settings: str) -> Iterator[str]:
    """Run the `wsgi.py` in `folder` as a context manager that gives its base URL. Raises `ServerDied`."""
    command, port = [__name__, os.path.realpath(folder)], str(free_port())
    unset = dict.fromkeys(("TRUSTED_NAMES", "TRUSTED_PROXIES", "PREDICTION_LOG"), "")
    environ = unset | {"HOST": "127.0.0.1", "PORT": port} | settings
    with Server("the app", command, f"http://127.0.0.1:{port}", environ) as server:
        yield server.wait_until_ready().url


if __name__ == "__main__":
    os.chdir(sys.argv[1])
    sys.path.insert(0, sys.argv[1])
    runpy.run_path("wsgi.py", run_name="__main__")
