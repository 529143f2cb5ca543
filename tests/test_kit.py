"""The kit for a room without wifi: what is in it, for whom; and a set-up from it with the network cut off.

pip gets small pretended wheels from a folder, so nothing is downloaded. For the whole kit, the wheels are
packed again from the packages that are installed here.
"""

import contextlib
import errno
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.tags import sys_tags
from packaging.utils import parse_wheel_filename
from wheel_support import exchange, is_installed, lock_of, pack, pretend

from workshop import cli
from workshop.core import datasets
from workshop.host.ports import free_port
from workshop.teach import usb_kit as kit
from workshop.teach.usb_kit import KitFailed, Target

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
LOCK = """\
# made by uv
click==8.5.1
    # via flask
colorama==0.4.6 ; sys_platform == 'win32'
numpy==2.4.6 ; python_full_version < '3.12'
numpy==2.5.5 ; python_full_version >= '3.12'
soupsieve==2.10 ; python_full_version < '3.11.5'
soupsieve==4.1.1 ; python_full_version >= '3.11.5'
uv==0.13.8
"""
WHEELS = (
    "click-8.5.1-py3-none-any.whl",
    "colorama-0.4.6-py2.py3-none-any.whl",
    "numpy-2.4.6-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl",
    "numpy-2.4.6-cp311-cp311-musllinux_1_2_x86_64.whl",
    "numpy-2.5.5-cp312-cp312-win_amd64.whl",
    "numpy-2.5.5-cp312-cp312-macosx_11_0_arm64.whl",
    "numpy-2.5.5-cp312-cp312-macosx_14_0_arm64.whl",
    "soupsieve-2.10-py3-none-any.whl",
    "soupsieve-4.1.1-py3-none-any.whl",
    "uv-0.13.8-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
    "uv-0.13.8-py3-none-win_amd64.whl",
)
FOR_LINUX = {WHEELS[0], WHEELS[2], WHEELS[7], WHEELS[8], WHEELS[9]}
FOR_WINDOWS = {WHEELS[0], WHEELS[1], WHEELS[4], WHEELS[8], WHEELS[10]}


