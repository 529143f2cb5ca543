"""The doctor: every finding, well and not well, its exit code, and the line for the instructor.

Kernels, mirrors, apps and databases fail here for real: another Python's kernel is in the way, a server
has nothing, a learner's copy of an app has a slip in it.
"""

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import json
import os
import re
import socketserver
import sqlite3
import subprocess
import sys
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler
from types import SimpleNamespace

import nbclient
import nbformat
import pytest
from trouble_support import (
    bound_by_permissions,
    copy_apps,
    kernel_spec,
    put_kernel,
    spec_of_another_python,
)

from workshop import cli
from workshop.core import datasets
from workshop.core.stages import BASE, STAGES, find_stage, load_module
from workshop.host.ports import FOLDER, GALLERY_URL, free_port
from workshop.setup import mirror
from workshop.setup.process import ROOT
from workshop.teach import doctor, try_stage
from workshop.teach.doctor import Finding, summary


def only(examination):
    """The one finding of an examination."""
    (finding,) = examination()
    return finding


@contextlib.contextmanager
def listening(handler):
    """A server on a port of its own, which the block gets; `handler` is called for each connection."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.05])
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def saying(words):
    """A server that says `words` to everybody."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            self.request.recv(1024)
            self.request.sendall(words)

    return listening(Handler)


NO_WEB_SERVER = b"SSH-2.0-OpenSSH\r\n"


def page(body):
    return b"HTTP/1.0 200 OK\r\n\r\n" + body


def gallery(folder=FOLDER):
    """What the gallery of the workshop in `folder` says of itself."""
    return page(json.dumps({"service": "workshop", "folder": folder}).encode())


# Interpreter and lock


def test_interpreter(monkeypatch):
    assert only(doctor.interpreter).well
    assert sys.prefix in only(doctor.interpreter).text
    other = SimpleNamespace(is_current=False)
    monkeypatch.setattr(doctor, "find_environment", lambda: other)
    assert not only(doctor.interpreter).well
    assert only(doctor.interpreter).text.endswith("start it as: python3 -m workshop doctor")


@pytest.fixture
def write_lock(tmp_path, monkeypatch):
    """Gives the doctor another lock to compare with."""

    def write(*lines):
        file = tmp_path / "requirements.txt"
        file.write_text("\n".join(["# made by uv", *lines, "    # via nothing"]), encoding="utf-8")
        monkeypatch.setattr(doctor, "LOCK", file)

    return write


def test_lock_that_fits(write_lock, monkeypatch):
    version = importlib.metadata.version("click")
    hashes = " \\\n    --hash=sha256:0a \\\n    --hash=sha256:0b"
    write_lock(f"click=={version}{hashes}", f"pywinpty==1 ; os_name == 'never'{hashes}")
    assert only(doctor.lock) == Finding("lock", True, "1 packages as requirements.txt says")

    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    write_lock("uv==0.13.8")
    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert only(doctor.lock).well, "it only installs the others"


def test_lock_that_does_not_fit(write_lock):
    write_lock("click==0.1", *(f"no-such-package-{number}==1.0" for number in range(4)))
    finding = only(doctor.lock)
    assert not finding.well
    assert re.fullmatch(
        r"click is [\d.]+ instead of ==0\.1, no-such-package-0 is missing, no-such-package-1 is missing "
        r"and 2 more; delete .+ and run any workshop command again",
        finding.text,
    )


def test_set_up_anew(monkeypatch):
    monkeypatch.delenv("WORKSHOP_NO_VENV", raising=False)
    assert doctor.set_up_anew() == "delete the .venv folder and run any workshop command again"
    monkeypatch.setenv("WORKSHOP_NO_VENV", "1")
    assert doctor.set_up_anew().startswith(f"delete {ROOT / '.workshop-setup'} and run any")


# Kernel

RENAME = "another Python's kernel is in the way: rename the folder "
GONE = kernel_spec("/opt/anaconda3/gone/python")


