"""What every test run shares, notebooks included: where there is only the stand-in of the census data,
the cells that depend on it run without comparison, and the run says how many.

Such cells carry the tag `census-data`. Their stored outputs come from the real data.

Environment variables
    WORKSHOP_MIRROR        folder or http(s) URL that holds the real data
    WORKSHOP_REQUIRE_DATA  any value but `0`: a run without the real data is an error
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from workshop.datasets import CENSUS, fetch_files

# Tests never leave this machine, and the notebooks' kernels inherit it: a data set comes from `data/`,
# from the mirror if one is set, or is the stand-in.
os.environ["WORKSHOP_OFFLINE"] = "1"

TAG = "census-data"
MARK = "ran without comparison"  # travels from a worker of pytest-xdist with the cell's report
STANDIN = "WORKSHOP_TESTS_ON_STANDIN"  # set for the workers: the data is looked for once per run


def pytest_configure(config: pytest.Config) -> None:
    """Look for the real data, before pytest-xdist starts its workers."""
    if hasattr(config, "workerinput"):
        return
    found = fetch_files(CENSUS)
    os.environ[STANDIN] = "1" if found.files is None else ""
    if found.files is None and os.environ.get("WORKSHOP_REQUIRE_DATA", "0") not in ("", "0"):
        raise pytest.UsageError(
            "WORKSHOP_REQUIRE_DATA asks for the real census data, and it is not here "
            f"({' and '.join(found.problems)}): set WORKSHOP_MIRROR to a folder or address that has it"
        )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without the real data, switch the comparison off for each cell with the tag."""
    if not os.environ[STANDIN]:
        return
    for item in items:
        if TAG in _tags(item) and item.options["check"]:
            item.options["check"] = False
            item.user_properties.append((MARK, True))


def _tags(item: pytest.Item) -> list[str]:
    """The tags of a notebook's cell as nbval collects it; none for any other test."""
    cell = getattr(item, "cell", None)
    return cell.metadata.get("tags", []) if cell else []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many cells were not compared, and why."""
    count = sum(
        (MARK, True) in map(tuple, report.user_properties) for report in _calls(terminalreporter)
    )
    if count:
        cells = "1 cell" if count == 1 else f"{count} cells"
        terminalreporter.write_line(
            f"{cells} ran without comparison: only the stand-in of the census data is here "
            "(set WORKSHOP_MIRROR)",
            yellow=True,
        )


def _calls(terminalreporter: pytest.TerminalReporter) -> Iterator[pytest.TestReport]:
    """The reports of everything that was run, whatever came of it."""
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", None) == "call":
                yield report
