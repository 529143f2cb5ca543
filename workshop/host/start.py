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
from workshop.host.guard import trusted_proxies
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

# `labconfig` contains the workshop's defaults for JupyterLab and for slides: no question about news, and
# nothing in slides that comes from the internet. `large` contains user settings, because JupyterLab reads
# font sizes only from those. `custom` styles the notebooks, and `workspaces` says what is open at the first
# start.
LAB = Path(__file__).parent / "lab"

PRESENTING = """\
Present: press "Slides" on a stage's card, then F11 for the full screen.
  Space goes forward, Shift+Space goes back. S opens your notes in a separate window.
  To run code, click it and press Shift+Enter. To leave the slides, close the tab."""


def gallery_server(
    host: str, port: int, lab_port: int | None, token: str, present: bool = False
) -> Server:
    """The gallery as a server that listens on `host`; `token` opens JupyterLab at `lab_port`."""
    found = network.addresses(host)
    environ = {
        network.LAB_PORT: str(lab_port or ""),
        network.LAB_TOKEN: token,
        network.PRESENT: "1" if present else "",
        network.ROOM: network.url_of(found[0], port) if found else "",
        "PREDICTION_LOG": "off",  # stage 07's log would hide what `start` prints
        "FLASK_DEBUG": "0",  # even if the terminal sets it: others may reach this server
        **network.trusted_names(host),
    }
    command = granian("workshop.host.gallery:create_gallery", host, port)
    return Server("the gallery", command, network.url_of(network.reachable(host), port), environ)


def lab_folders() -> dict[str, str]:
    """Environment variables that give JupyterLab, its slides and its kernels separate folders in `.venv`.

    So the laptop owner's tabs, settings and configuration don't appear here, and aren't changed. At the
    first start the table of contents is open. If `.venv` isn't writable, the folders are in the learner's
    copy.
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
        "JUPYTER_NO_CONFIG": "",  # it would turn off our configuration too
        "IPYTHONDIR": str(own),
    }


def draw_sharply() -> None:
    """Make this environment's kernels draw figures for high-resolution screens, in the apps' colors."""
    folder = Path(sys.prefix) / "etc" / "ipython"  # where IPython looks
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(LAB / "ipython_kernel_config.json", folder)


def lab_server(port: int, token: str, gallery_url: str, settings: Path | None = None) -> Server:
    """JupyterLab with the learner's notebooks and apps, for this machine only, even with `--host`.

    `settings` is the folder with the user's settings, if it isn't the usual one.
    """
    options = [
        f"--ServerApp.root_dir={base()}",
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0",
        "--ServerApp.open_browser=False",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--LabApp.extension_manager=readonly",
        f"--LabServerApp.extra_labextensions_path={LAB / 'labextensions'}",
        "--LabApp.custom_css=True",
        # By default, JupyterLab looks for the style sheet among the laptop owner's settings.
        f"--ServerApp.tornado_settings=static_custom_path={LAB / 'custom'}",
        "--ServerApp.allow_root=True",
    ]
    # Other users could read a token on the command line. Kernels inherit the gallery's address.
    environ = {"JUPYTER_TOKEN": token, GALLERY_URL: gallery_url} | lab_folders()
    if settings:
        environ["JUPYTERLAB_SETTINGS_DIR"] = str(settings)
    command = ["workshop.host.jupyter_lab", *options]
    return Server("JupyterLab", command, f"http://127.0.0.1:{port}", environ)


@contextlib.contextmanager
def large_type() -> Iterator[Path]:
    """A folder with settings for a projector, deleted when the block ends."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        shutil.copytree(LAB / "large", folder, dirs_exist_ok=True)
        yield Path(folder)


def require_ports(host: str, port: int, lab_port: int | None) -> None:
    """Raise `WorkshopError` if the gallery or JupyterLab can't listen; one sentence covers both ports."""
    refused: dict[int, PortInUse] = {}
    options = {port: "--port", lab_port: "--lab-port"}
    for number in filter(None, options):
        try:
            require_port(number, options[number], host if number == port else "127.0.0.1")
        except PortInUse as error:
            refused[number] = error
    if not refused:
        return
    found = gallery_at(f"http://127.0.0.1:{port}")
    if found and found.get("folder") == FOLDER:
        raise PortInUse(f"The workshop is already running: open http://127.0.0.1:{port}/")
    if len(refused) == 1 and not found:
        raise refused.popitem()[1]
    user = "Another copy of the workshop" if found else "Another program"
    others = " ".join(f"{options[number]} {another_port(number)}" for number in refused)
    raise PortInUse(
        f"{user} is using port {' and '.join(map(str, refused))}: stop that one, or start the workshop "
        f"with {others}."
    )


