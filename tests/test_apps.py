"""What holds for every stage's app: it stands alone, starts from its folder, and needs no network."""

import ast
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from host_support import train_in

from workshop.core.stages import load_app_module, stages_with_app
from workshop.host.ports import free_port, status_of
from workshop.setup.process import ROOT

STAGES = stages_with_app()
each_stage = pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.slug)


def wait_for(url, status):
    """The status `url` answers once it is `status`, or the last one after a minute."""
    deadline = time.monotonic() + 60
    while (found := status_of(url)) != status and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


@each_stage
def test_runs_from_a_copy_of_its_folder_alone(stage, tmp_path):
    copy = tmp_path / f"müde {stage.slug}"
    shutil.copytree(
        stage.folder, copy, ignore=shutil.ignore_patterns("model", "instance", "__pycache__")
    )
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "flask", "--app", "app.py", "run", "--port", str(port)],
        cwd=copy,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}/"
    try:
        assert wait_for(url, 503 if stage.model else 200) == (503 if stage.model else 200)
    finally:
        process.terminate()
        process.wait()
    if stage.model:
        train_in(copy, stage)
        made = load_app_module(stage.slug).create_app({"MODEL_FOLDER": copy / "model"})
        assert made.test_client().get("/model").status_code == 200


@each_stage
def test_knows_nothing_but_its_own_folder(stage):
    others = {file.stem for other in STAGES if other != stage for file in other.folder.glob("*.py")}
    own = {file.stem for file in stage.folder.glob("*.py")}
    for file in stage.folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            roots = {name.split(".")[0] for name in names}
            assert not roots & ({"workshop"} | (others - own)), file.name


def test_module_names_are_unique_across_apps():
    names = [file.stem for stage in STAGES for file in stage.folder.glob("*.py")]
    assert sorted(set(names) - {"app"}) == sorted(name for name in names if name != "app")


@each_stage
def test_has_the_application_factory_and_says_what_it_teaches(stage):
    module = load_app_module(stage.slug)
    assert module.__doc__
    app = module.create_app({"TESTING": True})
    assert app.testing
    assert app.debug is False


def page_files():
    folders = [*(stage.folder for stage in STAGES), ROOT / "workshop" / "host" / "gallery"]
    return [f for d in folders for f in d.rglob("*") if f.suffix in (".html", ".css", ".svg")]


@pytest.mark.parametrize("file", page_files(), ids=lambda file: file.relative_to(ROOT).as_posix())
def test_no_page_loads_anything_from_another_host(file):
    text = file.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?:https?:)?//[^"']+\.\w+["']""", text)
    assert not re.findall(r"url\(\s*[\"']?(?:https?:)?//|@import", text)


def test_the_house_stylesheet_is_the_same_everywhere():
    copies = [
        *ROOT.glob("apps/*/static/style.css"),
        ROOT / "workshop/host/gallery/static/style.css",
    ]
    with_pages = [s for s in STAGES if (s.folder / "templates" / "base.html").exists()]
    assert len(copies) == len(with_pages) + 1
    assert len({Path(copy).read_bytes() for copy in copies}) == 1
    of_apis = [*ROOT.glob("apps/*/static/documentation.css")]
    assert len(of_apis) == 2
    assert len({copy.read_bytes() for copy in of_apis}) == 1


@pytest.mark.parametrize(
    "stage", [stage for stage in STAGES if not stage.model], ids=lambda stage: stage.slug
)
def test_an_app_without_a_model_loads_no_data_library(stage):
    code = (
        "import sys; from workshop.core.stages import load_app_module;"
        f"load_app_module({stage.slug!r}).create_app();"
        "print(*(m for m in ('pandas', 'numpy', 'sklearn') if m in sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []
