"""`python3 -m workshop start`: the gallery with every app, and JupyterLab, until Ctrl-C."""

import contextlib
import os
import secrets
import shutil
import signal
import sys
import tempfile
import threading
import time
import webbrowser
from collections.abc import Iterator
from pathlib import Path

import click

from workshop.core.build import DatabaseFailed, make_database, train
from workshop.core.errors import ServerDied, WorkshopError
from workshop.core.stages import STAGES, Stage, base, stages_with_app, stages_with_model
from workshop.host import gallery, network
from workshop.host.background import START_LIMIT, Server, granian
from workshop.host.ports import (
    FOLDER,
    GALLERY_URL,
    PortInUse,
    another_port,
    gallery_at,
    health_of,
    require_port,
)
from workshop.setup.process import one_at_a_time

# Its folder `labconfig` holds the workshop's defaults for JupyterLab and for slides: no question about
# news, and nothing in slides that comes from the internet. Its folder `large` holds settings as JupyterLab
# stores those of a user: the size of the type counts only there.
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
        gallery.LAB_PORT: str(lab_port or ""),
        gallery.LAB_TOKEN: token,
        gallery.PRESENT: "1" if present else "",
        gallery.ROOM: network.url_of(found[0], port) if found else "",
        "PREDICTION_LOG": "off",  # stage 07's: the terminal of `start` is for people
        "FLASK_DEBUG": "0",  # whatever the terminal says: others may reach this server
        **network.trusted_names(host),
    }
    command = granian("workshop.host.gallery:create_gallery", host, port)
    return Server("the gallery", command, network.url_of(network.reachable(host), port), environ)


def lab_folders() -> dict[str, str]:
    """Variables that give JupyterLab and its slides folders of their own in the environment.

    So the tabs and settings of the laptop's owner do not turn up, and theirs stay as they are. An
    environment that can't be written in has none.
    """
    if not os.access(sys.prefix, os.W_OK):
        return {}
    own = Path(sys.prefix) / "share" / "jupyter" / "workshop"
    return {
        "JUPYTERLAB_WORKSPACES_DIR": str(own / "workspaces"),
        "JUPYTERLAB_SETTINGS_DIR": str(own / "user-settings"),
    }


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
        "--ServerApp.allow_root=True",
    ]
    configs = [str(LAB), os.environ.get("JUPYTER_CONFIG_PATH")]
    # The token is not on the command line, where others could read it. Kernels inherit the address.
    environ = {
        "JUPYTER_TOKEN": token,
        GALLERY_URL: gallery_url,
        "JUPYTER_CONFIG_PATH": os.pathsep.join(filter(None, configs)),
        **lab_folders(),
    }
    if settings:
        environ["JUPYTERLAB_SETTINGS_DIR"] = str(settings)
    return Server("JupyterLab", ["jupyterlab", *options], f"http://127.0.0.1:{port}", environ)


@contextlib.contextmanager
def large_type() -> Iterator[Path]:
    """A folder of settings for a projector, for as long as the block lasts."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        shutil.copytree(LAB / "large", folder, dirs_exist_ok=True)
        yield Path(folder)


def end_on_terminate() -> None:
    """Let `kill` end the workshop the way Ctrl-C does."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


def make_databases() -> None:
    """Make the databases. One that can't be made leaves its app saying so, and the others running."""
    for stage in STAGES:
        if stage.database:
            try:
                make_database(stage)
            except DatabaseFailed as error:
                click.echo(f"  {error}")


