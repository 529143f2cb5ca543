"""Runs a copy's app in a thread of this process, for the many tests that change an app in a small way.

A process of its own spends seconds on importing scikit-learn. One test for each exercise, and each that
is about an app which does not start, runs the app as a learner's `check` does.
"""

import importlib
import io
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest
from exercise_support import Copy
from werkzeug import security
from werkzeug.serving import make_server

from workshop.core.stages import find_stage
from workshop.host import background


class ThreadServer:
    """What a check asks of `workshop.host.background.Server`: where it listens, and the end of its log."""

    def __init__(self, url: str, log: io.StringIO) -> None:
        self.url = url
        self.log = log

    def log_end(self, lines: int) -> str:
        return "\n".join(self.log.getvalue().splitlines()[-lines:])


@contextmanager
def modules_of(copy: Copy) -> Iterator[None]:
    """Let imports find the modules of the copy, in place of those of the original app."""
    names = [file.stem for file in copy.app.glob("*.py")]
    originals = {name: sys.modules.pop(name) for name in names if name in sys.modules}
    sys.path.insert(0, str(copy.app))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(str(copy.app))
        for name in names:
            sys.modules.pop(name, None)
        sys.modules.update(originals)


@pytest.fixture
def quickly(monkeypatch):
    """`quickly(copy)` lets `check` run the app of this copy in a thread of this process."""

    def prepare(copy: Copy) -> None:
        @contextmanager
        def running_app(stage: str) -> Iterator[ThreadServer]:
            with modules_of(copy):
                app = importlib.import_module("app").create_app()
                if find_stage(stage).database:
                    made = app.test_cli_runner().invoke(args=["init-db"])
                    assert made.exit_code == 0, made.output
                log = io.StringIO()
                handler = logging.StreamHandler(log)
                app.logger.addHandler(handler)
                server = make_server("127.0.0.1", 0, app, threaded=True)
                # It looks for its end every few milliseconds, not every half second.
                thread = threading.Thread(target=server.serve_forever, args=[0.01])
                thread.start()
                try:
                    yield ThreadServer(f"http://127.0.0.1:{server.port}", log)
                finally:
                    server.shutdown()
                    thread.join()
                    server.server_close()
                    app.logger.removeHandler(handler)

        monkeypatch.setattr(background, "running_app", running_app)
        # Hashing a password is slow on purpose. These accounts live for a moment, and nobody attacks them.
        quick = partial(security.generate_password_hash, method="scrypt:1024:8:1")
        monkeypatch.setattr(security, "generate_password_hash", quick)

    return prepare
