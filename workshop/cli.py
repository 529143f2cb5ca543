"""The commands of `python3 -m workshop`. Each one imports what it needs when it runs."""

import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from click import UNPROCESSED, Choice, IntRange, UsageError, argument, echo, group, option
from click import Path as PathType

from workshop.core.command_line import (
    KIT_PYTHONS,
    KIT_SYSTEMS,
    REFUSALS,
    AppType,
    InOrder,
    Interrupted,
    PortType,
    StageType,
    stage_or_typed,
)
from workshop.core.errors import WorkshopError
from workshop.core.stages import BASE, STAGES, Stage, base, require_app, stages_with_model
from workshop.learn.my_copy import use_my_copy
from workshop.setup.mirror import bypass_proxies_here
from workshop.setup.process import ROOT, SetupError, replace_process

PORT = PortType()
FILE = PathType(dir_okay=False, path_type=Path)

# Arguments and options that several commands share.
stages_argument = argument("stages", nargs=-1, type=StageType(), metavar="[STAGE]...")
app_argument = argument("stage", type=AppType(use_my_copy), metavar="STAGE_OR_APP")
app_port_option = option(
    "--port", type=PORT, help="Port to serve on.  [default: 8000 + stage; your apps: 8010 and up]"
)
host_option = option(
    "--host", default="127.0.0.1", help="Address to listen on; 0.0.0.0 lets phones and others in."
)


@group(
    cls=InOrder,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 96,
        "show_default": True,
    },
    epilog="New here? Run:  python3 -m workshop start   (on Windows: py -m workshop start)",
)
def commands() -> None:
    """From a notebook to a web app people can use, with Flask.

    Run a command from the folder that holds README.md. The first run sets everything up in the folder
    .venv, which takes a minute or two. Without a network, set WORKSHOP_MIRROR to a kit's folder.
    """


@commands.command()
@host_option
@option("--port", type=PORT, default=8000, help="Port of the gallery and its apps.")
@option("--lab-port", type=PORT, default=8888, help="Port of JupyterLab.")
@option("--no-browser", is_flag=True, help="Don't open the gallery in your browser.")
@option("--no-lab", is_flag=True, help="Don't start JupyterLab.")
@option("--present", is_flag=True, help="For a projector: large type, and the notebooks as slides.")
def start(
    host: str, port: int, lab_port: int, no_browser: bool, no_lab: bool, present: bool
) -> None:
    """Run the whole workshop: the gallery with every app, and JupyterLab. Press Ctrl-C to stop."""
    from workshop.host.start import run_workshop

    use_my_copy()
    run_workshop(host, port, None if no_lab else lab_port, not no_browser, present)


@commands.command()
@app_argument
@app_port_option
@option("--debug", is_flag=True, help="Reload on changes, and show Flask's debugger on errors.")
def app(stage: Stage, port: int | None, debug: bool) -> None:
    """Run one app: a stage's, or one of your own in work/apps.

    A stage may be 4, 04, iris or 04_iris. With --debug, Flask's development server runs the app.
    """
    from workshop.core.build import make_database
    from workshop.host.network import trusted_names
    from workshop.host.ports import require_port
    from workshop.host.server import serve_stage

    require_app(stage)
    if not debug:
        serve_stage(stage, "127.0.0.1", port, 1, "Open {url} ; press Ctrl-C to stop.")
        return
    port = port or stage.port
    require_port(port, "--port")
    if stage.database:
        echo(make_database(stage))
    os.environ |= {**trusted_names("127.0.0.1"), "WORKSHOP_APP_URL": f"http://127.0.0.1:{port}/"}
    flask = ["--app", stage.app_file, "run", "--port", port, "--debug"]
    sys.exit(replace_process([sys.executable, "-m", "workshop.host.development", *flask]))


