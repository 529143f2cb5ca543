"""What the tests of stages 05 and 06 share; for stage 06, see `housing_support`."""

# ruff: noqa: F811 (tests name the imported fixtures as arguments)

import time

import pytest
from housing_support import anna, app, ben, built, config, database_url, trained  # noqa: F401

from workshop.core.datasets import fetch_census
from workshop.core.stages import find_stage, load_module


@pytest.fixture(scope="session")
def census(tmp_path_factory):
    """The stand-in, which is there with no data, no mirror and no network; the same everywhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("WORKSHOP_MIRROR", raising=False)
        return fetch_census(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def income(census):
    """The pipeline of stage 05 and its card."""
    return load_module(find_stage("census"), "census_model").train(census)


@pytest.fixture(scope="session")
def census_folder(income, tmp_path_factory):
    """A folder with stage 05's model. Don't change it: copy it."""
    module = load_module(find_stage("census"), "census_model")
    return module.save(*income, tmp_path_factory.mktemp("census")).parent


@pytest.fixture
def client(app):
    """A visitor's browser in stage 06."""
    return app.test_client()


@pytest.fixture
def clock(monkeypatch):
    """The time that everything reads, ten seconds into a window of half a minute; a test moves it on."""
    now = [time.time() // 30 * 30 + 40.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    return now
