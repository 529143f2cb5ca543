"""The workshop's data sets, fetched in the style of `sklearn.datasets.fetch_*`.

There is always data, and real data if possible: the files kept in `data/`, else the archive from
the folder or URL in `WORKSHOP_MIRROR` (or from the kit that contains the repository), else a
download from the source (never if `WORKSHOP_OFFLINE` is set to anything but `0`), else the stand-in
that comes with the repository. If a place couldn't be used, one sentence on stderr and in the
result's `note` says why, and what you get instead.

pandas and scikit-learn are imported in the functions that use them, so importing this is cheap.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from workshop.core.fetch import (
    TIME_LIMIT,
    DataUnavailableError,
    Member,
    NotThereError,
    RemoteData,
    read_kept,
    read_mirror,
    read_source,
)
from workshop.core.files import shown_path, write_whole
from workshop.setup.mirror import mirrors
from workshop.setup.process import ROOT

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.utils import Bunch

DATA = ROOT / "data"

IRIS_COLUMNS = ("sepal_length", "sepal_width", "petal_length", "petal_width", "species")

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
    *("age", "workclass", "fnlwgt", "education", "education_num", "marital_status", "occupation"),
    *("relationship", "race", "sex", "capital_gain", "capital_loss", "hours_per_week"),
    *("native_country", "income"),
)
CENSUS_STANDIN = DATA / "census_standin.csv"
CENSUS_SOURCE = (
    "UCI Adult census income (Becker and Kohavi 1996, CC BY 4.0): Current Population Survey, 1994"
)
NO_PEOPLE = "data/census_standin.csv, 10,000 people who don't exist"

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
    # The file that scikit-learn's `fetch_california_housing` gets, and its hash there.
    url="https://ndownloader.figshare.com/files/5976036",
    sha256="aaa5c9a6afe2225cc2aed2723682ae403280c4a3695a2ddda4ffb5d8215ea681",
)
HOUSING_FEATURES = (
    *("median_income", "house_age", "average_rooms", "average_bedrooms"),
    *("population", "average_occupancy", "latitude", "longitude"),
)
HOUSING_COLUMNS = (*HOUSING_FEATURES, "price")
HOUSING_STANDIN = DATA / "housing_standin.csv"
HOUSING_SOURCE = "California housing (Pace and Barry 1997): districts of the 1990 US census"
NO_DISTRICTS = "data/housing_standin.csv, 10,000 districts that don't exist"


def read_iris() -> pd.DataFrame:
    """Read `data/iris.csv`: 150 flowers, four measurements in cm and the species.

    Its source and license are in `data/README.md`. Raises DataUnavailableError if the file is
    missing or damaged.
    """
    flowers = _read_ours(DATA / "iris.csv", IRIS_COLUMNS)
    if len(flowers) != 150 or any(flowers[name].dtype != float for name in IRIS_COLUMNS[:-1]):
        raise _damaged(DATA / "iris.csv")
    return flowers


def fetch_census(data_home: Path | str | None = None, *, timeout: float = TIME_LIMIT) -> Bunch:
    """Fetch the census income data of 1994: UCI's Adult data set, or its stand-in.

    Looks in `data_home` (by default the repository's `data/`), then in `WORKSHOP_MIRROR`, then asks
    UCI, and falls back to `data/census_standin.csv`. The files found are verified and kept in
    `data_home`, so the next call needs neither mirror nor network. The mirror and UCI get `timeout`
    seconds each.

    Returns a `Bunch` with
        train, test   data frames of 32,561 and 16,281 people (fewer in the stand-in) with the
                      columns `CENSUS_COLUMNS`: whole numbers, text, missing values where UCI has
                      `?`, and `income` as 1 (more than $50,000 a year) or 0
        source        the data set that the people come from, wherever the files were found
        is_real       False for the stand-in
        origin        where the files were found this time
        note          the sentence printed on stderr, empty if there were no problems

    Raises DataUnavailableError if not even the stand-in can be read.

    Source: https://archive.ics.uci.edu/dataset/2/adult
    """
    fetched = fetch_files(CENSUS, data_home, timeout=timeout)
    if fetched.files is None:
        train, test = _read_standin(CENSUS_STANDIN, CENSUS_COLUMNS)
    else:
        train = _read_adult(fetched.files["adult.data"])
        test = _read_adult(fetched.files["adult.test"], comment_lines=1)
    return _told(CENSUS, fetched, CENSUS_SOURCE, NO_PEOPLE, train=train, test=test)


def fetch_housing(data_home: Path | str | None = None, *, timeout: float = TIME_LIMIT) -> Bunch:
    """Fetch the California housing data of 1990 (Pace and Barry 1997), or its stand-in.

    Looks in the same places as `fetch_census`; the source is the archive that scikit-learn's
    `fetch_california_housing` downloads, and the stand-in is `data/housing_standin.csv`.

    Returns a `Bunch` with
        frame         data frame of 20,640 districts (fewer in the stand-in) with the columns
                      `HOUSING_COLUMNS`, all floats: the same values as scikit-learn's frame,
                      row for row, with the names below
        train, test   these districts split by `train_test_split(frame, random_state=0)`, with a
                      quarter for testing (the stand-in has its own split), rows renumbered
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

    Raises DataUnavailableError if not even the stand-in can be read.

    Source: Pace, R. K. and Barry, R. (1997), Sparse spatial autoregressions, Statistics and
    Probability Letters 33, pages 291-297.
    """
    import pandas as pd
    from sklearn.model_selection import train_test_split

    fetched = fetch_files(HOUSING, data_home, timeout=timeout)
    if fetched.files is None:
        train, test = _read_standin(HOUSING_STANDIN, HOUSING_COLUMNS)
        train, test = train.astype("float64"), test.astype("float64")
        frame = pd.concat([train, test], ignore_index=True)
    else:
        frame = _read_districts(fetched.files["cal_housing.data"])
        parts = train_test_split(frame, random_state=0)
        train, test = (part.reset_index(drop=True) for part in parts)
    frames = {"frame": frame, "train": train, "test": test}
    return _told(HOUSING, fetched, HOUSING_SOURCE, NO_DISTRICTS, **frames)


def state(name: str) -> tuple[bool, str]:
    """Whether the data for this module's function `name` is usable, and a line that explains it.

    Doesn't use the network. The line says where the data is, or what to do.
    """
    label = name.partition("_")[2]
    dataset = {"census": CENSUS, "housing": HOUSING}.get(label)
    try:
        if dataset is None:
            read_iris()
            return True, f"{label}: {shown_path(DATA / 'iris.csv')} is complete"
        read_kept(dataset, DATA)
    except NotThereError:
        return True, f"{label}: fetched when first needed, or the stand-in if it isn't available"
    except DataUnavailableError as error:
        kept = [shown_path(DATA / member.name) for member in dataset.members] if dataset else []
        return False, f"{label}: {error}" + (f"; delete {' and '.join(kept)}" if kept else "")
    return True, f"{label}: the real data is in {shown_path(DATA)}/, complete"


@dataclass(frozen=True)
class FetchedFiles:
    """The result of `fetch_files`: verified bytes by file name, or None.

    `origin` is where they were found; `problems` lists what couldn't be used or written.
    """

    files: dict[str, bytes] | None
    origin: str
    problems: tuple[str, ...] = ()


def fetch_files(
    dataset: RemoteData, data_home: Path | str | None = None, *, timeout: float = TIME_LIMIT
) -> FetchedFiles:
    """Get the verified files of `dataset` from `data_home`, the mirror, or the source.

    Doesn't raise an error for a place that can't be used, but adds a clause to `problems`. Files
    from a mirror or the source are kept in `data_home`, each written completely or not at all.
    """
    folder = DATA if data_home is None else Path(data_home)
    problems: list[str] = []
    try:
        return FetchedFiles(read_kept(dataset, folder), shown_path(folder))
    except NotThereError:
        pass  # normal on the first call
    except DataUnavailableError as error:
        problems.append(f"{shown_path(folder)} can't be used ({error})")

    places = [(name, partial(read_mirror, dataset, mirror)) for name, mirror in mirrors()[:1]]
    if dataset.url:
        places.append((urlsplit(dataset.url).hostname, partial(read_source, dataset)))
    for name, read in places:
        try:
            files, origin = read(timeout=timeout)
        except DataUnavailableError as error:
            # A kit may come without the data, but a mirror that somebody has set should have it.
            if name != "the kit" or not isinstance(error, NotThereError):
                problems.append(f"{name} can't be used ({error})")
            continue
        try:
            for member, content in files.items():
                write_whole(folder / member, content)
        except OSError as error:
            problems.append(f"the files can't be saved in {shown_path(folder)} ({error.strerror})")
        return FetchedFiles(files, origin, tuple(problems))
    return FetchedFiles(None, "", tuple(problems))


def tell(dataset: RemoteData, fetched: FetchedFiles, origin: str) -> str:
    """If there were problems, print one sentence about them on stderr; return it.

    `origin` is the data used in the end.
    """
    if not fetched.problems:
        return ""
    note = f"{dataset.title}: {' and '.join(fetched.problems)}, so you get {origin}."
    if fetched.files is None and not mirrors():
        note += " If the room has a mirror, set WORKSHOP_MIRROR to its address and start again."
    print(note, file=sys.stderr)
    return note


def _told(
    dataset: RemoteData, fetched: FetchedFiles, real: str, standin: str, **frames: pd.DataFrame
) -> Bunch:
    """The result of a `fetch_*` function. Prints a sentence if there were problems."""
    from sklearn.utils import Bunch

    is_real = fetched.files is not None
    origin = fetched.origin or standin
    source = real if is_real else f"{standin}, drawn from a model of the real ones"
    note = tell(dataset, fetched, origin)
    return Bunch(**frames, source=source, is_real=is_real, origin=origin, note=note)


def _read_adult(content: bytes, comment_lines: int = 0) -> pd.DataFrame:
    """Read UCI's `adult.data`, or `adult.test`, which starts with a comment and has periods after labels."""
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


def _read_districts(content: bytes) -> pd.DataFrame:
    """Read `cal_housing.data` and turn totals into ratios, as scikit-learn does."""
    import pandas as pd

    names = ["longitude", "latitude", "house_age", "rooms", "bedrooms", "population"]
    names += ["households", "median_income", "price"]
    frame = pd.read_csv(io.BytesIO(content), names=names, dtype="float64")
    frame["average_rooms"] = frame["rooms"] / frame["households"]
    frame["average_bedrooms"] = frame["bedrooms"] / frame["households"]
    frame["average_occupancy"] = frame["population"] / frame["households"]
    return frame[list(HOUSING_COLUMNS)]


def _read_standin(path: Path, columns: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read the training and the test rows, marked by the column `part`."""
    rows = _read_ours(path, ("part", *columns))
    parts = rows.pop("part")
    train, test = (rows[parts == part].reset_index(drop=True) for part in ("train", "test"))
    return train, test


def _read_ours(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Read a table that comes with the repository."""
    import pandas as pd

    try:
        return pd.read_csv(path, na_values=["?"], keep_default_na=False)[list(columns)]
    except (OSError, KeyError, ValueError) as error:  # pandas' parser errors are ValueErrors
        raise _damaged(path) from error


def _damaged(path: Path) -> DataUnavailableError:
    return DataUnavailableError(
        f"{shown_path(path)} is missing or damaged: download the workshop folder again"
    )
