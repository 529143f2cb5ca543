"""The checks of stage 00: an app's port, a function for its address, and one more page for an app."""

from collections.abc import Callable

from workshop.learn.exercises import ChangedApp, Wrong, exercise


@exercise(
    "00.1",
    hint="replace the three dots with a number and run that cell, then run this one. The text "
    "below “What lies ahead?” says how ports are numbered.",
    then="each app's port is the gallery's port plus the number of its stage. For stage 01 you "
    "would write `answer = 8001`.",
)
def port_of_stage_04(answer: object) -> str:
    """The port on which the app of stage 04 listens: 8000 and the number of the stage."""
    if isinstance(answer, str):
        raise Wrong("anything in quotes is text. Leave out the quotes to make it a number.")
    if answer == 4:
        raise Wrong("that is the number of the stage. Add 8000 to it.")
    if answer == 8000:
        raise Wrong("that is the gallery's port. Add the number of the stage.")
    if answer == 80004:
        raise Wrong("there is one zero too many: add 4 to 8000 instead of putting it at the end.")
    if answer != 8004:
        raise Wrong("add the number of the stage, 4, to 8000.")
    return "the app of stage 04 listens on port 8004. Now you know how every exercise works."


@exercise(
    "00.2",
    hint="complete the function `address`. Exercise 00.1 and the text below “What lies ahead?” "
    "tell you what an app's address is made of.",
    then='put an f-string after `return`. Inside its braces you can calculate, as in `f"{2 + '
    'stage}"`. Below the function, put its name, without parentheses, in `answer`.',
)
def address_of_stage(answer: object) -> str:
    """A function that takes the number of a stage and returns the address of its app."""
    if isinstance(answer, str):
        raise Wrong(
            "that is the text that your function returns. Put the function itself in `answer`, without "
            "parentheses: `answer = address`."
        )
    if not callable(answer):
        raise Wrong("`answer` must be your function: `answer = address`.")
    for stage in (4, 1, 12):
        found, wanted = _address(answer, stage), f"http://127.0.0.1:{8000 + stage}"
        if found is ... or found is None:
            raise Wrong("your function returns nothing yet. Put the text after `return`.")
        if not isinstance(found, str):
            raise Wrong(
                f"for stage {stage} your function returns {found!r}; it must return a string."
            )
        if "{" in found:
            raise Wrong(
                f"your function returns {found!r}. Put an `f` before the quotes, so that "
                "Python fills in the braces."
            )
        if found.rstrip("/") != wanted:
            raise Wrong(
                f"for stage {stage} your function returns {found!r}; it should be {wanted!r}."
            )
    return "your function knows the address of every stage's app."


def _address(function: Callable[[int], object], stage: int) -> object:
    """Return what the learner's function returns for `stage`. Raises Wrong for a mistake with a type."""
    try:
        return function(stage)
    except TypeError as problem:
        if "positional argument" in str(problem):
            raise Wrong("your function must take one argument: `def address(stage):`.") from None
        if "concatenate" in str(problem) or "unsupported operand" in str(problem):
            raise Wrong(
                "`stage` is a number, and `+` can't join a number to a string. Write an f-string, "
                '`f"…{8000 + stage}"`.'
            ) from None
        raise


@exercise(
    "00.3",
    hint="`show` displayed the view `hello` above: it is in `apps/01_hello/app.py`, and the new "
    "page needs three lines like those.",
    then="copy the three lines of `hello`, paste them below it, and change three things in the "
    "copy: the address, the function's name, and the text.",
    app="01",
)
def goodbye_page(app: ChangedApp) -> str:
    """The app of stage 01 with one more page, `/bye`."""
    if app.get("/hello").status_code == 404:
        raise Wrong(
            "`/hello` is gone. Leave its three lines as they were, and change a copy of them."
        )
    text = app.get_added("/bye", "/bye").text
    if not text.strip():
        raise Wrong("`/bye` shows an empty page. Put some text between the quotes.")
    if "hello world" in text:
        raise Wrong("`/bye` still says hello world. Change the text after `return`.")
    return "your app has one more page. You have changed a web app."
