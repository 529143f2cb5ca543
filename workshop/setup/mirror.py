"""Where the packages and the data sets are looked for before the internet: a folder, or a server in the room.

With the standard library alone, because set-up asks before anything is installed.
"""

import ipaddress
import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from workshop.setup.process import ROOT, setting

MARKER = "kit.json"  # lies in the folder that `python3 -m workshop kit FOLDER` makes


def mirrors() -> list[tuple[str, str]]:
    """The mirrors to ask, in this order: each as a sentence names it, with its folder or URL.

    They are what `WORKSHOP_MIRROR` says, and the kit that this repository is a part of.
    """
    named = setting("WORKSHOP_MIRROR")
    found = [("WORKSHOP_MIRROR", named)] if named else []
    kit = ROOT.parent
    if (kit / MARKER).is_file():
        found.append(("the kit", str(kit)))
    return found


def is_url(place: str) -> bool:
    return place.lower().startswith(("http://", "https://"))


def folder_of(place: str) -> Path:
    """A relative folder counts from here; from the repository if there is none here."""
    # Not Path's own ways, which raise an error for `~nobody` and where a folder may not be entered.
    folder = Path(os.path.expanduser(place))  # noqa: PTH111
    return folder if os.path.isdir(folder) else ROOT / folder  # noqa: PTH112


def shown(url: str) -> str:
    """A URL without any name and password in it."""
    return re.sub("//[^/]*@", "//", url)


def go_past_proxy(url: str) -> None:
    """Let this process, and all it starts, ask a server in the room itself: no proxy outside can reach it.

    Raises ValueError if `url` is no valid address.
    """
    host = urlsplit(url).hostname or ""
    direct = os.environ.get("NO_PROXY") or os.environ.get("no_proxy") or ""
    named = [name.strip() for name in direct.split(",")]
    if is_in_the_room(host) and not {host, "*"}.intersection(named):
        # Programs differ in the spelling they look for.
        os.environ["NO_PROXY"] = os.environ["no_proxy"] = ",".join(filter(None, [direct, host]))


def bypass_proxies_here() -> None:
    """Let this process, and all it starts, ask servers on this machine themselves."""
    # Not without a proxy: once a variable is set, Python doesn't ask the system's settings for one.
    if any(name.upper().endswith("_PROXY") and value for name, value in os.environ.items()):
        for host in ("localhost", "127.0.0.1"):
            go_past_proxy(f"http://{host}")


def is_in_the_room(host: str) -> bool:
    """Whether a host has an address, or a name, that only the local network knows."""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return "." not in host or host.endswith(".local")
