"""The databases of the stages are made by their own apps' command."""

import os
from pathlib import Path

import pytest

from workshop.core.build import DatabaseFailed, make_database
from workshop.core.stages import STAGES, Stage

APP = """
import click
from flask import Flask

def create_app(config=None):
    app = Flask(__name__)
    app.config.from_mapping(config)

    @app.cli.command("init-db")
    def init_db():
        {body}

    return app
"""


@pytest.fixture
def stage(tmp_path, monkeypatch):
    """A stage whose `init-db` does what the test writes into it."""
    monkeypatch.setattr(Stage, "folder", tmp_path)
    return Stage(number=99, name="shelf", title="", learn="", minutes=1, database=True)


def write(stage, body):
    stage.app_file.write_text(APP.format(body=body), encoding="utf-8")


def test_it_says_what_the_command_says(stage):
    write(stage, "click.echo('Made the shelf.')")
    assert make_database(stage) == "Made the shelf."


def test_it_waits_for_no_model(stage):
    write(stage, "click.echo(app.config['MODEL_FOLDER'])")
    assert not Path(make_database(stage)).is_dir()


def test_a_command_that_fails_is_one_sentence(stage):
    write(stage, "raise click.ClickException('no room')")
    with pytest.raises(DatabaseFailed, match="of stage 99_shelf can't be made: Error: no room"):
        make_database(stage)


def test_every_stage_with_a_database_can_make_it(monkeypatch, tmp_path):
    with_database = [stage for stage in STAGES if stage.database]
    assert with_database
    monkeypatch.setitem(os.environ, "DATABASE_URL", f"sqlite:///{tmp_path / 'new.db'}")
    for stage in with_database:
        assert make_database(stage)
        assert (tmp_path / "new.db").exists()
