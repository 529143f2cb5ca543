"""`python3 -m workshop start`: the gallery with every app, and JupyterLab, until Ctrl-C."""

import contextlib
import os
import secrets
import shutil
import signal
import sys
import tempfile
import time
import webbrowser
from collections.abc import Iterator
from pathlib import Path

import click

from workshop.core.build import train
from workshop.core.errors import WorkshopError
from workshop.core.stages import Stage, base, stages_with_app, stages_with_model
from workshop.host import network
from workshop.host.background import START_LIMIT, Server, granian
from workshop.host.ports import (
    FOLDER,
    GALLERY_URL,
    PortInUse,
    another_port,
    gallery_at,
    health_of,
    require_port,
    status_of,
)
from workshop.setup.process import one_at_a_time

# Its folder `labconfig` holds the workshop's defaults for JupyterLab and for slides: no question about
# news, and nothing in slides that comes from the internet. Its folder `large` holds settings as JupyterLab
# stores those of a user: the size of the type counts only there. Its folder `custom` has the style of
# notebooks, and `workspaces` what is open at the first start.
LAB = Path(__file__).parent / "lab"

PRESENTING = """\
Present: press "Slides" on a stage's card, then F11 for the full screen.
  Space goes on and Shift+Space back. S opens your notes in a window of its own.
  A click on code and Shift+Enter run it. To leave the slides, close the tab."""


def gallery_server(
    host: str, port: int, lab_port: int | None, token: str, present: bool = False
) -> Server:
    found = network.addresses(host)
    environ = {
        network.LAB_PORT: str(lab_port or ""),
        network.LAB_TOKEN: token,
        network.PRESENT: "1" if present else "",
        network.ROOM: network.url_of(found[0], port) if found else "",
        "PREDICTION_LOG": "off",  # stage 07's: the terminal of `start` is for people
        "FLASK_DEBUG": "0",  # whatever the terminal says: others may reach this server
        **network.trusted_names(host),
    }
    command = granian("workshop.host.gallery:create_gallery", host, port)
    return Server("the gallery", command, network.url_of(network.reachable(host), port), environ)


def lab_folders() -> dict[str, str]:
    """Variables that give JupyterLab, its slides and its kernels folders of their own in the environment.

    So the tabs, settings and configuration of the laptop's owner do not turn up, and theirs stay as they
    are. At the first start the table of contents is open. If the environment can't be written in, the
    folders are in the learner's copy.
    """
    own = Path(sys.prefix) / "share" / "jupyter" / "workshop"
    if os.access(sys.prefix, os.W_OK):
        draw_sharply()
    else:
        own = base() / ".jupyter"
    if not (own / "workspaces").exists():
        shutil.copytree(LAB / "workspaces", own / "workspaces")
    return {
        "JUPYTERLAB_WORKSPACES_DIR": str(own / "workspaces"),
        "JUPYTERLAB_SETTINGS_DIR": str(own / "user-settings"),
        "JUPYTER_CONFIG_DIR": str(own / "config"),
        "JUPYTER_CONFIG_PATH": str(LAB),
        "JUPYTER_NO_CONFIG": "",  # which would leave out ours too
        "IPYTHONDIR": str(own),  # makes no more than its own folder
    }


def draw_sharply() -> None:
    """Let the kernels of this environment draw figures for sharp screens, and in the apps' colors."""
    folder = Path(sys.prefix) / "etc" / "ipython"  # where IPython looks
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(LAB / "ipython_kernel_config.json", folder)


def lab_server(port: int, token: str, gallery_url: str, settings: Path | None = None) -> Server:
    """JupyterLab on the learner's notebooks and apps, for this machine alone, whatever `--host` says.

    `settings` is the folder of the user's settings, if it is not the usual one.
    """
    options = [
        f"--ServerApp.root_dir={base()}",
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0",
        "--ServerApp.open_browser=False",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--LabApp.extension_manager=readonly",
        "--LabApp.custom_css=True",
        # Otherwise the style sheet would have to be in the folder with the owner's own settings.
        f"--ServerApp.tornado_settings=static_custom_path={LAB / 'custom'}",
        "--ServerApp.allow_root=True",
    ]
    # The token is not on the command line, where others could read it. Kernels inherit the address.
    environ = {
        "JUPYTER_TOKEN": token,
        GALLERY_URL: gallery_url,
        **lab_folders(),
    }
    if settings:
        environ["JUPYTERLAB_SETTINGS_DIR"] = str(settings)
    command = ["workshop.host.jupyter_lab", *options]
    return Server("JupyterLab", command, f"http://127.0.0.1:{port}", environ)


