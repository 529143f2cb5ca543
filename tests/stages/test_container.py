"""Stage 07's Dockerfile is built with buildah, and the container runs.

No registry is needed: debootstrap makes the base image from the packages of this machine's Debian, and what
pip installs comes from the index that this machine's pip is set up for. The images are kept in a temporary
folder. With chroot isolation a container shares the machine's network and process numbers, so the app inside
is told to listen on 127.0.0.1, and a signal reaches it from outside.

Environment variables
    WORKSHOP_REQUIRE_CONTAINER  any value but `0`: where the image can't be built, the tests fail
"""

import ast
import contextlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

from workshop.host.ports import free_port, status_of
from workshop.setup.process import ROOT

pytestmark = pytest.mark.slow

FOLDER = ROOT / "apps" / "07_yours"
BASE, IMAGE, CONTAINER = "localhost/base", "localhost/yours", "yours-container"
# What python:3.x-slim has, and the Dockerfile uses
PACKAGES = "python3,python3-venv,ca-certificates"
BUILD_LIMIT = 1200  # seconds, for a slow mirror
TRY_TO_WRITE = """
import pathlib
for path in pathlib.Path("new"), pathlib.Path("model/new"), pathlib.Path("app.py"):
    try:
        path.open("a").close()
        print("wrote", path)
    except PermissionError:
        pass
"""


def why_not() -> str | None:
    """What an image can't be built without, and this machine lacks."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "debootstrap and chroot isolation need root on Linux"
    lacking = [name for name in ("buildah", "debootstrap", "apt-get") if not shutil.which(name)]
    return f"there is no {' and no '.join(lacking)} here (apt-get install)" if lacking else None


def run(*command: object, **options: object) -> str:
    """Run a command; return what it printed. Its errors are part of the report if it fails."""
    options |= {"capture_output": True, "text": True, "timeout": BUILD_LIMIT}
    done = subprocess.run([str(word) for word in command], **options)
    assert done.returncode == 0, f"{command[0]}: {done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


def debian_mirror() -> tuple[str, str]:
    """The address of the mirror that apt uses here, and the name of this Debian."""
    name = platform.freedesktop_os_release()["VERSION_CODENAME"]
    wanted = "$(CODENAME) $(COMPONENT) $(REPO_URI)"
    for line in run("apt-get", "indextargets", "--format", wanted).splitlines():
        if line.startswith(f"{name} main "):
            return line.split()[-1], name
    raise AssertionError(f"apt has no mirror of {name} main")


def pip_settings(folder: Path) -> list[str]:
    """Options of buildah that give pip in the image this machine's settings: index, certificates."""
    if not (pip := shutil.which("pip3") or shutil.which("pip")):
        return []
    found = {}
    for line in run(pip, "config", "list").splitlines():  # such as: global.timeout='60'
        key, _, value = line.partition("=")
        found[key.rpartition(".")[2]] = ast.literal_eval(value).split()
    settings = folder / "pip.conf"
    lines = [f"{name} = {' '.join(words)}" for name, words in found.items()]
    settings.write_text("\n".join(["[global]", *lines]), encoding="utf-8")
    words = [word for some in found.values() for word in some]
    # The pages of an index may name files outside their folder.
    paths = [Path(word[7:]).parent if word.startswith("file://") else Path(word) for word in words]
    mounts = {path: path for path in paths if path.is_absolute() and path.exists()}
    mounts[settings] = Path("/etc/pip.conf")
    return [f"--volume={here}:{there}:ro" for here, there in mounts.items()]


class Buildah:
    """buildah, with images and containers in its own folder."""

    def __init__(self, folder: Path) -> None:
        self.command = ["buildah", f"--root={folder / 'storage'}", f"--runroot={folder / 'run'}"]

    def __call__(self, *arguments: object) -> str:
        return run(*self.command, *arguments).strip()

    def inside(self, *command: object, environment: dict[str, object] | None = None) -> list[str]:
        """The command line that runs `command` in a container of the image, on this machine's network."""
        told = [f"--env={name}={value}" for name, value in (environment or {}).items()]
        options = ["--isolation=chroot", "--network=host", *told]
        return [*self.command, "run", *options, CONTAINER, "--", *map(str, command)]


