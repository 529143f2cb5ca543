"""Many people at once: a table of people in, probabilities and errors out.

`score_people` serves a batch of the API, a file of any size (`python3 -m workshop score`) and the workers of
a Dask cluster. The standard library reads CSV files, strictly: `pandas.read_csv` fills a row that has too
few cells, and shifts the columns if a row has too many.
"""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, BinaryIO

from pydantic import ValidationError

from census_forms import MAX_PEOPLE, Refusal, api_models, errors_of, refuse_batch
from census_model import FEATURES, NUMBERS, OPTIONAL, CensusModel, label
from census_weights import add_up, contribution, sigmoid

if TYPE_CHECKING:
    import pandas as pd

ANSWER = ("probability", "label")  # the columns that scoring adds
SET_ASIDE = ("line", "problem")  # those that `workshop score` puts before the rows it can't score
MAX_COLUMNS = 50
CHUNK = 2_000  # rows of a batch that are scored together; more at once would take more memory

# What people and programs write for "not known", in lowercase; here, only an empty cell means that.
GAPS = {"?", "-", ".", "na", "n/a", "#n/a", "<na>", "nan", "null", "nil", "none", "unknown"}
SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}
NO_CSV = {  # by what a file begins with, as it is decoded below
    "\x1f\udc8b": "compressed (gzip): unpack it first",
    "PK\x03\x04": "a workbook or another zip file: save the table in it as CSV UTF-8",
}
# What makes a spreadsheet run a cell as a formula, wherever a cell may begin: spreadsheets in some countries
# use a separator other than the comma. The wide and small forms occur in Chinese and Japanese text.
STARTS = r'[\s"]*[=+@＝＋＠﹦﹢﹫−－﹣-]'
RUNS = re.compile(rf"(^|[;|\t\r\n])(?={STARTS})")  # in a cell
MAY_RUN = re.compile(rf"[,;|\t\r\n]{STARTS}")  # in a table, which is searched in far less time
NUMBER = re.compile(r"[+-]?\d+([.,]\d+)*(e[+-]?\d+)?", re.IGNORECASE)

Answers = list[tuple[float, str] | None]
Errors = list[dict[str, Any]]


