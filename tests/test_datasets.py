"""`workshop.core.datasets`: real data first, always something, and never half of it.

The fetching is tested with small data sets of the same shape, served by real web servers on
127.0.0.1. The stand-ins and the real data are in `test_standins.py`.
"""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import io
import os
import socket
import subprocess
import sys
import tarfile
import threading
import time
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from disk_support import NO_DISK, can_make_a_disk, run_on_small_disk
from sklearn.datasets import _california_housing as sklearn_housing
from sklearn.model_selection import train_test_split

from workshop.core import datasets, fetch
from workshop.core.datasets import (
    CENSUS_COLUMNS,
    HOUSING_COLUMNS,
    DataUnavailableError,
    Member,
    fetch_census,
    fetch_files,
    fetch_housing,
)
from workshop.setup import mirror
from workshop.setup.process import ROOT

REAL_CENSUS = datasets.CENSUS
REAL_HOUSING = datasets.HOUSING
REAL_IRIS = (datasets.DATA / "iris.csv").read_bytes().replace(b"\r\n", b"\n")

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


def member(name: str, content: bytes) -> Member:
    return Member(name, len(content), hashlib.sha256(content).hexdigest())


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tarred(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


GOOD = zipped(FILES)
HOUSES = tarred("CaliforniaHousing/cal_housing.data", DISTRICTS)
HTML = b"<!doctype html><title>Welcome to the hotel</title><p>Please accept our terms."


def closed_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@pytest.fixture(autouse=True)
def small_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five people and four districts, whose sources can't be reached, and no settings."""
    monkeypatch.setattr(mirror, "MARKER", "kit-of-the-tests.json")  # these tests may run in a kit
    for name in ("WORKSHOP_MIRROR", "WORKSHOP_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    people = tuple(member(name, content) for name, content in FILES.items())
    nowhere = f"http://127.0.0.1:{closed_port()}/some.zip"
    census = dataclasses.replace(REAL_CENSUS, members=people, url=nowhere)
    districts = (member("cal_housing.data", DISTRICTS),)
    housing = dataclasses.replace(REAL_HOUSING, members=districts, url=nowhere)
    monkeypatch.setattr(datasets, "CENSUS", census)
    monkeypatch.setattr(datasets, "HOUSING", housing)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[object], None]:
    """Sets WORKSHOP_MIRROR to a folder or URL."""
    return lambda place: monkeypatch.setenv("WORKSHOP_MIRROR", str(place))


def use_as_source(name: str, url: str, monkeypatch: pytest.MonkeyPatch, **changes: str) -> None:
    dataset = dataclasses.replace(getattr(datasets, name), url=url, **changes)
    monkeypatch.setattr(datasets, name, dataset)


# Servers

Answer = Callable[[BaseHTTPRequestHandler, threading.Event], None]


class Server:
    """A web server on 127.0.0.1 that gives each path the answers it was told, the last one for good."""

    def __init__(self) -> None:
        self.answers: dict[str, list[Answer]] = {}
        self.asked: list[str] = []
        self.over = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                answers = outer.answers.get(self.path)
                if not answers:
                    self.send_error(404)
                else:
                    (answers.pop(0) if len(answers) > 1 else answers[0])(self, outer.over)

            def log_message(self, format: str, *args: object) -> None:
                """Keep the tests' output free of a line per request."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.http.handle_error = lambda request, address: None  # clients that hang up are expected
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def give(self, *answers: Answer, path: str = "/adult.zip") -> None:
        self.answers[path] = list(answers)


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    thread = threading.Thread(target=running.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield running
    running.over.set()
    running.http.shutdown()
    running.http.server_close()
    thread.join()


def body(content: bytes, status: int = 200, length: int | None = None) -> Answer:
    """Answer with `content`, and claim that it is `length` bytes long (-1: say nothing)."""

    def answer(handler: BaseHTTPRequestHandler, over: threading.Event) -> None:
        handler.send_response(status)
        if length != -1:
            handler.send_header("Content-Length", str(len(content) if length is None else length))
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def chunked(handler: BaseHTTPRequestHandler, over: threading.Event) -> None:
    """Many small pieces, and no word of how much it will be."""
    handler.protocol_version = "HTTP/1.1"
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.send_header("Connection", "close")
    handler.end_headers()
    for start in range(0, len(GOOD), 7):
        piece = GOOD[start : start + 7]
        handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
    handler.wfile.write(b"0\r\n\r\n")


def silent_in_body(handler: BaseHTTPRequestHandler, over: threading.Event) -> None:
    body(GOOD[:100], length=len(GOOD))(handler, over)
    handler.wfile.flush()
    over.wait()


def dripping(start: bytes, drop: bytes, seconds: float) -> Answer:
    """Never silent for long and never finished, so no time-out of a socket notices."""

    def answer(handler: BaseHTTPRequestHandler, over: threading.Event) -> None:
        handler.wfile.write(start)
        while not over.wait(seconds):
            handler.wfile.write(drop)

    return answer


def redirect(to: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler, over: threading.Event) -> None:
        handler.send_response(302)
        handler.send_header("Location", to)
        handler.end_headers()

    return answer


OK = b"HTTP/1.0 200 OK\r\n"
BROKEN_OFF = body(GOOD[:200], length=len(GOOD))

# What is checked, and how the sentence goes


def assert_real(census, home: Path) -> None:
    """The five people are there, and their files are kept, alone and whole."""
    assert census.is_real
    assert (len(census.train), len(census.test)) == (2, 3)
    assert {path.name: path.read_bytes() for path in home.iterdir()} == FILES


def assert_standin(census, home: Path) -> None:
    """The stand-in is there, and nothing was left behind."""
    assert not census.is_real
    assert len(census.train) + len(census.test) == 10_000
    assert "people who don't exist" in census.source
    assert list(home.iterdir()) == []


def sentence_of(capsys: pytest.CaptureFixture[str]) -> str:
    """The one sentence on stderr; only a line for each download may come before it."""
    out, err = capsys.readouterr()
    assert out == ""
    *downloads, sentence = err.splitlines()
    assert all(line.startswith("Downloading ") for line in downloads)
    assert sentence.startswith(("Census data: ", "Housing data: "))
    assert sentence.endswith(".")
    return sentence


# What comes back


def test_frames_from_kept_files(home: Path, capsys) -> None:
    for name, content in FILES.items():
        (home / name).write_bytes(content)
    census = fetch_census(home)
    assert_real(census, home)
    assert tuple(census.train.columns) == tuple(census.test.columns) == CENSUS_COLUMNS
    assert census.train["income"].tolist() == [0, 1]
    assert census.test["income"].tolist() == [0, 1, 0]
    assert census.test["age"].tolist() == [25, 44, 61]
    assert census.train["workclass"].isna().tolist() == [False, True]
    assert census.train.isna().sum().sum() == 3
    assert "UCI" in census.source
    assert (census.origin, census.note) == (str(home), "")
    assert capsys.readouterr() == ("", "")


def test_housing_frames(home: Path, capsys) -> None:
    (home / "cal_housing.data").write_bytes(DISTRICTS)
    housing = fetch_housing(home)
    assert housing.is_real
    assert tuple(housing.frame.columns) == HOUSING_COLUMNS
    assert housing.frame.loc[0].to_dict() == {
        "median_income": 8.1252,
        "house_age": 42,
        "average_rooms": 840 / 120,
        "average_bedrooms": 121 / 120,
        "population": 333,
        "average_occupancy": 333 / 120,
        "latitude": 37.48,
        "longitude": -121.93,
        "price": 451_600,
    }
    train, test = train_test_split(housing.frame, random_state=0)
    assert housing.train.equals(train.reset_index(drop=True))
    assert housing.test.equals(test.reset_index(drop=True))
    assert "Pace and Barry" in housing.source
    assert capsys.readouterr() == ("", "")


def test_importing_the_module_is_cheap() -> None:
    code = "import sys, workshop.core.datasets; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert "workshop.core.datasets" in run.stdout.split()
    assert not {"pandas", "sklearn", "requests", "numpy", "pooch"} & set(run.stdout.split())


def test_the_data_sets_are_the_ones_promised() -> None:
    assert REAL_CENSUS.url == "https://archive.ics.uci.edu/static/public/2/adult.zip"
    assert [(m.name, m.size, m.sha256[:8]) for m in REAL_CENSUS.members] == [
        ("adult.data", 3_974_305, "5b002646"),
        ("adult.test", 2_003_153, "a2a9044b"),
    ]
    (districts,) = REAL_HOUSING.members
    assert (districts.name, districts.sha256[:8]) == ("cal_housing.data", "a2b44dcc")
    theirs = sklearn_housing.ARCHIVE
    assert (REAL_HOUSING.url, REAL_HOUSING.sha256) == (theirs.url, theirs.checksum)


# Kept files


@pytest.mark.parametrize("content", [TRAIN[:-1], TRAIN + b"\n", TRAIN.upper(), b""])
def test_a_damaged_kept_file_is_replaced(home, tmp_path, use, capsys, content: bytes) -> None:
    (home / "adult.data").write_bytes(content)
    (home / "adult.test").write_bytes(TEST)
    (tmp_path / "adult.zip").write_bytes(GOOD)
    use(tmp_path)
    assert_real(fetch_census(home), home)
    sentence = sentence_of(capsys)
    assert "adult.data" in sentence
    assert sentence.endswith(f"so you get {tmp_path / 'adult.zip'}.")


def test_a_folder_instead_of_a_kept_file(home: Path, capsys) -> None:
    (home / "adult.data").mkdir()
    assert not fetch_census(home).is_real
    assert "adult.data can't be read" in sentence_of(capsys)


# A folder as the mirror


@pytest.mark.parametrize("below", ["", "adult"])
@pytest.mark.parametrize("quote", ["", '"'])
def test_mirror_folder(home, tmp_path, use, monkeypatch, capsys, below: str, quote: str) -> None:
    place = tmp_path / "usb stick" / below
    place.mkdir(parents=True)
    (place / "adult.zip").write_bytes(GOOD)
    use(f"{quote}{tmp_path / 'usb stick'}{quote}")
    census = fetch_census(home)
    assert_real(census, home)
    assert census.origin == str(place / "adult.zip")
    monkeypatch.delenv("WORKSHOP_MIRROR")  # the stick is out, the files have been kept
    assert_real(fetch_census(home), home)
    assert capsys.readouterr() == ("", "")


def test_a_relative_mirror_counts_from_here_or_from_the_repository(
    home: Path, tmp_path: Path, use, monkeypatch
) -> None:
    (tmp_path / "stick").mkdir()
    (tmp_path / "stick" / "adult.zip").write_bytes(GOOD)
    use("stick")
    monkeypatch.chdir(tmp_path)
    assert fetch_census(home).is_real
    monkeypatch.setattr(mirror, "ROOT", tmp_path / "repository")
    use("../stick")
    monkeypatch.chdir(home)
    assert fetch_census(tmp_path / "other").is_real


@pytest.mark.parametrize("holds", ["the data", "nothing", "damage"])
def test_the_kit_around_the_repository_is_a_mirror(
    home: Path, tmp_path: Path, monkeypatch, capsys, holds: str
) -> None:
    monkeypatch.setattr(mirror, "ROOT", tmp_path / "kit" / "from-notebook-to-web-app")
    (tmp_path / "kit" / "adult").mkdir(parents=True)
    (tmp_path / "kit" / mirror.MARKER).touch()
    if holds != "nothing":
        archive = GOOD if holds == "the data" else GOOD[:-30]
        (tmp_path / "kit" / "adult" / "adult.zip").write_bytes(archive)
    census = fetch_census(home)
    if holds == "the data":
        assert_real(census, home)
        assert capsys.readouterr() == ("", "")
        return
    assert_standin(census, home)
    damage = "the kit can't be used (its adult.zip is damaged or cut short)"
    assert (damage in sentence_of(capsys)) == (holds == "damage")


def test_a_mirror_without_the_archive(home: Path, tmp_path: Path, use, capsys) -> None:
    use(tmp_path)
    assert_standin(fetch_census(home), home)
    assert f"there is no adult.zip in {tmp_path})" in sentence_of(capsys)
    use(tmp_path / "gone")
    assert_standin(fetch_census(home), home)
    assert f"there is no folder {tmp_path / 'gone'})" in sentence_of(capsys)


def replaced(name: str, content: bytes) -> bytes:
    return zipped({**FILES, name: content})


BAD_ARCHIVES = {
    "empty": (b"", "damaged or cut short"),
    "html": (HTML, "its adult.zip is a web page"),
    "html with a byte order mark": (b"\xef\xbb\xbf\n" + HTML, "its adult.zip is a web page"),
    "cut short": (GOOD[:-1], "damaged or cut short"),
    "cut short tar": (HOUSES[:-20], "damaged or cut short"),
    "wrong content": (replaced("adult.test", TEST.upper()), "SHA-256 of adult.test is wrong"),
    "too short": (replaced("adult.data", TRAIN[:-1]), f"isn't {len(TRAIN)} bytes long"),
    "a file missing": (zipped({"adult.data": TRAIN}), "adult.test is missing"),
}


@pytest.mark.parametrize(("archive", "reason"), BAD_ARCHIVES.values(), ids=BAD_ARCHIVES)
def test_a_bad_archive(home, tmp_path, use, capsys, archive: bytes, reason: str) -> None:
    (tmp_path / "adult.zip").write_bytes(archive)
    use(tmp_path)
    assert_standin(fetch_census(home), home)
    sentence = sentence_of(capsys)
    assert sentence.startswith("Census data: WORKSHOP_MIRROR can't be used (")
    assert reason in sentence
    assert "you get data/census_standin.csv" in sentence


def test_every_damage_to_an_archive_is_a_sentence() -> None:
    """One byte changed anywhere: either the files are whole, or DataUnavailableError."""
    refused = 0
    for position in range(len(GOOD)):
        for value in (0x00, 0xFF, GOOD[position] ^ 0x01, GOOD[position] ^ 0x80):
            damaged = GOOD[:position] + bytes([value]) + GOOD[position + 1 :]
            try:
                assert fetch.unpack(datasets.CENSUS, damaged) == FILES
            except DataUnavailableError:
                refused += 1
    assert refused > len(GOOD)


def test_a_zip_bomb_is_not_unpacked() -> None:
    bomb = replaced("adult.data", b"0" * 50_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(DataUnavailableError):
            fetch.unpack(datasets.CENSUS, bomb)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


# A web server as the mirror, or as the source


@pytest.mark.parametrize("path", ["/adult.zip", "/adult/adult.zip"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_mirror_url(home, server: Server, use, capsys, path: str, slash: str) -> None:
    server.give(body(GOOD), path=path)
    use(server.url + slash)
    census = fetch_census(home)
    assert_real(census, home)
    assert (census.origin, census.note) == (server.url + path, "")
    out, err = capsys.readouterr()
    assert out == ""
    assert set(err.splitlines()) == {"Downloading census data from 127.0.0.1"}


GOOD_ANSWERS = {
    "chunked": [chunked],
    "length unknown": [body(GOOD, length=-1)],
    "redirected": [redirect("/elsewhere.zip")],
    "broken off, then whole": [BROKEN_OFF, body(GOOD)],
}


@pytest.mark.parametrize("answers", GOOD_ANSWERS.values(), ids=GOOD_ANSWERS)
def test_a_server_that_gives_the_data_in_its_own_way(home, server: Server, use, answers) -> None:
    server.give(*answers)
    server.give(body(GOOD), path="/elsewhere.zip")
    use(server.url)
    assert_real(fetch_census(home), home)


BAD_ANSWERS = {
    "web page": (body(HTML), "its adult.zip is a web page"),
    "wrong content": (body(BAD_ARCHIVES["wrong content"][0]), "SHA-256 of adult.test is wrong"),
    "broken off": (BROKEN_OFF, "it broke off the download"),
    "broken off, length unknown": (body(GOOD[:200], length=-1), "damaged or cut short"),
    "403": (body(b"no", status=403), "it answered with status 403"),
    "500": (body(HTML, status=500), "it answered with status 500"),
    "204": (body(b"", status=204), "damaged or cut short"),
    "endless redirects": (redirect("/adult.zip"), "it answered with status 302"),
    "endless": (dripping(OK + b"\r\n", b"PK" * 50_000, 0), "it sent more than 10 MB"),
    "dripping headers": (dripping(OK + b"X-Slow: ", b"z", 0.02), "it took too long"),
    "dripping body": (dripping(OK + b"\r\nPK", b"z", 0.02), "it took too long"),
    "slow": (dripping(OK + b"\r\nPK", b"z" * 20_000, 0.1), "it took too long"),
    "silent before the body": (dripping(b"", b"", 60), "it took too long"),
    "silent in the body": (silent_in_body, "it took too long"),
}


@pytest.mark.parametrize("as_", ["mirror", "source"])
@pytest.mark.parametrize("name", BAD_ANSWERS)
def test_a_server_that_misbehaves(
    home: Path, server: Server, use, monkeypatch, capsys, name: str, as_: str
) -> None:
    answer, reason = BAD_ANSWERS[name]
    server.give(answer)
    if as_ == "mirror":
        use(server.url)
    else:
        use_as_source("CENSUS", f"{server.url}/adult.zip", monkeypatch)
    census = fetch_census(home, timeout=0.4 if "too long" in reason else 30)
    assert_standin(census, home)
    sentence = sentence_of(capsys)
    who = "WORKSHOP_MIRROR" if as_ == "mirror" else "127.0.0.1"
    assert f"{who} can't be used (" in sentence
    assert reason in sentence
    assert "you get data/census_standin.csv" in sentence
    assert census.note == sentence


@pytest.mark.parametrize("answer", [dripping(b"", b"", 60), silent_in_body])
def test_a_silence_ends_before_the_time_limit(home, server, use, monkeypatch, answer) -> None:
    server.give(answer)
    monkeypatch.setattr(fetch, "PATIENCE", (5.0, 0.2))
    use(server.url)
    start = time.monotonic()
    assert "WORKSHOP_MIRROR can't be used (it took too long)" in fetch_census(home).note
    assert time.monotonic() - start < 10


def test_a_process_ends_although_a_server_does_not(home: Path, server: Server) -> None:
    server.give(BAD_ANSWERS["dripping headers"][0])
    run = run_fetching(home, f"fetch({server.url!r}, timeout=1)")
    assert run.stdout.split() == ["False", "7000", "3000"]


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("http://127.0.0.1:{port}", "it can't be reached"),
        ("HTTP://127.0.0.1:{port}/", "it can't be reached"),
        ("http://no-such-host.invalid", "it can't be reached"),
        ("http://[::1", "it isn't a valid address"),
        ("http://", "asking it failed: InvalidURL"),
        ("http://127.0.0.1:99999", "asking it failed: InvalidURL"),
    ],
)
def test_a_mirror_url_that_leads_nowhere(home, use, capsys, place: str, reason: str) -> None:
    use(place.format(port=closed_port()))
    assert_standin(fetch_census(home), home)
    assert f"WORKSHOP_MIRROR can't be used ({reason})" in sentence_of(capsys)


def test_a_mirror_url_without_the_archive(home: Path, server: Server, use, capsys) -> None:
    use(server.url)
    assert_standin(fetch_census(home), home)
    assert f"there is no adult.zip in {server.url})" in sentence_of(capsys)
    assert server.asked == ["/adult.zip", "/adult/adult.zip"]


def test_a_mirror_in_the_room_is_asked_past_the_proxy(home, server, use, monkeypatch) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "")
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port()}")
    server.give(body(GOOD))
    use(server.url)
    assert_real(fetch_census(home), home)


def test_a_password_in_the_mirror_is_not_shown(home: Path, server: Server, use, capsys) -> None:
    server.give(body(GOOD))
    (home / "adult.data").write_bytes(b"damaged, so that there is a sentence")
    use(server.url.replace("//", "//me:open-sesame@"))
    census = fetch_census(home)
    assert_real(census, home)
    assert "open-sesame" not in "".join(capsys.readouterr()) + census.origin + census.note


def test_if_the_mirror_fails_the_source_is_used(home, tmp_path, server, use, monkeypatch, capsys):
    server.give(body(GOOD))
    use_as_source("CENSUS", f"{server.url}/adult.zip", monkeypatch)
    use(tmp_path / "gone")
    assert_real(fetch_census(home), home)
    sentence = sentence_of(capsys)
    assert "WORKSHOP_MIRROR can't be used" in sentence
    assert sentence.endswith(f"so you get {server.url}/adult.zip.")


@pytest.mark.parametrize(("value", "asked"), [("1", 0), ("0", 1), ("", 1)])
def test_offline_asks_no_source(home, server, monkeypatch, capsys, value: str, asked: int) -> None:
    server.give(body(GOOD))
    use_as_source("CENSUS", f"{server.url}/adult.zip", monkeypatch)
    monkeypatch.setenv("WORKSHOP_OFFLINE", value)
    assert fetch_census(home).is_real == bool(asked)
    assert len(server.asked) == asked
    if not asked:
        assert "(WORKSHOP_OFFLINE is set), so you get data/" in sentence_of(capsys)


def test_offline_still_asks_the_mirror(home: Path, server: Server, use, monkeypatch) -> None:
    server.give(body(GOOD))
    use(server.url)
    monkeypatch.setenv("WORKSHOP_OFFLINE", "1")
    assert_real(fetch_census(home), home)


@pytest.mark.parametrize("answers", [[HOUSES], [b"something else", HOUSES], [HTML, HTML]])
def test_housing_from_the_archive_that_scikit_learn_gets(
    home: Path, server: Server, monkeypatch, capsys, answers: list[bytes]
) -> None:
    """It counts only with the right hash; a wrong one is worth another try."""
    server.give(*map(body, answers), path="/files/5976036")
    sha256 = hashlib.sha256(HOUSES).hexdigest()
    use_as_source("HOUSING", f"{server.url}/files/5976036", monkeypatch, sha256=sha256)
    housing = fetch_housing(home)
    assert len(server.asked) == len(answers)
    if HOUSES in answers:
        assert housing.frame["price"].tolist() == [451_600, 351_100, 500_001, 79_200]
        assert [path.read_bytes() for path in home.iterdir()] == [DISTRICTS]
        assert housing.note == ""
    else:
        assert not housing.is_real
        assert "127.0.0.1 can't be used (the SHA-256 of its archive is wrong)" in sentence_of(
            capsys
        )
        assert list(home.iterdir()) == []


# What the doctor says, and the irises


def test_state(home: Path, monkeypatch) -> None:
    monkeypatch.setattr(datasets, "DATA", home)
    fine, line = datasets.state("fetch_housing")
    assert fine
    assert line.startswith("housing: fetched when first needed")
    (home / "cal_housing.data").write_bytes(DISTRICTS)
    assert datasets.state("fetch_housing") == (True, f"housing: the real data is in {home}/, whole")
    (home / "cal_housing.data").write_bytes(b"half a li")
    fine, line = datasets.state("fetch_housing")
    assert not fine
    assert "housing: cal_housing.data isn't" in line
    assert line.endswith(f"; delete {home / 'cal_housing.data'}")


def test_iris(home: Path, monkeypatch) -> None:
    flowers = datasets.read_iris()
    assert flowers.shape == (150, 5)
    assert datasets.state("read_iris") == (True, "iris: data/iris.csv is there, whole")
    (home / "iris.csv").write_bytes(REAL_IRIS.replace(b"\n", b"\r\n"))
    monkeypatch.setattr(datasets, "DATA", home)
    assert datasets.read_iris().equals(flowers), "line ends of Windows are no damage"


BAD_IRISES = {
    "missing": None,
    "empty": b"",
    "a web page": HTML,
    "bytes": b"\xff\xfe\x00",
    "other names": REAL_IRIS.replace(b"sepal_length", b"length"),
    "a word": REAL_IRIS.replace(b"5.1", b"five", 1),
    "a gap": REAL_IRIS.replace(b"5.1", b"", 1),
    "half": REAL_IRIS[:2000],
}


@pytest.mark.parametrize("content", BAD_IRISES.values(), ids=BAD_IRISES)
def test_iris_that_cannot_be_used(home: Path, monkeypatch, content: bytes | None) -> None:
    if content is not None:
        (home / "iris.csv").write_bytes(content)
    monkeypatch.setattr(datasets, "DATA", home)
    with pytest.raises(DataUnavailableError) as error:
        datasets.read_iris()
    why = "is damaged" if content is not None else "can't be read (No such file or directory)"
    sentence = f"{home / 'iris.csv'} {why}: get the repository once more"
    assert str(error.value) == sentence
    assert datasets.state("read_iris") == (False, f"iris: {sentence}")


# Keeping the files


def run_fetching(home: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own; `fetch(mirror)` gets the five people into `home` there."""
    return subprocess.run(
        [sys.executable, "-c", fetching(home) + code], cwd=ROOT, capture_output=True, text=True
    )


def fetching(home: Path) -> str:
    members = [(m.name, m.size, m.sha256) for m in datasets.CENSUS.members]
    return f"""
import os
from workshop.core import datasets
members = tuple(datasets.Member(*member) for member in {members!r})
datasets.CENSUS = datasets.RemoteData("Census data", "adult.zip", "adult", members)
def fetch(mirror, **options):
    os.environ["WORKSHOP_MIRROR"] = mirror
    census = datasets.fetch_census({str(home)!r}, **options)
    print(census.is_real, len(census.train), len(census.test))
"""


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="limits a file's size as Linux does"
)
def test_files_that_can_not_be_written_are_used_and_not_kept(home: Path, tmp_path: Path) -> None:
    """The system itself refuses to let a file grow beyond 100 bytes."""
    (tmp_path / "adult.zip").write_bytes(GOOD)
    code = f"""
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
fetch({str(tmp_path)!r})
"""
    run = run_fetching(home, code)
    assert run.stdout.split() == ["True", "2", "3"], run.stderr
    (sentence,) = run.stderr.splitlines()
    assert sentence.startswith(f"Census data: the files can't be kept in {home} (")
    assert list(home.iterdir()) == []


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="limits a file's size as Linux does"
)
def test_a_download_that_can_not_be_written_is_a_sentence(home: Path, server: Server) -> None:
    server.give(body(GOOD))
    code = f"""
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
fetch({server.url!r})
"""
    run = run_fetching(home, code)
    assert run.stdout.split() == ["False", "7000", "3000"], run.stderr
    assert "WORKSHOP_MIRROR can't be used (there is no room for a download: " in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.skipif(not can_make_a_disk(), reason=NO_DISK)
