"""`show`: the code a notebook displays is the code that runs, because it is read from the app's file."""

import ast
import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

from workshop.core.errors import WorkshopError
from workshop.core.stages import base

LANGUAGES = {".py": "python", ".html": "html", ".css": "css", ".json": "json", ".svg": "html"}

TEMPLATE_TAG = re.compile(r"{%-?\s*(end)?(block|macro)\b\s*(\w+)?.*?%}", re.DOTALL)


class NotShown(WorkshopError):
    """`show` was asked for what is not there, or for a part of a file that Python can't read."""


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
    """The real source of one part of a file, or of the whole file.

    `path` begins in the folder that holds `notebooks` and `apps`, such as `apps/01_hello/app.py`. `name`
    is a function, a class (`Class.method` reaches inside), the address of a route (`"/model"`, or
    `"POST /classify"`), or in a template a block or a macro. Raises `NotShown`, which lists the names
    there are.
    """
    file = base() / path
    if not file.is_file():
        folder = file.parent
        siblings = (
            sorted(f.name for f in folder.iterdir() if f.is_file()) if folder.is_dir() else []
        )
        there = f"; {Path(path).parent.as_posix()} holds {', '.join(siblings)}" if siblings else ""
        raise NotShown(f"there is no file {path}{there}")
    text = file.read_text(encoding="utf-8")
    if name is None:
        return Source(text.rstrip(), LANGUAGES.get(file.suffix, "text"))
    try:
        parts = python_parts(text) if file.suffix == ".py" else template_parts(text)
    except SyntaxError as error:
        raise NotShown(
            f"Python can't read {path}, line {error.lineno} ({error.msg}): mend that line or the one "
            "above it, save the file, and run this cell again"
        ) from error
    if name not in parts:
        listed = ", ".join(parts) or "no parts with a name: leave the name out to see all of it"
        raise NotShown(f"there is no {name!r} in {path}; it has {listed}")
    return Source(textwrap.dedent(parts[name]).rstrip(), LANGUAGES.get(file.suffix, "text"))


def python_parts(text: str) -> dict[str, str]:
    """Every function, class and route of a Python file by name, with its decorators."""
    lines = text.splitlines(keepends=True)
    parts: dict[str, str] = {}

    def visit(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                visit(child, prefix)
                continue
            first = min([child.lineno, *(decorator.lineno for decorator in child.decorator_list)])
            source = "".join(lines[first - 1 : child.end_lineno])
            for name in [prefix + child.name, *route_rules(child)]:
                parts.setdefault(name, source)
            # A view is nested in the factory, but everyone calls it by its own name.
            visit(child, f"{child.name}." if isinstance(child, ast.ClassDef) else "")

    visit(ast.parse(text), "")
    return parts


def route_rules(view: ast.AST) -> list[str]:
    """The addresses in a view's decorators: `@app.post("/a")` gives `/a` and `POST /a`."""
    rules: list[str] = []
    for call in getattr(view, "decorator_list", []):
        match call:
            case ast.Call(func=ast.Attribute(attr=verb), args=[ast.Constant(value=str(rule)), *_]):
                methods = {k.arg: k.value for k in call.keywords}.get("methods")
                if verb == "route":
                    verbs = ast.literal_eval(methods) if methods else ["get"]
                elif verb in ("get", "post", "put", "patch", "delete"):
                    verbs = [verb]
                else:
                    continue
                rules += [rule, *(f"{verb.upper()} {rule}" for verb in verbs)]
    return rules


def template_parts(text: str) -> dict[str, str]:
    """Every block and macro of a Jinja template by name, whole lines from its first tag to its last."""
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
