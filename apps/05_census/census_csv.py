"""A batch as CSV: the table that comes in, and the same table with the answers added.

The first row names the columns. An empty cell is a missing value, an empty line is nobody.
"""

import csv
import io
import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from census_forms import MAX_PEOPLE
from census_model import FEATURES, NUMBERS
from census_problems import Refusal

OPTIONAL = {"workclass"}


@dataclass(frozen=True)
class Table:
    """The cells of a CSV file as they were sent; `rows` has a list per person."""

    header: list[str]
    rows: list[list[str]]

    def people(self) -> list[dict[str, Any]]:
        """Return the rows as the API's people, for validation; empty cells are left out."""
        return [
            {
                name: number(cell) if name in NUMBERS else cell
                for name, cell in zip(self.header, map(str.strip, row), strict=True)
                if cell
            }
            for row in self.rows
        ]


def number(cell: str) -> float | str:
    """Return the cell's number; or the cell itself, which validation then refuses."""
    try:
        return float(cell.replace("_", "?"))  # float() reads 4_0 as 40
    except ValueError:
        return cell


def read_table(content: bytes) -> Table:
    """Read a CSV body. Raises Refusal where it has no form: encoding, quotes, columns, cells."""
    try:
        text = content.decode("utf-8-sig")  # Excel puts a mark before the first letter
    except UnicodeDecodeError:
        raise Refusal(400, "The CSV is not in UTF-8. Save it as UTF-8 and send it again.") from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        # One row more than may be sent is enough to know.
        lines = list(itertools.islice(filter(None, reader), MAX_PEOPLE + 2))
    except csv.Error as error:
        raise Refusal(400, f"The CSV can't be read: line {reader.line_num}: {error}.") from None
    header = [name.strip() for name in lines[0]] if lines else []
    table = Table(header, lines[1:])
    _check_header(header)
    if len(table.rows) > MAX_PEOPLE:
        message = f"Send at most {MAX_PEOPLE:,} rows in one call."
        raise _refuse([{"index": None, "field": "people", "message": message}])
    ragged = [
        {
            "index": index,
            "field": "person",
            "message": f"This row has {len(row)} cells; the header names {len(header)} columns.",
        }
        for index, row in enumerate(table.rows)
        if len(row) != len(header)
    ]
    if ragged:
        raise _refuse(ragged)
    return table


def _check_header(header: list[str]) -> None:
    found = {}
    for name, times in Counter(header).items():
        if name not in FEATURES:
            found[name] = f"Unknown column. Known: {', '.join(FEATURES)}"
        elif times > 1:
            found[name] = "This column is there more than once."
    for name in FEATURES:
        if name not in header and name not in OPTIONAL:
            found[name] = "This column is missing from the first row, which names the columns."
    if found and len(header) == 1 and ";" in header[0]:
        found = {"body": "Separate the columns by commas, not by semicolons."}
    if found:
        raise _refuse(
            [{"index": None, "field": name, "message": each} for name, each in found.items()]
        )


def _refuse(errors: list[dict[str, Any]]) -> Refusal:
    return Refusal(422, "Nobody was judged: the CSV has errors, by index and field.", errors)


def write_table(table: Table, answers: Iterable[tuple[float, str]]) -> str:
    """Return the table as it was sent, with the columns `probability` and `label` added."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow([*table.header, "probability", "label"])
    writer.writerows(
        [*row, probability, label]
        for row, (probability, label) in zip(table.rows, answers, strict=True)
    )
    return buffer.getvalue()


def table_of(people: Sequence[dict[str, Any]]) -> Table:
    """Return the table for people who came as JSON; a missing value is an empty cell."""
    rows = [["" if each[name] is None else str(each[name]) for name in FEATURES] for each in people]
    return Table(list(FEATURES), rows)
