"""What the tests of stages 05 and 06 share; for stage 06, see `housing_support`."""

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
