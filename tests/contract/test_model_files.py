"""The model file and its card in every stage: saved, damaged, mixed up, of other versions.

A model file is a pickle, and opening a pickle can run any code, so an app opens only the one that its card
describes. Each refusal is one sentence, with the reason and a remedy.
"""

import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import joblib
import pytest
import sklearn
from app_support import API, FORM, make, module_of, problem

from workshop.core.stages import find_stage

STAGES = ["04_iris", "05_census", "06_housing", "07_yours"]
each_stage = pytest.mark.parametrize("slug", STAGES)
# Stages whose own `save` writes what a notebook has trained; in 07, train.py does it.
each_saving = pytest.mark.parametrize("slug", STAGES[:3])


class Kept:
    """A model folder of a stage, and ways to damage what is in it."""

    def __init__(self, slug, folder):
        self.slug, self.folder, self.module = slug, folder, module_of(slug)
        self.card_file = folder / self.module.CARD_NAME
        name = getattr(self.module, "MODEL_NAME", None) or self.card["model_file"]
        self.model_file = folder / name

    @property
    def card(self):
        return json.loads(self.card_file.read_bytes())

    def edit(self, rehash=False, without=None, **changes):
        """Change the card by hand; or, with `rehash`, as if `save` had written it."""
        card = self.card | changes
        if without:
            *inside, name = without
            del (card[inside[0]] if inside else card)[name]
        if rehash:
            del card["card_sha256"]
            fields = json.dumps(card, sort_keys=True).encode()
            card["card_sha256"] = hashlib.sha256(fields).hexdigest()
        self.card_file.write_text(json.dumps(card), "utf-8")

    def replace_model(self, content):
        """Replace the model file, and update every hash in the card."""
        self.model_file.write_bytes(content)
        self.edit(rehash=True, sha256=hashlib.sha256(content).hexdigest())

    def contents(self):
        return {path.name: path.read_bytes() for path in self.folder.iterdir() if path.is_file()}

    def refusal(self):
        """Return why `load` refuses the folder."""
        with pytest.raises(self.module.ModelUnavailable) as refused:
            self.module.load(self.folder)
        return str(refused.value)


@pytest.fixture
def kept(slug, models, tmp_path):
    return Kept(slug, Path(shutil.copytree(models[slug], tmp_path / "the model")))


