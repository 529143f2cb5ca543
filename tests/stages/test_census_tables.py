"""Stage 05's batches: every prediction is the trained pipeline's; people's CSV files work, or one sentence
says what to do; and no spreadsheet runs a cell of the files we return."""

import csv
import gzip
import io
import json
import math
import random
import sys
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from app_support import PERSON, Page, problem
from werkzeug.test import EnvironBuilder, run_wsgi_app

from workshop.core.stages import load_app_module

census_app = load_app_module("05_census")
census_csv, census_model = sys.modules["census_csv"], sys.modules["census_model"]
CATEGORIES = census_model.CATEGORIES
EXACT = 1e-12
ONE, BATCH = "/api/v1/predictions", "/api/v1/predictions/batch"
ROW = ",".join(map(str, PERSON.values()))
HEADER = ",".join(PERSON)
TABLE = f"{HEADER}\n{ROW}\n{ROW}\n"


@pytest.fixture(scope="module")
def client(census_folder):
    return census_app.create_app({"MODEL_FOLDER": census_folder}).test_client()


def send(client, table, accept="text/csv"):
    """Send a table to the batch of the API."""
    return client.post(BATCH, data=table, content_type="text/csv", headers={"Accept": accept})


def upload(client, table, query=""):
    """Send a table with the page's form."""
    content = table if isinstance(table, bytes) else table.encode()
    return client.post(f"/table{query}", data={"people": (io.BytesIO(content), "people.csv")})


def rows_of(answer):
    return list(csv.reader(io.StringIO(answer.text)))


def make_people(features, count):
    """People who don't exist, drawn from everything the model's card allows."""
    draw = random.Random(0)  # noqa: S311 (nothing secret)
    allowed = {name: features[name]["categories"] for name in CATEGORIES}
    allowed |= {"age": range(17, 121), "hours_per_week": range(1, 169)}
    allowed["workclass"] = [*allowed["workclass"], None]
    return [{name: draw.choice(allowed[name]) for name in PERSON} for _ in range(count)]


def assert_predicted(pipeline, people, found):
    """Assert that all probabilities are the pipeline's; if not, name the person furthest off."""
    table = pd.DataFrame(people).astype(dict.fromkeys(CATEGORIES, object))
    table[CATEGORIES] = table[CATEGORIES].where(table[CATEGORIES].notna(), np.nan)
    apart = np.abs(pipeline.predict_proba(table)[:, 1] - found)
    assert apart.max() < EXACT, people[apart.argmax()]


def test_the_sums_predict_for_everybody_as_the_pipeline_does(census, income, tmp_path):
    """In a batch and one by one, with the same digits; and the contributions add up."""
    people = make_people(income[1]["features"], 5_000)
    people[0]["workclass"] = math.nan  # missing, as pandas has it
    other = census_model.build_pipeline().set_params(classify__class_weight="balanced")
    other["prepare"].transformers.reverse()
    other.fit(census.train[[*PERSON]], census.train["income"])
    for pipeline in (income[0], other):
        census_model.save(pipeline, income[1], tmp_path)
        model = census_model.load(tmp_path)
        answers, errors = census_csv.score_people(model, pd.DataFrame(people))
        assert errors == []
        assert_predicted(pipeline, people, [share for share, _ in answers])
        for person, (share, label) in zip(people[:100], answers, strict=False):
            answer = model.answer(person)
            assert (answer.probability, answer.label) == (share, label)
            assert list(answer.contributions) == [*PERSON]
            log_odds = model.card["intercept"] + sum(answer.contributions.values())
            assert 1 / (1 + math.exp(-log_odds)) == pytest.approx(share, abs=EXACT)


