"""Reads any table that people keep as CSV, and says what each of its columns is.

Files differ in encoding, in the mark between cells, in how they write numbers, and in what stands for "not
known". `read_table` copes with that, or says in a sentence what to change. `describe` says what a column
is, or why it is left out. The app reads what visitors send with the same `is_gap`, `number` and `word_key`.
"""

import csv
import difflib
import io
import math
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import pandas as pd

MOST_ROWS = 200_000  # of a larger table, so many are drawn at random
MOST_WORDS = 100  # nobody picks from a longer list
FEWEST_ROWS = 5  # a word in fewer rows is not listed: the card is public, and rare words are people
OTHER = "(other)"  # stands for any such word

# What people and programs write for "not known", in small letters.
GAP_WORDS = (
    "|na|n/a|n.a.|#n/a|#n/a n/a|#na|<na>|nan|-nan|1.#ind|-1.#ind|1.#qnan|-1.#qnan|null|(null)|nil|\\n"
    "|none|missing|not available|-|--|---|–|—|?|.|..|#value!|#ref!|#div/0!|#num!|#name?"
)
GAPS = set(GAP_WORDS.split("|"))
MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
DATE = re.compile(
    r"\d{4}-\d\d?|\d{4}([-/.])\d\d?\1\d\d?([T ].*)?"  # 2026-11, 2026-11-28, with a time or without
    r"|\d\d?([-/.])\d\d?\3(\d{4}|\d\d)( .*)?"  # 28.11.2026, 11/28/26
    r"|(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])"  # 20261128
    rf"|(\d\d?[ -])?{MONTH}[ -](\d\d?, ?)?\d\d(\d\d)?"  # 28 Nov 2026, November 28, 2026
    r"|\d\d?:\d\d(:\d\d)?( ?[ap]m)?",  # 14:30
    re.ASCII | re.IGNORECASE,
)
ID_NAME = re.compile(r"(.*[\W_])?(id|ID|Id|uuid|UUID|guid|GUID)|.*[a-z](Id|ID)", re.DOTALL)
UNIT = re.compile(r"[$€£¥₹₩₽₺฿%]|\b(?:USD|EUR|GBP|CHF|JPY)\b")
SPELLINGS = str.maketrans("\u00a0\u202f\u2009−’", "   -'")  # several spaces, a minus, an apostrophe
NUMBER = {  # by the decimal mark; the other mark, a space or an apostrophe may divide thousands
    mark: re.compile(
        rf"[+-]?((\d{{1,3}}([{other} ']\d{{3}})+|\d+)([{mark}]\d*)?|[{mark}]\d+)(e[+-]?\d+)?",
        re.ASCII | re.IGNORECASE,
    )
    for mark, other in (".,", ",.")
}


class TableProblem(Exception):
    """Something that the owner of the table can change; the message is a sentence that says what."""


@dataclass
class Table:
    """A table as it was read: each cell is text, without spaces around it."""

    columns: dict[str, list[str]]
    gaps: set[str]  # the columns that lack a value somewhere, in a row that was drawn or not
    delimiter: str
    rows_in_file: int


def read_table(path: Path) -> Table:
    """Read a CSV file. Raises TableProblem for one that is no table, and OSError."""
    text = _decode(path.read_bytes())
    delimiter = _delimiter(text)
    names, width = _header(list(islice(_rows(text, delimiter), 1000)))
    count = sum(1 for _ in _rows(text, delimiter)) - 1
    chosen = set(random.Random(0).sample(range(count), min(count, MOST_ROWS)))  # noqa: S311
    rows, gaps = [], set()
    for place, (line, cells) in enumerate(islice(_rows(text, delimiter), 1, None)):
        if len(cells) != width:
            raise TableProblem(
                f"Line {line} has {len(cells)} cells, but the lines around it have {width}: look there for "
                "a separator or a quotation mark that is missing or too many."
            )
        gaps.update(name for name, cell in zip(names, cells, strict=False) if is_gap(cell))
        if place in chosen:
            rows.append(cells)
    columns = {name: [cells[place] for cells in rows] for place, name in enumerate(names)}
    return Table(columns, gaps, delimiter, count)


