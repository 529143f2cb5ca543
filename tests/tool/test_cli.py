"""The command line: its help, its errors, and what each command starts."""

import os
import sys

import pytest

from workshop import cli
from workshop.core import build
from workshop.core.errors import WorkshopError
from workshop.core.stages import STAGES, find_stage, stages_with_model
from workshop.setup.process import ROOT
from workshop.upkeep import refresh_notebooks


@pytest.fixture
def replaced(monkeypatch):
    """The commands that would have replaced this process."""
    commands = []

    def note(command):
        commands.append([str(part) for part in command])
        return 0

    monkeypatch.setattr(cli, "replace_process", note)
    monkeypatch.setattr("workshop.host.ports.require_port", lambda *_: None)
    return commands


@pytest.fixture
def served(monkeypatch):
    """The arguments of each call of `serve_stage`."""
    calls = []
    monkeypatch.setattr(
        os, "environ", dict(os.environ)
    )  # commands set variables for their children
    monkeypatch.setattr("workshop.host.server.serve_stage", lambda *asked: calls.append(asked))
    return calls


def test_help_lists_every_command_in_order_and_what_a_newcomer_types(capsys):
    assert cli.run([]) == 0
    told = capsys.readouterr().out
    order = [told.index(f"\n  {name} ") for name in cli.COMMAND_ORDER]
    assert order == sorted(order)
    assert "python3 -m workshop start" in told
    assert set(cli.COMMAND_ORDER) == set(cli.commands.commands), "none is left out of the help"


@pytest.mark.parametrize("name", [name for name in cli.COMMAND_ORDER if name != "test"])
def test_every_command_has_its_help(name, capsys):
    assert cli.run([name, "--help"]) == 0
    assert f"Usage: python3 -m workshop {name}" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["4", "04", "iris", "04_iris"])
def test_a_stage_is_named_in_four_ways(text, served):
    assert cli.run(["app", text, "--port", "8104"]) == 0
    assert served[0][:4] == (find_stage("04_iris"), "127.0.0.1", 8104, 1)


def test_app_with_the_debugger_is_flasks_own_server(replaced, served):
    assert cli.run(["app", "iris", "--port", "8104", "--debug"]) == 0
    app_file = str(ROOT / "apps" / "04_iris" / "app.py")
    asked = [sys.executable, "-m", "workshop.host.development", "--app", app_file]
    assert replaced == [[*asked, "run", "--port", "8104", "--debug"]]
    assert served == []


def test_serve_passes_its_options_on(served):
    options = ["--workers", "2", "--threads", "64", "--host", "0.0.0.0", "--port", "8200"]  # noqa: S104
    assert cli.run(["serve", "5", *options]) == 0
    assert served[0][:4] == (find_stage("census"), "0.0.0.0", 8200, 2)  # noqa: S104
    assert os.environ["WORKSHOP_THREADS"] == "64"


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
    monkeypatch.setattr(build, "train", lambda stage: f"{stage.slug}: trained")
    assert cli.run(["train", "iris"]) == 0
    assert capsys.readouterr().out == "04_iris: trained\n"
    assert cli.run(["train"]) == 0
    trained = [f"{stage.slug}: trained" for stage in stages_with_model()]
    assert capsys.readouterr().out.splitlines() == trained
    assert cli.run(["train", "hello"]) == 0
    assert capsys.readouterr().out.startswith("01_hello: ")


def test_refresh_runs_the_notebooks_of_the_stages_named_or_of_all(monkeypatch):
    refreshed = []
    monkeypatch.setattr(refresh_notebooks, "refresh", refreshed.append)
    assert cli.run(["refresh", "4"]) == 0
    assert refreshed == [ROOT / "notebooks" / "04_iris.ipynb"]
    refreshed.clear()
    assert cli.run(["refresh"]) == 0
    assert refreshed == [file for stage in STAGES for file in stage.notebook_files]


@pytest.mark.parametrize(
    "option", [("start", "--port"), ("start", "--lab-port"), ("app", "4", "--port")]
)
def test_a_port_that_cannot_be(option, capsys, served, monkeypatch):
    monkeypatch.setattr("workshop.host.start.run_workshop", lambda *_, **__: None)
    for port in ("0", "-1", "65536", "abc", "²"):
        assert cli.run([*option, port]) == 2
        told = capsys.readouterr().err
        assert option[-1] in told
        assert f"'{port}'" in told
    assert served == []


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["app", "nine"], 2, ["'nine'", "04_iris"]),
        (["train", "nine"], 2, ["'nine'", "04_iris"]),
        (["refresh", "nine"], 2, ["'nine'", "04_iris"]),
        (["app", "0"], 1, ["00_start_here"]),
        (["strat"], 2, ["'strat'"]),
        (["train", "4"], 1, ["can't be saved: make room"]),
    ],
    ids=lambda part: " ".join(part) if isinstance(part, list) else None,
)
def test_what_cannot_be_done_is_a_sentence(
    monkeypatch, capsys, replaced, served, arguments, code, words
):
    def fail(stage):
        raise WorkshopError(f"the model of stage {stage.slug} can't be saved: make room")

    monkeypatch.setattr(build, "train", fail)
    assert cli.run(arguments) == code
    told = capsys.readouterr()
    assert all(word in told.err for word in words)
    assert told.out == ""
    assert "Traceback" not in told.err
    assert replaced == served == []