@pytest.fixture(scope="module")
def buildah(tmp_path_factory):
    """buildah with the image of an app that has a model of the penguins, and one container made from it."""
    if problem := why_not():
        if os.environ.get("WORKSHOP_REQUIRE_CONTAINER", "0") not in ("", "0"):
            pytest.fail(f"WORKSHOP_REQUIRE_CONTAINER is set, but {problem}", pytrace=False)
        pytest.skip(problem)
    folder = tmp_path_factory.mktemp("container")
    tool = Buildah(folder)
    try:
        mirror, debian = debian_mirror()
        what = ["--variant=minbase", f"--include={PACKAGES}", debian, folder / "base", mirror]
        run("debootstrap", *what)
        empty = tool("from", "scratch")
        tool("add", "--quiet", empty, folder / "base", "/")
        tool("commit", "--quiet", "--rm", "--format=docker", empty, BASE)
        app = folder / "app"
        shutil.copytree(FOLDER, app, ignore=shutil.ignore_patterns("model", "__pycache__"))
        shutil.copy(ROOT / "data" / "penguins.csv", app / "data.csv")
        run(sys.executable, "train.py", "--model=linear", "data.csv", "species", cwd=app)
        build = ["build", "--quiet", "--isolation=chroot", "--network=host", f"--tag={IMAGE}"]
        build += ["--format=docker"]  # OCI's own format has no health check
        tool(*build, f"--build-arg=BASE={BASE}", *pip_settings(folder), app)
        tool("from", f"--name={CONTAINER}", "--pull-never", IMAGE)
        yield tool
    finally:
        with contextlib.suppress(AssertionError):
            tool("rm", "--all")
            tool("rmi", "--all", "--force")
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def config(buildah):
    """The settings of the image, as Docker reads them."""
    return json.loads(buildah("inspect", "--type=image", IMAGE))["Docker"]["config"]


@pytest.fixture
def served(buildah, config):
    """The container as it runs by its own CMD; gives its address and the number of its main process."""
    port = free_port()
    told = {"HOST": "127.0.0.1", "PORT": port}
    command = ["sh", "-c", 'echo $$; exec "$@"', "sh", *config["Cmd"]]
    inside = buildah.inside(*command, environment=told)
    container = subprocess.Popen(inside, stdout=subprocess.PIPE, text=True)
    main = int(container.stdout.readline())
    url = f"http://127.0.0.1:{port}"
    try:
        while status_of(f"{url}/healthz") is None:
            assert container.poll() is None, "the container ended by itself"
            time.sleep(0.2)
        yield url, main
    finally:
        # The main process ends its worker. To end buildah instead would leave both behind.
        with contextlib.suppress(ProcessLookupError):
            os.kill(main, signal.SIGTERM)
        container.communicate(timeout=60)


def healthy(buildah, config, port):
    """Whether the image's own health check finds the app that listens on `port`."""
    kind, *command = config["Healthcheck"]["Test"]
    assert kind == "CMD"
    check = buildah.inside(*command, environment={"PORT": port})
    return subprocess.run(check, capture_output=True).returncode == 0


def test_the_container_answers_as_the_folder_would_to_its_own_names(served, buildah, config):
    url, _ = served
    card = requests.get(f"{url}/api/v1/model", timeout=30).json()
    row = {feature["name"]: feature["typical"] for feature in card["features"]}
    answer = requests.post(f"{url}/api/v1/predictions", json=row, timeout=30)
    assert answer.json()["prediction"] in card["target"]["words"]
    foreign = requests.get(url, headers={"Host": "kittens.example"}, timeout=30)
    assert (requests.get(url, timeout=30).status_code, foreign.status_code) == (200, 400)
    assert healthy(buildah, config, url.rpartition(":")[2])
    assert not healthy(buildah, config, free_port()), "nothing answers there"


def test_the_app_is_not_root_and_can_change_nothing_of_its_own(buildah, served):
    _, main = served
    assert Path(f"/proc/{main}").stat().st_uid != 0
    assert run(*buildah.inside("python", "-c", TRY_TO_WRITE)) == ""
    there = run(*buildah.inside("find", ".", "-type", "f")).splitlines()
    assert "./model/card.json" in there
    assert [name for name in there if name.endswith((".csv", ".pyc", ".tmp"))] == []


def test_the_container_ends_when_it_is_asked_to(served):
    url, main = served
    os.kill(main, signal.SIGTERM)
    deadline = time.monotonic() + 60
    while Path(f"/proc/{main}").exists() or status_of(url) is not None:
        assert time.monotonic() < deadline, "it goes on"
        time.sleep(0.2)