def score_people(model: CensusModel, people: "pd.DataFrame") -> tuple[Answers, Errors]:
    """Return each person's probability and label, or None if they have errors; and the errors.

    `people` has one row per person. Its cells are numbers and words, or strings as in a file; None, nan
    and empty strings are missing values. Columns other than the FEATURES are ignored. An error has
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
                wrong[cell] = about_gap(name, cell) or message
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
    """Return a cell's value: None if it is missing. Text in a number's column stays text."""
    if not isinstance(cell, str):
        return None if cell != cell else cell  # only nan differs from itself
    text = cell.strip().strip('"')  # a CSV reader keeps quotation marks that follow a space
    if name not in NUMBERS:
        return text or None
    try:
        return float(text.replace("_", "?"))  # float() reads 4_0 as 40
    except ValueError:
        return text or None


def about_gap(name: str, cell: Any) -> str | None:
    """Return what to do about a cell that means "missing", or None for any other cell."""
    text = "" if cell is None else str(cell).strip()
    if text and text.casefold() not in GAPS:
        return None
    if name in OPTIONAL:
        return f'"{text}" doesn\'t mean "unknown" here. Leave the cell empty instead.'
    return "Field required: the model needs to know this. Fill it in, or leave the row out."


def score_rows(
    model: CensusModel, header: Sequence[str], rows: Sequence[Sequence[str]]
) -> tuple[Answers, Errors]:
    """Return what `score_people` does, for rows of a CSV file whose header has been checked.

    If a whole row is wrong, the error's field is `person`.
    """
    import pandas as pd

    broken = {index: why for index, row in enumerate(rows) if (why := fault(row, len(header)))}
    blank = [""] * len(header)  # scored instead of a broken row, it gets no answer
    whole = (blank if index in broken else row for index, row in enumerate(rows))
    columns = list(zip(*whole, strict=True)) or [[] for _ in header]
    cells = {name: columns[found[0]] for name, found in find_columns(header).items() if found}
    answers, errors = score_people(model, pd.DataFrame(cells, dtype=object))
    errors = [error for error in errors if error["index"] not in broken]
    for index, message in broken.items():
        errors.append({"index": index, "field": "person", "message": message})
    return answers, sorted(errors, key=lambda error: error["index"])


def fault(row: Sequence[str], width: int) -> str | None:
    """Return what is wrong with a whole row of a table with `width` columns, or None."""
    text = ",".join(row)
    lines = re.split("\r\n?|\n", text) if "\n" in text or "\r" in text else [text]
    if len(lines) > 1 and all(line.count(",") == width - 1 for line in lines):
        lost = f"{len(lines) - 1:,} row{'s' * (len(lines) > 2)} below it"
        return f"A quotation mark in this row makes the {lost} part of a cell: delete the mark."
    if len(row) == width:
        return None
    problem = f"This row has {len(row)} cells; the header names {width} columns."
    if len(row) > width:
        return f"{problem} Is there an extra comma, or a column without a name?"
    return f"{problem} Is a comma missing, or is there an extra quotation mark?"


def read_rows(file: BinaryIO) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a CSV file that are not empty, each with the line it begins in, from 1.

    A line such as `sep=,` before the first row is skipped, and so are empty cells beyond the columns of
    the first row. Raises Refusal if the file isn't CSV in UTF-8.
    """
    # utf-8-sig drops the mark that Excel puts first.
    text = io.TextIOWrapper(file, "utf-8-sig", "surrogateescape", newline="")
    first = text.readline()
    for start, what in NO_CSV.items():
        if first.startswith(start):
            raise Refusal(400, f"The CSV is {what}.")
    if "\0" in first:
        raise Refusal(400, 'The CSV is UTF-16, not UTF-8. Save it as "CSV UTF-8".')
    noted = first.lower().lstrip('"').startswith("sep=")
    reader = csv.reader(text if noted else chain([first], text), strict=True)
    line, width = 1 + noted, 0
    try:
        for row in reader:
            "".join(row).encode()  # fails for bytes that aren't UTF-8, in their own line
            if any(map(str.strip, row)):
                width = width or len(row)
                while len(row) > width and not row[-1].strip():
                    del row[-1]
                yield line, row
            line = reader.line_num + noted + 1  # a quoted cell may have several lines
    except csv.Error as error:
        problem = f"The CSV can't be read from line {line} on: {error}."
        if lost := reader.line_num + noted - line:
            problem += f" A quotation mark makes {lost:,} more below it part of a cell."
        raise Refusal(400, f"{problem} Fix that line.") from error
    except UnicodeEncodeError as error:
        problem = f'from line {line} on: it isn\'t UTF-8. Save it as "CSV UTF-8".'
        raise Refusal(400, f"The CSV can't be read {problem}") from error
    text.detach()  # or it would close the file, which is the caller's


def find_columns(header: Sequence[str]) -> dict[str, list[int]]:
    """Return where each feature's column is: the one with its name, or with one like `Hours-per-week`."""
    alike = [re.sub(r"[\W_]+", "_", name).lower() for name in header]
    return {
        name: [place for place, each in enumerate(names) if each == name]
        for name in FEATURES
        for names in [header if name in header else alike]
    }


def own_columns(header: Sequence[str]) -> slice:
    """Return which columns of a table are its own, and weren't added by scoring it before."""
    start = len(SET_ASIDE) if tuple(header[:2]) == SET_ASIDE else 0
    return slice(start, len(header) - len(ANSWER) * (tuple(header[-2:]) == ANSWER))


