"""Stage 07's WSGI file for PythonAnywhere, read by a WSGI server as it is there.

The server works in another folder than the app's, and imports the file from a third one.
"""

import os
import shutil
import subprocess
import sys
import time

import requests

from workshop.host.ports import free_port, status_of
from workshop.setup.process import ROOT

FOLDER = ROOT / "apps" / "07_yours"
OWN_NAME, FOREIGN_NAME = "ana.pythonanywhere.com", "berta.pythonanywhere.com"


def test_the_wsgi_file_serves_the_app_from_anywhere(tmp_path, monkeypatch):
    # An account's name may have capitals; its host name has none.
    app, www, elsewhere = tmp_path / "Ana" / "shop", tmp_path / "www", tmp_path / "elsewhere"
    shutil.copytree(FOLDER, app, ignore=shutil.ignore_patterns("model", "__pycache__"))
    train = [sys.executable, "train.py", "--model=linear", ROOT / "data" / "penguins.csv"]
    subprocess.run([*train, "species"], cwd=app, check=True, capture_output=True)
    text = (FOLDER / "pythonanywhere_wsgi.py").read_text(encoding="utf-8")
    filled = text.replace('YOU, APP = "YOU"', 'YOU, APP = "Ana"')
    assert filled != text
    www.mkdir()
    elsewhere.mkdir()
    place = www / "ana_pythonanywhere_com_wsgi.py"
    place.write_text(filled.replace("/home/", f"{tmp_path.as_posix()}/"), encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(www))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    for name in [name for name in os.environ if name.startswith("TRUSTED_")]:
        monkeypatch.delenv(name)
    port = free_port()
    command = [sys.executable, "-m", "granian", "--interface=wsgi", f"--port={port}"]
    command += ["--host=127.0.0.1", f"{place.stem}:application"]
    server = subprocess.Popen(command, cwd=elsewhere)
    try:
        url = f"http://127.0.0.1:{port}"
        while status_of(url) is None:
            assert server.poll() is None, "the server ended by itself"
            time.sleep(0.1)
        own = {"Host": OWN_NAME, "X-Forwarded-Proto": "https"}
        card = requests.get(f"{url}/api/v1/model", headers=own, timeout=30).json()
        row = {feature["name"]: feature["typical"] for feature in card["features"]}
        api = f"{url}/api/v1/predictions"
        answer = requests.post(api, headers=own, json=row, timeout=30).json()
        assert answer["prediction"] in card["target"]["words"]
        assert f"https://{OWN_NAME}/" in requests.get(f"{url}/docs", headers=own, timeout=30).text
        assert requests.get(url, headers={"Host": FOREIGN_NAME}, timeout=30).status_code == 400
    finally:
        server.terminate()
        server.wait(30)
    assert answer["model_version"] in (app.parent / "predictions.log").read_text(encoding="utf-8")
    assert list(elsewhere.iterdir()) == []
