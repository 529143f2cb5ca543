"""docs/troubleshooting.md: running into each problem prints the messages quoted there.

A message is a block of `text` under a heading. For each such heading, the method of `Problems` that has its
name causes the problem and returns what was printed. Numbers may differ, and so may the words in capitals.
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
import trouble_support as trouble
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
NOTEBOOK = nbformat.read(ROOT / "notebooks" / "04_iris.ipynb", as_version=4)
FIRST_CELLS = [cell.source for cell in NOTEBOOK.cells if cell.cell_type == "code"][:2]


def quoted():
    """The messages on the page, by heading: `a_port_is_in_use`."""
    found = {}
    for section in re.split(r"^#{2,3} ", PAGE, flags=re.MULTILINE)[1:]:
        if messages := re.findall(r"^```text\n(.*?)^```", section, re.MULTILINE | re.DOTALL):
            heading = section.partition("\n")[0].lower()
            found[re.sub(r"\W+", "_", heading).strip("_")] = messages
    return found


def is_printed(message, output):
    """Whether the output contains a message of the page, wherever its lines break."""
    text = VARIES.sub(lambda part: "\0" if part[1] else "\1", " ".join(message.split()))
    pattern = re.escape(text).replace("\0", r"\S.*?").replace("\1", r"\d+(?:[.,]\d+)*")
    return re.search(pattern, " ".join(output.split())) is not None


def run(*command, **options):
    """The output of another program."""
    both = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.run(command, **both, **options).stdout


@pytest.mark.slow
@pytest.mark.parametrize("heading", quoted())
def test_a_problem_prints_the_messages_on_the_page(heading, tmp_path, monkeypatch, capsys):
    output = getattr(Problems(tmp_path, monkeypatch, capsys), heading)()
    for message in quoted()[heading]:
        assert is_printed(message, output), f"{message}\nis not in\n{output}"


def test_every_message_on_the_page_is_checked():
    assert {name for name in vars(Problems) if name[0] != "_"} == set(quoted())
    assert is_printed("Port 8000 is in use in FOLDER: end", "x Port 61 is in\nuse in /a b: end it.")
    assert not is_printed("Port 8000 is in use", "Port 8000 is taken")
    assert not is_printed("no folder FOLDER: give", "no folder : give")


class Bench:
    """What causing a problem may take: a folder, patches, and a command line."""

    def __init__(self, tmp_path, monkeypatch, capsys):
        self.folder, self.patch, self.capsys = tmp_path, monkeypatch, capsys

    def house(self):
        return trouble.make_house(self.folder / "the workshop")

    def command(self, *arguments):
        """The output of a command that fails."""
        assert cli.run(arguments) == 1
        return "".join(self.capsys.readouterr())

    def doctor(self, check):
        """What one of the doctor's checks says about a learner's copy in the folder."""
        self.patch.setenv(BASE, str(self.folder))
        return "".join(map(str, getattr(doctor, check)()))

    def run_cell(self, source, folder):
        """The traceback of a notebook with one cell, which fails."""
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
        with pytest.raises(refresh_notebooks.NotebookFailed):
            refresh_notebooks.run(notebook, folder, "this")
        (output,) = notebook.cells[0].outputs
        return re.sub(r"\x1b\[[\d;]*m", "", "\n".join(output["traceback"]))

    def page_of(self, slug, path, **config):
        """The text of a page of an app."""
        page = load_app_module(slug).create_app(config).test_client().get(path)
        return re.sub(r"<[^>]*>", "", page.text)

    def go_offline(self):
        """Send every request for the internet to a proxy that doesn't exist."""
        for name in ("WORKSHOP_OFFLINE", "WORKSHOP_MIRROR", "no_proxy", "NO_PROXY"):
            self.patch.delenv(name, raising=False)
        self.patch.setattr(mirror, "MARKER", "no kit.json")
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
            self.patch.setenv(name, "http://127.0.0.1:9")


