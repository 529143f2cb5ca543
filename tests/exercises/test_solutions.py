"""The stored solutions solve the exercises of every notebook, which train the apps' models."""

import re
import subprocess
import sys
from itertools import pairwise

import nbformat
import numpy as np
import pandas as pd
import pytest
from exercise_support import SOLUTIONS, Copy
from notebook_support import what_they_need

from workshop.core.build import model_module
from workshop.core.datasets import read_iris
from workshop.core.own_apps import TYPED
from workshop.core.stages import BASE, STAGES, find_stage, load_app_module
from workshop.learn import my_copy
from workshop.learn.catch_up import bring_typed
from workshop.learn.exercises import exercises_of
from workshop.setup.process import ROOT
from workshop.upkeep import refresh_notebooks

CHECK_CELL = re.compile(r'^check\("(\d\d\.\d+)"(, answer)?\)$')
NOTEBOOKS = [file for stage in STAGES for file in stage.notebook_files if exercises_of(stage.slug)]
# Those of stages 05 and 06 train on large tables. What they change in an app, test_changed_apps.py tries too.
LARGE = [pytest.param(file, marks=pytest.mark.slow) for file in NOTEBOOKS if file.stem > "05"]
CASES = [file for file in NOTEBOOKS if file.stem < "05"] + LARGE


def solutions(file):
    """The solutions of a notebook by exercise number."""
    text = (SOLUTIONS / f"{file.stem}.py").read_text(encoding="utf-8")
    parts = re.split(r"^# %% Exercise (\d\d\.\d+)\n", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def changed_apps(number):
    """The folders in `apps` that the stored solution of an exercise changes; none for an answer."""
    file = SOLUTIONS / f"{number}.diff"
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    return set(re.findall(r"^\+\+\+ b/apps/(\w+)/", text, flags=re.MULTILINE))


@pytest.mark.parametrize("file", CASES, ids=lambda file: file.stem)
def test_the_solutions_solve_the_exercises(file, tmp_path, monkeypatch):
    """In a learner's copy, with the answers in the cells and the changes in the apps.

    Of the other cells, only those run that an answer needs: nbval runs them all.
    """
    notebook = nbformat.read(file, as_version=4)
    monkeypatch.setenv(BASE, str(tmp_path))
    apps = {name for number in solutions(file) for name in changed_apps(number)}
    [stage] = {find_stage(name) for name in apps - TYPED.keys()}
    my_copy.bring_up_to_date(tmp_path)
    copy = Copy(tmp_path / "unused", stage.slug)
    copy.root = tmp_path
    if stage.model:
        train = [sys.executable, "-m", "workshop", "train", stage.code]
        subprocess.run(train, cwd=ROOT, check=True)
    for name in apps & TYPED.keys():
        list(bring_typed(name, fresh=False))
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    # `what_they_need` finds what gives a name, and not what trains the pipeline that has one.
    asked, wanted = {}, [c for c in code if "model-steps" in c.metadata.get("tags", [])]
    for blank, cell in pairwise(code):
        if found := CHECK_CELL.match(cell.source):
            assert cell.outputs[0].data["text/plain"].startswith("… Not solved yet"), found[1]
            asked[found[1]] = cell
            wanted.append(cell)
            if found[2]:
                blank.source = solutions(file)[found[1]]
                wanted.append(blank)
            else:
                copy.solve(found[1])
    assert asked.keys() == solutions(file).keys()
    assert asked, "a notebook has at least one exercise"
    notebook.cells = what_they_need(code, wanted)

    refresh_notebooks.run(notebook, tmp_path / "notebooks", file.name)

    for number, cell in asked.items():
        assert cell.outputs[0].data["text/plain"].startswith("✓ Solved"), (number, cell.outputs)


def test_every_exercise_belongs_to_a_notebook_and_one_of_them_changes_its_app():
    for stage in STAGES:
        solved = [list(solutions(file)) for file in stage.notebook_files if file in NOTEBOOKS]
        assert [number for numbers in solved for number in numbers] == exercises_of(stage.slug)
        for numbers in solved:
            assert any(map(changed_apps, numbers)), numbers


# What the notebooks store


def cells(name, tag=None):
    """The code cells of a notebook, or those with a tag, each with the text that it stores."""
    for cell in nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4).cells:
        if cell.cell_type == "code" and (tag is None or tag in cell.metadata.get("tags", [])):
            parts = [o.get("text") or o.get("data", {}).get("text/plain", "") for o in cell.outputs]
            yield cell.source, "".join(parts)


def test_the_steps_of_notebook_04_give_the_model_that_its_app_serves(monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT / "notebooks")
    monkeypatch.setattr(sys, "path", list(sys.path))
    found: dict[str, object] = {}
    for source, _ in cells("04_iris", "model-steps"):
        exec(source, found)  # noqa: S102 (the notebook is ours)
    app = load_app_module("04_iris")
    iris_model = model_module(find_stage("iris"))
    own, (pipeline, card) = found["pipeline"], iris_model.train(read_iris())

    assert [repr(step) for step in own.steps] == [repr(step) for step in pipeline.steps]
    np.testing.assert_array_equal(own["classify"].coef_, pipeline["classify"].coef_)
    assert found["card"] == card
    iris_model.save(own, found["card"], tmp_path)
    flower = read_iris()[iris_model.FEATURES].iloc[7].to_dict()
    client = app.create_app({"MODEL_FOLDER": tmp_path}).test_client()
    answer = client.post("/api/predict", json=flower).get_json()
    expected = own.predict_proba(pd.DataFrame([flower]))[0]
    assert list(answer["probabilities"].values()) == pytest.approx(expected, abs=1e-12)


# At least this accuracy and ROC AUC, at most this Brier score.
REFERENCE = {
    "logistic regression, 7 features": (0.8277, 0.8774, 0.1168),
    "logistic regression, 12 features": (0.8519, 0.9052, 0.1018),
    "boosted trees, 12 features": (0.8724, 0.9274, 0.0881),
}


def test_the_stored_numbers_reach_the_reference():
    stored = cells("05b_census_model")
    [ladder] = [text for source, text in stored if "pd.DataFrame(ladder)" in source]
    for name, (accuracy, roc_auc, brier) in REFERENCE.items():
        numbers = [float(each) for each in ladder.partition(name)[2].split()[:3]]
        assert numbers[0] >= accuracy
        assert numbers[1] >= roc_auc
        assert numbers[2] <= brier


@pytest.mark.parametrize("name", ["05a_census_data", "05b_census_model", "05c_census_app"])
def test_the_stored_outputs_come_from_the_real_people_and_agree_with_the_app(name):
    _, first = next(cells(name, "census-data"))
    assert first.startswith("UCI Adult census income")
    assert [
        text for source, text in cells(name) if source.startswith("bool(") and text != "True"
    ] == []
