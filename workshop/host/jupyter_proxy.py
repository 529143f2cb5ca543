"""The workshop inside a hosted JupyterLab (Binder, JupyterHub), through jupyter-server-proxy.

There, attendees can't open a port of the machine, so JupyterLab's launcher has a tile that starts the
gallery and opens it.
"""

import os
import sys
from pathlib import Path

from workshop.host.network import BEHIND_PROXY

START_LIMIT = 180  # seconds; a hosted machine is slow, and the first start imports everything


def launcher() -> dict[str, object]:
    """The settings that jupyter-server-proxy needs to start the gallery and to show its tile.

    The tile appears only in hosted set-ups, which set `WORKSHOP_BEHIND_PROXY=1`; on a laptop, the gallery is
    already running.
    """
    options = ["--no-lab", "--no-browser", "--port", "{port}"]
    return {
        "command": [sys.executable, "-m", "workshop", "start", *options],
        "environment": {BEHIND_PROXY: "1"},
        "timeout": START_LIMIT,
        "launcher_entry": {
            "enabled": os.environ.get(BEHIND_PROXY) == "1",
            "title": "The workshop",
            "icon_path": str(Path(__file__).parent / "gallery" / "static" / "icon.svg"),
        },
    }