def test_a_disk_that_is_full_and_then_has_room_again(home: Path, tmp_path: Path) -> None:
    """A real file system: what was fetched is used, nothing is left, and later it is kept."""
    (tmp_path / "adult.zip").write_bytes(GOOD)
    code = f"""{fetching(home)}
folder = Path({str(home)!r})
fill(folder)
fetch({str(tmp_path)!r})
print(*(path.name for path in folder.iterdir()))
make_room(folder)
fetch({str(tmp_path)!r})
fetch("gone")
"""
    run = run_on_small_disk(home, code)
    assert run.stdout.splitlines() == ["True 2 3", "filler", "True 2 3", "True 2 3"], run.stderr
    (sentence,) = run.stderr.splitlines()
    assert sentence.endswith("(No space left on device), so the next call has to fetch them again.")


def test_a_data_folder_that_is_read_only(home: Path, tmp_path: Path, use, monkeypatch, capsys):
    """Root may write anywhere, so the system's refusal is imitated."""

    def refuse(file: Path, content: bytes) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    (tmp_path / "adult.zip").write_bytes(GOOD)
    use(tmp_path)
    monkeypatch.setattr(datasets, "write_whole", refuse)
    assert fetch_census(home).is_real
    assert f"the files can't be kept in {home} (Read-only file system), so" in sentence_of(capsys)


