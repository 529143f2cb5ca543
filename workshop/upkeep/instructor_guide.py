"""Writes the run sheets of `docs/run-sheets.toml` into the instructor's guide.

The sheets are data, so that a person reads them in the guide and a test performs them: neither can say
what the other doesn't. The file explains its words.
"""

import tomllib
from typing import Any

from workshop.core.errors import WorkshopError
from workshop.core.stages import find_stage
from workshop.setup.process import ROOT

SHEETS = ROOT / "docs" / "run-sheets.toml"
GUIDE = ROOT / "docs" / "instructor-guide.md"
COMMAND = "python3 -m workshop refresh --guide"
BEGIN = f"<!-- From here on made from run-sheets.toml by: {COMMAND} -->"
PARTS = ("stage", "steps", "ask", "answer", "mistake", "mistake_steps")
END = "<!-- Up to here made from run-sheets.toml -->"


class GuideFailed(WorkshopError):
    """The run sheets can't be written into the guide."""


def read_sheets() -> list[dict[str, Any]]:
    """Return the run sheets in the order of the file.

    Raises `GuideFailed` if the file is no TOML, or a sheet is not complete.
    """
    try:
        sheets = tomllib.loads(SHEETS.read_text(encoding="utf-8")).get("sheet", [])
    except tomllib.TOMLDecodeError as error:
        raise GuideFailed(f"{SHEETS.name} can't be read: {error}; mend that line.") from error
    for sheet in sheets:
        if missing := [part for part in PARTS if part not in sheet]:
            which = sheet.get("stage", "that you added last")
            raise GuideFailed(
                f"{SHEETS.name}: the sheet of stage {which} lacks {', '.join(missing)}; add that."
            )
    return sheets


def renewed() -> str:
    """Return the guide's text with the run sheets as they are now.

    Raises `GuideFailed` if the guide lacks the two lines between which they belong.
    """
    before, begin, rest = GUIDE.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise GuideFailed(f"{GUIDE.name} needs these two lines, in this order: {BEGIN} {END}")
    sheets = "\n\n".join(as_markdown(sheet) for sheet in read_sheets())
    return f"{before}{BEGIN}\n\n{sheets}\n\n{END}{after}"


def rewrite() -> None:
    """Bring the guide up to date with the run sheets."""
    text = renewed()
    with GUIDE.open("w", encoding="utf-8", newline="\n") as guide:
        guide.write(text)


def as_markdown(sheet: dict[str, Any]) -> str:
    """Return one run sheet as a section of the guide."""
    stage = find_stage(sheet["stage"])
    lines = [f"### {stage.code} · {stage.title}", ""]
    lines += numbered(sheet["steps"])
    lines += ["", f"**Ask the room:** {sheet['ask']}", "", f"*Answer:* {sheet['answer']}"]
    lines += ["", f"**The mistake everyone makes:** {sheet['mistake']} Show it:", ""]
    lines += numbered(sheet["mistake_steps"], first=len(sheet["steps"]) + 1)
    return "\n".join(lines)


def numbered(steps: list[dict[str, str]], first: int = 1) -> list[str]:
    """Return steps as lines of a list that counts from `first`."""
    return [f"{number}. {sentence(step)}" for number, step in enumerate(steps, start=first)]


def sentence(step: dict[str, str]) -> str:
    """Return a step as a person reads it: what to do, and what must appear."""
    match step:
        case {"type": command}:
            text = f"Type {code(command)}"
        case {"open": address}:
            text = f"Open <{address}>"
        case {"fill": field, "with": ""}:
            text = f"Empty the field **{field}**"
        case {"fill": field, "with": typed}:
            text = f"In **{field}** type {code(typed)}"
        case {"choose": option, "in": field}:
            text = f"In **{field}** choose *{option}*"
        case {"press": name}:
            text = f"Press **{name}**"
        case {"run": cell, "with": new}:
            text = f"Change the cell {code(cell)} to {code(new)}, and press Shift+Enter"
        case {"run": cell}:
            text = f"Click into the cell {code(cell)}, and press Shift+Enter"
        case {"change": file, "from": old, "to": ""}:
            text = f"In {code(f'work/{file}')} delete {code(old)}, and save"
        case {"change": file, "from": old, "to": new}:
            text = f"In {code(f'work/{file}')} change {code(old)} to {code(new)}, and save"
        case _:
            raise GuideFailed(
                f"{SHEETS.name} has a step that is none: {step}; see its first lines."
            )
    return f"{text} → {code(step['see'])}" if "see" in step else text


def code(text: str) -> str:
    """Return text as it is to be typed or seen, in Markdown."""
    return f"`{text}`"
