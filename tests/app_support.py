"""Every app, with a small model if it needs one; valid input for each; and a parser of pages.

In addition to the stages' apps, there is `my_app`, which `new` has made from an unusual table.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from host_support import hosted
from housing_support import BERKELEY, built, dispose, few, join, make_app, trained  # noqa: F401
from werkzeug.test import TestResponse
from yours_support import PENGUINS, UNUSUAL, fit, unusual_table

from workshop.core.build import model_module
from workshop.core.datasets import fetch_census, read_iris
from workshop.core.stages import find_stage, load_app_module, stages_with_app
from workshop.learn.new_app import new_app

# ruff: noqa: F811 (tests request an imported fixture by its name)

NEW = "my_app"
SLUGS = [*(stage.slug for stage in stages_with_app()), NEW]
WITH_MODEL = ["04_iris", "05_census", "06_housing", "07_yours", NEW]
WITH_API = ["03_prime", *WITH_MODEL]
PROBLEM = "application/problem+json"

FLOWER = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}
PERSON = {"age": 39, "workclass": "State-gov", "education": "Bachelors"}
PERSON |= {"marital_status": "Never-married", "race": "White", "sex": "Male", "hours_per_week": 40}
BODY = {"04_iris": FLOWER, "05_census": PERSON, "06_housing": BERKELEY}
# A feature that is always a number, and the address of an app's form.
NUMBER = {"04_iris": "sepal_length", "05_census": "age", "06_housing": "latitude"}
NUMBER |= {"07_yours": "year", NEW: UNUSUAL[0]}
API = dict.fromkeys(WITH_MODEL, "/api/v1/predictions") | {"04_iris": "/api/predict"}
FORM = {"03_prime": "/prime", "04_iris": "/classify", "05_census": "/probability"}


def body(slug: str, client: FlaskClient) -> dict[str, Any]:
    """Return a valid body for the API; for stage 07's apps, the typical values in their card."""
    if slug in BODY:
        return BODY[slug]
    features = client.get("/api/v1/model").json["features"]
    return {feature["name"]: feature["typical"] for feature in features}


def submit(slug: str, client: FlaskClient, **changes: Any) -> TestResponse:
    """Submit an app's form, with changes by the name of the field or the column."""
    fields = {"number": "91"} if slug == "03_prime" else body(slug, client)
    fields = {k: "" if v is None else v for k, v in (fields | changes).items()}
    if slug in ("07_yours", NEW):
        fields = {f"f{place}": value for place, value in enumerate(fields.values())}
    if slug == "05_census":
        return client.get(FORM[slug], query_string=fields)
    redirects = slug == "04_iris"  # to the address of its answer
    return client.post(FORM.get(slug, "/predict"), data=fields, follow_redirects=redirects)


def module_of(slug: str) -> ModuleType:
    """Return the module that loads an app's model."""
    return model_module(find_stage("07_yours" if slug == NEW else slug))


@pytest.fixture(scope="session")
def models(built, tmp_path_factory) -> dict[str, Path]:
    """A folder with a small model for each app that needs one. Don't change it: copy it."""
    place = tmp_path_factory.mktemp("models")
    folders = {slug: place / slug for slug in WITH_MODEL} | {"06_housing": built}
    for slug, data in (("04_iris", read_iris()), ("05_census", few(fetch_census()))):
        module = module_of(slug)
        module.save(*module.train(data), folders[slug])
    fit(PENGUINS, "species", folders["07_yours"], kind="linear")
    table = unusual_table(place / "Tabelle.csv")
    made = new_app(NEW, table, UNUSUAL[-1], model="linear", say=str, apps_folder=place / "apps")
    return folders | {NEW: made / "model"}


def make(slug: str, instance: Path, model: Path | None = None, **settings: Any) -> Flask:
    """Return the app `slug` with this model, or with none; stage 06 gets a new database.

    `my_app` is made from stage 07's files, which are the same as its own.
    """
    config = {
        "MODEL_FOLDER": model or instance / "no model",
        "INSTANCE_FOLDER": instance,
        "SECRET_KEY": "a key that only the tests know",
        "PREDICTION_LOG": "off",
        "WTF_CSRF_ENABLED": False,  # has separate tests
    } | settings
    if slug == "06_housing":
        return make_app(config)
    return load_app_module("07_yours" if slug == NEW else slug).create_app(config)


