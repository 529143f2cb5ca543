"""`score`: a CSV file in, the same file with predictions out; bad files, bad rows, and no leftovers."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from app_support import copy_of_folder
from housing_support import few

from workshop import cli
from workshop.core import score as scoring
from workshop.core.build import model_module
from workshop.core.datasets import fetch_census
from workshop.core.score import CHUNK
from workshop.core.stages import find_stage, load_app_module
from workshop.setup.process import ROOT

HEADER = "age,workclass,education,marital_status,race,sex,hours_per_week"
PEOPLE = [
    "39,State-gov,Bachelors,Never-married,White,Male,40",
    "50,,Doctorate,Married-civ-spouse,Black,Female,20",
    ' 28 ,Private,"HS-grad",Divorced,Other,Female,38.0',
]
RUN = "import sys; from workshop.cli import run; sys.exit(run(sys.argv[1:]))"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with stage 05 and a model trained on a few people."""
    work = tmp_path_factory.mktemp("work")
    copy = copy_of_folder("05_census", work / "apps" / "05_census")
    module = model_module(find_stage("census"))
    module.save(*module.train(few(fetch_census())), copy / "model")
    return work


@pytest.fixture
def work(trained, monkeypatch):
    monkeypatch.setenv("WORKSHOP_WORK", str(trained))
    # Updating the learner's copy takes time, and is tested elsewhere.
    monkeypatch.setattr(cli, "use_my_copy", lambda: None)
    return trained


@pytest.fixture
def score(work, tmp_path, capsys):
    """Scores lines of CSV, or bytes; returns exit code, result, rows set aside, and output."""

    def score(content, *options):
        if isinstance(content, list):
            content = "\n".join([HEADER, *content, ""]).encode()
        source, target = tmp_path / "people.csv", tmp_path / "scored.csv"
        source.write_bytes(content)
        code = cli.run(["score", "05", str(source), "-o", str(target), *options])
        said = capsys.readouterr()
        assert not list(tmp_path.glob(".*")), "nothing half-written stays behind"
        aside = tmp_path / "scored.bad.csv"
        return (
            code,
            target.read_bytes() if target.exists() else None,
            list(csv.reader(aside.open(encoding="utf-8", newline=""))) if aside.exists() else None,
            said,
        )

    return score


def by_api(work, content):
    """The API's response to the same file, as CSV."""
    folder = work / "apps" / "05_census" / "model"
    client = load_app_module("05_census").create_app({"MODEL_FOLDER": folder}).test_client()
    sent = {"data": content, "content_type": "text/csv", "headers": {"Accept": "text/csv"}}
    return client.post("/api/v1/predictions/batch", **sent)


