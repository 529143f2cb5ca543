"""`score`: a CSV file in, the same file with predictions out; bad files, bad rows, and no leftovers."""

import contextlib
import csv
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from app_support import copy_of_folder
from serve_support import RUN, posix, put_stage_05, until

from workshop import cli
from workshop.core import score as scoring
from workshop.core.score import CHUNK
from workshop.core.stages import load_app_module
from workshop.setup.process import ROOT

HEADER = "age,workclass,education,marital_status,race,sex,hours_per_week"
PEOPLE = [
    "39,State-gov,Bachelors,Never-married,White,Male,40",
    "50,,Doctorate,Married-civ-spouse,Black,Female,20",
    ' 28 ,Private,"HS-grad",Divorced,Other,Female,38.0',
]


def table(rows):
    return "\n".join([HEADER, *rows, ""]).encode()


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder with stage 05 and its model."""
    work = tmp_path_factory.mktemp("work")
    put_stage_05(work)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("WORKSHOP_WORK", str(work))
        patched.setattr(cli, "use_my_copy", lambda: None)  # takes time, and is tested elsewhere
        yield work


@pytest.fixture
def score(work, tmp_path, capsys):
    """Scores a CSV file; returns exit code, result, rows set aside, and output."""

    def score(content, *options):
        source, target = tmp_path / "people.csv", tmp_path / "scored.csv"
        source.write_bytes(content)
        code = cli.run(["score", "05", str(source), "-o", str(target), *options])
        assert not list(tmp_path.glob(".*")), "nothing half-written stays behind"
        aside = tmp_path / "scored.bad.csv"
        bad = [*csv.reader(aside.open(encoding="utf-8", newline=""))] if aside.exists() else None
        return code, target.read_bytes() if target.exists() else None, bad, capsys.readouterr()

    return score


def by_api(work, content):
    """The API's response to the same file, as CSV."""
    folder = work / "apps" / "05_census" / "model"
    client = load_app_module("05_census").create_app({"MODEL_FOLDER": folder}).test_client()
    sent = {"data": content, "content_type": "text/csv", "headers": {"Accept": "text/csv"}}
    return client.post("/api/v1/predictions/batch", **sent)


ODD = "\ufeffsex,age,education,marital_status,race,hours_per_week\r\nMale,39,HS-grad,Divorced,Other,40"
CHUNKS = [table((PEOPLE * 5)[:count]) for count in (13, 14, 15)]  # one row less or more than fits


@pytest.mark.parametrize(
    "content", [*CHUNKS, ODD.encode()], ids=["13", "14", "15", "odd columns and ends"]
)
def test_the_result_is_byte_for_byte_what_the_api_answers(score, work, monkeypatch, content):
    monkeypatch.setattr(scoring, "CHUNK", 7)
    code, scored, aside, said = score(content)
    assert (code, aside) == (0, None)
    assert scored == by_api(work, content).data
    assert f"{len(content.splitlines()) - 1} scored in " in said.out


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
    code, scored, (header, *rows), said = score(table(content))
    assert (code, len(scored.splitlines())) == (3, 1 + 4)
    assert header == ["line", "problem", *HEADER.split(",")]
    assert [int(line) for line, *_ in rows] == list(bad)
    for line, problem, *cells in rows:
        [row] = csv.reader(bad[int(line)].splitlines(keepends=True))
        assert cells == row
        errors = by_api(work, table([bad[int(line)]])).json["errors"]
        assert problem == "; ".join(f"{each['field']}: {each['message']}" for each in errors)
    assert "scored.bad.csv: 4 set aside, each with its line and problem\n  line 3: age" in said.err


def test_of_many_bad_rows_the_first_are_named_and_their_file_replaces_no_other(score, tmp_path):
    aside = tmp_path / "scored.bad.csv"
    aside.write_text("fixed by hand", encoding="utf-8")
    code, scored, _, said = score(table(["1" + PEOPLE[0]] * 8))
    assert (code, len(scored.splitlines())) == (3, 1), "only the column names"
    assert said.err.count("\n  line ") == 5
    assert "\n  and 3 more\n" in said.err
    assert "scored.bad-2.csv: 8 set aside" in said.err
    assert score(b"nonsense\n")[:2] == (1, scored), "a result stays if a later run fails"
    assert aside.read_text(encoding="utf-8") == "fixed by hand"


