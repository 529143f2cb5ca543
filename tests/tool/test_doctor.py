"""The doctor's findings. docs/test_troubleshooting.py has more problems, with the full wording."""

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import json
import platform
import re
import socket
import sqlite3
import sys
import sysconfig
import zipfile
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import nbclient
import nbformat
import pytest
from mirror_support import Server, files_of, http
from own_apps_support import HELLO, work  # noqa: F401
from trouble_support import copy_apps, kernel_spec, put_kernel

from workshop import cli
from workshop.core import datasets
from workshop.core.files import shown_path
from workshop.core.stages import BASE, STAGES, find_stage, load_module
from workshop.host.ports import FOLDER, GALLERY_URL, free_port
from workshop.setup import mirror
from workshop.setup.process import ROOT
from workshop.teach import doctor, try_stage, wheels
from workshop.teach.doctor import Finding, summary

# ruff: noqa: F811 (a fixture that is imported is asked for by its name)


def only(examination):
    (finding,) = examination()
    return finding


def assert_wrong(finding, *words):
    assert not finding.ok, finding
    assert [word for word in words if word not in finding.text] == [], finding


NO_WEB_SERVER = b"SSH-2.0-OpenSSH\r\n"


def gallery(folder=FOLDER):
    """The health of the gallery of the workshop in `folder`."""
    return http(json.dumps({"service": "workshop", "folder": folder}).encode())


def test_interpreter(monkeypatch):
    assert only(doctor.interpreter).ok
    assert shown_path(Path(sys.prefix)) in only(doctor.interpreter).text
    monkeypatch.setattr(doctor, "find_environment", lambda: SimpleNamespace(is_current=False))
    assert_wrong(only(doctor.interpreter), "python3 -m workshop doctor")


def test_lock(tmp_path, monkeypatch):
    file = tmp_path / "requirements.txt"
    monkeypatch.setattr(doctor, "LOCK", file)
    hashes = " \\\n    --hash=sha256:0a \\\n    --hash=sha256:0b"
    version = importlib.metadata.version("click")
    text = f"# made by uv\nclick=={version}{hashes}\npywinpty==1 ; os_name == 'never'{hashes}\n"
    file.write_text(text, encoding="utf-8")
    finding = only(doctor.lock)
    assert finding.ok
    assert finding.text.startswith("1 packages")

    missing = [f"no-such-package-{number}==1.0" for number in range(4)]
    file.write_text("\n".join(["click==0.1", *missing, ""]), encoding="utf-8")
    finding = only(doctor.lock)
    assert_wrong(finding, "click is ", "==0.1", "no-such-package-0", "2 more", "doctor --repair")
    assert "no-such-package-3" not in finding.text


def test_kernel_that_does_not_run(tmp_path, monkeypatch):
    folder = put_kernel(tmp_path / "jupyter", kernel_spec("/opt/anaconda3/gone/python"))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    assert_wrong(only(doctor.kernel), "FileNotFoundError", f"rename the folder {folder}")


def test_a_disk_that_is_almost_full(monkeypatch):
    assert only(doctor.write_access).ok
    monkeypatch.setattr(doctor, "ROOM_NEEDED", 10**18)
    assert_wrong(only(doctor.write_access), f"{10**12} MB")


