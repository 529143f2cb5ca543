"""Which cells of a notebook another cell needs, so that a test runs these alone: nbval runs them all."""

import dis
from types import CodeType


def names(source):
    """The names that a cell gives to something, and those that it looks up and others have to give."""
    given, looked_up = set(), set()
    parts = [compile(source, "cell", "exec")]
    for part in parts:
        parts += [inner for inner in part.co_consts if isinstance(inner, CodeType)]  # functions
        for step in dis.get_instructions(part):
            if part is parts[0] and step.opname == "STORE_NAME":
                given.add(step.argval)
            elif step.opname in ("LOAD_NAME", "LOAD_GLOBAL") and step.argval not in given:
                looked_up.add(step.argval)
    return given, looked_up


def what_they_need(code, wanted):
    """The cells `wanted`, and those before them which give the names that they look up; in order."""
    found, missing = [], set()
    for cell in reversed(code):
        given, looked_up = names(cell.source)
        if cell in wanted or given & missing:
            found.insert(0, cell)
            missing = (missing - given) | looked_up
    return found
