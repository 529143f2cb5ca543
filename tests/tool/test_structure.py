"""Which modules may import which, how long a module may be, and where the repository's root is defined.

`faults` reads a tree's imports without running anything, so the tests can also give it small trees that break
the rules. Imports inside functions and under `TYPE_CHECKING` count like all others.
"""

import ast
import graphlib
import json
import re
import sys
from collections.abc import Collection, Iterator
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
FILES = {"cli", "__main__", "__init__"}
STANDARD_LIBRARY_ONLY = {"setup", "__main__"}  # they run before anything is installed

BY_NAME = {"import_module", "__import__"}

LONGEST = 350  # lines of a module in workshop/
EXERCISES = "workshop/learn/exercises"
# The most lines that the .py files below a folder may have together; workshop/ without its exercises.
BUDGETS = {"workshop": 6260, EXERCISES: 2900}

# The first notebook shows the workshop itself; all others know only its helpers.
SHOWN = {"00_start_here": {"workshop.core.stages", "workshop.teach.doctor"}}


def faults(root: Path) -> list[str]:
    """Each violation of the rules in the repository at `root`, as a sentence that starts with a path."""
    return [
        *room_faults(root),
        *app_faults(root),
        *notebook_faults(root),
        *init_faults(root),
        *root_faults(root),
        *size_faults(root),
    ]


def imports(source: str, package: str, known: Collection[str]) -> Iterator[tuple[str, int]]:
    """The dotted names that a module imports, each with its line.

    `package` is what relative imports start from. `from a import b` counts as `a.b`, because `b` may be a
    module. Where a module imports by name, with `import_module`, the strings in it that are `known` count.
    """
    nodes = list(ast.walk(ast.parse(source)))
    called = {node.func for node in nodes if isinstance(node, ast.Call)}
    names = {getattr(each, "attr", getattr(each, "id", None)) for each in called}
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: package.count(".") + 2 - node.level] if node.level else []
            base = [*above, *([node.module] if node.module else [])]
            yield from ((".".join([*base, alias.name]), node.lineno) for alias in node.names)
        elif isinstance(node, ast.Constant) and names & BY_NAME and node.value in known:
            yield node.value, node.lineno


def python_files(folder: Path) -> list[Path]:
    """The Python files below a folder, in a fixed order."""
    return sorted(file for file in folder.rglob("*.py") if "__pycache__" not in file.parts)


def lines_of(file: Path) -> int:
    return file.read_bytes().count(b"\n")


def app_folders(root: Path) -> list[Path]:
    return sorted(folder for folder in root.glob("apps/*") if folder.is_dir())


def strangers(root: Path) -> set[str]:
    """Top-level names that workshop/ never imports, and an app only if the module is its own."""
    files = [*root.glob("apps/*/*.py"), *root.glob("tools/*.py"), *root.glob("tests/*.py")]
    return {"apps", "notebooks", "tests", "tools"} | {file.stem for file in files}