@pytest.fixture
def ports(monkeypatch):
    """Returns the finding about ports of the test: gallery, JupyterLab, and the one in the variable."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # which can't reach this machine

    def find(gallery=None, lab=None, inside=None):
        monkeypatch.delenv(GALLERY_URL, raising=False)
        if inside:
            monkeypatch.setenv(GALLERY_URL, f"http://127.0.0.1:{inside}")
        monkeypatch.setattr(doctor, "GALLERY_PORT", gallery or free_port())
        monkeypatch.setattr(doctor, "LAB_PORT", lab or free_port())
        return only(doctor.ports)

    return find


def test_ports(ports):
    for inside in (None, free_port()):  # the second: in a notebook of a workshop that has stopped
        finding = ports(inside=inside)
        assert finding.ok and not finding.note
    with (
        Server(NO_WEB_SERVER) as other,
        Server(http(b"an app")) as app,
        Server(gallery()) as ours,
        Server(gallery("a")) as copy,
    ):
        assert_wrong(ports(gallery=other.port), f"{other.port} (use start --port ")
        assert_wrong(ports(lab=other.port), f"{other.port} (use start --lab-port ")
        found = ports(gallery=app.port)
        suggested = re.search(r"start --port (\d+)", found.text)[1]
        with socket.create_server(("127.0.0.1", int(suggested))):
            assert f" {suggested}" not in ports(gallery=app.port).text, "a free one is suggested"
        in_notebook = ports(other.port, other.port, inside=ours.port)
        for found in (ports(gallery=ours.port, lab=other.port), in_notebook):
            assert found.ok
            assert str(ours.port) in found.text
        finding = ports(gallery=copy.port, lab=other.port, inside=copy.port)
    words = (str(copy.port), "use start --port ", f"{other.port} (use start --lab-port ")
    assert_wrong(finding, *words)


@pytest.fixture
def small_data(monkeypatch):
    """Replaces the data sets with some of a few bytes; returns their archives by path in a mirror."""
    archives = {}
    for name in ("CENSUS", "HOUSING"):
        dataset = getattr(datasets, name)
        digest = hashlib.sha256(b"1\n").hexdigest()
        members = [dataclasses.replace(m, size=2, sha256=digest) for m in dataset.members]
        monkeypatch.setattr(datasets, name, dataclasses.replace(dataset, members=tuple(members)))
        archives[f"{dataset.folder}/{dataset.archive}"] = members
    return archives


def fill(folder, archives, *wheels):
    """Make `folder` a mirror with small data and empty wheels."""
    for path, members in archives.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(folder / path, "w") as archive:
            for member in members:
                archive.writestr(member.name, b"1\n")
    (folder / "wheels").mkdir(parents=True)
    for wheel in wheels:
        (folder / "wheels" / wheel).touch()
    return folder


@pytest.fixture
def set_mirror(monkeypatch):
    """Sets WORKSHOP_MIRROR, and hides the kit that this repository may be in."""
    monkeypatch.setattr(mirror, "MARKER", "no kit.json")
    return partial(monkeypatch.setenv, "WORKSHOP_MIRROR")


def test_a_mirror_that_works(set_mirror, small_data, tmp_path, monkeypatch, capfd):
    set_mirror("")
    assert only(doctor.mirror).ok, "none is needed"
    folder = fill(tmp_path / "the stick", small_data, "click-8-py3-none-any.whl")
    with Server(files_of(folder)) as server:
        for place, shown in {f'"{folder}"': str(folder), server.url: server.url}.items():
            set_mirror(place)
            finding = only(doctor.mirror)
            assert finding.ok
            assert finding.text.startswith(f"{shown} ")
            assert finding.text.endswith("census data, housing data, wheels")
    (folder / "adult" / "adult.zip").unlink()
    set_mirror("")
    (folder / "no kit.json").touch()
    monkeypatch.setattr(mirror, "ROOT", folder / "repository")
    assert only(doctor.mirror).text.endswith("has housing data, wheels"), "the kit around it"
    assert capfd.readouterr() == ("", "")


def test_a_mirror_that_does_not_work(set_mirror, small_data, tmp_path, monkeypatch):
    def assert_bad(place, *words):
        set_mirror(str(place))
        assert_wrong(only(doctor.mirror), *words)

    assert_bad(tmp_path / "gone", str(tmp_path / "gone"), "set WORKSHOP_MIRROR to")
    assert_bad(tmp_path, "adult, housing or wheels")
    fill(tmp_path, small_data)
    (tmp_path / "adult" / "adult.zip").write_bytes(b"PK, and then the stick was unplugged")
    assert_bad(tmp_path, "adult.zip")
    address = f"127.0.0.1:{free_port()}"
    assert_bad(f"http://me:secret@{address}", f"WORKSHOP_MIRROR is http://{address}")
    with Server() as empty:
        assert_bad(empty.url, f"WORKSHOP_MIRROR is {empty.url}")
    for name in ("http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY"):
        proxy = f"http://127.0.0.1:{free_port()}" if "http" in name.lower() else ""
        monkeypatch.setenv(name, proxy)
    assert_bad("http://mirror.example", "set NO_PROXY to mirror.example")


# The stages' code in the learner's copy


@pytest.fixture
def copy_of(tmp_path, monkeypatch):
    """Makes a learner's copy of some stages, the only ones that the doctor tries; returns its apps."""

    def copy(*slugs):
        monkeypatch.setenv(BASE, str(tmp_path / "work"))
        monkeypatch.setattr(doctor, "STAGES", [find_stage(slug) for slug in slugs])
        copy_apps(tmp_path / "work", *slugs)
        return tmp_path / "work" / "apps"

    return copy