def _decode(content: bytes) -> str:
    """Return the text of a file, however it was saved. Raises TableProblem."""
    if not content.strip(b"\x00\xff\xfe\xef\xbb\xbf \t\r\n"):
        raise TableProblem("The file is empty: save the table as CSV again.")
    if content.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0", b"\x1f\x8b", b"PAR1")):
        raise TableProblem("This file is not CSV: open it in its program and save it as CSV.")
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", errors="replace")
    if b"\x00" in content[:100]:  # UTF-16 without a mark: half the bytes of Western text are zero
        big_or_little = "utf-16-be" if content.startswith(b"\x00") else "utf-16-le"
        return content.decode(big_or_little, errors="replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")  # what Excel writes in the West


def _rows(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each row that is not empty, with the line on which it begins. Raises TableProblem."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    line = 1
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if any(cells) and not (line == 1 and cells[0].startswith("sep=")):  # a note for Excel
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise TableProblem(
            f"Line {line} can't be read ({error}): look for a quotation mark that is never closed."
        ) from error


def _delimiter(text: str) -> str:
    """Return the mark that cuts most of the first rows into equally many cells, and at least two."""
    found = []
    for delimiter in ",;\t|":
        sizes = Counter(len(cells) for _, cells in islice(_rows(text, delimiter), 200))
        size, rows = sizes.most_common(1)[0]
        if size > 1:
            found.append((rows / sizes.total(), size, delimiter))
    if not found:
        raise TableProblem(
            "The file has only one column: a model needs a target and at least one more column, with "
            "commas, semicolons or tabs between them."
        )
    return max(found)[-1]


def _header(rows: list[tuple[int, list[str]]]) -> tuple[list[str], int]:
    """Return the names of the columns, and how many cells each row must have. Raises TableProblem.

    A column without a name is called what pandas calls it. Each row may end with one empty cell more.
    """
    line, names = rows[0]
    others = [cells for _, cells in rows[1:]] or [names]
    width = Counter(map(len, others)).most_common(1)[0][0]
    ends_with_separator = len(names) == width - 1 and not any(cells[-1] for cells in others)
    if len(names) == width - 1 and len({cells[0] for cells in others}) == len(others) > 1:
        names = names if ends_with_separator else ["", *names]  # R does not name its row names
    filled = sum(map(bool, names))
    if len(names) < width - ends_with_separator or filled == 1 or 2 * filled < len(names):
        raise TableProblem(
            f"Line {line} has fewer names than the table has columns: if it is a title, delete it, so "
            "that the file begins with the column names."
        )
    if len(names) > width:
        raise TableProblem(
            f"Line {rows[1][0]} has {width} cells, but there are {len(names)} column names: give each "
            "column one name, and each row a cell for it."
        )
    names = [clean_name(name) or f"Unnamed: {place}" for place, name in enumerate(names)]
    if repeated := [name for name, times in Counter(names).items() if times > 1]:
        raise TableProblem(
            f"More than one column is called {quoted(repeated)}: give each its own name."
        )
    return names, width


def clean_name(name: str) -> str:
    """Return the name of a column on one line, without spaces around it."""
    return " ".join(name.replace("\ufeff", "").split())


def quoted(names: Iterable[str]) -> str:
    """Return names for a sentence: `"a", "b"`."""
    return ", ".join(f'"{name}"' for name in names)


def likeliest(name: str, names: Iterable[str]) -> list[str]:
    """Return `names`, those that are most like `name` first."""
    matcher = difflib.SequenceMatcher(b=name[:100].casefold())

    def likeness(other: str) -> float:
        matcher.set_seq1(other.casefold())
        return matcher.ratio()

    return sorted(names, key=likeness, reverse=True)


def is_gap(cell: str) -> bool:
    """Whether a cell says "not known"."""
    return not cell or (len(cell) < 15 and cell.casefold() in GAPS)


def number(text: str, mark: str = ".") -> float | None:
    """Return the number that `text` is, with `mark` as its decimal mark; None if it is none.

    `$1,234.50` and `12 %` are numbers; so are `(5)` and `5-`, as accountants write minus five.
    """
    text = text.translate(SPELLINGS).strip()
    bare = UNIT.sub("", text.strip("()")).strip()
    negative = (text.startswith("(") and text.endswith(")")) or bare.endswith("-")
    bare = bare.removesuffix("-").replace("- ", "-").strip()
    if not NUMBER[mark].fullmatch(bare):
        return None
    divider = "," if mark == "." else "."
    value = float(re.sub(f"[{divider} ']", "", bare).replace(mark, "."))
    return (-value if negative else value) if math.isfinite(value) else None


def marks(cells: Iterable[str]) -> str:
    """Return the decimal marks with which all of these cells are numbers: one, both or none."""
    cells = {cell for cell in cells if not is_gap(cell)}
    return "".join(m for m in ".," if cells and all(number(cell, m) is not None for cell in cells))


def word_key(value: object) -> str:
    """Return what is the same for all spellings of a word: `True` and `true`, `1` and `1.0`."""
    text = str(value).strip().casefold()
    found = number(text)
    return text if found is None else f"{found:.15g}"


def decimal_marks(table: Table) -> dict[str, str]:
    """Return the decimal mark of each column of numbers, and "" for each other one.

    `1,234` can be read as two numbers. What the file's other numbers look like decides.
    """
    found = {name: marks(cells) for name, cells in table.columns.items()}
    commas = "," in found.values() or (table.delimiter == ";" and "." not in found.values())
    either = "," if commas else "."
    return {name: either if mark == ".," else mark for name, mark in found.items()}


def describe(table: Table, name: str, mark: str, keep: bool = False) -> dict[str, Any] | str:
    """Return a column as a feature of the card, or the reason to leave it out, unless `keep` is set.

    `mark` is its decimal mark, or "".
    """
    cells = table.columns[name]
    known = [cell for cell in cells if not is_gap(cell)]
    count = Counter(known)
    if len(count) < 2 and not (known and name in table.gaps):
        return "every row has the same value" if known else "all its cells are empty"
    if not keep and (reason := _why_not(name, known, count, mark)):
        return reason
    feature = {"name": name, "gaps": name in table.gaps}
    booleans = {word_key(word) for word in count} == {"0", "1"}
    if mark and not (booleans and min(count.values()) >= FEWEST_ROWS):
        return feature | describe_numbers(known, mark)
    words = [word for word, rows in count.most_common(MOST_WORDS) if rows >= FEWEST_ROWS]
    if not words:
        return f"none of its words is in {FEWEST_ROWS} rows or more"
    other = len(words) < len(count) or len(cells) < table.rows_in_file
    feature |= {"kind": "words", "typical": words[0], "other": other}
    return feature | {"words": sorted(words, key=str.casefold)}


def describe_numbers(cells: list[str], mark: str) -> dict[str, Any]:
    """Return what the card says about these numbers, to six digits: quantiles, for extremes are people."""
    quantiles = pd.Series([number(cell, mark) for cell in cells]).quantile([0.01, 0.5, 0.99])
    low, typical, high = (float(f"{x:.6g}") for x in quantiles)
    unit = next((found[0] for cell in cells if (found := UNIT.search(cell))), "")
    known = {"kind": "number", "decimal": mark, "unit": unit}
    return known | {"low": low, "typical": typical, "high": high}


def _why_not(name: str, known: list[str], count: Counter[str], mark: str) -> str | None:
    """Return why a model can't learn from a column, such as ids, dates or free text."""
    if name.startswith("Unnamed: "):
        return "it has no name"
    if sum(count[cell] for cell in count if DATE.fullmatch(cell)) > 0.95 * len(known):
        return "dates or times; make a number of them, such as an age in days, to use them"
    if ID_NAME.fullmatch(name) and len(count) > 0.9 * len(known):
        return "an id, which names a row and says nothing about it"
    if mark:
        values = [number(cell, mark) for cell in known]
        rises = all(a < b and a.is_integer() and b.is_integer() for a, b in pairwise(values))
        return (
            "whole numbers that only ever rise, as row numbers do" if rises and values[1:] else None
        )
    odd = sum(count[cell] for cell in count if not marks([cell]))
    if odd < 0.1 * len(known):
        return f"numbers, apart from {odd} cells; empty those or make them numbers to use it"
    if len(count) > 0.5 * len(known) and sum(map(len, count)) > 40 * len(count):
        return "free text"
    if len(count) > MOST_WORDS:
        return f"{len(count):,} different words, and a list has {MOST_WORDS} at most"
    return None
