"""The workshop's data sets, fetched in the style of `sklearn.datasets.fetch_*`.

Real data first, always something: files kept in `data/`, else the archive from the folder or URL in
`WORKSHOP_MIRROR` (or from the kit that the repository is a part of), else a download from the
source, else a stand-in that comes with the repository.
One mechanism, `fetch_files`, serves every data set: a `RemoteData` says what it needs to know of it.
Every file is verified by size and SHA-256 before it counts as data. One sentence on stderr, and in
the result's `note`, says what could not be used and what you get instead; without trouble there is
no sentence.

Environment variables
    WORKSHOP_MIRROR   folder or http(s) URL that holds the archives, in it or in a folder per data
                      set (`adult/`, `housing/`). A relative folder counts from the working
                      directory, or else from the repository.
    WORKSHOP_OFFLINE  any value but `0`: never ask the source on the internet.

pandas, scikit-learn, requests and click are imported where they are used, so that importing this
module costs next to nothing.
"""

from __future__ import annotations

import hashlib
import io
import lzma
import os
import queue
import secrets
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from workshop.core.errors import WorkshopError
from workshop.setup.mirror import folder_of, go_past_proxy, is_url, mirrors, shown
from workshop.setup.process import ROOT

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.utils import Bunch


DATA = ROOT / "data"

TIME_LIMIT = 30.0  # seconds for one source, from its first to its last byte
CONNECT_LIMIT = 5.0  # seconds until a server must have answered the call
SILENCE_LIMIT = 10.0  # seconds a server may be silent once connected
CHUNK = 16 * 1024  # bytes
ARCHIVE_SLACK = 1_000_000  # bytes an archive may be larger than the members taken from it


@dataclass(frozen=True)
class Member:
    """A file inside an archive, known by its size in bytes and its SHA-256 (hexadecimal)."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class RemoteData:
    """Where a data set can be had, and how its files are recognised.

    `folder` is the data set's own folder inside a mirror. The source is the archive at `url`, or
    the function `scikit_learn` of `sklearn.datasets`; without either, only the local files and the
    mirror are asked.
    """

    title: str
    archive: str
    folder: str
    members: tuple[Member, ...]
    url: str | None = None
    scikit_learn: str | None = None

    @property
    def source(self) -> str:
        """The source as a sentence names it, empty if there is none."""
        if self.url:
            return _host(self.url)
        return "scikit-learn" if self.scikit_learn else ""

    @property
    def archive_limit(self) -> int:
        """Bytes beyond which something else than this archive is being sent."""
        return sum(member.size for member in self.members) + ARCHIVE_SLACK


@dataclass(frozen=True)
class FetchedFiles:
    """What `fetch_files` found: verified bytes by member name, or None.

    `origin` says where the files were found, `problems` what could not be used on the way there,
    `storing` why the files could not be kept for the next call (empty if they were).
    """

    files: dict[str, bytes] | None
    origin: str
    problems: tuple[str, ...] = ()
    storing: str = ""


class DataUnavailableError(WorkshopError):
    """A source that can't be used. The message is a clause: "its SHA-256 is wrong"."""


class _NotThereError(DataUnavailableError):
    """The source answers, but has no such file."""


CENSUS = RemoteData(
    title="Census data",
    archive="adult.zip",
    folder="adult",
    members=(
        Member(
            name="adult.data",
            size=3_974_305,
            sha256="5b00264637dbfec36bdeaab5676b0b309ff9eb788d63554ca0a249491c86603d",
        ),
        Member(
            name="adult.test",
            size=2_003_153,
            sha256="a2a9044bc167a35b2361efbabec64e89d69ce82d9790d2980119aac5fd7e9c05",
        ),
    ),
    url="https://archive.ics.uci.edu/static/public/2/adult.zip",
)
CENSUS_COLUMNS = (
    "age",
    "workclass",
    "fnlwgt",
    "education",
    "education_num",
    "marital_status",
    "occupation",
    "relationship",
    "race",
    "sex",
    "capital_gain",
    "capital_loss",
    "hours_per_week",
    "native_country",
    "income",
)
CENSUS_STANDIN = DATA / "census_standin.csv"
CENSUS_SOURCE = "UCI Adult census income (Becker and Kohavi 1996, CC BY 4.0): 1994 US census"
CENSUS_STANDIN_SOURCE = (
    "data/census_standin.csv: people who don't exist, drawn from a model of UCI Adult census income"
)

