"""`python3 -m workshop start`: the gallery with every app, and JupyterLab, until Ctrl-C."""

import contextlib
import secrets
import signal
import time
import webbrowser

import click

from workshop import gallery, training
from workshop.databases import DatabaseFailed, make_database
from workshop.errors import WorkshopError
from workshop.running import Server, ServerDied, require_port, status_of
from workshop.stages import NOTEBOOKS, STAGES, stages_with_model


def gallery_server(host: str, port: int, lab_port: int | None, token: str) -> Server:
    command = ["granian", "--interface", "wsgi", "--factory", "workshop.gallery:create_gallery"]
    options = ["--host", host, "--port", port, "--no-access-log", "--blocking-threads", 8]
    environ = {gallery.LAB_PORT: str(lab_port or ""), gallery.LAB_TOKEN: token}
    reachable = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104 (asked for by name)
    address = f"[{reachable}]" if ":" in reachable else reachable
    return Server("the gallery", [*command, *options], f"http://{address}:{port}", environ)


def lab_server(port: int, token: str) -> Server:
    """JupyterLab on `notebooks/`, for this machine alone, whatever address the gallery listens on."""
    options = [
        f"--ServerApp.root_dir={NOTEBOOKS}",
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0",
        "--ServerApp.open_browser=False",
        "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--ServerApp.allow_root=True",
    ]
    environ = {"JUPYTER_TOKEN": token}  # not on the command line, where others could read it
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


def run_workshop(host: str, port: int, lab_port: int | None, open_browser: bool) -> None:
    """Serve until Ctrl-C. Everything has answered once when the addresses are printed.

    Raises `WorkshopError` if a port is taken or a server does not come up.
    """
    require_port(port, "--port", host)
    if lab_port:
        require_port(lab_port, "--lab-port")
    if port == lab_port:
        raise WorkshopError(
            "The gallery and JupyterLab need a port each: change --port or --lab-port."
        )
    end_on_terminate()
    token = secrets.token_hex(16)
    servers = [gallery_server(host, port, lab_port, token)]
    if lab_port:
        servers.append(lab_server(lab_port, token))
    click.echo("Starting the workshop ...")
    make_databases()
    try:
        with contextlib.ExitStack() as stack:
            for server in servers:
                stack.enter_context(server)
            servers[0].wait_until_ready()
            for stage in stages_with_model():
                # The app itself knows whether it has a model that fits, and takes a new one up unasked.
                if status_of(f"{servers[0].url}/{stage.slug}/healthz") == 503:
                    click.echo(f"Training the model of stage {stage.code} ...")
                    click.echo(f"  {training.train(stage)}")
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
