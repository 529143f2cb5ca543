"""Everyone in a CSV file, judged by a stage's model: `workshop score STAGE people.csv -o scored.csv`.

The file is read, judged and written in chunks, so a file of any size takes the same memory. What a row may
look like, and what is wrong with one, the stage's own module says (`census_csv`), with the code that answers
the API: a file of good rows becomes, byte for byte, what the API answers. One bad row refuses a whole batch
there; here it is set aside with its line number, for who scores a million people wants the other 999,999.
"""

import contextlib
import csv
import io
import itertools
import secrets
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from types import ModuleType
from typing import Any

import click

from workshop.core.build import model_module
from workshop.core.errors import WorkshopError
from workshop.core.stages import Stage, load_module

CHUNK = 10_000  # rows; the most that the API takes in one call
ANSWER = ["probability", "label"]  # the columns that are added
MOST_SHOWN = 5  # bad rows that are named on the terminal; the file has them all


class ScoringFailed(WorkshopError):
    """A file can't be scored, and nothing was written."""


@dataclass(frozen=True)
class Chunk:
    """Some rows of a file as they were written, and the line in which each begins, counted from 1."""

    lines: list[int]
    rows: list[list[str]]


@dataclass
class Outcome:
    """What became of a file: rows judged, rows set aside, and the first of these in words."""

    judged: int = 0
    set_aside: int = 0
    first: list[str] = field(default_factory=list)


# What a stage's module answers for a chunk: for each row the cells to add, or None, and the errors with
# their row's index. A way to judge takes the chunks and gives each back with its answers, in order.
Answers = tuple[list[tuple[float, str] | None], list[dict[str, Any]]]
Judge = Callable[[Iterable[Chunk]], Iterator[tuple[Chunk, Answers]]]


def score(stage: Stage, source: Path, target: Path, dask: str | None = None) -> Outcome:
    """Judge everyone in the CSV file `source` into the CSV file `target`; set bad rows aside beside it.

    With `dask`, the address of a Dask scheduler, its workers judge. Both files are written whole under
    temporary names first, then renamed. Raises `ScoringFailed`, and then neither is there.
    """
    module, model = judge_of(stage)
    aside = target.with_suffix(".bad.csv")
    check_targets(source, target, aside)
    part = f".{secrets.token_hex(4)}.part"
    parts = {path: path.with_name(path.name + part) for path in (target, aside)}
    try:
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(source.open("rb"))
            text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
            written, bad = (
                csv.writer(stack.enter_context(path.open("w", encoding="utf-8", newline="")))
                for path in parts.values()
            )
            size, label = source.stat().st_size, f"Scoring {source.name}"
            bar = stack.enter_context(click.progressbar(length=size, label=label, file=sys.stderr))
            rows = csv.reader(text, strict=True)
            header = read_header(rows, source, module)
            written.writerow([*header, *ANSWER])
            bad.writerow(["line", "problem", *header])
            judge = stack.enter_context(judging(stage, module, model, header, dask))
            outcome = Outcome()
            for chunk, (answers, errors) in judge(chunks_of(rows, source)):
                write_chunk(chunk, answers, errors, written, bad, outcome)
                bar.update(file.tell() - bar.pos)
        parts[target].replace(target)
        if outcome.set_aside:
            parts[aside].replace(aside)
        else:
            aside.unlink(missing_ok=True)  # of an earlier run, whose bad rows are mended
    except OSError as error:
        raise ScoringFailed(
            f"{error.filename or source} can't be read or written ({error.strerror}): nothing was scored."
        ) from error
    finally:
        for path in parts.values():
            path.unlink(missing_ok=True)
    return outcome


def judge_of(stage: Stage) -> tuple[ModuleType, Any]:
    """The module of a stage that judges rows, and the stage's model. Raises `ScoringFailed`."""
    if not stage.model or not (stage.folder / f"{stage.model}_csv.py").exists():
        raise ScoringFailed(f"stage {stage.slug} has no way to score a CSV file; stage 05 has one.")
    models = model_module(stage)
    try:
        return load_module(stage, f"{stage.model}_csv"), models.load(stage.folder / "model")
    except models.ModelUnavailable as problem:
        raise ScoringFailed(str(problem)) from problem


def check_targets(source: Path, *targets: Path) -> None:
    """Raise `ScoringFailed` if `targets` can't be written, or writing one would destroy what is read."""
    if not targets[0].parent.is_dir():
        raise ScoringFailed(
            f"There is no folder {targets[0].parent} for the result: make it first."
        )
    for target in targets:
        if target.exists() and target.samefile(source):
            raise ScoringFailed(
                f"{target} is the file to be scored: choose another name for the result with -o."
            )


