"""docs/troubleshooting.md: every message it quotes is one that the software prints when that trouble is met.

A message is a block of `text` under a heading. Each of these headings has a function here that gets into
the trouble and returns what was printed. Numbers, and words in capitals, may differ.
"""

import contextlib
import json
import os
import re
import runpy
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import nbformat
import pytest
from trouble_support import (
    bound_by_permissions,
    copy_apps,
    cut_off,
    make_house,
    put_kernel,
    spec_of_another_python,
    type_in,
)
from wheel_support import pretend

from workshop import cli, fetch_census, serve
from workshop.core import datasets
from workshop.core.errors import ServerDied
from workshop.core.stages import BASE, find_stage, load_app_module, load_module
from workshop.host.ports import FOLDER, free_port
from workshop.learn import my_copy
from workshop.setup import mirror
from workshop.setup.process import ROOT
from workshop.setup.set_up import sentence_for
from workshop.teach import doctor, try_stage
from workshop.upkeep import refresh_notebooks
from workshop.upkeep.refresh_notebooks import NotebookFailed

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
PLACEHOLDERS = ("FOLDER", "FILE", "ADDRESS", "HOST", "REASON")
VARIES = re.compile(rf"\b({'|'.join(PLACEHOLDERS)})\b|\d+(?:[.,]\d+)*")

Trouble = Callable[..., str]
TROUBLES: dict[str, Trouble] = {}


def quoted() -> dict[str, list[str]]:
    """The messages under each heading of the page."""
    sections = re.split(r"^#{2,3} (.+)$", PAGE, flags=re.MULTILINE)[1:]
    found = {
        heading: re.findall(r"^```text\n(.*?)^```", body, flags=re.MULTILINE | re.DOTALL)
        for heading, body in zip(sections[::2], sections[1::2], strict=True)
    }
    return {heading: messages for heading, messages in found.items() if messages}


def is_printed(message: str, output: str) -> bool:
    """Whether a message of the page stands in what a program has printed, however the lines break."""
    words, begin = [], 0
    text = " ".join(message.split())
    for part in VARIES.finditer(text):
        words.append(re.escape(text[begin : part.start()]))
        words.append(r"\S.*?" if part[1] else r"\d+(?:[.,]\d+)*")
        begin = part.end()
    words.append(re.escape(text[begin:]))
    return re.search("".join(words), " ".join(output.split())) is not None


def trouble(heading: str) -> Callable[[Trouble], Trouble]:
    """Register the way into the trouble under a heading."""

    def register(function: Trouble) -> Trouble:
        TROUBLES[heading] = function
        return function

    return register


class Bench:
    """What a way into trouble may use."""

    def __init__(self, tmp_path, monkeypatch, capsys):
        self.folder = tmp_path
        self.patch = monkeypatch
        self.capsys = capsys

    def house(self) -> Path:
        return make_house(self.folder / "the workshop")

    def copy(self, *slugs: str) -> Path:
        """A learner's copy of some apps, which is now the one that is meant."""
        copy_apps(self.folder / "work", *slugs)
        self.patch.setenv(BASE, str(self.folder / "work"))
        return self.folder / "work"

    def command(self, *arguments: str) -> str:
        """What a command prints that ends with 1."""
        assert cli.run(arguments) == 1
        printed = self.capsys.readouterr()
        return printed.out + printed.err


@pytest.fixture
def bench(tmp_path, monkeypatch, capsys):
    return Bench(tmp_path, monkeypatch, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("heading", quoted())
def test_the_messages_of_the_page_are_those_that_are_printed(heading, bench):
    output = TROUBLES[heading](bench)
    for message in quoted()[heading]:
        assert is_printed(message, output), f"{message}\nis not in\n{output}"


def test_every_trouble_here_is_on_the_page():
    assert set(TROUBLES) == set(quoted())


def test_what_counts_as_printed():
    assert is_printed(
        "Port 8000 is in use in FOLDER: end it", "x Port 61 is in\nuse in /a b: end it."
    )
    assert not is_printed("Port 8000 is in use", "Port 8000 is taken")
    assert not is_printed("no folder FOLDER: give", "no folder : give")


def test_the_page_names_every_trouble_of_the_issue_and_its_links_lead_somewhere():
    headings = re.findall(r"^#{2,3} (.+)$", PAGE, flags=re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([^)]+)\)", PAGE)) <= anchors
    for words in (
        "You are in another folder",
        "The notebook runs with another Python",
        "A port is in use",
        "An app has no model",
        "The model is from another version",
        "The room's mirror does not answer",
        "The real data cannot be had",
        "The packages cannot be downloaded",
        "There is no room, or no permission to write",
        "A name is not defined",
        "The page still shows the old version",
    ):
        assert words in headings