def require_ports(host: str, port: int, lab_port: int | None) -> None:
    """Raise `WorkshopError` unless the gallery and JupyterLab can listen; one sentence for both ports."""
    wanted = [(port, "--port", host)]
    if lab_port:
        wanted.append((lab_port, "--lab-port", "127.0.0.1"))
    refused = []
    for number, option, address in wanted:
        try:
            require_port(number, option, address)
        except PortInUse as error:
            refused.append((number, option, error))
    if not refused:
        return
    found = gallery_at(f"http://127.0.0.1:{port}")
    if found and found.get("folder") == FOLDER:
        raise PortInUse(f"The workshop already runs: open http://127.0.0.1:{port}/")
    if len(refused) == 1 and not found:
        raise refused[0][2]
    user = "another copy of the workshop" if found else "another program"
    ports = " and ".join(str(number) for number, _, _ in refused)
    others = " ".join(f"{option} {another_port(number)}" for number, option, _ in refused)
    one = len(refused) == 1
    raise PortInUse(
        f"{'Port' if one else 'Ports'} {ports} {'is' if one else 'are'} in use by {user}: end that one, "
        f"or choose {'another port' if one else 'other ports'}, such as {others}."
    )


def train_models(gallery_url: str) -> None:
    """Train what is not trained. A model that can't be leaves its app saying so, the others running."""
    # The apps load meanwhile; where there is no card, they need not be asked.
    asked = [stage for stage in stages_with_model() if stage.card_file.exists()]
    for stage in stages_with_model():
        if stage not in asked:
            train_and_tell(stage)
    deadline = time.monotonic() + START_LIMIT
    for stage in asked:
        # The app itself knows whether it has a model that fits, and the host makes it again with a new one.
        while (health := health_of(f"{gallery_url}/{stage.slug}")).get("status") == "loading":
            if time.monotonic() > deadline:
                return
            time.sleep(0.1)
        if health.get("status") == "unavailable":
            train_and_tell(stage)


def train_and_tell(stage: Stage) -> None:
    """Train a stage's model, and print how well it does, or why it can't be trained."""
    click.echo(f"Training the model of stage {stage.code} ...")
    try:
        click.echo(f"  {train(stage)}")
    except WorkshopError as error:
        click.echo(f"  {error}")


def wait_for_apps(gallery_url: str) -> None:
    """Return once no app is loading any more, or it takes too long: then its page says so."""
    deadline = time.monotonic() + START_LIMIT
    for stage in stages_with_app():
        url = f"{gallery_url}/{stage.slug}"
        while health_of(url).get("status") == "loading" and time.monotonic() < deadline:
            time.sleep(0.05)


def tell_news(server: Server) -> None:
    """Print what a server has logged: a traceback, if an app has crashed. Whoever mends it looks here."""
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
                end_on_terminate()
                click.echo("Starting the workshop ...")
                servers = [gallery_server(host, port, lab_port, token, present)]
                if lab_port:
                    settings = stack.enter_context(large_type()) if present else None
                    servers.append(lab_server(lab_port, token, servers[0].url, settings))
                for server in servers:
                    stack.enter_context(server)
                databases = threading.Thread(target=make_databases, daemon=True)
                databases.start()  # while the models are trained
                servers[0].wait_until_ready()
            train_models(servers[0].url)
            databases.join()
            wait_for_apps(servers[0].url)
            if lab_port:
                servers[1].wait_until_ready()
            click.echo(f"\n  The workshop   {servers[0].url}/")
            if lab_port:
                click.echo(f"  JupyterLab     {servers[1].url}/lab?token={token}")
            if present:
                click.echo(f"\n{PRESENTING}")
            if network.is_open(host):
                tell_the_room(host, port, lab=bool(lab_port))
            servers[0].log_news()  # what it printed until now is of no interest
            click.echo("\nPress Ctrl-C here to end it.")
            if open_browser:
                webbrowser.open(f"{servers[0].url}/")
            try:
                while all(server.is_running() for server in servers):
                    time.sleep(0.5)
                    tell_news(servers[0])
            finally:
                tell_news(servers[0])
            dead = next(server for server in servers if not server.is_running())
            raise ServerDied(f"{dead.name} stopped by itself. Its log ends with:\n{dead.log_end()}")
    except KeyboardInterrupt:
        click.echo("\nThe workshop has ended.")
