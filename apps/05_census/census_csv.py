"""A batch as CSV: the table that comes in, and the same table with the answers added.

The first row names the columns. An empty cell is a missing value, an empty line is nobody.
"""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import compress, islice
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from census_forms import MAX_PEOPLE, Person, types_for
from census_model import FEATURES, NUMBERS, OPTIONAL, CensusModel, label
from census_problems import Refusal, errors_of_person, refuse_batch

CHUNK = 100  # rows that are judged together; more at once would take more memory
BAD = object()  # what a cell means that is not right


def score_rows(
    model: CensusModel, header: Sequence[str], rows: Sequence[Sequence[str]]
) -> tuple[list[tuple[float, str] | None], list[dict[str, Any]]]:
    """Judge the rows of a table whose header has been checked.

    Returns the probability and label for each row, None for one that is not right, and what is wrong:
    `index` (which of `rows`, from 0), `field` and `message`, as the API says it.
    """
    errors = [
        {
            "index": index,
            "field": "person",
            "message": f"This row has {len(row)} cells; the header names {len(header)} columns.",
        }
        for index, row in enumerate(rows)
        if len(row) != len(header)
    ]
    whole = [index for index, row in enumerate(rows) if len(row) == len(header)]
    columns: dict[str, list[Any]] = {name: [None] * len(whole) for name in FEATURES}
    wrong: list[int] = []
    bad: set[int] = set()  # places in `whole`
    for place, name in enumerate(header):
        cells = [rows[index][place] for index in whole]
        # Many rows share a cell's text: what it means is found out once.
        meanings = {cell: _meaning(model, name, cell) for cell in set(cells)}
        columns[name] = [meanings[cell] for cell in cells]
        if BAD in meanings.values():
            bad |= {i for i, value in enumerate(columns[name]) if value is BAD}
    if bad:
        good = [i not in bad for i in range(len(whole))]
        columns = {name: list(compress(column, good)) for name, column in columns.items()}
        wrong, whole = [whole[i] for i in sorted(bad)], list(compress(whole, good))
    answers: list[tuple[float, str] | None] = [None] * len(rows)
    for index, probability in zip(whole, model.predict_probabilities(columns), strict=True):
        answers[index] = probability, label(probability)
    for index in wrong:
        try:
            Person.model_validate(_person(header, rows[index]), context=model.card)
        except ValidationError as invalid:
            errors += [{"index": index} | each for each in errors_of_person(invalid)]
    return answers, errors


@lru_cache(maxsize=8)
def _readers(model: CensusModel) -> dict[str, TypeAdapter]:
    """Return what reads one value of each feature."""
    strict = ConfigDict(strict=True)
    return {name: TypeAdapter(kind, config=strict) for name, kind in types_for(model).items()}


def _meaning(model: CensusModel, name: str, cell: str) -> Any:
    """Return the value that a cell stands for, or BAD."""
    text = cell.strip()
    if not text:
        return None if name in OPTIONAL else BAD
    try:
        return _readers(model)[name].validate_python(number(text) if name in NUMBERS else text)
    except ValidationError:
        return BAD


def _person(header: Sequence[str], row: Sequence[str]) -> dict[str, Any]:
    """Return a row as one of the API's people, for validation; empty cells are left out."""
    return {
        name: number(cell) if name in NUMBERS else cell
        for name, cell in zip(header, map(str.strip, row), strict=True)
        if cell
    }


def number(cell: str) -> float | str:
    """Return the cell's number; or the cell itself, which validation then refuses."""
    try:
        return float(cell.replace("_", "?"))  # float() reads 4_0 as 40
    except ValueError:
        return cell


def judge_table(model: CensusModel, content: bytes) -> list[float]:
    """Return the probability of everybody in a CSV body.

    Raises Refusal where it has no form (encoding, quotes, columns, cells) or anybody in it is wrong.
    """
    header, lines = _open(content)
    chunks = _judge(model, header, lines)
    return [probability for _, answers in chunks for probability, _ in answers]


def echo_table(model: CensusModel, content: bytes) -> list[str]:
    """Return the CSV body as it was sent, with `probability` and `label` added, in pieces.

    Raises Refusal as `judge_table` does.
    """
    header, lines = _open(content)
    pieces = [_write([[*header, "probability", "label"]])]
    for rows, answers in _judge(model, header, lines):
        pieces.append(_write([*row, *answer] for row, answer in zip(rows, answers, strict=True)))
    return pieces


def _open(content: bytes) -> tuple[list[str], Iterator[list[str]]]:
    """Return the header, which has been checked, and the rows to come."""
    lines = _read(content)
    header = [name.strip() for name in next(lines, [])]
    check_header(header)
    return header, lines


def _judge(
    model: CensusModel, header: list[str], lines: Iterator[list[str]]
) -> Iterator[tuple[list[list[str]], list[tuple[float, str]]]]:
    """Yield rows and their answers, some at a time. Raises Refusal at the end, so collect them."""
    errors: list[dict[str, Any]] = []
    people = 0
    while rows := list(islice(lines, CHUNK)):
        answers, wrong = score_rows(model, header, rows)
        errors += [error | {"index": error["index"] + people} for error in wrong]
        people += len(rows)
        if people > MAX_PEOPLE:
            message = f"Send at most {MAX_PEOPLE:,} rows in one call."
            raise refuse_csv([{"index": None, "field": "people", "message": message}])
        if not errors:  # after the first one nobody is judged, but all that is wrong is named
            yield rows, answers
    if ragged := [error for error in errors if error["field"] == "person"]:
        raise refuse_csv(ragged)
    if errors:
        raise refuse_batch(errors)


def _read(content: bytes) -> Iterator[list[str]]:
    """Yield the rows of a CSV body that are not empty. Raises Refusal where it can't be read."""
    try:
        content.decode("utf-8-sig")  # Excel puts a mark before the first letter
    except UnicodeDecodeError:
        raise Refusal(400, "The CSV is not in UTF-8. Save it as UTF-8 and send it again.") from None
    text = io.TextIOWrapper(io.BytesIO(content), encoding="utf-8-sig", newline="")
    reader = csv.reader(text, strict=True)
    try:
        yield from filter(None, reader)
    except csv.Error as error:
        raise Refusal(400, f"The CSV can't be read: line {reader.line_num}: {error}.") from None


def check_header(header: Sequence[str]) -> None:
    """Raise Refusal unless these are the columns that a person takes, in whatever order."""
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
        raise refuse_csv(
            [{"index": None, "field": name, "message": each} for name, each in found.items()]
        )


def refuse_csv(errors: list[dict[str, Any]]) -> Refusal:
    """Return what is wrong with a table as a whole."""
    return Refusal(422, "Nobody was judged: the CSV has errors, by index and field.", errors)


def table_of(people: Sequence[tuple], probabilities: Sequence[float]) -> list[str]:
    """Return the answer as CSV, in pieces, for people who came as tuples of the FEATURES.

    A missing value is an empty cell.
    """
    rows = ([*each, p, label(p)] for each, p in zip(people, probabilities, strict=True))
    pieces = [_write([[*FEATURES, "probability", "label"]])]
    while chunk := list(islice(rows, CHUNK)):
        pieces.append(_write(chunk))
    return pieces


def _write(rows: Iterable[Sequence[Any]]) -> str:
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerows(rows)
    return buffer.getvalue()
