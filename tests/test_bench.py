"""`bench`: what it measures for real, in seconds instead of minutes, and what it makes of the figures."""

import json
import re

import pytest

from workshop import bench, cli
from workshop.bench import Result, Settings


@pytest.fixture
def result():
    """A result without any figures yet."""
    machine = {"processor": "P", "cores": "2", "memory": "8 GB", "system": "S"}
    settings = Settings(rounds=1, seconds=0.2, people=10_000, peers=False)
    return Result("2026-01-02", machine, {"python": "3.12.1"}, settings)


def test_one_run_measures_right_answers_behind_a_server_and_writes_what_it_found(tmp_path, capsys):
    options = ["--only", "requests", "--no-peers", "--rounds", "1", "--seconds", "0.2"]
    cli.run(
        ["bench", *options, "-o", str(tmp_path)]
    )  # whether a goal is met, a busy machine decides
    found = json.loads((tmp_path / "bench.json").read_text(encoding="utf-8"))
    rates = {each["name"]: each["median"] for each in found["figures"]}
    assert set(rates) >= {bench.OURS, "Flask, plain pipeline"}
    assert all(rate > 0 for rate in rates.values())
    [ratio] = found["ratios"]
    floor = next(rate for name, rate in rates.items() if name.startswith("the floor"))
    assert ratio["ratio"] == pytest.approx(rates[bench.OURS] / floor)
    assert bench.as_text(found) in capsys.readouterr().out
    assert "<svg" in (tmp_path / "bench.svg").read_text(encoding="utf-8")


def test_wrong_answers_are_no_measure():
    with pytest.raises(bench.BenchFailed, match="gave 2 wrong answers of 5"):
        bench.rate(lambda port, seconds: (3, 2), 1, 0.1, "It")


@pytest.mark.parametrize(
    ("ratio", "goal", "met"),
    [
        (0.9, "at least 0.9", True),
        (0.89, "at least 0.9", False),
        (1.5, "at most 1.5", True),
        (1.51, "at most 1.5", False),
    ],
)
def test_a_goal_is_a_least_or_a_most(result, ratio, goal, met):
    result.compare("requests", "a / b", [ratio, ratio / 2, ratio * 2], goal)
    assert (result.ratios[0].ratio, result.ratios[0].met) == (ratio, met)


def test_an_unknown_section_lists_those_there_are(capsys):
    assert cli.run(["bench", "--only", "everything"]) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "there is no section 'everything'; there are requests, parts, batch" in told


def test_a_program_that_fails_is_named(monkeypatch, tmp_path):
    (tmp_path / "broken.py").write_text("raise SystemExit('no model')", encoding="utf-8")
    monkeypatch.setattr(bench, "BENCHMARKS", tmp_path)
    with pytest.raises(bench.BenchFailed, match=r"benchmarks/broken.py failed: no model"):
        bench.run_program("broken.py")


def test_the_documentation_s_tables_and_plot_come_from_one_run():
    note = bench.NOTE.read_text(encoding="utf-8")
    stored = json.loads(bench.PICTURE.with_suffix(".json").read_text(encoding="utf-8"))
    assert bench.as_text(stored) in note
    drawn = bench.PICTURE.read_text(encoding="utf-8")
    for each in stored["figures"]:
        if each["section"] == "requests":
            assert f"<!-- {each['median']:,.0f} -->" in drawn, each["name"]
    assert {each["section"] for each in stored["figures"]} == set(bench.SECTIONS)
    assert re.search(rf"!\[[^]]+\]\(images/{bench.PICTURE.name}\)", note)


def test_new_figures_replace_the_old_ones_and_nothing_else(tmp_path, monkeypatch, result):
    note = tmp_path / "speed.md"
    note.write_text(f"before\n{bench.BEGIN}\nold\n{bench.END}\nafter\n", encoding="utf-8")
    monkeypatch.setattr(bench, "NOTE", note)
    monkeypatch.setattr(bench, "PICTURE", tmp_path / "speed.svg")
    result.add("requests", bench.OURS, "answers/s", [1, 3, 2])
    found = bench.asdict(result)
    bench.write_docs(found)
    text = note.read_text(encoding="utf-8")
    assert text == f"before\n{bench.BEGIN}\n\n{bench.as_text(found)}\n\n{bench.END}\nafter\n"
    assert "| Flask, stage 05 |      2 |      1 |       3 | answers/s |" in text
    assert json.loads((tmp_path / "speed.json").read_text(encoding="utf-8")) == found
