"""Set-up: from nothing, offline, after a change or a move; and what it refuses.

A small lock is installed from wheels repacked from the installed packages, so nothing is downloaded. The
folder's name has a space, brackets and non-ASCII letters.
"""

import ast
import base64
import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from types import SimpleNamespace

import pytest
from mirror_support import Server, files_of, http
from setup_support import LOCKED, environ, make_house
from wheel_support import exchange, is_installed, lock_of, pack, pretend

from workshop.setup import environment, installer, mirror
from workshop.setup.process import ROOT, SetupError

pytestmark = pytest.mark.slow

PYTHON = "Scripts/python.exe" if os.name == "nt" else "bin/python"
STEPS = ("  1/4 ", "  2/4 ", "  3/4 ", "  4/4 ")


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    """A folder of wheels for the small lock."""
    folder = tmp_path_factory.mktemp("USB stick")
    for name in LOCKED:
        if name == "uv" and not is_installed("uv"):
            pytest.skip("uv isn't installed here, so its wheel can't be packed")
        pack(name, folder)
    return folder


@pytest.fixture
def house_to_fill(house, wheels):
    """A house whose lock has the wheels with their hashes."""
    (house / "requirements.txt").write_text(lock_of(wheels), encoding="utf-8")
    return house


@pytest.fixture
def house(tmp_path):
    return make_house(tmp_path / "Büro Müller [1]")


def call(house, *arguments, python=sys.executable, **more):
    """`python3 -m workshop ARGUMENTS` in `house`."""
    return subprocess.run(
        [python, "-m", "workshop", *arguments],
        cwd=house,
        env=environ(**more),
        capture_output=True,
        text=True,
        encoding="utf-8",
        stdin=subprocess.DEVNULL,
    )


def runs(run):
    """Check that a call ran the command itself; return what set-up printed before that."""
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("Usage: python3 -m workshop [OPTIONS] COMMAND")
    return run.stderr


def refuses(run):
    """The sentence that a refused call ends with."""
    assert run.returncode == 1, run.stderr
    assert "Traceback" not in run.stdout + run.stderr
    assert run.stdout == ""
    told = [line for line in run.stderr.splitlines() if not line.startswith(("Setting up", "  "))]
    return told[-1]


def imported_from(house):
    """The folder from which the environment of `house` imports the workshop, wherever it is used."""
    code = "import workshop; print(workshop.__path__[0])"
    python = house / ".venv" / PYTHON
    run = subprocess.run(
        [python, "-c", code], cwd=house.parent, env=environ(), capture_output=True, text=True
    )
    return Path(run.stdout.strip()).parent


# A Python that is too old must still be able to read the files that check its version.


def test_an_old_python_can_read_what_tells_it_so_before_anything_else_is_imported():
    for name in ("__main__.py", "__init__.py"):
        text = (ROOT / "workshop" / name).read_text(encoding="utf-8")
        body = ast.parse(text, feature_version=(3, 7))
        assert not any(isinstance(node, ast.JoinedStr) for node in ast.walk(body))
    body = ast.parse((ROOT / "workshop" / "__main__.py").read_text(encoding="utf-8")).body
    checked = next(i for i, node in enumerate(body) if isinstance(node, ast.If))
    assert ast.unparse(body[checked].test) == "sys.version_info < (3, 11)"
    imports = [node for node in body[:checked] if isinstance(node, ast.Import | ast.ImportFrom)]
    assert [ast.unparse(node) for node in imports] == ["import sys"]


# From nothing, and later calls.


@pytest.fixture(scope="module")
def settled(wheels, tmp_path_factory):
    """A house that is set up, its first call and its stamp; the tests below change or move it."""
    folder = make_house(tmp_path_factory.mktemp("leer") / "Büro Müller [1]")
    (folder / "requirements.txt").write_text(lock_of(wheels), encoding="utf-8")
    first = call(folder, WORKSHOP_MIRROR=str(wheels))
    return SimpleNamespace(folder=folder, first=first, stamp=folder / ".venv" / "workshop-setup")


def test_first_call_sets_up_without_a_network_and_runs_the_command(settled):
    told = runs(settled.first).splitlines()
    assert [step for step in STEPS if any(line.startswith(step) for line in told)] == list(STEPS)
    assert not any(line.startswith(" + ") for line in told), "a list is for terminals"
    assert imported_from(settled.folder) == settled.folder
    if os.name == "posix":  # Windows copies its launcher
        link = settled.folder / ".venv" / PYTHON
        assert link.is_symlink(), "a copy may miss its shared library"


