"""What every test run shares, notebooks included.

Where only the stand-in of a data set is available, the cells that depend on the data run without
comparison: they carry the tag of their data set, and their stored outputs come from the real data. The
run says how many they are, and how many test files need a package that isn't installed.

Environment variables
    WORKSHOP_MIRROR        folder or http(s) URL that has the real data
    WORKSHOP_REQUIRE_DATA  any value but `0`: a run without the real data is an error
"""

import functools
import importlib.util
import os
import re
import tempfile
import uuid
from pathlib import Path

import jupyter_client
import nbval.kernel
import pytest

from workshop.core.datasets import CENSUS, HOUSING, fetch_files
from workshop.core.stages import BASE, COPY
from workshop.setup.mirror import bypass_proxies_here
from workshop.setup.process import ROOT

TESTS = ROOT / "tests"
TAGS = {"census-data": CENSUS, "housing-data": HOUSING}
MARK = "ran without comparison"  # travels from a worker of pytest-xdist with the cell's report
# The tags of the data sets that aren't here, set for the workers: the data is looked for once per run.
STANDINS = "WORKSHOP_TESTS_ON_STANDINS"

# Tests never leave this machine, and the kernels of the notebooks inherit that: a data set comes from
# `data/`, from the mirror if one is set, or is the stand-in.
os.environ["WORKSHOP_OFFLINE"] = "1"
# Python keeps what it compiles, as it does for a learner: hundreds of processes are started here.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# They ask servers on this machine, which no proxy can reach.
bypass_proxies_here()
# Test files run side by side, so each process, and each kernel it starts, uses one core.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def files_that_need(missing: set[str]) -> list[Path]:
    """The files in tests/ that import one of the modules in `missing`, directly or through each other."""
    imports = {
        path: set(re.findall(r"^(?:from|import) (\w+)", path.read_text(encoding="utf-8"), re.M))
        for path in TESTS.rglob("*.py")
    }
    found: list[Path] = []
    while more := [path for path in imports if path not in found and imports[path] & missing]:
        found += more
        missing = missing | {path.stem for path in more}
    return found


MISSING = {name for name in ("hypothesis", "playwright") if importlib.util.find_spec(name) is None}
collect_ignore = files_that_need(MISSING)


def pytest_configure(config: pytest.Config) -> None:
    """Set up the notebooks' tests, and look for the real data, before pytest-xdist starts its workers."""
    if os.name == "posix":
        nbval.kernel.KernelManager = _kernel_manager(config)
    if not config.option.nbval_sanitize_with:
        config.option.nbval_sanitize_with = str(TESTS / "nbval_sanitize.cfg")
    if hasattr(config, "workerinput"):
        return
    # A learner who tests their own files means their own apps; every other run means the repository's.
    named = {name: Path(name.partition("::")[0]).resolve() for name in config.args}
    own = all(path.is_relative_to(COPY) for path in named.values())
    os.environ[BASE] = str(COPY if own else ROOT)
    config.args = [name for name in named if named[name] not in collect_ignore]
    found = {tag: fetch_files(dataset) for tag, dataset in TAGS.items()}
    missing = [tag for tag in TAGS if found[tag].files is None]
    os.environ[STANDINS] = " ".join(missing)
    if missing and os.environ.get("WORKSHOP_REQUIRE_DATA", "0") not in ("", "0"):
        problems = [problem for tag in missing for problem in found[tag].problems]
        raise pytest.UsageError(
            f"WORKSHOP_REQUIRE_DATA asks for the real {names(missing)}, and it is not here "
            f"({' and '.join(dict.fromkeys(problems)) or 'WORKSHOP_MIRROR is not set'}): "
            "set WORKSHOP_MIRROR to a folder or URL that has it"
        )


def _kernel_manager(config: pytest.Config) -> type[jupyter_client.KernelManager]:
    """What starts the kernels of this process: it talks to them through sockets that are files.

    Ports are chosen first and opened by the kernel a second later. When many kernels start, two sometimes
    get the same port, and the second one never answers.
    """
    sockets = tempfile.TemporaryDirectory(prefix="kernels-", ignore_cleanup_errors=True)
    config.add_cleanup(sockets.cleanup)

    class KernelManager(jupyter_client.KernelManager):
        transport = "ipc"

        def _ip_default(self) -> str:
            return f"{sockets.name}/{uuid.uuid4().hex[:8]}"  # short: macOS allows 103 characters

    return KernelManager


def names(tags: list[str]) -> str:
    """The data sets of `tags` as words: `census data and housing data`."""
    return " and ".join(tag.replace("-", " ") for tag in tags)


@pytest.hookimpl(optionalhook=True)  # pytest-xdist may not be installed
def pytest_xdist_auto_num_workers() -> int:
    """One process more than there are cores: much of the time, tests wait for servers and browsers."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files in order, and compare no cell whose data set isn't here.

    Notebooks start first, because they train the models that other tests then find. Then come the files that
    take longest, those with slow tests or a browser, because one that started last would run alone.
    """
    slow = {
        item.path
        for item in items
        if item.get_closest_marker("slow") or "browser" in getattr(item, "fixturenames", ())
    }
    items.sort(key=lambda item: (item.path.suffix != ".ipynb", item.path not in slow))
    missing = os.environ[STANDINS].split()
    for item in items:
        cell = getattr(item, "cell", None)  # only nbval's items have one
        for tag in cell.metadata.get("tags", []) if cell else []:
            if tag in missing and item.options["check"]:
                item.options["check"] = False
                item.user_properties.append((MARK, tag))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was left out or not compared, and how to get it."""
    say = functools.partial(terminalreporter.write_line, yellow=True)
    reports = [report for some in terminalreporter.stats.values() for report in some]
    calls = [report for report in reports if getattr(report, "when", None) == "call"]
    if tags := [tag for call in calls for mark, tag in call.user_properties if mark == MARK]:
        say(
            f"{len(tags)} {'cell' if len(tags) == 1 else 'cells'} ran without comparison: only the "
            f"stand-in of the {names(sorted(set(tags)))} is here (set WORKSHOP_MIRROR)"
        )
    left = [path for path in collect_ignore if path.name.startswith("test_")]
    if left and os.environ[BASE] == str(ROOT):
        say(
            f"{len(left)} test files were left out because they need {' and '.join(sorted(MISSING))}: "
            "`python3 -m workshop test` installs what they need"
        )
    if terminalreporter.config.option.markexpr == "not slow":
        say("The slow tests were left out: `python3 -m workshop test --all` runs them too")
