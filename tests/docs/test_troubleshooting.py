"""docs/troubleshooting.md: running into each problem prints the messages quoted there.

A message is a block of `text` under a heading. For each such heading, a function here causes the problem and
returns what was printed. Numbers may differ, and so may the words in capitals.
"""

import contextlib
import json
import re
import runpy
import shutil
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import nbformat
import pytest
from trouble_support import (
    bound_by_permissions,
    copy_apps,
    make_house,
    put_kernel,
    spec_of_another_python,
    type_in,
)
from werkzeug.serving import make_server
from wheel_support import pretend

from workshop import cli, fetch_census, serve
from workshop.__main__ import main as workshop_command
from workshop.core import datasets
from workshop.core.errors import ServerDied
from workshop.core.stages import BASE, find_stage, load_app_module, load_module
from workshop.host import gallery
from workshop.host.ports import free_port
from workshop.learn import my_copy
from workshop.setup import environment, mirror, process, set_up
from workshop.setup.process import ROOT, SetupError
from workshop.teach import doctor, try_stage
from workshop.upkeep import refresh_notebooks

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
VARIES = re.compile(r"\b(FOLDER|FILE|ADDRESS|HOST|REASON)\b|\d+(?:[.,]\d+)*")
PROBLEMS = {}


def problem(heading):
    """Register the function that causes the problem under a heading."""
    return lambda function: PROBLEMS.setdefault(heading, function)


def quoted():
    """The messages on the page, by heading."""
    found = {}
    for section in re.split(r"^#{2,3} ", PAGE, flags=re.MULTILINE)[1:]:
        if messages := re.findall(r"^```text\n(.*?)^```", section, re.MULTILINE | re.DOTALL):
            found[section.partition("\n")[0]] = messages
    return found


def is_printed(message, output):
    """Whether the output contains a message of the page, wherever its lines break."""
    text = VARIES.sub(lambda part: "\0" if part[1] else "\1", " ".join(message.split()))
    pattern = re.escape(text).replace("\0", r"\S.*?").replace("\1", r"\d+(?:[.,]\d+)*")
    return re.search(pattern, " ".join(output.split())) is not None


class Bench:
    """What causing a problem may take: a folder, patches, and a command line."""

    def __init__(self, tmp_path, monkeypatch, capsys):
        self.folder, self.patch, self.capsys = tmp_path, monkeypatch, capsys

    def house(self):
        return make_house(self.folder / "the workshop")

    def command(self, *arguments):
        """The output of a command that fails."""
        assert cli.run(arguments) == 1
        return "".join(self.capsys.readouterr())

    def run(self, *command, **options):
        """The output of another program."""
        run = subprocess.run(command, capture_output=True, text=True, **options)
        return run.stdout + run.stderr

    def doctor(self, check):
        """What one of the doctor's checks says."""
        return "".join(map(str, getattr(doctor, check)()))


