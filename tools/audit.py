"""Ask pip-audit whether a package in either lock has a known vulnerability.

    python tools/audit.py [--pip-audit "uvx pip-audit"] [--required]

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


def ask(command: list[str]) -> list[dict]:
    """The packages that were looked up, each with its name, version and vulnerabilities; maybe none.

    The locks name every package, so pip-audit doesn't need to work out what depends on what.
    """
    options = ["--disable-pip", "--no-deps", "--progress-spinner=off", "--timeout=10"]
    options += ["--format=json", "--requirement", str(LOCK), "--requirement", str(TEST_LOCK)]
    call = [*command, *options]
    try:
        run = subprocess.run(call, capture_output=True, encoding="utf-8", timeout=LIMIT)
        packages = json.loads(run.stdout)["dependencies"]
    except subprocess.TimeoutExpired:
        return []
    except ValueError:
        print(run.stderr.strip().rpartition("\n")[2])  # the line with the reason
        return []
    return [package for package in packages if "skip_reason" not in package]


def main() -> int:
    """Run the audit, print its results, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pip-audit", default="uvx pip-audit", help="the command that runs it")
    parser.add_argument("--required", action="store_true", help="fail if nothing can be looked up")
    options = parser.parse_args()
    asked = ask(shlex.split(options.pip_audit))
    if not asked:
        print("The locks are NOT audited: no vulnerability service can be reached from here.")
        return 1 if options.required else 0
    found = [(package, each) for package in asked for each in package["vulns"]]
    for package, each in found:
        fixed = ", ".join(each["fix_versions"]) or "no version yet"
        print(f"{package['name']} {package['version']}: {each['id']} (fixed in {fixed})")
    print(f"The locks are audited: {len(asked)} packages looked up, {len(found)} vulnerabilities.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
