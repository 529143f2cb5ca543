"""The doctor's findings. docs/test_troubleshooting.py has more problems, with the full wording."""

import contextlib
import hashlib
import importlib.metadata
import json
import platform
import re
import socket
import sqlite3
import sys
import sysconfig
from types import SimpleNamespace

import pytest
from mirror_support import Server, files_of, http
from own_apps_support import HELLO
from trouble_support import copy_apps

from workshop import cli
from workshop.core.stages import BASE, STAGES, find_stage, load_module
from workshop.host.ports import FOLDER, GALLERY_URL, free_port
from workshop.setup import mirror
from workshop.setup.process import ROOT
from workshop.teach import doctor, try_stage, wheels
from workshop.teach.doctor import Finding, summary


def assert_wrong(finding, *words):
    assert not finding.ok, finding
    assert [word for word in words if word not in finding.text] == [], finding


def test_lock(tmp_path, monkeypatch):
    lock = tmp_path / "requirements.txt"
    monkeypatch.setattr(doctor, "LOCK", lock)
    version = importlib.metadata.version("click")
    text = f"click=={version} \\\n    --hash=sha256:0a\npywinpty==1 ; os_name == 'never'\n"
    lock.write_text(text, encoding="utf-8")
    [finding] = doctor.lock()
    assert finding.ok and finding.text.startswith("1 packages")
    lock.write_text("click==0.1\nno-such-package==1.0\n", encoding="utf-8")
    [finding] = doctor.lock()
    assert_wrong(finding, "click is ", "==0.1", "no-such-package", "doctor --repair")


@pytest.fixture
def ports(monkeypatch):
    """Returns the finding about ports of the test: gallery, JupyterLab, and the one in the variable."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # which can't reach this machine

    def find(gallery=None, lab=None, inside=None):
        monkeypatch.setenv(GALLERY_URL, f"http://127.0.0.1:{inside}" if inside else "")
        monkeypatch.setattr(doctor, "GALLERY_PORT", gallery or free_port())
        monkeypatch.setattr(doctor, "LAB_PORT", lab or free_port())
        [finding] = doctor.ports()
        return finding

    return find


def test_ports(ports):
    assert ports().ok
    assert ports(inside=free_port()).ok, "in a notebook of a workshop that has stopped"
    galleries = [
        http(json.dumps({"service": "workshop", "folder": f}).encode()) for f in (FOLDER, "a")
    ]
    with (
        Server(b"SSH-2.0-OpenSSH\r\n") as other,
        Server(http(b"an app")) as app,
        Server(galleries[0]) as ours,
        Server(galleries[1]) as copy,
    ):
        assert_wrong(ports(lab=other.port), f"{other.port} (use start --lab-port ")
        found = ports(gallery=app.port)
        suggested = re.search(r"start --port (\d+)", found.text)[1]
        with socket.create_server(("127.0.0.1", int(suggested))):
            assert f" {suggested}" not in ports(gallery=app.port).text, "a free one is suggested"
        for found in (ports(ours.port, other.port), ports(other.port, other.port, ours.port)):
            assert found.ok and str(ours.port) in found.text
        assert_wrong(ports(gallery=copy.port), str(copy.port), "use start --port ")


def test_mirror(tmp_path, monkeypatch, capfd):
    """What makes data in it good is in test_datasets.py."""
    monkeypatch.setattr(mirror, "MARKER", "kit-of-the-tests.json")  # these tests may run in a kit

    def look(place):
        monkeypatch.setenv("WORKSHOP_MIRROR", str(place))
        [finding] = doctor.mirror()
        return finding

    assert look("").ok, "none is needed"
    folder = tmp_path / "the stick"
    (folder / "wheels").mkdir(parents=True)
    assert_wrong(look(folder), "adult, housing or wheels")
    (folder / "wheels" / "click-8-py3-none-any.whl").touch()
    with Server(files_of(folder)) as server, Server() as empty:
        for place, shown in {f'"{folder}"': str(folder), server.url: server.url}.items():
            assert look(place).ok and look(place).text == f"{shown} works, and has wheels"
        assert_wrong(look(empty.url), f"WORKSHOP_MIRROR is {empty.url}")
    (folder / "adult.zip").write_bytes(b"PK, and then the stick was unplugged")
    assert_wrong(look(folder), "adult.zip")
    assert_wrong(look(tmp_path / "gone"), str(tmp_path / "gone"), "set WORKSHOP_MIRROR to")
    address = f"127.0.0.1:{free_port()}"
    assert_wrong(look(f"http://me:secret@{address}"), f"WORKSHOP_MIRROR is http://{address}")
    assert capfd.readouterr() == ("", "")


# The stages' code in the learner's copy


@pytest.fixture
def copy_of(tmp_path, monkeypatch):
    """Makes a learner's copy of some stages, the only ones that the doctor tries; returns its apps."""

    def copy(*slugs):
        monkeypatch.setenv(BASE, str(tmp_path))
        monkeypatch.setattr(doctor, "STAGES", [find_stage(slug) for slug in slugs])
        copy_apps(tmp_path, *slugs)
        return tmp_path / "apps"

    return copy