@pytest.mark.parametrize("kind", ["application/json", "text/csv"])
def test_ten_thousand_people_in_one_call_in_little_memory(census_folder, income, kind):
    people = make_people(income[1]["features"], 10_000)
    app = census_app.create_app({"MODEL_FOLDER": census_folder})
    body = json.dumps({"people": people}).encode()
    if kind == "text/csv":
        body = pd.DataFrame(people).to_csv(index=False).encode()

    def answer():
        """Call the app as a server does, which sends each piece and forgets it."""
        environ = EnvironBuilder(BATCH, method="POST", content_type=kind, data=body).get_environ()
        pieces, status, _ = run_wsgi_app(app, environ | {"HTTP_ACCEPT": kind})
        assert status == "200 OK"
        yield from pieces

    told = b"".join(answer()).decode()
    rows = json.loads(told)["predictions"] if "json" in kind else csv.DictReader(io.StringIO(told))
    assert_predicted(income[0], people, [float(row["probability"]) for row in rows])
    del told, rows
    tracemalloc.start()
    for _ in answer():
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 * len(body)


def test_every_mistake_in_a_batch_is_named_and_nothing_is_predicted(client):
    for body, index, field, word in (  # the index, the field and a word of the first error
        ([], None, "body", ""),
        ({"people": PERSON}, None, "people", ""),
        ({"people": [PERSON] * 10_001}, None, "people", "10000"),
        ({"people": [], "more": 1}, None, "more", ""),
        ({"people": [PERSON, 3]}, 1, "person", ""),
        ({"people": [PERSON, PERSON | {"age": math.nan}]}, 1, "age", "NaN"),
        ({"people": [PERSON, PERSON, PERSON | {"0": 1}]}, 2, "0", ""),
    ):
        response = client.post(BATCH, data=json.dumps(body), content_type="application/json")
        error = problem(response, 422)["errors"][0]
        assert (error["index"], error["field"]) == (index, field)
        assert word in error["message"]
    people = [PERSON, PERSON | {"age": 5}, PERSON, {"age": 39}, PERSON | {"sex": "x", "race": "y"}]
    found = problem(client.post(BATCH, json={"people": people}), 422)
    places = [(error["index"], error["field"]) for error in found["errors"]]
    missing = ["education", "marital_status", "race", "sex", "hours_per_week"]
    assert places == [(1, "age"), *((3, name) for name in missing), (4, "race"), (4, "sex")]
    found = problem(client.post(BATCH, json={"people": [{}] * 200}), 422)
    assert len(found["errors"]) == 1000
    assert "the first 1,000 of 1,200 errors" in found["detail"]
    assert client.post(BATCH, json={"people": []}).json["predictions"] == []
    # A single prediction takes no table, and a batch has its own limit.
    problem(client.post(ONE, data="39", content_type="text/csv"), 415)
    refused = client.post(BATCH, data="x", content_type="text/plain")
    assert "text/csv" in problem(refused, 415)["detail"]
    for kind in ("application/json", "text/csv"):
        big = b" " * (census_app.BODY_LIMIT + 1)
        problem(client.post(BATCH, data=big, content_type=kind), 413)


TITLED = HEADER.title()
WORKS = {
    "other case, dashes and dots": TABLE.replace(HEADER, TITLED)
    .replace("_W", ". w")
    .replace("_", "-"),
    "an index without a name": f",{HEADER}\n0,{ROW}\n1,{ROW}\n",
    "commas at the ends": f"{HEADER}\n{ROW},\n{ROW},,,\n",
    "of the header, too": f"{HEADER},,\n{ROW},,\n{ROW},,\n",
    "a byte-order mark and an empty line": f"\ufeff{TABLE}\r\n",
    "lines that end with CR": TABLE.replace("\n", "\r"),
    "a note for Excel": f'"SEP=,"\r\n{TABLE}',
    "empty rows of Excel": f",,,,,,\n{TABLE},,,,,,\n , ,,,,,\n",
    "a column and one like it": f"{HEADER},Age\n{ROW},old\n{ROW},39\n",
    "a comment of two lines": f'{HEADER},comment\n{ROW},"a\nb, c"\n{ROW},\n',
    "scored before": f"{HEADER},probability,label\n{ROW},0.1,x\n{ROW},,\n",
    "quotation marks after spaces": TABLE.replace(",State-gov", ', "State-gov"'),
    "set aside before": f"line,problem,{HEADER}\n7,age,{ROW}\n9,,{ROW}\n",
}


