"""The checks of stage 03: a function out of a script, the square root, a route more for the app."""

import contextlib
import io
from numbers import Integral, Real

from flask import Flask
from flask.testing import FlaskClient

from workshop.exercises import Wrong, exercise, within_limit

DIVISORS = {
    12: [1, 2, 3, 4, 6, 12],
    13: [1, 13],
    36: [1, 2, 3, 4, 6, 9, 12, 18, 36],
    1: [1],
}
NEXT_PRIMES = {90: 97, 97: 101, 0: 2, 2: 3, 113: 127}
NEXT_RULE = "/api/next/<int:number>"


@exercise(
    "03.1",
    hint="Above `answer`, write `def divisors(n):` and in it an empty list, the loop of the script, "
    "an `append` where the script prints, and after the loop a `return`. Then write "
    "`answer = divisors`.",
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
            "your function asks for its number. Leave `input` out: the number is the argument `n`."
        )
    for n, expected in DIVISORS.items():
        _judge_divisors(n, expected, answer)
    return (
        "your function asks nothing and prints nothing, so a page, another program or a test can "
        "use it."
    )


def _judge_divisors(n: int, expected: list[int], divisors: object) -> None:
    """Call `divisors(n)` and compare it with what is expected. Raises Wrong."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            found = within_limit(divisors, n)
    except NameError as problem:
        if problem.name != "number":
            raise
        raise Wrong(
            "your function uses `number`, as the script does. Here the argument is `n`: write `n` "
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
            f"divisors({n}) returns {found} alone. Collect the numbers in a list, and return it after "
            "the loop, not inside it."
        )
    if not isinstance(found, list | tuple):
        raise Wrong(f"divisors({n}) returns a {type(found).__name__}. Return a list of numbers.")
    if printed.getvalue():
        raise Wrong(
            "the answer is right to be returned; now take the `print` out of your function."
        )
    if list(found) == expected:
        return
    if expected[: len(found)] == list(found) and n not in found:
        if len(expected) - len(found) > 1:
            raise Wrong(
                "your function returns too early. Put the `return` after the loop, not inside it."
            )
        raise Wrong(f"{n} divides itself and is missing. A range ends before its end: `n + 1`.")
    if [1, *found] == expected:
        raise Wrong("1 divides every number and is missing. Begin the range with 1.")
    raise Wrong(f"divisors({n}) must be {expected}; yours returns {list(found)}.")


@exercise(
    "03.2",
    hint="Look at `range(2, isqrt(n) + 1)`. Which number does it begin with, which one is its last if "
    "n is 1,000,003, and how many are these? Write the count, such as `answer = 25`.",
)
def candidates_up_to_the_root(answer: object) -> str:
    """How many candidates trial division up to the square root of 1,000,003 tries."""
    if isinstance(answer, bool) or not isinstance(answer, Real):
        raise Wrong("the answer is one number, a count, written without quotes: `answer = 25`.")
    if answer % 1 != 0:  # true for nan and inf as well
        raise Wrong(
            "you count numbers, so the answer is a whole number. `isqrt` rounds the root down."
        )
    if answer == 1_000:
        raise Wrong("nearly: the last one is 1,000, but the first one is 2. Is 1 tried?")
    if answer == 998:
        raise Wrong("nearly: both 2 and 1,000 are tried. A range ends one before its end.")
    if answer > 1_000_000:
        raise Wrong(
            "so many did the version without the square root. Yours stops at `isqrt(1_000_003)`."
        )
    if answer != 999:
        raise Wrong(
            "list(range(2, isqrt(n) + 1)) holds the numbers that are tried. How long is it?"
        )
    return (
        "999 numbers, from 2 to 1,000. Without the square root it would be 1,000,002, so you save all "
        "but one in a thousand; the larger the number, the more you save."
    )


@exercise(
    "03.3",
    hint=f'Between the two lines, write `@app.get("{NEXT_RULE}")` and under it a function with the '
    "argument `number`. In it, begin with `number + 1` and add 1 while that is not prime. Return a "
    "dictionary, and then write `answer = app`.",
)
def next_prime_route(answer: object) -> str:
    """The app with one more route, which answers the next prime number as JSON."""
    if not isinstance(answer, Flask):
        raise Wrong("put the app itself in `answer`: `answer = app`.")
    rules = {rule.rule: rule for rule in answer.url_map.iter_rules()}
    if NEXT_RULE not in rules:
        close = sorted(rule for rule in rules if "next" in rule)
        seen = f" It has {', '.join(close)}." if close else ""
        raise Wrong(
            f'the app has no route {NEXT_RULE} yet.{seen} Write `@app.get("{NEXT_RULE}")` on the line '
            "above your function, and run the whole cell again."
        )
    if "GET" not in rules[NEXT_RULE].methods:
        raise Wrong(f"{NEXT_RULE} is there, but not for GET. Use `@app.get(...)`.")
    answer.testing = True  # a mistake in the view comes out as itself, not as an error page
    client = answer.test_client()
    answers = {number: _ask_next(client, number) for number in NEXT_PRIMES}
    first = answers[90]["next_prime"]
    if all(found["next_prime"] == first for found in answers.values()):
        raise Wrong(
            f"your view answers {first!r} for every number. Look for the next prime: begin with "
            "`number + 1`, and add 1 *while* it is not prime."
        )
    for number, expected in NEXT_PRIMES.items():
        _judge_next(number, expected, answers[number])
    return (
        "a page for people, and two addresses for programs, all with one `is_prime`. In the app's file "
        "your view would stand inside `create_app`, beside the others."
    )


def _ask_next(client: FlaskClient, number: int) -> dict[str, object]:
    """The dictionary that `/api/next/<number>` answers. Raises Wrong if it answers none."""
    try:
        reply = within_limit(client.get, f"/api/next/{number}")
    except TypeError as problem:
        if "argument" in str(problem):
            raise Wrong(
                "the view must take one argument, named as in the route: `def next_prime(number):`."
            ) from None
        if "None" in str(problem):
            raise Wrong("your view returns nothing. Give it a last line with `return`.") from None
        if "valid response" in str(problem):
            raise Wrong(
                "your view returns a bare number. Return a dictionary: "
                '`{"number": number, "next_prime": ...}`.'
            ) from None
        raise
    if reply.status_code != 200:
        raise Wrong(f"/api/next/{number} answers with status {reply.status_code} instead of 200.")
    found = reply.get_json() if reply.is_json else None
    if not isinstance(found, dict):
        raise Wrong('the view must return a dictionary: `{"number": number, "next_prime": ...}`.')
    if set(found) != {"number", "next_prime"}:
        raise Wrong(
            f"the answer has {', '.join(found) or 'no keys'}; it must have number and next_prime."
        )
    return found


def _judge_next(number: int, expected: int, found: dict[str, object]) -> None:
    """Compare the answer of `/api/next/<number>` with what is expected. Raises Wrong."""
    if found["number"] != number:
        raise Wrong(
            f"asked for {number}, your view answers with the number {found['number']!r}. Under "
            "`number` belongs the argument of the view."
        )
    if found["next_prime"] == number:
        raise Wrong(f"for {number} your view answers {number} itself. Begin with `number + 1`.")
    if found["next_prime"] == str(expected):
        raise Wrong("next_prime is a text. Return the number as it is, without `str` or quotes.")
    if found["next_prime"] == number + 1 != expected:
        raise Wrong(
            f"for {number} your view answers {number + 1}. Add 1 again *while* it is not prime."
        )
    if found != {"number": number, "next_prime": expected}:
        raise Wrong(
            f'for {number} the answer must be {{"number": {number}, "next_prime": {expected}}}; '
            f"yours is {found}."
        )
