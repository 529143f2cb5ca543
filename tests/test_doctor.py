"""The doctor: every finding well and not well, its exit code, and the line for the instructor."""

import hashlib
import importlib.metadata
import json
import os
import re
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest

from workshop import cli, datasets, doctor, notebooks, training
from workshop.doctor import Finding, summary
from workshop.running import FOLDER, GALLERY_URL, free_port
from workshop.stages import ROOT


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
    write_lock(f"click=={version}", "pywinpty==1 ; os_name == 'never'")
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


def test_kernel_that_runs_with_this_python():
    assert only(doctor.kernel) == Finding(
        "kernel", True, "a notebook ran with the workshop's Python"
    )


def test_kernel_of_another_python(monkeypatch):
    def run(notebook, *_):
        warning = nbformat.v4.new_output("stream", name="stderr", text="a warning\n")
        answer = nbformat.v4.new_output("stream", name="stdout", text="/opt/other/bin/python\n")
        notebook.cells[0].outputs = [warning, answer]

    monkeypatch.setattr(notebooks, "run", run)
    finding = only(doctor.kernel)
    assert not finding.well
    assert finding.text.startswith("notebooks run with /opt/other/bin/python; choose the kernel")


def test_kernel_that_does_not_run(monkeypatch):
    def run(*_):
        raise RuntimeError("Kernel died before replying to kernel_info")

    monkeypatch.setattr(notebooks, "run", run)
    finding = only(doctor.kernel)
    assert not finding.well
    assert finding.text == (
        "notebooks can't run (RuntimeError); "
        "delete the .venv folder and run any workshop command again"
    )


# Write access


def test_write_access_here():
    assert only(doctor.write_access).well


def test_no_write_access(monkeypatch):
    def refuse(dir):
        if dir == ROOT / "notebooks":
            raise PermissionError(13, "Permission denied")
        return open(os.devnull, "rb")  # noqa: PTH123

    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", refuse)
    finding = only(doctor.write_access)
    assert not finding.well
    assert finding.text == (
        "can't write in notebooks (Permission denied); move the workshop to a folder of your own"
    )


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


class ModelUnavailable(Exception):
    """As each app's own."""


@pytest.fixture
def set_model(tmp_path, monkeypatch):
    """Puts one stage with a model before the doctor; `load` is what its module does."""

    def set_(load, trained=True):
        card = tmp_path / "iris.json"
        if trained:
            card.touch()
        stage = SimpleNamespace(slug="04_iris", code="04", card_file=card)
        monkeypatch.setattr(doctor, "stages_with_model", lambda: (stage,))
        module = SimpleNamespace(load=load, ModelUnavailable=ModelUnavailable)
        monkeypatch.setattr(training, "model_module", lambda stage: module)

    return set_


def test_a_model_that_is_not_trained_yet_is_a_note(set_model):
    set_model(load=None, trained=False)
    finding = only(doctor.models)
    assert finding.well
    assert str(finding).startswith("note   model        04_iris: not trained yet")
    assert finding.text.endswith("python3 -m workshop train 04")


def test_a_model_that_fits_its_card(set_model):
    set_model(load=lambda: None)
    assert only(doctor.models).well


def test_a_model_that_does_not_fit_its_card(set_model):
    def load():
        raise ModelUnavailable("the file is not the card's; run python3 -m workshop train 04")

    set_model(load)
    finding = only(doctor.models)
    assert not finding.well
    assert finding.text.startswith("04_iris: the file is not the card's; run")


def test_code_that_a_learner_broke(set_model, monkeypatch):
    def broken(stage):
        raise SyntaxError("'(' was never closed")

    set_model(load=None)
    monkeypatch.setattr(training, "model_module", broken)
    finding = only(doctor.models)
    assert not finding.well
    assert finding.text == (
        "04_iris: its code stops with SyntaxError: '(' was never closed; "
        "mend the files in apps/04_iris"
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
        "can't be examined (ModuleNotFoundError: No module named 'packaging'); delete the .venv folder"
    )
    assert (broken.subject, after.well) == ("write access", True)


def test_the_issue_s_seven_subjects_are_examined():
    names = [examination.__name__ for examination in doctor.EXAMINATIONS]
    assert names == ["interpreter", "lock", "kernel", "write_access", "ports", "data", "models"]


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
