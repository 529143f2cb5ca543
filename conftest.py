"""What every test run shares, notebooks included: where there is only the stand-in of a data set,
the cells that depend on it run without comparison, and the run says how many.

Such cells carry the tag of their data set. Their stored outputs come from the real data.

Environment variables
    WORKSHOP_MIRROR        folder or http(s) URL that holds the real data
    WORKSHOP_REQUIRE_DATA  any value but `0`: a run without the real data is an error
"""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import jupyter_client
import nbval.kernel
import pytest

from workshop.core.datasets import CENSUS, HOUSING, fetch_files

# Tests never leave this machine, and the notebooks' kernels inherit it: a data set comes from
# `data/`, from the mirror if one is set, or is the stand-in.
os.environ["WORKSHOP_OFFLINE"] = "1"

# The notebooks and apps that are tested are the repository's, never a learner's copy of them.
os.environ["WORKSHOP_WORK"] = str(Path(__file__).parent)

# Python keeps what it has compiled, as it does for a learner: hundreds of processes are started here.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Test files run side by side, so each process, and each kernel it starts, keeps to one core.
os.environ.setdefault("OMP_NUM_THREADS", "1")

TAGS = {"census-data": CENSUS, "housing-data": HOUSING}
MARK = "ran without comparison"  # travels from a worker of pytest-xdist with the cell's report
# The tags of the data sets that are not here, set for the workers: they are looked for once per run.
STANDINS = "WORKSHOP_TESTS_ON_STANDINS"


def pytest_configure(config: pytest.Config) -> None:
    """Give kernels sockets of their own. Look for the real data, before pytest-xdist starts its workers."""
    if os.name == "posix":
        nbval.kernel.KernelManager = _kernel_manager(config)
    if hasattr(config, "workerinput"):
        return
    found = {tag: fetch_files(dataset) for tag, dataset in TAGS.items()}
    missing = [tag for tag in TAGS if found[tag].files is None]
    os.environ[STANDINS] = " ".join(missing)
    if missing and os.environ.get("WORKSHOP_REQUIRE_DATA", "0") not in ("", "0"):
        problems = [problem for tag in missing for problem in found[tag].problems]
        raise pytest.UsageError(
            f"WORKSHOP_REQUIRE_DATA asks for the real {names(missing)}, and it is not here "
            f"({' and '.join(dict.fromkeys(problems)) or 'WORKSHOP_MIRROR is not set'}): "
            "set WORKSHOP_MIRROR to a folder or address that has it"
        )


def _kernel_manager(config: pytest.Config) -> type[jupyter_client.KernelManager]:
    """What starts the kernels of this process: it talks to them through sockets that are files.

    Ports are chosen first and opened by the kernel a second later. Where many start at once, two get the
    same one now and then, and the second kernel never answers.
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


# The notebooks begin, because they build the models, and tests that find one need not train it again. Then
# the files that take longest: one that came last would run alone, the other cores idle.
NOTEBOOKS = ("06_housing", "05c_census_app", "04_iris", "06b_attacks", "05b_census_model")
LONGEST = (
    "test_accessibility",
    "test_doctor",
    "test_kit",
    "test_bootstrap",
    "test_exercises",
    "test_run_sheets",
    "test_browser_product",
    "test_housing_exercises",
    "test_standin_comparison",
    "test_hosted",
)


def pytest_xdist_auto_num_workers() -> int:
    """One process more than there are cores: much of the time, tests wait for servers and browsers."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files into the order in which they begin.

    Switches the comparison off for each cell with the tag of a data set that is not here.
    """
    items.sort(key=_turn)
    missing = os.environ[STANDINS].split()
    for item in items:
        for tag in _tags(item):
            if tag in missing and item.options["check"]:
                item.options["check"] = False
                item.user_properties.append((MARK, tag))


def _turn(item: pytest.Item) -> tuple[bool, int]:
    """The place of a test's file in the order in which files begin."""
    first = NOTEBOOKS if item.path.suffix == ".ipynb" else LONGEST
    place = first.index(item.path.stem) if item.path.stem in first else len(first)
    return (item.path.suffix != ".ipynb", place)


def _tags(item: pytest.Item) -> list[str]:
    """The tags of a notebook's cell as nbval collects it; none for any other test."""
    cell = getattr(item, "cell", None)
    return cell.metadata.get("tags", []) if cell else []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many cells were not compared, and why."""
    tags = [tag for report in _calls(terminalreporter) for tag in _not_compared(report)]
    if tags:
        cells = "1 cell" if len(tags) == 1 else f"{len(tags)} cells"
        terminalreporter.write_line(
            f"{cells} ran without comparison: only the stand-in of the "
            f"{names(sorted(set(tags)))} is here (set WORKSHOP_MIRROR)",
            yellow=True,
        )


def _not_compared(report: pytest.TestReport) -> list[str]:
    """The tag for which the cell of this report was not compared, if there is one."""
    return [tag for mark, tag in report.user_properties if mark == MARK]


def _calls(terminalreporter: pytest.TerminalReporter) -> Iterator[pytest.TestReport]:
    """The reports of everything that was run, whatever came of it."""
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", None) == "call":
                yield report
