"""Stage 06 killed in the middle of its work: what was answered as saved is there, and whole."""

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
import requests
from app_support import copy_of_folder
from housing_support import BERKELEY, PASSWORD, csrf_token, token_in

from workshop.host.ports import free_port, status_of

pytestmark = pytest.mark.slow

SAVES = 200
KILLED_AFTER = 60  # answers


def start(folder, instance, port):
    """Run the app of `folder` as attendees do; SIGKILL reaches this process, it has no children."""
    command = [sys.executable, "-m", "flask", "--app", folder / "app.py"]
    settings = {"DATABASE_URL": f"sqlite:///{instance / 'crash.db'}", "SECRET_KEY": "x" * 32}
    quiet = {"stdout": subprocess.DEVNULL, "env": os.environ | settings}
    subprocess.run([*command, "init-db"], check=True, **quiet)
    command += ["run", "--port", str(port)]
    server = subprocess.Popen(command, stderr=subprocess.DEVNULL, **quiet)
    url = f"http://127.0.0.1:{port}"
    while status_of(f"{url}/healthz") != 200:
        assert server.poll() is None
        time.sleep(0.05)
    return server, url


def a_token(url):
    """Register through the pages, CSRF tokens and all, and make a token."""
    with requests.Session() as browser:
        form = browser.get(f"{url}/register")
        login = {"username": "crash", "password": PASSWORD, "csrf_token": csrf_token(form)}
        assert browser.post(f"{url}/register", data=login).ok
        sent = {"name": "crash", "csrf_token": csrf_token(browser.get(f"{url}/account"))}
        return token_in(browser.post(f"{url}/account/tokens", data=sent))


def test_a_kill_during_200_saves_loses_nothing_that_was_answered(built, tmp_path):
    folder = copy_of_folder("06_housing", tmp_path / "app")
    shutil.copytree(built, folder / "model")
    port = free_port()
    server, url = start(folder, tmp_path, port)
    answered, enough = {}, threading.Semaphore(0)

    def save(number, headers):
        # Everything in the row follows from its number, so that a mixed-up row would show.
        body = {"name": f"save {number}", "district": BERKELEY | {"population": 1000 + number}}
        try:
            answer = requests.post(f"{url}/api/v1/saved", json=body, headers=headers, timeout=60)
        except requests.RequestException:
            return  # the server is gone
        if answer.status_code == 201:
            answered[number] = answer.json()
            enough.release()

    try:
        headers = {"Authorization": f"Bearer {a_token(url)}"}
        with ThreadPoolExecutor(SAVES) as pool:
            work = [pool.submit(save, number, headers) for number in range(SAVES)]
            for _ in range(KILLED_AFTER):
                assert enough.acquire(timeout=60)
            server.kill()
        for each in work:
            each.result()
    finally:
        server.kill()
        server.wait()
    assert KILLED_AFTER <= len(answered) < SAVES, "the kill did not come in the middle"

    with closing(sqlite3.connect(tmp_path / "crash.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert database.execute("PRAGMA foreign_key_check").fetchall() == []
        columns = "id, name, population, latitude, price_usd, low_usd, high_usd"
        rows = database.execute(f"SELECT {columns} FROM saved_prediction").fetchall()  # noqa: S608
    stored = {row[0]: row[1:] for row in rows}
    for number, saved in answered.items():
        low, high = saved["interval_usd"]
        expected = (f"save {number}", 1000 + number, 37.88, saved["price_usd"], low, high)
        assert stored[saved["id"]] == expected
    for name, population, latitude, price, low, high in stored.values():
        assert (name, latitude) == (f"save {population - 1000:.0f}", 37.88)
        assert low <= price <= high