def check_header(first: Sequence[str]) -> list[str]:
    """Return the names of a table's columns. Raises Refusal for one the model can't use.

    Columns it doesn't know, such as a name or an id, are fine: they are passed through.
    """
    header = [name.strip() for name in first]
    message = "The answer adds a column with this name. Rename yours."
    found = {name: message for name in header[own_columns(header)] if name in ANSWER}
    columns = find_columns(header)
    for name, places in columns.items():
        if len(places) > 1:
            found[name] = "This column appears more than once."
        elif not places and name not in OPTIONAL:
            found[name] = "This column is missing from the first row, which names the columns."
    used = [mark for mark in SEPARATORS if "".join(header).count(mark) >= len(header)]
    if not header:
        found = {"body": "The table is empty: its first row names the columns."}
    elif len(header) > MAX_COLUMNS:
        found = {"body": f"There are {len(header):,} columns; send at most {MAX_COLUMNS}."}
    elif found and used:
        found = {"body": f"Separate the columns with commas, not {SEPARATORS[used[0]]}."}
    elif not any(columns.values()):
        names = ", ".join(FEATURES)
        found = {
            "body": f"The first row has to name the columns: {names}. Is it a title, or missing?"
        }
    errors = [{"index": None, "field": name, "message": each} for name, each in found.items()]
    if errors:
        raise refuse_batch(errors)
    return header


def score_table(model: CensusModel, body: bytes) -> Iterator[tuple[list[Any], Answers, Errors]]:
    """Yield the rows of a CSV file with their answers and errors, some at a time; the header comes first.

    Each error also has its `line`. Raises Refusal if the file can't be read or has more than MAX_PEOPLE rows.
    """
    rows = read_rows(io.BytesIO(body))
    header = check_header(next(rows, (1, []))[1])
    own = own_columns(header)
    yield [header[own]], [ANSWER], []
    people = 0
    while chunk := list(islice(rows, CHUNK)):
        answers, errors = score_rows(model, header, [row for _, row in chunk])
        for error in errors:
            error |= {"index": error["index"] + people, "line": chunk[error["index"]][0]}
        people += len(chunk)
        if people > MAX_PEOPLE:
            message = f"Send at most {MAX_PEOPLE:,} rows in one call."
            raise refuse_batch([{"index": None, "field": "people", "message": message}])
        yield [row[own] for _, row in chunk], answers, errors


def score_batch(model: CensusModel, body: bytes) -> Iterator[tuple[list[Any], Answers]]:
    """Yield the rows of a CSV body and their answers, some at a time; the header comes first.

    Raises Refusal. Bad rows are refused only after the last row is read, so send nothing before that.
    """
    found: Errors = []
    for rows, answers, errors in score_table(model, body):
        found += ({name: each[name] for name in ("index", "field", "message")} for each in errors)
        if not found:
            yield rows, answers
    if found:
        raise refuse_batch(found)


def score_file(model: CensusModel, body: bytes) -> tuple[list[Any], Answers, Errors]:
    """Return the rows of a CSV file, the header first, their answers, and the errors by `line`.

    Unlike in a batch, good rows get answers even if others are bad; a bad row's answer is empty.
    Raises Refusal as `score_table` does.
    """
    parts = zip(*score_table(model, body), strict=True)
    rows, answers, errors = (list(chain.from_iterable(part)) for part in parts)
    return rows, [answer or ("", "") for answer in answers], errors


def write_csv(rows: Iterable[Sequence[Any]], answers: Answers) -> str:
    """Return the rows that have an answer, followed by it, as CSV that is safe to open in a spreadsheet."""
    answered = [[*row, *a] for row, a in zip(rows, answers, strict=True) if a is not None]
    text = as_text(answered)
    return as_text(map(harmless, row) for row in answered) if MAY_RUN.search(f"\n{text}") else text


def as_text(rows: Iterable[Iterable[Any]]) -> str:
    """Return rows as the text of a CSV file."""
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerows(rows)
    return buffer.getvalue()


def harmless(cell: Any) -> Any:
    """Return a cell, with an apostrophe before anything that a spreadsheet would run as a formula."""
    if not isinstance(cell, str) or NUMBER.fullmatch(cell):
        return cell
    return RUNS.sub(r"\1'", cell)