@commands.command()
@app_argument
@option(
    "--workers",
    type=IntRange(1, 64),
    default=1,
    help="Number of processes; one per core is a good choice.",
)
@option(
    "--threads",
    type=IntRange(4, 1024),
    envvar="WORKSHOP_THREADS",
    default=128,
    help="Threads per worker; each slow client keeps one busy.",
)
@host_option
@app_port_option
def serve(stage: Stage, workers: int, threads: int, host: str, port: int | None) -> None:
    """Run one app, a stage's or your own, as in production, with granian.

    Logs a line for each request. Press Ctrl-C to stop: requests in progress are finished first.
    """
    from workshop.host.server import serve_stage

    os.environ["WORKSHOP_THREADS"] = str(threads)
    told = f"Serving {stage.slug} at {{url}} with {{workers}}; press Ctrl-C to stop."
    serve_stage(stage, host, port, workers, told)


@commands.command()
@argument("name")
@option("--csv", required=True, type=PathType(path_type=Path), help="The CSV file with your table.")
@option("--target", required=True, help="The column to predict.")
@option("--task", type=Choice(["classes", "numbers"]), help="[default: whatever fits the target]")
@option("--drop", multiple=True, metavar="COLUMN", help="Leave this column out; may be repeated.")
@option("--keep", multiple=True, metavar="COLUMN", help="Use this column anyway; may be repeated.")
@option(
    "--model",
    type=Choice(["auto", "linear", "boosted"]),
    default="auto",
    help="auto tries both and keeps the better one.",
)
def new(name: str, csv: Path, **options: Any) -> None:
    """Make your own app from a table: work/apps/NAME, a small, self-contained project."""
    from workshop.learn.new_app import new_app

    use_my_copy()
    new_app(name, csv.absolute(), say=echo, apps_folder=base() / "apps", **options)


@commands.command("catch-up")
@argument("stage", callback=stage_or_typed, metavar="STAGE_OR_APP")
@option("--fresh", is_flag=True, help="Restore the original; your files are set aside.")
def catch_up(stage: Stage | str, fresh: bool) -> None:
    """Jump to the start of a stage, whatever you skipped.

    Builds what the earlier stages would have built. Files that you have changed are left alone.
    "hello" and "my" get you the app that you type in notebook 01 or 04.
    """
    from workshop.learn import catch_up as catchup

    use_my_copy()
    bring = catchup.bring_typed if isinstance(stage, str) else catchup.catch_up
    for line in bring(stage, fresh):
        echo(line)


@commands.command()
@stages_argument
@option(
    "--export",
    type=FILE,
    metavar="FILE.csv",
    help="Don't train; write the data of stage 05 or 06 to a table that a copy of its app can train from.",
)
def train(stages: tuple[Stage, ...], export: Path | None) -> None:
    """Train the models of the stages you name, or of all stages."""
    from workshop.core import build

    use_my_copy()
    if export and len(stages) != 1:
        raise UsageError("--export takes exactly one stage, such as: train 05 --export FILE.csv")
    if export:
        echo(build.export(stages[0], export))
        return
    for stage in stages or stages_with_model():
        if stage.model:
            echo(f"{stage.slug}: training ...", err=True)
            echo(build.train(stage))
        else:
            echo(f"{stage.slug}: has no model to train")