def test_only_a_changed_lock_is_installed_by_another_call_and_in_place(settled, wheels):
    before = settled.stamp.stat().st_mtime_ns
    assert "Setting up" not in runs(call(settled.folder, WORKSHOP_MIRROR="nowhere"))
    assert settled.stamp.stat().st_mtime_ns == before
    kept = settled.folder / ".venv" / "kept"
    kept.touch()
    with (settled.folder / "requirements.txt").open("a", encoding="utf-8") as lock:
        lock.write("# another version of the lock\n")
    assert STEPS[2] in runs(call(settled.folder, WORKSHOP_MIRROR=str(wheels)))
    assert kept.exists()
    assert "Setting up" not in call(settled.folder).stderr


def test_a_moved_folder_works_again_from_a_kit_that_is_served(settled, wheels, tmp_path):
    (tmp_path / "kit").mkdir()
    shutil.copytree(wheels, tmp_path / "kit" / "wheels")
    moved = tmp_path / "umgezogen nach Köln"
    shutil.copytree(settled.folder, moved, symlinks=True)
    with Server(files_of(tmp_path / "kit")) as server:
        assert f"{server.url}/wheels/" in runs(call(moved, WORKSHOP_MIRROR=server.url))
    assert imported_from(moved) == moved
    assert "Setting up" not in call(moved).stderr


def test_packages_that_are_gone_are_installed_again_by_the_next_call(settled):
    (package,) = (settled.folder / ".venv").rglob("site-packages/click")
    stamp = settled.stamp.read_text()
    package.rename(package.with_name("elsewhere"))
    try:
        assert "the same command" in refuses(call(settled.folder))
        assert not settled.stamp.exists(), "without it, the next call begins from nothing"
    finally:
        package.with_name("elsewhere").rename(package)
        settled.stamp.write_text(stamp)


def test_the_doctor_repairs_a_damaged_package_in_place_or_leaves_all_as_it_is(settled, wheels):
    (file,) = (settled.folder / ".venv").rglob("flit_core/buildapi.py")
    whole = file.read_bytes()
    file.unlink()  # not truncated in place: the installer's cache may link to the same file
    assert "network" in call(settled.folder, "doctor", "--repair").stderr
    assert imported_from(settled.folder) == settled.folder, "what worked before still does"
    call(settled.folder, "doctor", "--repair", WORKSHOP_MIRROR=str(wheels))
    assert file.read_bytes() == whole
    assert "Setting up" not in call(settled.folder).stderr


def test_modules_of_others_are_not_imported(house_to_fill, wheels, tmp_path):
    for file in (tmp_path / "csv.py", tmp_path / "click.py", house_to_fill / "random.py"):
        file.write_text("raise SystemExit('not ours')", encoding="utf-8")
    theirs = {"PYTHONPATH": str(tmp_path), "PIP_TARGET": str(tmp_path / "elsewhere")}
    assert STEPS[3] in runs(call(house_to_fill, WORKSHOP_MIRROR=str(wheels), **theirs))
    assert "Setting up" not in runs(call(house_to_fill, **theirs))
    python = house_to_fill / ".venv" / PYTHON
    assert "Setting up" not in runs(call(house_to_fill, python=python, **theirs))


@pytest.fixture
def bare(tmp_path):
    """A Python without pip."""
    venv.create(tmp_path / "bare", symlinks=os.name == "posix")
    return tmp_path / "bare" / PYTHON


def test_a_python_without_pip_gets_one_whatever_uv_this_computer_has(
    house_to_fill, wheels, bare, tmp_path
):
    other = tmp_path / "bin" / "uv"
    other.parent.mkdir()
    other.write_text("#!/bin/sh\nexit 0\n", encoding="utf-8")
    other.chmod(0o755)
    path = os.pathsep.join([str(other.parent), environ()["PATH"]])
    runs(call(house_to_fill, python=bare, PATH=path, WORKSHOP_MIRROR=str(wheels)))
    assert imported_from(house_to_fill) == house_to_fill