def test_a_data_folder_is_made_or_can_not_be_made(tmp_path: Path, use, capsys) -> None:
    (tmp_path / "adult.zip").write_bytes(GOOD)
    use(tmp_path)
    assert_real(fetch_census(tmp_path / "new" / "data"), tmp_path / "new" / "data")
    assert fetch_census(tmp_path / "adult.zip" / "data").is_real  # a file where a folder should be
    assert "can't be kept" in sentence_of(capsys)


def test_an_interruption_while_writing_leaves_nothing(home, tmp_path, use, monkeypatch) -> None:
    def interrupt(part: Path, file: Path) -> None:
        raise KeyboardInterrupt

    (tmp_path / "adult.zip").write_bytes(GOOD)
    use(tmp_path)
    monkeypatch.setattr(Path, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fetch_census(home)
    assert list(home.iterdir()) == []


def test_several_at_once_from_a_slow_mirror(home: Path, server: Server, use) -> None:
    """None gets the rest of the archive before all have its beginning."""
    everybody = threading.Barrier(4, timeout=60)

    def slow(handler: BaseHTTPRequestHandler, over: threading.Event) -> None:
        body(GOOD[:100], length=len(GOOD))(handler, over)
        handler.wfile.flush()
        everybody.wait()
        handler.wfile.write(GOOD[100:])

    server.give(slow)
    use(server.url)
    found: list[dict[str, bytes] | None] = []
    threads = [
        threading.Thread(target=lambda: found.append(fetch_files(datasets.CENSUS, home).files))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [FILES] * 4
    assert {path.name: path.read_bytes() for path in home.iterdir()} == FILES