def test_kernel_of_another_python(tmp_path, monkeypatch):
    folder = put_kernel(tmp_path / "jupyter", spec_of_another_python(tmp_path / "other"))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    text = f"notebooks run with the Python in {tmp_path / 'other'}; {RENAME}{folder}"
    assert only(doctor.kernel) == Finding("kernel", False, text)
    folder.rename(folder.with_name("mine"))  # the doctor's own advice
    text = "a notebook ran with the workshop's Python"
    assert only(doctor.kernel) == Finding("kernel", True, text)


@pytest.mark.parametrize(
    ("content", "error"), [(GONE, "FileNotFoundError"), ("{", "JSONDecodeError")]
)
def test_kernel_that_does_not_run(tmp_path, monkeypatch, content, error):
    folder = put_kernel(tmp_path / "jupyter", content)
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    text = f"notebooks can't run ({error}); {RENAME}{folder}"
    assert only(doctor.kernel) == Finding("kernel", False, text)


def test_a_kernel_of_the_user_s_own(tmp_path, monkeypatch):
    put_kernel(tmp_path / "jupyter", GONE)
    monkeypatch.delenv("JUPYTER_PATH", raising=False)
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "jupyter"))
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "1")  # what Jupyter assumes in an environment
    assert only(doctor.kernel).well
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "0")  # and where there is none
    assert "notebooks can't run (FileNotFoundError)" in only(doctor.kernel).text


def test_a_kernel_of_ours_that_dies_needs_a_new_environment(monkeypatch):
    def die(*_):
        raise RuntimeError("Kernel died before replying to kernel_info")

    monkeypatch.setattr(nbclient.NotebookClient, "execute_cell", die)
    text = f"notebooks can't run (RuntimeError); {doctor.set_up_anew()}"
    assert only(doctor.kernel) == Finding("kernel", False, text)


# Write access


@pytest.mark.parametrize("place", ["work/notebooks", "."])
def test_no_write_access(tmp_path, place):
    bound = bound_by_permissions()
    root = tmp_path / "the workshop"
    (root / "work" / "notebooks").mkdir(parents=True)
    (root / place).chmod(0o555)
    code = (
        "import pathlib, sys; from workshop.teach import doctor; doctor.ROOT = pathlib.Path(sys.argv[1]);"
        "print(*doctor.write_access())"
    )
    run = subprocess.run(
        [*bound, sys.executable, "-c", code, root],
        env=os.environ | {BASE: str(root / "work")},
        capture_output=True,
        text=True,
    )
    (root / place).chmod(0o755)
    where = "the workshop's folder" if place == "." else place
    assert run.stdout == (
        f"WRONG  write access can't write in {where} (Permission denied); "
        "move the workshop to a folder of your own\n"
    ), run.stderr


def test_room_on_the_disk(monkeypatch):
    assert only(doctor.write_access).well
    monkeypatch.setattr(doctor, "ROOM_NEEDED", 10**18)
    finding = only(doctor.write_access)
    assert not finding.well
    assert re.fullmatch(r"only \d+ MB are free on the disk; make room for \d+ MB", finding.text)


# Ports


@pytest.fixture
def ports(monkeypatch):
    """What the doctor says of ports of the test's own: gallery, JupyterLab, one app, and where it runs."""

    def find(gallery=None, lab=None, app=None, inside=None):
        monkeypatch.delenv(GALLERY_URL, raising=False)
        if inside:
            monkeypatch.setenv(GALLERY_URL, f"http://127.0.0.1:{inside}")
        monkeypatch.setattr(doctor, "GALLERY_PORT", gallery or free_port())
        monkeypatch.setattr(doctor, "LAB_PORT", lab or free_port())
        stage = SimpleNamespace(number=4, port=app or free_port())
        monkeypatch.setattr(doctor, "stages_with_app", lambda: (stage,))
        return only(doctor.ports)

    return find


def test_free_ports(ports):
    for inside in (None, free_port()):  # in a workshop that has ended, too
        finding = ports(inside=inside)
        assert finding.well
        assert finding.text.endswith(" and those of the apps are free")


