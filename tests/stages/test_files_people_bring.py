"""Files and bodies as people have them: they work, or one sentence says what to do; and those we hand out."""

import csv
import gzip
import io
import json

import pytest
from app_support import (  # noqa: F401
    PERSON,
    WITH_MODEL,
    api,
    apps,
    body,
    built,
    client,
    models,
    number_field,
    problem,
    slug,
    trained,
)

# ruff: noqa: F811 (a fixture that is imported is asked for by its name)

BATCH = "/api/v1/predictions/batch"
ROW = ",".join(map(str, PERSON.values()))
HEADER = ",".join(PERSON)
TABLE = f"{HEADER}\n{ROW}\n{ROW}\n"
each_with_model = pytest.mark.parametrize("slug", WITH_MODEL)


@pytest.fixture
def census(apps):
    return apps["05_census"].test_client()


def send(client, table, **headers):
    """Send a table to stage 05's batch."""
    content = table if isinstance(table, bytes) else table.encode()
    headers = {"Accept": "text/csv"} | headers
    return client.post(BATCH, data=content, content_type="text/csv", headers=headers)


def rows_of(answer):
    return list(csv.reader(io.StringIO(answer.text)))


# Stage 05: a table

TITLED = HEADER.title()
WORKS = {
    "other case": TABLE.replace(HEADER, TITLED),
    "dashes, dots and spaces": TABLE.replace(HEADER, TITLED.replace("_", "-")).replace("-W", ". w"),
    "an index without a name": f",{HEADER}\n0,{ROW}\n1,{ROW}\n",
    "commas at the ends": f"{HEADER}\n{ROW},\n{ROW},,,\n",
    "commas at the ends, of the header too": f"{HEADER},,\n{ROW},,\n{ROW},,\n",
    "a note for Excel": f"sep=,\r\n{TABLE}",
    "a note in quotes": f'"SEP=,"\n{TABLE}',
    "empty rows of Excel": f",,,,,,\n{TABLE},,,,,,\n , ,,,,,\n",
    "a column and one like it": f"{HEADER},Age\n{ROW},old\n{ROW},39\n",
    "a comment of two lines": f'{HEADER},comment\n{ROW},"a\nb, c"\n{ROW},\n',
    "scored before": f"{HEADER},probability,label\n{ROW},0.1,x\n{ROW},,\n",
    "quotation marks after spaces": TABLE.replace(",State-gov", ', "State-gov"'),
    "set aside before": f"line,problem,{HEADER}\n7,age,{ROW}\n9,,{ROW}\n",
}


@pytest.mark.parametrize("table", WORKS.values(), ids=WORKS)
def test_a_table_works_in_many_forms_and_has_the_same_answers(census, table):
    answer = send(census, table)
    assert answer.status_code == 200, answer.text
    header, *rows = rows_of(answer)
    assert header.count("probability") == header.count("label") == 1
    assert "problem" not in header
    _, *plain = rows_of(send(census, TABLE))
    assert [row[-2:] for row in rows] == [row[-2:] for row in plain]


def swap(old, new):
    return TABLE[::-1].replace(old[::-1], new[::-1], 1)[::-1]  # in the last row


SAYS = {  # index and field of the error, and what it has to name
    "unknown": (swap("State-gov", "?"), 1, "workclass", "empty"),
    "unknown, as R has it": (swap("State-gov", "NA"), 1, "workclass", "empty"),
    "unknown, as pandas has it": (swap("State-gov", "NaN"), 1, "workclass", "empty"),
    "needed": (swap("39", "n/a"), 1, "age", "required"),
    "needed, and no number": (swap("40", "nan"), 1, "hours_per_week", "required"),
    "empty": ("", None, "body", "empty"),
    "empty lines": ("\n,,\n\r\n", None, "body", "empty"),
    "a title": (f"People of 1994,,\n{TABLE}", None, "body", "title"),
    "another kind of text": ('{"people": [{}, {}]}', None, "body", "hours_per_week"),
    "semicolons": (TABLE.replace(",", ";"), None, "body", "semicolons"),
    "a note with semicolons": ("sep=;\n" + TABLE.replace(",", ";"), None, "body", "semicolons"),
    "tabs": (TABLE.replace(",", "\t"), None, "body", "tabs"),
    "bars": (TABLE.replace(",", " | "), None, "body", "bars"),
    "twice, in two spellings": (f"{HEADER.title()},AGE\n{ROW},39", None, "age", "once"),
    "scored before, not at the end": (f"label,{HEADER}\nx,{ROW}", None, "label", "Rename"),
    "an index, as R has it": (f"{HEADER}\n1,{ROW}\n2,{ROW}", 0, "person", "without a name"),
    "a row too short": (f"{HEADER}\n{ROW}\n39,Private", 1, "person", "2 cells"),
    "rows in a cell": (f'name,{HEADER}\nA,{ROW}\n"B,{ROW}\nC",{ROW}\n', 1, "person", "1 row "),
    "more of them": (f'{HEADER},n\n{ROW},"A\n{ROW},B\n{ROW},C"\n', 0, "person", "2 rows"),
}


@pytest.mark.parametrize("case", SAYS)
def test_else_one_sentence_says_what_to_do_and_where(census, case):
    table, index, field, named = SAYS[case]
    errors = problem(send(census, table), 422)["errors"]
    error = next(each for each in errors if (each["index"], each["field"]) == (index, field))
    assert named in error["message"]
    assert len(errors) <= 2, errors