@pytest.fixture
def index(tmp_path, monkeypatch):
    """The folder from which pip gets packages, and nothing else."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name in WHEELS:
        pretend(name, folder)
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def house(tmp_path, monkeypatch):
    """A small workshop without git, whose data sets are not at hand."""
    house = tmp_path / "workshop"
    (house / "apps" / "04_iris" / "model").mkdir(parents=True)
    (house / "apps" / "04_iris" / "app.py").write_text("app", encoding="utf-8")
    (house / "apps" / "04_iris" / "model" / "iris.joblib").touch()
    (house / "requirements.txt").write_text(LOCK, encoding="utf-8")
    shutil.copy(ROOT / ".gitignore", house)
    monkeypatch.setattr(kit, "ROOT", house)
    monkeypatch.setattr(kit, "LOCK", house / "requirements.txt")
    monkeypatch.setattr(datasets, "DATA", house / "data")
    monkeypatch.delenv("WORKSHOP_MIRROR", raising=False)
    return house


@pytest.fixture
def stick(tmp_path, house, index):
    """Where the kits of these tests are made; it does not exist yet."""
    return tmp_path / "USB-Stick von Jürgen"


@pytest.fixture
def no_wheels(monkeypatch):
    """Kits without wheels, where the wheels are not the point: pip takes its time."""
    monkeypatch.setattr(kit, "get_wheels", lambda target, folder: [])


def names(folder):
    return {file.name for file in folder.iterdir()}


# For whom


def test_the_command_offers_the_systems_that_are_described():
    assert tuple(kit.SYSTEMS) == cli.KIT_SYSTEMS
    assert all(f"{minor}" in cli.KIT_PYTHONS for minor in ("3.11", "3.12", "3.13", "3.14"))


@pytest.mark.parametrize(
    ("system", "machine", "name"),
    [
        ("win32", "AMD64", "windows"),
        ("darwin", "arm64", "macos"),
        ("darwin", "x86_64", "macos-intel"),
        ("linux", "x86_64", "linux"),
        ("linux", "aarch64", "linux-arm"),
    ],
)
def test_this_computer(system, machine, name, monkeypatch):
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(kit.platform, "machine", lambda: machine)
    assert kit.this_system() == name


def test_a_computer_of_another_kind_can_still_make_kits_for_others(monkeypatch):
    monkeypatch.setattr(kit.platform, "machine", lambda: "riscv64")
    with pytest.raises(KitFailed, match=r"name the systems of the others, such as: --platform win"):
        kit.this_system()


@pytest.mark.parametrize(
    ("target", "wheel", "serves"),
    [
        (Target("windows", "3.12"), "a-1-py3-none-any.whl", True),
        (Target("windows", "3.12"), "a-1-py2.py3-none-any.whl", True),
        (Target("windows", "3.12"), "a-1-cp312-cp312-win_amd64.whl", True),
        (Target("windows", "3.12"), "a-1-cp312-cp312-win32.whl", False),
        (Target("windows", "3.12"), "a-1-cp312-cp312-win_arm64.whl", False),
        (Target("windows", "3.13"), "a-1-cp312-cp312-win_amd64.whl", False),
        (Target("windows", "3.13"), "a-1-cp310-abi3-win_amd64.whl", True),
        (Target("windows", "3.14"), "a-1-cp314-cp314t-win_amd64.whl", False),
        (Target("macos", "3.12"), "a-1-cp312-cp312-macosx_11_0_arm64.whl", True),
        (Target("macos", "3.12"), "a-1-cp312-cp312-macosx_10_13_universal2.whl", True),
        (Target("macos", "3.12"), "a-1-cp312-cp312-macosx_14_0_arm64.whl", False),
        (Target("macos", "3.12"), "a-1-cp312-cp312-macosx_11_0_x86_64.whl", False),
        (Target("macos-intel", "3.12"), "a-1-cp312-cp312-macosx_10_9_x86_64.whl", True),
        (Target("linux", "3.12"), "a-1-cp312-cp312-manylinux2014_x86_64.whl", True),
        (Target("linux", "3.12"), "a-1-cp312-cp312-manylinux_2_28_x86_64.whl", True),
        (Target("linux", "3.12"), "a-1-cp312-cp312-manylinux_2_34_x86_64.whl", False),
        (Target("linux", "3.12"), "a-1-cp312-cp312-musllinux_1_2_x86_64.whl", False),
        (Target("linux-arm", "3.12"), "a-1-cp312-cp312-manylinux_2_17_aarch64.whl", True),
    ],
)
def test_which_wheels_a_target_can_install(target, wheel, serves):
    name, version, _, tags = parse_wheel_filename(wheel)
    found = kit.Wheel(name, version, tags)
    assert found.serves(Requirement("a==1"), target.tags) == serves
    assert not found.serves(Requirement("a==2"), target.tags)
    assert not found.serves(Requirement("b==1"), target.tags)


def test_the_locks_markers_hold_for_the_target_and_not_for_this_computer():
    def wanted(target, micro=0):
        return {f"{pin.name}{pin.specifier}" for pin in target.pins(micro)}

    def wants(target, name):
        return any(pin.startswith(f"{name}==") for pin in wanted(target))

    windows, mac, linux = (Target(name, "3.12") for name in ("windows", "macos", "linux"))
    assert wants(windows, "colorama") and wants(windows, "pywinpty")
    assert not wants(windows, "pexpect") and not wants(windows, "appnope")
    assert wants(mac, "appnope") and wants(mac, "pexpect") and not wants(mac, "colorama")
    assert wants(linux, "pexpect") and not wants(linux, "appnope")
    everything = {
        pin
        for system in kit.SYSTEMS
        for python in cli.KIT_PYTHONS
        for micro in (0, 99)
        for pin in wanted(Target(system, python), micro)
    }
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    locked = {line.split()[0] for line in lines if line[:1].isalpha()}
    assert everything == locked, "each line of the lock is for somebody"


# What is in it


def test_a_kit_and_then_one_more_system(stick, capsys, monkeypatch):
    kit.make_kit(stick, ["linux"], ["3.11"])
    assert names(stick / "wheels") == FOR_LINUX
    told = capsys.readouterr().out
    assert "wheels for linux with Python 3.11: 5 to get" in told
    assert "      4 of 5\n      5 of 5\n" in told, "plain lines where there is no terminal"
    assert "add others, with --platform" in told

    kit.make_kit(stick, ["windows"], ["3.12"])
    assert names(stick / "wheels") == FOR_LINUX | FOR_WINDOWS
    assert "wheels for linux with Python 3.11: all are there" in capsys.readouterr().out
    assert names(stick) == {
        "from-notebook-to-web-app",
        "from-notebook-to-web-app.zip",
        "wheels",
        "READ_ME_FIRST.txt",
        "kit.json",
    }
    text = (stick / "READ_ME_FIRST.txt").read_text(encoding="ascii")
    assert "    Windows (Intel or AMD, 64 bit)\n        Python 3.12\n" in text
    assert "    Linux on Intel or AMD, 64 bit (Ubuntu 20.04, Debian 10 or newer)\n" in text
    assert "macOS 12" not in text
    for command in (
        "py -m workshop start",
        "python3 -m workshop start",
        "export WORKSHOP_MIRROR=http://192.168.1.20:9000",
        "python3 -m http.server 9000",
    ):
        assert command in text
    assert max(map(len, text.splitlines())) <= 80
    assert json.loads((stick / "kit.json").read_bytes()) == {
        "lock": hashlib.sha256(LOCK.encode()).hexdigest(),
        "targets": [["linux", "3.11"], ["windows", "3.12"]],
        "data": [],
    }

    # Once more: all is there, so pip is not asked.
    monkeypatch.setattr(kit, "download", None)
    before = {file: file.stat().st_mtime_ns for file in stick.rglob("*")}
    kit.make_kit(stick, ["windows"], ["3.12"])
    assert {file: file.stat().st_mtime_ns for file in stick.rglob("*")} == before


def test_a_newer_wheel_is_not_taken_where_an_older_system_could_not_install_it(stick):
    with contextlib.suppress(KitFailed):
        kit.make_kit(stick, ["macos"], ["3.12"])
    assert "numpy-2.5.5-cp312-cp312-macosx_11_0_arm64.whl" in names(stick / "wheels")
    assert "numpy-2.5.5-cp312-cp312-macosx_14_0_arm64.whl" not in names(stick / "wheels")


def test_without_options_it_is_for_this_computer(stick, monkeypatch):
    monkeypatch.setattr(kit, "this_system", lambda: "windows")
    monkeypatch.setattr(sys, "version_info", (3, 12, 1))
    assert cli.run(["kit", str(stick)]) == 0
    assert names(stick / "wheels") == FOR_WINDOWS


def test_a_package_without_a_wheel_is_named_and_the_rest_is_kept(stick, index, capsys):
    (index / "numpy-2.5.5-cp312-cp312-win_amd64.whl").unlink()
    arguments = ["--platform", "windows", "--platform", "linux", "--python", "3.11"]
    assert cli.run(["kit", str(stick), *arguments]) == 1
    told = capsys.readouterr()
    assert "windows with Python 3.11: no wheel of numpy==2.4.6\n" in told.err
    assert "The kit is made, but it can't serve what the lines above name" in told.err
    assert "whole" not in told.out
    assert names(stick / "wheels") == FOR_LINUX | {WHEELS[1], WHEELS[10]}
    assert json.loads((stick / "kit.json").read_bytes())["targets"] == [["linux", "3.11"]]
    assert "Windows (Intel" not in (stick / "READ_ME_FIRST.txt").read_text(encoding="ascii")


def test_a_system_for_which_there_is_no_uv_is_served_by_pip(stick, index):
    (index / WHEELS[9]).unlink()
    assert cli.run(["kit", str(stick), "--platform", "linux", "--python", "3.11"]) == 0
    assert names(stick / "wheels") == FOR_LINUX - {WHEELS[9]}


def test_an_exchanged_wheel_is_refused_and_one_that_is_there_is_got_anew(
    stick, house, index, capsys
):
    for name in (*WHEELS[1:4], WHEELS[7]):
        (index / name).unlink()  # what the lock above tells apart by the version of Python
    pretend("uv-0.13.8-py3-none-macosx_11_0_arm64.whl", index)
    (house / "requirements.txt").write_text(lock_of(index), encoding="utf-8")
    kit.make_kit(stick, ["macos"], ["3.12"])
    here, there = stick / "wheels" / WHEELS[0], index / WHEELS[0]
    exchange(here)
    exchange(index / WHEELS[4])
    kit.make_kit(stick, ["macos"], ["3.12"])
    assert here.read_bytes() == there.read_bytes()

    capsys.readouterr()
    told = refuses(capsys, stick, "--platform", "windows", "--python", "3.12")
    assert told.startswith("A package is not the file that the workshop names (its hash differs): ")
    assert WHEELS[4] not in names(stick / "wheels")


def test_all_systems(stick, monkeypatch):
    asked = []
    monkeypatch.setattr(kit, "get_wheels", lambda target, _: asked.append(target) or [])
    pythons = [option for python in cli.KIT_PYTHONS for option in ("--python", python)]
    assert cli.run(["kit", str(stick), "--platform", "all", *pythons]) == 0
    assert asked == sorted(Target(s, p) for s in kit.SYSTEMS for p in cli.KIT_PYTHONS)


def test_a_terminal_gets_a_bar(stick, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stdout", terminal := Terminal())
    kit.make_kit(stick, ["linux"], ["3.11"])
    assert "100%" in terminal.getvalue()
    assert " of 5\n" not in terminal.getvalue()


# Interrupted, repeated, out of date


def test_what_an_interruption_left_is_finished(stick, house):
    kit.make_kit(stick, ["linux"], ["3.11"])
    whole = {file.relative_to(stick): file.read_bytes() for file in stick.rglob("*.*")}
    cut = stick / "wheels" / WHEELS[0]
    cut.write_bytes(cut.read_bytes()[:100])  # a stick that was pulled out
    (stick / "wheels" / WHEELS[2]).unlink()
    (stick / "wheels.part").mkdir()
    (stick / "wheels.part" / WHEELS[2]).write_bytes(b"PK")
    (stick / "kit.json").unlink()
    (stick / "from-notebook-to-web-app.zip").write_bytes(b"PK")
    kit.make_kit(stick, ["linux"], ["3.11"])
    assert {file.relative_to(stick): file.read_bytes() for file in stick.rglob("*.*")} == whole


@pytest.mark.parametrize("place", ["pip", "copy"])
def test_ctrl_c(stick, monkeypatch, capsys, place):
    def interrupt(*_):
        raise KeyboardInterrupt

    if place == "pip":
        monkeypatch.setattr(kit, "pip_download", interrupt)
    else:
        monkeypatch.setattr(Path, "replace", interrupt)
    assert cli.run(["kit", str(stick), "--platform", "linux", "--python", "3.11"]) == 130
    assert "kit was interrupted: the same command finishes it." in capsys.readouterr().err
    assert not list(stick.rglob("*.part")), "a file is whole or not there"
    assert not (stick / "kit.json").exists()


def test_a_kit_follows_the_workshop_and_leaves_what_it_did_not_bring(stick, house, no_wheels):
    (house / "old.py").touch()
    kit.make_kit(stick, ["linux"], ["3.11"])
    copy = stick / "from-notebook-to-web-app"
    assert (copy / "old.py").exists()
    (copy / "my-slides.txt").touch()
    (house / "old.py").unlink()
    (house / "apps" / "04_iris" / "app.py").write_text("a newer app", encoding="utf-8")
    kit.make_kit(stick, ["linux"], ["3.11"])
    assert not (copy / "old.py").exists()
    assert (copy / "my-slides.txt").exists()
    assert (copy / "apps" / "04_iris" / "app.py").read_text(encoding="utf-8") == "a newer app"


# The repository


def test_the_repository_without_git_is_all_that_is_not_ignored(stick, house, no_wheels):
    for name in ("data/adult.data", ".venv/x", "work/notes.txt", "apps/__pycache__/a.pyc"):
        (house / name).parent.mkdir(parents=True, exist_ok=True)
        (house / name).touch()
    (house / "docs").mkdir()
    (house / "docs" / "data").mkdir()
    (house / "docs" / "data" / "adult.md").touch()
    kit.make_kit(stick, ["linux"], ["3.11"])
    wanted = {".gitignore", "requirements.txt", "apps/04_iris/app.py", "docs/data/adult.md"}
    copy = stick / "from-notebook-to-web-app"
    files = {f.relative_to(copy).as_posix() for f in copy.rglob("*") if f.is_file()}
    assert files == wanted
    with zipfile.ZipFile(stick / "from-notebook-to-web-app.zip") as packed:
        assert set(packed.namelist()) == {f"from-notebook-to-web-app/{name}" for name in wanted}


def git(folder, *arguments):
    run = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, check=True)
    return {name for name in run.stdout.decode().split("\0") if name}


@pytest.mark.skipif(not shutil.which("git"), reason="git is not installed here")
def test_the_repository_with_git_is_what_git_tracks(house):
    git(house, "init", "-q")
    git(house, "add", "requirements.txt", "apps/04_iris/app.py")
    (house / "my-notes.txt").touch()
    assert {f.as_posix() for f in kit.repository_files()} == {
        "requirements.txt",
        "apps/04_iris/app.py",
    }
    (house / "requirements.txt").unlink()
    assert [f.as_posix() for f in kit.repository_files()] == ["apps/04_iris/app.py"]


def test_what_is_ignored_is_what_git_ignores():
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip("this copy is no git checkout")
    listed = git(
        ROOT,
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-per-directory=.gitignore",
    )
    there = {name for name in listed if (ROOT / name).is_file()}
    found = {file.as_posix() for file in kit.files_not_ignored()}
    # Other tests are at work in this folder: their passing files are not the point.
    assert {n for n in there ^ found if not n.endswith((".part", ".joblib"))} == set()
    assert "workshop/kit.py" in found


# The data


@pytest.fixture
def small_data(monkeypatch):
    """Data sets of a few bytes in place of the real ones."""

    def small(title, archive, folder, name):
        content = name.encode()
        member = datasets.Member(name, len(content), hashlib.sha256(content).hexdigest())
        return datasets.RemoteData(title, archive, folder, (member,))

    monkeypatch.setattr(
        datasets, "CENSUS", small("Census data", "adult.zip", "adult", "adult.data")
    )
    monkeypatch.setattr(
        datasets, "HOUSING", small("Housing data", "cal_housing.zip", "housing", "cal_housing.data")
    )


def test_the_data_at_hand_is_laid_out_as_a_mirror(
    stick, house, no_wheels, small_data, tmp_path, monkeypatch
):
    (house / "data").mkdir()
    (house / "data" / "adult.data").write_bytes(b"adult.data")
    (house / "data" / "cal_housing.data").write_bytes(b"not verified")
    kit.make_kit(stick, ["linux"], ["3.11"])
    assert json.loads((stick / "kit.json").read_bytes())["data"] == ["census data"]
    assert not (stick / "housing").exists()
    text = (stick / "READ_ME_FIRST.txt").read_text(encoding="ascii")
    assert "Data in it: census data.\n" in text

    monkeypatch.setenv("WORKSHOP_MIRROR", str(stick))
    found = datasets.fetch_files(datasets.CENSUS, tmp_path / "learner")
    assert found.files == {"adult.data": b"adult.data"}
    assert found.problems == ()


def test_damaged_data_in_the_kit_is_replaced_and_good_data_kept(stick, house, small_data):
    (house / "data").mkdir()
    (house / "data" / "adult.data").write_bytes(b"adult.data")
    (stick / "adult").mkdir(parents=True)
    (stick / "adult" / "adult.zip").write_bytes(b"PK")
    assert kit.copy_data(stick) == ["census data"]
    (house / "data" / "adult.data").unlink()  # at hand no longer, but whole in the kit
    assert kit.copy_data(stick) == ["census data"]


# Refusals: one sentence that says what to do.


def refuses(capsys, *arguments):
    assert cli.run(["kit", *map(str, arguments)]) == 1
    told = capsys.readouterr().err
    assert "Traceback" not in told
    return told.splitlines()[-1]


def test_a_place_in_the_workshop_itself(house, capsys):
    for folder in (house, house / "kit", house / "apps" / ".." / "kit"):
        assert "would get mixed up: name a folder elsewhere" in refuses(capsys, folder)
    assert not (house / "kit").exists()


def test_the_kit_that_this_workshop_is_a_part_of(house, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(kit, "ROOT", tmp_path / "from-notebook-to-web-app")
    assert "would get mixed up: name a folder elsewhere" in refuses(capsys, tmp_path)


def test_a_file_in_the_place_of_the_folder(house, tmp_path, capsys):
    (tmp_path / "stick").touch()
    assert "is a file: name a folder, which need not exist yet." in refuses(
        capsys, tmp_path / "stick"
    )
    told = refuses(capsys, tmp_path / "stick" / "kit")
    assert told.startswith(f"The kit can't be written in {tmp_path / 'stick' / 'kit'} (")


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (errno.ENOSPC, "is full: make room (a kit takes up to 0.5 GB for each system), then run"),
        (errno.EACCES, "(Permission denied): name a folder where you may write."),
        (errno.EROFS, "(Read-only file system): name a folder where you may write."),
    ],
)
def test_a_disk_that_refuses(stick, error, sentence, monkeypatch, capsys):
    def refuse(path, content):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(Path, "write_bytes", refuse)
    assert sentence in refuses(capsys, stick, "--platform", "linux")
    assert not list(stick.rglob("*.part"))


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("python: No module named pip", "has no pip: install it, then run the same command"),
        ("ERROR: Could not install: [Errno 28] No space left on device", "is full: make room"),
        ("ERROR: No matching distribution found for b==1", "pip can't get the wheels (ERROR: No"),
        ("ERROR: something else", "pip can't get the wheels (ERROR: something else): run the same"),
        ("", "pip can't get the wheels (it said nothing): run the same command again."),
    ],
)
def test_what_keeps_pip_from_it(said, sentence, tmp_path):
    with pytest.raises(KitFailed, match=re.escape(sentence)):
        kit.unserved_by(said.splitlines(), ["a==1"], tmp_path)
    found = kit.unserved_by(["ERROR: No matching distribution found for a==1"], ["a==1"], tmp_path)
    assert found == "a==1"


def test_no_network(stick, monkeypatch, capsys):
    for name in ("PIP_NO_INDEX", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    told = refuses(capsys, stick, "--platform", "linux", "--python", "3.11")
    assert told.startswith("The wheels can't be downloaded: connect to a network")
    assert names(stick / "wheels") == set()
    assert "wheels.part" not in names(stick)


# The whole kit, and what it is for


def kit_of(pins, folder, stick):
    """A kit for this computer, of this repository with a lock of `pins`, whose wheels are packed again."""
    house = folder / "workshop"
    stick = folder / stick
    (stick / "wheels").mkdir(parents=True)
    for pin in pins:
        if not is_installed(pin.name):
            pytest.skip(f"{pin.name} is not installed here, so its wheel can't be packed")
        pack(pin.name, stick / "wheels")
    with pytest.MonkeyPatch.context() as patch:
        # What is installed here may be for newer systems than a kit should be.
        patch.setattr(Target, "tags", frozenset(sys_tags()))
        # As in a copy without git, so that files not committed yet belong to it as well.
        for file in kit.files_not_ignored():
            (house / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / file, house / file)
        patch.setattr(kit, "ROOT", house)
        # What is packed again has other hashes than what it was installed from.
        patch.setattr(kit, "LOCK", house / "requirements.txt")
        kit.LOCK.write_text(lock_of(stick / "wheels"), encoding="utf-8")
        patch.setattr(kit, "download", None)  # all the wheels are there
        kit.make_kit(stick)
    return stick


@pytest.fixture(scope="module")
def pins():
    """What the lock has for this computer."""
    target = Target(kit.this_system(), "{}.{}".format(*sys.version_info))
    return target.pins(sys.version_info.micro)


@pytest.fixture(scope="module")
def whole_kit(pins, tmp_path_factory):
    """A kit in a folder with a space and a letter beyond ASCII."""
    folder = tmp_path_factory.mktemp("kits")
    yield kit_of(pins, folder, "USB-Stick von Jürgen")
    shutil.rmtree(folder)  # with what was set up in it, 1 GB


@pytest.fixture(scope="module")
def small_kit(pins, tmp_path_factory):
    """A kit with the packages alone that the command line needs."""
    few = [pin for pin in pins if pin.name in ("click", "colorama", "flit-core", "uv")]
    return kit_of(few, tmp_path_factory.mktemp("kits"), "Server")


def environ(**more):
    """An environment in which no package index can be reached, no mirror is set, and no cache is warm."""
    dropped = ("WORKSHOP_", "PIP_", "UV_", "PYTHON", "VIRTUAL_ENV", "ALL_PROXY")
    kept = {k: v for k, v in os.environ.items() if not k.upper().startswith(dropped)}
    nowhere = {"HTTP_PROXY": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9"}
    nowhere |= {"NO_PROXY": ""}
    kept = {k: v for k, v in kept.items() if k.upper() not in nowhere}
    quiet = {"PIP_CONFIG_FILE": os.devnull, "UV_NO_CONFIG": "1", "PYTHONUTF8": "1"}
    return kept | nowhere | quiet | more


# Sets the workshop up, trains stage 04, and asks the apps of two stages; the last line is what they said.
DRIVER = """
import json, os, subprocess, sys, time, urllib.request