@contextlib.contextmanager
def large_type() -> Iterator[Path]:
    """A folder of settings for a projector, for as long as the block lasts."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        shutil.copytree(LAB / "large", folder, dirs_exist_ok=True)
        yield Path(folder)


def require_ports(host: str, port: int, lab_port: int | None) -> None:
    """Raise `WorkshopError` unless the gallery and JupyterLab can listen; one sentence for both ports."""
    refused: dict[int, PortInUse] = {}
    options = {port: "--port", lab_port: "--lab-port"}
    for number, option in options.items():
        try:
            if number:
                require_port(number, option, host if number == port else "127.0.0.1")
        except PortInUse as error:
            refused[number] = error
    if not refused:
        return
    found = gallery_at(f"http://127.0.0.1:{port}")
    if found and found.get("folder") == FOLDER:
        raise PortInUse(f"The workshop already runs: open http://127.0.0.1:{port}/")
    if len(refused) == 1 and not found:
        raise next(iter(refused.values()))
    user = "another copy of the workshop" if found else "another program"
    others = " ".join(f"{options[number]} {another_port(number)}" for number in refused)
    first, choose = ("Port", "another port") if len(refused) == 1 else ("Ports", "other ports")
    raise PortInUse(
        f"{first} {' and '.join(map(str, refused))} {'is' if len(refused) == 1 else 'are'} in use by "
        f"{user}: end that one, or choose {choose}, such as {others}."
    )


def train_models(gallery_url: str) -> None:
    """Train what isn't trained, and return once every app has loaded, or takes too long: its page says so.

    A model that can't be trained leaves its app saying so, and the others running.
    """
    untrained = [stage for stage in stages_with_model() if not stage.card_file.exists()]

    def health(stage: Stage) -> dict:
        return health_of(f"{gallery_url}/{stage.slug}")

    # Asking for its health makes an app load. The apps with models import scikit-learn, and where that has
    # never been imported, it takes long: so this process does it first, and the gallery later.
    for stage in stages_with_app():
        if stage not in untrained:
            health(stage)
    for stage in untrained:
        train_and_tell(stage)
        health(stage)
    deadline = time.monotonic() + START_LIMIT
    for stage in stages_with_app():
        while (found := health(stage)).get("status") == "loading" and time.monotonic() < deadline:
            time.sleep(0.05)
        if found.get("status") != "unavailable":
            continue
        # The card is there, but only the app knows whether its model can be used.
        no_model = stage.model and status_of(f"{gallery_url}/{stage.slug}/model") == 503
        if no_model and stage not in untrained:
            train_and_tell(stage)
            health(stage)
        elif not no_model:
            click.echo(f"  {stage.slug}: {found['reason']}")


def train_and_tell(stage: Stage) -> None:
    """Train a stage's model, and print how well it does, or why it can't be trained."""
    click.echo(f"Training the model of stage {stage.code} ...")
    try:
        click.echo(f"  {train(stage)}")
    except WorkshopError as error:
        click.echo(f"  {error}")


def tell_news(server: Server) -> None:
    """Print what a server has logged: a traceback, if an app has crashed. Anyone who fixes it looks here."""
    click.echo(server.log_news(), nl=False, err=True)


def tell_the_room(host: str, port: int, lab: bool) -> None:
    """Print what others type or scan to open the gallery, and what they can reach."""
    found = network.addresses(host)
    if not found:
        click.echo(
            "\nThis computer is in no network, so nobody else can open the workshop: "
            "connect it to the room's wifi, then start again."
        )
        return
    first, *others = [network.url_of(address, port) for address in found]
    click.echo(f"\nFor the room: {first}")
    if others:
        click.echo(f"  or, if that does not open: {', '.join(others)}")
    click.echo(f"\n{network.qr_for_terminal(first)}\n")
    stays = "JupyterLab stays on this computer." if lab else "nothing else."
    click.echo(f"Everyone in this network can open the gallery and the apps; {stays}")


def run_workshop(
    host: str, port: int, lab_port: int | None, open_browser: bool, present: bool = False
) -> None:
    """Serve until Ctrl-C. Everything has answered once when the addresses are printed.

    With `present`, JupyterLab is set up for a projector. Raises `WorkshopError` if a port is taken or a
    server does not come up.
    """
    if present and not lab_port:
        raise WorkshopError("Slides need JupyterLab: leave out --no-lab, or --present.")
    if port == lab_port:
        raise WorkshopError(
            "The gallery and JupyterLab need a port each: change --port or --lab-port."
        )
    token = secrets.token_hex(16)
    try:
        with contextlib.ExitStack() as stack:
            # Of two that begin together, the second finds the first one's gallery at the port.
            with one_at_a_time("Another start is under way: waiting for it ..."):
                require_ports(host, port, lab_port)
                signal.signal(signal.SIGTERM, signal.default_int_handler)  # `kill` acts as Ctrl-C
                click.echo("Starting the workshop ...")
                if present:
                    from workshop.host.slides import make_slides  # here: nbformat takes its time

                    make_slides()
                gallery = gallery_server(host, port, lab_port, token, present)
                servers = [gallery]
                if lab_port:
                    settings = stack.enter_context(large_type()) if present else None
                    servers.append(lab_server(lab_port, token, gallery.url, settings))
                for server in servers:
                    stack.enter_context(server)
                gallery.wait_until_ready()
            train_models(gallery.url)
            for server in servers:
                server.wait_until_ready()
            click.echo(f"\n  The workshop   {gallery.url}/")
            if lab_port:
                click.echo(f"  JupyterLab     {servers[1].url}/lab?token={token}")
            if present:
                click.echo(f"\n{PRESENTING}")
            if network.is_open(host):
                tell_the_room(host, port, lab=bool(lab_port))
            gallery.log_news()  # what it printed until now is of no interest
            click.echo("\nPress Ctrl-C here to end it.")
            if open_browser:
                webbrowser.open(f"{gallery.url}/")
            stack.callback(tell_news, gallery)
            while all(server.is_running() for server in servers):
                time.sleep(0.5)
                tell_news(gallery)
            for server in servers:
                server.require_running("stopped by itself")
    except KeyboardInterrupt:
        click.echo("\nThe workshop has ended.")
