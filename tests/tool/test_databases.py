"""The databases of the stages are made by their own apps' command."""

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


def test_it_says_what_the_command_says_and_a_failure_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(Stage, "folder", tmp_path)
    stage = Stage(number=99, name="shelf", title="", learn="", minutes=1, database=True)
    stage.app_file.write_text(APP.format(body="click.echo('Made the shelf.')"), encoding="utf-8")
    assert make_database(stage) == "Made the shelf."
    body = "raise click.ClickException('no room')"
    stage.app_file.write_text(APP.format(body=body), encoding="utf-8")
    with pytest.raises(DatabaseFailed, match="of stage 99_shelf can't be created: Error: no room"):
        make_database(stage)


@pytest.mark.parametrize("stage", [s for s in STAGES if s.database], ids=lambda stage: stage.slug)
def test_every_stage_with_a_database_can_make_it(monkeypatch, tmp_path, stage):
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path / 'new.db'}")
    assert make_database(stage)
    assert (tmp_path / "new.db").exists()