def test_a_port_that_another_program_uses(ports):
    with saying(NO_WEB_SERVER) as port:
        text = f"in use by another program: {port} (use start --port)"
        assert ports(gallery=port) == Finding("ports", False, text)
        text = f"in use by another program: {port} (use start --lab-port)"
        assert ports(lab=port) == Finding("ports", False, text)
        finding = ports(app=port)
        assert str(finding).startswith("note   ports        ")
        assert finding.text.endswith(f"; {port} is in use by another program (use app 4 --port)")
    with saying(page(b"an app")) as port:
        finding = ports(app=port)
        assert str(finding).startswith("note   ports        ")
        assert finding.text.endswith(f" are free; an app is running on {port}")


@pytest.mark.parametrize("body", [b"<h1>It works!</h1>", b"[]", b'{"status": "ok"}', b"\xff"])
def test_a_web_page_of_somebody_else_is_not_the_gallery(ports, body):
    with saying(page(body)) as port:
        assert not ports(gallery=port).well


def test_the_ports_of_a_running_workshop_are_well(ports, monkeypatch):
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # which can't reach this machine
    with saying(NO_WEB_SERVER) as other, saying(gallery()) as port:
        expected = Finding("ports", True, f"the workshop is running on {port}")
        assert ports(gallery=port, lab=other) == expected
        assert ports(gallery=other, lab=other, inside=port) == expected, "in one of its notebooks"


def test_another_copy_of_the_workshop_is_in_the_way(ports):
    with saying(gallery("another")) as port, saying(b"\r\n") as lab:
        finding = ports(gallery=port, lab=lab, inside=port)
    assert not finding.well
    assert finding.text == (
        f"another copy of the workshop runs on {port} (end that one, or use start --port); "
        f"in use by another program: {lab} (use start --lab-port)"
    )


# Data, and the room's mirror


def test_data(tmp_path, monkeypatch):
    for member in datasets.CENSUS.members:
        (tmp_path / member.name).write_bytes(b"39, State-gov")
    monkeypatch.setattr(datasets, "DATA", tmp_path)
    monkeypatch.setattr(doctor, "STAGES", [find_stage("census")])
    finding = only(doctor.data)
    assert not finding.well
    assert re.search(r"; delete .*adult\.data and .*adult\.test$", finding.text)


@pytest.fixture
def small_data(monkeypatch):
    """Data sets of a few bytes, in place of the real ones; gives their archives by path in a mirror."""
    archives = {}
    for name in ("CENSUS", "HOUSING"):
        dataset = getattr(datasets, name)
        digest = hashlib.sha256(b"1\n").hexdigest()
        members = [dataclasses.replace(m, size=2, sha256=digest) for m in dataset.members]
        monkeypatch.setattr(datasets, name, dataclasses.replace(dataset, members=tuple(members)))
        archives[f"{dataset.folder}/{dataset.archive}"] = members
    return archives


def fill(folder, archives, *wheels):
    """Make a folder a mirror that has archives of small data, and wheels."""
    for path, members in archives.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(folder / path, "w") as archive:
            for member in members:
                archive.writestr(member.name, b"1\n")
    (folder / "wheels").mkdir(parents=True)
    for wheel in wheels:
        (folder / "wheels" / wheel).touch()
    return folder


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def serving(folder):
    """What `python3 -m http.server` serves of a folder."""
    return listening(partial(Quiet, directory=str(folder)))


@pytest.fixture
def set_mirror(monkeypatch):
    """Sets WORKSHOP_MIRROR. There is no kit, whatever folder this repository lies in."""
    monkeypatch.setattr(mirror, "MARKER", "no kit.json")
    return partial(monkeypatch.setenv, "WORKSHOP_MIRROR")


