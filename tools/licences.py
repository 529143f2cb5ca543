"""Write the table of docs/licences.md: the license that each package in the lock states.

    .venv/bin/python tools/licences.py

The locked packages must be installed. Packages for other systems keep their row; for a new one, run the
script on such a system, or add the row by hand.
"""

import importlib.metadata
import re
import sys

from packaging.requirements import Requirement

from workshop.setup.lock import LOCK, locked
from workshop.setup.process import ROOT

PAGE = ROOT / "docs" / "licences.md"
ROW = re.compile(r"^\| ([a-z0-9-]+) \| (.+) \|$", re.MULTILINE)
TABLE = "|---|---|\n"  # where the rows begin; the text above stays


def stated(name: str) -> str | None:
    """The license that an installed package states, in the newest of three fields; or None.

    The oldest is free text, which may be a whole license or useless, and then the classifiers are used.
    """
    metadata = importlib.metadata.metadata(name)
    if expression := metadata.get("License-Expression"):
        return expression
    classifiers = [c.split(" :: ") for c in metadata.get_all("Classifier") or []]
    titles = [c[-1] for c in classifiers if c[0] == "License"]
    text = (metadata.get("License") or "").strip()
    if text == "UNKNOWN" or text.startswith("Copyright"):
        text = ""
    if titles and (not text or "\n" in text or len(titles) > 1):
        return ", ".join(titles)
    return text.partition("\n")[0] or None  # the heading of a whole license


def is_installed(name: str) -> bool:
    return any(True for _ in importlib.metadata.distributions(name=name))


def main() -> int:
    """Write the page. If packages have no known license, print their names and return 1."""
    text, line, table = PAGE.read_text(encoding="utf-8").partition(TABLE)
    rows = dict(ROW.findall(table))
    names = sorted({Requirement(pin).name for pin in locked(LOCK)})
    licences = {name: stated(name) if is_installed(name) else rows.get(name) for name in names}
    if unknown := [name for name, licence in licences.items() if not licence]:
        print(f"No license is known for {', '.join(unknown)}: look it up, and add a row by hand.")
        return 1
    table = "".join(f"| {name} | {licence} |\n" for name, licence in licences.items())
    PAGE.write_text(text + line + table, encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)}: {len(names)} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
