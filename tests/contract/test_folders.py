"""Each app's folder by itself: it imports nothing else, runs from a copy, and names what it needs."""

import ast
import json
import re
import subprocess
import sys
import time
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import requests
from app_support import BODY, NEW, api, copy_of_folder, python
from yours_support import FOLDER, TEMPLATE_FILES

from workshop.core.stages import find_stage, load_app_module, stages_with_app
from workshop.host.ports import free_port
from workshop.setup.process import ROOT

STAGES = stages_with_app()
each_stage = pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.slug)
# How a copy of a folder trains its model, from which table, and the remedy that its app names.
TRAINING = {
    "04_iris": (["iris_model.py", "iris.csv"], "python iris_model.py data.csv"),
    "05_census": (["census_model.py", "census_standin.csv"], "python census_model.py data.csv"),
    "06_housing": (["housing_model.py", "housing_standin.csv"], "python housing_model.py data.csv"),
    "07_yours": (["train.py", "--model=linear", "penguins.csv", "species"],
                 "python train.py data.csv TARGET"),
}  # fmt: skip
# Tables that a folder refuses in one sentence: the file's content, or None if there is no file.
NO_TABLES = {
    "04_iris": b"\xff\xfe\x00",
    "05_census": b"a,b\n1,2\n",
    "06_housing": None,
    "07_yours": b"",
}
HEAVY = "[m for m in ('pandas', 'numpy', 'sklearn', 'scipy', 'workshop') if m in sys.modules]"