IRIS_COLUMNS = ("sepal_length", "sepal_width", "petal_length", "petal_width", "species")
IRIS_ROWS = 150

HOUSING = RemoteData(
    title="Housing data",
    archive="cal_housing.zip",
    folder="housing",
    members=(
        Member(
            name="cal_housing.data",
            size=2_071_484,
            sha256="a2b44dcc7e1c9091b43c4f458b25cbd1f7e8068d08edd26bc4703108d3fa6214",
        ),
    ),
    scikit_learn="fetch_california_housing",
)
HOUSING_FEATURES = (
    "median_income",
    "house_age",
    "average_rooms",
    "average_bedrooms",
    "population",
    "average_occupancy",
    "latitude",
    "longitude",
)
HOUSING_TARGET = "price"
HOUSING_COLUMNS = (*HOUSING_FEATURES, HOUSING_TARGET)
HOUSING_STANDIN = DATA / "housing_standin.csv"
HOUSING_SOURCE = "California housing (Pace and Barry 1997): districts of the 1990 US census"
HOUSING_STANDIN_SOURCE = (
    "data/housing_standin.csv: districts that don't exist, drawn from a model of California housing"
)


def read_iris() -> pd.DataFrame:
    """Read `data/iris.csv`: 150 flowers, four measurements in cm and the species.

    Source and licence stand in `data/README.md`. Raises `DataUnavailableError` if the file is not
    there or holds something else.
    """
    import pandas as pd

    file = DATA / "iris.csv"
    try:
        flowers = pd.read_csv(file)
    except OSError as error:
        raise DataUnavailableError(
            f"{_shown(file)} can't be read ({error.strerror}): get the repository once more"
        ) from error
    except ValueError as error:  # pandas' parser errors are ValueErrors
        raise DataUnavailableError(
            f"{_shown(file)} is damaged: get the repository once more"
        ) from error
    whole = (
        list(flowers.columns) == list(IRIS_COLUMNS)
        and len(flowers) == IRIS_ROWS
        and all(pd.api.types.is_float_dtype(flowers[name]) for name in IRIS_COLUMNS[:-1])
        and not flowers.isna().any(axis=None)
    )
    if not whole:
        raise DataUnavailableError(f"{_shown(file)} is damaged: get the repository once more")
    return flowers


def fetch_census(data_home: Path | str | None = None, *, timeout: float = TIME_LIMIT) -> Bunch:
    """Fetch the census income data of 1994: UCI's Adult data set, or the stand-in for it.

    Looks in `data_home` (the repository's `data/` unless given), then in `WORKSHOP_MIRROR`, then
    asks UCI, and takes `data/census_standin.csv` if none of them helps. Files found are verified
    and kept in `data_home`, so that the next call needs neither mirror nor network. A mirror or a
    download gets `timeout` seconds each.

    Returns a `Bunch` with
        train, test   data frames of 32,561 and 16,281 people (the stand-in is smaller) with the
                      columns `CENSUS_COLUMNS`: whole numbers, text, missing values where UCI has
                      `?`, and `income` as 1 (more than $50,000 a year) or 0
        source        where the people come from, one sentence, the same wherever the file was found
        is_real       False for the stand-in
        origin        the place the files were found this time
        note          the sentence that was printed to stderr, empty if all went well

    Raises `DataUnavailableError` if even the stand-in can't be read.

    Source: https://archive.ics.uci.edu/dataset/2/adult
    """
    fetched = fetch_files(CENSUS, data_home, timeout=timeout)
    if fetched.files is not None:
        train = _read_adult(fetched.files["adult.data"])
        test = _read_adult(fetched.files["adult.test"], comment_lines=1)
        source, origin = CENSUS_SOURCE, fetched.origin
    else:
        train, test = _read_standin(CENSUS_STANDIN, CENSUS_COLUMNS)
        people = len(train) + len(test)
        source = CENSUS_STANDIN_SOURCE
        origin = f"{_shown(CENSUS_STANDIN)}, {people:,} people who don't exist"
    return _told(CENSUS, fetched, origin, train=train, test=test, source=source)