def workshop(*arguments, start=subprocess.run, **options):
    return start([sys.executable, "-m", "workshop", *arguments], **options)

def ask(url, body=None):
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, body and json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.read().decode()

def ask_app(stage, path, body=None):
    port = PORTS[stage]
    app = workshop("app", stage, "--port", port, start=subprocess.Popen)
    try:
        while True:
            try:
                return ask(f"http://127.0.0.1:{port}{path}", body)
            except urllib.error.HTTPError:
                raise
            except OSError:
                if app.poll() is not None:
                    raise
                time.sleep(0.2)
    finally:
        app.terminate()
        app.wait()

os.environ["NO_PROXY"] = "127.0.0.1"
PORTS = {"01": sys.argv[1], "04": sys.argv[2]}
workshop("train", "04", check=True)
flower = dict(sepal_length=5.1, sepal_width=3.5, petal_length=1.4, petal_width=0.2)
print(json.dumps([ask_app("01", "/square/12"), ask_app("04", "/api/predict", flower)]))
"""


def cut_off():
    """The command that runs another one with no network at all; empty where there is no such thing."""
    command = ["unshare", "--user", "--map-root-user", "--net", "--"]
    try:
        subprocess.run([*command, "ip", "link", "set", "lo", "up"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return []
    return [*command, "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]


def test_a_copied_kit_sets_up_trains_and_runs_with_no_network(whole_kit):
    # Where the network can't be cut off, packages are still out of reach: proxies lead nowhere.
    run = subprocess.run(
        [*cut_off(), sys.executable, "-c", DRIVER, str(free_port()), str(free_port())],
        cwd=whole_kit / "from-notebook-to-web-app",
        env=environ(),
        capture_output=True,
        encoding="utf-8",
        stdin=subprocess.DEVNULL,
    )
    assert run.returncode == 0, run.stderr
    assert f"      (all packages come from {whole_kit / 'wheels'})" in run.stderr.splitlines()
    assert not any(line.startswith(" + ") for line in run.stderr.splitlines())
    assert "04_iris: trained on" in run.stdout
    square, flower = json.loads(run.stdout.splitlines()[-1])
    assert "144" in square
    assert json.loads(flower)["species"] == "setosa"


@pytest.fixture
def room(small_kit):
    """The address of a kit that is served as its text says."""
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-u", "-m", "http.server", str(port)],
        cwd=small_kit,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert server.stdout.readline().startswith(b"Serving HTTP")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.communicate()


def test_a_served_kit_is_the_rooms_mirror_for_set_up_and_data(small_kit, room, tmp_path):
    learner = tmp_path / "Büro Müller"
    learner.mkdir()
    archive = "from-notebook-to-web-app.zip"
    directly = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with directly.open(f"{room}/{archive}") as answer:
        (learner / archive).write_bytes(answer.read())
    shutil.unpack_archive(learner / archive, learner)
    house = learner / "from-notebook-to-web-app"
    mirror = {"WORKSHOP_MIRROR": room, "WORKSHOP_OFFLINE": "1"}
    run = subprocess.run(
        [sys.executable, "-m", "workshop"],
        cwd=house,
        env=environ(**mirror),
        capture_output=True,
        encoding="utf-8",
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("Usage: python3 -m workshop")
    assert f"      (all packages come from {room}/wheels/)" in run.stderr.splitlines()

    # Reading the data takes pandas, which is in the environment of the tests.
    code = "from workshop import fetch_census as f; c = f(); print(c.is_real, c.origin)"
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=house,
        env=environ(**mirror),
        capture_output=True,
        text=True,
    )
    if (small_kit / "adult").exists():
        assert run.stdout == f"True {room}/adult/adult.zip\n", run.stderr
    else:
        assert run.stdout.startswith("False "), run.stderr
        assert f"WORKSHOP_MIRROR can't be used (there is no adult.zip in {room})" in run.stderr
