"""Many people at once: a table of people in, probabilities and errors out.

`score_people` is the same for a batch of the API, for a file of any size (`python3 -m workshop score`) and
on the workers of a Dask cluster. A CSV file is read by the standard library, strictly: `pandas.read_csv`
turns a row with a cell too few into one with gaps, and shifts the columns for a cell too many.
"""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO

from pydantic import ValidationError

from census_forms import MAX_PEOPLE, Refusal, api_models, errors_of, refuse_batch
from census_model import FEATURES, NUMBERS, OPTIONAL, CensusModel, label
from census_weights import add_up, contribution, sigmoid

if TYPE_CHECKING:
    import pandas as pd

ANSWER = ("probability", "label")  # the columns that are added
MAX_COLUMNS = 50
CHUNK = 2_000  # rows of a batch that are scored together; more at once would take more memory

Answers = list[tuple[float, str] | None]
Errors = list[dict[str, Any]]


def score_people(model: CensusModel, people: "pd.DataFrame") -> tuple[Answers, Errors]:
    """Return probability and label of each person, or None for one who has errors, and the errors.

    `people` has one row per person. Its cells are numbers and words, or text as in a file; None, nan
    and empty text are missing values. Other columns than the FEATURES are left alone. An error has
    `index` (the row, from 0), `field` and `message`, as the API sends it.
    """
    import numpy as np

    person = api_models(model)[0](**model.typical)
    errors: Errors = []
    columns = []
    for name in FEATURES:
        cells = people[name].tolist() if name in people else [None] * len(people)
        added, wrong = {}, {}
        for cell in set(cells):  # many people share a value: it is checked and looked up once
            value = read_cell(name, cell)
            try:
                setattr(person, name, value)  # here pydantic checks it
                added[cell] = contribution(model.card["weights"], name, getattr(person, name))
            except ValidationError as invalid:
                message = errors_of(invalid, model.card)[0]["message"]
                wrong[cell] = "Field required" if value is None else message
                added[cell] = np.nan
        columns.append(np.array([added[cell] for cell in cells], dtype=float))
        for index, cell in enumerate(cells if wrong else []):
            if cell in wrong:
                errors.append({"index": index, "field": name, "message": wrong[cell]})
    errors.sort(key=lambda error: error["index"])
    answers: Answers = []
    for log_odds in add_up(model.card["intercept"], columns).tolist():
        probability = sigmoid(log_odds)
        answers.append(None if probability != probability else (probability, label(probability)))
    return answers, errors


def read_cell(name: str, cell: Any) -> Any:
    """Return the value of a cell: None for a missing one; of a number, text that isn't one as it is."""
    if not isinstance(cell, str):
        return None if cell != cell else cell  # only nan differs from itself
    text = cell.strip()
    if name not in NUMBERS:
        return text or None
    try:
        return float(text.replace("_", "?"))  # float() reads 4_0 as 40
    except ValueError:
        return text or None


def score_rows(
    model: CensusModel, header: Sequence[str], rows: Sequence[Sequence[str]]
) -> tuple[Answers, Errors]:
    """Return what `score_people` does, for rows of a CSV file whose header has been checked.

    A row with another number of cells is an error of the field `person`.
    """
    import pandas as pd

    whole = [index for index, row in enumerate(rows) if len(row) == len(header)]
    columns = zip(*(rows[index] for index in whole), strict=True) if whole else [[] for _ in header]
    cells = {name: cells for name, cells in zip(header, columns, strict=True) if name in FEATURES}
    people = pd.DataFrame(cells, dtype=object)
    found, errors = score_people(model, people)
    errors = [error | {"index": whole[error["index"]]} for error in errors]
    for index, row in enumerate(rows):
        if len(row) != len(header):
            message = f"This row has {len(row)} cells; the header names {len(header)} columns."
            errors.append({"index": index, "field": "person", "message": message})
    answers: Answers = [None] * len(rows)
    for index, answer in zip(whole, found, strict=True):
        answers[index] = answer
    return answers, sorted(errors, key=lambda error: error["index"])


