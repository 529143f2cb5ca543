"""The exercises that a learner has solved: `check` keeps them, and the gallery shows them.

Each is an empty file with its number as a name, so that two notebooks can't get in each other's way.
"""

import contextlib
import re
from functools import cache

from workshop.core.stages import Stage, base
from workshop.setup.process import ROOT

SOLVED = ".solved"  # the folder in the learner's copy
CHECKED = re.compile(r'check\(\\"(\d\d\.\d+)\\"')  # as the file of a notebook has it


def keep_solved(number: str) -> None:
    """Remember that exercise `number`, such as `04.2`, is solved.

    Only in a learner's copy: the notebooks of the repository itself are run by those who write them.
    """
    folder = base() / SOLVED
    if base() != ROOT:
        with contextlib.suppress(OSError):  # no room, or no right to write: the answer is as good
            folder.mkdir(exist_ok=True)
            (folder / number).touch()


@cache
def exercises_in(stage: Stage) -> frozenset[str]:
    """The numbers of the exercises in a stage's notebooks, as they came."""
    files = [ROOT / "notebooks" / file.name for file in stage.notebook_files]
    return frozenset(n for f in files if f.is_file() for n in CHECKED.findall(f.read_text("utf-8")))


def solved_of(stage: Stage) -> int:
    """How many of a stage's exercises are solved."""
    return sum((base() / SOLVED / number).is_file() for number in exercises_in(stage))
