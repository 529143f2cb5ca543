"""`make_database` runs the command of a stage's own app. The real one is tested with stage 06."""

import pytest

from workshop.core.build import DatabaseFailed, make_database
from workshop.core.stages import Stage

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


def test_it_returns_the_command_s_output_and_a_failure_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(Stage, "folder", tmp_path)
    stage = Stage(number=99, name="shelf", title="", learn="", minutes=1, database=True)
    stage.app_file.write_text(APP.format(body="click.echo('Made the shelf.')"), encoding="utf-8")
    assert make_database(stage) == "Made the shelf."
    body = "raise click.ClickException('no room')"
    stage.app_file.write_text(APP.format(body=body), encoding="utf-8")
    with pytest.raises(DatabaseFailed, match="of stage 99_shelf can't be created: Error: no room"):
        make_database(stage)