# Setting up


@trouble("The computer does not know python3")
def no_python(bench):
    bash = shutil.which("bash")
    if not bash:
        pytest.skip("there is no bash here, whose message this is")
    run = subprocess.run(
        [bash, "-c", "python3 -m workshop start"],
        env={"PATH": str(bench.folder), "LC_ALL": "C"},
        capture_output=True,
        text=True,
    )
    return run.stderr


@trouble("You are in another folder")
def wrong_folder(bench):
    (bench.folder / "above" / "workshop").mkdir(parents=True)
    told = ""
    for folder in (bench.folder, bench.folder / "above"):
        # -S: as a Python that has nothing installed, which is what people type in.
        command = [sys.executable, "-S", "-m", "workshop", "start"]
        told += subprocess.run(command, cwd=folder, capture_output=True, text=True).stderr
    return told


@trouble("A part of the workshop is missing")
def part_missing(bench):
    house = bench.house()
    (house / "requirements.txt").unlink()
    return type_in(house)


@trouble("Python is too old")
def old_python(bench):
    bench.patch.setattr(sys, "version_info", (3, 9, 18))
    with pytest.raises(SystemExit) as end:
        runpy.run_module("workshop", run_name="__main__")
    return str(end.value)


@trouble("Python cannot make environments")
def no_venv(bench):
    (bench.folder / "venv.py").write_text("raise ImportError('ensurepip')\n", encoding="utf-8")
    return type_in(bench.house(), PYTHONPATH=str(bench.folder))


@trouble("The packages cannot be downloaded")
def no_network(bench):
    return type_in(bench.house(), "start")


@trouble("The kit does not fit")
def wrong_kit(bench):
    house, wheels = bench.house(), bench.folder / "kit" / "wheels"
    wheels.mkdir(parents=True)
    pretend("numpy-1.0-py3-none-any.whl", wheels)
    nowhere = type_in(house, "start", WORKSHOP_MIRROR="nowhere")
    return nowhere + type_in(house, "start", WORKSHOP_MIRROR=str(wheels.parent))


@trouble("You pressed Ctrl-C during the set-up")
def interrupted(bench):
    if os.name != "posix":
        pytest.skip("only here can a test press Ctrl-C for another program")
    house = bench.house()

    def begin(*command):
        return subprocess.Popen(
            [sys.executable, *command],
            cwd=house,
            env=cut_off(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            start_new_session=True,
        )

    code = "import workshop.setup.process as b\nwith b.one_at_a_time(): print(flush=True); input()"
    with begin("-c", code) as first:
        first.stdout.readline()  # it has begun, so the second finds it at work
        with begin("-m", "workshop") as second:
            try:
                told = second.stderr.readline()  # it waits
                first.communicate("\n")
                while not second.stderr.readline().startswith("  1/4 "):
                    assert second.poll() is None
                os.killpg(second.pid, signal.SIGINT)
                told += second.communicate()[1]
            finally:
                first.kill()
                second.kill()
    assert second.returncode == 130
    return told


@trouble("There is no room, or no permission to write")
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
    run = subprocess.run(
        [*bound, sys.executable, "-c", code],
        env=os.environ | {BASE: str(bench.folder)},
        capture_output=True,
        text=True,
    )
    return told + run.stdout + sentence_for(OSError(28, "No space left on device"))


# Starting


class Gallery(BaseHTTPRequestHandler):
    """A server that says of itself what this workshop's gallery does."""

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"service": "workshop", "folder": FOLDER}).encode())

    def log_message(self, *_):
        pass


@trouble("A port is in use")
def busy_port(bench):
    with HTTPServer(("127.0.0.1", 0), Gallery) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            port = str(server.server_port)
            told = bench.command("start", "--port", port, "--no-lab", "--no-browser")
            return told + bench.command("app", "01", "--port", port)
        finally:
            server.shutdown()
            thread.join()