def read_header(rows: Iterator[list[str]], source: Path, module: ModuleType) -> list[str]:
    """The names of the columns. Raises `ScoringFailed` if they are not what the model takes."""
    with readable(rows, source):
        header = [name.strip() for name in next(filter(None, rows), [])]
    try:
        module.check_header(header)
    except module.Refusal as refusal:
        raise ScoringFailed(
            f"The first row of {source.name} can't be used. {in_words(refusal.errors)}"
        ) from refusal
    return header


def chunks_of(rows: Iterator[list[str]], source: Path) -> Iterator[Chunk]:
    """The rows of a `csv.reader`, some at a time. Empty lines are nobody, as for the API."""
    chunk, line = Chunk([], []), rows.line_num + 1
    while True:
        with readable(rows, source):
            row = next(rows, None)
        if row is None:
            break
        if row:
            chunk.lines.append(line)
            chunk.rows.append(row)
        line = rows.line_num + 1  # a quoted cell may have gone over several
        if len(chunk.rows) == CHUNK:
            yield chunk
            chunk = Chunk([], [])
    if chunk.rows:
        yield chunk


def in_words(errors: list[dict[str, Any]]) -> str:
    """The API's errors as one line: `age: Input should be ...; sex: Unknown category ...`."""
    return "; ".join(f"{each['field']}: {each['message']}" for each in errors)


@contextlib.contextmanager
def readable(rows: Iterator[list[str]], source: Path) -> Iterator[None]:
    """Turn what reading a row can raise into a sentence that names the line."""
    line = rows.line_num + 1
    try:
        yield
    except csv.Error as error:
        raise ScoringFailed(
            f"{source.name} can't be read from line {line} on: {error}. Mend that line."
        ) from error
    except UnicodeDecodeError as error:
        raise ScoringFailed(
            f"Line {first_broken_line(source)} of {source.name} is not in UTF-8. Save the file as UTF-8 "
            '(in Excel "CSV UTF-8") and run the command again.'
        ) from error


def first_broken_line(source: Path) -> int:
    """The line of a file that is not UTF-8; text is decoded in blocks, so reading can't tell."""
    with source.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    return 1


@contextlib.contextmanager
def judging(
    stage: Stage, module: ModuleType, model: Any, header: list[str], dask: str | None
) -> Iterator[Judge]:
    """Give the way to judge chunks: here, or on the workers of a Dask cluster."""
    if dask is None:
        yield lambda chunks: (
            (each, module.score_rows(model, header, each.rows)) for each in chunks
        )
        return
    from workshop.core.dask_cluster import cluster

    with cluster(dask, stage.folder) as on_workers:
        yield lambda chunks: on_workers(module.score_rows, model, header, chunks)


def write_chunk(
    chunk: Chunk,
    answers: list[tuple[float, str] | None],
    errors: list[dict[str, Any]],
    written: Any,
    bad: Any,
    outcome: Outcome,
) -> None:
    """Write the judged rows of a chunk to one `csv.writer`, and those set aside to another."""
    judged = zip(chunk.rows, answers, strict=True)
    written.writerows([*row, *answer] for row, answer in judged if answer is not None)
    by_row = sorted(errors, key=itemgetter("index"))
    for index, found in itertools.groupby(by_row, key=itemgetter("index")):
        line, problem = chunk.lines[index], in_words(list(found))
        bad.writerow([line, problem, *chunk.rows[index]])
        if len(outcome.first) < MOST_SHOWN:
            outcome.first.append(f"line {line}: {problem}")
    bad_rows = sum(answer is None for answer in answers)
    outcome.judged += len(chunk.rows) - bad_rows
    outcome.set_aside += bad_rows


def report(stage: Stage, source: Path, target: Path, dask: str | None) -> int:
    """Score a file and say on the terminal what became of it. Returns the exit code.

    0 if everyone was judged, 3 if rows were set aside: a script that goes on all the same can tell.
    """
    start = time.perf_counter()
    outcome = score(stage, source, target, dask)
    seconds = max(time.perf_counter() - start, 0.001)
    click.echo(
        f"{target}: {outcome.judged:,} judged in {seconds:,.1f} s, "
        f"{outcome.judged / seconds:,.0f} a second"
    )
    if not outcome.set_aside:
        return 0
    click.echo(
        f"{target.with_suffix('.bad.csv')}: {outcome.set_aside:,} set aside, with line and problem",
        err=True,
    )
    for problem in outcome.first:
        click.echo(f"  {problem}", err=True)
    if outcome.set_aside > len(outcome.first):
        click.echo(f"  and {outcome.set_aside - len(outcome.first):,} more", err=True)
    return 3
