"""`serve` in a separate process group, for the tests of servers."""

import contextlib
import http.client
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest
from app_support import copy_of_folder

from workshop import fetch_census
from workshop.core.build import model_module
from workshop.core.stages import find_stage
from workshop.host.ports import free_port, status_of
from workshop.setup.process import ROOT

RUN = "import sys; from workshop.cli import run; sys.exit(run(sys.argv[1:]))"
posix = pytest.mark.skipif(os.name != "posix", reason="Windows has no such signals and pipes")
PATIENCE = 240  # seconds; nothing here is about speed


@contextlib.contextmanager
def serving(stage, *options, wait=True):
    """`serve STAGE`: the process, its URL, and a function that reads its log."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        with log.open("wb") as opened:
            process = subprocess.Popen(
                [sys.executable, "-c", RUN, "serve", stage, "--port", str(port), *options],
                cwd=ROOT,
                stdout=opened,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        family = psutil.Process(process.pid)
        try:
            if wait:
                until(lambda: status_of(url + "/") is not None or process.poll() is not None)
            yield process, url, lambda: log.read_text(encoding="utf-8")
        finally:
            with contextlib.suppress(psutil.NoSuchProcess):
                for each in [*family.children(recursive=True), family]:
                    each.kill()
            process.wait()


def until(done):
    """Wait until `done()` is true; fail if that takes too long."""
    deadline = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.05)


def get(url, path="/"):
    """The page at an address, requested over a new connection."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=PATIENCE)
    with contextlib.closing(connection):
        connection.request("GET", path)
        return connection.getresponse().read().decode()


def put_stage_05(work):
    """Copy stage 05 into a learner's copy, and train its model."""
    folder, module = (
        copy_of_folder("05_census", work / "apps" / "05_census"),
        model_module(find_stage("05")),
    )
    module.save(*module.train(fetch_census()), folder / "model")
