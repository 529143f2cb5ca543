"""The checks of stage 06: errors in dollars, a narrower interval, the API with a token, a new route;
then, for the attacks of 06b, a hostile address, a forged cookie, and a view that is attacked.

They never look at the housing data, so they need neither a mirror nor the network: ranges are wide
enough for the real districts and for the stand-in.
"""

from __future__ import annotations

import html
import math
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Real

import numpy as np
import pandas as pd
import requests
from flask import Flask
from flask.sessions import SecureCookieSessionInterface
from itsdangerous import BadSignature, URLSafeTimedSerializer

from workshop.learn.exercises import ChangedApp, NotYet, Wrong, exercise

INCOMES = {"low": 2, "middle": 4, "high": 8}  # of exercise 06.3, in 10,000 $
COLUMNS = ["price", "low", "high"]
SUMMARY_ROUTE = "/api/v1/summary"
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
DISTRICT = {
    "median_income": 3.5,
    "house_age": 29,
    "average_rooms": 5.2,
    "average_bedrooms": 1.05,
    "population": 1166,
    "average_occupancy": 2.8,
    "latitude": 34.26,
    "longitude": -118.49,
}


# --- the model ------------------------------------------------------------------------------------


@exercise(
    "06.1",
    hint="`residual_of_trees.abs()` is how far each price is off. Compare it with 100,000 and take the "
    "mean: Python counts True as 1, so that is the share. Put it in `answer`.",
)
def share_far_off(answer: object) -> str:
    """The share of test districts whose price is off by more than 100,000 dollars, about 0.05."""
    if isinstance(answer, pd.Series | np.ndarray) and np.size(answer) > 1:
        raise Wrong(
            "that is a column with a value for each district. The mean makes a share of it."
        )
    if isinstance(answer, bool | np.bool_) or not isinstance(answer, Real):
        raise Wrong("the answer is one number from 0 to 1, such as `answer = (...).mean()`.")
    share = float(answer)
    if 0.04 < share < 0.12:
        return (
            f"{share:.1%}: about one price of {round(1 / share)} is off by more than 100,000 dollars, "
            "although the average is near 30,000. A page that shows the interval warns of that."
        )
    if share == 0:
        raise Wrong(
            "that is 0. The residuals are in dollars, so compare with 100_000, not with 100e6."
        )
    if 0 < share < 1:
        raise Wrong(
            f"{share:.3f} is not it. Count both directions: `abs()` first, then compare with 100_000, "
            "and use the residuals of the trees, not those of the line."
        )
    if share.is_integer() and 100 < share < 1000:
        raise Wrong(
            "that is how many districts there are. The share divides by all: take the mean."
        )
    if 1 <= share <= 100:
        raise Wrong("that looks like percent. Give the share, a number from 0 to 1.")
    raise Wrong("that looks like dollars. Compare each residual with 100_000, then take the mean.")


@exercise(
    "06.2",
    hint="call `fit_quantile` with 0.1 and 0.9 on `fitting`, get the margin from `kept` with "
    "`.quantile(0.8)`, and put a `pd.DataFrame` with `price`, `low` and `high` in `answer`.",
)
def narrower_interval(answer: object) -> str:
    """A table of the test districts with an interval that holds 80 % of the prices."""
    if not isinstance(answer, pd.DataFrame):
        raise Wrong(
            f"`answer` holds a {type(answer).__name__}. It must be a table: "
            '`pd.DataFrame({"price": ..., "low": ..., "high": ...})`.'
        )
    if lacking := [name for name in COLUMNS if name not in answer]:
        raise Wrong(f"the table lacks the column {', '.join(lacking)}.")
    price, low, high = (answer[name].to_numpy(dtype=float) for name in COLUMNS)
    if not np.isfinite([price, low, high]).all():
        raise Wrong(
            "there are gaps in the table. `test` and what `predict` gives have as many rows; is one of "
            "the columns made from `kept`?"
        )
    if (low > high).mean() > 0.5:
        raise Wrong("`low` lies above `high`: the two are swapped, or the signs of the margin are.")
    covered = float(((low <= price) & (price <= high)).mean())
    width = float(np.mean(high - low))
    if width < 1000:
        raise Wrong("the interval is next to nothing. Prices and intervals are in dollars.")
    if covered > 0.98:
        raise Wrong(f"it holds {covered:.1%}. Is the margin in there more than once?")
    if covered > 0.86:
        raise Wrong(
            f"it holds {covered:.1%}, as one for 90 % would. Take the quantiles 0.1 and 0.9, and "
            "`.quantile(0.8)` for the margin."
        )
    if covered < 0.76:
        raise Wrong(
            f"it holds {covered:.1%} only. Is the margin on both ends, taken off `low` and added to "
            "`high`? And is it that of 80 %, measured on `kept`?"
        )
    return (
        f"promised 80 %, kept {covered:.1%}, and {width:,.0f} dollars wide on average. Whoever is content "
        "with less certainty gets a narrower interval; there is no other way to have one."
    )


