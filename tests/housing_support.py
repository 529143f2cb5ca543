"""What the tests of stage 06 share: a model made of few districts, databases to try, and a browser's steps.

Tests run on SQLite. Those that are marked `on_both_databases` are about what a database does, and run on
PostgreSQL as well where WORKSHOP_TEST_DATABASE_URL names a server, such as
postgresql://postgres@127.0.0.1:5432/postgres: each test gets its own schema.
"""

import os
import re
import secrets
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy
from flask import Flask
from flask.testing import FlaskClient
from sklearn.utils import Bunch
from werkzeug.security import generate_password_hash

from workshop import fetch_housing
from workshop.core.stages import load_app_module

housing_app = load_app_module("06_housing")
housing_model = sys.modules["housing_model"]
housing_login = sys.modules["housing_login"]

SERVER = os.environ.get("WORKSHOP_TEST_DATABASE_URL", "")
NO_SERVER = "WORKSHOP_TEST_DATABASE_URL names no PostgreSQL server to test with"
PASSWORD = "correct horse battery"
BERKELEY = {
    "median_income": 8.1,
    "house_age": 40.0,
    "average_rooms": 6.9,
    "average_bedrooms": 1.02,
    "population": 330.0,
    "average_occupancy": 2.6,
    "latitude": 37.88,
    "longitude": -122.23,
}


def few(housing: Bunch) -> Bunch:
    """The first districts of a data set: enough for an app to answer with, and quick to train on."""
    return Bunch(**housing | {"train": housing.train.head(2000), "test": housing.test.head(500)})


@pytest.fixture(scope="session")
def trained():
    """Estimators and card of a small model, trained once: of few districts, and of few trees, because every
    app of every test reads them all."""
    build = housing_model.build_estimators

    def few_trees():
        return {name: each.set_params(max_iter=20) for name, each in build().items()}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(housing_model, "build_estimators", few_trees)
        return housing_model.train(few(fetch_housing()))


@pytest.fixture(scope="session")
def built(trained, tmp_path_factory) -> Path:
    """A folder with that model; a test that damages it uses a copy."""
    return housing_model.save(*trained, tmp_path_factory.mktemp("model")).parent


on_both_databases = pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def database_url(request) -> Iterator[str | None]:
    """An empty database for one test: None means SQLite in the instance folder."""
    if getattr(request, "param", "sqlite") == "sqlite":
        yield None
        return
    if not SERVER:
        pytest.skip(NO_SERVER)
    schema = f"test_{secrets.token_hex(8)}"
    url = sqlalchemy.make_url(SERVER).set(drivername="postgresql+psycopg")
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE SCHEMA {schema}")
    inside = url.update_query_dict({"options": f"-csearch_path={schema}"})
    yield inside.render_as_string(hide_password=False)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"DROP SCHEMA {schema} CASCADE")
    engine.dispose()


@pytest.fixture
def config(database_url, built, tmp_path, monkeypatch) -> dict:
    """Settings for an app with a model and an empty database. CSRF has its own tests.

    Passwords are hashed quickly: a real hash takes a tenth of a second on purpose, and hundreds are made.
    """
    quick = partial(generate_password_hash, method="scrypt:1024:8:1")
    monkeypatch.setattr(housing_login, "generate_password_hash", quick)
    return {
        "MODEL_FOLDER": built,
        "INSTANCE_FOLDER": tmp_path / "instance",
        "DATABASE_URL": database_url,
        "WTF_CSRF_ENABLED": False,
    }


@pytest.fixture
def app(config) -> Iterator[Flask]:
    """An app with a model, and a database with its tables."""
    app = make_app(config)
    yield app
    dispose(app)


def make_app(config: dict) -> Flask:
    """An app whose database has its tables."""
    app = housing_app.create_app(config)
    made = app.test_cli_runner().invoke(args=["init-db"])
    assert made.exit_code == 0, made.output
    return app


def dispose(app: Flask) -> None:
    """Close an app's connections, which would keep PostgreSQL from dropping its schema."""
    with app.app_context():
        app.extensions["sqlalchemy"].engine.dispose()


@dataclass
class Person:
    """Somebody with a browser, an account, and a token for the API."""

    name: str
    browser: FlaskClient
    headers: dict[str, str] = field(default_factory=dict)

    def saves(self, name: str, **changes) -> dict:
        """Save a prediction through the API and return it."""
        body = {"name": name, "district": BERKELEY | changes}
        answer = self.browser.post("/api/v1/saved", json=body, headers=self.headers)
        assert answer.status_code == 201, answer.text
        return answer.json

    def list(self) -> list[dict]:
        """What the API lists."""
        return self.browser.get("/api/v1/saved", headers=self.headers).json


def join(app: Flask, name: str) -> Person:
    """Register somebody, and make a token for them, through the pages."""
    browser = app.test_client()
    registered = browser.post("/register", data={"username": name, "password": PASSWORD})
    assert registered.status_code == 303, registered.text
    page = browser.post("/account/tokens", data={"name": "test"})
    assert page.status_code == 201, page.text
    return Person(name, browser, {"Authorization": f"Bearer {token_in(page)}"})


def token_in(page) -> str:
    """The token for the API that a page shows once."""
    return re.search(r'id="new-token">([^<]+)<', page.text)[1]


def log_in(client, username="anna", password=PASSWORD, **sent):
    """Send the login form."""
    return client.post("/login", data={"username": username, "password": password}, **sent)


@pytest.fixture
def anna(app) -> Person:
    """Somebody with an account."""
    return join(app, "anna")


@pytest.fixture
def ben(app) -> Person:
    """Somebody else."""
    return join(app, "ben")


def csrf_token(page) -> str:
    """The token in a page's form."""
    return re.search(r'name="csrf_token" value="([^"]+)"', page.text)[1]


def messages(page) -> list[str]:
    """What a page says of its fields."""
    return re.findall(r'<p class="message" id="[^"]+">([^<]+)</p>', page.text)