def test_a_mirror_that_is_well(set_mirror, small_data, tmp_path, monkeypatch, capfd):
    set_mirror("")
    assert only(doctor.mirror) == Finding("mirror", True, "none is set, and none is needed")
    folder = fill(tmp_path / "the stick", small_data, "click-8-py3-none-any.whl")
    set_mirror(f'"{folder}"')
    everything = "answers, with census data, housing data, wheels"
    assert only(doctor.mirror) == Finding("mirror", True, f"{folder} {everything}")
    with serving(folder) as port:
        set_mirror(f"http://me:secret@127.0.0.1:{port}")
        text = f"http://127.0.0.1:{port} {everything}"
        assert only(doctor.mirror) == Finding("mirror", True, text)
    (folder / "adult" / "adult.zip").unlink()
    (folder / "wheels" / "click-8-py3-none-any.whl").unlink()
    set_mirror("")
    (folder / "no kit.json").touch()
    monkeypatch.setattr(mirror, "ROOT", folder / "repository")
    text = f"{folder} answers, with housing data"
    assert only(doctor.mirror) == Finding("mirror", True, text), "the kit around the repository"
    assert capfd.readouterr() == ("", "")


STICK = (
    "; plug in the stick, and set WORKSHOP_MIRROR to its folder that holds adult, housing or wheels; "
    "or unset it"
)
ADDRESS = ": check the address with your instructor, and join the room's network; or unset it"


def test_a_stick_that_can_not_be_used(set_mirror, small_data, tmp_path):
    def finds(text):
        return only(doctor.mirror) == Finding("mirror", False, text + STICK)

    set_mirror(str(tmp_path / "gone"))
    assert finds(f"WORKSHOP_MIRROR can't be used (there is no folder {tmp_path / 'gone'})")
    set_mirror(str(tmp_path))
    assert finds(f"{tmp_path} holds no data and no wheels")
    fill(tmp_path, small_data)
    (tmp_path / "adult" / "adult.zip").write_bytes(b"PK, and then the stick was unplugged")
    assert finds("WORKSHOP_MIRROR can't be used (its adult.zip is damaged or cut short)")


def test_a_server_that_can_not_be_used(set_mirror, tmp_path, monkeypatch):
    address = f"127.0.0.1:{free_port()}"
    set_mirror(f"http://me:secret@{address}")
    text = only(doctor.mirror).text
    assert text.startswith("WORKSHOP_MIRROR can't be used (")
    assert text.endswith(f"; WORKSHOP_MIRROR is http://{address}{ADDRESS}")
    with serving(tmp_path) as port:
        set_mirror(url := f"http://127.0.0.1:{port}")
        text = f"{url} holds no data and no wheels; WORKSHOP_MIRROR is {url}{ADDRESS}"
        assert only(doctor.mirror) == Finding("mirror", False, text)
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "")
    set_mirror("http://mirror.example")
    assert only(doctor.mirror).text.endswith(
        f"{ADDRESS}; or set NO_PROXY to mirror.example, because a proxy may be in the way"
    )


# Each stage's code, as the learner has it


class Copy:
    """A learner's copy of the apps of a few stages; `findings` is what the doctor finds in it."""

    def __init__(self, folder, *slugs):
        self.folder = folder
        copy_apps(folder, *slugs)

    def change(self, path, old, new):
        """Put `new` in the place of the first `old`, or at the end; return the number of its line."""
        file = self.folder / "apps" / path
        text = file.read_text(encoding="utf-8")
        assert old is None or old in text
        before, _, after = text.partition(old) if old else (text, "", "")
        file.write_text(before + new + after, encoding="utf-8")
        return before.count("\n") + 1

    def findings(self):
        return list(doctor.stages())

    def wrong(self):
        """The one thing that is wrong."""
        (finding,) = [finding for finding in self.findings() if not finding.well]
        return finding

    def files(self):
        files = [file for file in self.folder.rglob("*") if "__pycache__" not in file.parts]
        return {file: file.read_bytes() for file in files if file.is_file()}


