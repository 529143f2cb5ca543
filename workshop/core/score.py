"""Score a CSV file of any size: `workshop score STAGE people.csv -o scored.csv`.

The file is read, scored and written in chunks, so it takes the same memory whatever its size. What a row may
look like is the business of the stage's own `census_csv`, which answers the API too: a file of good rows
becomes, byte for byte, what the API answers. One bad row refuses a whole batch there; here it is set aside
with its line, because somebody who scores a million people wants the other 999,999.
"""

import time
from collections.abc import Iterable
from contextlib import nullcontext
from functools import partial
from itertools import groupby, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import click

from workshop.core import streams
from workshop.core.build import model_module
from workshop.core.dask_cluster import cluster
from workshop.core.errors import WorkshopError
from workshop.core.stages import Stage, load_module

CHUNK = 10_000  # rows; the most that the API takes in one call
MOST_SHOWN = 5  # bad rows that are shown in the terminal; the file has all of them


class ScoringFailed(WorkshopError):
    """A file can't be scored, and nothing was written."""


def score(stage: Stage, source: Path, target: Path, dask: str | None = None) -> int:
    """Score the people in the CSV file `source` into `target`; bad rows go to a new .bad.csv next to it.

    Either may be `-` or a pipe. With `dask`, the address of a Dask scheduler, its workers do it. Says in the
    terminal what became of the rows, and returns the exit code: 3 if some were set aside, else 0. Both files
    appear when they are complete. Raises `WorkshopError`, and then neither does.
    """
    module, model = modules_of(stage)
    target = streams.real_output(target)
    near = Path("scored.csv") if streams.is_stream(target) else target  # nothing is next to a pipe
    if not near.parent.is_dir():
        raise ScoringFailed(f"There is no folder {near.parent} for the result: make it first.")
    name = "standard input" if source == streams.STANDARD else source.name
    start, counts, shown = time.perf_counter(), [0, 0], []
    options = {"mode": "w", "encoding": "utf-8", "newline": ""}
    try:
        with (
            TemporaryDirectory(dir=near.parent, prefix=".score-") as new,
            streams.open_input(source) as file,
            Path(new, "good").open(**options) as good,
            Path(new, "bad").open(**options) as bad,
            cluster(dask, stage.folder) if dask else nullcontext(run_here) as run,
            streams.progress(file, "Scoring") as bar,
        ):
            if streams.is_same(file, target):
                raise ScoringFailed(f"The result would replace {target}: choose another with -o.")
            rows = module.read_rows(file)
            header = module.check_header(next(rows, (1, []))[1])
            own = module.own_columns(header)
            good.write(module.write_csv([header[own]], [module.ANSWER]))
            bad.write(module.write_csv([[*module.SET_ASIDE, *header[own.start :]]], [()]))
            chunks = iter(lambda: list(islice(rows, CHUNK)), [])
            for chunk, (answers, errors) in run(partial(module.score_rows, model, header), chunks):
                good.write(module.write_csv([row[own] for _, row in chunk], answers))
                counts[0] += len(answers) - answers.count(None)
                for index, found in groupby(errors, key=lambda error: error["index"]):
                    (line, row), problem = chunk[index], in_words(found)
                    bad.write(module.write_csv([[line, problem, *row[own.start :]]], [()]))
                    counts[1] += 1
                    shown.append(f"  line {line}: {problem}")
                    del shown[MOST_SHOWN:]
                bar.update(file.tell() - bar.pos if file.seekable() else 0)
            for opened in (good, bad):
                opened.close()
            streams.deliver(Path(new, "good"), target)
            if counts[1]:
                aside = Path(new, "bad").replace(streams.unused(near.with_suffix(".bad.csv")))
    except module.Refusal as refusal:
        problem = str(refusal.description).replace("The CSV", name)
        if refusal.errors:
            problem = f"The first row of {name} can't be used. {in_words(refusal.errors)}"
        raise ScoringFailed(problem) from refusal
    except OSError as error:
        problem = f"can't be read or written ({error.strerror}): nothing was scored."
        raise ScoringFailed(f"{error.filename or target} {problem}") from error
    told = f"{counts[0]:,} scored in {time.perf_counter() - start:,.1f} s"
    click.echo(
        told if target == streams.STANDARD else f"{target}: {told}", err=target == streams.STANDARD
    )
    if counts[1]:
        told = f"{aside}: {counts[1]:,} set aside, with line and problem"
        more = [f"  and {counts[1] - MOST_SHOWN:,} more"] if counts[1] > MOST_SHOWN else []
        click.echo("\n".join([told, *shown, *more]), err=True)
    return 3 if counts[1] else 0


def modules_of(stage: Stage) -> tuple[ModuleType, Any]:
    """The module of a stage that scores rows, and the stage's model. Raises `ScoringFailed`."""
    if not stage.model or not (stage.folder / f"{stage.model}_csv.py").exists():
        raise ScoringFailed(f"stage {stage.slug} has no way to score a CSV file; stage 05 has one.")
    models = model_module(stage)
    try:
        return load_module(stage, f"{stage.model}_csv"), models.load(stage.folder / "model")
    except models.ModelUnavailable as problem:
        raise ScoringFailed(str(problem)) from problem


def run_here(score_rows: Any, chunks: Iterable[Any]) -> Iterable[tuple[Any, Any]]:
    """Give each chunk of rows with their lines, and what `score_rows` answers for the rows."""
    return ((chunk, score_rows([row for _, row in chunk])) for chunk in chunks)


def in_words(errors: Iterable[dict[str, Any]]) -> str:
    """The API's errors as one line: `age: Input should be ...; sex: Unknown category ...`."""
    return "; ".join(f"{each['field']}: {each['message']}" for each in errors)
