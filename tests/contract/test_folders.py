"""Each app's folder by itself: it runs from a copy, and names what it needs."""

import json
import re
from importlib.metadata import packages_distributions

import pytest
from app_support import API, BODY, NEW, copy_of_folder, python
from yours_support import FOLDER, TEMPLATE_FILES

from workshop.core.stages import find_stage, stages_with_app
from workshop.setup.process import ROOT

STAGES = stages_with_app()
# How a copy of a folder trains its model; its table; and content that it refuses as a table.
TRAINING = {
    "04_iris": (["iris_model.py"], "iris.csv", b"\xff\xfe\x00"),
    "05_census": (["census_model.py"], "census_standin.csv", b"a,b\n1,2\n"),
    "06_housing": (["housing_model.py"], "housing_standin.csv", b"x"),
    "07_yours": (["train.py", "--model=linear"], "penguins.csv", b""),
}
HEAVY = "[m for m in ('pandas', 'numpy', 'sklearn', 'scipy', 'workshop') if m in sys.modules]"


@pytest.mark.parametrize("slug", [stage.slug for stage in STAGES if not stage.model])
def test_an_app_without_a_model_runs_from_a_copy_and_loads_no_data_library(slug, tmp_path):
    copy = copy_of_folder(slug, tmp_path / "müde App")
    code = f"import app, sys; print(app.create_app().test_client().get('/').status_code, {HEAVY})"
    assert python(copy, "-c", code).stdout == "200 []\n"


@pytest.mark.parametrize("slug", TRAINING)
def test_an_app_with_a_model_trains_and_runs_from_a_copy_of_its_folder(slug, tmp_path):
    copy, (script, table, no_table) = copy_of_folder(slug, tmp_path / "Büro Müller"), TRAINING[slug]
    command = [*script, table, *(["species"] if slug == "07_yours" else [])]
    (copy / table).write_bytes(no_table)
    refused = python(copy, *command)
    assert refused.returncode == 1
    assert len(refused.stderr.strip().splitlines()) == 1, refused.stderr
    assert not (copy / "model").exists()

    lines = (ROOT / "data" / table).read_text("utf-8").splitlines(keepends=True)
    step = {"05_census": 6, "06_housing": 30}.get(slug, 1)  # the stand-ins are longer than needed
    (copy / table).write_text("".join([lines[0], *lines[1::step]]), "utf-8")
    if slug == "06_housing":  # 20 trees instead of 500: this is not about how good they are
        code = (copy / script[0]).read_text("utf-8")
        (copy / script[0]).write_text(re.sub(r"max_iter=\d+", "max_iter=20", code), "utf-8")
    done = python(copy, *command)
    assert done.returncode == 0, done.stderr
    card = json.loads(next(copy.glob("model/*.json")).read_bytes())
    assert card["data"]["file" if slug == "07_yours" else "source"] == table

    row = BODY.get(slug) or {each["name"]: each["typical"] for each in card["features"]}
    code = f"""
import app, json, pathlib
made = app.create_app()
if {find_stage(slug).database}:
    made.test_cli_runner().invoke(args=["init-db"])
client = made.test_client()
answers = client.get("/"), client.get("/healthz"), client.post({API[slug]!r}, json={row})
print([each.status_code for each in answers])
untrained = app.create_app({{"MODEL_FOLDER": pathlib.Path("no model")}}).test_client()
print(untrained.get("/healthz").json["reason"])
"""
    done = python(copy, "-c", code)
    assert done.stdout.splitlines()[-2:-1] == ["[200, 200, 200]"], done.stderr
    assert f"python {script[0]} data.csv" in done.stdout, "the remedy works in the copy"


def test_a_file_that_several_apps_have_is_the_same_in_each(models):
    for name in TEMPLATE_FILES:  # an app made by `new`, and stage 07
        assert (models[NEW].parent / name).read_bytes() == (FOLDER / name).read_bytes()
    shared = {"static/style.css": 6, "static/documentation.css": 2, "static/documentation.js": 2}
    shared |= {"static/what_if.css": 3, "templates/_errors.html": 2}
    for name, at_least in shared.items():
        copies = [*ROOT.glob(f"apps/*/{name}"), *ROOT.glob(f"workshop/host/*/{name}")]
        assert len(copies) >= at_least, name
        assert len({copy.read_bytes() for copy in copies}) == 1, name
    # Stage 06 has its own what_if.js.
    scripts = set(ROOT.glob("apps/*/static/what_if.js")) - {*ROOT.glob("apps/06*/static/*")}
    assert len({script.read_bytes() for script in scripts}) == 1 < len(scripts)


# Packages that another one requires: an app may import them without naming them.
REQUIRED_BY = {"werkzeug": "flask", "jinja2": "flask", "wtforms": "flask-wtf", "numpy": "pandas"}
REQUIRED_BY |= {"pydantic-core": "pydantic", "click": "flask", "limits": "flask-limiter"}
REQUIRED_BY["threadpoolctl"] = "scikit-learn"


def pinned(file):
    """Return the packages of a requirements file, with their versions."""
    # The lock has hashes and markers after the version.
    found = re.findall(r"^([\w.-]+)(?:\[.*?\])?==([^\s;\\]+)", file.read_text("utf-8"), re.M)
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in found}


@pytest.mark.parametrize("slug", TRAINING)
def test_requirements_are_what_the_app_imports_at_the_versions_of_the_lock(slug):
    folder = find_stage(slug).folder
    file = folder / "requirements.txt"
    own, locked = pinned(file), pinned(ROOT / "requirements.txt")
    assert own == {name: locked.get(name) for name in own}
    assert len(own) == len(re.findall(r"(?m)^[^#\s]", file.read_text("utf-8")))
    files = set(folder.glob("*.py")) - set(folder.glob("test_*.py"))
    code = "\n".join(file.read_text("utf-8") for file in files)
    others = {*re.findall(r"(?m)^ *(?:from|import) (\w+)", code)} - {file.stem for file in files}
    packages = packages_distributions()
    names = [re.sub(r"[-_.]+", "-", packages[name][0]).lower() for name in others & {*packages}]
    imported = {REQUIRED_BY.get(name, name) for name in names}
    assert imported <= set(own)
    assert slug != "04_iris" or imported == set(own)
