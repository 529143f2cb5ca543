"""The checks of stage 01: a status code, a request, a route more for the app."""

from flask import Flask

from workshop.exercises import Wrong, exercise
from workshop.stages import load_app_module

CUBES = {3: "27", 4: "64", 10: "1000"}
CUBE_RULE = "/cube/<int:number>"


@exercise(
    "01.1",
    hint="Does `twelve` fit `<int:number>`? If not, no route fits the address. Look for the status "
    "code of that in the table, and write it as a number.",
)
def status_of_a_word(answer: object) -> str:
    """The status code that `GET /square/twelve` is answered with."""
    if isinstance(answer, str):
        raise Wrong("write the status code as a number, without quotes.")
    if isinstance(answer, bool) or not isinstance(answer, int) or not 100 <= answer <= 599:
        raise Wrong("a status code is a whole number of three digits, such as 200.")
    if answer == 200:
        raise Wrong("that would be a success, but `twelve` is a word and not a number.")
    if answer >= 500:
        raise Wrong("nothing crashes: the view is never called, because the address fits no route.")
    if answer == 405:
        raise Wrong("the method is fine, GET. It is the address that fits no route.")
    if answer != 404:
        raise Wrong(
            "`<int:number>` takes digits alone, so no route fits. What is the code of that?"
        )
    return (
        "404. The converter takes digits alone, so no route fits, and `square` never meets a word."
    )


@exercise(
    "01.2",
    hint="Three values: the method as text, the path as text, and the JSON as a dictionary: "
    '`answer = ("...", "/...", {...})`. The table of methods above says what each method is for.',
)
def request_for_a_note(answer: object) -> str:
    """A request (method, path, JSON) that leaves the app with a note named lunch."""
    if not isinstance(answer, tuple | list) or len(answer) != 3:
        raise Wrong('`answer` must be three values: `("METHOD", "/path", {"field": "text"})`.')
    method, path, body = answer
    if not isinstance(method, str) or not isinstance(path, str):
        raise Wrong("the first two values, the method and the path, must be texts.")
    if "://" in path:
        raise Wrong("leave out `http://` and the host: give the path alone, such as `/hello`.")
    if not path.startswith("/"):
        raise Wrong("a path begins with a slash, such as `/hello`.")
    if not isinstance(body, dict):
        raise Wrong("the third value must be a dictionary: requests makes the JSON of it.")
    client = load_app_module("01_hello").create_app().test_client()
    reply = client.open(path, method=method.strip().upper(), json=body)
    if reply.status_code == 405:
        raise Wrong("the app answers 405: POST goes to `/notes`, and PUT to `/notes/lunch`.")
    if reply.status_code >= 400:
        reason = reply.json["error"] if reply.is_json else "There is no page here."
        raise Wrong(f"the app answers {reply.status_code}: {reason}")
    if client.get("/notes/lunch").status_code != 200:
        raise Wrong(
            f"the app answers {reply.status_code}, but has no note named lunch after it. Look at the "
            "method, the path and the name."
        )
    return f"the app answers {reply.status_code}, and the note is there."


@exercise(
    "01.3",
    hint=f'Between the two lines, write `@app.get("{CUBE_RULE}")` and under it a function with the '
    "argument `number` that returns its cube as text. Then write `answer = app`.",
)
def cube_route(answer: object) -> str:
    """The app with one more route, which shows the cube of a number."""
    if not isinstance(answer, Flask):
        raise Wrong("put the app itself in `answer`: `answer = app`.")
    rules = {rule.rule: rule for rule in answer.url_map.iter_rules()}
    if CUBE_RULE not in rules:
        if "/cube/<number>" in rules or "/cube/<string:number>" in rules:
            raise Wrong(
                f"your view gets a text, because its route has no int converter: {CUBE_RULE}."
            )
        raise Wrong(f"the app has no route {CUBE_RULE} yet. Run the whole cell again.")
    if "GET" not in rules[CUBE_RULE].methods:
        raise Wrong(f"{CUBE_RULE} is there, but not for GET. Use `@app.get(...)`.")
    answer.testing = True  # a mistake in the view comes out as itself, not as an error page
    client = answer.test_client()
    for number, cube in CUBES.items():
        _judge_cube(number, cube, client)
    return (
        "one decorator and one function, and the app has a page more. In the app's file your view "
        "would stand inside `create_app`, beside the others."
    )


def _judge_cube(number: int, cube: str, client: object) -> None:
    """Ask for the cube of `number` and compare. Raises Wrong."""
    try:
        reply = client.get(f"/cube/{number}")
    except TypeError as problem:
        if "argument" in str(problem):
            raise Wrong(
                "the view must take one argument, named as in the route: `def cube(number):`."
            ) from None
        if "None" in str(problem):
            raise Wrong("your view returns nothing. Give it a last line with `return`.") from None
        if "valid response" in str(problem):
            raise Wrong(
                'a view returns text, not a number: put it into an f-string, `f"{...}"`.'
            ) from None
        raise
    if reply.status_code != 200:
        raise Wrong(f"/cube/{number} answers with status {reply.status_code} instead of 200.")
    if cube not in reply.text and "{" in reply.text and reply.mimetype == "text/html":
        raise Wrong(
            f"/cube/{number} shows {reply.text[:100]!r}. Put an `f` before the quote, so that "
            "Python fills the braces."
        )
    if cube not in reply.text:
        raise Wrong(
            f"/cube/{number} must show {cube} ({number} × {number} × {number}); yours shows "
            f"{reply.text[:100]!r}."
        )
