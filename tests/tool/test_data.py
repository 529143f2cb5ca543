"""The data itself: the tables that come with the repository, their data sheets, and the real data.

Tests of the real data are skipped if WORKSHOP_MIRROR doesn't have it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import fetch_california_housing

from workshop.core import datasets
from workshop.core.datasets import (
    CENSUS,
    CENSUS_COLUMNS,
    HOUSING,
    HOUSING_COLUMNS,
    DataUnavailableError,
    fetch_census,
    fetch_housing,
)
from workshop.setup.process import ROOT

IRIS = (datasets.DATA / "iris.csv").read_bytes().replace(b"\r\n", b"\n")


def load(path):
    spec = importlib.util.spec_from_file_location(path.replace("/", "_")[:-3], ROOT / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


NO_TABLES = [
    None,
    b"",
    b"<html>Log in</html>",
    b"\xff\xfe\x00",
    IRIS[:2000],
    b"part,age\ntrain,3\n",
]


@pytest.mark.parametrize("file", ["iris.csv", "census_standin.csv", "housing_standin.csv"])
def test_a_damaged_table_of_the_repository(tmp_path, monkeypatch, file):
    fetch = {"iris": datasets.read_iris, "cens": fetch_census, "hous": fetch_housing}[file[:4]]
    monkeypatch.setattr(datasets, "DATA", tmp_path)
    monkeypatch.setattr(datasets, "CENSUS_STANDIN", tmp_path / "census_standin.csv")
    monkeypatch.setattr(datasets, "HOUSING_STANDIN", tmp_path / "housing_standin.csv")
    monkeypatch.setenv("WORKSHOP_MIRROR", str(tmp_path))
    for content in NO_TABLES:
        if content is not None:
            (tmp_path / file).write_bytes(content)
        with pytest.raises(DataUnavailableError, match="download the workshop") as error:
            fetch()
        assert str(tmp_path / file) in str(error.value)
    if file == "iris.csv":
        assert datasets.state("read_iris") == (False, f"iris: {error.value}")


def test_what_the_doctor_is_told_of_the_data(tmp_path, monkeypatch):
    flowers = datasets.read_iris()
    assert flowers.shape == (150, 5)
    assert datasets.state("read_iris") == (True, "iris: data/iris.csv is complete")
    monkeypatch.setattr(datasets, "DATA", tmp_path)
    (tmp_path / "iris.csv").write_bytes(IRIS.replace(b"\n", b"\r\n"))
    assert datasets.read_iris().equals(flowers), "Windows line endings aren't damage"
    assert datasets.state("fetch_housing")[0], "it's fetched when first needed"
    (tmp_path / "cal_housing.data").write_bytes(b"half a li")
    fine, line = datasets.state("fetch_housing")
    assert not fine
    assert line.endswith(f"; delete {tmp_path / 'cal_housing.data'}")


# The stand-ins


STANDINS = {
    "census": (datasets.CENSUS_STANDIN, CENSUS, CENSUS_COLUMNS, fetch_census),
    "housing": (datasets.HOUSING_STANDIN, HOUSING, HOUSING_COLUMNS, fetch_housing),
}


def read(name):
    return pd.read_csv(STANDINS[name][0], na_values=["?"], keep_default_na=False)


def test_the_stand_in_for_the_census():
    people = read("census")
    assert tuple(people.columns) == ("part", *CENSUS_COLUMNS)
    assert people["part"].value_counts().to_dict() == {"train": 7_000, "test": 3_000}
    gaps = {"workclass", "occupation", "native_country"}
    assert set(people.columns[people.isna().any()]) == gaps
    assert people["income"].isin([0, 1]).all()
    assert people["income"].mean() == pytest.approx(0.2408, abs=0.03)
    assert people["age"].between(17, 90).all()
    assert people["hours_per_week"].between(1, 99).all()
    # Both parts have each sex and race, and people on either side of $50,000.
    assert people.groupby(["part", "sex"])["income"].sum().min() > 50
    assert people.groupby(["part", "race"]).size().min() > 10


def test_the_stand_in_for_the_housing_data(tmp_path, monkeypatch):
    monkeypatch.delenv("WORKSHOP_MIRROR", raising=False)
    housing = fetch_housing(tmp_path)
    assert not housing.is_real
    assert (len(housing.train), len(housing.test)) == (7_500, 2_500)
    assert (housing.frame.dtypes == "float64").all()
    assert not housing.frame.isna().any(axis=None)
    for column, limits in load("tools/make_housing_standin.py").LIMITS.items():
        assert housing.frame[column].between(*limits).all(), column


@pytest.mark.parametrize("name", STANDINS)
def test_the_data_sheet_describes_the_data(name):
    sheet = (datasets.DATA / "README.md").read_text("utf-8")
    file, dataset, columns, _ = STANDINS[name]
    content = file.read_bytes().replace(b"\r\n", b"\n")  # git on Windows
    facts = [hashlib.sha256(content).hexdigest(), f"{len(content):,} bytes"]
    facts += [fact for m in dataset.members for fact in (f"{m.size:,}", m.sha256)]
    facts += [f"| `{column}` |" for column in columns]
    assert [fact for fact in facts if fact not in sheet] == []


# The real data


@pytest.fixture
def real(tmp_path):
    """Gets real data by name, or skips."""

    def get(name):
        data = STANDINS[name][-1](tmp_path)
        if not data.is_real:
            pytest.skip(f"needs the real {name} data in the folder or URL of WORKSHOP_MIRROR")
        return data

    return get


def test_the_real_census_and_its_stand_in(real):
    """UCI's numbers. The stand-in is what its script makes from them, and is good enough."""
    census = real("census")
    assert (len(census.train), len(census.test)) == (32_561, 16_281)
    assert census.train["income"].mean() == pytest.approx(0.2408, abs=0.00005)
    gaps = {"workclass": 1_836, "occupation": 1_843, "native_country": 583}
    assert census.train.isna().sum()[lambda n: n > 0].to_dict() == gaps
    assert (len(census.train.dropna()), len(census.test.dropna())) == (30_162, 15_060)

    made = load("tools/make_standin.py").make_standin(census.train)
    text = made.to_csv(index=False, na_rep="?", lineterminator="\n")
    assert text.splitlines() == datasets.CENSUS_STANDIN.read_text("utf-8").splitlines()
    quality = load("tools/standin_quality.py")
    train = made[made["part"] == "train"]
    for name, target in quality.STANDIN_TARGETS.items():
        assert quality.measure(name, train, census.test)["roc_auc"] >= target
    everyone = pd.concat([census.train, census.test])
    assert quality.equal_people(made, everyone, list(CENSUS_COLUMNS)) == 0


