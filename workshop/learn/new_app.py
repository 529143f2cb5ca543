"""`python3 -m workshop new`: an app of the learner's own, made from stage 07 and their table.

The folder it makes is a copy of `apps/07_yours` with the table in it, as `data.csv`, and a model that is
trained on it by the folder's own `train.py`. So the code that is taught is the code that is given.
"""

import os
import re
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
# What running the template leaves in it, and what no copy should have.
MADE = shutil.ignore_patterns(
    "model", "instance", "__pycache__", ".pytest_cache", ".venv", "*.csv", "*.log"
)
# What Windows doesn't allow as the name of a folder.
RESERVED = re.compile(r"con|prn|aux|nul|(com|lpt)\d", re.IGNORECASE)
IN_README = {"title: Palmer penguins": "title: {name}", "data.csv species": "{arguments}"}


class NewAppFailed(WorkshopError):
    """The app can't be made; nothing is left of it."""


def new_app(
    name: str,
    csv: str | Path,
    target: str,
    *,
    task: str | None = None,
    drop: Sequence[str] = (),
    keep: Sequence[str] = (),
    model: str = "auto",
    say: Callable[[str], object] = print,
    apps_folder: Path = ROOT / "work" / "apps",
) -> Path:
    """Make the app `name` in `apps_folder` for predicting the column `target` of the file `csv`.

    Returns the app's folder. `say` is called with each sentence about the table and the model. Raises
    `NewAppFailed`, and then the folder isn't there.
    """
    folder = apps_folder / check_name(name)
    if folder.exists():
        raise NewAppFailed(f"there is an app {name} already, in {folder}: choose another name.")
    csv = Path(csv)
    options = [f"--task={task or 'auto'}", f"--model={model}"]
    options += [f"--drop={column}" for column in drop] + [f"--keep={column}" for column in keep]
    partial = apps_folder / f".{name}.{secrets.token_hex(4)}.tmp"  # no app: its name has dots
    try:
        apps_folder.mkdir(parents=True, exist_ok=True)
        shutil.copytree(TEMPLATE, partial, ignore=MADE)
        _copy_table(csv, partial / TABLE)
        _train(partial, [*options, "--", TABLE, target], say)
        _write_readme(partial / "README.md", name, [*without_defaults(options), TABLE, target])
        partial.rename(folder)
    except OSError as error:
        raise NewAppFailed(
            f"the app can't be made in {apps_folder} ({error.strerror}): make room, or choose another name."
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    say(f"Your app is in {folder}. Run it with: python3 -m workshop app {name}")
    return folder


def _copy_table(csv: Path, place: Path) -> None:
    """Copy the learner's table, as it is. Raises `NewAppFailed` if it can't be read."""
    try:
        shutil.copyfile(csv, place)
    except OSError as error:
        raise NewAppFailed(
            f"the table {csv} can't be read ({error.strerror}): give --csv the path of a CSV file."
        ) from error


def _train(folder: Path, arguments: list[str], say: Callable[[str], object]) -> None:
    """Run the folder's own `train.py` and pass on what it says. Raises `NewAppFailed` with its reason."""
    run = subprocess.Popen(
        [sys.executable, "train.py", *arguments],
        cwd=folder,
        env=os.environ
        | {"PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
    )
    with run:  # closes the pipes, and waits
        try:
            for line in run.stdout:
                say(line.rstrip())
            problem = run.stderr.read().strip()  # short: a sentence, or a traceback
        except BaseException:
            run.kill()
            raise
    if run.returncode:
        reason = (problem or "train.py ended without a reason").splitlines()[-1]
        raise NewAppFailed(f"No app was made. {reason}")


def without_defaults(options: list[str]) -> list[str]:
    """Return the options of `train.py` that are not its defaults anyway."""
    return [option for option in options if option not in ("--task=auto", "--model=auto")]


def _write_readme(readme: Path, name: str, arguments: list[str]) -> None:
    """Put the app's name, and what trains its model, into the README that came with the template."""
    text = readme.read_text(encoding="utf-8")
    told = {"name": name, "arguments": shlex.join(arguments)}
    for before, after in IN_README.items():
        text = text.replace(before, after.format(**told))
    readme.write_text(text, encoding="utf-8", newline="\n")