def fetch_housing(data_home: Path | str | None = None, *, timeout: float = TIME_LIMIT) -> Bunch:
    """Fetch the California housing data of 1990 (Pace and Barry 1997), or the stand-in for it.

    Looks where `fetch_census` looks, but asks scikit-learn's `fetch_california_housing` in place of
    UCI, in a process of its own that ends after `timeout` seconds. The stand-in is
    `data/housing_standin.csv`.

    Returns a `Bunch` with
        frame         data frame of 20,640 districts (the stand-in is smaller) with the columns
                      `HOUSING_COLUMNS`, all floats: the values of scikit-learn's frame, row for
                      row, under the names below
        train, test   the same districts split by `train_test_split(frame, random_state=0)`, a
                      quarter for testing (the stand-in brings its own split), rows renumbered
        source, is_real, origin, note
                      as in `fetch_census`

    Columns
        median_income      of the district's households, in 10,000 dollars a year
        house_age          median age of the houses, in years; 52 means 52 or more
        average_rooms      rooms per household
        average_bedrooms   bedrooms per household
        population         people in the district
        average_occupancy  people per household
        latitude           degrees north
        longitude          degrees east, so negative in California
        price              the target: median value of the houses, in dollars (scikit-learn's
                           `MedHouseVal` times 100,000); 500,001 means more than 500,000

    Raises `DataUnavailableError` if even the stand-in can't be read.

    Source: Pace, R. K. and Barry, R. (1997), Sparse spatial autoregressions, Statistics and
    Probability Letters 33, pages 291-297.
    """
    import pandas as pd

    fetched = fetch_files(HOUSING, data_home, timeout=timeout)
    if fetched.files is not None:
        from sklearn.model_selection import train_test_split

        frame = _read_districts(fetched.files["cal_housing.data"])
        train, test = (
            part.reset_index(drop=True) for part in train_test_split(frame, random_state=0)
        )
        source, origin = HOUSING_SOURCE, fetched.origin
    else:
        parts = _read_standin(HOUSING_STANDIN, HOUSING_COLUMNS)
        train, test = (part.astype("float64") for part in parts)
        frame = pd.concat([train, test], ignore_index=True)
        source = HOUSING_STANDIN_SOURCE
        origin = f"{_shown(HOUSING_STANDIN)}, {len(frame):,} districts that don't exist"
    return _told(HOUSING, fetched, origin, frame=frame, train=train, test=test, source=source)


def state(name: str) -> tuple[bool, str]:
    """Whether the data that the function `name` of this module reads is at hand, in one line.

    Asks no network. The second part says what is there, or what to do.
    """
    if name == "read_iris":
        try:
            read_iris()
        except DataUnavailableError as error:
            return False, f"iris: {error}"
        return True, f"iris: {_shown(DATA / 'iris.csv')} is there, whole"
    dataset = {"fetch_census": CENSUS, "fetch_housing": HOUSING}[name]
    label = dataset.title.removesuffix(" data").lower()
    try:
        _read_kept(dataset, DATA)
    except _NotThereError:
        return True, f"{label}: fetched when first needed, or the stand-in where it can't be had"
    except DataUnavailableError as error:
        kept = " and ".join(_shown(DATA / member.name) for member in dataset.members)
        return False, f"{label}: {error}; delete {kept}"
    return True, f"{label}: the real data is in {_shown(DATA)}/, whole"