NO_FORM = {
    "semicolons": (b"age;sex\n39;Male\n", "Separate the columns with commas, not semicolons."),
    "latin-1": (f"{HEADER}\n39,Büro".encode("latin-1"), "from line 2 on: it isn't UTF-8."),
    "open quote": (f'{HEADER}\n39,"State-gov\n'.encode(), "from line 2 on: unexpected end"),
}


@pytest.mark.parametrize(("content", "told"), NO_FORM.values(), ids=NO_FORM)
def test_a_file_that_has_no_form_is_one_sentence_and_nothing_is_written(score, content, told):
    code, scored, aside, said = score(content)
    assert (code, scored, aside) == (1, None, None)
    assert told in said.err
    assert "Traceback" not in said.err


def test_what_it_wrote_can_be_scored_again_and_nothing_into_itself(score, tmp_path):
    _, scored, aside, _ = score(table([*PEOPLE, "7" + PEOPLE[0]]))
    assert score(scored)[:2] == (0, scored)
    fixed = [aside[0], [*aside[1][:2], *PEOPLE[0].split(",")]]  # as somebody does by hand
    again = score("\n".join(",".join(row) for row in fixed).encode())[1]
    assert again.splitlines() == scored.splitlines()[:2]
    # Of two `-o`, the last one counts.
    assert "would replace" in score(again, "-o", str(tmp_path / "people.csv"))[-1].err
    assert (tmp_path / "people.csv").read_bytes() == again


@posix
def test_a_pipe_gets_the_result_and_stays_a_pipe(score, tmp_path):
    scored, pipe = score(table(PEOPLE))[1], tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE) as cat:
        assert score(table(PEOPLE), "-o", str(pipe))[0] == 0
        assert cat.stdout.read() == scored
    assert pipe.is_fifo()


def begin(folder, source="people.csv", target="scored.csv", **streams):
    command = [sys.executable, "-c", RUN, "score", "05", source, "-o", target]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, cwd=folder, env=environ, **pipes | streams)


def test_it_reads_and_writes_standard_streams(score, work, tmp_path):
    content = table([*PEOPLE, "1" + PEOPLE[0]])
    scored = score(content)[1]
    told, problems = (process := begin(tmp_path, "-", "-")).communicate(content)
    assert (process.returncode, told) == (3, scored), problems
    assert b"scored.bad-2.csv: 1 set aside" in problems, "in the current folder"
    with (tmp_path / "people.csv").open("rb") as source:
        told = begin(tmp_path, "-", "people.csv", stdin=source).communicate()[1]
    assert b"would replace" in told
    assert (tmp_path / "people.csv").read_bytes() == content
    with begin(tmp_path, "-", "-") as head:
        head.stdout.close()  # as `| head` does when it has read enough
        head.stdin.write(content)
        head.stdin.close()
        assert b"Broken pipe" not in (told := head.stderr.read()), told


def test_without_a_folder_a_way_to_score_or_a_model_it_says_what_to_do(
    score, tmp_path, monkeypatch, capsys
):
    assert "There is no folder " in score(b"", "-o", str(tmp_path / "no" / "s.csv"))[-1].err
    assert cli.run(["score", "04", os.devnull, "-o", str(tmp_path / "s.csv")]) == 1
    told = capsys.readouterr().err
    assert told == "stage 04_iris can't score a CSV file; stage 05 can.\n"
    copy_of_folder("05_census", tmp_path / "apps" / "05_census")
    monkeypatch.setenv("WORKSHOP_WORK", str(tmp_path))
    assert "There is no trained model yet; build it with " in score(b"")[-1].err


@pytest.mark.slow
@posix
def test_interrupted_it_leaves_nothing_behind(work, tmp_path):
    source = tmp_path / "people.csv"
    source.write_bytes(table([PEOPLE[0]] * 2_000_000))
    process = begin(tmp_path)
    until(lambda: any(part.stat().st_size > 100_000 for part in tmp_path.glob(".score-*/*")))
    process.send_signal(signal.SIGINT)
    assert b"Traceback" not in process.communicate()[1]
    assert process.returncode == 130
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.slow
def test_ten_times_the_people_take_the_same_memory(work, tmp_path):
    peaks = []
    for count in (3 * CHUNK, 30 * CHUNK):
        (tmp_path / "people.csv").write_bytes(table([PEOPLE[0]] * count))
        process, peak = begin(tmp_path), 0
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            with contextlib.suppress(psutil.NoSuchProcess):
                peak = max(peak, watched.memory_info().rss)
            time.sleep(0.01)
        assert process.returncode == 0
        peaks.append(peak)
    assert peaks[1] < 1.15 * peaks[0], peaks
