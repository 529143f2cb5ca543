"""Finds an installed Chromium-based browser for pictures and tests. It downloads nothing."""

import os
import shutil
import sys
from pathlib import Path

NAMES = (
    "chromium-headless-shell",  # has no windows, so it takes half the time
    *("chromium", "google-chrome", "chrome", "microsoft-edge", "msedge", "chromium-browser"),
    *("Google Chrome", "Chromium", "Microsoft Edge"),  # on macOS
)


def installed_browsers() -> list[str]:
    """Return the paths of all such browsers, the preferred one first.

    If `WORKSHOP_BROWSER` is set, it's the only one.
    """
    if named := os.environ.get("WORKSHOP_BROWSER"):
        return [named]
    folders = [os.environ.get("PATH", "")]
    for variable in {"ProgramFiles", "ProgramFiles(x86)", "LocalAppData"} & os.environ.keys():
        for name in ("Google/Chrome", "Chromium", "Microsoft/Edge"):
            folders.append(f"{os.environ[variable]}/{name}/Application")
    if sys.platform == "darwin":
        for place in ("/Applications", f"{Path.home()}/Applications"):
            folders += [f"{place}/{name}.app/Contents/MacOS" for name in NAMES[-3:]]
    path = os.pathsep.join(folders)
    return [found for name in NAMES if (found := shutil.which(name, path=path))]