UNREADABLE = {  # status, and what the sentence has to name
    "never closed": (
        f'{HEADER}\n{ROW}\n39,"State{ROW}\n{ROW}\n{ROW}\n',
        400,
        ["line 3 ", " 2 more"],
    ),
    "closed too late": (f'{HEADER}\n"39,x\n{ROW}\n"Ada",\n', 400, ["line 2 ", " 2 more"]),
    "not UTF-8": (f"{HEADER}\n{ROW}\nBüro,".encode("latin-1"), 400, ["line 3 ", "UTF-8"]),
    "UTF-16": (TABLE.encode("utf-16"), 400, ["UTF-16", "CSV UTF-8"]),
    "UTF-16 without a mark": (TABLE.encode("utf-16-le"), 400, ["UTF-16", "CSV UTF-8"]),
    "a workbook": (b"PK\x03\x04 and so on", 400, ["workbook"]),
    "compressed": (gzip.compress(TABLE.encode()), 415, ["compressed"]),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_what_is_no_csv_is_called_what_it_is_from_the_line_where_that_began(census, case):
    table, status, named = UNREADABLE[case]
    detail = problem(send(census, table), status)["detail"]
    assert all(each in detail for each in named), detail
    if status == 415:
        problem(send(census, TABLE, **{"Content-Encoding": "br"}), 415)


# Any API: JSON


@each_with_model
def test_a_body_that_is_no_json_is_called_what_it_is(slug, client):
    content = json.dumps(body(slug, client))

    def told(content, status, **headers):
        sent = {"content_type": "application/json", "headers": headers}
        return problem(client.post(api(slug), data=content, **sent), status)["detail"]

    packed = gzip.compress(content.encode())
    for headers in ({"Content-Encoding": "gzip"}, {}):
        assert "compressed" in told(packed, 415, **headers)
    assert "compressed" in told(b"\x0b\x02\x80{}\x03", 415, **{"Content-Encoding": "br"})
    assert "byte-order mark" in told(content.encode("utf-8-sig"), 400)
    for encoding in ("utf-16", "utf-16-le", "utf-16-be"):
        assert "UTF-16" in told(content.encode(encoding), 400)
    assert "compressed" not in told("{", 400)


@each_with_model
def test_nan_is_called_nan(slug, client):
    name, good = number_field(slug, client), body(slug, client)
    for value in (float("nan"), float("-inf")):
        content = json.dumps(good | {name: value})
        answer = client.post(api(slug), data=content, content_type="application/json")
        found = problem(answer, 400 if answer.status_code == 400 else 422)
        said = found["errors"][0]["message"] if found["errors"] else found["detail"]
        assert json.dumps(value).lstrip("-") in said


def test_nan_in_a_batch_is_named_with_its_place_and_with_what_means_unknown(census):
    people = [PERSON, PERSON | {"workclass": float("nan"), "age": float("nan")}]
    answer = census.post(
        BATCH, data=json.dumps({"people": people}), content_type="application/json"
    )
    age, workclass = problem(answer, 422)["errors"]
    assert (age["index"], age["field"], workclass["field"]) == (1, "age", "workclass")
    assert "NaN" in age["message"]
    assert "null" in workclass["message"]


# Files that we hand out

RUN = [
    "=1+1",
    "+1;x",
    "-x",
    "@SUM(1)",
    " =1",
    "\t=1",
    "＝1",
    "－x",
    "＠x",
    "a;=1",
    'a;"=1"',
    "a\n=1",
]
RUN += ["a|@x", "a\t+x", "﹦1"]
NUMBERS = ("-5", "+3.5", "-1,5")
HARMLESS = [*NUMBERS, "1e-5", "a-b", "a = b", "x;y", "'=1", "2026-11-29", ""]


def assert_runs_nothing(text):
    """Assert that no cell is run, whichever mark a spreadsheet takes for the separator."""
    for separator in ",;\t|":
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator):
            for cell in row:
                begins = cell.strip(' \t"')[:1]
                assert begins not in tuple("=+-@＝－＠﹦") or cell.startswith(NUMBERS), (
                    separator,
                    cell,
                )


def test_no_spreadsheet_runs_a_cell_of_a_scored_table_and_other_cells_stay(census):
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow(["=head", *PERSON])
    writer.writerows([name, *PERSON.values()] for name in RUN + HARMLESS)
    answer = send(census, buffer.getvalue())
    assert_runs_nothing(answer.text)
    first = [row[0] for row in rows_of(answer)][1:]
    assert first[len(RUN) :] == HARMLESS
    assert [name.replace("'", "") for name in first[: len(RUN)]] == RUN


def test_no_spreadsheet_runs_a_name_of_a_saved_prediction(anna):
    names = [name for name in RUN if name.isprintable()]
    for name in names:
        anna.saves(name)
    answer = anna.browser.get("/saved/download.csv")
    # Of the numbers, only the longitudes begin with a minus sign.
    assert_runs_nothing(answer.text.replace(",-1", ",1"))
    found = [row[1].replace("'", "") for row in rows_of(answer)][1:]
    assert found == [name.strip() for name in names]
