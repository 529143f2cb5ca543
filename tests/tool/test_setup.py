"""Set-up: from nothing, offline, after a change or a move; and what it refuses.

A small lock is installed from wheels repacked from the installed packages, so nothing is downloaded. The
folder's name has a space, brackets and non-ASCII letters.
"""

import ast
import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from types import SimpleNamespace

import pytest
from mirror_support import Server, files_of
from wheel_support import LOCKED, environ, exchange, lock_of, make_house, pack

from workshop.setup import environment, installer, mirror
from workshop.setup.process import ROOT

pytestmark = pytest.mark.slow

PYTHON = "Scripts/python.exe" if os.name == "nt" else "bin/python"
STEPS = ("  1/4 ", "  2/4 ", "  3/4 ", "  4/4 ")


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    """A folder of wheels for the small lock."""
    folder = tmp_path_factory.mktemp("USB stick")
    for name in LOCKED:
        pack(name, folder)
    return folder


@pytest.fixture
def house(tmp_path, wheels):
    """A workshop that isn't set up yet, whose lock has the wheels with their hashes."""
    return house_for(wheels, tmp_path)


def house_for(wheels, folder):
    house = make_house(folder / "Büro Müller [1]")
    (house / "requirements.txt").write_text(lock_of(wheels), encoding="utf-8")
    return house


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
    return run.stderr.splitlines()[-1]


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
    text = (ROOT / "workshop" / "__main__.py").read_text(encoding="utf-8")
    body = ast.parse(text, feature_version=(3, 7)).body
    assert not any(isinstance(node, ast.JoinedStr) for part in body for node in ast.walk(part))
    checked = next(i for i, node in enumerate(body) if isinstance(node, ast.If))
    assert ast.unparse(body[checked].test) == "sys.version_info < (3, 11)"
    imports = [node for node in body[:checked] if isinstance(node, ast.Import | ast.ImportFrom)]
    assert [ast.unparse(node) for node in imports] == ["import sys"]
    ast.parse((ROOT / "workshop" / "__init__.py").read_text("utf-8"), feature_version=(3, 7))


# From nothing, and later calls.


@pytest.fixture(scope="module")
def settled(wheels, tmp_path_factory):
    """A house that is set up, its first call and its stamp; the tests below change or move it."""
    folder = house_for(wheels, tmp_path_factory.mktemp("leer"))
    first = call(folder, WORKSHOP_MIRROR=str(wheels))
    return SimpleNamespace(folder=folder, first=first, stamp=folder / ".venv" / "workshop-setup")


def test_only_the_first_call_and_one_with_a_changed_lock_set_up(settled, wheels):
    told = runs(settled.first).splitlines()
    assert [step for step in STEPS if any(line.startswith(step) for line in told)] == list(STEPS)
    assert not any(line.startswith(" + ") for line in told), "a list is for terminals"
    assert imported_from(settled.folder) == settled.folder
    assert "Setting up" not in runs(call(settled.folder, WORKSHOP_MIRROR="nowhere"))
    kept = settled.folder / ".venv" / "kept"
    kept.touch()
    with (settled.folder / "requirements.txt").open("a", encoding="utf-8") as lock:
        lock.write("# another version of the lock\n")
    assert STEPS[2] in runs(call(settled.folder, WORKSHOP_MIRROR=str(wheels)))
    assert kept.exists()
    assert "Setting up" not in call(settled.folder).stderr


def test_a_moved_folder_works_again_from_a_kit_that_is_served(settled, wheels, tmp_path):
    shutil.copytree(wheels, tmp_path / "kit" / "wheels")
    moved = shutil.copytree(settled.folder, tmp_path / "umgezogen nach Köln", symlinks=True)
    with Server(files_of(tmp_path / "kit")) as server:
        assert f"{server.url}/wheels/" in runs(call(moved, WORKSHOP_MIRROR=server.url))
    assert imported_from(moved) == moved
    assert "Setting up" not in call(moved).stderr


def test_packages_that_are_gone_are_installed_again_by_the_next_call(settled, wheels):
    (package,) = (settled.folder / ".venv").rglob("site-packages/click")
    package.rename(package.with_name("elsewhere"))
    assert "the same command" in refuses(call(settled.folder))
    assert STEPS[3] in runs(call(settled.folder, WORKSHOP_MIRROR=str(wheels)))


def test_the_doctor_repairs_a_damaged_package_in_place_or_leaves_all_as_it_is(settled, wheels):
    (file,) = (settled.folder / ".venv").rglob("flit_core/buildapi.py")
    whole = file.read_bytes()
    file.unlink()  # not truncated in place: the installer's cache may link to the same file
    assert "network" in call(settled.folder, "doctor", "--repair").stderr
    assert imported_from(settled.folder) == settled.folder, "what worked before still does"
    call(settled.folder, "doctor", "--repair", WORKSHOP_MIRROR=str(wheels))
    assert file.read_bytes() == whole
    assert "Setting up" not in call(settled.folder).stderr


