"""The command line: its help, its errors, and what each command starts."""

import os
import sys

import pytest

from workshop import cli
from workshop.core import build
from workshop.core.errors import WorkshopError
from workshop.core.stages import STAGES, find_stage, stages_with_model
from workshop.setup.process import ROOT

OPEN = "0.0.0.0"  # noqa: S104


@pytest.fixture
def started(monkeypatch):
    """What commands would have started: the arguments of each call, or the command."""
    calls = []

    def note(*asked, **_):
        calls.append(asked)
        return 0

    monkeypatch.setattr(os, "environ", os.environ.copy())  # commands set variables for children
    monkeypatch.setattr(cli, "replace_process", note)
    monkeypatch.setattr(build, "train", lambda stage: note(stage) or f"{stage.slug}: trained")
    monkeypatch.setattr("workshop.host.ports.require_port", lambda *_: None)
    monkeypatch.setattr("workshop.host.server.serve_stage", lambda *asked: note(*asked[:4]))
    monkeypatch.setattr("workshop.host.start.run_workshop", note)
    monkeypatch.setattr("workshop.upkeep.refresh_notebooks.refresh", note)
    return calls


def test_help_lists_every_command_in_order_and_what_a_newcomer_types(capsys):
    assert cli.run([]) == 0
    told = capsys.readouterr().out
    order = [told.index(f"\n  {name} ") for name in cli.COMMAND_ORDER]
    assert order == sorted(order)
    assert "python3 -m workshop start" in told
    assert set(cli.COMMAND_ORDER) == set(cli.commands.commands), "none is left out of the help"
    for name in set(cli.COMMAND_ORDER) - {"test"}:  # whose options are pytest's
        assert cli.run([name, "--help"]) == 0
        assert f"Usage: python3 -m workshop {name}" in capsys.readouterr().out


IRIS, CENSUS = find_stage("iris"), find_stage("census")
NOTEBOOKS = [file for stage in STAGES for file in stage.notebook_files]
DEBUG = [sys.executable, "-m", "workshop.host.development", "--app", IRIS.app_file]


@pytest.mark.parametrize(
    ("command", "asked"),
    [
        ("start", [("127.0.0.1", 8000, 8888, True, False)]),
        ("start --no-browser --no-lab", [("127.0.0.1", 8000, None, False, False)]),
        (f"start --host {OPEN} --port 81 --lab-port 98 --present", [(OPEN, 81, 98, True, True)]),
        *((f"app {name} --port 81", [(IRIS, "127.0.0.1", 81, 1)]) for name in IRIS.names),
        ("app iris --port 81 --debug", [([*DEBUG, "run", "--port", 81, "--debug"],)]),
        (f"serve 5 --workers 2 --host {OPEN} --port 82", [(CENSUS, OPEN, 82, 2)]),
        ("train iris", [(IRIS,)]),
        ("train", [(stage,) for stage in stages_with_model()]),
        ("refresh 4", [(ROOT / "notebooks" / "04_iris.ipynb",)]),
        ("refresh", [(file,) for file in NOTEBOOKS]),
    ],
)
def test_a_command_passes_on_what_is_asked(started, command, asked):
    assert cli.run(command.split()) == 0
    assert started == asked


@pytest.mark.parametrize("port", ["0", "65536", "abc", "²"])
@pytest.mark.parametrize("option", ["start --lab-port", "app 4 --port"])
def test_a_port_that_cannot_be(option, port, capsys, started):
    assert cli.run([*option.split(), port]) == 2
    told = capsys.readouterr().err
    assert option.split()[-1] in told
    assert f"'{port}'" in told
    assert started == []


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        ("app nine", 2, ["'nine'", "04_iris"]),
        ("train nine", 2, ["'nine'", "04_iris"]),
        ("app 0", 1, ["00_start_here"]),
        ("strat", 2, ["'strat'"]),
        ("train 4", 1, ["can't be saved: make room"]),
    ],
)
def test_what_cannot_be_done_is_a_sentence(monkeypatch, capsys, started, command, code, words):
    def fail(stage):
        raise WorkshopError(f"the model of stage {stage.slug} can't be saved: make room")

    monkeypatch.setattr(build, "train", fail)
    assert cli.run(command.split()) == code
    told = capsys.readouterr()
    assert all(word in told.err for word in words)
    assert (told.out, started) == ("", [])
    assert "Traceback" not in told.err