def test_a_second_call_waits_for_the_set_up_of_the_first(settled):
    code = "import workshop.setup.process as b\nwith b.one_at_a_time(): print('held', flush=True); input()"

    def start(*command):
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        command = [sys.executable, *command]
        return subprocess.Popen(command, cwd=settled.folder, env=environ(), text=True, **pipes)

    holder = start("-c", code)
    assert holder.stdout.readline() == "held\n"
    stamp = settled.stamp.read_text()
    settled.stamp.unlink()
    waiting = start("-m", "workshop")
    assert "Another" in waiting.stderr.readline()
    settled.stamp.write_text(stamp)  # the first call has finished
    holder.communicate("\n")
    out, told = waiting.communicate()
    assert waiting.returncode == 0
    assert out.startswith("Usage:")
    assert "Setting up" not in told


# Packages that differ from the lock.


@pytest.mark.parametrize("exchanged", ["uv", "click"])
def test_an_exchanged_package_is_not_installed(house_to_fill, wheels, tmp_path, exchanged):
    stick = shutil.copytree(wheels, tmp_path / "stick")
    (wheel,) = stick.glob(f"{exchanged}-*.whl")
    exchange(wheel)
    off = {"UV_NO_VERIFY_HASHES": "1", "UV_REQUIRE_HASHES": "0", "PIP_REQUIRE_HASHES": "0"}
    run = call(house_to_fill, WORKSHOP_MIRROR=str(stick), **off)
    assert str(stick) in refuses(run)
    assert re.search("hash", run.stderr, re.IGNORECASE)
    assert not list((house_to_fill / ".venv").rglob("exchanged.py"))
    assert not (house_to_fill / ".venv" / "workshop-setup").exists()


# Where the packages come from. test_kit.py sets up from a whole kit.


def test_the_mirror_is_asked_before_the_kit_and_the_kit_before_the_network(
    tmp_path, monkeypatch, capsys
):
    kit, stick, wheel = tmp_path / "kit", tmp_path / "stick", "a-1-py3-none-any.whl"
    for place in (kit, stick):
        (place / "wheels").mkdir(parents=True)
    (kit / "wheels" / wheel).touch()
    (kit / mirror.MARKER).touch()
    monkeypatch.setattr(mirror, "ROOT", kit / "from-notebook-to-web-app")
    monkeypatch.delenv("WORKSHOP_MIRROR", raising=False)
    last = [str(kit / "wheels"), None]
    assert list(installer.places()) == last
    monkeypatch.setenv("WORKSHOP_MIRROR", f'"{stick}"')
    assert list(installer.places()) == last, "a mirror with only data"
    (stick / wheel).touch()
    assert list(installer.places()) == [str(stick), *last]
    (stick / "wheels" / wheel).touch()
    assert list(installer.places()) == [str(stick / "wheels"), *last]
    nowhere = ("gone", "~nobody/kit", __file__, "x" * 300, "http://127.0.0.1:9", "http://[::1")
    for place in nowhere:
        monkeypatch.setenv("WORKSHOP_MIRROR", place.replace("//127", "//me:secret@127"))
        assert list(installer.places()) == last
        told = capsys.readouterr().err
        assert told.startswith("WORKSHOP_MIRROR ")
        assert place in told
        assert told.count("\n") == 1
    (kit / mirror.MARKER).unlink()
    assert list(installer.places()) == [None]


def test_wheels_of_a_server_are_those_that_its_page_lists(monkeypatch):
    page = http(b"<a href=a-1-py3-none-any.whl>")
    wanted = base64.b64encode(b"me:open sesame").decode()
    with Server(http(b"a.whl is not here", 404)) as server:
        server.give(page, path="/kit/wheels/")
        assert installer.wheels_in(f"{server.url}/kit/") == f"{server.url}/kit/wheels/"
        server.give(http(b""), path="/wifi/wheels/")
        assert installer.wheels_in(f"{server.url}/wifi") is None, "as in a hotel"
        assert installer.wheels_in(server.url) is None
        server.give(lambda asked: page if wanted in asked else http(b"", 401), path="/in/wheels/")
        url = server.url.replace("//", "//me:open%20sesame@") + "/in"
        assert installer.wheels_in(url) == f"{url}/wheels/"
        assert installer.wheels_in(f"{server.url}/in") is None
        monkeypatch.setattr(installer, "MIRROR_LIMIT", 0.5)
        server.give((b"HTTP/1.1 200 OK\r\n\r\n", *(0.1, b"<") * 999), path="/slow/wheels/")
        assert installer.wheels_in(f"{server.url}/slow") is None