def change(file, old, new):
    """Replace the first `old` with `new`, or append it; return the number of its line."""
    text = file.read_text(encoding="utf-8")
    assert old is None or old in text
    before, _, after = text.partition(old) if old else (text, "", "")
    file.write_text(before + new + after, encoding="utf-8")
    return before.count("\n") + 1


def wrong_stages():
    return [finding for finding in doctor.stages() if not finding.ok]


def files(apps):
    found = [f for f in apps.glob("0[3-7]*/**/*") if "__pycache__" not in f.parts]
    return {file: file.read_bytes() for file in found if file.is_file()}


BRING_BACK = "python3 -m workshop catch-up {} --fresh"


def test_every_stage_is_tried_and_nothing_is_left_behind(copy_of):
    apps = copy_of(*(stage.slug for stage in STAGES if stage.app))
    # An app that prints, and one that would serve forever, are fine.
    noise = "import os\nprint('here I am')\nos.system('echo and I')\n"
    change(apps / "01_hello" / "app.py", "import os\n", noise)
    change(apps / "03_prime" / "app.py", None, "\ncreate_app().run()\n")
    before = files(apps)
    findings = list(doctor.stages())
    assert [finding for finding in findings if not finding.ok] == []
    tried = {(finding.subject, finding.text.partition(":")[0]) for finding in findings}
    assert tried >= {("app", stage.slug) for stage in STAGES if stage.app}
    assert tried >= {("model", "05_census"), ("round trip", "04_iris"), ("database", "06_housing")}
    notes = {(f.subject, f.text[:2]): f.text for f in findings if f.note}
    assert "python3 -m workshop train 04" in notes["model", "04"]
    assert "python3 -m workshop app 06" in notes["database", "06"]
    assert files(apps) == before


def test_each_mistake_is_found_in_its_line_and_the_other_stages_are_tried(copy_of):
    apps = copy_of("01_hello", "02_templates", "03_prime", "04_iris", "05_census")
    slips = {
        "01": ("01_hello/app.py", "links = [", "1 / 0; links = [", "ZeroDivisionError"),
        "02": ("02_templates/templates/index.html", "{% block main", "{% blok main", "blok"),
        "03": ("03_prime/app.py", "from flask", "raise SystemExit('enough')\nfrom flask", "enough"),
        "04": ("04_iris/iris_model.py", "def train(", "def train((", "SyntaxError"),
        "05": ("05_census/app.py", "    return app\n", "", "return app"),
    }
    lines = {code: change(apps / path, old, new) for code, (path, old, new, _) in slips.items()}
    found = wrong_stages()
    assert [finding.subject for finding in found] == ["app", "app", "app", "model", "app"]
    for finding, (code, (path, _, _, word)) in zip(found, slips.items(), strict=True):
        place = "05_census" if code == "05" else f"apps/{path}, line {lines[code]}: "
        assert_wrong(finding, place, word, BRING_BACK.format(code))