class Bait:
    """Opening a pickle of this creates a folder: proof that a pickle can run anything."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


GONE = pickle.dumps(Bait(Path("x"))).replace(b"mkdir", b"mkdur")
# Each kind of damage, and what the sentence names: the card, the model file or nothing.
DAMAGE = {
    "card missing": (lambda k: k.card_file.unlink(), "no trained model"),
    "model missing": (lambda k: k.model_file.unlink(), ""),
    "card cut": (lambda k: k.card_file.write_bytes(k.card_file.read_bytes()[:99]), "card"),
    "card not UTF-8": (lambda k: k.card_file.write_bytes(b'{"stage": "\xff"}'), "card"),
    "card too deep": (lambda k: k.card_file.write_bytes(b"[" * 100_000), "card"),
    "card a list": (lambda k: k.card_file.write_bytes(b"[]"), "card"),
    "card of another stage": (lambda k: k.edit(stage="01_hello"), "card"),
    "card that flatters": (lambda k: k.edit(metrics=k.card["metrics"] | {"accuracy": 1}), "card"),
    "model cut": (lambda k: k.model_file.write_bytes(k.model_file.read_bytes()[:99]), "model"),
    "of a function that is gone": (lambda k: k.replace_model(GONE), "model"),
}
# Stage 05 reads only the card and opens no model file.
CASES = [(slug, name) for slug in STAGES for name in DAMAGE]
CASES.remove(("05_census", "of a function that is gone"))


@pytest.mark.parametrize(("slug", "name"), CASES)
def test_a_damaged_model_is_refused_with_a_reason_and_a_remedy(kept, name, tmp_path, caplog):
    slug, files = kept.slug, {"card": kept.card_file.name, "model": kept.model_file.name}
    damage, named = DAMAGE[name]
    damage(kept)
    sentence = kept.refusal()
    assert files.get(named, named) in sentence
    assert sentence.endswith(f"python3 -m workshop train {slug[:2]}")
    assert "\n" not in sentence
    visitor = make(slug, tmp_path, kept.folder).test_client()
    assert sentence in caplog.text
    assert visitor.get(FORM.get(slug, "/predict")).status_code == 503
    assert problem(visitor.post(API[slug], json={}), 503)["detail"] == sentence
    health = visitor.get("/healthz")
    assert (health.status_code, health.json) == (503, {"status": "unavailable", "reason": sentence})


@each_stage
def test_a_missing_field_is_named(kept):
    card, whole = kept.card, kept.card_file.read_bytes()
    paths = [(name,) for name in getattr(kept.module, "FIELDS", {*card} - {"flowers", "quartiles"})]
    if kept.slug != "07_yours":
        paths += [("data", "source"), ("data", "rows_train"), ("versions", "scikit_learn")]
        paths += [(part, next(iter(card[part]))) for part in ("features", "metrics")]
    for path in paths:
        kept.edit(without=path)
        assert path[-1] in kept.refusal()
        kept.card_file.write_bytes(whole)


@each_stage
def test_a_tampered_model_file_is_never_opened(kept, tmp_path):
    bait = pickle.dumps(Bait(tmp_path / "ran"))
    kept.model_file.write_bytes(bait)
    assert kept.model_file.name in kept.refusal()
    # The card's own hash protects the hash that it has of the model file.
    kept.edit(sha256=hashlib.sha256(bait).hexdigest())
    assert kept.card_file.name in kept.refusal()
    if kept.slug == "05_census":  # this stage opens no model file at all
        kept.replace_model(bait)
        assert make(kept.slug, tmp_path, kept.folder).test_client().get("/").status_code == 200
    assert not (tmp_path / "ran").exists()
    joblib.load(kept.model_file)  # the bait works: opening it runs it
    assert (tmp_path / "ran").exists()


@each_stage
def test_another_minor_release_of_scikit_learn_is_refused_and_another_patch_is_logged(kept, caplog):
    def trained_with(**versions):
        kept.edit(rehash=True, versions=kept.card["versions"] | versions)

    trained_with(python="3.6.1")
    kept.module.load(kept.folder)
    assert caplog.records == []
    patch = ".".join(sklearn.__version__.split(".")[:2]) + ".99"
    trained_with(scikit_learn=patch)
    kept.module.load(kept.folder)
    (record,) = caplog.records
    assert (record.levelname, patch in record.getMessage()) == ("WARNING", True)
    trained_with(scikit_learn="0.24.2")
    sentence = kept.refusal()
    assert sklearn.__version__ in sentence
    assert "install scikit-learn" in sentence
    assert sentence.endswith(f"python3 -m workshop train {kept.slug[:2]}")


def in_other_bytes(model_file):
    """Return the same model, which makes another file."""
    estimator = joblib.load(model_file)
    if isinstance(estimator, dict):
        return estimator | {"low": estimator["high"]}
    estimator.other = "in other bytes"
    return estimator


@each_saving
def test_saving_replaces_the_two_files_and_refuses_what_load_would_refuse(kept):
    estimator, card = joblib.load(kept.model_file), kept.card
    before = kept.contents()
    # With a class of this repository in it, the pickle would depend on a module that may move.
    assert kept.slug[3:].encode() + b"_" not in before[kept.model_file.name]
    incomplete = {name: value for name, value in card.items() if name != "data"}
    for wrong in ((estimator, incomplete), ({}, card)):
        with pytest.raises(kept.module.ModelUnavailable):
            kept.module.save(*wrong, kept.folder)
        assert kept.contents() == before
    kept.module.save(estimator, card | {"name": "The newer one"}, kept.folder)
    assert kept.module.load(kept.folder).card["name"] == "The newer one"
    assert set(kept.folder.iterdir()) == {kept.card_file, kept.model_file}


@each_saving
def test_load_looks_again_while_somebody_saves(kept, monkeypatch):
    newer, card = kept.folder / "new", kept.card | {"name": "The newer one"}
    kept.module.save(in_other_bytes(kept.model_file), card, newer)
    (newer / kept.model_file.name).replace(kept.model_file)

    def let_the_saver_finish(seconds):
        if seconds:
            (newer / kept.card_file.name).replace(kept.card_file)

    monkeypatch.setattr(kept.module.time, "sleep", let_the_saver_finish)
    assert kept.module.load(kept.folder).card["name"] == "The newer one"


KILLED = """
import importlib, json, sys
from pathlib import Path
import joblib, psutil

module, folder, moment = importlib.import_module(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
estimator, card = joblib.load(sys.argv[4]), json.loads((folder / module.CARD_NAME).read_bytes())

def before_rename(event, details):
    if event == "os.rename" and Path(details[1]).name == moment:
        psutil.Process().kill()

sys.addaudithook(before_rename)
module.save(estimator, card, folder)
"""


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before the first", "between the two"])
@each_saving
def test_a_kill_while_saving_leaves_the_old_model_or_one_that_is_refused(kept, moment, tmp_path):
    """Kill the process (`kill -9`, or its equivalent on Windows) before each of the two renames."""
    before, card, model = kept.contents(), kept.card_file.name, kept.model_file.name
    joblib.dump(in_other_bytes(kept.model_file), tmp_path / "newer")
    renamed = model if moment == "before the first" else card
    command = [sys.executable, "-c", KILLED, kept.module.__name__, kept.folder, renamed]
    killed = subprocess.run([*command, tmp_path / "newer"], cwd=find_stage(kept.slug).folder)
    assert killed.returncode not in (0, 1)
    assert kept.contents()[card] == before[card]
    if renamed == model:
        assert kept.contents()[model] == before[model]
    else:
        assert model in kept.refusal()
