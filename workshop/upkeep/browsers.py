"""Finds an installed browser of the Chromium family, for pictures and tests. Nothing is downloaded."""

import os
import shutil
import sys
from pathlib import Path

NAMES = (
    "chromium-headless-shell",  # has no windows to draw, and needs half the time
    *("chromium", "google-chrome", "chrome", "microsoft-edge", "msedge", "chromium-browser"),
    *("Google Chrome", "Chromium", "Microsoft Edge"),  # on macOS
)


def installed_browsers() -> list[str]:
    """Return every such browser found here, the likeliest first.

    `WORKSHOP_BROWSER` names the only one to use.
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
