"""Turns an app's log, or a misplaced file, into one sentence about a learner's slip, with its remedy."""

import re
from pathlib import Path

import click

from workshop.core.own_apps import TYPED, OwnApp
from workshop.core.stages import base

# A line of a traceback that names a place in a file.
FRAME = re.compile(r'^\s+File "(.+)", line (\d+)')


def jinja_remedy(message: str, line: str = "") -> str:
    """Return how to fix a slip in a template, given Jinja's message and the line; empty if it isn't known."""
    if re.search(r"\{%[^%]*\{\{", line):
        return "Inside `{% ... %}` you are already in Jinja: write the name without `{{` and `}}`."
    if re.search(r"\{%-?\s*else\s+if\b", line):
        return "Jinja's word for “else if” is `elif`: `{% elif ... %}`."
    if "got '='" in message:
        return "To compare, write `==`."
    if key := re.search(r"'dict object' has no attribute '(\w+)'", message):
        return (
            f'In quotes, `"{key[1]}"` is a word. Without the quotes, `{key[1]}` is the variable, and its '
            "value is looked up."
        )
    return ""


def slip(log: str) -> str | None:
    """Return the last error in a log or a traceback as one sentence; None if there is no error.

    It names the file and the line if the error is in an app.
    """
    _, _, last = click.unstyle(log).rpartition("Traceback (most recent call last):")
    lines = last.splitlines()
    frames = {number: found for number, line in enumerate(lines) if (found := FRAME.match(line))}
    after = lines[max(frames, default=len(lines)) + 1 :]
    error = next((line for line in after if line.strip() and not line[0].isspace()), None)
    if error is None:
        return None
    kind, _, reason = error.partition(": ")
    kind = kind.rpartition(".")[2]
    if unknown := re.search(r"(\w+)\(\) got an unexpected keyword argument '(\w+)'", reason):
        return (
            f"The route passes `{unknown[2]}`, so your view needs an argument of that name: "
            f"`def {unknown[1]}({unknown[2]}):`."
        )
    blueprint, _, view = reason.rpartition(" ")[2].rpartition(".")
    if blueprint and "overwriting an existing endpoint" in reason:  # found when it is registered
        where = _where_twice(view)
        return f"Two views{where} have the same name, {view}: give the new one a different name."
    if kind == "NoApp":  # found by the server, outside the app
        return f"{reason}."
    if "returned None or ended without a return statement" in reason:
        view = reason.split("'")[1]
        return f"The view `{view}` returns nothing: its last line must start with `return`."
    ours = [found for found in frames.values() if _in_apps(found[1])]
    if not ours:
        return f"{kind}: {reason}".rstrip(".: ") + "."
    path, line = ours[-1].groups()
    file = _in_apps(path)
    if kind in ("SyntaxError", "IndentationError", "TabError"):
        return (
            f"Python can't read {file}, line {line} ({reason}): fix that line or the one above it, save "
            "the file, and run this cell again."
        )
    if "overwriting an existing endpoint" in reason:
        return (
            f"Two views in {file} have the same name, {reason.rpartition(' ')[2]}: give the one at line "
            f"{line} a different name."
        )
    if kind == "FileNotFoundError" and (missing := re.search(r"([^/\\']+)'$", reason)):
        return (
            f"{file}, line {line}, opens the file {missing[1]}, which isn't there. Run the notebook's cell "
            "that saves it, and compare the two names."
        )
    if kind in ("TemplateSyntaxError", "UndefinedError"):
        lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
        remedy = jinja_remedy(reason, "".join(lines[int(line) - 1 : int(line)]))
        return f"Look at {file}, line {line}: {kind}: {reason.rstrip('.')}. {remedy}".rstrip()
    if reason == "name 'app' is not defined" and file.split("/")[1] in TYPED:
        return (
            f"{file}, line {line}, uses `app`, but no line above it makes one: `app = Flask(__name__)` is "
            "missing, misplaced or misspelled."
        )
    if reason == "name 'app' is not defined":
        return (
            f"In {file}, line {line} is outside `create_app`, where there is no `app`: indent it, and "
            "the rest of that view, like the views above."
        )
    return f"Look at {file}, line {line}: {kind}: {reason}".rstrip(".: ") + "."


def _where_twice(view: str) -> str:
    """Return " in apps/..." for the only file that defines a function twice; empty if there isn't one."""
    defined = re.compile(rf"^\s*def {re.escape(view)}\(", re.MULTILINE)
    files = base().glob("apps/*/*.py")
    twice = [
        file.relative_to(base()).as_posix()
        for file in files
        if len(defined.findall(file.read_text(encoding="utf-8", errors="replace"))) > 1
    ]
    return f" in {twice[0]}" if len(twice) == 1 else ""


def _in_apps(filename: str) -> str | None:
    """Return a file's path as `apps/...`; None if it isn't in that folder."""
    root, file = base().resolve(), Path(filename).resolve()
    return file.relative_to(root).as_posix() if file.is_relative_to(root / "apps") else None


def misplaced(app: OwnApp) -> str | None:
    """Return a sentence on where a learner put an app's file instead of its own folder; None if nowhere."""
    right = f"apps/{app.name}/app.py"
    for file in sorted(app.folder.glob("*")):
        if file.suffix in (".py", ".txt"):
            return (
                f"`apps/{app.name}` contains `{file.name}`, but the file must be called `app.py`. "
                "Right-click it, choose *Rename*, and type the whole name."
            )
    places = (
        "",
        "apps",
        "notebooks",
        app.name,
        f"notebooks/{app.name}",
        f"notebooks/apps/{app.name}",
    )
    others = [base() / place for place in places]
    others += sorted((base() / "apps").glob(f"*/{app.name}"))
    others += sorted((base() / "apps").glob("Untitled Folder*"))
    for folder in others:
        file = folder / "app.py"
        if file.is_file():
            return (
                f"your file is `{file.relative_to(base()).as_posix()}`, but it must be `{right}`. "
                f"Drag it into the folder `{app.name}` inside `apps`, or make that folder first."
            )
    return None
