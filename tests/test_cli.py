"""The command line: its help, its errors, and what each command starts."""

import os
import sys

import pytest

from workshop import cli
from workshop.core import build as training
from workshop.core.errors import WorkshopError
from workshop.core.stages import STAGES, find_stage, stages_with_model
from workshop.setup.process import ROOT
from workshop.upkeep import refresh_notebooks as notebooks


@pytest.fixture
def replaced(monkeypatch):
    """The commands that would have taken this process's place."""
    commands = []

    def note(command):
        commands.append([str(part) for part in command])
        return 0

    monkeypatch.setattr(
        os, "environ", dict(os.environ)
    )  # a command sets variables for its successor
    monkeypatch.setattr(cli, "replace_process", note)
    monkeypatch.setattr("workshop.host.ports.require_port", lambda *_: None)
    return commands


@pytest.fixture
def served(monkeypatch):
    """What `serve_stage` was asked for each time."""
    calls = []
    monkeypatch.setattr("workshop.host.server.serve_stage", lambda *asked: calls.append(asked))
    return calls


def test_without_a_command_there_is_help_for_a_newcomer(capsys):
    assert cli.run([]) == 0
    told = capsys.readouterr().out
    for name in cli.COMMAND_ORDER:
        assert f"\n  {name} " in told
    order = [told.index(f"\n  {name} ") for name in cli.COMMAND_ORDER]
    assert order == sorted(order)
    assert "New here? Run:  python3 -m workshop start" in told
    assert set(cli.COMMAND_ORDER) == set(cli.commands.commands), (
        "no command is left out of the help"
    )


@pytest.mark.parametrize("name", [name for name in cli.COMMAND_ORDER if name != "test"])
def test_every_command_has_its_help(name, capsys):
    assert cli.run([name, "--help"]) == 0
    assert f"Usage: python3 -m workshop {name}" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["4", "04", "iris", "04_iris"])
def test_a_stage_is_named_in_four_ways(text, served):
    assert cli.run(["app", text]) == 0
    told = "Open {url} ; Ctrl-C ends it."
    assert served == [(find_stage("04_iris"), "127.0.0.1", None, 1, told)]


def test_app_on_another_port(served):
    assert cli.run(["app", "iris", "--port", "8104"]) == 0
    assert served[0][2] == 8104


def test_app_with_the_debugger_is_flasks_own_server(replaced, served):
    assert cli.run(["app", "iris", "--port", "8104", "--debug"]) == 0
    app_file = str(ROOT / "apps" / "04_iris" / "app.py")
    asked = [sys.executable, "-m", "workshop.host.development", "--app", app_file]
    asked += ["run", "--port", "8104", "--debug"]
    assert replaced == [asked]
    assert served == []


def test_serve_passes_its_options_on(served, replaced):
    options = ["--workers", "2", "--threads", "64", "--host", "0.0.0.0", "--port", "8200"]  # noqa: S104
    assert cli.run(["serve", "5", *options]) == 0
    assert served[0][:4] == (find_stage("census"), "0.0.0.0", 8200, 2)  # noqa: S104
    assert os.environ["WORKSHOP_THREADS"] == "64"


@pytest.mark.parametrize("command", ["app", "train", "refresh"])
def test_an_unknown_stage_lists_those_there_are(command, capsys):
    assert cli.run([command, "nine"]) == 2
    told = capsys.readouterr().err
    assert "there is no stage 'nine'; the stages are" in told
    assert "04_iris" in told


def test_a_stage_without_an_app_says_what_to_open(capsys, replaced, served):
    assert cli.run(["app", "0"]) == 1
    assert capsys.readouterr().err == (
        "stage 00_start_here has no app; open its notebook instead\n"
    )
    assert replaced == served == []


@pytest.mark.parametrize(
    "arguments",
    [["start", "--port"], ["start", "--lab-port"], ["app", "4", "--port"]],
    ids=lambda arguments: " ".join(arguments),
)
@pytest.mark.parametrize("port", ["0", "-1", "65536", "abc", "²"])
def test_a_port_that_cannot_be(arguments, port, capsys, served, monkeypatch):
    monkeypatch.setattr("workshop.host.start.run_workshop", lambda *_, **__: None)
    assert cli.run([*arguments, port]) == 2
    told = capsys.readouterr().err
    assert f"Invalid value for '{arguments[-1]}'" in told
    assert f"'{port}' is not a port: give a number from 1 to 65535" in told
    assert served == []


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        ([], ("127.0.0.1", 8000, 8888, True, False)),
        (["--no-browser", "--no-lab"], ("127.0.0.1", 8000, None, False, False)),
        (
            ["--host", "0.0.0.0", "--port", "8100", "--lab-port", "8988", "--present"],  # noqa: S104
            ("0.0.0.0", 8100, 8988, True, True),  # noqa: S104
        ),
    ],
)
def test_start_passes_its_options_on(arguments, asked, monkeypatch):
    calls = []
    monkeypatch.setattr("workshop.host.start.run_workshop", lambda *asked: calls.append(asked))
    assert cli.run(["start", *arguments]) == 0
    assert calls == [asked]


def test_train_trains_the_stages_named_or_all(monkeypatch, capsys):
    monkeypatch.setattr(training, "train", lambda stage: f"{stage.slug}: trained")
    assert cli.run(["train", "iris"]) == 0
    assert capsys.readouterr().out == "04_iris: trained\n"
    assert cli.run(["train"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{s.slug}: trained" for s in stages_with_model()
    ]


def test_train_says_that_a_stage_has_no_model(capsys):
    assert cli.run(["train", "hello"]) == 0
    assert capsys.readouterr().out == "01_hello: has no model to train\n"


def test_refresh_runs_the_notebooks_of_the_stages_named_or_of_all(monkeypatch, capsys):
    refreshed = []
    monkeypatch.setattr(notebooks, "refresh", refreshed.append)
    assert cli.run(["refresh", "4"]) == 0
    assert refreshed == [ROOT / "notebooks" / "04_iris.ipynb"]
    assert "running 04_iris.ipynb" in capsys.readouterr().out
    refreshed.clear()
    assert cli.run(["refresh"]) == 0
    assert refreshed == [file for stage in STAGES for file in stage.notebook_files]


def test_an_error_a_person_can_mend_is_one_sentence(monkeypatch, capsys):
    def fail(stage):
        raise WorkshopError(f"the model of stage {stage.slug} can't be saved: make room")

    monkeypatch.setattr(training, "train", fail)
    assert cli.run(["train", "4"]) == 1
    told = capsys.readouterr()
    assert told.err.splitlines() == [
        "04_iris: training ...",
        "the model of stage 04_iris can't be saved: make room",
    ]
    assert told.out == ""


def test_a_command_that_is_not_there(capsys):
    assert cli.run(["strat"]) == 2
    assert "No such command 'strat'" in capsys.readouterr().err


def test_the_stage_type_takes_a_stage_too():
    stage = find_stage("iris")
    assert cli.StageType().convert(stage, None, None) is stage