# --- the app --------------------------------------------------------------------------------------


@exercise(
    "06.3",
    hint='`requests.post(f"{url}/api/v1/saved", ...)` once for each name, with `json={...}` and '
    "`headers=headers`; then `answer = requests.get(...).json()`.",
)
def three_saved(answer: object) -> str:
    """The list of saved predictions, three new ones among them."""
    if isinstance(answer, requests.Response):
        raise Wrong(f"that is the reply, with status {answer.status_code}. Add `.json()`.")
    if isinstance(answer, dict):
        if answer.get("status") == 401:
            raise Wrong(
                "the app answered 401: send the token, `headers=headers`, with each request."
            )
        if "errors" in answer:
            raise Wrong(f"the app refused it: {answer.get('detail')} {answer['errors']}")
        raise Wrong("that is one prediction, not the list. Ask for it: GET `/api/v1/saved`.")
    if not isinstance(answer, list) or not all(isinstance(row, dict) for row in answer):
        raise Wrong(
            "`answer` must be the list that GET `/api/v1/saved` gives, as `.json()` reads it."
        )
    found = {row.get("name"): row for row in answer}
    if lacking := [name for name in INCOMES if name not in found]:
        raise Wrong(
            f"there is no {' or '.join(map(repr, lacking))} in the list. Does each POST answer 201? If not, "
            "its `.json()` says why."
        )
    for name, income in INCOMES.items():
        sent = found[name]["district"]["median_income"]
        if sent != income:
            raise Wrong(
                f"{name!r} was saved with a median_income of {sent:g} instead of {income}. "
                '`district | {"median_income": ...}` is the district with one value replaced.'
            )
    prices = [found[name]["price_usd"] for name in INCOMES]
    return (
        f"{prices[0]:,}, {prices[1]:,} and {prices[2]:,} dollars, for the same houses in the same place. The "
        "income of the neighbours alone makes the difference, or what goes with it."
    )


@exercise(
    "06.4",
    hint="in `apps/06_housing/housing_api.py`, copy the route that lists `/saved`, with its decorator. In "
    'the copy, change the address to `"/summary"`, the summary, the function\'s name, and what it returns.',
    app="housing",
)
def summary_route(app: ChangedApp) -> str:
    """The API with one more route, which sums up what an account has saved."""
    stranger = app.get(SUMMARY_ROUTE)
    if stranger.status_code == 404:
        _look_for_summary(app)
    with _account(app) as first, _account(app) as second:
        for income in (3, 6):
            _save(first, income)
        prices = [_save(second, 5)]
        prices_of_first = [row["price_usd"] for row in first.get("/api/v1/saved").json()]
        _compare(_summary(first), prices_of_first, "two predictions")
        # Asked in between, the second account shows whether the first one's rows leak into it.
        _compare(_summary(second), prices, "one prediction, while others have theirs")
    with _account(app) as third:
        _compare(_summary(third), [], "no prediction yet")
    if stranger.status_code != 401:
        raise Wrong(
            f"without a token the route answers {stranger.status_code} instead of 401. Let "
            "`account_of_token()` look at the request, inside the view."
        )
    described = (
        app.get("/openapi/openapi.json").json()["paths"].get(SUMMARY_ROUTE, {}).get("get", {})
    )
    if not described.get("security"):
        raise Wrong(
            "the documentation does not say that the route wants a token. Write it in `housing_api.py`, with "
            "`security=TOKEN` in the decorator, as for `/saved`."
        )
    return (
        "your route counts each account's own predictions, refuses whoever has no token, copes with an empty "
        "list, and is documented. The check made three accounts for that, and deleted them again."
    )


def _look_for_summary(app: ChangedApp) -> None:
    """Say why nothing answers at SUMMARY_ROUTE: raises NotYet, or Wrong for a route elsewhere."""
    text = app.source("housing_api.py")
    if "/summary" not in text and "/summary" not in app.source("app.py"):
        raise NotYet
    if SUMMARY_ROUTE in text:
        raise Wrong(
            f"nothing answers {SUMMARY_ROUTE}. The routes of `housing_api.py` get `/api/v1` in front by "
            'themselves: write `"/summary"`.'
        )
    raise Wrong(
        f"nothing answers {SUMMARY_ROUTE}. The view must stand inside `create_api` in `housing_api.py`, "
        "above `return api`, as far indented as the others."
    )


class _Caller(ChangedApp):
    """Somebody who asks the app with an account's token."""

    def __init__(self, browser: ChangedApp, token: str) -> None:
        super().__init__(browser.stage, browser.server)
        self.browser = browser  # in which the same account is logged in
        self.session.headers["Authorization"] = f"Bearer {token}"


