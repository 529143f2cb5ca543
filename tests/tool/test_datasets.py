"""`fetch_census` and `fetch_housing`: the real data if possible, always some data, and never half a file.

Small data sets of the same shape come from real web servers on 127.0.0.1. `test_data.py` tests the
real data, and the tables that come with the repository.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import tarfile
import zipfile

import pytest
from mirror_support import Server, http
from sklearn.model_selection import train_test_split

from workshop.core import datasets
from workshop.core.datasets import Member, fetch_census, fetch_housing
from workshop.setup import mirror

REAL = {"CENSUS": datasets.CENSUS, "HOUSING": datasets.HOUSING}

TRAIN = b"""\
39, State-gov, 77, Bachelors, 13, Never-married, Sales, Wife, White, Male, 2174, 0, 40, Cuba, <=50K
50, ?, 83, HS-grad, 9, Divorced, ?, Husband, Black, Female, 0, 1902, 13, ?, >50K

"""
TEST = b"""\
|1x3 Cross validator
25, Private, 226, 11th, 7, Never-married, Sales, Own-child, Black, Male, 0, 0, 40, Cuba, <=50K.
44, Private, 160, Masters, 14, Divorced, ?, Husband, Other, Male, 7688, 0, 45, Hong, >50K.
61, Local-gov, 99, 9th, 5, Widowed, Sales, Unmarried, White, Female, 0, 0, 20, Iran, <=50K.