@pytest.fixture
def bench(tmp_path, monkeypatch, capsys):
    return Bench(tmp_path, monkeypatch, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("heading", quoted())
def test_a_problem_prints_the_messages_on_the_page(heading, bench):
    output = PROBLEMS[heading](bench)
    for message in quoted()[heading]:
        assert is_printed(message, output), f"{message}\nis not in\n{output}"


def test_every_message_on_the_page_is_checked():
    assert set(PROBLEMS) == set(quoted())
    assert is_printed("Port 8000 is in use in FOLDER: end", "x Port 61 is in\nuse in /a b: end it.")
    assert not is_printed("Port 8000 is in use", "Port 8000 is taken")
    assert not is_printed("no folder FOLDER: give", "no folder : give")


# Setting up


@problem("The computer can't find python3")
def no_python(bench):
    if not (bash := shutil.which("bash")):
        pytest.skip("the message is from bash, which isn't installed here")
    environ = {"PATH": str(bench.folder), "LC_ALL": "C"}
    return bench.run(bash, "-c", "python3 -m workshop start", env=environ)


@problem("You're in the wrong folder")
def wrong_folder(bench):
    (bench.folder / "above" / "workshop").mkdir(parents=True)
    # -S: like a Python with nothing installed, as learners have.
    command = (sys.executable, "-S", "-m", "workshop", "start")
    return "".join(bench.run(*command, cwd=bench.folder / name) for name in (".", "above"))


@problem("A part of the workshop is missing")
def part_missing(bench):
    house = bench.house()
    (house / "requirements.txt").unlink()
    return type_in(house)


@problem("Python is too old")
def old_python(bench):
    bench.patch.setattr(sys, "version_info", (3, 9, 18))
    with pytest.raises(SystemExit) as end:
        runpy.run_module("workshop", run_name="__main__")
    return str(end.value)


@problem("Python can't create environments")
def no_venv(bench):
    bench.patch.setitem(sys.modules, "venv", None)  # as if it weren't installed
    with pytest.raises(SetupError) as refusal:
        environment.make_environment(bench.folder / ".venv")
    return str(refusal.value)


@problem("The packages can't be downloaded")
def no_network(bench):
    return type_in(bench.house(), "start")


@problem("The kit doesn't fit this computer")
def wrong_kit(bench):
    house, wheels = bench.house(), bench.folder / "kit" / "wheels"
    wheels.mkdir(parents=True)
    pretend("numpy-1.0-py3-none-any.whl", wheels)
    nowhere = type_in(house, "start", WORKSHOP_MIRROR="nowhere")
    return nowhere + type_in(house, "start", WORKSHOP_MIRROR=str(wheels.parent))


@problem("You pressed Ctrl-C during the set-up")
def interrupted(bench):
    def press_ctrl_c(_):
        raise KeyboardInterrupt

    taken = iter([True, False])  # by a set-up in another terminal, until it's done
    bench.patch.setattr(process, "is_taken", lambda _: next(taken))
    bench.patch.setattr(set_up, "set_up", press_ctrl_c)
    bench.patch.setattr(environment, "find_environment", lambda: SimpleNamespace(is_ready=False))
    assert workshop_command([]) == 130
    return bench.capsys.readouterr().err


@problem("A package is damaged")
def damaged_package(bench):
    bench.patch.setattr(doctor, "damage", lambda: {"pandas": "pandas/core/frame.py"})
    told = bench.doctor("lock")
    ready = SimpleNamespace(is_ready=True, is_current=True, forget=list)
    bench.patch.setattr(environment, "find_environment", lambda: ready)
    bench.patch.delitem(sys.modules, "workshop.cli")  # so it's imported again, without click
    bench.patch.setitem(sys.modules, "click", None)
    assert workshop_command([]) == 1
    return told + bench.capsys.readouterr().err


@problem("A file has the name of a module")
def file_in_the_way(bench):
    (bench.folder / "notebooks").mkdir()
    (bench.folder / "notebooks" / "random.py").touch()
    bench.patch.setenv(BASE, str(bench.folder))
    return bench.doctor("modules")


@problem("There is no space, or no permission to write")
def no_permission(bench):
    bound = tuple(bound_by_permissions())
    house = bench.house()
    house.chmod(0o555)
    told = type_in(house, before=bound)
    house.chmod(0o755)
    (bench.folder / "file").touch()
    bench.patch.setenv(BASE, str(bench.folder / "file" / "work"))
    told += bench.command("train", "04")
    (bench.folder / "notebooks").mkdir(mode=0o555)
    code = "from workshop.teach import doctor; print(*doctor.write_access())"
    bench.patch.setenv(BASE, str(bench.folder))
    told += bench.run(*bound, sys.executable, "-c", code)
    return told + set_up.sentence_for(OSError(28, "No space left on device"))


# Starting


@problem("A port is in use")
def busy_port(bench):
    with make_server("127.0.0.1", 0, gallery.create_app({})) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        port = str(server.port)
        told = bench.command("start", "--port", port, "--no-lab", "--no-browser")
        told += bench.command("app", "01", "--port", port)
        server.shutdown()
    with socket.create_server(("127.0.0.1", 0)) as other:
        bench.patch.setattr(doctor, "GALLERY_PORT", other.getsockname()[1])
        told += bench.doctor("ports")
    return told


@problem("An app doesn't start")
def broken_app(bench):
    copy_apps(bench.folder, "01_hello")
    bench.patch.setenv(BASE, str(bench.folder))
    app = bench.folder / "apps" / "01_hello" / "app.py"
    text = app.read_text(encoding="utf-8")
    app.write_text(text.replace("app = Flask(", "app = Flask((", 1), encoding="utf-8")
    with pytest.raises(ServerDied) as death, serve("hello"):
        pass
    bench.patch.setattr(doctor, "STAGES", [find_stage("hello")])
    return f"{death.value}\n{bench.doctor('stages')}"


# In a notebook


def run_cell(source, folder):
    """The traceback of a notebook with one cell, which fails."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    with pytest.raises(refresh_notebooks.NotebookFailed):
        refresh_notebooks.run(notebook, folder, "this")
    (output,) = notebook.cells[0].outputs
    return re.sub(r"\x1b\[[\d;]*m", "", "\n".join(output["traceback"]))


def code_cells():
    cells = nbformat.read(ROOT / "notebooks" / "04_iris.ipynb", as_version=4).cells
    return [cell.source for cell in cells if cell.cell_type == "code"]


@problem("The notebook uses a different Python")
def other_kernel(bench):
    put_kernel(bench.folder / "jupyter", spec_of_another_python(bench.folder / "other"))
    bench.patch.setenv("JUPYTER_PATH", str(bench.folder / "jupyter"))
    return run_cell("from workshop import check", bench.folder) + bench.doctor("kernel")


@problem("A name isn't defined")
def out_of_order(bench):
    return run_cell(code_cells()[1], ROOT / "notebooks")


@problem("A file isn't found")
def moved_notebook(bench):
    return run_cell(code_cells()[0], bench.folder)


@problem("A notebook can't be opened")
def cut_notebook(bench):
    file = bench.folder / "notebooks" / "01_hello.ipynb"
    file.parent.mkdir()
    file.write_text('{"cells": [', encoding="utf-8")
    bench.patch.setenv(BASE, str(bench.folder))
    return bench.doctor("notebooks")


# In the browser


def page_of(slug, path, **config):
    """The text of a page of an app."""
    page = load_app_module(slug).create_app(config).test_client().get(path)
    return re.sub(r"<[^>]*>", "", page.text)


@problem("An app has no model")
def no_model(bench):
    return page_of("04_iris", "/", MODEL_FOLDER=bench.folder)


@problem("The model is from another version")
def other_version(bench):
    model = load_module(find_stage("iris"), "iris_model")
    model.save(*model.train(datasets.read_iris()), bench.folder)
    card = bench.folder / "iris.json"
    good = card.read_bytes()
    older = json.loads(good)
    older["versions"]["scikit_learn"] = "1.2.2"
    card.write_text(json.dumps(older), encoding="utf-8")
    told = page_of("04_iris", "/", MODEL_FOLDER=bench.folder)
    card.write_bytes(good)
    (bench.folder / "iris.joblib").write_bytes(b"another model")
    return told + page_of("04_iris", "/", MODEL_FOLDER=bench.folder)


@problem("The app of stage 06 has no database")
def no_database(bench):
    bench.patch.delenv("DATABASE_URL", raising=False)
    module = load_app_module("06_housing")
    bench.patch.setattr(module, "INSTANCE_FOLDER", bench.folder)
    model = load_module(find_stage("housing"), "housing_model")
    folder = model.save(*model.train(datasets.fetch_housing()), bench.folder / "model").parent
    told = page_of("06_housing", "/login", MODEL_FOLDER=folder)
    module.create_app().test_cli_runner().invoke(args=["init-db"])
    with contextlib.closing(sqlite3.connect(bench.folder / "housing.db")) as connection:
        connection.execute("DROP TABLE login_session")
    return told + str(try_stage.database(find_stage("housing")))


@problem("The page shows an error (500)")
def broken_page(bench):
    return page_of("01_hello", "/oops")


@problem("The page still shows the old version")
def newer_original(bench):
    name = Path("apps/01_hello/app.py")
    original, mine = bench.folder / "originals" / name, bench.folder / "work" / name
    original.parent.mkdir(parents=True)
    bench.patch.setattr(my_copy, "ROOT", bench.folder / "originals")
    bench.patch.setattr(my_copy, "COPIED", ("apps",))
    bench.patch.setenv(BASE, str(bench.folder / "work"))
    original.write_text("first\n", encoding="utf-8")
    cli.use_my_copy()
    mine.write_text("mine\n", encoding="utf-8")
    original.write_text("second\n", encoding="utf-8")
    cli.use_my_copy()
    return bench.capsys.readouterr().out


# Data


def go_offline(bench):
    """Send every request for the internet to a proxy that doesn't exist."""
    for name in ("WORKSHOP_OFFLINE", "WORKSHOP_MIRROR", "no_proxy", "NO_PROXY"):
        bench.patch.delenv(name, raising=False)
    bench.patch.setattr(mirror, "MARKER", "no kit.json")
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        bench.patch.setenv(name, "http://127.0.0.1:9")


@problem("The real data isn't available")
def no_download(bench):
    go_offline(bench)
    fetch_census(bench.folder / "data")
    bench.patch.setenv("WORKSHOP_MIRROR", str(bench.folder / "no stick"))
    fetch_census(bench.folder / "data")
    return bench.capsys.readouterr().err


@problem("A data file is damaged")
def damaged_data(bench):
    for member in datasets.CENSUS.members:
        (bench.folder / member.name).write_bytes(b"39, State-gov")
    bench.patch.setattr(datasets, "DATA", bench.folder)
    return bench.doctor("data")


@problem("The room's mirror doesn't answer")
def no_mirror(bench):
    go_offline(bench)
    told = ""
    for place in (f"http://127.0.0.1:{free_port()}", "http://mirror.example", "/no/stick"):
        bench.patch.setenv("WORKSHOP_MIRROR", place)
        told += bench.doctor("mirror")
    return told
