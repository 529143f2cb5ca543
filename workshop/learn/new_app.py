"""`python3 -m workshop new`: makes the learner's own app from stage 07 and their table.

The new folder is a copy of `apps/07_yours` with the table in it, as `data.csv`, and a model that the folder's
`train.py` trains on it. So learners get the same code they were taught.
"""

import os
import secrets
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from workshop.core.errors import WorkshopError
from workshop.core.own_apps import check_name
from workshop.setup.process import ROOT

TEMPLATE = ROOT / "apps" / "07_yours"
TABLE = "data.csv"
# What running the template leaves there, and what no copy should contain.
MADE = shutil.ignore_patterns(
    "model", "instance", "__pycache__", ".pytest_cache", ".venv", "*.csv", "*.log"
)


def new_app(
    name: str,
    csv: Path,
    target: str,
    *,
    task: str | None = None,
    drop: Sequence[str] = (),
    keep: Sequence[str] = (),
    model: str = "auto",
    say: Callable[[str], object],
    apps_folder: Path,
) -> Path:
    """Make the app `name` in `apps_folder`, which predicts the column `target` of the file `csv`.

    Returns the app's folder. `say` is called with each sentence about the table and the model. Raises
    `WorkshopError` and leaves no folder behind if the app can't be made.
    """
    folder = apps_folder / check_name(name)
    if folder.exists():
        raise WorkshopError(f"there is already an app {name}, in {folder}: choose another name.")
    try:
        table = csv.read_bytes()
    except OSError as error:
        raise WorkshopError(
            f"the table {csv} can't be read ({error.strerror}): give --csv the path of a CSV file."
        ) from error
    options = [f"--task={task}"] if task else []
    options += [f"--model={model}"] if model != "auto" else []
    options += [f"--drop={column}" for column in drop] + [f"--keep={column}" for column in keep]
    # Never listed as an app, because its name has dots.
    partial = apps_folder / f".{name}.{secrets.token_hex(4)}.tmp"
    try:
        shutil.copytree(TEMPLATE, partial, ignore=MADE)
        (partial / TABLE).write_bytes(table)
        _train(partial, [*options, "--", TABLE, target], say)
        readme = (partial / "README.md").read_text(encoding="utf-8")
        readme = readme.replace("title: Palmer penguins", f"title: {name}")
        readme = readme.replace("data.csv species", shlex.join([*options, TABLE, target]))
        (partial / "README.md").write_text(readme, encoding="utf-8", newline="\n")
        partial.rename(folder)
    except OSError as error:
        raise WorkshopError(
            f"the app can't be made in {apps_folder} ({error.strerror}): make room, or choose another name."
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    say(f"Your app is in {folder}. Run it with: python3 -m workshop app {name}")
    return folder


def _train(folder: Path, arguments: list[str], say: Callable[[str], object]) -> None:
    """Run the folder's `train.py` and pass on its output. Raises `WorkshopError` with the reason it fails."""
    settings = dict.fromkeys(("PYTHONUTF8", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"), "1")
    with subprocess.Popen(
        [sys.executable, "train.py", *arguments],
        cwd=folder,
        env=os.environ | settings,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
    ) as run:
        try:
            for line in run.stdout:
                say(line.rstrip())
            problem = run.stderr.read().strip()  # short: a sentence, or a traceback
        except BaseException:
            run.kill()
            raise
    if run.returncode:
        reason = (problem or "train.py stopped without giving a reason.").splitlines()[-1]
        raise WorkshopError(f"No app was made. {reason}")