def read_rows(file: BinaryIO) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a CSV file that are not empty, each with the line it begins in, from 1.

    Raises Refusal if the file isn't CSV in UTF-8.
    """
    text = io.TextIOWrapper(
        file, "utf-8-sig", "surrogateescape", newline=""
    )  # Excel puts a mark first
    reader, line = csv.reader(text, strict=True), 1
    try:
        for row in reader:
            "".join(row).encode()  # fails for bytes that aren't UTF-8, in their own line
            if row:
                yield line, row
            line = reader.line_num + 1  # a quoted cell may have several lines
    except csv.Error as error:
        problem = f"from line {line} on: {error}. Fix that line."
        raise Refusal(400, f"The CSV can't be read {problem}") from error
    except UnicodeEncodeError as error:
        problem = f'from line {line} on: it isn\'t UTF-8. Save it as "CSV UTF-8".'
        raise Refusal(400, f"The CSV can't be read {problem}") from error
    text.detach()  # or it would close the file, which is the caller's


def check_header(first: Sequence[str]) -> list[str]:
    """Return the names of a table's columns. Raises Refusal for one the model can't use.

    Columns it doesn't know, such as a name or an id, are fine: they are carried along.
    """
    header = [name.strip() for name in first]
    found = {}
    for name, times in Counter(header).items():
        if name in ANSWER:
            found[name] = "The answer adds a column of this name. Rename yours."
        elif name in FEATURES and times > 1:
            found[name] = "This column is there more than once."
    for name in FEATURES:
        if name not in header and name not in OPTIONAL:
            found[name] = "This column is missing from the first row, which names the columns."
    if len(header) > MAX_COLUMNS:
        found = {"body": f"There are {len(header):,} columns; send at most {MAX_COLUMNS}."}
    if found and len(header) == 1 and ";" in header[0]:
        found = {"body": "Separate the columns by commas, not by semicolons."}
    errors = [{"index": None, "field": name, "message": each} for name, each in found.items()]
    if errors:
        raise refuse_batch(errors)
    return header


def score_batch(model: CensusModel, body: bytes) -> Iterator[tuple[list[Any], Answers]]:
    """Yield the rows of a CSV body and their answers, some at a time; first of all the header.

    Raises Refusal, for wrong rows not before the last one is read: send nothing until then.
    """
    rows = read_rows(io.BytesIO(body))
    header = check_header(next(rows, (1, []))[1])
    yield [header], [ANSWER]
    errors: Errors = []
    people = 0
    while chunk := [row for _, row in islice(rows, CHUNK)]:
        answers, wrong = score_rows(model, header, chunk)
        errors += [error | {"index": error["index"] + people} for error in wrong]
        people += len(chunk)
        if people > MAX_PEOPLE:
            message = f"Send at most {MAX_PEOPLE:,} rows in one call."
            raise refuse_batch([{"index": None, "field": "people", "message": message}])
        if not errors:
            yield chunk, answers
    if errors:
        raise refuse_batch(errors)


def score_file(model: CensusModel, body: bytes) -> tuple[list[Any], Answers, Errors]:
    """Return the rows of a CSV file, the header first, their answers, and the errors by `line`.

    Unlike in a batch, the good rows have answers even if others are bad, whose answer is empty text.
    Raises Refusal for a file that can't be read or has more than MAX_PEOPLE rows.
    """
    rows = read_rows(io.BytesIO(body))
    header = check_header(next(rows, (1, []))[1])
    numbered = list(islice(rows, MAX_PEOPLE + 1))
    if len(numbered) > MAX_PEOPLE:
        raise Refusal(422, f"The file has more than {MAX_PEOPLE:,} rows. Split it.")
    people = [row for _, row in numbered]
    answers, wrong = score_rows(model, header, people)
    errors = [error | {"line": numbered[error["index"]][0]} for error in wrong]
    return [header, *people], [ANSWER, *(each or ("", "") for each in answers)], errors


def write_csv(rows: Iterable[Sequence[Any]], answers: Answers) -> str:
    """Return rows, with their answers added, as the text of a CSV file."""
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerows([*row, *a] for row, a in zip(rows, answers, strict=True))
    return buffer.getvalue()