"""
FILES = {"adult.data": TRAIN, "adult.test": TEST}
DISTRICTS = b"""\
-121.930000,37.480000,42.000000,840.000000,121.000000,333.000000,120.000000,8.125200,451600.000000
-121.940000,37.450000,51.000000,1443.000000,186.000000,480.000000,171.000000,7.157400,351100.000000
-118.500000,34.040000,52.000000,2233.000000,317.000000,769.000000,277.000000,8.394600,500001.000000
-117.070000,32.660000,17.000000,2171.000000,567.000000,1299.000000,526.000000,1.965100,79200.000000
"""


def member(name, content):
    return Member(name, len(content), hashlib.sha256(content).hexdigest())


def zipped(**changes):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in FILES.items():
            archive.writestr(name, changes.get(name[-4:], content))
    return buffer.getvalue()


def tarred(name, content):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


PEOPLE = tuple(member(name, content) for name, content in FILES.items())
GOOD = zipped()
HOUSES = tarred("CaliforniaHousing/cal_housing.data", DISTRICTS)
NOBODY = "http://127.0.0.1:9"  # listens there
HTML = b"<!doctype html><title>Welcome to the hotel</title><p>Please accept our terms."
OK = b"HTTP/1.1 200 OK\r\n"
BROKEN_OFF = http(GOOD[:200], length=len(GOOD))


def change(monkeypatch, name, **changes):
    """Replace the real data set by a changed one."""
    monkeypatch.setattr(datasets, name, dataclasses.replace(REAL[name], **changes))


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A folder for five people and four districts, whose sources can't be reached, and no settings."""
    monkeypatch.setattr(mirror, "MARKER", "kit-of-the-tests.json")  # these tests may run in a kit
    for name in ("WORKSHOP_MIRROR", "WORKSHOP_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    change(monkeypatch, "CENSUS", members=PEOPLE, url=NOBODY)
    change(monkeypatch, "HOUSING", members=(member("cal_housing.data", DISTRICTS),), url=NOBODY)
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def use(monkeypatch):
    """Sets WORKSHOP_MIRROR to a folder or URL."""
    return lambda place: monkeypatch.setenv("WORKSHOP_MIRROR", str(place))


@pytest.fixture
def server():
    with Server() as running:
        yield running


def assert_real(census, home):
    """Check that the five people are there, and that only their files are kept, complete."""
    assert census.is_real, census.note
    assert (len(census.train), len(census.test)) == (2, 3)
    assert {path.name: path.read_bytes() for path in home.iterdir()} == FILES


def assert_standin(census, home, *words):
    """Check for the stand-in, with a one-line note that says why, and nothing left behind."""
    assert not census.is_real
    assert (len(census.train), len(census.test)) == (7_000, 3_000)
    assert all(word in census.note for word in (*words, "data/census_standin.csv")), census.note
    assert "\n" not in census.note
    assert list(home.iterdir()) == []


def test_frames_from_kept_files(home, capsys):
    for name, content in FILES.items():
        (home / name).write_bytes(content)
    census = fetch_census(home)
    assert_real(census, home)
    assert tuple(census.train.columns) == tuple(census.test.columns) == datasets.CENSUS_COLUMNS
    assert census.train["income"].tolist() == [0, 1]
    assert census.test["income"].tolist() == [0, 1, 0]
    assert census.test["age"].tolist() == [25, 44, 61]
    assert census.train["workclass"].isna().tolist() == [False, True]
    assert (census.origin, census.note) == (str(home), "")

    (home / "cal_housing.data").write_bytes(DISTRICTS)
    housing = fetch_housing(home)
    assert housing.is_real
    ratios = [840 / 120, 121 / 120, 333, 333 / 120]
    assert housing.frame.loc[0].tolist() == [8.1252, 42, *ratios, 37.48, -121.93, 451_600]
    train, test = train_test_split(housing.frame, random_state=0)
    assert housing.train.equals(train.reset_index(drop=True))
    assert housing.test.equals(test.reset_index(drop=True))
    assert capsys.readouterr() == ("", "")


# A folder as the mirror


@pytest.mark.parametrize("below", ["", "adult"])
def test_mirror_folder(home, tmp_path, use, monkeypatch, capsys, below):
    archive = tmp_path / "usb stick" / below / "adult.zip"
    archive.parent.mkdir(parents=True)
    archive.write_bytes(GOOD)
    use(f'"{tmp_path / "usb stick"}"')
    census = fetch_census(home)
    assert_real(census, home)
    assert census.origin == str(archive)
    monkeypatch.delenv("WORKSHOP_MIRROR")  # the stick is out, the files have been kept
    assert_real(fetch_census(home), home)
    assert capsys.readouterr() == ("", "")
    monkeypatch.chdir(archive.parent)
    use("../adult" if below else "../usb stick")
    assert fetch_census(tmp_path / "new" / "data").is_real


@pytest.mark.parametrize("archive", [GOOD, None, GOOD[:-30]], ids=["whole", "none", "damaged"])
def test_the_kit_around_the_repository_is_a_mirror(home, tmp_path, monkeypatch, archive):
    monkeypatch.setattr(mirror, "ROOT", tmp_path / "from-notebook-to-web-app")
    (tmp_path / mirror.MARKER).touch()
    if archive:
        (tmp_path / "adult.zip").write_bytes(archive)
    census = fetch_census(home)
    if archive is GOOD:
        assert_real(census, home)
    else:  # a kit without the data isn't worth mentioning
        assert_standin(census, home)
        assert ("adult.zip" in census.note) == (archive is not None)


# A web server as the mirror, or as the source


@pytest.mark.parametrize(("path", "end"), [("/adult.zip", ""), ("/adult/adult.zip", "/")])
def test_mirror_url(home, server, use, monkeypatch, capsys, path, end):
    """The second answer is whole; a proxy isn't used for a mirror in the room."""
    monkeypatch.setenv("WORKSHOP_OFFLINE", "1")  # means the internet, not the mirror
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("http_proxy", NOBODY)
    server.give(BROKEN_OFF, http(GOOD), path=path)
    (home / "adult.data").write_bytes(b"damaged, so that there is a sentence")
    use(server.url.replace("//", "//me:open-sesame@") + end)
    census = fetch_census(home)
    assert_real(census, home)
    assert census.origin == server.url + path
    told = capsys.readouterr().err
    assert "adult.data" in told and server.url + path in told
    assert "open-sesame" not in told + census.note


BAD = {  # what a server sends, and a word of the note
    "a web page": (http(b"\xef\xbb\xbf\n" + HTML), "web page"),
    "cut short": (http(GOOD[:-1]), "adult.zip"),
    "wrong content": (http(zipped(test=TEST.upper())), "SHA-256"),
    "too long": (http(zipped(data=b"0" * 50_000_000)), f"{len(TRAIN)} bytes"),
    "no such member": (http(tarred("adult.test", TEST)), "adult.data"),
    "nothing": (http(b"", 404), "127.0.0.1"),
    "broken off": (BROKEN_OFF, ""),
    "500": (http(HTML, 500), "500"),
    "endless": ((OK + b"\r\n", *[b"PK" * 50_000] * 9_999), "10 MB"),
    "slow": ((OK + b"\r\n", *(0.1, b"PK" * 1_000) * 40), "too long"),
    "silent": ((BROKEN_OFF, 60), "too long"),
}
# The source shares its code with the mirror, so one case shows that it is called.
CASES = [*(("mirror", name) for name in BAD), ("source", "a web page")]


@pytest.mark.parametrize(("place", "name"), CASES)
def test_a_place_that_misbehaves(home, server, use, monkeypatch, place, name):
    content, word = BAD[name]
    server.give(content)
    if place == "source":
        change(monkeypatch, "CENSUS", members=PEOPLE, url=f"{server.url}/adult.zip")
    else:
        use(server.url)
    census = fetch_census(home, timeout=0.4 if word == "too long" else 30)
    assert_standin(census, home, "127.0.0.1" if place == "source" else "WORKSHOP_MIRROR", word)


def test_if_the_mirror_fails_the_source_is_used(home, server, use, monkeypatch):
    server.give(http(GOOD))
    change(monkeypatch, "CENSUS", members=PEOPLE, url=f"{server.url}/adult.zip")
    use("gone")
    monkeypatch.setenv("WORKSHOP_OFFLINE", "1")
    assert_standin(fetch_census(home), home, "WORKSHOP_MIRROR", "gone", "WORKSHOP_OFFLINE")
    assert server.asked == []
    monkeypatch.setenv("WORKSHOP_OFFLINE", "0")
    census = fetch_census(home)
    assert_real(census, home)
    assert "WORKSHOP_MIRROR" in census.note and f"{server.url}/adult.zip" in census.note


def test_housing_from_the_archive_that_scikit_learn_gets(home, server, monkeypatch):
    """Only an archive with the right hash is used; after a wrong one there is another try."""
    one = (member("cal_housing.data", DISTRICTS),)
    digest = hashlib.sha256(HOUSES).hexdigest()
    change(monkeypatch, "HOUSING", members=one, url=f"{server.url}/5976036", sha256=digest)
    server.give(http(HTML), path="/5976036")
    assert "SHA-256" in fetch_housing(home).note
    assert list(home.iterdir()) == []
    server.give(http(b"something else"), http(HOUSES), path="/5976036")
    housing = fetch_housing(home)
    assert housing.is_real
    assert housing.frame["price"].tolist() == [451_600, 351_100, 500_001, 79_200]
