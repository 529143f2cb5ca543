"""Set-up: from nothing, without a network, after an interruption, a change, a move; and what it refuses.

A small lock is installed from wheels that are packed again from the installed packages, so nothing is
downloaded, in a folder whose name has a space, brackets and letters that are not ASCII.
"""

import ast
import base64
import contextlib
import errno
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import venv
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest
from setup_support import LOCKED, environ, make_house
from wheel_support import exchange, is_installed, lock_of, pack, pretend

from workshop.host.ports import free_port
from workshop.setup import environment, installer, lock, mirror, set_up
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


@pytest.fixture(scope="module")
def wheels_without_uv(wheels, tmp_path_factory):
    folder = tmp_path_factory.mktemp("without uv")
    for wheel in wheels.iterdir():
        if not wheel.name.startswith("uv-"):
            shutil.copy(wheel, folder)
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


def refuses(run):
    """The one sentence a refused call ends with."""
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


# What is too old to run the workshop can still read the files that say so.


@pytest.mark.parametrize("name", ["__main__.py", "__init__.py"])
def test_an_old_python_can_read_what_tells_it_so(name):
    text = (ROOT / "workshop" / name).read_text(encoding="utf-8")
    assert ast.parse(text, feature_version=(3, 7))
    assert not any(isinstance(node, ast.JoinedStr) for node in ast.walk(ast.parse(text)))


def test_set_up_is_imported_after_the_version_is_known():
    body = ast.parse((ROOT / "workshop" / "__main__.py").read_text(encoding="utf-8")).body
    checked = next(i for i, node in enumerate(body) if isinstance(node, ast.If))
    assert ast.unparse(body[checked].test) == "sys.version_info < (3, 11)"
    imports = [ast.unparse(node) for node in body[:checked] if isinstance(node, ast.Import)]
    assert imports == ["import sys"]
    assert not any(isinstance(node, ast.ImportFrom) for node in body[:checked])


def old_pythons():
    """Interpreters on this machine that are older than 3.11."""
    named = [shutil.which(f"python3.{minor}") for minor in range(6, 11)]
    found = [Path.home() / ".pyenv" / "versions", *(Path(name).parent for name in named if name)]
    candidates = [*found[0].glob("3.*/bin/python3"), *(Path(name) for name in named if name)]
    code = "import sys; sys.exit(not (3, 0) < sys.version_info < (3, 11))"
    return [file for file in candidates if not subprocess.run([file, "-c", code]).returncode]


def test_too_old_a_python_says_what_to_do(house):
    pythons = old_pythons()
    if not pythons:
        pytest.skip("this machine has no Python older than 3.11")
    for python in pythons:
        run = call(house, "start", python=python)
        assert run.returncode == 1
        assert run.stderr.startswith(
            "The workshop needs Python 3.11 or newer, and this is Python 3."
        )
        assert len(run.stderr.splitlines()) == 1
    assert not (house / ".venv").exists()


# From nothing, and from then on.


class Settled:
    """A house that is set up; the tests below change and move it, each in its own way."""

    def __init__(self, folder, wheels):
        self.folder = make_house(folder)
        (self.folder / "requirements.txt").write_text(lock_of(wheels), encoding="utf-8")
        self.first = call(self.folder, WORKSHOP_MIRROR=str(wheels))
        self.stamp = self.folder / ".venv" / "workshop-setup"


@pytest.fixture(scope="module")
def settled(wheels, tmp_path_factory):
    return Settled(tmp_path_factory.mktemp("leer") / "Büro Müller [1]", wheels)


def test_first_call_sets_up_without_a_network_and_runs_the_command(settled):
    run = settled.first
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("Usage: python3 -m workshop [OPTIONS] COMMAND")
    told = run.stderr.splitlines()
    assert [step for step in STEPS if any(line.startswith(step) for line in told)] == list(STEPS)
    assert not any("uv isn't available" in line for line in told)
    assert not any(line.startswith(" + ") for line in told), "no list where there is no terminal"
    assert imported_from(settled.folder) == settled.folder


