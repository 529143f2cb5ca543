"""The checks of 06b: a hostile URL, a forged cookie, and a view that the check attacks."""

from __future__ import annotations

import html
import re

from flask import Flask
from flask.sessions import SecureCookieSessionInterface
from itsdangerous import BadSignature, URLSafeTimedSerializer

from workshop.learn.exercises import ChangedApp, NotYet, Wrong, exercise
from workshop.learn.exercises.housing import Caller, new_account, save_district

WEAK_KEY = "sunshine"  # signs the cookie of exercise 06.6
COUNT_ROUTE = "/saved/count"
SCRIPT = "<script>alert(1)</script>"
OWN_ROWS = "Count only the rows of `all_of(current_account().id)` whose `name` contains the text."
# Strings that no name contains, and what has gone wrong if the view finds one.
HOSTILE = {
    SCRIPT: OWN_ROWS,
    "' OR name > '": "The text has become part of the query. Never paste user input into SQL.",
    "%": "To LIKE, a `%` matches anything. Python's `in` treats it as an ordinary character.",
}


@exercise(
    "06.5",
    hint="the part of a URL before the first colon tells a browser what to do with the rest: "
    "`https:` loads a page, `mailto:` starts an email.",
    then="one such word runs the rest as a script, and it is the name of the language. Put the "
    "whole URL, as a string, in `answer`.",
)
def address_that_runs(answer: object) -> str:
    """A URL that runs a script even though it is escaped: `javascript:alert(1)`."""
    if not isinstance(answer, str):
        raise Wrong('the answer is a string, in quotes, such as `answer = "https://ana.example"`.')
    # A browser removes spaces and line breaks here, and ignores case.
    address = re.sub(r"[\x00-\x20]", "", answer).lower()
    scheme, colon, rest = address.partition(":")
    if scheme == "javascript" and rest:
        return (
            "escaping keeps a value inside its quotes, and that is all it does. The app itself has to check "
            "how a URL begins, and allow only `http://` and `https://`. (The Content Security Policy of the "
            "workshop's apps would have blocked this script too: a second line of defense.)"
        )
    if scheme == "javascript":
        raise Wrong(f"nothing runs yet: write `javascript{colon or ':'}` and then the script.")
    if "<" in answer or '"' in answer:
        raise Wrong(
            "Jinja escapes `<` and quotes, so the text stays inside the quotes of `href`. Find a URL that "
            "needs neither: think about how a URL begins."
        )
    if scheme in ("http", "https"):
        raise Wrong(
            "that leads to another page, and runs nothing on this one. What could replace `https:`?"
        )
    if scheme in ("data", "vbscript"):
        raise Wrong(
            f"today's browsers refuse to follow a link to `{scheme}:`. There is another one."
        )
    raise Wrong("a browser treats that as the address of a page. Which word runs a script?")


@exercise(
    "06.6",
    hint="attack 2 above makes a `signer` from a word. It can read the cookie that was found only "
    "if the word is the right one.",
    then="in a loop over `words`, try `signer(word).loads(found)`, and continue on `except "
    "BadSignature`. The word that raises no error can also sign a new cookie, with `dumps`.",
)
def forged_cookie(answer: object) -> str:
    """A cookie for account 1, signed with the same word as the cookie that was found."""
    if isinstance(answer, dict):
        raise Wrong("that is the content. `signer(word).dumps(...)` turns it into a signed cookie.")
    if not isinstance(answer, str):
        raise Wrong("a cookie is a string: what `signer(word).dumps(...)` returns.")
    if answer == WEAK_KEY:
        raise Wrong("that is the key. Now sign with it: `signer(word).dumps(...)`.")
    cookies = _serializer(WEAK_KEY)
    try:
        content = cookies.loads(answer)
    except BadSignature:
        if answer.count(".") < 2:
            raise Wrong(
                "that isn't a signed cookie, which has three parts separated by dots."
            ) from None
        raise Wrong(
            "the app would reject it: it is signed with a different key. With the right word, "
            "`signer(word).loads(found)` raises no error and returns the content."
        ) from None
    if content != {"account": 1}:
        raise Wrong(
            f'the signature is valid, but the content is {content}. Make it {{"account": 1}}.'
        )
    return (
        "you are Ana, and the app hasn't noticed anything: you tried all the words on your own computer, a "
        "million a minute if you had to. A key that people can guess protects nothing; let `secrets` make it."
    )


def _serializer(key: str) -> URLSafeTimedSerializer:
    """Return the serializer that signs and reads the session cookies of an app with this key."""
    app = Flask(__name__)
    app.secret_key = key
    return SecureCookieSessionInterface().get_signing_serializer(app)


@exercise(
    "06.7",
    hint="in `apps/06_housing/housing_saved.py`, the view of `/download.csv` also requires "
    "an account.",
    then="write a view for `/count` above that of `/download.csv`, with the same second "
    "decorator, and count only the rows of the account that is logged in.",
    app="housing",
)
def guarded_count(app: ChangedApp) -> str:
    """The app with one more page, which counts names; the check attacks it."""
    if not any("/count" in app.source(name) for name in ("housing_saved.py", "app.py")):
        raise NotYet
    _check_login_required(app)
    with new_account(app) as first, new_account(app) as second:
        for name in ("garden wall", "garden gate", "roof"):
            save_district(first, 3, name)
        save_district(second, 5, "garden shed")
        _check_count(first, "garden", 2)
        _check_count(first, "cellar", 0)
        _check_count(second, "garden", 1)
        for text, advice in HOSTILE.items():
            _check_count(first, text, 0, advice)
    return (
        "your view turns away anyone who isn't logged in, counts nobody else's rows, and shows a script as "
        "text. The check made two accounts for its attacks, and has deleted them."
    )


def _check_login_required(app: ChangedApp) -> None:
    """Raise Wrong unless a visitor who isn't logged in is sent to the login page."""
    advice = "Add `@login_required`, below `@pages.get(...)`, as for the other views."
    try:
        reply = app.get(COUNT_ROUTE, params={"name": "garden"})
    except Wrong as crash:
        raise Wrong(f"it crashes for a visitor who isn't logged in. {advice} ({crash})") from None
    if reply.status_code == 200 and "/login" not in reply.url:
        raise Wrong(f"a visitor who isn't logged in can see the count. {advice}")


def _check_count(caller: Caller, text: str, expected: int, advice: str = OWN_ROWS) -> None:
    """Ask how many names contain `text`, and look for the number and the text on the page.

    Raises Wrong, which ends with `advice` if the number is wrong.
    """
    reply = caller.browser.get(COUNT_ROUTE, params={"name": text})
    if reply.status_code in (404, 405):
        raise Wrong(
            f"GET {COUNT_ROUTE} returns {reply.status_code}. Put the view in "
            '`housing_saved.py`, with `@pages.get("/count")`: `/saved` is put in front of the addresses '
            "there automatically."
        )
    if reply.status_code != 200:
        raise Wrong(f"{COUNT_ROUTE} returns status {reply.status_code} instead of 200.")
    if SCRIPT in reply.text:
        raise Wrong(
            f"the script got into the page! If asked for {SCRIPT}, the page must show it as text: use "
            "`escape(text)`, from `markupsafe`."
        )
    shown = html.unescape(reply.text)
    if text not in shown:
        raise Wrong(f"asked for {text}, the page doesn't show that text.")
    counts = [int(each) for each in re.findall(r"\d+", shown.replace(text, ""))]
    if expected not in counts:
        raise Wrong(
            f"for an account with {expected} such names, asked for {text}, the page says "
            f"{', '.join(map(str, counts)) or 'no number'}. {advice}"
        )
