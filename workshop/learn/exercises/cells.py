"""What a notebook's kernel knows about the cells run before a `check`: did the answer's cell run?"""

import re
import sys

GIVES_ANSWER = re.compile(r"^[^#\n]*\banswer\b *[=,]", re.MULTILINE)
CHECKS = re.compile(r"^ *check\(", re.MULTILINE)


def of_notebook(name: str) -> object:
    """Return the notebook's variable `name`; None if there isn't one."""
    return getattr(sys.modules["__main__"], name, None)


def trouble_with_the_answer() -> tuple[str, str]:
    """Return two sentences on why a check may not see the latest answer; each is empty if it does.

    The first says that the cell with the answer stopped with an error, the second that it hasn't been run
    since the last check. Both are empty outside a notebook.
    """
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None or not hasattr(shell, "last_execution_result"):
        return "", ""
    *earlier, this = shell.user_ns.get("In") or [""]
    if GIVES_ANSWER.search(this):
        return "", ""
    result = shell.last_execution_result
    if result and not result.success and earlier and GIVES_ANSWER.search(earlier[-1]):
        error = type(result.error_before_exec or result.error_in_exec).__name__
        return (
            f"the cell with your answer stopped with {error}, so `answer` still has its old value. Fix "
            "that cell and run it, then run this one."
        ), ""
    for cell in reversed(earlier):
        if GIVES_ANSWER.search(cell):
            break
        if CHECKS.search(cell):
            return "", "(If you have changed the cell with your answer, run it before this one.)"
    return "", ""
