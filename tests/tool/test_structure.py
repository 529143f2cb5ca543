"""Which modules may import which, and how long a module may be.

`faults` reads a tree's imports without running anything, so the tests can also give it small trees that break
the rules. Imports inside functions and under `TYPE_CHECKING` count like all others.
"""

import ast
import graphlib
import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from workshop.setup.process import ROOT

# What each folder of workshop/ may import from, besides itself. The last three are files.
MAY_IMPORT = {
    "setup": set(),
    "core": {"setup"},
    "host": {"setup", "core"},
    "learn": {"setup", "core"},
    "teach": {"setup", "core", "host", "learn"},
    "upkeep": {"setup", "core", "host", "learn"},
    "cli": {"setup", "core", "host", "learn", "teach", "upkeep"},
    "__main__": {"setup", "cli"},
    "__init__": {"core", "host", "learn"},
}
STANDARD_LIBRARY_ONLY = {"setup", "__main__"}  # they run before anything is installed

LONGEST = 350  # lines of a module in workshop/
EXERCISES = "workshop/learn/exercises"
# The most lines that the .py files below a folder may have together; workshop/ without its exercises.
BUDGETS = {"workshop": 6260, EXERCISES: 2900}

# The first notebook shows the workshop itself; all others know only its helpers.
SHOWN = {"00_start_here": {"workshop.core.stages", "workshop.teach.doctor"}}


def faults(root: Path) -> list[str]:
    """Each violation of the rules in the repository at `root`, as a sentence that starts with a path."""
    checks = room_faults, app_faults, notebook_faults, size_faults
    return [fault for check in checks for fault in check(root)]


def imports(source: str, package: str = "") -> Iterator[str]:
    """The dotted names that a module in `package` imports; `a.b` for `from a import b`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            yield from (f"{base}.{alias.name}" for alias in node.names)


def modules_of(folder: Path, root: Path) -> dict[str, Path]:
    """The modules below a folder by their dotted names; `__init__` counts as a module of its own."""
    files = sorted(file for file in folder.rglob("*.py") if "__pycache__" not in file.parts)
    return {".".join(file.relative_to(root).with_suffix("").parts): file for file in files}


def room_faults(root: Path) -> Iterator[str]:
    """Imports in workshop/ against `MAY_IMPORT`, and a circle of its files."""
    modules = modules_of(root / "workshop", root)
    graph: dict[str, set[str]] = {name: set() for name in modules}
    for name, file in modules.items():
        room, package = name.split(".")[1], name.rpartition(".")[0]
        if room not in MAY_IMPORT:
            yield f"{name} is in none of the folders {', '.join(MAY_IMPORT)}"
            continue
        for imported in imports(file.read_text(encoding="utf-8"), package):
            target, top = imported, imported.partition(".")[0]
            while target and not {target, f"{target}.__init__"} & modules.keys():
                target = target.rpartition(".")[0]
            if target:
                target = target if target in modules else f"{target}.__init__"
                graph[name].add(target)
                if target.split(".")[1] not in MAY_IMPORT[room] | ({room} - {"__init__"}):
                    yield f"{name} imports {imported}, which {room} may not know"
            elif room in STANDARD_LIBRARY_ONLY and top not in sys.stdlib_module_names:
                yield f"{name} imports {imported}, and {room} has only the standard library"
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        yield f"{' > '.join(reversed(error.args[1]))} is a circle of imports"


def app_faults(root: Path) -> Iterator[str]:
    """Imports of apps from workshop/ or from another app's folder."""
    files = modules_of(root / "apps", root)
    for name, file in files.items():
        others = {other.stem for other in files.values() if other.parent != file.parent}
        own = {other.stem for other in file.parent.glob("*.py")}
        for imported in imports(file.read_text(encoding="utf-8"), name.rpartition(".")[0]):
            if imported.partition(".")[0] in others - own | {"workshop"}:
                yield f"{name} imports {imported}, which is outside its folder"


def notebook_faults(root: Path) -> Iterator[str]:
    """Imports of notebooks from the workshop's insides."""
    for file in sorted(root.glob("notebooks/*.ipynb")):
        found = re.findall(
            r"\b(?:from|import) (workshop\.[\w.]+)", file.read_text(encoding="utf-8")
        )
        for name in set(found) - SHOWN.get(file.stem, set()):
            yield f"{file.stem} imports {name}: it may take helpers from workshop only"


def size_faults(root: Path) -> Iterator[str]:
    """Modules of workshop/ that are too long, and folders over their budget."""
    totals = dict.fromkeys(BUDGETS, 0)
    for name, file in modules_of(root / "workshop", root).items():
        count = file.read_bytes().count(b"\n")
        totals[EXERCISES if root / EXERCISES in file.parents else "workshop"] += count
        if count > LONGEST:
            yield f"{name} has {count} lines; the most is {LONGEST}"
    for folder in (folder for folder, total in totals.items() if total > BUDGETS[folder]):
        yield f"{folder} has {totals[folder]:,} lines; its budget is {BUDGETS[folder]:,}"


def test_the_repository_keeps_the_rules():
    found = faults(ROOT)
    assert not found, "\n".join(found)


SOUND = {
    "workshop/cli.py": "import click\nfrom workshop.core import a\n",
    "workshop/setup/process.py": "import os\n",
    "workshop/core/a.py": "import pandas\nfrom workshop.setup.process import ROOT\n",
    "workshop/learn/exercises/__init__.py": "from workshop.core.a import b\n",
    "workshop/learn/exercises/iris.py": "from workshop.learn.exercises import c\n",
    "workshop/host/a.py": "from workshop.core.a import b\nfrom . import b\n",
    "workshop/host/b.py": "",
    "apps/01_hello/app.py": "import flask\nimport hello_forms\n",
    "apps/01_hello/hello_forms.py": "import wtforms\n",
    "apps/02_other/other_forms.py": "",
}
# Each file, with this text, breaks exactly one rule.
BROKEN = [
    ("workshop/core/b.py", "def f():\n    from workshop.host import a"),
    ("workshop/setup/b.py", "def f():\n    import click"),
    ("workshop/kitchen/a.py", ""),
    ("workshop/learn/exercises/__init__.py", "from . import iris"),
    ("workshop/core/b.py", "\n" * (LONGEST + 1)),
    ("apps/01_hello/app.py", "def f():\n    from workshop import show"),
    ("apps/01_hello/app.py", "import other_forms"),
    ("notebooks/01_hello.ipynb", "from workshop.core.a import b"),
]


@pytest.mark.parametrize("broken", [None, *BROKEN])
def test_only_a_violation_is_found_and_named(tmp_path, broken):
    for path, text in (SOUND | dict([broken] if broken else [])).items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    found = faults(tmp_path)
    assert len(found) == bool(broken), found
    assert not broken or Path(broken[0]).stem in found[0]
