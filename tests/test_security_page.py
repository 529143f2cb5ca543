"""The security page: each promise names a test that is there."""

import ast
import re

from workshop.setup.process import ROOT

TEXT = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
ROWS = [line for line in TEXT.splitlines() if re.match(r"\| (?!promise|---)", line)]


def test_every_promise_names_a_test_that_is_there():
    assert len(ROWS) > 20
    for row in ROWS:
        promise, held_by = (cell.strip() for cell in row.strip("|").split(" | "))
        file, _, name = held_by.strip("`").partition("::")
        code = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        functions = {node.name for node in code.body if isinstance(node, ast.FunctionDef)}
        assert (name or "main") in functions, promise


def test_the_scripts_that_hold_promises_are_run_in_ci():
    places = (ROOT / ".ci" / "run", ROOT / ".github" / "workflows" / "tests.yml")
    ci = "".join(place.read_text(encoding="utf-8") for place in places)
    scripts = set(re.findall(r"`(tests/\w+/\w+\.py)`", TEXT))
    assert scripts
    assert [script for script in scripts if script not in ci] == []
