"""`workshop.core.datasets`: real data first, always something, and never half of it.

Small data sets of the same shape are fetched from real web servers on 127.0.0.1. `test_data.py` has
the real data, and the tables that come with the repository.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest
from mirror_support import Server, http
from sklearn.model_selection import train_test_split

from workshop.core import datasets, fetch
from workshop.core.datasets import Member, fetch_census, fetch_housing
from workshop.setup import mirror
from workshop.setup.process import ROOT

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


PEOPLE = tuple(member(name, content) for name, content in FILES.items())


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


GOOD = zipped()
HOUSES = tarred("CaliforniaHousing/cal_housing.data", DISTRICTS)
NOBODY = "http://127.0.0.1:9"  # listens there
HTML = b"<!doctype html><title>Welcome to the hotel</title><p>Please accept our terms."


def change(monkeypatch, name, **changes):
    """Put a changed data set in the place of the real one."""
    monkeypatch.setattr(datasets, name, dataclasses.replace(REAL[name], **changes))


@pytest.fixture(autouse=True)
def small_data(monkeypatch):
    """Five people and four districts, whose sources can't be reached, and no settings."""
    monkeypatch.setattr(mirror, "MARKER", "kit-of-the-tests.json")  # these tests may run in a kit
    for name in ("WORKSHOP_MIRROR", "WORKSHOP_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    change(monkeypatch, "CENSUS", members=PEOPLE, url=NOBODY)
    change(monkeypatch, "HOUSING", members=(member("cal_housing.data", DISTRICTS),), url=NOBODY)


@pytest.fixture
def home(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


@pytest.fixture
def use(monkeypatch):
    """Sets WORKSHOP_MIRROR to a folder or URL."""
    return lambda place: monkeypatch.setenv("WORKSHOP_MIRROR", str(place))


@pytest.fixture
def server():
    with Server() as running:
        threading.Thread(target=running.serve_forever, args=[0.01]).start()
        yield running
        running.over.set()
        running.shutdown()


# What is checked


def assert_real(census, home):
    """The five people are there, and their files are kept, alone and whole."""
    assert census.is_real
    assert (len(census.train), len(census.test)) == (2, 3)
    assert {path.name: path.read_bytes() for path in home.iterdir()} == FILES


def assert_standin(census, home):
    """The stand-in is there, and nothing was left behind."""
    assert not census.is_real
    assert (len(census.train), len(census.test)) == (7_000, 3_000)
    assert "people who don't exist" in census.source
    assert list(home.iterdir()) == []


def sentence_of(capsys):
    """The one sentence on stderr; only a line for each server may come before it."""
    out, err = capsys.readouterr()
    *servers, sentence = err.splitlines()
    assert out == ""
    assert all(line.startswith("Asking ") for line in servers)
    assert sentence.startswith(("Census data: ", "Housing data: "))
    assert sentence.endswith(".")
    return sentence


# What comes back


def test_frames_from_kept_files(home, capsys):
    for name, content in FILES.items():
        (home / name).write_bytes(content)
    census = fetch_census(home)
    assert_real(census, home)
    columns = datasets.CENSUS_COLUMNS
    assert tuple(census.train.columns) == tuple(census.test.columns) == columns
    assert census.train["income"].tolist() == [0, 1]
    assert census.test["income"].tolist() == [0, 1, 0]
    assert census.test["age"].tolist() == [25, 44, 61]
    assert census.train["workclass"].isna().tolist() == [False, True]
    assert census.train.isna().sum().sum() == 3
    assert "UCI" in census.source
    assert (census.origin, census.note) == (str(home), "")
    assert capsys.readouterr() == ("", "")


def test_housing_frames(home, capsys):
    (home / "cal_housing.data").write_bytes(DISTRICTS)
    housing = fetch_housing(home)
    assert housing.is_real
    assert tuple(housing.frame.columns) == datasets.HOUSING_COLUMNS
    ratios = [840 / 120, 121 / 120, 333, 333 / 120]
    assert housing.frame.loc[0].tolist() == [8.1252, 42, *ratios, 37.48, -121.93, 451_600]
    train, test = train_test_split(housing.frame, random_state=0)
    assert housing.train.equals(train.reset_index(drop=True))
    assert housing.test.equals(test.reset_index(drop=True))
    assert "Pace and Barry" in housing.source
    assert capsys.readouterr() == ("", "")


def test_importing_the_module_is_cheap():
    code = "import sys, workshop.core.datasets; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True).split()
    assert "workshop.core.datasets" in loaded
    assert not {"pandas", "sklearn", "requests", "numpy", "pooch"} & set(loaded)


@pytest.mark.parametrize("content", [TRAIN[:-1], TRAIN + b"\n", TRAIN.upper(), b""])
def test_a_damaged_kept_file_is_replaced(home, tmp_path, use, capsys, content):
    (home / "adult.data").write_bytes(content)
    (home / "adult.test").write_bytes(TEST)
    (tmp_path / "adult.zip").write_bytes(GOOD)
    use(tmp_path)
    assert_real(fetch_census(home), home)
    sentence = sentence_of(capsys)
    assert "adult.data" in sentence
    assert sentence.endswith(f"so you get {tmp_path / 'adult.zip'}.")


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


def test_a_relative_mirror_counts_from_here_or_from_the_repository(
    home, tmp_path, use, monkeypatch
):
    (tmp_path / "stick").mkdir()
    (tmp_path / "stick" / "adult.zip").write_bytes(GOOD)
    monkeypatch.chdir(tmp_path)
    use("stick")
    assert fetch_census(home).is_real
    monkeypatch.chdir(home)
    monkeypatch.setattr(mirror, "ROOT", tmp_path / "repository")
    use("../stick")
    assert fetch_census(tmp_path / "other").is_real


@pytest.mark.parametrize("archive", [GOOD, None, GOOD[:-30]], ids=["whole", "none", "damaged"])
def test_the_kit_around_the_repository_is_a_mirror(home, tmp_path, monkeypatch, capsys, archive):
    kit = tmp_path / "kit"
    monkeypatch.setattr(mirror, "ROOT", kit / "from-notebook-to-web-app")
    (kit / "adult").mkdir(parents=True)
    (kit / mirror.MARKER).touch()
    if archive:
        (kit / "adult" / "adult.zip").write_bytes(archive)
    census = fetch_census(home)
    if archive is GOOD:
        assert_real(census, home)
        assert census.note == ""
    else:  # a kit that never had the data isn't worth a word
        assert_standin(census, home)
        damage = "the kit can't be used (its adult.zip is damaged or cut short)"
        assert (damage in sentence_of(capsys)) == (archive is not None)


# A web server as the mirror, or as the source


@pytest.mark.parametrize("path", ["/adult.zip", "/adult/adult.zip"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_mirror_url(home, server, use, monkeypatch, capsys, path, slash):
    monkeypatch.setenv("WORKSHOP_OFFLINE", "1")  # means the internet, not the mirror
    server.give(http(GOOD), path=path)
    use(server.url + slash)
    census = fetch_census(home)
    assert_real(census, home)
    assert (census.origin, census.note) == (server.url + path, "")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [f"Asking {server.url + slash} for the census data"]


OK = b"HTTP/1.1 200 OK\r\n"
IN_PIECES = [b"%x\r\n%s\r\n" % (len(GOOD[i : i + 7]), GOOD[i : i + 7]) for i in range(0, 9999, 7)]
BROKEN_OFF = http(GOOD[:200], length=len(GOOD))
GOOD_ANSWERS = {
    "chunked": [OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(IN_PIECES)],
    "length unknown": [OK + b"\r\n" + GOOD],
    "redirected": [http(b"", 302, ["Location: /elsewhere"])],
    "broken off, then whole": [BROKEN_OFF, http(GOOD)],
}


@pytest.mark.parametrize("answers", GOOD_ANSWERS.values(), ids=GOOD_ANSWERS)
def test_a_server_that_gives_the_data_in_its_own_way(home, server, use, answers):
    server.give(*answers)
    server.give(http(GOOD), path="/elsewhere")
    use(server.url)
    assert_real(fetch_census(home), home)


BAD_ARCHIVES = {
    "empty": (b"", "damaged or cut short"),
    "a web page": (b"\xef\xbb\xbf\n" + HTML, "its adult.zip is a web page"),
    "cut short": (GOOD[:-1], "damaged or cut short"),
    "wrong content": (zipped(test=TEST.upper()), "the SHA-256 of adult.test is wrong"),
    "too short": (zipped(data=TRAIN[:-1]), f"adult.data isn't {len(TRAIN)} bytes long"),
    "too long": (zipped(data=b"0" * 50_000_000), f"adult.data isn't {len(TRAIN)} bytes long"),
    "no such member": (tarred("adult.test", TEST), "adult.data is missing"),
}
BAD_ANSWERS = {
    **{name: (http(archive), reason) for name, (archive, reason) in BAD_ARCHIVES.items()},
    "broken off": (BROKEN_OFF, "it broke off the download"),
    "broken off, length unknown": (OK + b"\r\n" + GOOD[:200], "damaged or cut short"),
    "500": (http(HTML, 500), "it answered with status 500"),
    "endless redirects": (http(b"", 302, ["Location: /adult.zip"]), "answered with status 302"),
    "endless": ((OK + b"\r\n", *[b"PK" * 50_000] * 9_999), "it sent more than 10 MB"),
    "dripping headers": ((OK + b"X-Slow: ", *(0.02, b"z") * 9_999), "it took too long"),
    "dripping body": ((OK + b"\r\nPK", *(0.02, b"z") * 9_999), "it took too long"),
    "slow": ((OK + b"\r\nPK", *(0.1, b"z" * 20_000) * 99), "it took too long"),
    "silent before the body": ((60,), "it took too long"),
    "silent in the body": ((BROKEN_OFF, 60), "it took too long"),
}


CASES = [(as_, name) for as_ in ("mirror", "source") for name in BAD_ANSWERS]
CASES += [("folder", name) for name in BAD_ARCHIVES]


@pytest.mark.parametrize(("as_", "name"), CASES)
def test_a_place_that_misbehaves(home, tmp_path, server, use, monkeypatch, capsys, as_, name):
    answer, reason = BAD_ANSWERS[name]
    server.give(answer)
    if as_ == "source":
        change(monkeypatch, "CENSUS", members=PEOPLE, url=f"{server.url}/adult.zip")
    elif as_ == "mirror":
        use(server.url)
    else:
        (tmp_path / "adult.zip").write_bytes(BAD_ARCHIVES[name][0])
        use(tmp_path)
    census = fetch_census(home, timeout=0.4 if "too long" in reason else 30)
    assert_standin(census, home)
    sentence = sentence_of(capsys)
    assert f"{'127.0.0.1' if as_ == 'source' else 'WORKSHOP_MIRROR'} can't be used (" in sentence
    assert reason in sentence
    assert "you get data/census_standin.csv, 10,000 people who don't exist" in sentence
    assert census.note == sentence


@pytest.mark.parametrize("name", ["silent before the body", "silent in the body"])
def test_a_silence_ends_before_the_time_limit(home, server, use, monkeypatch, name):
    server.give(BAD_ANSWERS[name][0])
    monkeypatch.setattr(fetch, "PATIENCE", (5.0, 0.2))
    use(server.url)
    start = time.monotonic()
    assert "WORKSHOP_MIRROR can't be used (it took too long)" in fetch_census(home).note
    assert time.monotonic() - start < 10


def test_a_process_can_end_while_a_server_goes_on(home, server):
    server.give(BAD_ANSWERS["dripping headers"][0])
    run = fetch_in_a_process(home, server.url)
    assert run.stdout == "False 7000 3000\n", run.stderr


NOWHERE = {
    "{folder}": "there is no adult.zip in {folder}",
    "{folder}/gone": "there is no folder {folder}/gone",
    "{server}": "there is no adult.zip in {server}",
    "HTTP://127.0.0.1:9/": "it can't be reached",
    "http://no-such-host.invalid": "it can't be reached",
    "http://[::1": "it isn't a valid address",
    "http://": "asking it failed: InvalidURL",
}


@pytest.mark.parametrize("place", NOWHERE)
def test_a_mirror_without_the_data(home, tmp_path, server, use, capsys, place):
    names = {"folder": tmp_path, "server": server.url}
    use(place.format(**names))
    assert_standin(fetch_census(home), home)
    reason = NOWHERE[place].format(**names)
    assert f"WORKSHOP_MIRROR can't be used ({reason})" in sentence_of(capsys)


def test_a_mirror_in_the_room_is_asked_past_the_proxy(home, server, use, monkeypatch):
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "")
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, NOBODY)
    server.give(http(GOOD))
    use(server.url)
    assert_real(fetch_census(home), home)


def test_a_password_in_the_mirror_is_not_shown(home, server, use, capsys):
    server.give(http(GOOD))
    (home / "adult.data").write_bytes(b"damaged, so that there is a sentence")
    use(server.url.replace("//", "//me:open-sesame@"))
    census = fetch_census(home)
    assert_real(census, home)
    assert "open-sesame" not in "".join(capsys.readouterr()) + census.origin + census.note


@pytest.mark.parametrize("offline", ["0", "1"])
def test_if_the_mirror_fails_the_source_is_used(
    home, tmp_path, server, use, monkeypatch, capsys, offline
):
    server.give(http(GOOD))
    change(monkeypatch, "CENSUS", members=PEOPLE, url=f"{server.url}/adult.zip")
    use(tmp_path / "gone")
    monkeypatch.setenv("WORKSHOP_OFFLINE", offline)
    census = fetch_census(home)
    sentence = sentence_of(capsys)
    assert "WORKSHOP_MIRROR can't be used" in sentence
    if offline == "0":
        assert_real(census, home)
        assert sentence.endswith(f"so you get {server.url}/adult.zip.")
    else:
        assert_standin(census, home)
        assert "127.0.0.1 can't be used (WORKSHOP_OFFLINE is set), so you get data/" in sentence
        assert server.asked == []


@pytest.mark.parametrize("answers", [[HOUSES], [b"something else", HOUSES], [HTML, HTML]])
def test_housing_from_the_archive_that_scikit_learn_gets(
    home, server, monkeypatch, capsys, answers
):
    """It counts only with the right hash; a wrong one is worth another try."""
    server.give(*map(http, answers), path="/5976036")
    change(
        monkeypatch,
        "HOUSING",
        members=(member("cal_housing.data", DISTRICTS),),
        url=f"{server.url}/5976036",
        sha256=hashlib.sha256(HOUSES).hexdigest(),
    )
    housing = fetch_housing(home)
    assert len(server.asked) == len(answers)
    if HOUSES in answers:
        assert housing.frame["price"].tolist() == [451_600, 351_100, 500_001, 79_200]
        assert [path.read_bytes() for path in home.iterdir()] == [DISTRICTS]
        assert housing.note == ""
    else:
        assert not housing.is_real
        assert "127.0.0.1 can't be used (the SHA-256 of its archive is wrong)" in housing.note
        assert list(home.iterdir()) == []


# Keeping the files


def fetch_in_a_process(home, place, first=""):
    """Fetch the five people into `home` in a process of its own, which runs the code `first` before."""
    members = [dataclasses.astuple(m) for m in PEOPLE]
    code = f"""{first}
from workshop.core import datasets
members = tuple(datasets.Member(*member) for member in {members!r})
datasets.CENSUS = datasets.RemoteData("Census data", "adult.zip", "adult", members)
census = datasets.fetch_census({str(home)!r}, timeout=3)
print(census.is_real, len(census.train), len(census.test))
"""
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {"WORKSHOP_MIRROR": str(place)},
        capture_output=True,
        text=True,
        timeout=60,
    )


FULL = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits files as Linux does")
@pytest.mark.parametrize("by", ["folder", "url"])
def test_a_full_disk_is_a_sentence(home, tmp_path, server, by):
    """The system itself refuses to let a file grow beyond 100 bytes."""
    server.give(http(GOOD))
    (tmp_path / "adult.zip").write_bytes(GOOD)
    run = fetch_in_a_process(home, tmp_path if by == "folder" else server.url, FULL)
    real, said = "True 2 3\n", f"Census data: the files can't be kept in {home} ("
    if by == "url":  # not even the download has room
        real, said = "False 7000 3000\n", "WORKSHOP_MIRROR can't be used (there is no room for"
    assert run.stdout == real, run.stderr
    assert said in run.stderr
    assert "Traceback" not in run.stderr
    assert list(home.iterdir()) == []


def test_a_data_folder_is_made_or_can_not_be_made(tmp_path, use, capsys):
    (tmp_path / "adult.zip").write_bytes(GOOD)
    use(tmp_path)
    assert_real(fetch_census(tmp_path / "new" / "data"), tmp_path / "new" / "data")
    assert fetch_census(tmp_path / "adult.zip" / "data").is_real  # a file where a folder should be
    assert "can't be kept in" in sentence_of(capsys)


def test_several_at_once_from_a_slow_mirror(home, server, use):
    """None gets the rest of the archive before all have its beginning."""
    everybody = threading.Barrier(4, timeout=60)
    server.give((http(GOOD)[:150], everybody.wait, http(GOOD)[150:]))
    use(server.url)
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(datasets.fetch_files, datasets.CENSUS, home) for _ in range(4)]
    found = [call.result().files for call in calls]
    assert found == [FILES] * 4
    assert {path.name: path.read_bytes() for path in home.iterdir()} == FILES
