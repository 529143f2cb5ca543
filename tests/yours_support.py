"""Tables as people have them, and apps of stage 07 made from them, for the tests."""
# ruff: noqa: S311 (tables for tests)

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

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "apps" / "07_yours"
PENGUINS = ROOT / "data" / "penguins.csv"
API = "/api/v1/predictions"

sys.path.insert(0, str(FOLDER))
_spec = importlib.util.spec_from_file_location("yours_app", FOLDER / "app.py")
app = sys.modules["yours_app"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(app)
model, table, train, guard = map(importlib.import_module, ("model", "table", "train", "guard"))

HEADER = ["x", "y", "color", "kind"]


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

    def post_form(self, **changes: str) -> Any:
        """Send the form as it comes, with changes by the name of the column."""
        typed = {name: str(value) for name, value in (self.typical | changes).items()}
        return self.client.post("/predict", data={f"f{i}": x for i, x in enumerate(typed.values())})


def write(path: Path, header, rows, encoding="utf-8", delimiter=",") -> Path:
    """Write a CSV file."""
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows([header, *rows])
    path.write_bytes(text.getvalue().encode(encoding))
    return path


def fit(path: Path, target: str, folder: Path, task="auto", drop=(), keep=(), kind="auto"):
    """Train on a CSV file and save the model, as train.py does. Returns what it said, and the card."""
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
