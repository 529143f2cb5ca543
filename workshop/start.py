"""`python3 -m workshop start`: the gallery with every app, and JupyterLab, until Ctrl-C."""

import contextlib
import os
import secrets
import signal
import sys
import time
import webbrowser
from pathlib import Path

import click

from workshop import gallery, training
from workshop.databases import DatabaseFailed, make_database
from workshop.errors import WorkshopError
from workshop.running import (
    FOLDER,
    GALLERY_URL,
    PortInUse,
    Server,
    ServerDied,
    another_port,
    gallery_at,
    require_port,
    status_of,
)
from workshop.stages import STAGES, base, stages_with_model

# Its overrides.json holds the workshop's defaults for JupyterLab: no question about news, above all.
LAB_SETTINGS = Path(__file__).parent / "lab"


def gallery_server(host: str, port: int, lab_port: int | None, token: str) -> Server:
    command = ["granian", "--interface", "wsgi", "--factory", "workshop.gallery:create_gallery"]
    options = ["--host", host, "--port", port, "--no-access-log", "--blocking-threads", 8]
    environ = {gallery.LAB_PORT: str(lab_port or ""), gallery.LAB_TOKEN: token}
    reachable = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104 (asked for by name)
    address = f"[{reachable}]" if ":" in reachable else reachable
    return Server("the gallery", [*command, *options], f"http://{address}:{port}", environ)


def lab_folders() -> list[str]:
    """Options that give JupyterLab folders of its own in the environment.

    So the tabs and settings of the laptop's owner do not turn up, and theirs stay as they are. An
    environment that can't be written in has none.
    """
    if not os.access(sys.prefix, os.W_OK):
        return []
    own = Path(sys.prefix) / "share" / "jupyter" / "workshop"
    return [
        f"--LabApp.workspaces_dir={own / 'workspaces'}",
        f"--LabApp.user_settings_dir={own / 'user-settings'}",
    ]


def lab_server(port: int, token: str, gallery_url: str) -> Server:
    """JupyterLab on the learner's notebooks and apps, for this machine alone, whatever address the gallery listens on."""
    options = [
        f"--ServerApp.root_dir={base()}",
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0",
        "--ServerApp.open_browser=False",
        f"--LabApp.app_settings_dir={LAB_SETTINGS}",
        *lab_folders(),
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--ServerApp.allow_root=True",
    ]
    # The token is not on the command line, where others could read it. Kernels inherit the address.
    environ = {"JUPYTER_TOKEN": token, GALLERY_URL: gallery_url}
    return Server("JupyterLab", ["jupyterlab", *options], f"http://127.0.0.1:{port}", environ)


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
    for stage in stages_with_model():
        # The app itself knows whether it has a model that fits, and takes a new one up unasked.
        if status_of(f"{gallery_url}/{stage.slug}/model") == 503:
            click.echo(f"Training the model of stage {stage.code} ...")
            try:
                click.echo(f"  {training.train(stage)}")
            except WorkshopError as error:
                click.echo(f"  {error}")


def run_workshop(host: str, port: int, lab_port: int | None, open_browser: bool) -> None:
    """Serve until Ctrl-C. Everything has answered once when the addresses are printed.

    Raises `WorkshopError` if a port is taken or a server does not come up.
    """
    require_ports(host, port, lab_port)
    if port == lab_port:
        raise WorkshopError(
            "The gallery and JupyterLab need a port each: change --port or --lab-port."
        )
    end_on_terminate()
    token = secrets.token_hex(16)
    servers = [gallery_server(host, port, lab_port, token)]
    if lab_port:
        servers.append(lab_server(lab_port, token, servers[0].url))
    click.echo("Starting the workshop ...")
    make_databases()
    try:
        with contextlib.ExitStack() as stack:
            for server in servers:
                stack.enter_context(server)
            servers[0].wait_until_ready()
            train_models(servers[0].url)
            if lab_port:
                servers[1].wait_until_ready()
            click.echo(f"\n  The workshop   {servers[0].url}/")
            if lab_port:
                click.echo(f"  JupyterLab     {servers[1].url}/lab?token={token}")
            click.echo("\nPress Ctrl-C here to end it.")
            if open_browser:
                webbrowser.open(f"{servers[0].url}/")
            while all(server.is_running() for server in servers):
                time.sleep(0.5)
            dead = next(server for server in servers if not server.is_running())
            raise ServerDied(f"{dead.name} stopped by itself. Its log ends with:\n{dead.log_end()}")
    except KeyboardInterrupt:
        click.echo("\nThe workshop has ended.")