def change(file, old, new):
    """Replace the first `old` with `new`; return the number of its line."""
    before, found, after = file.read_text(encoding="utf-8").partition(old)
    assert found
    file.write_text(before + new + after, encoding="utf-8")
    return before.count("\n") + 1


def test_every_stage_is_tried_and_nothing_is_left_behind(copy_of):
    apps = copy_of(*(stage.slug for stage in STAGES if stage.app))
    # An app that prints, and one that would serve forever, are fine.
    noise = "import os\nprint('here I am')\nos.system('echo and I')\n"
    change(apps / "01_hello" / "app.py", "import os\n", noise)
    with (apps / "03_prime" / "app.py").open("a", encoding="utf-8") as file:
        file.write("\ncreate_app().run()\n")
    before = set(apps.glob("0[3-7]*/**/[!_]*"))
    findings = list(doctor.stages())
    assert [finding for finding in findings if not finding.ok] == []
    tried = {(finding.subject, finding.text.partition(":")[0]) for finding in findings}
    assert tried >= {("app", stage.slug) for stage in STAGES if stage.app}
    assert tried >= {("model", "05_census"), ("round trip", "04_iris"), ("database", "06_housing")}
    notes = {(f.subject, f.text[:2]): f.text for f in findings if f.note}
    assert "python3 -m workshop train 04" in notes["model", "04"]
    assert "python3 -m workshop app 06" in notes["database", "06"]
    assert {f for f in apps.glob("0[3-7]*/**/[!_]*") if f.suffix != ".pyc"} == before


def test_each_mistake_is_found_in_its_line_and_the_other_stages_are_tried(copy_of):
    apps = copy_of("01_hello", "02_templates", "03_prime", "04_iris", "05_census")
    slips = [
        ("01_hello/app.py", "links = [", "1 / 0; links = [", "ZeroDivisionError"),
        ("02_templates/templates/index.html", "{% block main", "{% blok main", "blok"),
        ("03_prime/app.py", "from flask", "raise SystemExit('enough')\nfrom flask", "enough"),
        ("04_iris/iris_model.py", "def train(", "def train((", "SyntaxError"),
        ("05_census/app.py", "    return app\n", "", "return app"),
    ]
    lines = [change(apps / path, old, new) for path, old, new, _ in slips]
    found = [finding for finding in doctor.stages() if not finding.ok]
    assert [finding.subject for finding in found] == ["app", "app", "app", "model", "app"]
    for finding, line, (path, *_, word) in zip(found, lines, slips, strict=True):
        place = "05_census" if path[:2] == "05" else f"apps/{path}, line {line}: "
        assert_wrong(finding, place, word, f"python3 -m workshop catch-up {path[:2]} --fresh")


