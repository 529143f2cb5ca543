"""The checks of stage 01: a status code, a request, and a new route in the app and in the learner's own."""

import re

from workshop.core.stages import load_app_module
from workshop.learn.exercises import ChangedApp, Wrong, exercise

CUBES = {3: "27", 4: "64", 5: "125"}
CUBE_RULE = "/cube/<int:number>"
GREETING_RULE = "/hello/<string:name>"


@exercise(
    "01.1",
    hint="does `twelve` fit `<int:number>`? The table of status codes says what an app answers "
    "when no route fits.",
    then="the code is one of those that begin with 4: the one you get for any address "
    "that the app doesn't have. Write it as a number.",
)
def status_of_a_word(answer: object) -> str:
    """The status code of the response to `GET /square/twelve`."""
    if isinstance(answer, str):
        raise Wrong("write the status code as a number, without quotes.")
    if isinstance(answer, bool) or not isinstance(answer, int) or not 100 <= answer <= 599:
        raise Wrong("a status code is a whole number of three digits, such as 200.")
    if answer == 200:
        raise Wrong("that would be a success, but `twelve` is a word and not a number.")
    if answer >= 500:
        raise Wrong("nothing crashes: the view is never called, because the address fits no route.")
    if answer == 405:
        raise Wrong("the method, GET, is fine. The problem is that the address fits no route.")
    if answer != 404:
        raise Wrong(
            "`<int:number>` takes only digits, so no route fits. What is the status code for that?"
        )
    return "404. The converter takes only digits, so no route fits, and `square` never sees a word."


@exercise(
    "01.2",
    hint="the table of methods above says what each method is for, and `create_note` shows which "
    "fields a new note needs.",
    then="write three values: the method as a string, the path as a string, and the JSON as a "
    'dictionary: `answer = ("...", "/...", {...})`.',
)
def request_for_a_note(answer: object) -> str:
    """A request (method, path, JSON) that leaves the app with a note named lunch."""
    if not isinstance(answer, tuple | list) or len(answer) != 3:
        raise Wrong('`answer` must be three values: `("METHOD", "/path", {"field": "text"})`.')
    method, path, body = answer
    if not isinstance(method, str) or not isinstance(path, str):
        raise Wrong("the first two values, the method and the path, must be strings.")
    if "://" in path:
        raise Wrong("leave out `http://` and the host: give only the path, such as `/hello`.")
    if not path.startswith("/"):
        raise Wrong("a path begins with a slash, such as `/hello`.")
    if not isinstance(body, dict):
        raise Wrong("the third value must be a dictionary: requests turns it into JSON.")
    client = load_app_module("01_hello").create_app().test_client()
    reply = client.open(path, method=method.strip().upper(), json=body)
    if reply.status_code == 405:
        raise Wrong("the app answers 405: POST goes to `/notes`, and PUT to `/notes/lunch`.")
    if reply.status_code >= 400:
        reason = reply.json["error"] if reply.is_json else "There is no page here."
        raise Wrong(f"the app answers {reply.status_code}: {reason}")
    if client.get("/notes/lunch").status_code != 200:
        raise Wrong(
            f"the app answers {reply.status_code}, but there is still no note named lunch. Check the "
            "method, the path and the name."
        )
    return f"the app answers {reply.status_code}, and the note is there."


@exercise(
    "01.3",
    hint="the view `square` in `apps/01_hello/app.py` does almost what you need.",
    then="copy the lines of `square`. In the copy, change the address, the function's name, the "
    "limit with its sentence, and what the page shows.",
    app="01",
)
def cube_route(app: ChangedApp) -> str:
    """The app with one more route, which shows the cube of a number up to 1,000."""
    if re.search(r"/cube/<(string:)?\w+>", app.source("app.py")):
        raise Wrong(
            f"your view gets a string, because its route has no int converter: `{CUBE_RULE}`."
        )
    for number, cube in CUBES.items():
        _check_cube(number, cube, app.get_added(f"/cube/{number}", CUBE_RULE).text)
    if app.get("/cube/1000").status_code != 200:
        raise Wrong("/cube/1000 is refused, but 1,000 is allowed. Start with `if number > 1_000:`.")
    status = app.get("/cube/1001").status_code
    if status == 200:
        raise Wrong(
            "/cube/1001 gets an answer, but the app must refuse numbers above 1,000. `square` does that with "
            "`if` and `abort`."
        )
    if status != 400:
        raise Wrong(f"/cube/1001 is refused with {status}. Give `abort` the status 400.")
    if app.get("/square/12").status_code != 200:
        raise Wrong("`/square/12` is gone. Leave `square` as it was, and change a copy of it.")
    return "one decorator and one function gave the app one more page, and the page enforces its limit."


def _check_cube(number: int, cube: str, page: str) -> None:
    """Compare a page with the cube it must show. Raises Wrong."""
    if cube in page:
        return
    heading = re.search("<h1>(.*)</h1>", page)
    shown = heading[1] if heading else page[:100]
    if "{" in shown:
        raise Wrong(
            f"/cube/{number} shows {shown!r}. Put an `f` before the quote, so that Python fills in "
            "the braces."
        )
    raise Wrong(
        f"/cube/{number} must show {cube} ({number} × {number} × {number}); yours shows {shown!r}."
    )


@exercise(
    "01.4",
    hint="your app is the one of “How do you start an app from an empty file?”, in "
    "`apps/hello/app.py`. It needs one more view; `profile` above shows what it looks like.",
    then="below the view `index`, write a view whose route has a gap, like the one of `profile`, and "
    "whose function takes the value of the gap. Escape the name before you put it in the page.",
    app="hello",
)
def own_greeting(app: ChangedApp) -> str:
    """The learner's own app with a page that greets a visitor by name, escaped."""
    if app.get("/").status_code != 200:
        raise Wrong('your first page is gone: keep the view with `@app.get("/")`.')
    for name in ("Ada", "Grace"):
        page = app.get_added(f"/hello/{name}", GREETING_RULE).text
        if name in page:
            continue
        if "{" in page:
            raise Wrong(
                f"/hello/{name} shows {page[:100]!r}. Put an `f` before the quote, so that Python fills in "
                "the braces."
            )
        raise Wrong(f"/hello/{name} must show {name}; yours shows {page[:100]!r}.")
    if "<b>" in app.get("/hello/<b>Ada").text:
        raise Wrong(
            "/hello/<b>Ada is shown in bold, so a visitor can put HTML into your page. Import `escape` from "
            "`markupsafe`, and write `{escape(name)}`."
        )
    return (
        "an app you typed yourself greets anyone by name, and no name can put HTML into its page."
    )
