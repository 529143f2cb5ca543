"""Ends a worker all of whose threads wait for slow clients, so that a new one takes its place.

granian gives a request to a thread once its first lines are there. The thread then reads the body, which
waits until the client has sent it, and nothing in Python can end that. So a few clients that send a byte now
and then would keep a server for ever. A worker that nobody can ask anything any more has nothing to lose:
it ends, its slow clients with it, and granian's main process starts another.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

BODY_SECONDS = "WORKSHOP_BODY_SECONDS"  # the variable that sets the limit
BODY_LIMIT = 15.0  # seconds; a full batch comes through a room's wifi in less

log = logging.getLogger(__name__)


class Patience:
    """A WSGI application whose worker ends when `threads` reads have waited longer than the limit."""

    def __init__(self, application: Callable, threads: int) -> None:
        self._application = application
        self._threads = threads
        self._limit = float(os.environ.get(BODY_SECONDS, BODY_LIMIT))
        self._waiting: dict[int, float] = {}  # by thread: since when it waits
        threading.Thread(target=self._watch, name="patience", daemon=True).start()

    def __call__(self, environ: dict[str, Any], start_response: Callable) -> Iterable[bytes]:
        environ["wsgi.input"] = Body(environ["wsgi.input"], self._waiting)
        return self._application(environ, start_response)

    def _watch(self) -> None:
        while True:
            time.sleep(self._limit / 10)
            began = sorted(self._waiting.copy().values())
            if len(began) == self._threads and time.monotonic() - began[-1] > self._limit:
                log.error(
                    "All threads of a worker wait for slow clients, so it ends: a new one starts"
                )
                os._exit(1)


class Body:
    """The body of a request. It notes since when its thread waits for it."""

    def __init__(self, stream: Any, waiting: dict[int, float]) -> None:
        self._stream = stream
        self._waiting = waiting

    def read(self, *size: int) -> bytes:
        return self._wait(self._stream.read, *size)

    def readline(self, *size: int) -> bytes:
        return self._wait(self._stream.readline, *size)

    def readlines(self, *hint: int) -> list[bytes]:
        return self._wait(self._stream.readlines, *hint)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.readline, b"")

    def _wait(self, read: Callable, *arguments: int) -> Any:
        thread = threading.get_ident()
        self._waiting[thread] = time.monotonic()
        try:
            return read(*arguments)
        finally:
            del self._waiting[thread]
