"""Where to look for packages and data sets before the internet: a folder, or a server in the room.

Uses only the standard library, because set-up needs it before anything is installed.
"""

import ipaddress
import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from workshop.setup.process import ROOT, setting

MARKER = "kit.json"  # in each folder made by `python3 -m workshop kit FOLDER`


def mirrors() -> list[tuple[str, str]]:
    """The mirrors to ask, in order: for each its name in messages, and its folder or URL.

    They are the value of `WORKSHOP_MIRROR`, and the kit that contains this repository.
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
    """The folder at a path: relative to the current folder or, if that has none, to the repository."""
    # Not with Path's methods, which raise errors for `~nobody` and for folders that can't be entered.
    folder = Path(os.path.expanduser(place))  # noqa: PTH111
    return folder if os.path.isdir(folder) else ROOT / folder  # noqa: PTH112


def shown(url: str) -> str:
    """A URL without the name and password it may contain."""
    return re.sub("//[^/]*@", "//", url)


def go_past_proxy(url: str) -> None:
    """Let this process and its children reach a server in the room without a proxy, which can't reach it.

    Raises ValueError if `url` isn't a valid address.
    """
    host = urlsplit(url).hostname or ""
    direct = os.environ.get("NO_PROXY") or os.environ.get("no_proxy") or ""
    named = [name.strip() for name in direct.split(",")]
    if is_in_the_room(host) and not {host, "*"}.intersection(named):
        # Programs differ in which spelling they read.
        os.environ["NO_PROXY"] = os.environ["no_proxy"] = ",".join(filter(None, [direct, host]))


def bypass_proxies_here() -> None:
    """Let this process and its children reach servers on this machine without a proxy."""
    # Only if there is a proxy: once NO_PROXY is set, Python no longer reads the system's proxy settings.
    if any(name.upper().endswith("_PROXY") and value for name, value in os.environ.items()):
        for host in ("localhost", "127.0.0.1"):
            go_past_proxy(f"http://{host}")


def is_in_the_room(host: str) -> bool:
    """Whether only the local network knows a host's address or name."""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return "." not in host or host.endswith(".local")
