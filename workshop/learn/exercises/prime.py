"""The checks of stage 03: a function from a script, the square root, and a new rule in the app."""

import contextlib
import io
from numbers import Integral, Real

import requests

from workshop.learn.exercises import ChangedApp, NotYet, Wrong, exercise, within_limit

DIVISORS = {
    12: [1, 2, 3, 4, 6, 12],
    13: [1, 13],
    36: [1, 2, 3, 4, 6, 9, 12, 18, 36],
    1: [1],
}
REASON = "begin with 2"  # what the app must say when it refuses 0 and 1


@exercise(
    "03.1",
    hint="“How do you get the calculation out?” does the same with another script: the input "
    "becomes an argument, and the output is returned.",
    then="above `answer`, write `def divisors(n):` with an empty list, the loop of the script, an "
    "`append` where the script prints and, after the loop, a `return`. Then put the "
    "function's name in `answer`.",
)
def divisors_function(answer: object) -> str:
    """A function that returns the list of all numbers that divide its argument."""
    if isinstance(answer, list | int | str):
        raise Wrong(
            "put the function itself in `answer`, without parentheses: `answer = divisors`."
        )
    if not callable(answer):
        raise Wrong("`answer` must be your function: write `answer = divisors`.")
    if "input" in getattr(getattr(answer, "__code__", None), "co_names", ()):
        raise Wrong(
            "your function asks for its number. Leave out `input`: the number is the argument `n`."
        )
    for n, expected in DIVISORS.items():
        _check_divisors(n, expected, answer)
    return (
        "your function doesn't ask for input or print anything, so a page, another program or a test "
        "can use it."
    )


