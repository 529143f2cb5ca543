"""Writes the run sheets of `docs/run-sheets.toml` into the instructor's guide.

The sheets are data, so the guide that people read and the test that performs each step can't disagree. The
comment at the top of the file explains the format.
"""

import tomllib
from typing import Any

from workshop.core.errors import WorkshopError
from workshop.core.stages import find_stage
from workshop.setup.process import ROOT

SHEETS = ROOT / "docs" / "run-sheets.toml"
GUIDE = ROOT / "docs" / "instructor-guide.md"
COMMAND = "python3 -m workshop refresh --guide"
BEGIN = f"<!-- Generated from run-sheets.toml by: {COMMAND} -->"
END = "<!-- End of the generated part -->"
# The sentence for each kind of step. An empty value, as in `with = ""`, counts as missing.
SENTENCES = {
    "type": "Type `{type}`",
    "open": "Open <{open}>",
    "fill": "Empty the field **{fill}**",
    "fill with": "In **{fill}** type `{with}`",
    "choose in": "In **{in}** choose *{choose}*",
    "press": "Press **{press}**",
    "run": "Click into the cell `{run}`, and press Shift+Enter",
    "run with": "Change the cell `{run}` to `{with}`, and press Shift+Enter",
    "change from": "In `work/{change}` delete `{from}`, and save",
    "change from to": "In `work/{change}` change `{from}` to `{to}`, and save",
}
PARTS = ("stage", "steps", "ask", "answer", "mistake", "mistake_steps")


def read_sheets() -> list[dict[str, Any]]:
    """Return the run sheets in the order of the file.

    Raises `WorkshopError` if the file isn't TOML, or if a sheet isn't complete.
    """
    try:
        sheets = tomllib.loads(SHEETS.read_text(encoding="utf-8")).get("sheet", [])
    except tomllib.TOMLDecodeError as error:
        raise WorkshopError(f"{SHEETS.name} can't be read: {error}; fix that line.") from error
    for sheet in sheets:
        if missing := [part for part in PARTS if part not in sheet]:
            which = sheet.get("stage", "that you added last")
            raise WorkshopError(
                f"{SHEETS.name}: the sheet of stage {which} lacks {', '.join(missing)}; add that."
            )
    return sheets


def renewed() -> str:
    """Return the guide's text with the current run sheets.

    Raises `WorkshopError` if the guide lacks the two lines that enclose them.
    """
    before, begin, rest = GUIDE.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise WorkshopError(f"{GUIDE.name} needs these two lines, in this order: {BEGIN} {END}")
    sheets = "\n\n".join(as_markdown(sheet) for sheet in read_sheets())
    return f"{before}{BEGIN}\n\n{sheets}\n\n{END}{after}"


def as_markdown(sheet: dict[str, Any]) -> str:
    """Return one run sheet as a section of the guide; its steps are numbered throughout."""
    stage, first = find_stage(sheet["stage"]), len(sheet["steps"])
    steps = [*sheet["steps"], *sheet["mistake_steps"]]
    lines = [f"{number}. {sentence(step)}" for number, step in enumerate(steps, start=1)]
    return "\n".join(
        [f"### {stage.code} · {stage.title}", "", *lines[:first], ""]
        + [f"**Ask the room:** {sheet['ask']}", "", f"*Answer:* {sheet['answer']}", ""]
        + [f"**The mistake everyone makes:** {sheet['mistake']} Show it:", "", *lines[first:]]
    )


def sentence(step: dict[str, str]) -> str:
    """Return a step as a sentence: what to do, and what must appear."""
    words = " ".join(sorted(word for word, text in step.items() if text and word != "see"))
    if words not in SENTENCES:
        raise WorkshopError(
            f"{SHEETS.name} has an unknown step: {step}; its first lines list the kinds."
        )
    text = SENTENCES[words].format(**step)
    return f"{text} → `{step['see']}`" if "see" in step else text
