"""Tables as people have them, and apps of stage 07 made from them, for the tests."""

import argparse
import contextlib
import csv
import importlib.util
import io
import json
import random
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

FOLDER = Path(__file__).resolve().parent.parent / "apps" / "07_yours"
PENGUINS = FOLDER.parent.parent / "data" / "penguins.csv"
sys.path.insert(0, str(FOLDER))
_spec = importlib.util.spec_from_file_location("yours_app", FOLDER / "app.py")
app = sys.modules["yours_app"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(app)
model, table, train = (importlib.import_module(name) for name in ("model", "table", "train"))

API = "/api/v1/predictions"


@dataclass
class Made:
    """A trained app: what the training said, its card, and a client."""

    said: str
    card: Any
    client: Any
    folder: Path
    table: Path

    def ask(self, rows: Any) -> Any:
        return self.client.post(API, json=rows)


def write(path: Path, header, rows, encoding="utf-8", delimiter=",") -> Path:
    """Write a CSV file."""
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows([header, *rows])
    path.write_bytes(text.getvalue().encode(encoding))
    return path


def make(path: Path, target: str, task="auto", drop=(), keep=(), model_kind="auto") -> Made:
    """Train on a CSV file and make the app, as `python train.py` and `wsgi.py` do."""
    options = argparse.Namespace(task=task, drop=list(drop), keep=list(keep), model=model_kind)
    folder = path.parent / f"{path.stem}-model"
    with contextlib.redirect_stdout(io.StringIO()) as said:
        card = train.save(*train.train(path, target, options), folder)
    client = app.create_app({"MODEL_FOLDER": folder, "PREDICTION_LOG": "off"}).test_client()
    return Made(said.getvalue(), card, client, folder, path)


def as_text(path: Path, encoding="utf-8", delimiter=",") -> list[dict[str, str]]:
    """Return the rows as a program reads them that knows nothing of types."""
    with path.open(encoding=encoding, newline="") as file:
        return list(csv.DictReader(file, delimiter=delimiter))


def as_pandas(path: Path, **how) -> list[dict[str, Any]]:
    """Return the rows as pandas makes JSON of them."""
    return json.loads(pd.read_csv(path, **how).to_json(orient="records"))


def plain_rows(count=60, seed=0):
    """Rows of two numbers, a word and a class that depends on them: `x`, `y`, `colour`, `kind`."""
    draw = random.Random(seed)
    for _ in range(count):
        x, y, colour = draw.gauss(), draw.gauss(), draw.choice(["red", "blue"])
        yield f"{x:.3f}", f"{10 * y:.1f}", colour, "big" if x + (colour == "red") > 0 else "small"


HEADER = ["x", "y", "colour", "kind"]
