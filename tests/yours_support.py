"""Tables as people have them, and apps of stage 07 made from them, for the tests."""
# ruff: noqa: S311 (tables for tests)

import argparse
import contextlib
import csv
import io
import os
import random
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from workshop.core.stages import find_stage, load_app_module, load_module
from workshop.host.ports import free_port, status_of
from workshop.setup.process import ROOT

STAGE = find_stage("yours")
FOLDER = STAGE.folder
PENGUINS = ROOT / "data" / "penguins.csv"
API = "/api/v1/predictions"

app = load_app_module(STAGE.slug)
model, table, train, guard = (load_module(STAGE, n) for n in ("model", "table", "train", "guard"))

TEMPLATE_FILES = [*(path.name for path in FOLDER.glob("*.py")), "requirements.txt", "Dockerfile"]
TEMPLATE_FILES += [f"templates/{path.name}" for path in FOLDER.glob("templates/*")]

HEADER = ["x", "y", "color", "kind"]
UNUSUAL = ["Größe (cm)", "od280/od315", "class", "", "Ziel: ja/nein?"]  # the last is the target


@dataclass
class Made:
    """A trained app: what the training said, its card, and a client."""

    said: str
    card: dict[str, Any]
    client: Any
    folder: Path

    def ask(self, rows: Any) -> Any:
        return self.client.post(API, json=rows)

    @property
    def features(self) -> dict[str, dict[str, Any]]:
        return {feature["name"]: feature for feature in self.card["features"]}

    @property
    def typical(self) -> dict[str, Any]:
        return {name: feature["typical"] for name, feature in self.features.items()}

    def post_form(self, over: str = "", **changes: str) -> Any:
        """Send the form as it comes, with changes by the name of the column."""
        typed = {name: str(value) for name, value in (self.typical | changes).items()}
        sent = {f"f{i}": x for i, x in enumerate(typed.values())}
        return self.client.post("/predict", data=sent | {"over": over})


def write(path: Path, header, rows, encoding="utf-8", delimiter=",") -> Path:
    """Write a CSV file."""
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows([header, *rows])
    path.write_bytes(text.getvalue().encode(encoding))
    return path


def fit(path: Path, target: str, folder: Path, task="auto", drop=(), keep=(), kind="linear"):
    """Train on a CSV file and save the model, as train.py does. Returns what it said, and the card.

    Most tests are about tables, so `kind` is the estimator that is trained soonest, not train.py's choice.
    """
    options = argparse.Namespace(task=task, drop=list(drop), keep=list(keep), model=kind)
    with contextlib.redirect_stdout(io.StringIO()) as said:
        card = train.save(*train.train(path, target, options), folder)
    return said.getvalue(), card


def make(path: Path, target: str, **options) -> Made:
    """Train on a CSV file, and make the app."""
    folder = path.parent / f"{path.stem}-model"
    said, card = fit(path, target, folder, **options)
    client = app.create_app({"MODEL_FOLDER": folder, "PREDICTION_LOG": "off"}).test_client()
    return Made(said, card, client, folder)


def plain_rows(count=60, seed=0):
    """Rows of two numbers, a word and a class that depends on them, as HEADER says."""
    draw = random.Random(seed)
    for _ in range(count):
        x, y, color = draw.gauss(), draw.gauss(), draw.choice(["red", "blue"])
        yield f"{x:.3f}", f"{10 * y:.1f}", color, "big" if x + (color == "red") > 0 else "small"


def unusual_table(path: Path) -> Path:
    """A table with UNUSUAL as its header, as a spreadsheet saves it in Germany."""
    draw = random.Random(8)
    rows = [
        [f"{draw.gauss(170, 9):.1f}".replace(".", ","), draw.choice(["", "1,5", "2,25"])]
        + [draw.choice(["Männer", "Frauen"]), number, draw.choice(["ja", "nein"])]
        for number in range(90)
    ]
    return write(path, UNUSUAL, rows, "cp1252", ";")


@contextmanager
def served(folder, python=sys.executable):
    """The app of `folder`, as `python wsgi.py` serves it; yields its address."""
    url = f"http://127.0.0.1:{(port := free_port())}"
    environment = os.environ | {"PORT": str(port), "HOST": "127.0.0.1", "PREDICTION_LOG": "log"}
    server = subprocess.Popen([python, "wsgi.py"], cwd=folder, env=environment)
    try:
        while status_of(f"{url}/healthz") != 200:
            assert server.poll() is None, "the server ended by itself"
            time.sleep(0.1)
        yield url
    finally:
        server.terminate()
        server.wait(30)


def answers(url):
    """The form as it comes, and a typical row, get a prediction over HTTP."""
    card = requests.get(f"{url}/api/v1/model", timeout=30).json()
    row = {feature["name"]: feature["typical"] for feature in card["features"]}
    assert requests.post(url + API, json=row, timeout=30).json()["prediction"]
    form = {f"f{i}": value for i, value in enumerate(row.values())}
    assert 'id="prediction"' in requests.post(f"{url}/predict", form, timeout=30).text