def _check_divisors(n: int, expected: list[int], divisors: object) -> None:
    """Call `divisors(n)` and compare the result with `expected`. Raises Wrong."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            found = within_limit(divisors, n)
    except NameError as problem:
        if problem.name != "number":
            raise
        raise Wrong(
            "your function uses `number`, as the script does. Here the argument is called `n`: write `n` "
            "everywhere."
        ) from None
    except TypeError as problem:
        if "argument" not in str(problem):
            raise
        raise Wrong(
            "your function must take one argument, the number: `def divisors(n):`."
        ) from None
    if found is None and printed.getvalue():
        raise Wrong(
            "your function prints its answer. Collect the numbers in a list and `return` it."
        )
    if found is None:
        raise Wrong("your function returns nothing. Its last line must be `return` and the list.")
    if isinstance(found, Integral):
        raise Wrong(
            f"divisors({n}) returns only {found}. Collect the numbers in a list, and return it after "
            "the loop, not inside it."
        )
    if not isinstance(found, list | tuple):
        raise Wrong(f"divisors({n}) returns a {type(found).__name__}. Return a list of numbers.")
    if printed.getvalue():
        raise Wrong("your function returns the right list; now take the `print` out of it.")
    if list(found) == expected:
        return
    if expected[: len(found)] == list(found) and n not in found:
        if len(expected) - len(found) > 1:
            raise Wrong(
                "your function returns too early. Put the `return` after the loop, not inside it."
            )
        raise Wrong(
            f"{n} divides itself, and is missing. A range leaves out its end, so end it with `n + 1`."
        )
    if [1, *found] == expected:
        raise Wrong("1 divides every number, and is missing. Start the range with 1.")
    raise Wrong(f"divisors({n}) must be {expected}; yours returns {list(found)}.")


@exercise(
    "03.2",
    hint="look at `range(2, isqrt(n) + 1)`. Which number does it start with, and what is its "
    "last one if n is 1,000,003?",
    then="a range leaves out its end. Count the numbers from its first to its last, both "
    "included, or let Python count them with `len`. Write the count, such as `answer = 25`.",
)
def candidates_up_to_the_root(answer: object) -> str:
    """How many candidates are tried up to the square root of 1,000,003."""
    if isinstance(answer, bool) or not isinstance(answer, Real):
        raise Wrong("the answer is one number, a count, written without quotes: `answer = 25`.")
    if answer % 1 != 0:  # true for nan and inf as well
        raise Wrong(
            "this is a count, so the answer is a whole number. `isqrt` rounds the root down."
        )
    if answer == 1_000:
        raise Wrong("almost: the last one is 1,000, but the first one is 2. Is 1 tried?")
    if answer == 998:
        raise Wrong("almost: both 2 and 1,000 are tried. A range stops one before its end.")
    if answer > 1_000_000:
        raise Wrong(
            "that is how many the version without the square root tries. Yours stops at `isqrt(1_000_003)`."
        )
    if answer != 999:
        raise Wrong(
            "list(range(2, isqrt(n) + 1)) contains the numbers that are tried. How long is it?"
        )
    return (
        "999 numbers, from 2 to 1,000. Without the square root it would be 1,000,002, so you save "
        "999 of every 1,000 divisions; the larger the number, the more you save."
    )


@exercise(
    "03.3",
    hint="in `prime_forms.py`, the end of `process_formdata` refuses a number that is too large; "
    "in `app.py`, `prime_api` refuses with `abort`.",
    then="in each of the two places, add an `if` that is true for a `number` below 2. In the "
    "form, `raise ValueError(...)` with your sentence; in the API, call `abort` with 422 and "
    "the sentence.",
    app="prime",
)
def nothing_below_two(app: ChangedApp) -> str:
    """The app refuses 0 and 1, on its page and in its API, and says why."""
    pages = {number: app.post("/prime", data={"number": str(number)}) for number in (1, 0, 2, 91)}
    replies = {number: _ask_api(app, number) for number in (1, 0, 2, 91)}
    page_refuses, api_refuses = (answers[1].status_code >= 400 for answers in (pages, replies))
    if not page_refuses and not api_refuses:
        raise NotYet
    if not api_refuses:
        raise Wrong(
            "the page refuses 1, but /api/prime/1 still gets an answer: programs use a different route. "
            "In `app.py`, give `prime_api` the rule too."
        )
    if not page_refuses:
        raise Wrong(
            "the API refuses 1, but the page still answers. In `prime_forms.py`, give "
            "`process_formdata` the rule too."
        )
    for place, answers in (("page", pages), ("API", replies)):
        if answers[2].status_code != 200:
            raise Wrong(f"the {place} refuses 2, which is a prime number. Write `if number < 2:`.")
        if answers[91].status_code != 200:
            raise Wrong(f"the {place} refuses 91 too. The rule is only for numbers below 2.")
        if answers[0].status_code == 200:
            raise Wrong(f"the {place} refuses 1, but not 0. Write `if number < 2:`.")
        if answers[1].status_code != 422:
            raise Wrong(
                f"the {place} refuses 1 with status {answers[1].status_code}. It must be 422, as for a "
                "number that is too large."
            )
    if 'id="number-message"' not in pages[1].text:
        raise Wrong(
            "the page refuses 1, but there is no message next to the field. The form shows one if "
            "`process_formdata` in `prime_forms.py` raises a `ValueError` with the message."
        )
    for place, answers in (("page", pages), ("API", replies)):
        if REASON not in answers[1].text:
            raise Wrong(f"the {place} refuses 1, but doesn't say that prime numbers {REASON}.")
    return "one rule in two places: both people and programs learn why 0 and 1 are refused."


def _ask_api(app: ChangedApp, number: int) -> requests.Response:
    """Return the API's response. Raises Wrong if it crashes, with one more hint for a ValueError."""
    try:
        return app.get(f"/api/prime/{number}")
    except Wrong as crash:
        if "ValueError" not in str(crash):
            raise
        raise Wrong(
            f"{crash} A form catches a ValueError, a view doesn't: call `abort(422, ...)` there."
        ) from None