@pytest.fixture
def copy_of(tmp_path, monkeypatch):
    """Makes a copy of some stages' apps the learner's, and these stages all that the doctor tries."""

    def copy(*slugs):
        monkeypatch.setenv(BASE, str(tmp_path / "work"))
        monkeypatch.setattr(doctor, "STAGES", [find_stage(slug) for slug in slugs])
        return Copy(tmp_path / "work", *slugs)

    return copy


def mend(code, what="that line"):
    return f"; mend {what}, or get the stage back with: python3 -m workshop catch-up {code} --fresh"


def test_every_stage_is_tried(copy_of):
    findings = copy_of(*(stage.slug for stage in STAGES if stage.app)).findings()
    assert [finding for finding in findings if not finding.well] == []
    tried = [(finding.subject, finding.text.partition(":")[0]) for finding in findings]
    expected = []
    for stage in STAGES:
        expected += [("model", stage.slug)] if stage.model else []
        expected += [("round trip", stage.slug)] if stage.name == "iris" else []
        expected += [("app", stage.slug)] if stage.app else []
        expected += [("database", stage.slug)] if stage.database else []
    assert tried == expected


def test_a_copy_in_which_nothing_was_trained_yet_and_it_stays_that_way(copy_of):
    copy = copy_of("04_iris", "06_housing")
    before = copy.files()
    assert [str(finding) for finding in copy.findings()] == [
        "note   model        04_iris: not trained yet; start does it, or: python3 -m workshop train 04",
        "ok     round trip   04_iris: trained, saved and loaded a model, and its answer is the same",
        "note   app          04_iris: answers that it has no model it can use (see model)",
        "note   model        06_housing: not trained yet; start does it, or: python3 -m workshop train 06",
        "note   app          06_housing: answers that it has no model it can use (see model)",
        "note   database     06_housing: There is no database yet; start sees to it, or: "
        "python3 -m workshop app 06",
    ]
    assert copy.files() == before


def test_a_model_and_one_of_another_version(copy_of):
    copy = copy_of("04_iris")
    subprocess.run([sys.executable, "-m", "workshop", "train", "04"], cwd=ROOT, check=True)
    assert [str(finding) for finding in copy.findings()] == [
        "ok     model        04_iris: trained, and the file is the one its card describes",
        "ok     round trip   04_iris: trained, saved and loaded a model, and its answer is the same",
        "ok     app          04_iris: its first page answers",
    ]
    file = copy.folder / "apps" / "04_iris" / "model" / "iris.json"
    card = json.loads(file.read_bytes())
    card["versions"]["scikit_learn"] = "0.24.1"
    file.write_text(json.dumps(card), encoding="utf-8")
    finding = copy.wrong()
    assert finding.text.startswith("04_iris: The model was trained with scikit-learn 0.24.1, but ")
    assert "install scikit-learn 0.24.1, or" in finding.text


ANOTHER_ANSWER = """
_load = load

def load(folder=MODEL_FOLDER):
    model = _load(folder)
    model.estimator[-1].intercept_[0] += 1
    return model
"""


@pytest.mark.parametrize(
    ("subject", "path", "old", "new", "told"),
    [
        ("model", "04_iris/iris_model.py", "def train(", "def train((", "SyntaxError: "),
        (
            *("round trip", "04_iris/iris_model.py"),
            *("new = Path(temporary)", "new = Path.temporary", "AttributeError: "),
        ),
        ("app", "01_hello/app.py", "links = [", "1 / 0; links = [", "ZeroDivisionError: division"),
        (
            "app",
            "02_templates/templates/index.html",
            "{% block main",
            "{% blok main",
            "Encountered",
        ),
        (
            "app",
            "01_hello/app.py",
            "import os\n",
            "raise SystemExit('enough')\n",
            "SystemExit: enough",
        ),
    ],
)
def test_a_slip_is_found_in_its_line(copy_of, subject, path, old, new, told):
    slug = path.partition("/")[0]
    copy = copy_of(slug, "03_prime")
    line = copy.change(path, old, new)
    finding = copy.wrong()
    assert finding.subject == subject
    assert f"apps/{path}, line {line}: " in finding.text
    assert told in finding.text
    assert finding.text.endswith(mend(slug[:2]))
    assert copy.findings()[-1] == Finding("app", True, "03_prime: its first page answers")