def test_nothing_else_on_this_computer_is_used(house, wheels, tmp_path):
    """Neither modules with the names of others, nor another uv, nor pip's settings."""
    for file in (tmp_path / "csv.py", tmp_path / "click.py", house / "random.py"):
        file.write_text("raise SystemExit('not ours')", encoding="utf-8")
    other = tmp_path / "bin" / "uv"
    other.parent.mkdir()
    other.write_text("#!/bin/sh\nexit 0\n", encoding="utf-8")
    other.chmod(0o755)
    theirs = {
        "PATH": os.pathsep.join([str(other.parent), environ()["PATH"]]),
        "PYTHONPATH": str(tmp_path),
        "PIP_TARGET": str(tmp_path / "elsewhere"),
    }
    assert STEPS[3] in runs(call(house, WORKSHOP_MIRROR=str(wheels), **theirs))
    assert "Setting up" not in runs(call(house, **theirs))
    assert "Setting up" not in runs(call(house, python=house / ".venv" / PYTHON, **theirs))


def test_a_python_without_pip_gets_one_and_one_with_pip_can_be_used_itself(house, wheels, tmp_path):
    venv.create(tmp_path / "bare", symlinks=os.name == "posix")
    python = tmp_path / "bare" / PYTHON
    assert "pip" in refuses(call(house, python=python, WORKSHOP_NO_VENV="1"))
    runs(call(house, python=python, WORKSHOP_MIRROR=str(wheels)))
    assert imported_from(house) == house

    shutil.rmtree(house / ".venv")
    pack("pip", tmp_path)
    uv = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-index"]
    subprocess.run([*uv, "--python", python, "--find-links", tmp_path, "pip"], check=True)
    runs(call(house, python=python, WORKSHOP_NO_VENV="1", WORKSHOP_MIRROR=str(wheels)))
    assert not (house / ".venv").exists()
    assert call(house, python=python, WORKSHOP_NO_VENV="1").stderr == ""


def test_a_second_call_waits_for_the_set_up_of_the_first(settled):
    hold = "import workshop.setup.process as b\nwith b.one_at_a_time(): print('held', flush=True); input()"

    def start(*command):
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        command = [sys.executable, *command]
        return subprocess.Popen(command, cwd=settled.folder, env=environ(), text=True, **pipes)

    first = start("-c", hold)
    assert first.stdout.readline() == "held\n"
    stamp = settled.stamp.read_text()
    settled.stamp.unlink()
    second = start("-m", "workshop")
    assert "Another" in second.stderr.readline()
    settled.stamp.write_text(stamp)  # the first call has finished
    first.communicate("\n")
    out, told = second.communicate()
    assert out.startswith("Usage:")
    assert "Setting up" not in told


# Packages that differ from the lock.


@pytest.mark.parametrize("exchanged", ["uv", "click"])
def test_an_exchanged_package_is_not_installed(house, wheels, tmp_path, exchanged):
    stick = shutil.copytree(wheels, tmp_path / "stick")
    (wheel,) = stick.glob(f"{exchanged}-*.whl")
    exchange(wheel)
    off = {"UV_NO_VERIFY_HASHES": "1", "UV_REQUIRE_HASHES": "0", "PIP_REQUIRE_HASHES": "0"}
    run = call(house, WORKSHOP_MIRROR=str(stick), **off)
    assert str(stick) in refuses(run)
    assert re.search("hash", run.stderr, re.IGNORECASE)
    assert not list((house / ".venv").rglob("exchanged.py"))
    assert not (house / ".venv" / "workshop-setup").exists()


# Where the packages come from. test_kit.py sets up from a whole kit.


def test_the_mirror_is_asked_before_the_kit_and_the_kit_before_the_network(
    tmp_path, monkeypatch, capsys
):
    kit, stick, wheel = tmp_path / "kit", tmp_path / "stick", "wheels/a-1-py3-none-any.whl"
    for place in (kit, stick):
        (place / "wheels").mkdir(parents=True)
    (kit / wheel).touch()
    (kit / mirror.MARKER).touch()
    monkeypatch.setattr(mirror, "ROOT", kit / "from-notebook-to-web-app")
    last = [str(kit / "wheels"), None]
    monkeypatch.setenv("WORKSHOP_MIRROR", f'"{stick}"')
    assert list(installer.places()) == last, "a mirror with only data"
    (stick / wheel).touch()
    assert list(installer.places()) == [str(stick / "wheels"), *last]
    for place in ("gone", "~nobody/kit", __file__, "http://127.0.0.1:9", "http://[::1"):
        monkeypatch.setenv("WORKSHOP_MIRROR", place.replace("//127", "//me:secret@127"))
        assert list(installer.places()) == last
        told = capsys.readouterr().err
        assert told.startswith("WORKSHOP_MIRROR ")
        assert place in told
        assert told.count("\n") == 1
    monkeypatch.delenv("WORKSHOP_MIRROR")
    (kit / mirror.MARKER).unlink()
    assert list(installer.places()) == [None]


# The current interpreter: Codespaces, Binder, conda.


# Refusals. docs/test_troubleshooting.py tests most of them.


@pytest.mark.skipif(os.name != "posix", reason="Windows asks for rights to make links")
def test_a_link_at_the_environment_s_path_is_removed_but_not_its_target(tmp_path, monkeypatch):
    monkeypatch.setattr(venv, "create", lambda *_, **__: None)
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").touch()
    link = tmp_path / ".venv"
    link.symlink_to(tmp_path / "precious")
    environment.make_environment(link)
    assert not link.is_symlink()
    assert (tmp_path / "precious" / "thesis.txt").exists()