def circle_faults(graph: dict[str, set[str]]) -> Iterator[str]:
    """A circle in a graph of imports, if there is one."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        yield f"{' > '.join(reversed(error.args[1]))} is a circle of imports"


def room_of(name: str) -> str:
    """The folder of a module in workshop/, or its name if it has none; `__init__` for the package."""
    return [*name.split("."), "__init__"][1]


def room_faults(root: Path) -> Iterator[str]:
    """Imports in workshop/ against `MAY_IMPORT`, and a circle of its files."""
    modules = {}
    for file in python_files(root / "workshop"):
        name = ".".join(file.relative_to(root).with_suffix("").parts)
        modules[name.removesuffix(".__init__")] = file
    outside = strangers(root) - sys.stdlib_module_names
    graph: dict[str, set[str]] = {name: set() for name in modules}
    for name, file in modules.items():
        place, room = file.relative_to(root).as_posix(), room_of(name)
        if room not in MAY_IMPORT or (room in FILES) != (file.parent == root / "workshop"):
            yield f"{place} is in none of the folders {', '.join(sorted(MAY_IMPORT.keys() - FILES))}"
            continue
        package = name if file.name == "__init__.py" else name.rpartition(".")[0]
        for imported, line in imports(file.read_text(encoding="utf-8"), package, modules):
            target, top = imported, imported.partition(".")[0]
            while target and target not in modules:
                target = target.rpartition(".")[0]
            if target:
                graph[name].add(target)
                if room_of(target) not in MAY_IMPORT[room] | ({room} - {"__init__"}):
                    yield f"{place}:{line} imports {imported}, which {room} may not know"
            elif top in outside:
                yield f"{place}:{line} imports {imported}, which is outside workshop/"
            elif room in STANDARD_LIBRARY_ONLY and top not in sys.stdlib_module_names:
                yield f"{place}:{line} imports {imported}, and {room} has only the standard library"
    yield from circle_faults(graph)


def app_faults(root: Path) -> Iterator[str]:
    """Imports of apps from outside their folder, and a circle in one of them."""
    for folder in app_folders(root):
        files = python_files(folder)
        own = {file.stem: file for file in files if file.parent == folder}
        other = (strangers(root) | {"workshop"}) - own.keys() - sys.stdlib_module_names
        graph: dict[str, set[str]] = {}
        for file in files:
            place = file.relative_to(root).as_posix()
            package = ".".join(file.relative_to(root).parts[:-1])
            graph[place] = set()
            for imported, line in imports(file.read_text(encoding="utf-8"), package, other):
                top = imported.partition(".")[0]
                if top in own:
                    graph[place].add(own[top].relative_to(root).as_posix())
                elif top in other:
                    yield f"{place}:{line} imports {imported}, which is outside its folder"
        yield from circle_faults(graph)


def notebook_faults(root: Path) -> Iterator[str]:
    """Imports of notebooks from the workshop's insides."""
    for file in sorted(root.glob("notebooks/*.ipynb")):
        cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
        code = ("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
        for name in re.findall(r"^\s*(?:from|import)\s+(workshop\.[\w.]+)", "\n".join(code), re.M):
            if name not in SHOWN.get(file.stem, ()):
                yield f"notebooks/{file.name} imports {name}: it may take helpers from workshop only"


def init_faults(root: Path) -> Iterator[str]:
    """Rooms without an `__init__.py`, or with code in it. A package inside a room may have some."""
    for room in sorted(MAY_IMPORT.keys() - FILES):
        file = root / "workshop" / room / "__init__.py"
        if not file.is_file():
            yield f"workshop/{room} has no __init__.py"
        elif file.read_bytes().strip():
            yield f"workshop/{room}/__init__.py isn't empty"


def root_faults(root: Path) -> Iterator[str]:
    """Modules of workshop/ that define the repository's root again, under any name."""
    climbing = re.compile(r"__file__.*(\.parent\.parent\b|\.parents\[)")
    for file in python_files(root / "workshop"):
        place = file.relative_to(root).as_posix()
        text = file.read_text(encoding="utf-8")
        if place != "workshop/setup/process.py":
            if re.search(r"^ROOT\b.*=", text, re.MULTILINE) or climbing.search(text):
                yield f"{place} defines its own root: import ROOT from workshop.setup.process"
        elif not re.search(r"^ROOT = ", text, re.MULTILINE):
            yield f"{place} doesn't define ROOT"


def size_faults(root: Path) -> Iterator[str]:
    """Modules of workshop/ that are too long, and folders over their budget."""
    files = {
        file.relative_to(root).as_posix(): lines_of(file) for file in root.glob("workshop/**/*.py")
    }
    for place, count in sorted(files.items()):
        if count > LONGEST:
            yield f"{place} has {count} lines; the most is {LONGEST}"
    for folder, most in BUDGETS.items():
        inner = [other for other in BUDGETS if other.startswith(f"{folder}/")]
        total = sum(
            count
            for place, count in files.items()
            if place.startswith(f"{folder}/") and not place.startswith(tuple(inner) or "-")
        )
        if total > most:
            yield f"{folder} has {total:,} lines; its budget is {most:,}"


def test_the_repository_keeps_the_rules():
    found = faults(ROOT)
    assert not found, "\n".join(found)


def notebook(source: str) -> str:
    return json.dumps({"cells": [{"cell_type": "code", "source": [source]}]})


SOUND = {f"workshop/{room}/__init__.py": "" for room in MAY_IMPORT.keys() - FILES} | {
    "workshop/__init__.py": "def show():\n    from workshop.learn.a import show\n",
    "workshop/cli.py": "import click\nfrom workshop.teach import a\n",
    "workshop/setup/process.py": "import os\nROOT = 1\n",
    "workshop/core/a.py": "import pandas\nfrom workshop.setup.process import ROOT\n",
    "workshop/learn/a.py": "from workshop.core import a\n",
    "workshop/learn/exercises/__init__.py": "from workshop.core.a import b\n",
    "workshop/learn/exercises/iris.py": "from workshop.learn.exercises import c\n",
    "workshop/host/a.py": "from workshop.core.a import b\nfrom . import b\n",
    "workshop/teach/a.py": "import workshop.host.a\nfrom workshop.learn import exercises\n",
    "apps/01_hello/app.py": "import flask\nimport hello_forms\n",
    "apps/01_hello/hello_forms.py": "import wtforms\n",
    "apps/02_other/other_forms.py": "",
    "tools/bench.py": "import workshop.cli\n",
    "notebooks/01_hello.ipynb": notebook("from workshop import show"),
}
# A file whose text breaks exactly one rule.
BROKEN = {
    "inside a function": ("workshop/core/b.py", "def f():\n    from workshop.host import a"),
    "by name": ("workshop/core/b.py", "import importlib\nimportlib.import_module('workshop.cli')"),
    "learn takes host": ("workshop/learn/c.py", "from workshop.host.a import b"),
    "set-up needs a package": ("workshop/setup/b.py", "def f():\n    import click"),
    "an app's module": ("workshop/core/b.py", "import hello_forms"),
    "no room": ("workshop/kitchen/a.py", ""),
    "a circle": ("workshop/learn/exercises/__init__.py", "from . import iris"),
    "an app takes workshop": ("apps/01_hello/app.py", "def f():\n    from workshop import show"),
    "an app takes another's module": ("apps/01_hello/app.py", "import other_forms"),
    "a notebook takes a room": (
        "notebooks/01_hello.ipynb",
        notebook("def f():\n    from workshop.core.a import b"),
    ),
    "code in a room's __init__": ("workshop/host/__init__.py", "X = 1"),
    "the root by another name": ("workshop/core/b.py", "HOME = Path(__file__).parent.parent"),
    "no ROOT": ("workshop/setup/process.py", ""),
    "too long": ("workshop/core/b.py", "\n" * (LONGEST + 1)),
}


@pytest.mark.parametrize("fault", [None, *BROKEN])
def test_only_a_violation_is_found_and_named(tmp_path, fault):
    broken = dict([BROKEN[fault]]) if fault else {}
    for path, text in (SOUND | broken).items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    found = faults(tmp_path)
    assert len(found) == len(broken), found
    for place in broken:
        dotted = place.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        assert place in found[0] or dotted in found[0]