def test_each_app_of_the_learner_s_is_tried_in_a_separate_process(work, monkeypatch):
    monkeypatch.setattr(doctor, "STAGE_LIMIT", 8)
    assert list(doctor.your_apps()) == []
    for name in ("one", "two"):  # with modules of the same name
        folder = work.write(name, f"import model\nassert model.NAME == {name!r}\n{HELLO}").parent
        (folder / "model.py").write_text(f"NAME = {name!r}\n", encoding="utf-8")
    work.write("bare", "from flask import Flask\napp = Flask(__name__)\n")  # no page at /
    work.write("hello", HELLO.replace("Flask(__name__)", "Flask(__name__"))
    work.write("endless", "import time\ntime.sleep(600)\n")
    work.write("ends", "import os\nos._exit(0)\n")
    bare, endless, ends, hello, one, two = doctor.your_apps()
    assert (one.ok, two.ok, bare.ok, ends.ok) == (True, True, True, False)
    assert bare.note and not one.note
    assert_wrong(endless, "apps/endless/app.py, line")
    assert_wrong(hello, "SyntaxError", "catch-up hello --fresh")


# The database of stage 06


@pytest.fixture
def housing(tmp_path, monkeypatch):
    """The file of stage 06's database, which doesn't exist yet."""
    monkeypatch.delenv("DATABASE_URL", raising=False)
    app = load_module(find_stage("housing"), "app")
    monkeypatch.setattr(app, "INSTANCE_FOLDER", tmp_path / "instance")
    return tmp_path / "instance" / "housing.db"


def test_the_database_of_an_app(housing, monkeypatch):
    stage = find_stage("housing")
    fine, _, note = try_stage.database(stage)
    assert fine and note, "start will create it"
    assert not housing.parent.exists()

    app = load_module(stage, "app").create_app({"SECRET_KEY": "none"})
    run = app.test_cli_runner().invoke(args=["init-db"])
    assert run.exit_code == 0, run.output
    before = housing.read_bytes()
    assert try_stage.database(stage)[0]
    assert housing.read_bytes() == before
    assert [file.name for file in housing.parent.iterdir()] == ["housing.db"]

    with contextlib.closing(sqlite3.connect(housing)) as connection:  # of another version
        connection.execute("DROP TABLE login_session")
    for _ in range(2):
        fine, text, *_ = try_stage.database(stage)
        assert not fine
        assert f"rename {housing}" in text
        housing.write_bytes(b"This is no database, but a long letter. " * 100)

    url = f"postgresql://me:secret@127.0.0.1:{free_port()}/housing"
    monkeypatch.setenv("DATABASE_URL", url)
    fine, text, *_ = try_stage.database(stage)
    assert not fine
    assert "start its server" in text
    assert "secret" not in text


def test_an_examination_that_breaks_is_a_finding_and_the_others_go_on(monkeypatch, capsys):
    def write_access():
        raise ModuleNotFoundError("No module named 'packaging'")
        yield

    def fine():
        yield Finding("ports", True, "8000 and those up to 8005")

    monkeypatch.setattr(doctor, "EXAMINATIONS", (write_access, fine))
    assert cli.run(["doctor"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("WRONG  write access ")
    assert "No module named 'packaging'" in lines[0]
    assert lines[1] == "ok     ports        8000 and those up to 8005"
    assert lines[-1].startswith("workshop: not ready (write access) · ")
    monkeypatch.setattr(doctor, "EXAMINATIONS", (fine,))
    assert cli.run(["doctor"]) == 0


@pytest.mark.parametrize(
    ("system", "machine", "name"),
    [("linux", "aarch64", "linux-arm"), ("darwin", "x86_64", "macos-intel")]
    + [("win32", "win-amd64", "windows"), ("win32", "win-arm64", "windows-arm")],
)
def test_the_last_line_says_which_kit_a_computer_needs(monkeypatch, system, machine, name):
    monkeypatch.setattr(sys, "version_info", SimpleNamespace(major=3, minor=12))
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(sysconfig, "get_platform", lambda: machine)
    digest = hashlib.sha256((ROOT / "requirements.txt").read_bytes()).hexdigest()[:6]
    line = f"workshop: ready · {digest} · py3.12 · {name}"
    assert summary([Finding("lock", True, "")]) == line
    assert (name in wheels.SYSTEMS) == (name != "windows-arm")
