"""The checks of 06b: a hostile address, a forged cookie, and a view that the check attacks."""

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
OWN_ROWS = (
    "Count the rows of `all_of(current_account().id)` with the text in their `name`, nobody else's."
)
# Texts that no name holds, and what has gone wrong where one is found.
HOSTILE = {
    SCRIPT: OWN_ROWS,
    "' OR name > '": "The text has become part of the query: never paste what is sent into SQL.",
    "%": "To LIKE, a `%` is any text. Python's `in` takes it for the letter that it is.",
}


@exercise(
    "06.5",
    hint="what comes before the first colon of an address says what a browser does with the rest: "
    "`https:` loads a page, `mailto:` writes a letter.",
    then="one such word runs the rest as a script, and it is the name of the language. Put the "
    "whole address, as a string, in `answer`.",
)
def address_that_runs(answer: object) -> str:
    """An address that runs a script, although it is escaped: `javascript:alert(1)`."""
    if not isinstance(answer, str):
        raise Wrong('the answer is a text, in quotes, such as `answer = "https://ana.example"`.')
    # A browser throws away spaces and line ends here, and does not care for capitals.
    address = re.sub(r"[\x00-\x20]", "", answer).lower()
    scheme, colon, rest = address.partition(":")
    if scheme == "javascript" and rest:
        return (
            "escaping keeps a text within its quotes, and does no more. What an address begins with, the "
            "app has to look at itself, and let `http://` and `https://` through alone. (The policy of the "
            "workshop's apps would have stopped this script too: two walls.)"
        )
    if scheme == "javascript":
        raise Wrong(f"nothing runs yet: write `javascript{colon or ':'}` and then the script.")
    if "<" in answer or '"' in answer:
        raise Wrong(
            "Jinja escapes `<` and quotes, so the text stays within the quotes of `href`. Find one that "
            "does without them: look at what an address begins with."
        )
    if scheme in ("http", "https"):
        raise Wrong("that leads to another page, and runs nothing on this one. Not `https:`, but?")
    if scheme in ("data", "vbscript"):
        raise Wrong(f"browsers of today refuse to follow a link to `{scheme}:`. There is another.")
    raise Wrong("a browser takes that for the address of a page. Which word runs a script?")


@exercise(
    "06.6",
    hint="attack 2 above makes a `signer` from a word. Only with the right word does it read the "
    "cookie that was found.",
    then="in a loop over `words`, try `signer(word).loads(found)`, and go on at `except "
    "BadSignature`. The word that raises nothing can also sign a new cookie, with `dumps`.",
)
def forged_cookie(answer: object) -> str:
    """A cookie for account 1, signed with the word that signed the one which was found."""
    if isinstance(answer, dict):
        raise Wrong("that is the content. `signer(word).dumps(...)` makes a signed cookie of it.")
    if not isinstance(answer, str):
        raise Wrong("a cookie is a text, such as `signer(word).dumps(...)` gives.")
    if answer == WEAK_KEY:
        raise Wrong("that is the key. Now sign with it: `signer(word).dumps(...)`.")
    cookies = _serializer(WEAK_KEY)
    try:
        content = cookies.loads(answer)
    except BadSignature:
        if answer.count(".") < 2:
            raise Wrong(
                "that is no signed cookie: it has three parts, with dots between."
            ) from None
        raise Wrong(
            "the app would not take it: it is signed with another key. For the right word, "
            "`signer(word).loads(found)` raises nothing and gives the content."
        ) from None
    if content != {"account": 1}:
        raise Wrong(f'the signature fits, but it says {content}. Let it say {{"account": 1}}.')
    return (
        "you are Ana, and the app has noticed nothing: you tried all the words at your own desk, a million "
        "in a minute if need be. A key that somebody could think of is no key; let `secrets` make it."
    )


def _serializer(key: str) -> URLSafeTimedSerializer:
    """What signs and reads the session cookies of an app with this key."""
    app = Flask(__name__)
    app.secret_key = key
    return SecureCookieSessionInterface().get_signing_serializer(app)


@exercise(
    "06.7",
    hint="in `apps/06_housing/housing_saved.py`, the view of `/download.csv` is for people with "
    "an account, too.",
    then="write a view for `/count` above that of `/download.csv`, with the same second "
    "decorator, and count only what belongs to the account that asks.",
    app="housing",
)
def guarded_count(app: ChangedApp) -> str:
    """The pages with one more, which counts names; the check attacks it."""
    if not any("/count" in app.source(name) for name in ("housing_saved.py", "app.py")):
        raise NotYet
    _turn_strangers_away(app)
    with new_account(app) as first, new_account(app) as second:
        for name in ("garden wall", "garden gate", "roof"):
            save_district(first, 3, name)
        save_district(second, 5, "garden shed")
        _look_at_count(first, "garden", 2)
        _look_at_count(first, "cellar", 0)
        _look_at_count(second, "garden", 1)
        for text, advice in HOSTILE.items():
            _look_at_count(first, text, 0, advice)
    return (
        "your view sends strangers away, counts nobody else's rows, and shows a script as text. The check "
        "made two accounts for its attacks, and deleted them again."
    )


def _turn_strangers_away(app: ChangedApp) -> None:
    """Raise Wrong unless somebody who is not logged in is sent to log in."""
    advice = "Add `@login_required`, below `@pages.get(...)`, as for the other views."
    try:
        reply = app.get(COUNT_ROUTE, params={"name": "garden"})
    except Wrong as crash:
        raise Wrong(f"somebody who is not logged in makes it crash. {advice} ({crash})") from None
    if reply.status_code == 200 and "/login" not in reply.url:
        raise Wrong(f"somebody who is not logged in gets an answer. {advice}")


def _look_at_count(caller: Caller, text: str, expected: int, advice: str = OWN_ROWS) -> None:
    """Ask how many names hold `text`, and look for the number and the text on the page.

    Raises Wrong, which ends with `advice` if the number is another.
    """
    reply = caller.browser.get(COUNT_ROUTE, params={"name": text})
    if reply.status_code in (404, 405):
        raise Wrong(
            f"GET {COUNT_ROUTE} is answered with {reply.status_code}. Put the view in "
            '`housing_saved.py`, with `@pages.get("/count")`: the addresses there get `/saved` in front '
            "by themselves."
        )
    if reply.status_code != 200:
        raise Wrong(f"{COUNT_ROUTE} is answered with status {reply.status_code} instead of 200.")
    if SCRIPT in reply.text:
        raise Wrong(
            f"the script has got into the page! Asked for {SCRIPT}, it must show the letters: "
            "`escape(text)`, from `markupsafe`."
        )
    shown = html.unescape(reply.text)
    if text not in shown:
        raise Wrong(f"asked for {text}, the page does not repeat that text as it was sent.")
    counts = [int(each) for each in re.findall(r"\d+", shown.replace(text, ""))]
    if expected not in counts:
        raise Wrong(
            f"for an account with {expected} such names, asked for {text}, the page says "
            f"{', '.join(map(str, counts)) or 'no number'}. {advice}"
        )
