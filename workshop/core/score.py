"""Score a CSV file of any size: `workshop score STAGE people.csv -o scored.csv`.

The file is read, scored and written in chunks, so memory use doesn't depend on its size. The stage's own
`census_csv`, which the API uses too, decides which rows are valid: for a file of good rows, the result is
byte for byte the API's response. The API rejects a whole batch because of one bad row; here that row is set
aside with its line number, because if you score a million people, you want the other 999,999.
"""

import os
import shutil
import sys
import time
from collections.abc import Iterable
from contextlib import nullcontext
from functools import partial
from itertools import count, groupby, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import click

from workshop.core.build import model_module
from workshop.core.dask_cluster import cluster
from workshop.core.errors import WorkshopError
from workshop.core.stages import Stage, load_module

CHUNK = 10_000  # rows; the most that the API takes in one call
MOST_SHOWN = 5  # bad rows shown in the terminal; the file has all of them
STANDARD = Path("-")  # standard input or output


class ScoringFailed(WorkshopError):
    """A file can't be scored; nothing was written."""


def score(stage: Stage, source: Path, target: Path, dask: str | None = None) -> int:
    """Score the people in the CSV file `source` into `target`; bad rows go to a new .bad.csv next to it.

    Either may be `-` or a pipe. With `dask`, the address of a Dask scheduler, its workers do the work. Prints
    a summary, and returns the exit code: 3 if rows were set aside, else 0. Both files appear only once they
    are complete. If it raises `WorkshopError`, neither appears.
    """
    module, model = modules_of(stage)
    if target.is_symlink() and not is_stream(target):
        target = target.resolve()  # replace the file, not the link
    near = Path("scored.csv") if is_stream(target) else target  # nothing can be next to a pipe
    if not near.parent.is_dir():
        raise ScoringFailed(f"There is no folder {near.parent} for the result: create it first.")
    name = "standard input" if source == STANDARD else source.name
    start, counts, shown = time.perf_counter(), [0, 0], []
    options = {"mode": "w", "encoding": "utf-8", "newline": ""}
    try:
        with (
            TemporaryDirectory(dir=near.parent, prefix=".score-") as new,
            click.open_file(str(source), "rb") as file,
            Path(new, "good").open(**options) as good,
            Path(new, "bad").open(**options) as bad,
            cluster(dask, stage.folder) if dask else nullcontext(run_here) as run,
            click.progressbar(
                length=os.fstat(file.fileno()).st_size, label="Scoring", file=sys.stderr
            ) as bar,
        ):
            if target.is_file():
                if os.path.samestat(os.fstat(file.fileno()), target.stat()):
                    problem = f"The result would replace {target}, which is being read"
                    raise ScoringFailed(f"{problem}: choose another file with -o.")
                if not os.access(target, os.W_OK):
                    raise ScoringFailed(f"{target} is read-only: choose another file with -o.")
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
            deliver(Path(new, "good"), target)
            if counts[1]:
                aside = Path(new, "bad").replace(unused(near.with_suffix(".bad.csv")))
    except module.Refusal as refusal:
        problem = str(refusal.description).replace("The CSV", name)
        if refusal.errors:
            problem = f"The first row of {name} can't be used. {in_words(refusal.errors)}"
        raise ScoringFailed(problem) from refusal
    except BrokenPipeError:  # `| head` has read enough, which isn't an error for click
        raise
    except OSError as error:
        problem = f"can't be read or written ({error.strerror}), so nothing was scored."
        raise ScoringFailed(f"{error.filename or target} {problem}") from error
    told = f"{counts[0]:,} scored in {time.perf_counter() - start:,.1f} s"
    click.echo(f"{target}: {told}", err=is_stream(target))
    if counts[1]:
        told = f"{aside}: {counts[1]:,} set aside, each with its line and problem"
        more = [f"  and {counts[1] - MOST_SHOWN:,} more"] if counts[1] > MOST_SHOWN else []
        click.echo("\n".join([told, *shown, *more]), err=True)
    return 3 if counts[1] else 0


def modules_of(stage: Stage) -> tuple[ModuleType, Any]:
    """The module of a stage that scores rows, and its model. Raises `ScoringFailed`."""
    if not stage.model or not (stage.folder / f"{stage.model}_csv.py").exists():
        raise ScoringFailed(f"stage {stage.slug} can't score a CSV file; stage 05 can.")
    models = model_module(stage)
    try:
        return load_module(stage, f"{stage.model}_csv"), models.load(stage.folder / "model")
    except models.ModelUnavailable as problem:
        raise ScoringFailed(str(problem)) from problem


def is_stream(output: Path) -> bool:
    """Whether a result is written there bit by bit: standard output, a pipe or a device."""
    return output == STANDARD or (output.exists() and not output.is_file())


def deliver(part: Path, output: Path) -> None:
    """Write a finished file to a stream, or replace a file with it in one step. Raises OSError."""
    if is_stream(output):
        with part.open("rb") as finished, click.open_file(str(output), "wb") as stream:
            shutil.copyfileobj(finished, stream)
            stream.flush()
        return
    if output.exists():
        shutil.copymode(output, part)
    part.replace(output)


def unused(path: Path) -> Path:
    """`path` if there is no such file yet, else `x-2.csv` for `x.csv`, and so on."""
    names = (path.with_stem(f"{path.stem}-{number}") for number in count(2))
    return next(name for name in names if not name.exists()) if path.exists() else path


def run_here(score_rows: Any, chunks: Iterable[Any]) -> Iterable[tuple[Any, Any]]:
    """Yield each chunk of rows with their lines, along with the result of `score_rows` for the rows."""
    return ((chunk, score_rows([row for _, row in chunk])) for chunk in chunks)


def in_words(errors: Iterable[dict[str, Any]]) -> str:
    """The API's errors as one line: `age: Input should be ...; sex: Unknown category ...`."""
    return "; ".join(f"{each['field']}: {each['message']}" for each in errors)
