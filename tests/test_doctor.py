"""The doctor: every finding well and not well, its exit code, and the line for the instructor.

Kernels, mirrors, apps and databases fail here for real: another Python's kernel is in the way, a server
holds nothing, a learner's copy of an app has a slip in it.
"""

import dataclasses
import hashlib
import importlib.metadata
import json
import os
import re
import socket
import sqlite3
import subprocess
import sys
import threading
import zipfile
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace

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
from workshop.teach import doctor
from workshop.teach import try_stage as rehearsal
from workshop.teach.doctor import Finding, summary
from workshop.upkeep import refresh_notebooks as notebooks


def only(examination):
    """The one finding of an examination."""
    (finding,) = examination()
    return finding


@contextmanager
def answering(body):
    """A web server on a port of its own that answers `body` to everything."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def talking(words):
    """Something that is no web server: it says `words` to whoever connects."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        ended = threading.Event()

        def talk():
            while not ended.is_set():
                connection, _ = server.accept()
                with connection:
                    connection.recv(1024)
                    connection.sendall(words)

        thread = threading.Thread(target=talk)
        thread.start()
        try:
            yield port
        finally:
            ended.set()
            socket.create_connection(("127.0.0.1", port)).close()
            thread.join()


# Interpreter, lock, kernel


def environment(is_current):
    return lambda: SimpleNamespace(is_current=is_current, stamp=Path("stamp"))


def test_interpreter(monkeypatch):
    monkeypatch.setattr(doctor, "find_environment", environment(True))
    assert only(doctor.interpreter).well
    assert sys.prefix in only(doctor.interpreter).text
    monkeypatch.setattr(doctor, "find_environment", environment(False))
    finding = only(doctor.interpreter)
    assert not finding.well
    assert finding.text.endswith("start it as: python3 -m workshop doctor")


@pytest.fixture
def write_lock(tmp_path, monkeypatch):
    """Gives the doctor another lock to compare with."""

    def write(*lines):
        file = tmp_path / "requirements.txt"
        file.write_text("\n".join(["# made by uv", *lines, "    # via nothing"]), encoding="utf-8")
        monkeypatch.setattr(doctor, "LOCK", file)

    return write


def test_lock_that_fits(write_lock):
    version = importlib.metadata.version("click")
    hashes = " \\\n    --hash=sha256:0a \\\n    --hash=sha256:0b"
    write_lock(f"click=={version}{hashes}", f"pywinpty==1 ; os_name == 'never'{hashes}")
    assert only(doctor.lock) == Finding("lock", True, "1 packages as requirements.txt says")


def test_lock_with_another_version_and_a_package_missing(write_lock):
    write_lock("click==0.1", "no-such-package==1.0")
    finding = only(doctor.lock)
    assert not finding.well
    assert re.search(
        r"click is [\d.]+ instead of ==0\.1, no-such-package is missing; ", finding.text
    )
    assert finding.text.endswith("and run any workshop command again")


def test_lock_names_three_and_counts_the_rest(write_lock):
    write_lock(*(f"no-such-package-{number}==1.0" for number in range(5)))
    assert "no-such-package-2 is missing and 2 more; delete" in only(doctor.lock).text


def test_the_installer_alone_may_be_missing(write_lock, monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    write_lock("uv==0.13.8")
    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert only(doctor.lock).well


RENAME = "another Python's kernel is in the way: rename the folder "


def test_kernel_that_runs_with_this_python():
    assert only(doctor.kernel) == Finding(
        "kernel", True, "a notebook ran with the workshop's Python"
    )


def test_kernel_of_another_python(tmp_path, monkeypatch):
    folder = put_kernel(tmp_path / "jupyter", spec_of_another_python(tmp_path / "other"))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    finding = only(doctor.kernel)
    assert not finding.well
    assert (
        finding.text == f"notebooks run with the Python in {tmp_path / 'other'}; {RENAME}{folder}"
    )
    folder.rename(folder.with_name("mine"))
    assert only(doctor.kernel).well, "the doctor's own advice"


GONE = kernel_spec("/opt/anaconda3/gone/python")


@pytest.mark.parametrize(
    ("content", "error"), [(GONE, "FileNotFoundError"), ("{", "JSONDecodeError")]
)
def test_kernel_that_does_not_run(tmp_path, monkeypatch, content, error):
    folder = put_kernel(tmp_path / "jupyter", content)
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    finding = only(doctor.kernel)
    assert not finding.well
    assert finding.text == f"notebooks can't run ({error}); {RENAME}{folder}"


def test_a_kernel_of_the_user_s_own(tmp_path, monkeypatch):
    put_kernel(tmp_path / "jupyter", GONE)
    monkeypatch.delenv("JUPYTER_PATH", raising=False)
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "jupyter"))
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "1")  # what Jupyter assumes in an environment
    assert only(doctor.kernel).well
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "0")  # and where there is none
    assert "notebooks can't run (FileNotFoundError)" in only(doctor.kernel).text


