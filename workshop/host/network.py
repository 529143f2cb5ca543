"""The room: the gallery's address for other computers and phones, as text and as a QR code."""

import io
import ipaddress
import os
import socket

import click

from workshop.host.guard import TRUSTED_NAMES

# Nothing is sent to these: the system only says which of its own addresses it would use. The first one is
# reserved for documentation and leads to the internet; the others are in the usual private networks.
WAYS = ("192.0.2.1", "192.168.255.254", "10.255.255.254", "172.31.255.254")

# `start` passes these variables to the gallery.
BEHIND_PROXY = "WORKSHOP_BEHIND_PROXY"  # 1: a proxy in front sends the prefix (hosted JupyterLab)
LAB_PORT = "WORKSHOP_LAB_PORT"
LAB_TOKEN = "WORKSHOP_LAB_TOKEN"  # noqa: S105 (the variable's name, not a token)
PRESENT = "WORKSHOP_PRESENT"  # if it isn't empty, the cards link to slides
ROOM = "WORKSHOP_ROOM"  # the address for others, if they are let in


def trusted_names(host: str) -> dict[str, str]:
    """The variable with the host names that apps accept when the server listens on `host`.

    Behind a proxy they accept every name, because the proxy checks it.
    """
    more = "*" if os.environ.get(BEHIND_PROXY) == "1" else host.lower()
    return {TRUSTED_NAMES: f"{os.environ.get(TRUSTED_NAMES, '')} {more}".strip()}


def reachable(host: str) -> str:
    """The address at which this machine reaches a server that listens on `host`."""
    return "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104 (asked for by name)


def is_open(host: str) -> bool:
    """Whether a server that listens on `host` can be reached from other machines."""
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host != "localhost"


def addresses(host: str) -> list[str]:
    """The addresses at which others reach a server that listens on `host`, the most likely first.

    Empty if this machine isn't connected to a network.
    """
    if not is_open(host):
        return []
    if host not in ("0.0.0.0", "::"):  # noqa: S104 (asked for by name)
        return [host]
    found = [address for way in WAYS if (address := _address_towards(way))]
    try:
        own = socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET, socket.SOCK_STREAM)
        found += [place[0] for *_, place in own]
    except OSError:  # the machine's own name can't be resolved
        pass
    return [address for address in dict.fromkeys(found) if _is_of_a_network(address)]


def _address_towards(target: str) -> str | None:
    """The address from which this machine would send to `target`, or None if it can't."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((target, 9))
        except OSError:
            return None
        return probe.getsockname()[0]


def _is_of_a_network(address: str) -> bool:
    """Whether the address comes from a network; a machine gives itself 127.* and 169.254.*."""
    parsed = ipaddress.ip_address(address)
    return not (parsed.is_loopback or parsed.is_link_local or parsed.is_unspecified)


def url_of(address: str, port: int) -> str:
    """The URL of a server at an address, as people type it."""
    return f"http://[{address}]:{port}/" if ":" in address else f"http://{address}:{port}/"


def qr_for_terminal(url: str) -> str:
    """The QR code of `url` as lines of text: white on black, even in a light terminal."""
    import segno  # here, because most commands don't need it

    drawn = io.StringIO()
    segno.make_qr(url).terminal(drawn, compact=True)
    lines = drawn.getvalue().splitlines()
    return "\n".join(click.style(line, fg="bright_white", bg="black") for line in lines)


def qr_as_svg(url: str) -> str:
    """The QR code of `url` as SVG for a file or a page: black on white, even in dark mode."""
    import segno

    drawn, title = io.BytesIO(), f"QR code of {url}"
    segno.make_qr(url).save(drawn, kind="svg", xmldecl=False, scale=6, light="#fff", title=title)
    return drawn.getvalue().decode()