@commands.command()
@argument("stage", type=StageType())
@argument(
    "people",
    type=PathType(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    metavar="FILE.csv",
)
@option(
    "-o",
    "--output",
    required=True,
    type=FILE,
    help="Where to write the result; bad rows go to a new .bad.csv file next to it.",
)
@option("--dask", metavar="ADDRESS", help="Use the workers of this Dask cluster.")
def score(stage: Stage, people: Path, output: Path, dask: str | None) -> None:
    """Predict for everyone in a CSV file with a stage's model.

    The result is your file with the predictions added; - means standard input or output. Fix the rows that
    were set aside in their own file, then score that file. Exit code 3: done, but some rows were set aside.
    """
    from workshop.core import score as scoring

    use_my_copy()
    sys.exit(scoring.score(stage, people, output, dask))


@commands.command()
@option("--repair", is_flag=True, help="First reinstall packages that are damaged or missing.")
def doctor(repair: bool) -> None:
    """Check that everything works, and say how to fix what doesn't."""
    from workshop.setup.environment import find_environment
    from workshop.setup.set_up import repair as install_again
    from workshop.teach.doctor import examine, summary

    if repair:
        install_again(find_environment())
    use_my_copy(make=False)
    findings = []
    for finding in examine():
        echo(str(finding))
        findings.append(finding)
    echo("\nPaste this line to your instructor:")
    echo(summary(findings))
    sys.exit(0 if all(finding.ok for finding in findings) else 1)


@commands.command()
@argument("folder", type=PathType(path_type=Path))
@option(
    "--platform",
    "systems",
    multiple=True,
    type=Choice([*KIT_SYSTEMS, "all"]),
    help="System to include wheels for; may be repeated.  [default: this computer's]",
)
@option(
    "--python",
    "pythons",
    multiple=True,
    type=Choice(KIT_PYTHONS),
    help="Python version to include wheels for; may be repeated.  [default: this one]",
)
@option("--with-tests", is_flag=True, help="Also include what only the tests need.")
def kit(folder: Path, systems: tuple[str, ...], pythons: tuple[str, ...], with_tests: bool) -> None:
    """Make a folder for a USB stick, to set up the workshop where there is no network.

    To make the folder the room's mirror, serve it with "python3 -m http.server 9000". Run the command again
    to finish an interrupted kit, to add systems, or to update the folder.
    """
    from workshop.teach.usb_kit import make_kit

    make_kit(folder, KIT_SYSTEMS if "all" in systems else systems, pythons, with_tests)


@commands.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@option("--all", "everything", is_flag=True)
@argument("pytest_arguments", nargs=-1, type=UNPROCESSED, metavar="[PYTEST ARGS]...")
def test(everything: bool, pytest_arguments: tuple[str, ...]) -> None:
    """Run the tests, notebooks included; with --all, the slow ones too.

    Anything else you type is passed to pytest.
    """
    from workshop.upkeep.run_tests import pytest_command

    os.chdir(ROOT)
    sys.exit(replace_process(pytest_command(everything, pytest_arguments)))


@commands.command()
@stages_argument
@option("--guide", is_flag=True, help="Write the run sheets into the instructor's guide instead.")
def refresh(stages: tuple[Stage, ...], guide: bool) -> None:
    """Run the notebooks of the stages you name, or of all stages, and store their outputs."""
    from workshop.upkeep import instructor_guide, refresh_notebooks

    if guide:
        text = instructor_guide.renewed()
        instructor_guide.GUIDE.write_text(text, encoding="utf-8", newline="\n")
        return
    os.environ[BASE] = str(ROOT)  # the originals, whatever the current folder is
    for stage in stages or STAGES:
        for file in stage.notebook_files:
            echo(f"running {file.name} ...")
            refresh_notebooks.refresh(file)


COMMAND_ORDER = tuple(commands.commands)


def run(arguments: Sequence[str]) -> int:
    """Run one command line; returns the exit code. Prints one sentence for an error that a person can fix."""
    bypass_proxies_here()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):
            stream.reconfigure(encoding="utf-8", errors="replace")  # ✓ and · on any terminal
    try:
        commands.main(list(arguments) or ["--help"], prog_name="python3 -m workshop")
    except (WorkshopError, SetupError) as error:
        echo(f"{error}", err=True)
        return 130 if isinstance(error, Interrupted) else 1
    except OSError as error:
        if error.errno not in REFUSALS:
            raise
        echo(
            f"{error.filename or 'A file'} can't be written ({error.strerror}): free some space, or move "
            "the workshop to a folder of your own; then run the same command again.",
            err=True,
        )
        return 1
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    return 0