def test_each_app_of_the_learner_s_is_tried_in_a_separate_process(work, monkeypatch):
    monkeypatch.setattr(doctor, "STAGE_LIMIT", 8)
    assert list(doctor.your_apps()) == []
    for name in ("one", "two"):  # with modules of the same name
        code = f"import model\nassert model.NAME == {name!r}\n{HELLO}"
        folder = work.write(name, code).parent
        (folder / "model.py").write_text(f"NAME = {name!r}\n", encoding="utf-8")
    work.write("bare", "from flask import Flask\napp = Flask(__name__)\n")  # no page at /
    work.write("hello", HELLO.replace("Flask(__name__)", "Flask(__name__"))
    work.write("endless", "import time\ntime.sleep(600)\n")
    work.write("ends", "import os\nos._exit(0)\n")
    found = {finding.text.partition(":")[0]: finding for finding in doctor.your_apps()}
    assert len(found) == 6
    for name in ("one", "two"):
        assert found[name].ok and not found[name].note, found[name]
    assert found["bare"].ok and found["bare"].note
    assert_wrong(found["endless"], "apps/endless/app.py, line")
    assert not found["ends"].ok
    [broken] = [finding for text, finding in found.items() if "hello" in text]
    assert_wrong(broken, "SyntaxError", "catch-up hello --fresh")


@pytest.mark.slow
def test_the_doctor_runs_in_a_notebook():
    """A notebook's event loop stops some of an app's libraries from working (AsyncToSync)."""
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
    """The file of stage 06's database, which doesn't exist yet."""
    monkeypatch.delenv("DATABASE_URL", raising=False)
    app = load_module(find_stage("housing"), "app")
    monkeypatch.setattr(app, "INSTANCE_FOLDER", tmp_path / "instance")
    return tmp_path / "instance" / "housing.db"


def database():
    """The finding about it: whether it's fine, or a note; and the text."""
    well, text, *note = try_stage.database(find_stage("housing"))
    return (well, *note), text


def test_the_database_of_an_app(housing):
    assert database()[0] == (True, True), "start will create it"
    assert not housing.parent.exists()
    housing.parent.mkdir()
    housing.touch()
    verdict, text = database()
    assert verdict == (True, True)
    assert "python3 -m workshop app 06" in text

    housing.unlink()
    app = load_module(find_stage("housing"), "app").create_app({"SECRET_KEY": "none"})
    run = app.test_cli_runner().invoke(args=["init-db"])
    assert run.exit_code == 0, run.output
    before = housing.read_bytes()
    assert database()[0] == (True,)
    assert housing.read_bytes() == before
    assert [file.name for file in housing.parent.iterdir()] == ["housing.db"]

    with contextlib.closing(sqlite3.connect(housing)) as connection:  # of another version
        connection.execute("DROP TABLE login_session")
    for _ in range(2):
        verdict, text = database()
        assert verdict == (False,)
        assert f"rename {housing}" in text
        housing.write_bytes(b"This is no database, but a long letter. " * 100)


def test_a_database_server_that_does_not_work(housing, monkeypatch):
    server = f"postgresql://me:secret@127.0.0.1:{free_port()}/housing"
    for url in ("mysql://127.0.0.1/housing", "a database", server):
        monkeypatch.setenv("DATABASE_URL", url)
        verdict, text = database()
        assert verdict == (False,)
        assert "start its server" in text and "unset it" in text
        assert "secret" not in text


# The report


def test_an_examination_that_breaks_is_a_finding_and_the_others_go_on(monkeypatch, capsys):
    def write_access():
        raise ModuleNotFoundError("No module named 'packaging'")
        yield

    def fine():
        yield Finding("ports", True, "8000 and those up to 8005")

    monkeypatch.setattr(doctor, "EXAMINATIONS", (write_access, fine))
    assert cli.run(["doctor"]) == 1
    broken, lines = next(doctor.examine()), capsys.readouterr().out.splitlines()
    assert broken.subject == "write access"
    assert_wrong(broken, "No module named 'packaging'", "delete ")
    assert lines[0].startswith("WRONG  write access ")
    assert lines[1] == "ok     ports        8000 and those up to 8005"
    assert lines[-1] == summary([broken])
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
    findings = [Finding(s, s == "lock", "") for s in ("ports", "data", "data", "lock")]
    assert summary(findings).startswith("workshop: not ready (data, ports) · ")
