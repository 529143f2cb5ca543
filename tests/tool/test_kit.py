"""The kit for a room without wifi: its contents, and a set-up from it without a network.

pip gets small made-up wheels from a folder, so nothing is downloaded. For the whole kit, wheels are made
from the packages that are installed here.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from itertools import product

import pytest
from packaging.tags import sys_tags
from packaging.utils import parse_wheel_filename
from wheel_support import environ, exchange, lock_of, pack, pretend

from workshop import cli
from workshop.core import datasets
from workshop.setup.lock import LOCK, TEST_LOCK
from workshop.setup.process import ROOT
from workshop.teach import usb_kit, wheels
from workshop.teach.usb_kit import make_kit
from workshop.teach.wheels import Target

pytestmark = pytest.mark.slow

# The markers in the lock of these tests.
MARKERS = {
    "colorama==0.4.6": "sys_platform == 'win32'",
    "numpy==2.4.6": "python_full_version < '3.12'",
    "numpy==2.5.5": "python_full_version >= '3.12'",
    "soupsieve==2.10": "python_full_version < '3.11.5'",
    "soupsieve==4.1.1": "python_full_version >= '3.11.5'",
}
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
FOR_TESTS = "xdist-3.8-py3-none-any.whl"
REPOSITORY = "from-notebook-to-web-app"


@pytest.fixture
def index(tmp_path, monkeypatch):
    """The only folder from which pip gets packages."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name in (*WHEELS, FOR_TESTS):
        pretend(name, folder)
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def house(tmp_path, index, monkeypatch):
    """A small workshop without git and without data sets, whose locks contain the wheels."""
    house = tmp_path / "workshop"
    (house / "apps" / "04_iris" / "model").mkdir(parents=True)
    (house / "apps" / "04_iris" / "app.py").write_text("app", encoding="utf-8")
    (house / "apps" / "04_iris" / "model" / "iris.joblib").touch()
    text = lock_of(index)
    for pin, marker in MARKERS.items():
        text = text.replace(f"{pin} ", f"{pin} ; {marker} ")
    for_workshop, for_tests = re.split("(?=^xdist)", text, flags=re.MULTILINE)
    for name, lock in {"requirements.txt": for_workshop, "requirements-dev.txt": for_tests}.items():
        (house / name).write_text(lock, encoding="utf-8")
    monkeypatch.setattr(usb_kit, "ROOT", house)
    monkeypatch.setattr(usb_kit, "LOCK", house / "requirements.txt")
    monkeypatch.setattr(usb_kit, "TEST_LOCK", house / "requirements-dev.txt")
    monkeypatch.setattr(datasets, "DATA", house / "data")
    monkeypatch.delenv("WORKSHOP_MIRROR", raising=False)
    return house


@pytest.fixture
def stick(tmp_path, house):
    """The folder for the kit; it doesn't exist yet."""
    return tmp_path / "USB-Stick von Jürgen"


def names(folder):
    return {file.name for file in folder.iterdir()}


@pytest.mark.parametrize(
    ("system", "python", "tag", "serves"),
    [
        ("windows", "3.14", "cp314-cp314t-win_amd64", False),
        ("macos", "3.12", "cp312-cp312-macosx_14_0_arm64", False),
        ("macos-intel", "3.12", "cp310-abi3-macosx_10_9_x86_64", True),
        ("linux", "3.12", "cp312-cp312-manylinux_2_34_x86_64", False),
        ("linux", "3.12", "cp312-cp312-musllinux_1_2_x86_64", False),
        ("linux-arm", "3.12", "cp312-cp312-manylinux_2_17_aarch64", True),
    ],
)
def test_which_wheels_a_target_can_install(system, python, tag, serves):
    *_, tags = parse_wheel_filename(f"a-1-{tag}.whl")
    assert (not Target(system, python).tags.isdisjoint(tags)) == serves


def test_the_markers_of_the_lock_are_evaluated_for_the_target():
    """Together, the targets need every line of the locks, and each only its own."""

    def wanted(system, python="3.12", micro=0):
        return set(Target(system, python).wanted(micro, [LOCK, TEST_LOCK]))

    some = {"colorama", "pywinpty", "appnope", "pexpect"}
    expected = {"windows": {"colorama", "pywinpty"}, "macos": {"appnope", "pexpect"}}
    for system, names_here in (expected | {"linux": {"pexpect"}}).items():
        assert {pin.partition("==")[0] for pin in wanted(system)} & some == names_here
    assert tuple(wheels.SYSTEMS) == cli.KIT_SYSTEMS, "what the command offers"
    everything = set()
    for system, python, micro in product(wheels.SYSTEMS, cli.KIT_PYTHONS, (0, 99)):
        everything |= wanted(system, python, micro)
    text = LOCK.read_text(encoding="utf-8") + TEST_LOCK.read_text(encoding="utf-8")
    assert everything == {line.split()[0] for line in text.splitlines() if line[:1].isalpha()}