@pytest.mark.parametrize(
    ("path", "old", "new", "text"),
    [
        (
            *("01_hello/app.py", '@app.get("/")', '@app.get("/start")'),
            "its first page answers with the error 404" + mend("01", "apps/01_hello/app.py"),
        ),
        (
            *("01_hello/app.py", "    return app\n", ""),
            "create_app returns no app; end it with `return app`, or"
            + mend("01").partition(" or")[2],
        ),
        (
            *("01_hello/app.py", "import os\n", "import os\nos._exit(0)\n"),
            "its code ended Python" + mend("01"),
        ),
        (
            *("01_hello/app.py", "import os\n", "import os\nwhile True: os\n"),
            "apps/01_hello/app.py, line 9, is still at work after 8 seconds" + mend("01"),
        ),
        (
            *("04_iris/iris_model.py", None, ANOTHER_ANSWER),
            "a model answers differently once it was saved and loaded"
            + mend("04", "apps/04_iris/iris_model.py"),
        ),
    ],
)
def test_code_that_does_the_wrong_thing(copy_of, monkeypatch, path, old, new, text):
    slug = path.partition("/")[0]
    monkeypatch.setattr(doctor, "STAGE_LIMIT", 8)
    copy = copy_of(slug)
    copy.change(path, old, new)
    assert copy.wrong().text == f"{slug}: {text}"


def test_an_app_that_prints_and_one_that_would_serve_for_ever_are_well(copy_of):
    copy = copy_of("01_hello", "03_prime")
    noise = "import os\nprint('here I am')\nos.system('echo and I')\n"
    copy.change("01_hello/app.py", "import os\n", noise)
    copy.change("03_prime/app.py", None, "\ncreate_app().run()\n")
    assert [finding.well for finding in copy.findings()] == [True, True]


def test_stages_that_can_not_even_be_tried(monkeypatch):
    monkeypatch.setattr(doctor, "STAGE_LIMIT", "oops")
    reason = "ValueError: could not convert string to float: 'oops'"
    text = f"no stage can be tried ({reason}); {doctor.set_up_anew()}"
    assert only(doctor.stages) == Finding("app", False, text)