def fetch_files(
    dataset: RemoteData, data_home: Path | str | None = None, *, timeout: float = TIME_LIMIT
) -> FetchedFiles:
    """Get the verified files of `dataset`: from `data_home`, the mirror, or its source.

    Never raises for a source that can't be used: each leaves a clause in `problems`. What a mirror
    or the source gave is kept in `data_home`, one whole file at a time.
    """
    folder = DATA if data_home is None else Path(data_home)
    problems: list[str] = []
    try:
        return FetchedFiles(_read_kept(dataset, folder), origin=_shown(folder))
    except _NotThereError:
        pass  # the usual case of a first call, not worth a word
    except DataUnavailableError as error:
        problems.append(f"{_shown(folder)} can't be used ({error})")

    for name, mirror in mirrors()[:1]:
        try:
            files, origin = read_mirror(dataset, mirror, timeout)
            return FetchedFiles(files, origin, tuple(problems), _keep(files, folder))
        except DataUnavailableError as error:
            # A kit need not hold the data; a mirror that somebody has set should.
            if name == "WORKSHOP_MIRROR" or not isinstance(error, _NotThereError):
                problems.append(f"{name} can't be used ({error})")

    if dataset.source and os.environ.get("WORKSHOP_OFFLINE", "0") not in ("", "0"):
        problems.append("the download is switched off (WORKSHOP_OFFLINE)")
    elif dataset.source:
        try:
            files, origin = _read_source(dataset, folder, timeout)
            return FetchedFiles(files, origin, tuple(problems), _keep(files, folder))
        except DataUnavailableError as error:
            problems.append(f"{dataset.source} can't be used ({error})")
    return FetchedFiles(None, origin="", problems=tuple(problems))


def tell(dataset: RemoteData, fetched: FetchedFiles, origin: str) -> str:
    """Print one sentence on stderr if something could not be used or kept, and return it.

    `origin` is the place that was used in the end.
    """
    clauses = []
    if fetched.problems:
        clauses.append(f"{' and '.join(fetched.problems)}, so you get {origin}")
    if fetched.storing:
        clauses.append(f"{fetched.storing}, so the next call has to fetch them again")
    note = f"{dataset.title}: {'; '.join(clauses)}." if clauses else ""
    if note:
        print(note, file=sys.stderr)
    return note


def _told(dataset: RemoteData, fetched: FetchedFiles, origin: str, **contents: object) -> Bunch:
    """The result of a `fetch_*` function: `contents`, and how the data was come by."""
    from sklearn.utils import Bunch

    return Bunch(
        **contents,
        is_real=fetched.files is not None,
        origin=origin,
        note=tell(dataset, fetched, origin),
    )


# --- the census files -----------------------------------------------------------------------------


def _read_adult(content: bytes, comment_lines: int = 0) -> pd.DataFrame:
    """Read UCI's `adult.data`, or `adult.test`: a comment first, labels that end with a stop."""
    import pandas as pd

    frame = pd.read_csv(
        io.BytesIO(content),
        names=list(CENSUS_COLUMNS),
        skiprows=comment_lines,
        skipinitialspace=True,
        na_values=["?"],
        keep_default_na=False,
    )
    frame["income"] = (frame["income"].str.rstrip(".") == ">50K").astype("int64")
    return frame


# --- the housing file -----------------------------------------------------------------------------


def _read_districts(content: bytes) -> pd.DataFrame:
    """Read `cal_housing.data`; totals become ratios, the way scikit-learn makes them."""
    import pandas as pd

    names = ["longitude", "latitude", "house_age", "rooms", "bedrooms", "population"]
    names += ["households", "median_income", HOUSING_TARGET]
    frame = pd.read_csv(io.BytesIO(content), names=names, dtype="float64")
    frame["average_rooms"] = frame["rooms"] / frame["households"]
    frame["average_bedrooms"] = frame["bedrooms"] / frame["households"]
    frame["average_occupancy"] = frame["population"] / frame["households"]
    return frame[list(HOUSING_COLUMNS)]


def _write_districts(frame: pd.DataFrame) -> bytes:
    """Turn scikit-learn's frame back into `cal_housing.data`, the reverse of `_read_districts`.

    All numbers of the file but the coordinates and the income are whole, so none is lost.
    """
    households = (frame["Population"] / frame["AveOccup"]).round()
    columns = [
        frame["Longitude"],
        frame["Latitude"],
        frame["HouseAge"],
        (frame["AveRooms"] * households).round(),
        (frame["AveBedrms"] * households).round(),
        frame["Population"],
        households,
        frame["MedInc"],
        (frame["MedHouseVal"] * 100_000).round(),
    ]
    rows = zip(*columns, strict=True)
    return "".join(",".join(f"{value:.6f}" for value in row) + "\n" for row in rows).encode()


