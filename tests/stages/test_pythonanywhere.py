"""Stage 07's WSGI file for PythonAnywhere, read by a WSGI server as it is there.

The server works in another folder than the app's, imports the file from a third one, and may belong to
another user.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

import pytest
import requests

from workshop.host.ports import free_port, status_of
from workshop.setup.process import ROOT

FOLDER = ROOT / "apps" / "07_yours"
PAGES = "/api/v1/model"
ACCOUNT = "Ana"  # an account's name may have capitals; its host name has none
OWN_NAME, FOREIGN_NAME = "ana.pythonanywhere.com", "berta.pythonanywhere.com"


def settings(*paths: Path) -> dict[str, str]:
    """The environment of the server: without settings of the app, and with modules in `paths`."""
    others = {name: x for name, x in os.environ.items() if not name.startswith("TRUSTED_")}
    places = [sysconfig.get_path("purelib"), *map(str, paths)]
    return others | {"PYTHONPATH": os.pathsep.join(places), "PYTHONDONTWRITEBYTECODE": "1"}


def another_users_python(user: str) -> str:
    """A Python that `user` may run with the packages installed here. Skips the test if there is none."""
    if os.name != "posix" or os.geteuid() != 0:
        pytest.skip("only root can start a server as another user")
    for python in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"):
        command = [python, "-c", "import granian, sklearn"]
        try:
            found = subprocess.run(command, user=user, env=settings(), cwd="/", capture_output=True)
        except OSError:
            continue
        if found.returncode == 0:
            return python
    pytest.skip(f"no Python with the packages installed here may be run by {user}")


@pytest.fixture
def home():
    """A folder like /home there, which everybody may read: `Ana/shop` is the app, with a model."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        home.chmod(0o755)
        app = home / ACCOUNT / "shop"
        shutil.copytree(FOLDER, app, ignore=shutil.ignore_patterns("model", "__pycache__"))
        train = [sys.executable, "train.py", "--model=linear", ROOT / "data" / "penguins.csv"]
        subprocess.run([*train, "species"], cwd=app, check=True, capture_output=True)
        yield home


def write_wsgi_file(home: Path) -> Path:
    """Fill in the two names of the WSGI file, as the recipe says, in a folder like /var/www."""
    text = (FOLDER / "pythonanywhere_wsgi.py").read_text(encoding="utf-8")
    filled = text.replace('YOU, APP = "YOU"', f'YOU, APP = "{ACCOUNT}"')
    assert filled != text
    place = home / "www" / "ana_pythonanywhere_com_wsgi.py"
    place.parent.mkdir()
    place.write_text(filled.replace("/home/", f"{home.as_posix()}/"), encoding="utf-8")
    return place


@pytest.mark.parametrize("user", [None, "nobody"], ids=["same user", "another user"])
def test_the_wsgi_file_serves_the_app_from_anywhere(home, user):
    python = another_users_python(user) if user else sys.executable
    file = write_wsgi_file(home)
    log = home / ACCOUNT / "predictions.log"
    log.touch()
    log.chmod(0o666)  # there, the account's own user runs the server
    elsewhere = home / "elsewhere"
    elsewhere.mkdir()
    port = free_port()
    command = [python, "-m", "granian", "--interface=wsgi", "--host=127.0.0.1", f"--port={port}"]
    server = subprocess.Popen(
        [*command, f"{file.stem}:application"],
        cwd=elsewhere,
        env=settings(file.parent),
        **({"user": user, "extra_groups": []} if user else {}),
    )
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 60
        while status_of(url) is None:
            assert server.poll() is None, "the server ended by itself"
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.1)
        own = {"Host": OWN_NAME, "X-Forwarded-Proto": "https"}
        card = requests.get(url + PAGES, headers=own, timeout=30).json()
        row = {feature["name"]: feature["typical"] for feature in card["features"]}
        api = f"{url}/api/v1/predictions"
        answer = requests.post(api, headers=own, json=row, timeout=30)
        assert answer.json()["prediction"] in card["target"]["words"]
        assert f"https://{OWN_NAME}/" in requests.get(f"{url}/docs", headers=own, timeout=30).text
        foreign = requests.get(url + PAGES, headers={"Host": FOREIGN_NAME}, timeout=30)
        assert foreign.status_code == 400
    finally:
        server.terminate()
        server.wait(30)
    assert answer.json()["model_version"] in log.read_text(encoding="utf-8")
    assert list(elsewhere.iterdir()) == []