class Problems(Bench):
    """Each problem on the page that prints something."""

    def the_computer_can_t_find_python3(self):
        if not (bash := shutil.which("bash")):
            pytest.skip("the message is from bash, which isn't installed here")
        environ = {"PATH": str(self.folder), "LC_ALL": "C"}
        return run(bash, "-c", "python3 -m workshop start", env=environ)

    def you_re_in_the_wrong_folder(self):
        (self.folder / "above" / "workshop").mkdir(parents=True)
        # -S: like a Python with nothing installed, as learners have.
        command = (sys.executable, "-S", "-m", "workshop", "start")
        return "".join(run(*command, cwd=self.folder / name) for name in (".", "above"))

    def a_part_of_the_workshop_is_missing(self):
        house = self.house()
        (house / "requirements.txt").unlink()
        return trouble.type_in(house)

    def python_is_too_old(self):
        self.patch.setattr(sys, "version_info", (3, 9, 18))
        with pytest.raises(SystemExit) as end:
            runpy.run_module("workshop", run_name="__main__")
        return str(end.value)

    def python_can_t_create_environments(self):
        self.patch.setitem(sys.modules, "venv", None)  # as if it weren't installed
        with pytest.raises(SetupError) as refusal:
            environment.make_environment(self.folder / ".venv")
        return str(refusal.value)

    def the_packages_can_t_be_downloaded(self):
        return trouble.type_in(self.house(), "start")

    def the_kit_doesn_t_fit_this_computer(self):
        house, wheels = self.house(), self.folder / "kit" / "wheels"
        wheels.mkdir(parents=True)
        pretend("numpy-1.0-py3-none-any.whl", wheels)
        nowhere = trouble.type_in(house, "start", WORKSHOP_MIRROR="nowhere")
        return nowhere + trouble.type_in(house, "start", WORKSHOP_MIRROR=str(wheels.parent))

    def you_pressed_ctrl_c_during_the_set_up(self):
        def press_ctrl_c(_):
            raise KeyboardInterrupt

        taken = iter([True, False])  # by a set-up in another terminal, until it's done
        self.patch.setattr(process, "is_taken", lambda _: next(taken))
        self.patch.setattr(set_up, "set_up", press_ctrl_c)
        self.patch.setattr(environment, "find_environment", lambda: SimpleNamespace(is_ready=False))
        assert workshop_command([]) == 130
        return self.capsys.readouterr().err

    def a_package_is_damaged(self):
        self.patch.setattr(doctor, "damage", lambda: {"pandas": "pandas/core/frame.py"})
        told = self.doctor("lock")
        ready = SimpleNamespace(is_ready=True, is_current=True, forget=list)
        self.patch.setattr(environment, "find_environment", lambda: ready)
        self.patch.delitem(sys.modules, "workshop.cli")  # so it's imported again, without click
        self.patch.setitem(sys.modules, "click", None)
        assert workshop_command([]) == 1
        return told + self.capsys.readouterr().err

    def a_file_has_the_name_of_a_module(self):
        (self.folder / "notebooks").mkdir()
        (self.folder / "notebooks" / "random.py").touch()
        return self.doctor("modules")

    def there_is_no_space_or_no_permission_to_write(self):
        bound = tuple(trouble.bound_by_permissions())
        house = self.house()
        house.chmod(0o555)
        told = trouble.type_in(house, before=bound)
        house.chmod(0o755)
        (self.folder / "file").touch()
        self.patch.setenv(BASE, str(self.folder / "file" / "work"))
        told += self.command("train", "04")
        (self.folder / "notebooks").mkdir(mode=0o555)
        code = "from workshop.teach import doctor; print(*doctor.write_access())"
        self.patch.setenv(BASE, str(self.folder))
        told += run(*bound, sys.executable, "-c", code)
        return told + set_up.sentence_for(OSError(28, "No space left on device"))

    def a_port_is_in_use(self):
        with make_server("127.0.0.1", 0, gallery.create_app({})) as server:
            Thread(target=server.serve_forever, daemon=True).start()
            port = str(server.port)
            told = self.command("start", "--port", port, "--no-lab", "--no-browser")
            told += self.command("app", "01", "--port", port)
            server.shutdown()
        with socket.create_server(("127.0.0.1", 0)) as other:
            self.patch.setattr(doctor, "GALLERY_PORT", other.getsockname()[1])
            told += self.doctor("ports")
        return told

    def an_app_doesn_t_start(self):
        trouble.copy_apps(self.folder, "01_hello")
        self.patch.setenv(BASE, str(self.folder))
        app = self.folder / "apps" / "01_hello" / "app.py"
        app.write_text(app.read_text(encoding="utf-8").replace("= Flask(", "= Flask((", 1), "utf-8")
        with pytest.raises(ServerDied) as death, serve("hello"):
            pass
        self.patch.setattr(doctor, "STAGES", [find_stage("hello")])
        return f"{death.value}\n{self.doctor('stages')}"

    def the_notebook_uses_a_different_python(self):
        trouble.put_kernel(
            self.folder / "jupyter", trouble.spec_of_another_python(self.folder / "other")
        )
        self.patch.setenv("JUPYTER_PATH", str(self.folder / "jupyter"))
        return self.run_cell("from workshop import check", self.folder) + self.doctor("kernel")

    def a_name_isn_t_defined(self):
        return self.run_cell(FIRST_CELLS[1], ROOT / "notebooks")

    def a_file_isn_t_found(self):
        return self.run_cell(FIRST_CELLS[0], self.folder)

    def a_notebook_can_t_be_opened(self):
        (self.folder / "notebooks").mkdir()
        (self.folder / "notebooks" / "01_hello.ipynb").write_text('{"cells": [', encoding="utf-8")
        return self.doctor("notebooks")

    def an_app_has_no_model(self):
        return self.page_of("04_iris", "/", MODEL_FOLDER=self.folder)

    def the_model_is_from_another_version(self):
        model = load_module(find_stage("iris"), "iris_model")
        model.save(*model.train(datasets.read_iris()), self.folder)
        card = self.folder / "iris.json"
        (self.folder / "iris.joblib").write_bytes(b"another model")
        told = self.page_of("04_iris", "/", MODEL_FOLDER=self.folder)
        older = json.loads(card.read_bytes())
        older["versions"]["scikit_learn"] = "1.2.2"
        card.write_text(json.dumps(older), encoding="utf-8")
        return told + self.page_of("04_iris", "/", MODEL_FOLDER=self.folder)

    def the_app_of_stage_06_has_no_database(self):
        self.patch.delenv("DATABASE_URL", raising=False)
        module = load_app_module("06_housing")
        self.patch.setattr(module, "INSTANCE_FOLDER", self.folder)
        model = load_module(find_stage("housing"), "housing_model")
        folder = model.save(*model.train(datasets.fetch_housing()), self.folder / "model").parent
        told = self.page_of("06_housing", "/login", MODEL_FOLDER=folder)
        module.create_app().test_cli_runner().invoke(args=["init-db"])
        with contextlib.closing(sqlite3.connect(self.folder / "housing.db")) as connection:
            connection.execute("DROP TABLE login_session")
        return told + str(try_stage.database(find_stage("housing")))

    def the_page_shows_an_error_500(self):
        return self.page_of("01_hello", "/oops")

    def the_page_still_shows_the_old_version(self):
        name = Path("apps/01_hello/app.py")
        original, mine = self.folder / "originals" / name, self.folder / "work" / name
        original.parent.mkdir(parents=True)
        self.patch.setattr(my_copy, "ROOT", self.folder / "originals")
        self.patch.setattr(my_copy, "COPIED", ("apps",))
        self.patch.setenv(BASE, str(self.folder / "work"))
        for changed, text in ((original, "first"), (mine, "mine"), (original, "second")):
            changed.write_text(text, encoding="utf-8")
            cli.use_my_copy()
        return self.capsys.readouterr().out

    def the_real_data_isn_t_available(self):
        self.go_offline()
        fetch_census(self.folder / "data")
        self.patch.setenv("WORKSHOP_MIRROR", str(self.folder / "no stick"))
        fetch_census(self.folder / "data")
        return self.capsys.readouterr().err

    def a_data_file_is_damaged(self):
        for member in datasets.CENSUS.members:
            (self.folder / member.name).write_bytes(b"39, State-gov")
        self.patch.setattr(datasets, "DATA", self.folder)
        return self.doctor("data")

    def the_room_s_mirror_doesn_t_answer(self):
        self.go_offline()
        told = ""
        for place in (f"http://127.0.0.1:{free_port()}", "http://mirror.example", "/no/stick"):
            self.patch.setenv("WORKSHOP_MIRROR", place)
            told += self.doctor("mirror")
        return told