def test_the_result_is_byte_for_byte_what_the_api_answers(score, work):
    lines = (PEOPLE * CHUNK)[: CHUNK // 2]
    code, scored, aside, said = score(lines)
    assert code == 0
    content = "\n".join([HEADER, *lines, ""]).encode()
    assert scored == by_api(work, content).data
    assert aside is None
    assert f"{CHUNK // 2:,} scored in " in said.out


@pytest.mark.parametrize("more", [-1, 0, 1], ids=["one less", "a whole chunk", "one more"])
def test_no_row_is_lost_where_chunks_meet(score, more, monkeypatch):
    monkeypatch.setattr(scoring, "CHUNK", 7)
    count = 2 * 7 + more
    code, scored, _, _ = score([PEOPLE[0].replace("39", str(20 + i)) for i in range(count)])
    rows = list(csv.DictReader(scored.decode().splitlines()))
    assert (code, [int(row["age"]) for row in rows]) == (0, list(range(20, 20 + count)))


def test_bad_rows_are_set_aside_with_their_line_and_the_api_s_words(score, work, monkeypatch):
    monkeypatch.setattr(scoring, "CHUNK", 2)
    bad = {
        3: "7,Private,Bachelors,Never-married,White,Male,40",
        6: "39,Private,Bachelors",
        # Line 7 is empty, and the quoted cell of line 8 goes over two lines.
        8: '39,"Pri\nvate",Bachelors,Never-married,White,Male,40',
        11: "39,Private,Bachelors,Never-married,White,male,x",
    }
    content = [PEOPLE[0], bad[3], PEOPLE[1], PEOPLE[0], bad[6], "", bad[8], PEOPLE[2], bad[11]]
    code, scored, aside, said = score(content)
    assert code == 3
    assert len(scored.splitlines()) == 1 + 4
    header, *rows = aside
    assert header == ["line", "problem", *HEADER.split(",")]
    assert [int(line) for line, *_ in rows] == list(bad)
    for line, problem, *cells in rows:
        [row] = csv.reader(bad[int(line)].splitlines(keepends=True))
        assert cells == row
        answer = by_api(work, f"{HEADER}\n{bad[int(line)]}\n".encode())
        assert answer.status_code == 422
        errors = answer.json["errors"]
        assert problem == "; ".join(f"{each['field']}: {each['message']}" for each in errors)
    assert "scored.bad.csv: 4 set aside, each with its line and problem\n" in said.err
    assert "\n  line 3: age: " in said.err
    assert "\n  line 6: person: This row has 3 cells; the header names 7 columns. " in said.err


def test_of_many_bad_rows_the_first_are_named_and_their_file_is_nobody_else_s(score, tmp_path):
    code, scored, aside, said = score(["1" + PEOPLE[0]] * 8)
    assert (code, len(aside)) == (3, 1 + 8)
    assert len(scored.splitlines()) == 1, "only the column names"
    assert said.err.count("\n  line ") == 5
    assert "\n  and 3 more\n" in said.err
    theirs = tmp_path / "scored.bad.csv"
    theirs.write_text("fixed by hand", encoding="utf-8")
    for options in (
        (),
        ("-o", str(tmp_path / "scored.txt")),
    ):  # another extension, the same .bad.csv
        assert "scored.bad-" in score(["1" + PEOPLE[0]], *options)[-1].err
    assert {path.name for path in tmp_path.glob("*bad-*")} == {
        "scored.bad-2.csv",
        "scored.bad-3.csv",
    }
    code, scored, *_ = score(PEOPLE)
    assert code == 0
    assert score(b"nonsense\n")[:2] == (1, scored), "a result stays if a later run fails"
    assert theirs.read_text(encoding="utf-8") == "fixed by hand"


def test_columns_in_another_order_one_left_out_and_the_mark_that_excel_puts_first(score):
    header = "sex,age,education,marital_status,race,hours_per_week"
    code, scored, _, _ = score(f"\ufeff{header}\r\nMale,39,Bachelors,Divorced,White,40".encode())
    head, row = scored.decode().splitlines()
    assert (code, head) == (0, f"{header},probability,label")
    assert row.startswith("Male,39,Bachelors,Divorced,White,40,0.")


TWO = f"{HEADER}\n{PEOPLE[0]}\n"
NO_FORM = {
    "empty": (b"", "first row of people.csv can't be used. body: The table is empty"),
    "semicolons": (b"age;sex\n39;Male\n", "Separate the columns with commas, not semicolons."),
    "own column": (f"label,{HEADER}\n".encode(), "label: The answer adds a column with this name."),
    "utf-16": (HEADER.encode("utf-16"), "people.csv is UTF-16, not UTF-8. Save"),
    "latin-1": (f"{TWO}39,Büro".encode("latin-1"), "can't be read from line 3 on: it isn't UTF-8."),
    "open quote": (
        f'{TWO}39,"State-gov\n'.encode(),
        "can't be read from line 3 on: unexpected end",
    ),
    "huge cell": (f'{TWO}39,"{"x" * 200_000}",\n'.encode(), "from line 3 on: field larger than"),
}


@pytest.mark.parametrize(("content", "told"), NO_FORM.values(), ids=NO_FORM)
def test_a_file_that_has_no_form_is_one_sentence_and_nothing_is_written(score, content, told):
    code, scored, aside, said = score(content)
    assert (code, scored, aside) == (1, None, None)
    assert told in said.err
    assert "Traceback" not in said.err


def test_what_it_wrote_can_be_scored_again_and_nothing_into_itself(
    score, work, tmp_path, capsys, monkeypatch
):
    _, scored, aside, _ = score([*PEOPLE, "7" + PEOPLE[0], PEOPLE[0] + ",1"])
    assert score(scored)[:2] == (0, scored)
    lines = [aside[0], [*aside[1][:2], *PEOPLE[0].split(",")], aside[2][:-1]]
    source = tmp_path / "scored.bad.csv"  # with its rows fixed by hand
    with source.open("w", encoding="utf-8", newline="") as opened:
        csv.writer(opened).writerows(lines)
    again = tmp_path / "again.csv"
    assert cli.run(["score", "05", str(source), "-o", str(again)]) == 0
    head, *rows = again.read_text(encoding="utf-8").splitlines()
    before = scored.decode().splitlines()
    assert head == before[0]
    assert rows == [before[1]] * 2
    content = source.read_bytes()
    with source.open(encoding="utf-8") as opened:
        monkeypatch.setattr("sys.stdin", opened)
        for named in (str(source), "-"):
            assert cli.run(["score", "05", named, "-o", str(source)]) == 1
            assert "would replace" in capsys.readouterr().err
            assert source.read_bytes() == content


def test_no_spreadsheet_runs_a_cell_of_either_file(score):
    content = f"{HEADER},note\n{PEOPLE[0]},=1+1\n7{PEOPLE[0]},a;=2\n"
    code, scored, aside, _ = score(content.encode())
    assert (code, aside[1][-1]) == (3, "a;'=2")
    assert b",'=1+1," in scored


def test_an_output_that_is_no_plain_file_stays_what_it_is(score, work, tmp_path):
    if os.name != "posix":
        pytest.skip("Windows has no such pipes and devices, and links need a privilege there")
    _, scored, *_ = score(PEOPLE)
    source, out, link = (tmp_path / name for name in ("people.csv", "out", "link"))

    def run(target):
        return cli.run(["score", "05", str(source), "-o", str(target)])

    out.write_bytes(b"old")
    out.chmod(0o600)
    link.symlink_to(out)
    assert run(link) == 0
    assert link.is_symlink()
    assert (out.read_bytes(), out.stat().st_mode & 0o777) == (scored, 0o600)
    (tmp_path / "dangling").symlink_to("new")
    assert run(tmp_path / "dangling") == 0
    assert (tmp_path / "new").read_bytes() == scored
    null = Path(os.devnull).stat()
    assert run(os.devnull) == 0
    assert os.path.samestat(null, Path(os.devnull).stat())
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(["cat", tmp_path / "pipe"], stdout=subprocess.PIPE) as cat:
        assert run(tmp_path / "pipe") == 0
        assert cat.stdout.read() == scored
    assert (tmp_path / "pipe").is_fifo()


def test_it_reads_and_writes_standard_streams_and_pipes(score, work, tmp_path):
    lines = [*PEOPLE, "1" + PEOPLE[0]]
    _, scored, _, _ = score(lines)
    content = (tmp_path / "people.csv").read_bytes()
    run = [sys.executable, "-c", RUN, "score", "05"]
    options = {"capture_output": True, "env": os.environ | {"PYTHONPATH": str(ROOT)}}
    done = subprocess.run([*run, "-", "-o", "-"], cwd=tmp_path, input=content, **options)
    assert (done.returncode, done.stdout) == (3, scored), done.stderr
    assert b"scored.bad-2.csv: 1 set aside" in done.stderr, "in the current folder"
    broken = subprocess.run([*run, "-", "-o", "-"], cwd=tmp_path, input=b"x", **options)
    assert (broken.returncode, broken.stdout) == (1, b"")
    assert b"standard input" in broken.stderr
    if os.name == "posix":
        with subprocess.Popen(
            [*run, tmp_path / "people.csv", "-o", "-"], cwd=tmp_path, stdout=-1, stderr=-1
        ) as head:
            head.stdout.close()  # as `| head` does when it has read enough
            assert b"Broken pipe" not in (told := head.stderr.read()), told
        os.mkfifo(tmp_path / "pipe")
        with subprocess.Popen(["cp", tmp_path / "people.csv", tmp_path / "pipe"]):
            target = tmp_path / "other.csv"
            assert cli.run(["score", "05", str(tmp_path / "pipe"), "-o", str(target)]) == 3
        assert target.read_bytes() == scored


def test_without_a_folder_a_way_to_score_or_a_model_it_says_what_to_do(
    work, tmp_path, monkeypatch, capsys
):
    source, target = tmp_path / "people.csv", tmp_path / "scored.csv"
    source.write_text(HEADER, encoding="utf-8")

    def problem(stage, target=target):
        assert cli.run(["score", stage, str(source), "-o", str(target)]) == 1
        return capsys.readouterr().err

    assert "There is no folder " in problem("05", tmp_path / "no" / "scored.csv")
    assert problem("04") == "stage 04_iris can't score a CSV file; stage 05 can.\n"
    (tmp_path / "apps" / "05_census").mkdir(parents=True)
    (tmp_path / "apps" / "05_census" / "census_csv.py").touch()
    monkeypatch.setenv("WORKSHOP_WORK", str(tmp_path))
    assert "There is no trained model yet; build it with " in problem("05")


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="Windows sends no such signal to one process")
def test_interrupted_it_leaves_nothing_behind(work, tmp_path):
    source = tmp_path / "people.csv"
    with source.open("w", encoding="utf-8") as opened:
        opened.write(HEADER + "\n")
        opened.writelines([PEOPLE[0] + "\n"] * 2_000_000)
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, "score", "05", source, "-o", tmp_path / "scored.csv"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = time.monotonic() + 240
    while not any(part.stat().st_size > 100_000 for part in tmp_path.glob(".score-*/*")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    told = process.communicate()[0]
    assert process.returncode == 130
    assert "Traceback" not in told
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.slow
def test_ten_times_the_people_take_the_same_memory(work, tmp_path):
    peaks = []
    for count in (3 * CHUNK, 30 * CHUNK):
        source = tmp_path / "people.csv"
        with source.open("w", encoding="utf-8") as opened:
            opened.write(HEADER + "\n")
            opened.writelines(f"{line}\n" for line in PEOPLE * (count // 3))
        process = subprocess.Popen(
            [sys.executable, "-c", RUN, "score", "05", source, "-o", tmp_path / "scored.csv"],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        watched, peak = psutil.Process(process.pid), 0
        while process.poll() is None:
            try:
                peak = max(peak, watched.memory_info().rss)
            except psutil.NoSuchProcess:
                break
            time.sleep(0.01)
        assert process.wait() == 0
        peaks.append(peak)
    assert peaks[1] < 1.15 * peaks[0], peaks