def served(folder, path):
    """Start `flask run` in a folder, and return the response to a GET of `path`."""
    port = free_port()
    command = [sys.executable, "-m", "flask", "--app", "app.py", "run", "--port", str(port)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server, deadline = subprocess.Popen(command, cwd=folder, **quiet), time.monotonic() + 60
    try:
        while True:
            try:
                return requests.get(f"http://127.0.0.1:{port}{path}", timeout=30)
            except requests.ConnectionError:
                assert server.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
    finally:
        server.terminate()
        server.wait()


@pytest.mark.parametrize("slug", [stage.slug for stage in STAGES if not stage.model])
def test_an_app_without_a_model_runs_from_a_copy_and_loads_no_data_library(slug, tmp_path):
    copy = copy_of_folder(slug, tmp_path / "müde App")
    code = f"import app, sys; print(app.create_app().test_client().get('/').status_code, {HEAVY})"
    assert python(copy, "-c", code).stdout == "200 []\n"
    if slug == "01_hello":  # the others are served in the same way
        assert served(copy, "/").status_code == 200


@pytest.mark.parametrize("slug", TRAINING)
def test_an_app_with_a_model_trains_and_runs_from_a_copy_of_its_folder(slug, tmp_path):
    copy, (command, remedy) = copy_of_folder(slug, tmp_path / "Büro Müller"), TRAINING[slug]
    table = next(Path(each).name for each in command if each.endswith(".csv"))
    if NO_TABLES[slug] is not None:
        (copy / table).write_bytes(NO_TABLES[slug])
    refused = python(copy, *command)
    assert refused.returncode == 1
    assert len(refused.stderr.strip().splitlines()) == 1, refused.stderr
    assert not (copy / "model").exists()

    lines = (ROOT / "data" / table).read_text("utf-8").splitlines(keepends=True)
    step = {"05_census": 6, "06_housing": 30}.get(slug, 1)  # the stand-ins are longer than needed
    few = [lines[0], *lines[1:7500:step], *lines[7501::step]] if step > 1 else lines
    (copy / table).write_text("".join(few), "utf-8")
    if slug == "06_housing":  # 20 trees instead of 500: this is not about how good they are
        code = (copy / command[0]).read_text("utf-8")
        (copy / command[0]).write_text(re.sub(r"max_iter=\d+", "max_iter=20", code), "utf-8")
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
answers = client.get("/"), client.get("/healthz"), client.post({api(slug)!r}, json={row})
print([each.status_code for each in answers])
untrained = app.create_app({{"MODEL_FOLDER": pathlib.Path("no model")}}).test_client()
print(untrained.get("/healthz").json["reason"])
"""
    done = python(copy, "-c", code)
    assert done.stdout.splitlines()[-2:-1] == ["[200, 200, 200]"], done.stderr
    assert done.stdout.strip().endswith(remedy)


def test_the_files_of_an_app_made_by_new_are_those_of_stage_07(models):
    made = models[NEW].parent
    for name in TEMPLATE_FILES:
        assert (made / name).read_bytes() == (FOLDER / name).read_bytes()


@each_stage
def test_an_app_imports_only_from_its_own_folder(stage):
    others = {file.stem for other in STAGES if other != stage for file in other.folder.glob("*.py")}
    own = {file.stem for file in stage.folder.glob("*.py")}
    for file in stage.folder.rglob("*.py"):
        assert not modules(file) & ({"workshop"} | (others - own)), file.name


def test_module_names_are_unique_across_apps():
    names = [file.stem for stage in STAGES for file in stage.folder.glob("*.py")]
    assert sorted(set(names) - {"app"}) == sorted(name for name in names if name != "app")


@each_stage
def test_each_app_has_an_application_factory_and_is_not_in_debug_mode(stage):
    module = load_app_module(stage.slug)
    app = module.create_app({"TESTING": True})
    assert app.testing
    assert app.debug is False


def test_no_page_loads_anything_from_another_host():
    folders = [*(stage.folder for stage in STAGES), ROOT / "workshop" / "host" / "gallery"]
    files = [f for d in folders for f in d.rglob("*") if f.suffix in (".html", ".css", ".svg")]
    assert len(files) > 50
    for file in files:
        text = file.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        loaded = (
            r"""(?:src|href)\s*=\s*["'](?:https?:)?//[^"']+\.\w+["']|url\(\s*["']?(?:https?:)?//"""
        )
        assert not re.findall(f"{loaded}|@import", text), file


def test_the_house_stylesheet_is_the_same_everywhere():
    copies = [*ROOT.glob("apps/*/static/style.css"), *ROOT.glob("workshop/host/*/static/style.css")]
    with_pages = [s for s in STAGES if (s.folder / "templates" / "base.html").exists()]
    assert len(copies) == len(with_pages) + 1
    assert len({copy.read_bytes() for copy in copies}) == 1
    for name in ("css", "js"):
        of_apis = [*ROOT.glob(f"apps/*/static/documentation.{name}")]
        assert len(of_apis) == 2
        assert len({copy.read_bytes() for copy in of_apis}) == 1
    iris, census = (ROOT / "apps" / slug for slug in ("04_iris", "05_census"))
    for name in ("static/what_if.js", "static/what_if.css", "templates/_errors.html"):
        assert (iris / name).read_bytes() == (census / name).read_bytes(), name
        yours = ROOT / "apps" / "07_yours" / name
        assert not yours.exists() or yours.read_bytes() == (iris / name).read_bytes(), name


# What a folder's requirements.txt says

FILES = sorted(ROOT.glob("apps/*/requirements.txt"))
each_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.parent.name)
# Packages that another one requires: an app may import them without naming them.
REQUIRED_BY = {"werkzeug": "flask", "jinja2": "flask", "wtforms": "flask-wtf", "numpy": "pandas"}
REQUIRED_BY |= {"pydantic-core": "pydantic", "click": "flask", "limits": "flask-limiter"}
REQUIRED_BY["threadpoolctl"] = "scikit-learn"


def modules(file):
    """Return the top-level modules that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").split(".")[0])
    return found


def normal(name):
    """Return a package's name in its normalized spelling."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned(file):
    """Return the packages of a requirements file, with their versions."""
    found = {}
    for line in file.read_text("utf-8").splitlines():
        # The lock has hashes and markers after the version.
        if match := re.match(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s;\\]+)", line):
            found[normal(match[1])] = match[2]
    return found


def imported(folder):
    """Return the packages whose modules an app imports."""
    own = {file.stem for file in folder.glob("*.py")}
    names = set().union(*map(modules, set(folder.glob("*.py")) - set(folder.glob("test_*.py"))))
    packages = packages_distributions()
    others = names - own - set(sys.stdlib_module_names)
    return {REQUIRED_BY.get(name, name) for name in (normal(packages[each][0]) for each in others)}


@each_file
def test_requirements_are_what_the_app_imports_at_the_versions_of_the_lock(file):
    lines = [line for line in file.read_text("utf-8").splitlines() if line.strip()]
    own, locked = pinned(file), pinned(ROOT / "requirements.txt")
    assert len(own) == len([line for line in lines if not line.startswith("#")])
    assert own == {name: locked.get(name) for name in own}
    assert imported(file.parent) <= set(own)


def test_stage_04_names_only_what_it_imports():
    folder = ROOT / "apps" / "04_iris"
    assert set(pinned(folder / "requirements.txt")) == imported(folder)
