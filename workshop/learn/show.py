"""`show`: a notebook displays the code that really runs, read from the app's file."""

import ast
import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

from workshop.core.errors import WorkshopError
from workshop.core.stages import base

LANGUAGES = {".py": "python", ".html": "html", ".css": "css", ".json": "json", ".svg": "html"}
ROUTE = re.compile(r"\w+\.(?:route|get|post|put|patch|delete)\('([^']+)'")
TEMPLATE_TAG = re.compile(r"{%-?\s*(end)?(block|macro)\b\s*(\w+)?.*?%}", re.DOTALL)


class NotShown(WorkshopError):
    """`show` was asked for something that isn't there, or for part of a file that Python can't read."""


@dataclass(frozen=True)
class Source:
    """A piece of source text: plain when printed or stored, highlighted where JupyterLab displays it."""

    text: str
    language: str

    def __repr__(self) -> str:
        return self.text

    def _repr_markdown_(self) -> str:
        fence = "`" * max(3, 1 + max(map(len, re.findall("`+", self.text)), default=0))
        return f"{fence}{self.language}\n{self.text}\n{fence}"


def show(path: str | Path, name: str | None = None) -> Source:
    """Return the source of one part of a file, or of the whole file.

    `path` is relative to the folder that contains `notebooks` and `apps`, for example `apps/01_hello/app.py`.
    `name` is a function, a class, a method (`Class.method`), the address of a route (`"/model"`), or a block
    or macro of a template. Raises `NotShown`, which lists the available names.
    """
    file = base() / path
    if not file.is_file():
        siblings = ", ".join(sorted(f.name for f in file.parent.glob("*") if f.is_file()))
        there = f"; {Path(path).parent.as_posix()} contains {siblings}" if siblings else ""
        raise NotShown(f"there is no file {path}{there}")
    shown = text = file.read_text(encoding="utf-8")
    if name is not None:
        try:
            parts = python_parts(text) if file.suffix == ".py" else template_parts(text)
        except SyntaxError as error:
            raise NotShown(
                f"Python can't read {path}, line {error.lineno} ({error.msg}): fix that line or the one "
                "above it, save the file, and run this cell again"
            ) from error
        if name not in parts:
            listed = ", ".join(parts) or "no parts with a name: leave out the name to see all of it"
            raise NotShown(f"there is no {name!r} in {path}; it has {listed}")
        shown = textwrap.dedent(parts[name])
    return Source(shown.rstrip(), LANGUAGES.get(file.suffix, "text"))


def python_parts(text: str) -> dict[str, str]:
    """Return every function, class and route of a Python file by name, with its decorators."""
    lines = text.splitlines(keepends=True)
    parts: dict[str, str] = {}

    def visit(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                visit(child, prefix)
                continue
            first = min([child.lineno, *(decorator.lineno for decorator in child.decorator_list)])
            routes = [ROUTE.match(ast.unparse(decorator)) for decorator in child.decorator_list]
            for name in [prefix + child.name, *(route[1] for route in routes if route)]:
                parts.setdefault(name, "".join(lines[first - 1 : child.end_lineno]))
            # A view is nested in the factory, but people ask for it by its own name.
            visit(child, f"{child.name}." if isinstance(child, ast.ClassDef) else "")

    visit(ast.parse(text), "")
    return parts


def template_parts(text: str) -> dict[str, str]:
    """Return every block and macro of a template by name, as whole lines from its first tag to its last."""
    parts: dict[str, str] = {}
    open_tags: list[tuple[str, int]] = []
    for tag in TEMPLATE_TAG.finditer(text):
        if not tag[1]:
            open_tags.append((tag[3], text.rfind("\n", 0, tag.start()) + 1))
        elif open_tags:
            name, start = open_tags.pop()
            end = text.find("\n", tag.end())
            parts.setdefault(name, text[start : end if end >= 0 else len(text)])
    return parts