def train_models(gallery_url: str) -> None:
    """Train the missing models, and return once every app has loaded.

    If an app takes too long, or its model can't be trained, its page tells visitors; the others run.
    """
    untrained = [stage for stage in stages_with_model() if not stage.card_file.exists()]

    def health(stage: Stage) -> dict:
        return health_of(f"{gallery_url}/{stage.slug}")

    # A health check makes an app load. The first import of scikit-learn on a machine is slow, so apps whose
    # models aren't trained load only after this process has imported it.
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
        # The model has a card, but only the app knows whether it can use the model.
        no_model = stage.model and status_of(f"{gallery_url}/{stage.slug}/model") == 503
        if no_model and stage not in untrained:
            train_and_tell(stage)
            health(stage)
        elif not no_model:
            click.echo(f"  {stage.slug}: {found['reason']}")


def train_and_tell(stage: Stage) -> None:
    """Train a stage's model, and print its score, or why it can't be trained."""
    click.echo(f"Training the model of stage {stage.code} ...")
    try:
        click.echo(f"  {train(stage)}")
    except WorkshopError as error:
        click.echo(f"  {error}")


def print_log(server: Server) -> None:
    """Print what a server has logged since the last call, such as the traceback of an app's error."""
    click.echo(server.log_news(), nl=False, err=True)


def print_address(host: str, port: int, lab: bool) -> None:
    """Print what others type or scan to open the gallery, and what they can reach."""
    found = network.addresses(host)
    if not found:
        click.echo(
            "\nThis computer isn't connected to a network, so nobody else can open the workshop: "
            "connect it to the room's wifi, then start again."
        )
        return
    first, *others = [network.url_of(address, port) for address in found]
    click.echo(f"\nFor the room: {first}")
    if others:
        click.echo(f"  or, if that doesn't open: {', '.join(others)}")
    click.echo(f"\n{network.qr_for_terminal(first)}\n")
    limit = "only you can open JupyterLab." if lab else "nothing else."
    click.echo(f"Everyone on this network can open the gallery and the apps; {limit}")


def run_workshop(
    host: str, port: int, lab_port: int | None, open_browser: bool, present: bool = False
) -> None:
    """Serve until Ctrl-C. The addresses are printed once everything has answered.

    With `present`, JupyterLab is set up for a projector. Raises `WorkshopError` if a port is in use, a
    server doesn't start, or a variable has no valid value.
    """
    if present and not lab_port:
        raise WorkshopError("Slides need JupyterLab: leave out --no-lab or --present.")
    if port == lab_port:
        raise WorkshopError(
            "The gallery and JupyterLab can't share a port: change --port or --lab-port."
        )
    trusted_proxies()  # here its error is one sentence, in the gallery's log a traceback
    token = secrets.token_hex(16)
    try:
        with contextlib.ExitStack() as stack:
            # If two are started together, the second one waits, and then finds the first at the port.
            with one_at_a_time("The workshop is already being started; waiting ..."):
                require_ports(host, port, lab_port)
                signal.signal(signal.SIGTERM, signal.default_int_handler)  # `kill` acts as Ctrl-C
                click.echo("Starting the workshop ...")
                if present:
                    from workshop.host.slides import make_slides  # here: importing nbformat is slow

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
                print_address(host, port, lab=bool(lab_port))
            gallery.log_news()  # skip what it printed while it started
            click.echo("\nPress Ctrl-C to stop.")
            if open_browser:
                webbrowser.open(f"{gallery.url}/")
            stack.callback(print_log, gallery)
            while all(server.is_running() for server in servers):
                time.sleep(0.5)
                print_log(gallery)
            for server in servers:
                server.require_running("stopped unexpectedly")
    except KeyboardInterrupt:
        click.echo("\nThe workshop has stopped.")