def test_a_kit_and_then_one_more_system(stick, index, capsys, monkeypatch):
    make_kit(stick, ["linux"], ["3.11"])
    assert names(stick / "wheels") == FOR_LINUX, "for an early 3.11 and a late one"
    here, there = stick / "wheels" / WHEELS[0], index / WHEELS[0]
    exchange(here)
    make_kit(stick, ["windows"], ["3.12"])
    assert names(stick / "wheels") == FOR_LINUX | FOR_WINDOWS
    assert here.read_bytes() == there.read_bytes(), "it's replaced"
    files = {REPOSITORY, f"{REPOSITORY}.zip", "wheels", "READ_ME_FIRST.txt", "kit.json"}
    assert names(stick) == files
    text = (stick / "READ_ME_FIRST.txt").read_text(encoding="ascii")
    assert "    Windows (Intel or AMD, 64 bit)\n        Python 3.12\n" in text
    assert "macOS 12" not in text
    targets = [["linux", "3.11"], ["windows", "3.12"]]
    assert json.loads((stick / "kit.json").read_bytes()) == {"targets": targets, "tests": False}

    # A second run finds everything, so it doesn't call pip.
    monkeypatch.setattr(wheels, "download", None)
    before = {file: file.stat().st_mtime_ns for file in stick.rglob("*")}
    make_kit(stick, ["windows"], ["3.12"])
    assert {file: file.stat().st_mtime_ns for file in stick.rglob("*")} == before


def test_packages_for_tests_are_optional_and_one_without_a_wheel_is_named(stick, index, capsys):
    arguments = ["--python", "3.11", "--platform", "linux"]
    assert cli.run(["kit", str(stick), *arguments, "--with-tests"]) == 0
    assert names(stick / "wheels") == FOR_LINUX | {FOR_TESTS}
    for wheel in (WHEELS[4], WHEELS[10]):
        (index / wheel).unlink()
    told = refuses(capsys, stick, *arguments, "--platform", "windows")
    assert "windows with Python 3.11: no wheel of numpy==2.4.6, uv==0.13.8\n" in told
    assert names(stick / "wheels") == FOR_LINUX | {FOR_TESTS, WHEELS[1]}
    marker = json.loads((stick / "kit.json").read_bytes())
    assert marker == {"targets": [["linux", "3.11"]], "tests": True}
    assert "Windows (Intel" not in (stick / "READ_ME_FIRST.txt").read_text(encoding="ascii")


def test_an_exchanged_wheel_is_refused(stick, index, capsys):
    exchange(index / WHEELS[4])
    assert "hash" in refuses(capsys, stick, "--platform", "windows", "--python", "3.12")
    assert not list(stick.rglob(WHEELS[4]))


def test_the_repository_is_copied_without_git_and_other_files_stay(stick, house, monkeypatch):
    monkeypatch.setattr(usb_kit, "get_wheels", lambda *_: [])  # pip is slow
    for name in (".venv/x", "work/notes.txt", "apps/__pycache__/a.pyc", "apps/06/instance/key"):
        (house / name).parent.mkdir(parents=True, exist_ok=True)
        (house / name).touch()
    (house / "broken").symlink_to("gone")
    make_kit(stick, ["linux"], ["3.11"])
    wanted = {"requirements.txt", "requirements-dev.txt", "apps/04_iris/app.py"}
    copy = stick / REPOSITORY
    assert {f.relative_to(copy).as_posix() for f in copy.rglob("*") if f.is_file()} == wanted
    with zipfile.ZipFile(stick / f"{REPOSITORY}.zip") as packed:
        assert set(packed.namelist()) == {f"{REPOSITORY}/{name}" for name in wanted}
    (copy / "my-slides.txt").touch()
    (house / "apps" / "04_iris" / "app.py").rename(house / "app.py")
    make_kit(stick, ["linux"], ["3.11"])
    assert {"app.py", "my-slides.txt"} <= names(copy)
    assert not (copy / "apps" / "04_iris" / "app.py").exists()


