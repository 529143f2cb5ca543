"""Fuzz the APIs of the stages that have a model: run schemathesis against the served apps.

    python tests/fuzz/run_fuzz.py [--schemathesis "uvx schemathesis"] [--cases 2000] [STAGE ...]

Trains each stage's model into a temporary folder, serves the app on a free port of this machine,
and lets the fuzzer ask what its schema allows and forbids, with all checks. Ends with 1 if anything
is found, or if fewer than the asked cases were run. Stage 05 describes itself; stage 04 has a schema written
for this test, `tests/iris_openapi.json`. schemathesis is not in the lock: give the command that runs it.
"""

import argparse
import re
import shlex
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from werkzeug.serving import WSGIRequestHandler, make_server

from workshop import datasets
from workshop.stages import Stage, find_stage, load_app_module, load_module

TESTS = Path(__file__).resolve().parents[1]
# Where the fuzzer finds each stage's schema: a file, or a path of the app. The figure is the share of the
# asked cases each operation gets; the fuzzer stops early at operations with nothing to vary.
SCHEMAS = {
    "04_iris": (str(TESTS / "iris_openapi.json"), 1.2),
    "05_census": ("/openapi/openapi.json", 0.6),
}


class Quiet(WSGIRequestHandler):
    """No line per request: there are thousands."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Leave it out."""


@contextmanager
def served(stage: Stage, folder: Path) -> Iterator[str]:
    """Serve the app of `stage` with a model made in `folder`; give its address."""
    model = load_module(stage, f"{stage.model}_model")
    model.save(*model.train(getattr(datasets, stage.dataset)()), folder)
    app = load_app_module(stage.slug).create_app({"MODEL_FOLDER": folder})
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def fuzz(stage: Stage, command: list[str], cases: int, seed: int | None) -> bool:
    """Run the fuzzer on one stage and say whether it ran all its cases and found nothing."""
    schema, share = SCHEMAS[stage.slug]
    with tempfile.TemporaryDirectory() as folder, served(stage, Path(folder)) as url:
        location = [url + schema] if schema.startswith("/openapi") else [schema, "--url", url]
        run = [*command, "run", *location, "--checks", "all", "--no-color"]
        run += ["--max-examples", str(int(cases * share)), "--request-timeout", "10"]
        run += ["--seed", str(seed)] if seed is not None else []
        finished = subprocess.run(
            run, cwd=folder, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )
    print(finished.stdout, flush=True)
    counted = re.search(r"([\d,]+) generated", finished.stdout)
    done = int(counted[1].replace(",", "")) if counted else 0
    good = finished.returncode == 0 and done >= cases
    print(
        f"{stage.slug}: {done:,} cases (asked for {cases:,}), {'nothing found' if good else 'FAILED'}"
    )
    return good


def main() -> int:
    """Fuzz the asked stages, or all; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stages", nargs="*", default=list(SCHEMAS), metavar="STAGE")
    parser.add_argument(
        "--schemathesis", default="uvx schemathesis", help="the command that runs it"
    )
    parser.add_argument("--cases", type=int, default=2000, help="the least number for each stage")
    parser.add_argument("--seed", type=int, help="to repeat a run; it prints its own")
    options = parser.parse_args()
    # shlex takes backslashes for escapes, so a path of Windows goes through as it is.
    command = (
        [options.schemathesis]
        if Path(options.schemathesis).exists()
        else shlex.split(options.schemathesis)
    )
    stages = [find_stage(each) for each in options.stages]
    return 0 if all([fuzz(stage, command, options.cases, options.seed) for stage in stages]) else 1


if __name__ == "__main__":
    sys.exit(main())
