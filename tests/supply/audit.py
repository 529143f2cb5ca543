"""Ask pip-audit whether a package in either lock has a known vulnerability.

    python tests/supply/audit.py [--pip-audit "uvx pip-audit"] [--required]

Exits with 1 if there is one, and prints its name and the version that fixes it. If no package could be
looked up (no network, or a package index without advisories), it prints that, which is a failure only with
`--required`. pip-audit isn't in either lock, so pass the command that runs it.
"""

import argparse
import json
import shlex
import subprocess
import sys

from workshop.setup.lock import LOCK, TEST_LOCK

LIMIT = 60  # seconds for all packages


def ask(command: list[str]) -> dict[str, list[str]] | None:
    """The vulnerabilities of each package that was looked up, or None if none could be.

    The locks name every package, so pip-audit doesn't need to work out what depends on what.
    """
    options = ["--disable-pip", "--no-deps", "--progress-spinner=off", "--timeout=10"]
    options += ["--format=json", "--requirement", str(LOCK), "--requirement", str(TEST_LOCK)]
    try:
        run = subprocess.run(
            [*command, *options], capture_output=True, encoding="utf-8", timeout=LIMIT
        )
        packages = json.loads(run.stdout)["dependencies"]
    except subprocess.TimeoutExpired:
        return None
    except ValueError:
        print(run.stderr.strip().rpartition("\n")[2])  # the line with the reason
        return None
    asked = {}
    for package in packages:
        if "skip_reason" not in package:
            asked[f"{package['name']} {package['version']}"] = [
                f"{each['id']} (fixed in {', '.join(each['fix_versions']) or 'no version yet'})"
                for each in package["vulns"]
            ]
    return asked or None


def main() -> int:
    """Run the audit, print its results, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pip-audit", default="uvx pip-audit", help="the command that runs it")
    parser.add_argument("--required", action="store_true", help="fail if nothing can be looked up")
    options = parser.parse_args()
    asked = ask(shlex.split(options.pip_audit))
    if asked is None:
        print("The locks are NOT audited: no vulnerability service can be reached from here.")
        return 1 if options.required else 0
    found = {package: known for package, known in asked.items() if known}
    for package, known in found.items():
        print(f"{package}: {'; '.join(known)}")
    print(f"The locks are audited: {len(asked)} packages looked up, {len(found)} vulnerable.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
