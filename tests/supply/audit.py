"""Ask whether a package of the lock has a known vulnerability, with pip-audit.

    python tests/supply/audit.py [--pip-audit "uvx pip-audit"] [--required]

Ends with 1 if there is one, with its name and the version that mends it. Where no package could be looked
up (no network, or a mirror of the index that keeps no advisories), that is said, and is well unless
`--required`. pip-audit is not in the lock: give the command that runs it.
"""

import argparse
import json
import shlex
import subprocess
import sys

from workshop.setup.lock import LOCK

LIMIT = 60  # seconds for all packages


def ask(command: list[str]) -> dict[str, list[str]] | None:
    """The vulnerabilities of each package that was looked up; None if none could be.

    The lock names every package, so pip-audit need not resolve what depends on what.
    """
    options = ["--disable-pip", "--no-deps", "--progress-spinner=off", "--timeout=10"]
    options += ["--format=json", "--requirement", str(LOCK)]
    try:
        run = subprocess.run(
            [*command, *options], capture_output=True, encoding="utf-8", timeout=LIMIT
        )
    except subprocess.TimeoutExpired:
        return None
    try:
        packages = json.loads(run.stdout)["dependencies"]
    except ValueError:
        print(run.stderr.strip().rpartition("\n")[2])  # where it says why it can't
        return None
    asked = {
        f"{package['name']} {package['version']}": [
            f"{each['id']} (mended in {', '.join(each['fix_versions']) or 'no version yet'})"
            for each in package["vulns"]
        ]
        for package in packages
        if "skip_reason" not in package
    }
    return asked or None


def main() -> int:
    """Ask, tell, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pip-audit", default="uvx pip-audit", help="the command that runs it")
    parser.add_argument(
        "--required", action="store_true", help="end with 1 where it can't be asked"
    )
    options = parser.parse_args()
    asked = ask(shlex.split(options.pip_audit))
    if asked is None:
        print("The lock is NOT audited: no vulnerability service can be reached from here.")
        return 1 if options.required else 0
    found = {package: known for package, known in asked.items() if known}
    for package, known in found.items():
        print(f"{package}: {'; '.join(known)}")
    print(
        f"The lock is audited: {len(asked)} packages looked up, {len(found)} with known vulnerabilities."
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
