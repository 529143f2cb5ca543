"""Reads any table that people keep as CSV, and says what each of its columns is.

Files differ in encoding, in the mark between cells, in how they write numbers, and in what they write for
"not known". `read_table` copes with that, or says in a sentence what to change. `describe` says what a column
is, or why it is left out. The app reads what visitors send with the same `is_gap`, `number` and `word_key`.
"""

import csv
import io
import json
import math
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import pandas as pd

MOST_ROWS = 200_000  # of a larger table, so many are drawn at random
MOST_WORDS = 100  # nobody picks from a longer list
FEWEST_ROWS = 5  # a word in fewer rows is not listed: the card is public, and rare words are people
OTHER = "(other)"  # what replaces any such word

# What people and programs write for "not known", in lowercase.
GAP_WORDS = (
    "|na|n/a|n.a.|#n/a|#n/a n/a|#na|<na>|nan|-nan|1.#ind|-1.#ind|1.#qnan|-1.#qnan|null|(null)|nil|\\n"
    "|none|missing|not available|-|--|---|–|—|?|.|..|#value!|#ref!|#div/0!|#num!|#name?"
)
GAPS = set(GAP_WORDS.split("|"))
MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
DATE = re.compile(  # 2026-11, 2026-11-28 14:30, 28.11.2026, 20261128, Nov 28, 2026, 14:30
    r"\d{4}-\d\d?|(\d{4}([-/.])\d\d?\2\d\d?|\d\d?([-/.])\d\d?\3(\d{4}|\d\d))([T ].*)?"
    r"|(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])|\d\d?:\d\d(:\d\d)?( ?[ap]m)?"
    rf"|(\d\d?[ -])?{MONTH}[ -](\d\d?, ?)?\d\d(\d\d)?",
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
    """A problem that the table's owner can fix; the message is a sentence that says how."""


@dataclass
class Table:
    """A table as it was read: each cell is a string, without spaces around it."""

    columns: dict[str, list[str]]
    gaps: set[str]  # the columns with a missing value, in any row of the file
    delimiter: str
    rows_in_file: int


@contextmanager
def _long_cells() -> Iterator[None]:
    """Let cells be as long as a quotation mark may have made them; the limit is the whole process's."""
    limit = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(limit)


@_long_cells()
def read_table(path: Path) -> Table:
    """Read a CSV file. Raises TableProblem if it isn't a table, and OSError."""
    text = _decode(path.read_bytes())
    delimiter = _delimiter(text)
    names = _names(list(islice(_rows(text, delimiter), 1000)))
    count = sum(1 for _ in _rows(text, delimiter)) - 1
    chosen = set(random.Random(0).sample(range(count), min(count, MOST_ROWS)))  # noqa: S311
    rows, gaps = [], set()
    for place, (line, cells) in enumerate(islice(_rows(text, delimiter), 1, None)):
        if len(cells) != len(names):
            problem = f"Line {line} has {len(cells)} cells, but there are {len(names)} columns"
            raise TableProblem(
                f"{problem}: is a separator or a quotation mark missing, or too many?"
            )
        lines = delimiter.join(cells).split("\n")
        if lines[1:] and all(each.count(delimiter) == len(names) - 1 for each in lines):
            problem = f"Line {line} has a quotation mark too many"
            raise TableProblem(f"{problem}: {len(lines) - 1} more below it became part of a cell.")
        gaps.update(name for name, cell in zip(names, cells, strict=True) if is_gap(cell))
        if place in chosen:
            rows.append(cells)
    columns = {name: [cells[place] for cells in rows] for place, name in enumerate(names)}
    return Table(columns, gaps, delimiter, count)


def _decode(content: bytes) -> str:
    """Return the text of a file, however it was saved. Raises TableProblem."""
    if not content.strip(b"\x00\xff\xfe\xef\xbb\xbf \t\r\n,;"):
        raise TableProblem("The file is empty: save the table as CSV again.")
    if content.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0", b"\x1f\x8b", b"PAR1")):
        raise TableProblem("This file is not CSV: open it in its program and save it as CSV.")
    try:
        return content.decode(json.detect_encoding(content))  # UTF-8 or UTF-16, marked or not
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")  # what Excel writes in the West


def _rows(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each row that is not empty, with the line on which it begins."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    line = 1
    for row in reader:
        cells = [cell.strip() for cell in row]
        if any(cell.count("\n") > 50 for cell in cells):
            raise TableProblem(f"Line {line} opens a quotation mark that is never closed.")
        is_note = line == 1 and "".join(cells).lower().startswith("sep=")  # for Excel
        if any(cells) and not is_note:
            yield line, cells
        line = reader.line_num + 1


def _delimiter(text: str) -> str:
    """Return the mark that cuts most of the first rows into the same number of cells, at least two."""

    def evenness(delimiter: str) -> tuple[bool, float, int]:
        sizes = Counter(len(cells) for _, cells in islice(_rows(text, delimiter), 200))
        [(size, rows)] = sizes.most_common(1) or [(0, 0)]
        return size > 1, rows / (sizes.total() or 1), size

    best = max(",;\t|", key=evenness)
    if not evenness(best)[0]:
        raise TableProblem("The file has only one column: put commas or tabs between columns.")
    return best


def _names(rows: list[tuple[int, list[str]]]) -> list[str]:
    """Return the names of the columns; those without get pandas' names. Raises TableProblem."""
    names, *others = (cells for _, cells in rows)
    width = Counter(map(len, others or [names])).most_common(1)[0][0]
    firsts = {cells[0] for cells in others}
    if len(names) == width - 1 and not any(cells[-1] for cells in others):
        names = [*names, ""]  # each row ends with a separator
    elif len(names) == width - 1 and len(firsts) == len(others) and marks(others[0][:1]):
        names = ["", *names]  # R numbers its rows, and has no name for that column
    named, used = sum(map(bool, names)), sum(map(any, zip(*others, strict=False)))
    if len(names) < width or named < 2 or 2 * named < used:
        problem = f"Line {rows[0][0]} has fewer names than there are columns"
        raise TableProblem(f"{problem}: if it is a title, delete it. The column names come first.")
    names = [" ".join(name.split()) or f"Unnamed: {place}" for place, name in enumerate(names)]
    if repeated := [name for name, times in Counter(names).items() if times > 1]:
        raise TableProblem(f"Repeated names: {', '.join(repeated)}. Give each column its own name.")
    return names


def is_gap(cell: str) -> bool:
    """Whether a cell says "not known"."""
    return not cell or (len(cell) < 15 and cell.casefold() in GAPS)


def number(text: str, mark: str = ".") -> float | None:
    """Return `text` as a number, with `mark` as its decimal mark, or None if it isn't one.

    `$1,234.50` and `12 %` are numbers; so are `(5)` and `5-`, as accountants write minus five.
    """
    bare = UNIT.sub("", text.translate(SPELLINGS)).strip()
    minus = re.fullmatch(r"\((.+)\)|(.+)-", bare)
    bare = (minus[1] or minus[2]).strip() if minus else bare.replace("- ", "-")
    if not NUMBER[mark].fullmatch(bare):
        return None
    divider = "," if mark == "." else "."
    value = float(re.sub(f"[{divider} ']", "", bare).replace(mark, "."))
    return (-abs(value) if minus else value) if math.isfinite(value) else None


def marks(cells: Iterable[str]) -> str:
    """Return the decimal marks that make all of these cells numbers: one, both or neither."""
    cells = {cell for cell in cells if not is_gap(cell)}
    return "".join(m for m in ".," if cells and all(number(cell, m) is not None for cell in cells))


def word_key(value: object) -> str:
    """Return what is the same for all spellings of a word: `True` and `true`, `1` and `1.0`."""
    text = str(value).strip().casefold()
    found = number(text)
    return text if found is None else f"{found:.15g}"


def decimal_marks(table: Table) -> dict[str, str]:
    """Return each column's decimal mark, or "" if it has words. Other columns decide what `1,234` is."""
    found = {name: marks(cells) for name, cells in table.columns.items()}
    commas = "," in found.values() or (table.delimiter == ";" and "." not in found.values())
    return {name: ".,"[commas] if mark == ".," else mark for name, mark in found.items()}


def describe(table: Table, name: str, mark: str, keep: bool = False) -> dict[str, Any] | str:
    """Return a column as a feature of the card, or the reason to leave it out, if `keep` isn't set.

    `mark` is its decimal mark, or "". The card has no extremes and no rare words, because those are people.
    """
    known = [cell for cell in table.columns[name] if not is_gap(cell)]
    count = Counter(known)
    if len(count) < 2 and not (known and name in table.gaps):
        return "every row has the same value" if known else "all its cells are empty"
    if not keep and (reason := _why_not(name, known, count, mark)):
        return reason
    feature = {"name": name, "gaps": name in table.gaps, "kind": "number" if mark else "words"}
    booleans = {word_key(word) for word in count} == {"0", "1"}
    if mark and (keep or not booleans or min(count.values()) < FEWEST_ROWS):
        quantiles = pd.Series([number(cell, mark) for cell in known]).quantile([0.01, 0.5, 0.99])
        low, typical, high = (float(f"{x:.6g}") for x in quantiles)
        unit = next((found[0] for cell in count if (found := UNIT.search(cell))), "")
        numbers = {"low": low, "typical": typical, "high": high}
        return feature | numbers | {"decimal": mark, "unit": unit}
    words = [word for word, rows in count.most_common(MOST_WORDS) if rows >= FEWEST_ROWS]
    if not words:
        return f"none of its words is in {FEWEST_ROWS} rows or more"
    other = len(words) < len(count) or len(table.columns[name]) < table.rows_in_file
    listed = {"typical": words[0], "words": sorted(words, key=str.casefold), "other": other}
    return feature | listed | {"kind": "words"}


def _why_not(name: str, known: list[str], count: Counter[str], mark: str) -> str | None:
    """Return why a model can't learn from a column, such as one of ids, dates or free text."""
    if name.startswith("Unnamed: "):
        return "it has no name"
    if sum(count[cell] for cell in count if DATE.fullmatch(cell)) > 0.95 * len(known):
        return "dates or times; make a number of them, such as an age in days, to use them"
    if ID_NAME.fullmatch(name) and len(count) > 0.9 * len(known):
        return "an id, which names a row and says nothing about it"
    if mark:
        values = [number(cell, mark) for cell in known]
        rises = all(a < b and a.is_integer() and b.is_integer() for a, b in pairwise(values))
        reason = "whole numbers that only ever rise, as row numbers do"
        return reason if rises and values[1:] else None
    odd = sum(count[cell] for cell in count if not marks([cell]))
    if odd < 0.1 * len(known):
        return f"numbers that are not written alike ({odd} of them as words); make them alike"
    if len(count) > 0.5 * len(known) and sum(map(len, count)) > 40 * len(count):
        return "free text"
    if len(count) > MOST_WORDS:
        return f"{len(count):,} different words, and a list has {MOST_WORDS} at most"
    return None