def test_the_doctor_comes_to_a_notebook():
    """There, a loop is running that keeps some of an app's libraries from working (AsyncToSync)."""
    code = (
        "from workshop.teach.doctor import kernel, stages\n"
        "for finding in (*kernel(), *stages()): print(finding)"
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    nbclient.execute(notebook, cwd=str(ROOT / "notebooks"), kernel_name="python3")
    lines = "".join(part.text for part in notebook.cells[0].outputs).splitlines()
    assert lines[0].startswith("ok     kernel ")
    assert any("database     06_housing: " in line for line in lines)
    assert [line for line in lines if not line.startswith(("ok ", "note "))] == []


# The database of stage 06


@pytest.fixture
def housing(tmp_path, monkeypatch):
    """The file of the database of stage 06, which is not there yet, in a folder of the test's own."""
    monkeypatch.delenv("DATABASE_URL", raising=False)
    app = load_module(find_stage("housing"), "app")
    monkeypatch.setattr(app, "INSTANCE_FOLDER", tmp_path / "instance")
    return tmp_path / "instance" / "housing.db"


def make(file, *, of_another_version=False):
    """Make the database as the app's command does."""
    app = load_module(find_stage("housing"), "app").create_app({"SECRET_KEY": "none"})
    run = app.test_cli_runner().invoke(args=["init-db"])
    assert run.exit_code == 0, run.output
    if of_another_version:
        with sqlite3.connect(file) as connection:
            connection.execute("DROP TABLE login_session")
        connection.close()


def database():
    return try_stage.database(find_stage("housing"))


def test_a_database_that_is_well_and_stays_as_it_is(housing):
    make(housing)
    before = housing.read_bytes()
    assert database() == (True, "opens, and has its tables")
    assert housing.read_bytes() == before
    assert [file.name for file in housing.parent.iterdir()] == ["housing.db"]


def test_a_database_that_start_will_make_is_a_note(housing):
    fix = "; start sees to it, or: python3 -m workshop app 06"
    assert database() == (True, f"There is no database yet{fix}", True)
    assert not housing.parent.exists()
    housing.parent.mkdir()
    housing.touch()
    assert database() == (True, f"The database has no tables yet{fix}", True)


def test_a_database_that_can_not_be_used(housing):
    fix = f"; rename {housing} and let start make a new one"
    make(housing, of_another_version=True)
    assert database() == (False, f"The database belongs to another version of this app{fix}")
    housing.write_bytes(b"This is no database, but a long letter. " * 100)
    assert database() == (False, f"The database can't be opened{fix}")


def test_a_database_server_that_can_not_be_used(housing, monkeypatch):
    for url in ("mysql://127.0.0.1/housing", "a database"):
        monkeypatch.setenv("DATABASE_URL", url)
        well, text = database()
        assert not well
        assert text.startswith("DATABASE_URL can't be used (")
        assert text.endswith("); correct it, or unset it to use the app's own file")
    address = f"127.0.0.1:{free_port()}/housing"
    monkeypatch.setenv("DATABASE_URL", f"postgresql://me:secret@{address}")
    assert database() == (
        False,
        "The database can't be opened; check that its server runs "
        f"(DATABASE_URL is postgresql+psycopg://me:***@{address})",
    )


# The report


def test_an_examination_that_breaks_is_a_finding_and_the_others_go_on(monkeypatch):
    names = [examination.__name__ for examination in doctor.EXAMINATIONS]
    machine = ["interpreter", "lock", "kernel", "write_access", "ports"]
    assert names == [*machine, "data", "mirror", "stages", "your_apps"]

    def write_access():
        raise ModuleNotFoundError("No module named 'packaging'")
        yield

    def well():
        yield Finding("after", True, "fine")

    monkeypatch.setattr(doctor, "EXAMINATIONS", (write_access, well))
    broken, after = doctor.examine()
    reason = "ModuleNotFoundError: No module named 'packaging'"
    text = f"can't be examined ({reason}); {doctor.set_up_anew()}"
    assert broken == Finding("write access", False, text)
    assert after.well


@pytest.mark.parametrize(
    ("platform", "name"), [("linux", "linux"), ("darwin", "mac"), ("win32", "win")]
)
def test_the_last_line(monkeypatch, platform, name):
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(sys, "version_info", SimpleNamespace(major=3, minor=12))
    digest = hashlib.sha256((ROOT / "requirements.txt").read_bytes()).hexdigest()[:6]
    assert summary([Finding("lock", True, "")]) == f"workshop: ready · {digest} · py3.12 · {name}"
    findings = [Finding(s, s == "lock", "") for s in ("ports", "data", "data", "lock")]
    assert summary(findings).startswith("workshop: not ready (data, ports) · ")


@pytest.mark.parametrize(("well", "code", "mark"), [(True, 0, "ok   "), (False, 1, "WRONG")])
def test_the_command_reports_and_its_exit_code_tells(monkeypatch, capsys, well, code, mark):
    finding = Finding("ports", well, "8000 and those up to 8005")
    monkeypatch.setattr(doctor, "EXAMINATIONS", (lambda: iter([finding]),))
    assert cli.run(["doctor"]) == code
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{mark}  ports        8000 and those up to 8005"
    assert lines[-2:] == ["Paste this line to your instructor:", summary([finding])]


def test_the_report_can_be_printed_where_the_terminal_knows_ascii_only():
    code = (
        "from workshop import cli; from workshop.teach import doctor; doctor.EXAMINATIONS = ();"
        "raise SystemExit(cli.run(['doctor']))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
        capture_output=True,
    )
    assert run.returncode == 0, run.stderr
    assert "workshop: ready · " in run.stdout.decode("utf-8")