@pytest.mark.parametrize("table", WORKS.values(), ids=WORKS)
def test_a_table_in_another_form_has_the_same_answers(client, table):
    answer = send(client, table)
    assert answer.status_code == 200, answer.text
    header, *rows = rows_of(answer)
    assert header.count("probability") == header.count("label") == 1
    assert "problem" not in header
    _, *plain = rows_of(send(client, TABLE))
    assert [row[-2:] for row in rows] == [row[-2:] for row in plain]


def test_a_table_comes_back_as_it_was_sent_with_two_more_columns(client):
    text = (
        "name,sex,hours_per_week,age,education,race,marital_status,workclass\r\n"
        '"Ada, L.",Male,40.0,"39",Bachelors, White ,Never-married,State-gov\r\n\r\n'
        "Bo,Male,40,39,Bachelors,White,Never-married,\r\n"
    )
    answer = send(client, text)
    header, first, _, second = csv.reader(io.StringIO(text))
    people = [PERSON, {name: each for name, each in PERSON.items() if name != "workclass"}]
    found = client.post(BATCH, json={"people": people}).json["predictions"]
    known, unknown = ([repr(each["probability"]), each["label"]] for each in found)
    scored = [[*header, "probability", "label"], [*first, *known], [*second, *unknown]]
    assert rows_of(answer) == scored
    without = f"{HEADER}\n{ROW}".replace("workclass,", "").replace("State-gov,", "")
    assert rows_of(send(client, without))[1][-2:] == unknown
    for accept in ("", "*/*", "application/json, text/csv", "x"):
        assert send(client, TABLE, accept).mimetype == "application/json"
    assert send(client, TABLE, "text/csv;q=0.9, application/json;q=0.1").mimetype == "text/csv"


def swap(old, new):
    """Return the table with a value exchanged in its last row."""
    return TABLE[::-1].replace(old[::-1], new[::-1], 1)[::-1]


REFUSED = {  # index and field of the first error, or the status of a file; a word of the message
    "empty": ("\n,,\n\r\n", (None, "body"), "empty"),
    "no header": (ROW, (None, "body"), "first row"),
    "a title": (f"People of 1994,,\n{TABLE}", (None, "body"), "title"),
    "not CSV": ('{"people": [{}, {}]}', (None, "body"), "hours_per_week"),
    "semicolons": (TABLE.replace(",", ";"), (None, "body"), "semicolons"),
    "tabs": (TABLE.replace(",", "\t"), (None, "body"), "tabs"),
    "too many columns": (f"{HEADER}{',' * 60}\n{ROW}{',' * 60}", (None, "body"), "50"),
    "too many rows": (f"{HEADER}\n" + f"{ROW}\n" * 10_001, (None, "people"), "10,000"),
    "a missing column": (HEADER.replace(",sex", ""), (None, "sex"), "missing"),
    "a column twice": (f"{TITLED},AGE\n{ROW},39", (None, "age"), "once"),
    "the answer's own column": (f"{HEADER},label\n{ROW},1", (None, "label"), "Rename"),
    "unknown, as UCI has it": (swap("State-gov", "?"), (1, "workclass"), "empty"),
    "a gap": (swap("40", "n/a"), (1, "hours_per_week"), "required"),
    "no number": (swap("39", "abc"), (1, "age"), "integer"),
    "out of range": (swap("39", "390"), (1, "age"), "120"),
    "unknown category": (swap("Male", "\0"), (1, "sex"), "Female"),
    "an index, as R has it": (f"{HEADER}\n1,{ROW}\n{ROW}\n", (0, "person"), "without a name"),
    "a row too short": (f"{HEADER}\n{ROW}\n39,Private", (1, "person"), "2 cells"),
    "rows in a cell": (f'n,{HEADER}\nA,{ROW}\n"B,{ROW}\nC",{ROW}\n', (1, "person"), "1 row "),
    "never closed": (f'{HEADER}\n{ROW}\n39,"State{ROW}\n{ROW}\n{ROW}\n', 400, "line 3 "),
    "a long cell": (f"{HEADER}\n{'9' * 200_000}", 400, "line 2 "),
    "not UTF-8": (f"{HEADER}\n{ROW}\nBüro,".encode("latin-1"), 400, "UTF-8"),
    "UTF-16 without a mark": (TABLE.encode("utf-16-le"), 400, "UTF-16"),
    "a workbook": (b"PK\x03\x04 and so on", 400, "workbook"),
    "compressed": (gzip.compress(TABLE.encode()), 415, "compressed"),
}