def test_the_available_data_is_laid_out_as_a_mirror(stick, house, tmp_path, monkeypatch):
    for name, file in {"CENSUS": "adult.data", "HOUSING": "cal.data"}.items():
        member = datasets.Member(file, len(file), hashlib.sha256(file.encode()).hexdigest())
        small = datasets.RemoteData(name.title(), f"{name}.zip", name.lower(), (member,))
        monkeypatch.setattr(datasets, name, small)
    (house / "data").mkdir()
    (house / "data" / "adult.data").write_bytes(b"adult.data")
    (house / "data" / "cal.data").write_bytes(b"not verified")
    assert usb_kit.copy_data(stick) == ["census"]
    assert not (stick / "housing").exists()
    monkeypatch.setenv("WORKSHOP_MIRROR", str(stick))
    found = datasets.fetch_files(datasets.CENSUS, tmp_path / "learner")
    assert (found.files, found.problems) == ({"adult.data": b"adult.data"}, ())
    monkeypatch.delenv("WORKSHOP_MIRROR")
    (stick / "census" / "CENSUS.zip").write_bytes(b"PK")  # a stick that was unplugged too early
    assert usb_kit.copy_data(stick) == ["census"]
    (house / "data" / "adult.data").unlink()  # no longer here, but whole in the kit
    assert usb_kit.copy_data(stick) == ["census"]


def refuses(capsys, *arguments):
    capsys.readouterr()
    assert cli.run(["kit", *map(str, arguments)]) == 1
    told = capsys.readouterr().err
    assert "Traceback" not in told
    return told


def test_places_where_a_kit_cannot_be_made(house, tmp_path, monkeypatch, capsys):
    for folder in (house, house / "kit", house / "apps" / ".." / "kit"):
        assert "choose a folder elsewhere" in refuses(capsys, folder)
    assert not (house / "kit").exists()
    monkeypatch.setattr(usb_kit, "ROOT", tmp_path / REPOSITORY)
    assert "choose a folder elsewhere" in refuses(capsys, tmp_path)
    (tmp_path / "stick").touch()
    assert "is a file" in refuses(capsys, tmp_path / "stick")


@pytest.fixture
def whole_kit(tmp_path):
    """A kit of this repository for this computer, with wheels made from the installed packages."""
    house, stick = tmp_path / "workshop", tmp_path / "USB-Stick von Jürgen"
    (stick / "wheels").mkdir(parents=True)
    target = Target(wheels.this_system(), "{}.{}".format(*sys.version_info))
    for pin in target.wanted(sys.version_info.micro, [LOCK]):
        pack(pin.partition("==")[0], stick / "wheels")
    with pytest.MonkeyPatch.context() as patch:
        # The packages installed here may need a newer system than a kit allows.
        patch.setattr(Target, "tags", frozenset(sys_tags()))
        # Hide git, so that files that aren't committed yet are included.
        patch.setattr(shutil, "which", lambda _: None)
        for file in usb_kit.repository_files():
            (house / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / file, house / file)
        patch.setattr(usb_kit, "ROOT", house)
        # These wheels have different hashes from the original ones.
        patch.setattr(usb_kit, "LOCK", house / "requirements.txt")
        usb_kit.LOCK.write_text(lock_of(stick / "wheels"), encoding="utf-8")
        patch.setattr(wheels, "download", None)  # all the wheels are there
        make_kit(stick)
    yield stick
    shutil.rmtree(tmp_path)  # its environment has 1 GB


# A learner's notebook; it prints the responses of two stages' apps.
ASK = """
import json, requests
from workshop import serve

flower = dict(sepal_length=5.1, sepal_width=3.5, petal_length=1.4, petal_width=0.2)
with serve("hello") as url:
    square = requests.get(f"{url}/square/12").text
with serve("iris") as url:
    print(json.dumps([square, requests.post(f"{url}/api/predict", json=flower).json()]))
"""


def cut_off():
    """How to run a command without a network; else it only gets proxies that don't exist."""
    script = 'ip link set lo up && exec "$@"'
    command = ["unshare", "--user", "--map-root-user", "--net", "sh", "-c", script, "sh"]
    with contextlib.suppress(OSError):
        if subprocess.run([*command, "true"], capture_output=True).returncode == 0:
            return command
    return []


def test_a_copied_kit_sets_up_trains_and_runs_with_no_network(whole_kit):
    house = whole_kit / REPOSITORY

    def run(*command):
        ended = subprocess.run(
            [*cut_off(), *command],
            cwd=house,
            env=environ(NO_PROXY="127.0.0.1", WORKSHOP_WORK=str(house / "work")),
            capture_output=True,
            encoding="utf-8",
            stdin=subprocess.DEVNULL,
            timeout=300,
        )
        assert ended.returncode == 0, ended.stderr
        return ended

    trained = run(sys.executable, "-m", "workshop", "train", "04")
    assert str(whole_kit / "wheels") in trained.stderr
    assert not any(line.startswith(" + ") for line in trained.stderr.splitlines())
    assert "04_iris: trained on" in trained.stdout
    python = house / ".venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    square, flower = json.loads(run(python, "-c", ASK).stdout.splitlines()[-1])
    assert "144" in square
    assert flower["species"] == "setosa"
