"""Finds an installed browser of the Chromium family, for pictures and tests. Nothing is downloaded."""

import os
import shutil
import sys
from pathlib import Path


def installed_browsers() -> list[str]:
    """Every such browser found here, the likeliest first; `WORKSHOP_BROWSER` names the only one to take."""
    if named := os.environ.get("WORKSHOP_BROWSER"):
        return [named]
    names = (
        "chromium-headless-shell",  # has no windows to draw, and needs half the time
        "chromium",
        "google-chrome",
        "chrome",
        "microsoft-edge",
        "msedge",
        "chromium-browser",
    )
    usual = [Path(found) for name in names if (found := shutil.which(name))]
    for variable in ("ProgramFiles", "ProgramFiles(x86)", "LocalAppData"):
        if folder := os.environ.get(variable):
            usual += [
                Path(folder, "Google/Chrome/Application/chrome.exe"),
                Path(folder, "Chromium/Application/chrome.exe"),
                Path(folder, "Microsoft/Edge/Application/msedge.exe"),
            ]
    if sys.platform == "darwin":
        for folder in (Path("/Applications"), Path.home() / "Applications"):
            for name in ("Google Chrome", "Chromium", "Microsoft Edge"):
                usual.append(folder / f"{name}.app/Contents/MacOS/{name}")
    return [str(path) for path in usual if path.exists()]


def launch_options() -> dict[str, list[str]]:
    """What any launch needs: Chromium's sandbox refuses to work for root, as in a container."""
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    return {"args": ["--no-sandbox"] if root else []}
