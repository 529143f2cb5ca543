"""The commands of `python3 -m workshop`. Each one imports what it needs when it is called."""

import contextlib
import os
import sys
from collections.abc import Sequence

import click

from workshop.bootstrap import replace_process
from workshop.errors import WorkshopError
from workshop.stages import ROOT, Stage, UnknownStage, find_stage

COMMAND_ORDER = ("start", "app", "catch-up", "train", "doctor", "test", "refresh")


class StageType(click.ParamType):
    """A stage as people type it: 4, 04, iris or 04_iris."""

    name = "stage"

    def convert(self, value, param, ctx) -> Stage:
        if isinstance(value, Stage):
            return value
        try:
            return find_stage(value)
        except UnknownStage as error:
            self.fail(str(error), param, ctx)


class PortType(click.ParamType):
    """A number from 1 to 65535."""

    name = "port"

    def convert(self, value, param, ctx) -> int:
        text = str(value)
        if not (text.isdecimal() and text.isascii() and 1 <= int(text) <= 65535):
            self.fail(f"{text!r} is not a port: give a number from 1 to 65535", param, ctx)
        return int(text)


PORT = PortType()


class InOrder(click.Group):
    """Lists the commands in the order in which a newcomer needs them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name in COMMAND_ORDER if name in self.commands]


def use_my_copy() -> None:
    """Work in the learner's copy of notebooks and apps, and say where the workshop has moved on."""
    from workshop.copies import use_copy

    for path in use_copy().behind:
        name = path.as_posix()
        click.echo(f"There is a newer {name}; yours, which you have changed, stays as it is.")


@click.group(
    cls=InOrder,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 96},
    epilog="New here? Run:  python3 -m workshop start   (on Windows: py -m workshop start)",
)
def commands() -> None:
    """From a notebook to a web app people can use, with Flask.

    Run a command from the folder that holds README.md. The first run sets everything up in the folder
    .venv, which takes a minute or two; "--wheels FOLDER" does it without a network.
    """


@commands.command()
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address the gallery listens on."
)
@click.option(
    "--port", type=PORT, default=8000, show_default=True, help="Port of the gallery and its apps."
)
@click.option("--lab-port", type=PORT, default=8888, show_default=True, help="Port of JupyterLab.")
@click.option("--no-browser", is_flag=True, help="Do not open the gallery in your browser.")
@click.option("--no-lab", is_flag=True, help="Do not start JupyterLab.")
def start(host: str, port: int, lab_port: int, no_browser: bool, no_lab: bool) -> None:
    """Run the whole workshop: the gallery with every app, and JupyterLab. Ctrl-C ends it."""
    from workshop.start import run_workshop

    use_my_copy()
    run_workshop(host, port, None if no_lab else lab_port, open_browser=not no_browser)


@commands.command()
@click.argument("stage", type=StageType())
@click.option("--port", type=PORT, help="Port to serve on.  [default: 8000 + stage]")
@click.option(
    "--debug", is_flag=True, help="Reload on changes, and show Flask's debugger on errors."
)
def app(stage: Stage, port: int | None, debug: bool) -> None:
    """Run one stage's app alone, with Flask's development server.

    STAGE may be 4, 04, iris or 04_iris.
    """
    from workshop.databases import make_database
    from workshop.running import require_app, require_port

    require_app(stage)
    use_my_copy()
    if stage.database:
        click.echo(make_database(stage))
    port = port or stage.port
    require_port(port, "--port")
    # Before Flask's own lines, among which its red warning hides the address.
    click.echo(f"Open http://127.0.0.1:{port}/ ; Ctrl-C ends it.")
    options = ["--debug"] if debug else []
    sys.exit(
        replace_process(
            [
                sys.executable,
                "-m",
                "flask",
                "--app",
                stage.app_file,
                "run",
                "--port",
                port,
                *options,
            ]
        )
    )


@commands.command("catch-up")
@click.argument("stage", type=StageType())
@click.option(
    "--fresh", is_flag=True, help="Put the stage back to how it came; your files are set aside."
)
def catch_up(stage: Stage, fresh: bool) -> None:
    """Go to the start of a stage, whatever was skipped.

    Builds what the stages before it would have built. Files that you have changed stay as they are.
    """
    from workshop import catchup

    use_my_copy()
    for line in catchup.catch_up(stage, fresh):
        click.echo(line)


@commands.command()
@click.argument("stages", nargs=-1, type=StageType(), metavar="[STAGE]...")
def train(stages: tuple[Stage, ...]) -> None:
    """Train the models of the stages named, or of all."""
    from workshop import training
    from workshop.stages import stages_with_model

    use_my_copy()
    for stage in stages or stages_with_model():
        if stage.model:
            click.echo(training.train(stage))
        else:
            click.echo(f"{stage.slug}: has no model to train")


@commands.command()
def doctor() -> None:
    """Check that everything works, and say how to mend what does not."""
    from workshop.copies import use_copy
    from workshop.doctor import examine, summary

    use_copy(make=False)
    findings = []
    for finding in examine():
        click.echo(str(finding))
        findings.append(finding)
    click.echo("\nPaste this line to your instructor:")
    click.echo(summary(findings))
    sys.exit(0 if all(finding.well for finding in findings) else 1)


@commands.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("pytest_arguments", nargs=-1, type=click.UNPROCESSED, metavar="[PYTEST ARGS]...")
def test(pytest_arguments: tuple[str, ...]) -> None:
    """Run every test, notebooks included. What follows is passed to pytest."""
    os.chdir(ROOT)
    sys.exit(replace_process([sys.executable, "-m", "pytest", *pytest_arguments]))


@commands.command()
@click.argument("stages", nargs=-1, type=StageType(), metavar="[STAGE]...")
def refresh(stages: tuple[Stage, ...]) -> None:
    """Run the notebooks of the stages named, or of all, and store their outputs."""
    from workshop import notebooks
    from workshop.stages import BASE, STAGES

    os.environ[BASE] = str(ROOT)  # the originals, wherever this is typed
    for stage in stages or STAGES:
        for file in stage.notebook_files:
            click.echo(f"running {file.name} ...")
            notebooks.refresh(file)


def run(arguments: Sequence[str]) -> int:
    """Run one command line; returns the exit code. An error a person can mend is one sentence."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):
            stream.reconfigure(encoding="utf-8", errors="replace")  # ✓ and · on any terminal
    try:
        commands.main(list(arguments) or ["--help"], prog_name="python3 -m workshop")
    except WorkshopError as error:
        click.echo(f"{error}", err=True)
        return 1
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    return 0
