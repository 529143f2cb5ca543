"""The exercises that a learner has solved: `check` records them, and the gallery shows them.

Each is an empty file named after the exercise, so two notebooks can't overwrite each other's records.
"""

import contextlib
import re
from functools import cache

from workshop.core.stages import Stage, base
from workshop.setup.process import ROOT

SOLVED = ".solved"  # the folder in the learner's copy
CHECKED = re.compile(r'check\(\\"(\d\d\.\d+)\\"')  # as written in a notebook's file


def keep_solved(number: str) -> None:
    """Record that exercise `number`, such as `04.2`, is solved.

    Only in a learner's copy: the repository's own notebooks are run by their authors.
    """
    folder = base() / SOLVED
    if base() != ROOT:
        with contextlib.suppress(OSError):  # a full or read-only disk doesn't make the answer wrong
            folder.mkdir(exist_ok=True)
            (folder / number).touch()


@cache
def exercises_in(stage: Stage) -> frozenset[str]:
    """The numbers of the exercises in a stage's original notebooks."""
    files = [ROOT / "notebooks" / file.name for file in stage.notebook_files]
    return frozenset(n for f in files if f.is_file() for n in CHECKED.findall(f.read_text("utf-8")))


def solved_of(stage: Stage) -> int:
    """How many of a stage's exercises the learner has solved."""
    return sum((base() / SOLVED / number).is_file() for number in exercises_in(stage))