@contextmanager
def _account(app: ChangedApp) -> Iterator[_Caller]:
    """Register an account that has a token, through the app's pages; delete it in the end."""
    browser = ChangedApp(app.stage, app.server)
    person = {"username": f"check-{secrets.token_hex(6)}", "password": secrets.token_hex(12)}
    _send_form(browser, "/register", "/register", person)
    page = _send_form(browser, "/account", "/account/tokens", {"name": "check"})
    try:
        yield _Caller(browser, re.search('id="new-token">([^<]+)<', page)[1])
    finally:
        _send_form(browser, "/account/delete", "/account/delete", person)


def _send_form(browser: ChangedApp, page: str, action: str, fields: dict[str, str]) -> str:
    token = re.search('name="csrf_token"[^>]* value="([^"]+)"', browser.get(page).text)[1]
    return browser.post(action, data=fields | {"csrf_token": token}).text


def _save(caller: _Caller, income: float, name: str = "check") -> int:
    """Save a district under a name, and return its price."""
    district = DISTRICT | {"median_income": income}
    reply = caller.post("/api/v1/saved", json={"name": name, "district": district})
    if reply.status_code == 503:
        raise Wrong(
            "the app has no model. Run the cells above, in which `housing_model.save` keeps it."
        )
    return reply.json()["price_usd"]


def _summary(caller: _Caller) -> dict[str, object]:
    try:
        reply = caller.get(SUMMARY_ROUTE)
    except Wrong as crash:
        if "ZeroDivisionError" not in str(crash):
            raise
        raise Wrong(
            "an account with no predictions divides by zero: answer `None` for it."
        ) from None
    if reply.url.endswith("/"):
        raise Wrong('the address ends with a slash. Write `"/summary"`, without one.')
    if reply.status_code == 405:
        raise Wrong(f"{SUMMARY_ROUTE} is there, but not for GET. Use `@api.get(...)`.")
    if reply.status_code != 200:
        raise Wrong(f"with a token, {SUMMARY_ROUTE} answers {reply.status_code} instead of 200.")
    try:
        found = reply.json()
    except requests.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise Wrong("the view must return a dictionary with `count` and `mean_price_usd`.")
    if lacking := [name for name in ("count", "mean_price_usd") if name not in found]:
        raise Wrong(
            f"the answer lacks {' and '.join(lacking)}; it has {', '.join(found) or 'nothing'}."
        )
    return found


def _compare(found: dict[str, object], prices: list[int], whose: str) -> None:
    count, mean = found["count"], found["mean_price_usd"]
    if count != len(prices):
        raise Wrong(
            f"an account with {whose} gets the count {count} instead of {len(prices)}. Count the rows of "
            "`all_of(account_of_token())`, nobody else's."
        )
    expected = sum(prices) / len(prices) if prices else None
    if expected is None:
        if mean is not None:
            raise Wrong(
                f"an account with {whose} gets the mean {mean}. Nothing has no mean: `None`."
            )
    elif not isinstance(mean, Real) or not math.isclose(mean, expected, abs_tol=1):
        raise Wrong(f"an account with {whose} gets the mean {mean} instead of {expected:,.1f}.")


# --- the attacks ----------------------------------------------------------------------------------


@exercise(
    "06.5",
    hint="what stands before the first colon of an address says what a browser does with the rest: "
    "`https:` loads a page, `mailto:` writes a letter. One such word runs the rest as a script. Put the "
    "whole address, as text, in `answer`.",
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
    hint="in a loop over `words`, try `signer(word).loads(found)`, and go on at `except BadSignature`. With "
    'the word that raises nothing, `answer = signer(word).dumps({"account": 1})`.',
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
    hint="in `apps/06_housing/housing_saved.py`, write a view for `/count` above that of `/download.csv`, "
    "with the same second decorator.",
    app="housing",
)
def guarded_count(app: ChangedApp) -> str:
    """The pages with one more, which counts names; the check attacks it."""
    if not any("/count" in app.source(name) for name in ("housing_saved.py", "app.py")):
        raise NotYet
    _turn_strangers_away(app)
    with _account(app) as first, _account(app) as second:
        for name in ("garden wall", "garden gate", "roof"):
            _save(first, 3, name)
        _save(second, 5, "garden shed")
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


def _look_at_count(caller: _Caller, text: str, expected: int, advice: str = OWN_ROWS) -> None:
    """Ask how many names hold `text`, and look for the number and the text on the page.

    Raises Wrong, which ends with `advice` if the number is another.
    """
    reply = caller.browser.get(COUNT_ROUTE, params={"name": text})
    if reply.status_code in (404, 405):
        raise Wrong(
            f"GET {COUNT_ROUTE} is answered with {reply.status_code}. The view must stand inside "
            '`create_saved_pages`, above `return pages`, with `@pages.get("/count")`: the addresses there '
            "get `/saved` in front by themselves."
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