def test_without_any_kernel_the_environment_is_to_be_made_anew(monkeypatch):
    def run(*_):
        raise RuntimeError("Kernel died before replying to kernel_info")

    monkeypatch.setattr(notebooks, "run", run)
    finding = only(doctor.kernel)
    assert finding.text == f"notebooks can't run (RuntimeError); {doctor.set_up_anew()}"


def test_set_up_anew(monkeypatch):
    monkeypatch.delenv("WORKSHOP_NO_VENV", raising=False)
    assert doctor.set_up_anew() == "delete the .venv folder and run any workshop command again"
    monkeypatch.setenv("WORKSHOP_NO_VENV", "1")
    assert doctor.set_up_anew().startswith(f"delete {ROOT / '.workshop-setup'} and run any")


# Write access


def test_write_access_here():
    assert only(doctor.write_access).well


@pytest.mark.parametrize("place", ["work/notebooks", "."])
def test_no_write_access(tmp_path, place):
    bound = bound_by_permissions()
    root = tmp_path / "the workshop"
    (root / "work" / "notebooks").mkdir(parents=True)
    (root / place).chmod(0o555)
    code = (
        "import pathlib, sys; from workshop import doctor; doctor.ROOT = pathlib.Path(sys.argv[1]);"
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


def test_no_write_access_in_a_copy_that_lies_elsewhere(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    monkeypatch.setenv(BASE, str(tmp_path))

    def refuse(dir):
        if dir == tmp_path / "notebooks":
            raise PermissionError(13, "Permission denied")
        return open(os.devnull, "rb")  # noqa: PTH123

    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", refuse)
    text = f"can't write in {tmp_path / 'notebooks'} (Permission denied); move the workshop"
    assert only(doctor.write_access).text.startswith(text)


def test_a_disk_that_is_nearly_full(monkeypatch):
    monkeypatch.setattr(doctor, "ROOM_NEEDED", 10**18)
    finding = only(doctor.write_access)
    assert not finding.well
    assert re.fullmatch(r"only \d+ MB are free on the disk; make room for \d+ MB", finding.text)


# Ports


@pytest.fixture
def set_ports(monkeypatch):
    """Lets the doctor look at ports of the test's own: gallery, JupyterLab, and one app."""

    def set_(gallery=None, lab=None, app=None, inside=None):
        monkeypatch.delenv(GALLERY_URL, raising=False)
        if inside:
            monkeypatch.setenv(GALLERY_URL, f"http://127.0.0.1:{inside}")
        monkeypatch.setattr(doctor, "GALLERY_PORT", gallery or free_port())
        monkeypatch.setattr(doctor, "LAB_PORT", lab or free_port())
        stage = SimpleNamespace(number=4, port=app or free_port())
        monkeypatch.setattr(doctor, "stages_with_app", lambda: (stage,))

    return set_


def test_free_ports(set_ports):
    set_ports()
    finding = only(doctor.ports)
    assert finding.well
    assert finding.text.endswith("are free")


@pytest.mark.parametrize(
    ("which", "fix"),
    [
        ("gallery", "(use start --port)"),
        ("lab", "(use start --lab-port)"),
    ],
)
def test_a_port_that_another_program_uses(set_ports, which, fix):
    with talking(b"SSH-2.0-OpenSSH\r\n") as port:
        set_ports(**{which: port})
        finding = only(doctor.ports)
    assert not finding.well
    assert finding.text == f"in use by another program: {port} {fix}"


def test_the_port_of_an_app_that_another_program_uses_is_a_note(set_ports):
    with talking(b"SSH-2.0-OpenSSH\r\n") as port:
        set_ports(app=port)
        finding = only(doctor.ports)
    assert finding.well
    assert str(finding).startswith("note   ports        ")
    assert finding.text.endswith(f"; {port} is in use by another program (use app 4 --port)")


def test_a_web_page_of_somebody_else_is_not_the_gallery(set_ports):
    for body in (b"<h1>It works!</h1>", b"[]", b'{"status": "ok"}', b"\xff"):
        with answering(body) as port:
            set_ports(gallery=port)
            assert not only(doctor.ports).well


def health(folder=FOLDER):
    """What the gallery of the workshop in `folder` says of itself."""
    return json.dumps({"status": "ok", "service": "workshop", "folder": folder}).encode()


def test_inside_a_workshop_on_other_ports_busy_default_ports_do_not_matter(set_ports):
    with talking(b"SSH-2.0-OpenSSH\r\n") as other, answering(health()) as port:
        set_ports(gallery=other, lab=other, inside=port)
        assert only(doctor.ports) == Finding("ports", True, f"the workshop is running on {port}")


def test_inside_a_workshop_that_has_ended_the_default_ports_count(set_ports):
    set_ports(inside=free_port())
    assert only(doctor.ports).text.endswith("are free")


def test_another_copy_of_the_workshop_is_in_the_way(set_ports):
    with answering(health("another")) as port, talking(b"\r\n") as lab:
        set_ports(gallery=port, lab=lab, inside=port)
        finding = only(doctor.ports)
    assert not finding.well
    assert finding.text == (
        f"another copy of the workshop runs on {port} (end that one, or use start --port); "
        f"in use by another program: {lab} (use start --lab-port)"
    )


def test_the_ports_of_a_running_workshop_are_well(set_ports, monkeypatch):
    monkeypatch.setenv("no_proxy", "")  # and a proxy can't reach this machine
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with socket.create_server(("127.0.0.1", 0)) as lab:
        lab_port = lab.getsockname()[1]
        with answering(health()) as port:
            set_ports(gallery=port, lab=lab_port)
            assert only(doctor.ports) == Finding(
                "ports", True, f"the workshop is running on {port}"
            )


def test_the_port_of_a_running_app_is_well(set_ports):
    with answering(b"an app") as port:
        set_ports(app=port)
        finding = only(doctor.ports)
    assert finding.well
    assert finding.note
    assert finding.text.endswith(f" are free; an app is running on {port}")


# Data and models


def test_data(monkeypatch):
    states = {"read_iris": (True, "iris: there"), "fetch_census": (False, "census: torn; mend it")}
    stages = [SimpleNamespace(dataset=name) for name in (*states, None)]
    monkeypatch.setattr(doctor, "STAGES", stages)
    monkeypatch.setattr(datasets, "state", states.get)
    assert list(doctor.data()) == [
        Finding("data", False, "census: torn; mend it"),
        Finding("data", True, "iris: there"),
    ]


def test_data_that_is_damaged(tmp_path, monkeypatch):
    for member in datasets.CENSUS.members:
        (tmp_path / member.name).write_bytes(b"39, State-gov")
    monkeypatch.setattr(datasets, "DATA", tmp_path)
    monkeypatch.setattr(doctor, "STAGES", [find_stage("census")])
    finding = only(doctor.data)
    assert not finding.well
    assert re.search(r"; delete .*adult\.data and .*adult\.test$", finding.text)


# The room's mirror


@pytest.fixture
def small_data(monkeypatch):
    """Data sets of a few bytes, in place of the real ones; gives their archives by path in a mirror."""
    archives = {}
    for name in ("CENSUS", "HOUSING"):
        dataset = getattr(datasets, name)
        members = [
            dataclasses.replace(m, size=2, sha256=hashlib.sha256(b"1\n").hexdigest())
            for m in dataset.members
        ]
        monkeypatch.setattr(datasets, name, dataclasses.replace(dataset, members=tuple(members)))
        archives[f"{dataset.folder}/{dataset.archive}"] = members
    return archives


def fill(folder, archives, *wheels):
    """Make a folder a mirror that holds archives of small data and wheels."""
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


@contextmanager
def served(folder):
    """What `python3 -m http.server` serves of a folder, at the address that the block gets."""
    with HTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def set_mirror(monkeypatch):
    """Sets WORKSHOP_MIRROR. There is no kit, whatever folder this repository lies in."""
    monkeypatch.setattr(mirror, "MARKER", "no kit.json")
    return partial(monkeypatch.setenv, "WORKSHOP_MIRROR")


def test_no_mirror(set_mirror):
    set_mirror("")
    assert only(doctor.mirror) == Finding("mirror", True, "none is set, and none is needed")


def test_a_mirror_with_everything(set_mirror, small_data, tmp_path, capfd):
    folder = fill(tmp_path / "the stick", small_data, "click-8-py3-none-any.whl")
    set_mirror(f'"{folder}"')
    all_of_it = "answers, with census data, housing data, wheels"
    assert only(doctor.mirror) == Finding("mirror", True, f"{folder} {all_of_it}")
    with served(folder) as url:
        set_mirror(url.replace("//", "//me:secret@"))
        assert only(doctor.mirror) == Finding("mirror", True, f"{url} {all_of_it}")
    assert capfd.readouterr() == ("", "")


def test_a_mirror_with_a_part(set_mirror, small_data, tmp_path):
    small_data.pop("adult/adult.zip")
    folder = fill(tmp_path, small_data)
    set_mirror(str(folder))
    assert only(doctor.mirror) == Finding("mirror", True, f"{folder} answers, with housing data")


def test_the_kit_around_the_repository_is_a_mirror(set_mirror, small_data, tmp_path, monkeypatch):
    set_mirror("")
    folder = fill(tmp_path, small_data)
    (folder / "no kit.json").touch()
    monkeypatch.setattr(mirror, "REPOSITORY", folder / "repository")
    assert only(doctor.mirror).text == f"{folder} answers, with census data, housing data"


STICK = (
    "; plug in the stick, and set WORKSHOP_MIRROR to its folder that holds adult, housing or wheels; "
    "or unset it"
)
ADDRESS = ": check the address with your instructor, and join the room's network; or unset it"


def test_a_mirror_that_is_not_there(set_mirror, tmp_path):
    set_mirror(str(tmp_path / "gone"))
    finding = only(doctor.mirror)
    assert not finding.well
    reason = f"there is no folder {tmp_path / 'gone'}"
    assert finding.text == f"WORKSHOP_MIRROR can't be used ({reason}){STICK}"


def test_a_mirror_that_does_not_answer(set_mirror):
    url = f"http://127.0.0.1:{free_port()}"
    set_mirror(url.replace("//", "//me:secret@"))
    finding = only(doctor.mirror)
    assert not finding.well
    reason = "it can't be reached"
    assert (
        finding.text
        == f"WORKSHOP_MIRROR can't be used ({reason}); WORKSHOP_MIRROR is {url}{ADDRESS}"
    )


def test_a_mirror_behind_a_proxy_that_can_not_reach_it(set_mirror, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "")
    set_mirror("http://mirror.example")
    finding = only(doctor.mirror)
    assert not finding.well
    assert finding.text.endswith(
        f"{ADDRESS}; or set NO_PROXY to mirror.example, because a proxy may be in the way"
    )


def test_a_mirror_with_nothing(set_mirror, tmp_path):
    set_mirror(str(tmp_path))
    finding = only(doctor.mirror)
    assert not finding.well
    assert finding.text == f"{tmp_path} holds no data and no wheels{STICK}"
    with served(tmp_path) as url:
        set_mirror(url)
        text = f"{url} holds no data and no wheels; WORKSHOP_MIRROR is {url}{ADDRESS}"
        assert only(doctor.mirror) == Finding("mirror", False, text)


def test_a_mirror_with_a_damaged_archive(set_mirror, small_data, tmp_path):
    folder = fill(tmp_path, small_data)
    (folder / "adult" / "adult.zip").write_bytes(b"PK, and then the stick was pulled")
    set_mirror(str(folder))
    finding = only(doctor.mirror)
    assert not finding.well
    reason = "its adult.zip is damaged or cut short"
    assert finding.text == f"WORKSHOP_MIRROR can't be used ({reason}){STICK}"


# Each stage's code, as the learner has it


class Copy:
    """A learner's copy of the apps of a few stages; `findings` is what the doctor finds in it."""

    def __init__(self, folder, *slugs):
        self.folder = folder
        copy_apps(folder, *slugs)

    def change(self, path, old, new):
        """Put `new` in the place of the first `old`; return the number of its line."""
        file = self.folder / "apps" / path
        text = file.read_text(encoding="utf-8")
        assert old in text
        before, _, after = text.partition(old)
        file.write_text(before + new + after, encoding="utf-8")
        return before.count("\n") + 1

    def findings(self):
        return list(doctor.stages())

    def wrong(self):
        """The one thing that is wrong."""
        (finding,) = [finding for finding in self.findings() if not finding.well]
        return finding

    def files(self):
        return {
            file: file.read_bytes()
            for file in self.folder.rglob("*")
            if file.is_file() and "__pycache__" not in file.parts
        }


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


@pytest.fixture
def copy_of_all(copy_of):
    return copy_of(*(stage.slug for stage in STAGES if stage.app))


def test_every_stage_is_tried(copy_of_all):
    findings = copy_of_all.findings()
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
    assert finding.text.endswith("; build it with python3 -m workshop train 04")


def test_a_slip_in_the_code_of_a_model(copy_of):
    copy = copy_of("04_iris")
    line = copy.change("04_iris/iris_model.py", "def train(", "def train((")
    finding = copy.wrong()
    assert finding.subject == "model"
    assert re.fullmatch(
        rf"04_iris: apps/04_iris/iris_model\.py, line {line}: SyntaxError: .+{mend('04')}",
        finding.text,
    )


def test_a_round_trip_that_breaks(copy_of):
    copy = copy_of("04_iris")
    line = copy.change("04_iris/iris_artifact.py", "buffer = io.BytesIO()", "buffer = io.bytes()")
    finding = copy.wrong()
    assert finding.subject == "round trip"
    place = f"apps/04_iris/iris_artifact.py, line {line}: AttributeError: "
    assert finding.text.startswith(place)
    assert finding.text.endswith(mend("04"))


def test_a_round_trip_that_comes_to_another_answer(copy_of):
    copy = copy_of("04_iris")
    with (copy.folder / "apps" / "04_iris" / "iris_model.py").open("a", encoding="utf-8") as file:
        file.write(
            "\n_load = load\n\n"
            "def load(folder=MODEL_FOLDER):\n"
            "    model = _load(folder)\n"
            "    model.formula['intercepts']['setosa'] += 1\n"
            "    return model\n"
        )
    finding = copy.wrong()
    assert finding.subject == "round trip"
    text = "04_iris: a model answers differently once it was saved and loaded"
    assert finding.text == text + mend("04", "apps/04_iris/iris_model.py")


def test_an_app_whose_first_page_crashes(copy_of):
    copy = copy_of("01_hello")
    line = copy.change("01_hello/app.py", "links = [", "1 / 0; links = [")
    place = f"apps/01_hello/app.py, line {line}: ZeroDivisionError: division by zero"
    assert copy.wrong() == Finding("app", False, place + mend("01"))


def test_a_template_with_a_slip(copy_of):
    copy = copy_of("02_templates")
    line = copy.change("02_templates/templates/index.html", "{% block main %}", "{% blok main %}")
    finding = copy.wrong()
    place = f"apps/02_templates/templates/index.html, line {line}: "
    assert finding.text.startswith(place)
    assert finding.text.endswith(mend("02"))


def test_an_app_without_a_first_page(copy_of):
    copy = copy_of("01_hello")
    copy.change("01_hello/app.py", '@app.get("/")', '@app.get("/start")')
    text = "01_hello: its first page answers with the error 404"
    assert copy.wrong().text == text + mend("01", "apps/01_hello/app.py")


def test_a_factory_that_returns_nothing(copy_of):
    copy = copy_of("01_hello")
    copy.change("01_hello/app.py", "    return app\n", "")
    assert copy.wrong().text == (
        "01_hello: create_app returns no app; end it with `return app`, "
        "or get the stage back with: python3 -m workshop catch-up 01 --fresh"
    )


def test_an_app_that_prints_and_one_that_would_serve_for_ever_are_well(copy_of):
    copy = copy_of("01_hello", "03_prime")
    copy.change("01_hello/app.py", "import os\n", "import os\nprint('here I am')\n")
    with (copy.folder / "apps" / "03_prime" / "app.py").open("a", encoding="utf-8") as file:
        file.write("\ncreate_app().run()\n")
    assert all(finding.well for finding in copy.findings())
    assert len(copy.findings()) == 2


def test_an_app_that_ends_python_politely_or_not(copy_of):
    copy = copy_of("01_hello", "02_templates")
    copy.change("01_hello/app.py", "import os\n", "import os\nraise SystemExit('enough')\n")
    broken, well = copy.findings()
    assert broken.text == f"apps/01_hello/app.py, line 9: SystemExit: enough{mend('01')}"
    assert well.well, "one broken app does not take the others along"
    copy.change("01_hello/app.py", "raise SystemExit('enough')", "os._exit(0)")
    assert copy.wrong().text == f"01_hello: its code ended Python{mend('01')}"


def test_an_app_that_never_comes_to_an_end(copy_of, monkeypatch):
    copy = copy_of("01_hello")
    copy.change("01_hello/app.py", "import os\n", "import os\nwhile True: os\n")
    monkeypatch.setattr(doctor, "STAGE_LIMIT", 4)
    place = "apps/01_hello/app.py, line 9, is still at work after 4 seconds"
    assert copy.wrong().text == f"01_hello: {place}{mend('01')}"


def test_stages_that_can_not_even_be_tried(monkeypatch):
    monkeypatch.setattr(doctor, "STAGE_LIMIT", "oops")
    finding = only(doctor.stages)
    assert not finding.well
    reason = "ValueError: could not convert string to float: 'oops'"
    assert finding.text == f"no stage can be tried ({reason}); {doctor.set_up_anew()}"


def test_the_doctor_comes_to_a_notebook(copy_of_all):
    """There, a loop is running that keeps some of an app's libraries from working (AsyncToSync)."""
    code = (
        "from workshop.teach.doctor import kernel, stages\n"
        "for finding in (*kernel(), *stages()): print(finding)"
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    notebooks.run(notebook, ROOT / "notebooks", "this")
    lines = "".join(part.text for part in notebook.cells[0].outputs).splitlines()
    assert lines[0].startswith("ok     kernel ")
    assert "database     06_housing: There is no database yet" in lines[-1]
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


def database_finding():
    return only(partial(rehearsal.database, find_stage("housing")))


def test_a_database_that_is_well_and_stays_as_it_is(housing):
    make(housing)
    before = housing.read_bytes()
    text = "06_housing: opens, and has its tables"
    assert database_finding() == Finding("database", True, text)
    assert housing.read_bytes() == before
    assert [file.name for file in housing.parent.iterdir()] == ["housing.db"]


def test_a_database_that_start_will_make_is_a_note(housing):
    fix = "; start sees to it, or: python3 -m workshop app 06"
    finding = database_finding()
    assert finding == Finding("database", True, f"06_housing: There is no database yet{fix}", True)
    assert not housing.parent.exists()
    housing.parent.mkdir()
    housing.touch()
    finding = database_finding()
    assert finding.note
    assert finding.text == f"06_housing: The database has no tables yet{fix}"


def test_a_database_of_another_version_of_the_app(housing):
    make(housing, of_another_version=True)
    finding = database_finding()
    assert not finding.well
    assert finding.text == (
        "06_housing: The database belongs to another version of this app; "
        f"rename {housing} and let start make a new one"
    )


def test_a_database_that_can_not_be_opened(housing):
    housing.parent.mkdir()
    housing.write_bytes(b"This is no database, but a long letter. " * 100)
    finding = database_finding()
    assert not finding.well
    assert finding.text == (
        f"06_housing: The database can't be opened; rename {housing} and let start make a new one"
    )


@pytest.mark.parametrize("url", ["mysql://127.0.0.1/housing", "a database"])
def test_a_database_address_that_no_app_can_use(housing, monkeypatch, url):
    monkeypatch.setenv("DATABASE_URL", url)
    finding = database_finding()
    assert not finding.well
    assert finding.text.startswith("DATABASE_URL can't be used (")
    assert finding.text.endswith("); correct it, or unset it to use the app's own file")


def test_a_database_server_that_does_not_answer(housing, monkeypatch):
    address = f"127.0.0.1:{free_port()}/housing"
    monkeypatch.setenv("DATABASE_URL", f"postgresql://me:secret@{address}")
    finding = database_finding()
    assert not finding.well
    assert finding.text == (
        "06_housing: The database can't be opened; check that its server runs "
        f"(DATABASE_URL is postgresql+psycopg://me:***@{address})"
    )


# The report


def test_an_examination_that_breaks_is_a_finding_and_the_others_go_on(monkeypatch):
    def write_access():
        raise ModuleNotFoundError("No module named 'packaging'")
        yield

    def well():
        yield Finding("after", True, "fine")

    monkeypatch.setattr(doctor, "EXAMINATIONS", (write_access, well))
    broken, after = doctor.examine()
    assert not broken.well
    assert broken.text.startswith(
        "can't be examined (ModuleNotFoundError: No module named 'packaging'); delete "
    )
    assert (broken.subject, after.well) == ("write access", True)


def test_what_is_examined():
    names = [examination.__name__ for examination in doctor.EXAMINATIONS]
    machine = ["interpreter", "lock", "kernel", "write_access", "ports"]
    assert names == [*machine, "data", "mirror", "stages"]


def test_the_last_line_of_a_well_machine(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(sys, "version_info", SimpleNamespace(major=3, minor=12))
    digest = hashlib.sha256((ROOT / "requirements.txt").read_bytes()).hexdigest()[:6]
    assert summary([Finding("lock", True, "")]) == f"workshop: ready · {digest} · py3.12 · win"


@pytest.mark.parametrize(("platform", "name"), [("linux", "linux"), ("darwin", "mac")])
def test_the_last_line_names_the_system(monkeypatch, platform, name):
    monkeypatch.setattr(sys, "platform", platform)
    found = summary([])
    assert re.fullmatch(rf"workshop: ready · [0-9a-f]{{6}} · py3\.\d+ · {name}", found)


def test_the_last_line_names_what_is_wrong_once():
    findings = [Finding(s, s == "lock", "") for s in ("ports", "data", "data", "lock")]
    assert summary(findings).startswith("workshop: not ready (data, ports) · ")


@pytest.mark.parametrize(("well", "code", "mark"), [(True, 0, "ok   "), (False, 1, "WRONG")])
def test_the_command_reports_and_its_exit_code_tells(monkeypatch, capsys, well, code, mark):
    finding = Finding("ports", well, "8000 and those up to 8005")
    monkeypatch.setattr(doctor, "EXAMINATIONS", (lambda: iter([finding]),))
    assert cli.run(["doctor"]) == code
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{mark}  ports        8000 and those up to 8005"
    assert lines[-2] == "Paste this line to your instructor:"
    assert lines[-1] == summary([finding])


def test_the_report_can_be_printed_where_the_terminal_knows_ascii_only():
    code = "from workshop import cli, doctor; doctor.EXAMINATIONS = (); raise SystemExit(cli.run(['doctor']))"
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
        capture_output=True,
    )
    assert run.returncode == 0, run.stderr
    assert "workshop: ready · " in run.stdout.decode("utf-8")
