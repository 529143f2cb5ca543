"""The room: where the gallery is reached from other computers and phones, as text and as a QR code."""

import io
import ipaddress
import os
import socket

import click

from workshop.host.guard import TRUSTED_NAMES

# Nothing is sent there: the system is only asked from which of its addresses it would. The first one is
# reserved for documentation, so it stands for the way out; the others for the usual networks without one.
WAYS = ("192.0.2.1", "192.168.255.254", "10.255.255.254", "172.31.255.254")

# By these variables, `start` tells the gallery where it is.
BEHIND_PROXY = "WORKSHOP_BEHIND_PROXY"  # 1: a proxy in front tells the prefix (hosted JupyterLab)
LAB_PORT = "WORKSHOP_LAB_PORT"
LAB_TOKEN = "WORKSHOP_LAB_TOKEN"  # noqa: S105 (the name of the variable that holds it)
PRESENT = "WORKSHOP_PRESENT"  # not empty: the cards lead to slides
ROOM = "WORKSHOP_ROOM"  # the address for others, if they are let in


def trusted_names(host: str) -> dict[str, str]:
    """The variable that tells apps which names are theirs where a server listens on `host`.

    Behind a proxy every name counts: there the proxy knows whom it lets in, and under which name.
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
    """The addresses under which others reach a server that listens on `host`, the likeliest first.

    Empty where this machine is in no network.
    """
    if not is_open(host):
        return []
    if host not in ("0.0.0.0", "::"):  # noqa: S104 (asked for by name)
        return [host]
    found = [address for way in WAYS if (address := _address_towards(way))]
    try:
        own = socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET, socket.SOCK_STREAM)
        found += [place[0] for *_, place in own]
    except OSError:  # the machine's own name leads nowhere
        pass
    return [address for address in dict.fromkeys(found) if _is_of_a_network(address)]


def _address_towards(target: str) -> str | None:
    """This machine's address on the way to `target`, or None if there is no way."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((target, 9))
        except OSError:
            return None
        return probe.getsockname()[0]


def _is_of_a_network(address: str) -> bool:
    """Whether a network gave the address; 127.* and 169.254.* a machine gives to itself."""
    parsed = ipaddress.ip_address(address)
    return not (parsed.is_loopback or parsed.is_link_local or parsed.is_unspecified)


def url_of(address: str, port: int) -> str:
    """The gallery's address as others type it."""
    return f"http://[{address}]:{port}/" if ":" in address else f"http://{address}:{port}/"


def qr_for_terminal(url: str) -> str:
    """The QR code of `url` as lines of text: white on black, whatever colours the terminal has."""
    import segno  # here, because most commands go without

    drawn = io.StringIO()
    segno.make_qr(url).terminal(drawn, compact=True)
    lines = drawn.getvalue().splitlines()
    return "\n".join(click.style(line, fg="bright_white", bg="black") for line in lines)


def qr_as_svg(url: str) -> str:
    """The QR code of `url` as SVG, for a file or for a page: black on white, in dark mode too."""
    import segno

    drawn, title = io.BytesIO(), f"QR code of {url}"
    segno.make_qr(url).save(drawn, kind="svg", xmldecl=False, scale=6, light="#fff", title=title)
    return drawn.getvalue().decode()