def test_a_server_without_https_is_trusted_for_what_it_serves():
    options = ["--no-index", "--find-links"]
    folder = Path("kit #1", "wheels").absolute()
    assert installer.find_links(str(folder)) == [*options, folder.as_uri()]
    url = "https://mirror.example.org/wheels/"
    assert installer.find_links(url) == [*options, url]
    url = "http://me:open-sesame@192.168.1.20:9000/wheels/"
    assert installer.find_links(url) == [*options, url, "--trusted-host", "192.168.1.20:9000"]
    assert mirror.shown(url) == "http://192.168.1.20:9000/wheels/"


# The current interpreter: Codespaces, Binder, conda.


def test_the_current_interpreter_can_be_used_instead(house_to_fill, wheels, bare, tmp_path):
    told = refuses(call(house_to_fill, python=bare, WORKSHOP_NO_VENV="1"))
    assert "pip" in told
    pack("pip", tmp_path)
    uv = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-index"]
    subprocess.run([*uv, "--python", bare, "--find-links", tmp_path, "pip"], check=True)
    runs(call(house_to_fill, python=bare, WORKSHOP_NO_VENV="1", WORKSHOP_MIRROR=str(wheels)))
    assert not (house_to_fill / ".venv").exists()
    again = call(house_to_fill, python=bare, WORKSHOP_NO_VENV="1")
    assert (again.returncode, again.stderr) == (0, "")


# Refusals. docs/test_troubleshooting.py tests most of them.


@pytest.mark.parametrize("name", [f"14{os.pathsep}11", "b\udcfcro", "two\nlines"])
def test_a_folder_that_no_environment_can_be_made_in(tmp_path, name):
    with pytest.raises(SetupError):
        environment.make_environment(tmp_path / name / ".venv")


@pytest.mark.skipif(os.name != "posix", reason="Windows asks for rights to make links")
def test_a_link_at_the_environment_s_path_is_removed_but_not_its_target(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(venv, "create", lambda prefix, **_: made.append(prefix))
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").touch()
    link = tmp_path / ".venv"
    link.symlink_to(tmp_path / "precious")
    environment.make_environment(link)
    assert not link.is_symlink()
    assert (tmp_path / "precious" / "thesis.txt").exists()
    assert made == [link]


# What only the tests need.

INSTALL_FOR_TESTS = """
from workshop.setup.environment import find_environment
from workshop.setup.process import SetupError
from workshop.setup.set_up import set_up_tests

try:
    set_up_tests(find_environment())
except SetupError as error:
    raise SystemExit(f"REFUSED {error}")
"""


def set_up_tests_in(folder, wheels):
    """Call `set_up_tests` in the environment of `folder`. Returns its stderr."""
    run = subprocess.run(
        [folder / ".venv" / PYTHON, "-c", INSTALL_FOR_TESTS],
        cwd=folder,
        env=environ(WORKSHOP_MIRROR=str(wheels)),
        capture_output=True,
        encoding="utf-8",
    )
    assert "Traceback" not in run.stderr
    return run.stderr


def test_what_only_the_tests_need_comes_from_the_mirror_once(settled, wheels, tmp_path):
    stick = tmp_path / "stick"
    shutil.copytree(wheels, stick)
    pretend("only_for_tests-1.0-py3-none-any.whl", stick)
    lock_file = settled.folder / "requirements-dev.txt"

    def is_there():
        return any((settled.folder / ".venv").rglob("only_for_tests-1.0.dist-info"))

    assert "REFUSED requirements-dev.txt " in set_up_tests_in(settled.folder, stick)
    entries = re.findall(r"^only-for-tests.*\n.*\n", lock_of(stick), re.MULTILINE)
    lock_file.write_text("".join(entries), encoding="utf-8")
    assert f"REFUSED {wheels} " in set_up_tests_in(settled.folder, wheels)
    assert not is_there()
    assert call(settled.folder, "--help").stderr == "", "the rest works as before"

    told = set_up_tests_in(settled.folder, stick)
    assert str(stick) in told
    assert "REFUSED" not in told
    assert is_there()
    assert set_up_tests_in(settled.folder, "nowhere") == "", "the stamp says that all is there"
    lock_file.write_text(lock_file.read_text("utf-8") + "# another version\n", encoding="utf-8")
    assert set_up_tests_in(settled.folder, stick) != ""