@trouble("An app does not start")
def broken_app(bench):
    app = bench.copy("01_hello") / "apps" / "01_hello" / "app.py"
    text = app.read_text(encoding="utf-8")
    app.write_text(text.replace("app = Flask(", "app = Flask((", 1), encoding="utf-8")
    with pytest.raises(ServerDied) as death, serve("hello"):
        pass
    bench.patch.setattr(doctor, "STAGES", [find_stage("hello")])
    return "\n".join([str(death.value), *map(str, doctor.stages())])


# In a notebook


def run_cell(source: str, folder: Path) -> str:
    """What a notebook says that holds one cell, which fails."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    with pytest.raises(NotebookFailed):
        refresh_notebooks.run(notebook, folder, "this")
    (output,) = notebook.cells[0].outputs
    return re.sub(r"\x1b\[[\d;]*m", "", "\n".join(output["traceback"]))


def code_cells(name: str) -> list[str]:
    cells = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4).cells
    return [cell.source for cell in cells if cell.cell_type == "code"]


@trouble("The notebook runs with another Python")
def other_kernel(bench):
    put_kernel(bench.folder / "jupyter", spec_of_another_python(bench.folder / "other"))
    bench.patch.setenv("JUPYTER_PATH", str(bench.folder / "jupyter"))
    told = run_cell("from workshop import check", bench.folder)
    return "\n".join([told, *map(str, doctor.kernel())])


@trouble("A name is not defined")
def out_of_order(bench):
    skipped, used, *_ = code_cells("04_iris")
    assert "flowers = " in skipped
    return run_cell(used, ROOT / "notebooks")


@trouble("A file is not found")
def moved_notebook(bench):
    return run_cell(code_cells("04_iris")[0], bench.folder)


# In the browser


def page_of(slug: str, path: str, **config: object) -> str:
    """The text of a page of an app."""
    page = load_app_module(slug).create_app(config).test_client().get(path)
    return re.sub(r"<[^>]*>", "", page.text)


@trouble("An app has no model")
def no_model(bench):
    return page_of("04_iris", "/", MODEL_FOLDER=bench.folder)


@trouble("The model is from another version")
def other_version(bench):
    model = load_module(find_stage("iris"), "iris_model")
    model.save(*model.train(datasets.read_iris()), bench.folder)
    card = bench.folder / "iris.json"
    good = json.loads(card.read_bytes())
    changed = good | {"versions": good["versions"] | {"scikit_learn": "1.2.2"}}
    card.write_text(json.dumps(changed), encoding="utf-8")
    told = page_of("04_iris", "/", MODEL_FOLDER=bench.folder)
    card.write_text(json.dumps(good | {"sha256": "0" * 64}), encoding="utf-8")
    return told + page_of("04_iris", "/", MODEL_FOLDER=bench.folder)


@trouble("The app of stage 06 has no database")
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


@trouble("The page says that it broke")
def broken_page(bench):
    return page_of("01_hello", "/oops")


@trouble("The page still shows the old version")
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
    """Send every request for the internet to a proxy that is gone, and let nothing else keep them."""
    bench.patch.delenv("WORKSHOP_OFFLINE", raising=False)
    bench.patch.delenv("WORKSHOP_MIRROR", raising=False)
    bench.patch.setattr(mirror, "MARKER", "no kit.json")
    for name in ("http_proxy", "https_proxy"):
        for spelling in (name, name.upper()):
            bench.patch.setenv(spelling, "http://127.0.0.1:9")
    for spelling in ("no_proxy", "NO_PROXY"):
        bench.patch.setenv(spelling, "")


@trouble("The real data cannot be had")
def no_download(bench):
    go_offline(bench)
    fetch_census(bench.folder / "data")
    bench.patch.setenv("WORKSHOP_MIRROR", str(bench.folder / "no stick"))
    fetch_census(bench.folder / "data")
    return bench.capsys.readouterr().err


@trouble("A data file is damaged")
def damaged_data(bench):
    for member in datasets.CENSUS.members:
        (bench.folder / member.name).write_bytes(b"39, State-gov")
    bench.patch.setattr(datasets, "DATA", bench.folder)
    return "".join(map(str, doctor.data()))


@trouble("The room's mirror does not answer")
def no_mirror(bench):
    go_offline(bench)
    told = ""
    places = (
        f"http://127.0.0.1:{free_port()}",
        "http://mirror.example",
        str(bench.folder / "stick"),
    )
    for place in places:
        bench.patch.setenv("WORKSHOP_MIRROR", place)
        told += "".join(map(str, doctor.mirror()))
    return told
