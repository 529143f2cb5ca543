"""Fuzz the APIs of the stages that have a model: run schemathesis against the served apps.

    python tools/fuzz.py [--schemathesis "uvx schemathesis"] [--cases 2000] [STAGE ...]

Trains each stage's model in a temporary folder, serves the app on a free port, and lets the fuzzer send what
the app's schema allows and forbids, with all checks. Stage 06 has its own database and is fuzzed twice: with
a token and without. Ends with 1 if anything is found, or if fewer cases were run than asked for. Stages 05
and 06 describe themselves; stage 04 has a schema written for this test, `tools/iris_openapi.json`.
schemathesis isn't in the lock: give the command that runs it. The runs go in parallel, because each spends
half of its time waiting for answers.
"""

import argparse
import logging
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

from werkzeug.serving import make_server

from workshop.core import datasets
from workshop.core.stages import Stage, find_stage, load_app_module, load_module
from workshop.learn.exercises import ChangedApp
from workshop.learn.exercises.housing import new_account

HERE = Path(__file__).resolve().parent


class Run(NamedTuple):
    """One run of the fuzzer.

    `share` is the part of the cases for each operation; the fuzzer stops early at one with nothing to vary.
    """

    slug: str
    share: float
    token: bool = False


RUNS = [
    Run("04_iris", 1.2),
    Run("05_census", 0.6),
    Run("06_housing", 0.3),
    Run("06_housing", 0.3, token=True),
]


@contextmanager
def served(stage: Stage, folder: Path) -> Iterator[str]:
    """Serve a stage's app, with a model and a database made in `folder`; yield its URL."""
    model = load_module(stage, f"{stage.model}_model")
    model.save(*model.train(getattr(datasets, stage.dataset)()), folder)
    config = {"MODEL_FOLDER": folder, "INSTANCE_FOLDER": folder / "instance"}
    app = load_app_module(stage.slug).create_app(config)
    if stage.database:
        made = app.test_cli_runner().invoke(args=["init-db"])
        if made.exit_code:
            raise SystemExit(made.output)
    with make_server("127.0.0.1", 0, app, threaded=True) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def fuzz(run: Run, url: str, command: list[str], cases: int, seed: int | None) -> bool:
    """Run the fuzzer on an app; return whether it ran all its cases and found nothing."""
    at = [f"{url}/openapi/openapi.json"]
    if run.slug == "04_iris":
        at = [str(HERE / "iris_openapi.json"), "--url", url]
    options = [*command, "run", *at, "--checks", "all", "--no-color", "--request-timeout", "10"]
    options += ["--max-examples", str(int(cases * run.share))]
    options += ["--seed", str(seed)] if seed is not None else []
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())  # where the fuzzer writes files
        if run.token:
            browser = ChangedApp(find_stage(run.slug), SimpleNamespace(url=url))
            account = stack.enter_context(new_account(browser))
            options += ["--header", f"Authorization: {account.session.headers['Authorization']}"]
        finished = subprocess.run(options, cwd=folder, stdout=subprocess.PIPE, encoding="utf-8")
    counted = re.search(r"([\d,]+) generated", finished.stdout)
    done = int(counted[1].replace(",", "")) if counted else 0
    good = finished.returncode == 0 and done >= cases
    verdict = "nothing found" if good else "FAILED"
    print(finished.stdout, f"{run}: {done:,} cases (asked for {cases:,}), {verdict}", flush=True)
    return good


def main() -> int:
    """Fuzz the chosen stages, or all of them; return the exit status."""
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # there are thousands of requests
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stages", nargs="*", metavar="STAGE")
    parser.add_argument("--schemathesis", default="uvx schemathesis", help="the command to run it")
    parser.add_argument("--cases", type=int, default=2000, help="the least number for each run")
    parser.add_argument("--seed", type=int, help="to repeat a run, which prints its own")
    options = parser.parse_args()
    command = shlex.split(options.schemathesis)  # on Windows, quote a path: this drops backslashes
    command[0] = str(Path(shutil.which(command[0]) or command[0]).absolute())
    slugs = {find_stage(each).slug for each in options.stages} or {run.slug for run in RUNS}
    with ExitStack() as stack, ThreadPoolExecutor() as pool:
        apps = {}
        for slug in sorted(slugs):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            apps[slug] = stack.enter_context(served(find_stage(slug), folder))
        runs = [run for run in RUNS if run.slug in slugs]
        more = (command, options.cases, options.seed)
        found = list(pool.map(lambda run: fuzz(run, apps[run.slug], *more), runs))
        return 0 if all(found) else 1


if __name__ == "__main__":
    sys.exit(main())