def test_the_real_housing_data_equals_scikit_learn_s(real, tmp_path):
    """scikit-learn makes its frame from the same file, in its cache."""
    housing = real("housing")
    content = (tmp_path / "cal_housing.data").read_bytes()
    table = np.loadtxt(io.BytesIO(content), delimiter=",")
    joblib.dump(table[:, [8, 7, 2, 3, 4, 5, 6, 1, 0]], tmp_path / "cal_housing_py3.pkz")
    how = {"data_home": tmp_path, "download_if_missing": False, "as_frame": True}
    theirs = fetch_california_housing(**how).frame
    ours = housing.frame.assign(price=housing.frame["price"] / 100_000)
    assert ours.set_axis(theirs.columns, axis=1).equals(theirs)


@pytest.mark.slow
def test_the_real_housing_data_and_its_stand_in(real):
    """The data sheet's numbers. The stand-in is good enough, and copies no district."""
    housing, kept = real("housing"), read("housing")
    assert (len(housing.train), len(housing.test)) == (15_480, 5_160)
    quality = load("tools/standin_quality.py")
    for name, reference in quality.HOUSING_REAL_TARGETS.items():
        score = quality.measure_housing(name, housing.train, housing.test)
        assert score["r2"] == pytest.approx(reference["r2"], abs=0.005)
        assert score["mae"] == pytest.approx(reference["mae"], rel=0.01)
    train = kept[kept["part"] == "train"]
    score = quality.measure_housing("boosted trees", train, housing.test)
    assert score["r2"] >= quality.HOUSING_STANDIN_TARGETS["boosted trees"]
    script = load("tools/make_housing_standin.py")
    assert not script.equals_some(kept[list(HOUSING_COLUMNS)], housing.frame).any()
    near = script.kilometres_to_nearest(kept[list(HOUSING_COLUMNS)], housing.train)
    assert near.max() <= script.NEAR + 1  # coordinates are rounded after the draw
