"""The workshop inside a hosted JupyterLab (Binder, a JupyterHub), by way of jupyter-server-proxy.

There nobody can open a port of the machine, so the launcher of JupyterLab has a tile that starts the
gallery and leads to it.
"""

import os
import sys
from pathlib import Path

from workshop.host.network import BEHIND_PROXY

START_LIMIT = 180  # seconds; a hosted machine is slow, and the first start imports everything


def launcher() -> dict[str, object]:
    """What jupyter-server-proxy asks for: how to start the gallery, and the tile that does.

    The tile is there in hosted set-ups alone, which say so by `WORKSHOP_BEHIND_PROXY=1`; on a laptop the
    gallery runs already.
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
