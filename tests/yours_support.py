"""Tables as people have them, and apps of stage 07 made from them, for the tests."""
# ruff: noqa: S311 (tables for tests)

import argparse
import contextlib
import csv
import io
import json
import os
import random
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from workshop.core.stages import find_stage, load_app_module, load_module
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


def as_text(path: Path, encoding="utf-8", delimiter=",") -> list[dict[str, str]]:
    """Return the rows as a program reads them that knows nothing of types."""
    with path.open(encoding=encoding, newline="") as file:
        return list(csv.DictReader(file, delimiter=delimiter))


def as_pandas(path: Path, **how) -> list[dict[str, Any]]:
    """Return the rows as pandas makes JSON of them."""
    return json.loads(pd.read_csv(path, **how).to_json(orient="records"))


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
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"PORT": str(port), "HOST": "127.0.0.1", "PREDICTION_LOG": "log"}
    server = subprocess.Popen([python, "wsgi.py"], cwd=folder, env=environment)
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(600):
            try:
                assert get(f"{address}/healthz")["status"] == "ok"
                break
            except OSError:
                assert server.poll() is None
                time.sleep(0.1)
        yield address
    finally:
        server.terminate()
        server.wait(30)


def get(address, data=None, kind="application/json"):
    request = urllib.request.Request(address, data, {"Content-Type": kind})
    with urllib.request.urlopen(request, timeout=30) as answer:
        text = answer.read().decode()
    return json.loads(text) if "json" in answer.headers["Content-Type"] else text


def answers(address):
    """The form as it comes, and a typical row, get a prediction over HTTP."""
    card = get(f"{address}/api/v1/model")
    row = {feature["name"]: feature["typical"] for feature in card["features"]}
    assert get(f"{address}{API}", json.dumps(row).encode())["prediction"]
    form = urllib.parse.urlencode({f"f{i}": value for i, value in enumerate(row.values())})
    page = get(f"{address}/predict", form.encode(), "application/x-www-form-urlencoded")
    assert 'id="prediction"' in page


def accepts(made, rows):
    """Every row gets a prediction, in lists as long as the API takes."""
    for start in range(0, len(rows), 1000):
        answer = made.ask(rows[start : start + 1000])
        assert answer.status_code == 200, answer.get_json()["errors"][:3]
    pages = ("/", "/model", "/docs", "/healthz", "/api/v1/model", "/api/v1/openapi.json")
    assert {made.client.get(page).status_code for page in pages} == {200}
    assert made.post_form().status_code == 200


def money_table(path: Path) -> Path:
    """A table of prices, with an index, accountants' minus signs, booleans of two kinds and gaps."""
    draw = random.Random(2)
    rows = []
    for number in range(150):
        price, net = draw.lognormvariate(8, 1.2), draw.gauss(0, 2000)
        rows.append(
            [
                number,
                f"${price:,.2f}",
                f"({-net:,.0f})" if net < 0 else f"{net:,.0f}",
                draw.choice(["True", "False"]),
                draw.choice(["0", "1"]),
                draw.choice(["a", "b", "NA", "None", "-", "?", "", "n/a"]),
                f"{draw.gauss(5, 1):.2f}" if number % 9 else "--",
                f"{price * draw.lognormvariate(0, 0.3):.2f}",
            ]
        )
    header = ["", "price", "net", "is new", "flag", "grade", "score", "model_dump"]
    return write(path, header, rows)


def new_client(made, **settings):
    settings = {"MODEL_FOLDER": made.folder, "PREDICTION_LOG": "off"} | settings
    return app.create_app(settings).test_client()