@pytest.mark.skipif(os.name != "posix", reason="Windows copies its launcher")
def test_the_environment_links_to_its_python(settled):
    assert (settled.folder / ".venv" / PYTHON).is_symlink(), "a copy may miss its shared library"


def test_second_call_installs_nothing(settled):
    before = settled.stamp.stat().st_mtime_ns
    run = call(settled.folder, "train", "iris_", WORKSHOP_MIRROR="nowhere")
    assert run.returncode == 2
    assert "there is no stage 'iris_'" in run.stderr
    assert "Setting up" not in run.stderr
    assert settled.stamp.stat().st_mtime_ns == before


def test_a_changed_lock_is_installed_in_place(settled, wheels):
    kept = settled.folder / ".venv" / "kept"
    kept.touch()
    with (settled.folder / "requirements.txt").open("a", encoding="utf-8") as lock:
        lock.write("# another version of the lock\n")
    run = call(settled.folder, WORKSHOP_MIRROR=str(wheels))
    assert run.returncode == 0, run.stderr
    assert "  1/4 using the environment that is there" in run.stderr.splitlines()
    assert kept.exists()
    assert "Setting up" not in call(settled.folder).stderr


def test_a_moved_folder_works_again_from_a_kit_that_is_served(settled, wheels, tmp_path):
    (tmp_path / "kit").mkdir()
    shutil.copytree(wheels, tmp_path / "kit" / "wheels")
    moved = tmp_path / "umgezogen nach Köln"
    shutil.copytree(settled.folder, moved, symlinks=True)
    port = str(free_port())
    server = [sys.executable, "-u", "-m", "http.server", port, "--directory", tmp_path / "kit"]
    with subprocess.Popen(server, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout.readline().startswith(b"Serving HTTP")
        run = call(moved, WORKSHOP_MIRROR=f"http://127.0.0.1:{port}")
        process.terminate()
    told = run.stderr.splitlines()
    assert f"      (all packages come from http://127.0.0.1:{port}/wheels/)" in told
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("Usage:")
    assert imported_from(moved) == moved
    assert "Setting up" not in call(moved).stderr


def test_packages_that_are_gone_are_installed_anew_by_the_next_call(settled):
    (package,) = (settled.folder / ".venv").rglob("site-packages/click")
    stamp = settled.stamp.read_text()
    package.rename(package.with_name("elsewhere"))
    try:
        assert "was Python upgraded?): the same command" in refuses(call(settled.folder))
        assert not settled.stamp.exists(), "without it, the next call begins from nothing"
    finally:
        package.with_name("elsewhere").rename(package)
        settled.stamp.write_text(stamp)


def test_without_uv_pip_installs_the_rest_of_the_lock(house_to_fill, wheels, wheels_without_uv):
    run = call(house_to_fill, WORKSHOP_MIRROR=str(wheels_without_uv), PIP_USER="1")
    assert run.returncode == 0, run.stderr
    assert "uv isn't available here" in run.stderr
    assert run.stdout.startswith("Usage:")
    assert imported_from(house_to_fill) == house_to_fill


@pytest.fixture
def bare(tmp_path):
    """A Python without pip."""
    venv.create(tmp_path / "bare", symlinks=os.name == "posix")
    return tmp_path / "bare" / PYTHON


def test_where_there_is_a_uv_already_no_pip_is_needed(house_to_fill, wheels, bare):
    settings = environ()
    settings["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), settings["PATH"]])
    run = call(house_to_fill, python=bare, PATH=settings["PATH"], WORKSHOP_MIRROR=str(wheels))
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("Usage:")
    assert not list((house_to_fill / ".venv").rglob("site-packages/pip"))


def test_where_there_is_no_pip_the_environment_gets_one(house_to_fill, wheels, bare):
    run = call(house_to_fill, python=bare, WORKSHOP_MIRROR=str(wheels))
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("Usage:")


def kill_at(step, house, wheels):
    """Start a set-up, and end it and all that it started as a power cut does, at one of its steps."""
    process = subprocess.Popen(
        [sys.executable, "-m", "workshop"],
        cwd=house,
        env=environ(WORKSHOP_MIRROR=str(wheels)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    try:
        reached = next((line for line in process.stderr if line.startswith(step)), None)
    finally:
        tree = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        for child in tree:
            child.kill()
        process.communicate()
        psutil.wait_procs(tree, timeout=10)
    assert reached, f"set-up did not come to {step}"
    assert not (house / ".venv" / "workshop-setup").exists()


def test_an_interrupted_set_up_is_finished_by_the_next_call(house_to_fill, wheels):
    for step in ("  2/4 ", "  4/4 "):
        kill_at(step, house_to_fill, wheels)  # each begins with what the one before left behind
    run = call(house_to_fill, WORKSHOP_MIRROR=str(wheels))
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("Usage:")
    assert imported_from(house_to_fill) == house_to_fill


def test_a_second_call_waits_for_the_set_up_of_the_first(settled):
    code = "import workshop.setup.process as b\nwith b.one_at_a_time(): print('held', flush=True); input()"
    holder = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=settled.folder,
        env=environ(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout.readline() == "held\n"
    stamp = settled.stamp.read_text()
    settled.stamp.unlink()
    waiting = subprocess.Popen(
        [sys.executable, "-m", "workshop"],
        cwd=settled.folder,
        env=environ(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    assert waiting.stderr.readline().startswith("Another command is setting the workshop up")
    settled.stamp.write_text(stamp)  # the first one is done
    holder.communicate("\n")
    told = waiting.communicate()
    assert waiting.returncode == 0
    assert told[0].startswith("Usage:")
    assert "Setting up" not in told[1]


# Packages that are not what the lock names.


@pytest.mark.parametrize(
    ("exchanged", "installer", "sentence"),
    [
        (
            "uv",
            "uv",
            "The package uv is not the file that the workshop expects (its hash differs): ",
        ),
        ("click", "uv", "Not all packages could be installed from there."),
        ("click", "pip", "Not all packages could be installed from there."),
    ],
)
def test_an_exchanged_package_is_not_installed(
    house_to_fill, wheels, wheels_without_uv, tmp_path, exchanged, installer, sentence
):
    folder = tmp_path / "stick"
    shutil.copytree(wheels if installer == "uv" else wheels_without_uv, folder)
    (wheel,) = folder.glob(f"{exchanged}-*.whl")
    exchange(wheel)
    run = call(house_to_fill, WORKSHOP_MIRROR=str(folder))
    told = refuses(run)
    assert told.startswith(f"{folder} lacks packages that this Python and system need")
    assert any(line.strip().startswith(sentence) for line in run.stderr.splitlines())
    assert re.search("hash", run.stderr, re.IGNORECASE)
    assert not list((house_to_fill / ".venv").rglob("exchanged.py"))
    assert not (house_to_fill / ".venv" / "workshop-setup").exists()


def test_the_entries_of_a_lock(tmp_path):
    file = tmp_path / "requirements.txt"
    first, second = (
        "a==1 ; os_name == 'nt' \\\n    --hash=sha256:1 \\\n    --hash=sha256:2",
        "b-c==2",
    )
    file.write_text(f"# made by uv\n{first}\n    # via b-c\n{second}\n    # via\n    #   d\n")
    assert lock.locked(file) == {"a==1 ; os_name == 'nt'": first, "b-c==2": second}


# Where the packages come from. test_kit.py sets up from a whole kit, and from one that is served.


def test_a_mirror_that_lacks_a_package_is_named_and_the_network_asked(house, tmp_path):
    wheels = tmp_path / "stick" / "wheels"
    wheels.mkdir(parents=True)
    pretend("nothing-1-py3-none-any.whl", wheels)
    run = call(house, "start", WORKSHOP_MIRROR=str(tmp_path / "stick"))
    assert refuses(run) == (
        f"{wheels} lacks packages that this Python and system need (the lines above say which). "
        "The packages cannot be downloaded: connect to a network (check the proxy, if there is one) and "
        "run the same command again, or get a kit from your instructor and set WORKSHOP_MIRROR to its "
        "folder."
    )
    told = run.stderr.splitlines()
    asked = told.index(f"      (all packages come from {wheels})")
    lacking = told.index("      (asking the next place)")
    network = [n for n, line in enumerate(told) if line.startswith("  2/4 ")][-1]
    assert asked < lacking < network


@pytest.fixture
def kit(tmp_path, monkeypatch):
    """A kit with the repository as a part of it."""
    (tmp_path / "kit" / "wheels").mkdir(parents=True)
    (tmp_path / "kit" / "wheels" / "a-1-py3-none-any.whl").touch()
    (tmp_path / "kit" / mirror.MARKER).touch()
    monkeypatch.setattr(mirror, "ROOT", tmp_path / "kit" / "from-notebook-to-web-app")
    monkeypatch.delenv("WORKSHOP_MIRROR", raising=False)
    return tmp_path / "kit"


def test_the_mirror_is_asked_before_the_kit_and_the_kit_before_the_network(
    kit, tmp_path, monkeypatch
):
    assert list(installer.places()) == [str(kit / "wheels"), None]
    stick = tmp_path / "stick"
    (stick / "wheels").mkdir(parents=True)
    monkeypatch.setenv("WORKSHOP_MIRROR", f'"{stick}"')
    assert list(installer.places()) == [str(kit / "wheels"), None], "a mirror with data only"
    (stick / "a-1-py3-none-any.whl").touch()
    assert list(installer.places()) == [str(stick), str(kit / "wheels"), None]
    (stick / "wheels" / "a-1-py3-none-any.whl").touch()
    assert list(installer.places()) == [str(stick / "wheels"), str(kit / "wheels"), None]
    (kit / mirror.MARKER).unlink()
    assert list(installer.places()) == [str(stick / "wheels"), None]


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("gone", "there is no folder gone"),
        ("~nobody-here/kit", "there is no folder ~nobody-here/kit"),
        (__file__, f"there is no folder {__file__}"),
        ("x" * 300, f"there is no folder {'x' * 300}"),
        ("http://127.0.0.1:9", "http://127.0.0.1:9 does not answer"),
        ("http://me:secret@127.0.0.1:9", "http://127.0.0.1:9 does not answer"),
        ("http://[::1", "http://[::1 does not answer"),
    ],
)
def test_a_mirror_that_is_not_there_is_named_and_the_kit_asked(
    kit, place, reason, monkeypatch, capsys
):
    monkeypatch.setenv("WORKSHOP_MIRROR", place)
    assert list(installer.places()) == [str(kit / "wheels"), None]
    assert capsys.readouterr().err == (
        f"WORKSHOP_MIRROR can't be used ({reason}), so the packages come from elsewhere.\n"
    )


@contextlib.contextmanager
def serving(respond):
    """The address of a web server; `respond` answers each request, of which it gets the handler."""
    handler = type("Handler", (BaseHTTPRequestHandler,), {"do_GET": respond})
    handler.log_message = lambda *_: None
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def page(handler, status, body):
    handler.send_response(status)
    handler.end_headers()
    handler.wfile.write(body)


def test_wheels_of_a_server_are_those_that_its_page_lists():
    def respond(handler):
        pages = {
            "/kit/wheels/": (200, b"<a href=a-1-py3-none-any.whl>"),
            "/any/wheels/": (200, b""),
        }
        page(handler, *pages.get(handler.path, (404, b"a.whl is not here")))

    with serving(respond) as address:
        assert installer.wheels_in(f"http://{address}/kit/") == f"http://{address}/kit/wheels/"
        assert installer.wheels_in(f"http://{address}/any") is None, "as in a hotel's wifi"
        assert installer.wheels_in(f"http://{address}") is None


def test_a_server_may_ask_for_the_password_in_its_address():
    def respond(handler):
        wanted = "Basic " + base64.b64encode(b"me:open sesame").decode()
        is_known = handler.headers["Authorization"] == wanted
        page(handler, 200 if is_known else 401, b"a-1-py3-none-any.whl")

    with serving(respond) as address:
        url = f"http://me:open%20sesame@{address}"
        assert installer.wheels_in(url) == f"{url}/wheels/"
        assert installer.wheels_in(f"http://{address}") is None


def test_a_server_that_sends_a_byte_now_and_then_holds_nobody_up(monkeypatch):
    def respond(handler):
        handler.send_response(200)
        handler.end_headers()
        with contextlib.suppress(OSError):
            while True:
                handler.wfile.write(b"<")
                time.sleep(0.1)

    monkeypatch.setattr(installer, "MIRROR_LIMIT", 0.5)
    with serving(respond) as address:
        began = time.monotonic()
        assert installer.wheels_in(f"http://{address}") is None
        assert time.monotonic() - began < 5


def test_a_server_without_https_is_trusted_for_what_it_serves():
    options = ["--no-index", "--find-links"]
    assert installer.find_links("/kit/wheels") == [*options, "/kit/wheels"]
    url = "https://mirror.example.org/wheels/"
    assert installer.find_links(url) == [*options, url]
    url = "http://me:open-sesame@192.168.1.20:9000/wheels/"
    assert installer.find_links(url) == [*options, url, "--trusted-host", "192.168.1.20:9000"]
    assert mirror.shown(url) == "http://192.168.1.20:9000/wheels/"


@pytest.mark.parametrize(
    ("url", "direct"),
    [
        ("http://192.168.1.20:9000", "internal,192.168.1.20"),
        ("http://10.0.0.7", "internal,10.0.0.7"),
        ("http://[fe80::1]:9000", "internal,fe80::1"),
        ("http://annas-laptop.local:9000", "internal,annas-laptop.local"),
        ("http://annas-laptop:9000", "internal,annas-laptop"),
        ("http://internal:9000", "internal"),
        ("https://mirror.example.org", "internal"),
        ("http://93.184.215.14:9000", "internal"),
    ],
)
def test_only_a_server_in_the_room_is_asked_past_the_proxy(url, direct, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "internal")
    monkeypatch.setenv("no_proxy", "internal")
    mirror.go_past_proxy(url)
    assert (os.environ["NO_PROXY"], os.environ["no_proxy"]) == (direct, direct)


# The current interpreter: Codespaces, Binder, conda.


def test_the_current_interpreter_can_be_used_instead(house_to_fill, wheels, bare, tmp_path):
    pack("pip", tmp_path)
    uv = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-index"]
    subprocess.run([*uv, "--python", bare, "--find-links", tmp_path, "pip"], check=True)
    python = bare
    run = call(house_to_fill, python=python, WORKSHOP_NO_VENV="1", WORKSHOP_MIRROR=str(wheels))
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("Usage:")
    assert not (house_to_fill / ".venv").exists()
    again = call(house_to_fill, python=python, WORKSHOP_NO_VENV="1")
    assert (again.returncode, again.stderr) == (0, "")


def test_an_interpreter_without_pip_is_told_so(house, bare):
    run = call(house, python=bare, WORKSHOP_NO_VENV="1")
    assert "has no pip: install it for this Python" in refuses(run)


# Refusals: one sentence that says what to do.


def test_no_network_on_the_first_run(house):
    told = refuses(call(house, "start"))
    assert told.startswith("The packages cannot be downloaded: connect to a network")
    assert "set WORKSHOP_MIRROR to its folder" in told


def python_for_nobody():
    """An interpreter that an account without rights can run, or None."""
    for python in (sys.executable, "/usr/bin/python3"):
        code = "import sys; sys.exit(sys.version_info < (3, 11))"
        try:
            if not subprocess.run([python, "-c", code], user=65534, cwd="/").returncode:
                return python
        except OSError:
            continue
    return None


@pytest.mark.skipif(os.name != "posix", reason="Windows folders have no such mode")
def test_no_write_access():
    python, account = sys.executable, {}
    if os.geteuid() == 0:  # root may write everywhere, so somebody else tries
        python, account = python_for_nobody(), {"user": 65534, "group": 65534, "extra_groups": []}
        if python is None:
            pytest.skip("no Python 3.11 that another account may run")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        house = make_house(Path(folder) / "nur lesen")
        for place in (house, house / "workshop"):
            place.chmod(0o555)
        run = subprocess.run(
            [python, "-B", "-m", "workshop"],
            cwd=house,
            env=environ(HOME=folder),
            capture_output=True,
            text=True,
            **account,
        )
        for place in (house, house / "workshop"):
            place.chmod(0o755)
    assert refuses(run).startswith(f"The workshop cannot write in {house}: move it to a folder")


@pytest.mark.parametrize("name", ["requirements.txt", "pyproject.toml"])
def test_a_folder_that_is_not_whole(house, name):
    (house / name).unlink()
    assert refuses(call(house)).startswith(f"{name} is not in {house}: get the whole folder")
    # The stamp can't be compared either, so this is as if there was none.
    (house / ".workshop-setup").write_text("0", encoding="ascii")
    run = call(house, WORKSHOP_NO_VENV="1")
    assert refuses(run).startswith(f"{name} is not in {house}: get the whole folder")


@pytest.mark.parametrize("name", [f"14{os.pathsep}11", "b\udcfcro", "two\nlines"])
def test_a_folder_that_no_environment_can_be_made_in(tmp_path, name):
    with pytest.raises(SetupError, match="a name of letters, digits and spaces"):
        environment.make_environment(tmp_path / name / ".venv")


@pytest.fixture
def no_environment(monkeypatch):
    """`venv.create`, without making anything: what it was asked for."""
    asked = []
    monkeypatch.setattr(venv, "create", lambda prefix, **options: asked.append((prefix, options)))
    return asked


def test_a_file_in_the_place_of_the_environment_is_replaced(tmp_path, no_environment):
    (tmp_path / ".venv").write_text("oops", encoding="utf-8")
    environment.make_environment(tmp_path / ".venv")
    assert not (tmp_path / ".venv").exists()
    assert no_environment[0][0] == tmp_path / ".venv"
    assert no_environment[0][1]["clear"]


@pytest.mark.skipif(os.name != "posix", reason="Windows asks for rights to make links")
@pytest.mark.parametrize("target", ["precious", "gone"])
def test_a_link_in_the_place_of_the_environment_is_cut_and_not_followed(
    tmp_path, no_environment, target
):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").touch()
    (tmp_path / ".venv").symlink_to(tmp_path / target)
    environment.make_environment(tmp_path / ".venv")
    assert not (tmp_path / ".venv").is_symlink()
    assert (tmp_path / "precious" / "thesis.txt").exists()


@pytest.mark.parametrize("missing", ["venv", "ensurepip"])
def test_a_python_that_cannot_make_environments(house, bare, missing):
    (site,) = (bare.parents[1]).rglob("site-packages")
    (site / f"{missing}.py").write_text("raise ImportError", encoding="utf-8")
    run = call(house, python=bare, PYTHONPATH=site)
    assert "sudo apt install python3-venv" in refuses(run)


def test_a_full_disk_is_named():
    for number in (errno.ENOSPC, errno.EDQUOT):
        assert set_up.sentence_for(OSError(number, "")).startswith("The disk is full: free")
    assert "move it to a folder of your own" in set_up.sentence_for(PermissionError())


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
    """Call `set_up_tests` in the environment of `folder`. Returns what it said, on stderr."""
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

    assert "REFUSED requirements-dev.txt is not in " in set_up_tests_in(settled.folder, stick)
    entries = re.findall(r"^only-for-tests.*\n.*\n", lock_of(stick), re.MULTILINE)
    lock_file.write_text("".join(entries), encoding="utf-8")
    told = set_up_tests_in(settled.folder, wheels)
    assert f"REFUSED {wheels} lacks packages that this Python and system need" in told
    assert not is_there()
    assert call(settled.folder, "--help").stderr == "", "the rest works as before"

    told = set_up_tests_in(settled.folder, stick)
    assert f"      (all packages come from {stick})" in told.splitlines()
    assert "REFUSED" not in told
    assert is_there()
    assert set_up_tests_in(settled.folder, "nowhere") == "", "the stamp says that all is there"
    lock_file.write_text(lock_file.read_text("utf-8") + "# another version\n", encoding="utf-8")
    assert "Installing what only the tests need" in set_up_tests_in(settled.folder, stick)