@pytest.mark.parametrize(("table", "place", "word"), REFUSED.values(), ids=REFUSED)
def test_a_bad_table_is_refused_with_the_place_and_what_to_do(client, table, place, word):
    if isinstance(place, int):
        assert word in problem(send(client, table), place)["detail"]
    else:
        error = problem(send(client, table), 422)["errors"][0]
        assert (error["index"], error["field"]) == place
        assert word in error["message"]


def test_a_file_is_previewed_with_its_errors_by_line_and_saved_with_its_answers(client):
    good = f"Łucja <b>,{ROW}"
    table = f"name,{HEADER}\r\n{good}\r\n{good.replace('39', 'forty')}\r\n{good}"
    page, saved = Page(upload(client, table)), upload(client, table, "?save=1")
    assert "2 of 3 people have an answer" in page.text
    assert "Line 3, age: Input should be a valid integer" in page.text
    assert "Łucja <b>" in page.in_tag("td")
    assert (saved.mimetype, saved.headers["Content-Disposition"][:10]) == ("text/csv", "attachment")
    probability = client.post(ONE, json=PERSON).json["probability"]
    assert page.in_tag("td").count(f"{probability:.1%}") == 2
    scored = [repr(probability), "<=50K"]
    columns = [["probability", "label"], scored, ["", ""], scored]
    assert [row[-2:] for row in rows_of(saved)] == columns


def test_a_file_that_is_no_table_of_people_is_refused_on_the_page(client):
    files = {"": 422, b"\xff\xfe": 400, "name\nx": 422, '"': 400, "," * 600_000: 422}
    for table, status in (files | {HEADER + "\n1" * 10_001: 422}).items():
        for query in ("", "?save=1"):
            answer = upload(client, table, query)
            assert answer.status_code == status, table[:20]
            assert "Nothing was predicted" in answer.text
    for sent in ({}, {"people": "text"}, {"people": (io.BytesIO(b""), "")}):
        assert client.post("/table", data=sent).status_code == 422


RUN = ["=1+1", "+1;x", "-x", "@SUM(1)", " =1", "\t=1", "＝1", "a;=1", 'a;"=1"', "a\n=1", "a|@x"]
NUMBERS = ("-5", "+3.5", "-1,5")
HARMLESS = [*NUMBERS, "1e-5", "a-b", "a = b", "x;y", "'=1", "2026-11-29", ""]


def assert_runs_nothing(text):
    """Assert that a spreadsheet runs no cell, whichever separator it uses."""
    for separator in ",;\t|":
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator):
            for cell in row:
                begins = cell.strip(' \t"')[:1]
                assert begins not in tuple("=+-@＝－＠﹦") or cell.startswith(NUMBERS), cell


def test_no_spreadsheet_runs_a_cell_of_a_file_that_we_return(client, anna):
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow(["=head", *PERSON])
    writer.writerows([name, *PERSON.values()] for name in RUN + HARMLESS)
    answer = send(client, buffer.getvalue())
    assert_runs_nothing(answer.text)
    first = [row[0] for row in rows_of(answer)][1:]
    assert first[len(RUN) :] == HARMLESS
    assert [name.replace("'", "") for name in first[: len(RUN)]] == RUN
    # Stage 06 returns an account's predictions. Of their numbers, only longitudes begin with a minus sign.
    for name in RUN[:5]:
        anna.saves(name)
    answer = anna.browser.get("/saved/download.csv")
    assert_runs_nothing(answer.text.replace(",-1", ",1"))
    found = [row[1].replace("'", "") for row in rows_of(answer)][1:]
    assert found == [name.strip() for name in RUN[:5]]