@pytest.fixture(scope="session")
def apps(models, tmp_path_factory) -> Iterator[dict[str, Flask]]:
    """Every app, as the host serves it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("DATABASE_URL", raising=False)
        place = tmp_path_factory.mktemp
        made = {slug: hosted(make(slug, place("instance"), models.get(slug))) for slug in SLUGS}
        yield made
    dispose(made["06_housing"])


@pytest.fixture(params=SLUGS)
def slug(request) -> str:
    """The name of each app."""
    return request.param


@pytest.fixture
def client(slug, apps) -> FlaskClient:
    """A client of this app that isn't logged in."""
    return apps[slug].test_client()


def copy_of_folder(slug: str, place: Path) -> Path:
    """Copy a stage's folder, as it is in the repository, to another place."""
    made = shutil.ignore_patterns("model", "instance", "__pycache__", ".pytest_cache")
    return Path(shutil.copytree(find_stage(slug).folder, place, ignore=made))


def python(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a folder as its owner would, outside the workshop."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "WORKSHOP"))}
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=environment | {"PYTHONUTF8": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )


def problem(response: TestResponse, status: int) -> dict[str, Any]:
    """Assert that a response is a complete `application/problem+json`; return it."""
    assert (response.status_code, response.mimetype) == (status, PROBLEM), response.text
    found = response.json
    assert set(found) == {"title", "status", "detail", "errors"}
    assert found["status"] == status
    assert found["title"] and found["detail"]
    assert all(set(error) - {"index"} == {"field", "message"} for error in found["errors"])
    return found


class Page(HTMLParser):
    """A parsed page: its elements, their text, and the forms with their fields."""

    def __init__(self, response: TestResponse | str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []  # each with the last start tag before it
        self.forms: list[tuple[dict[str, str | None], dict[str, str]]] = []
        self.html = response if isinstance(response, str) else response.text
        self.feed(self.html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.elements.append((tag, given))
        if tag == "form":
            self.forms.append((given, {}))
        elif tag in ("input", "select", "textarea") and self.forms:
            self.forms[-1][1][given["name"] or ""] = given.get("value") or ""

    def handle_data(self, data: str) -> None:
        if self.elements and data.strip():
            self.texts.append((self.elements[-1][0], data.strip()))

    @property
    def text(self) -> str:
        """All of its text, with single spaces."""
        return " ".join(" ".join(text for _, text in self.texts).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of each element with this tag."""
        return [attributes for name, attributes in self.elements if name == tag]

    def in_tag(self, tag: str) -> list[str]:
        """The pieces of text directly after this tag."""
        return [text for name, text in self.texts if name == tag]

    def by_id(self, id_: str) -> dict[str, str | None]:
        """The attributes of the one element with this id."""
        (found,) = (attributes for _, attributes in self.elements if attributes.get("id") == id_)
        return found

    @property
    def links(self) -> set[str]:
        """Every address that the page loads, links to or submits a form to."""
        found = {a.get(key) for _, a in self.elements for key in ("href", "src", "action")}
        return {link for link in found if link and not link.startswith("#")}

    @property
    def messages(self) -> dict[str, str]:
        """The error messages, by the id of the field."""
        return dict(re.findall(r'class="message" id="([^"]+)-message">([^<]+)<', self.html))


def assert_refused(response: TestResponse, name: str, message: str, typed: Any = None) -> Page:
    """Assert that the form is shown again with one message, at its field, and with what was typed.

    Leave out `typed` for a list, which can't contain an invalid value. Returns the page.
    """
    page = Page(response)
    assert (response.status_code, list(page.messages)) == (422, [name]), typed
    assert message in page.messages[name], typed
    assert f"{name}-message" in page.by_id(name)["aria-describedby"].split()
    marked = [a.get("id") for _, a in page.elements if a.get("aria-invalid") == "true"]
    assert marked == [name]
    assert typed is None or page.by_id(name)["value"] == typed
    return page