# --- the stand-ins --------------------------------------------------------------------------------


def _read_standin(path: Path, columns: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read the rows for training and those for testing, which the column `part` tells apart."""
    import pandas as pd

    try:
        rows = pd.read_csv(path, na_values=["?"], keep_default_na=False)
        parts = rows.pop("part")
        rows = rows[list(columns)]
        train, test = rows[parts == "train"], rows[parts == "test"]
    except OSError as error:
        raise DataUnavailableError(
            f"{_shown(path)} can't be read ({error.strerror}): get the repository once more"
        ) from error
    except (KeyError, ValueError) as error:  # pandas' parser errors are ValueErrors
        raise DataUnavailableError(
            f"{_shown(path)} is damaged: get the repository once more"
        ) from error
    return train.reset_index(drop=True), test.reset_index(drop=True)


# --- verifying and keeping files ------------------------------------------------------------------


def _verify(member: Member, content: bytes) -> bytes:
    """Return `content` if it is `member`, byte for byte."""
    if len(content) != member.size:
        raise DataUnavailableError(f"{member.name} isn't {member.size:,} bytes long")
    if hashlib.sha256(content).hexdigest() != member.sha256:
        raise DataUnavailableError(f"the SHA-256 of {member.name} is wrong")
    return content


def _read_file(path: Path, limit: int) -> bytes:
    """Read a file, but no more than `limit` bytes and one that tells it is too long."""
    try:
        with path.open("rb") as file:
            return file.read(limit + 1)
    except FileNotFoundError as error:
        raise _NotThereError(f"there is no {path.name} in {_shown(path.parent)}") from error
    except OSError as error:
        raise DataUnavailableError(f"{_shown(path)} can't be read: {_reason(error)}") from error


def _read_kept(dataset: RemoteData, folder: Path) -> dict[str, bytes]:
    return {
        member.name: _verify(member, _read_file(folder / member.name, member.size))
        for member in dataset.members
    }


def _read_archive(dataset: RemoteData, archive: bytes) -> dict[str, bytes]:
    """Unpack the members of `dataset` from a zip archive, in memory, and verify them."""
    if len(archive) > dataset.archive_limit:
        raise DataUnavailableError(f"its {dataset.archive} is larger than it can be")
    if not archive.startswith(b"PK"):
        if archive[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
            raise DataUnavailableError(f"it answered with a web page instead of {dataset.archive}")
        raise DataUnavailableError(f"its {dataset.archive} is no zip archive")
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as unzipped:
            return {member.name: _read_member(unzipped, member) for member in dataset.members}
    except (
        zipfile.BadZipFile,  # cut short, or a check sum that doesn't fit
        zlib.error,
        lzma.LZMAError,
        struct.error,
        EOFError,
        OSError,  # damaged bzip2, impossible offsets
        ValueError,  # impossible offsets and names
        OverflowError,
        RuntimeError,  # encrypted, or an unknown compression method
    ) as error:
        raise DataUnavailableError(f"its {dataset.archive} is damaged or cut short") from error


def _read_member(archive: zipfile.ZipFile, member: Member) -> bytes:
    try:
        file = archive.open(member.name)
    except KeyError as error:
        raise DataUnavailableError(f"{member.name} is missing from the archive") from error
    with file:
        return _verify(member, file.read(member.size + 1))  # a zip bomb ends here


def _keep(files: dict[str, bytes], folder: Path) -> str:
    """Store each file in `folder`, whole or not at all. Return why not, empty if all is well."""
    for name, content in files.items():
        # A name of its own for each process; it matches the same line of .gitignore as the file.
        partial = folder / f"{name}.{secrets.token_hex(4)}.part"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            try:
                with partial.open("xb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())  # before the new name, or a power cut leaves it empty
                partial.replace(folder / name)
            finally:
                partial.unlink(missing_ok=True)
        except OSError as error:
            return f"the files can't be kept in {_shown(folder)} ({_reason(error)})"
    return ""


# --- mirror and download --------------------------------------------------------------------------


def _read_source(dataset: RemoteData, folder: Path, timeout: float) -> tuple[dict[str, bytes], str]:
    """Ask the data set's source on the internet. Only `folder` may be written to."""
    if dataset.url:
        archive = _download(dataset, dataset.url, time.monotonic() + timeout, timeout)
        return _read_archive(dataset, archive), shown(dataset.url)
    return _ask_scikit_learn(dataset, folder, timeout), f"scikit-learn's {dataset.scikit_learn}"


def _ask_scikit_learn(dataset: RemoteData, folder: Path, timeout: float) -> dict[str, bytes]:
    """Let scikit-learn fetch the data, and turn what it gives into the data set's one file.

    A process of its own does the download, because scikit-learn sets itself no time limit: this one
    can be ended, with nothing of it left. Its cache lives in a folder inside `folder` until then.
    """
    from sklearn import datasets

    code = (
        f"import sys; from sklearn.datasets import {dataset.scikit_learn} as fetch;"
        "fetch(data_home=sys.argv[1], n_retries=1)"
    )
    print(f"Downloading {dataset.title.lower()} with scikit-learn", file=sys.stderr)
    (member,) = dataset.members
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(  # its name matches the same line of .gitignore
            prefix=f"{member.name}.", suffix=".part", dir=folder, ignore_cleanup_errors=True
        ) as cache:
            child = subprocess.run(
                [sys.executable, "-P", "-c", code, cache],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=timeout,
                check=False,
            )
            if child.returncode:
                raise DataUnavailableError(_why_it_ended(child.stderr))
            fetch = getattr(datasets, dataset.scikit_learn)
            found = fetch(data_home=cache, download_if_missing=False, as_frame=True)
    except subprocess.TimeoutExpired as error:
        raise DataUnavailableError(f"it took longer than {timeout:g} seconds") from error
    except OSError as error:
        reason = f"it can't work in {_shown(folder)}: {_reason(error)}"
        raise DataUnavailableError(reason) from error
    return {member.name: _verify(member, _write_districts(found.frame))}


def _why_it_ended(stderr: str) -> str:
    """A traceback's last line as a clause: "it can't be reached"."""
    last = (stderr.strip().splitlines() or [""])[-1]
    kind = last.partition(":")[0].rpartition(".")[2]
    if "CERTIFICATE" in last or "SSL" in last:
        return "there is no safe connection to it"
    if kind == "URLError":
        return "it can't be reached"
    return f"asking it failed: {kind or 'no error was named'}"


def read_mirror(dataset: RemoteData, mirror: str, timeout: float) -> tuple[dict[str, bytes], str]:
    """Read the archive from a folder or URL, in it or in the data set's own folder below it."""
    below = (dataset.archive, f"{dataset.folder}/{dataset.archive}")
    if is_url(mirror):
        try:
            go_past_proxy(mirror)
        except ValueError as error:  # http://[::1 without its bracket
            raise DataUnavailableError("it is no valid address") from error
        deadline = time.monotonic() + timeout
        for path in below:
            url = f"{mirror.rstrip('/')}/{path}"
            try:
                archive = _download(dataset, url, deadline, timeout)
            except _NotThereError:
                continue
            return _read_archive(dataset, archive), shown(url)
        place = shown(mirror)
    else:
        folder = folder_of(mirror)
        for path in below:
            try:
                archive = _read_file(folder / path, dataset.archive_limit)
            except _NotThereError:
                continue
            return _read_archive(dataset, archive), _shown(folder / path)
        place = _shown(folder)
        if not folder.is_dir():
            raise DataUnavailableError(f"there is no folder {place}")
    raise _NotThereError(f"there is no {dataset.archive} in {place}")


def _download(dataset: RemoteData, url: str, deadline: float, timeout: float) -> bytes:
    """Get `url` until `deadline` (on the monotonic clock), with a progress bar on stderr.

    A thread reads and this one watches the clock, because the time-outs of a socket start anew with
    every byte, and looking up a host's name has none at all.
    """
    import click

    inbox: queue.Queue[int | bytes | Exception | None] = queue.Queue()
    given_up = threading.Event()
    threading.Thread(target=_read_url, args=(url, inbox, given_up), daemon=True).start()

    # A notebook or a log file gets two plain lines instead of a bar that redraws itself.
    plain = sys.stderr is not sys.__stderr__ or not sys.stderr.isatty()
    label = f"Downloading {dataset.archive} from {_host(url)}"
    content = bytearray()
    try:
        steps = _next(inbox, deadline, timeout)
        if plain:
            print(label, file=sys.stderr)
        chunks = iter(lambda: _next(inbox, deadline, timeout), b"")
        with click.progressbar(
            chunks, length=steps, label=label, hidden=plain, file=sys.stderr
        ) as bar:
            for chunk in bar:
                content += chunk
                if len(content) > dataset.archive_limit:
                    raise DataUnavailableError(
                        f"it sends more than {dataset.archive} can have, {len(content):,} bytes"
                    )
        if plain:
            print(f"{len(content) / 1e6:.1f} MB received", file=sys.stderr)
        return bytes(content)
    finally:
        given_up.set()


def _next(inbox: queue.Queue, deadline: float, timeout: float) -> int | bytes | None:
    """Wait for the reading thread's next item until `deadline`; raise what it raised."""
    try:
        item = inbox.get(timeout=max(0.0, deadline - time.monotonic()))
    except queue.Empty as error:
        raise DataUnavailableError(f"it took longer than {timeout:g} seconds") from error
    if isinstance(item, Exception):
        raise item
    return item


def _read_url(url: str, inbox: queue.Queue, given_up: threading.Event) -> None:
    """Put into `inbox`: the number of chunks (None if unknown), the chunks, an empty chunk.

    Or, at any point, a `DataUnavailableError` instead.
    """
    import requests
    import urllib3.exceptions

    try:
        with requests.get(
            url,
            stream=True,
            timeout=(CONNECT_LIMIT, SILENCE_LIMIT),
            headers={"Accept-Encoding": "identity"},  # so that the length is the archive's
        ) as response:
            if response.status_code == requests.codes.not_found:
                raise _NotThereError("it has no such file (404)")
            if response.status_code != requests.codes.ok:
                raise DataUnavailableError(f"it answered with status {response.status_code}")
            length = response.headers.get("Content-Length", "")
            inbox.put(-(-int(length) // CHUNK) if length.isdecimal() else None)
            for chunk in response.iter_content(CHUNK):
                if given_up.is_set():
                    return
                inbox.put(chunk)
            inbox.put(b"")
    except DataUnavailableError as error:
        inbox.put(error)
    except requests.exceptions.SSLError:
        inbox.put(DataUnavailableError("there is no safe connection to it"))
    except requests.exceptions.ConnectTimeout:
        inbox.put(DataUnavailableError("it can't be reached"))
    except requests.exceptions.Timeout:
        inbox.put(DataUnavailableError(f"it was silent for {SILENCE_LIMIT:g} seconds"))
    except requests.exceptions.ChunkedEncodingError:
        inbox.put(DataUnavailableError("it broke off the download"))
    except requests.exceptions.ConnectionError as error:
        # requests reports a silence in the middle of the body as a plain ConnectionError.
        silent = any(isinstance(a, urllib3.exceptions.ReadTimeoutError) for a in error.args)
        reason = f"it was silent for {SILENCE_LIMIT:g} seconds" if silent else "it can't be reached"
        inbox.put(DataUnavailableError(reason))
    except (OSError, ValueError, urllib3.exceptions.HTTPError) as error:
        # requests' other errors are OSErrors: a malformed address, endless redirects, ...
        inbox.put(DataUnavailableError(f"asking it failed: {type(error).__name__}"))


# --- how things are named in a sentence -----------------------------------------------------------


def _shown(path: Path) -> str:
    """A path as a reader knows it: from the repository if it is inside, with forward slashes."""
    if path.is_relative_to(ROOT):
        return path.relative_to(ROOT).as_posix()
    return str(path)


def _host(url: str) -> str:
    """The host and port of a URL, without any name and password in it."""
    return urlsplit(url).netloc.rpartition("@")[2]


def _reason(error: OSError) -> str:
    """The system's words for an error ("No space left on device")."""
    return error.strerror or type(error).__name__
