"""The checks of stage 06: errors in dollars, a narrower interval, the API with a token, one more route.

They don't read the housing data, so they work offline: the ranges fit both the real data and the stand-in.
"""

from __future__ import annotations

import math
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Real

import numpy as np
import pandas as pd
import requests

from workshop.learn.exercises import ChangedApp, Wrong, exercise

INCOMES = {"low": 2, "middle": 4, "high": 8}  # of exercise 06.3, in 10,000 $
COLUMNS = ["price", "low", "high"]
SUMMARY_ROUTE = "/api/v1/summary"
NO_MODEL = "the app has no model. Run the cells above that save one with `housing_model.save`."
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


@exercise(
    "06.1",
    hint="`residual_of_trees` says how far off each price is, with a sign. Which residuals are "
    "more than 100,000 dollars away from 0?",
    then="`.abs()` removes the sign. Compare the result with 100,000. Python counts True as 1, so "
    "the mean of that comparison is a share.",
)
def share_far_off(answer: object) -> str:
    """The share of test districts whose price is off by more than 100,000 dollars, about 0.05."""
    if isinstance(answer, pd.Series | np.ndarray) and np.size(answer) > 1:
        raise Wrong("that is a column with a value for each district. Its mean is the share.")
    if isinstance(answer, bool | np.bool_) or not isinstance(answer, Real):
        raise Wrong("the answer is one number from 0 to 1, such as `answer = (...).mean()`.")
    share = float(answer)
    if 0.04 < share < 0.12:
        return (
            f"{share:.1%}: about one price in {round(1 / share)} is off by more than 100,000 dollars, "
            "although the average error is about 30,000. A page that shows the interval warns people of that."
        )
    if share == 0:
        raise Wrong(
            "that is 0. The residuals are in dollars, so compare with 100_000, not with 100e6."
        )
    if 0 < share < 1:
        raise Wrong(
            f"{share:.3f} isn't right. Count both directions: `abs()` first, then compare with 100_000, "
            "and use the residuals of the trees, not those of the line."
        )
    if share.is_integer() and 100 < share < 1000:
        raise Wrong(
            "that is the number of districts. For the share, divide by all of them: take the mean."
        )
    if 1 <= share <= 100:
        raise Wrong("that looks like a percentage. Give the share, a number from 0 to 1.")
    raise Wrong("that looks like dollars. Compare each residual with 100_000, then take the mean.")


@exercise(
    "06.2",
    hint="“How sure is it?” fits two quantiles, and “Does the interval keep its promise?” widens "
    "them. Do the same for 80 percent.",
    then="call `fit_quantile` with 0.1 and 0.9 on `fitting`, get the margin from `kept` with "
    "`.quantile(0.8)`, and put a `pd.DataFrame` with `price`, `low` and `high` in `answer`.",
)
def narrower_interval(answer: object) -> str:
    """A table of the test districts with an interval that contains 80% of the prices."""
    if not isinstance(answer, pd.DataFrame):
        raise Wrong(
            f"`answer` is a {type(answer).__name__}. It must be a table: "
            '`pd.DataFrame({"price": ..., "low": ..., "high": ...})`.'
        )
    if lacking := [name for name in COLUMNS if name not in answer]:
        raise Wrong(f"the table has no column {', '.join(lacking)}.")
    price, low, high = (answer[name].to_numpy(dtype=float) for name in COLUMNS)
    if not np.isfinite([price, low, high]).all():
        raise Wrong(
            "some values are missing from the table. All three columns need a row for each district in "
            "`test`; did you make one of them from `kept`?"
        )
    if (low > high).mean() > 0.5:
        raise Wrong("`low` is above `high`. Did you swap the two, or the signs of the margin?")
    covered = float(((low <= price) & (price <= high)).mean())
    width = float(np.mean(high - low))
    if width < 1000:
        raise Wrong("the interval is almost zero. Prices and intervals are in dollars.")
    if covered > 0.98:
        raise Wrong(
            f"it contains {covered:.1%} of the prices. Did you add the margin more than once?"
        )
    if covered > 0.86:
        raise Wrong(
            f"it contains {covered:.1%} of the prices, like one for 90%. Use the quantiles 0.1 and 0.9, and "
            "`.quantile(0.8)` for the margin."
        )
    if covered < 0.76:
        raise Wrong(
            f"it contains only {covered:.1%} of the prices. Did you subtract the margin from `low` and add "
            "it to `high`? And is it the margin for 80%, measured on `kept`?"
        )
    return (
        f"you promised 80%, and the interval contains {covered:.1%} of the prices. It is {width:,.0f} "
        "dollars wide on average. The only way to a narrower interval is to accept less certainty."
    )


@exercise(
    "06.3",
    hint="“Does the app answer what the notebook answers?” saves one prediction with a token. You "
    "need that three times, and then the list.",
    then="in a loop over three names, call `requests.post` for `/api/v1/saved` with `json={...}` "
    "and `headers=headers`. After the loop, `requests.get` for the same address gives the "
    "list, as JSON.",
)
def three_saved(answer: object) -> str:
    """The list of saved predictions, including three new ones."""
    if isinstance(answer, requests.Response):
        raise Wrong(f"that is the response, with status {answer.status_code}. Add `.json()`.")
    if isinstance(answer, dict):
        if answer.get("status") == 401:
            raise Wrong(
                "the app answered 401: send the token, `headers=headers`, with each request."
            )
        if "errors" in answer:
            raise Wrong(f"the app refused it: {answer.get('detail')} {answer['errors']}")
        raise Wrong("that is one prediction, not the list. GET `/api/v1/saved` returns the list.")
    if not isinstance(answer, list) or not all(isinstance(row, dict) for row in answer):
        raise Wrong(
            "`answer` must be the list that GET `/api/v1/saved` returns, read with `.json()`."
        )
    found = {row.get("name"): row for row in answer}
    if lacking := [name for name in INCOMES if name not in found]:
        raise Wrong(
            f"there is no {' or '.join(map(repr, lacking))} in the list. Does each POST return 201? If not, "
            "its `.json()` says why."
        )
    for name, income in INCOMES.items():
        sent = found[name]["district"]["median_income"]
        if sent != income:
            raise Wrong(
                f"{name!r} was saved with a median_income of {sent:g} instead of {income}. "
                '`district | {"median_income": ...}` is the district with one value changed.'
            )
    prices = [found[name]["price_usd"] for name in INCOMES]
    return (
        f"{prices[0]:,}, {prices[1]:,} and {prices[2]:,} dollars, for the same houses in the same place. The "
        "only difference is the neighbors' income, and everything that goes along with it."
    )


@exercise(
    "06.4",
    hint="the route that lists `/saved` in `apps/06_housing/housing_api.py` does almost what you "
    "need.",
    then='copy that route with its decorator. In the copy, change the address to `"/summary"`, '
    "the function's name, its docstring, and what it returns.",
    app="housing",
)
def summary_route(app: ChangedApp) -> str:
    """The API with one more route, which summarizes what an account has saved."""
    stranger = app.get_added_to_api(SUMMARY_ROUTE, "housing_api.py")
    with new_account(app) as first, new_account(app) as second:
        for income in (3, 6):
            save_district(first, income)
        prices = [save_district(second, 5)]
        prices_of_first = [row["price_usd"] for row in first.get("/api/v1/saved").json()]
        _compare(_summary(first), prices_of_first, "two predictions")
        # While both accounts exist, the second one shows whether the first one's rows leak into it.
        _compare(_summary(second), prices, "one prediction, while other accounts have more,")
    with new_account(app) as third:
        _compare(_summary(third), [], "no prediction yet")
    if stranger.status_code != 401:
        raise Wrong(
            f"without a token, the route returns {stranger.status_code} instead of 401. Call "
            "`account_of_token()` inside the view, for every request."
        )
    described = (
        app.get("/openapi/openapi.json").json()["paths"].get(SUMMARY_ROUTE, {}).get("get", {})
    )
    if not described.get("security"):
        raise Wrong(
            "the documentation doesn't say that the route needs a token. Write it in `housing_api.py`, with "
            "`**described(200, None, 401)` in the decorator, much like `/saved`."
        )
    return (
        "your route counts each account's own predictions, refuses anyone without a token, handles an empty "
        "list, and is documented. The check made three accounts for this, and has deleted them."
    )


class Caller(ChangedApp):
    """A client that sends an account's token with each request."""

    def __init__(self, browser: ChangedApp, token: str) -> None:
        super().__init__(browser.stage, browser.server)
        self.browser = browser  # in which the same account is logged in
        self.session.headers["Authorization"] = f"Bearer {token}"


@contextmanager
def new_account(app: ChangedApp) -> Iterator[Caller]:
    """Register an account with a token through the app's pages; delete it at the end."""
    browser = ChangedApp(app.stage, app.server)
    person = {"username": f"check-{secrets.token_hex(6)}", "password": secrets.token_hex(12)}
    _send_form(browser, "/register", "/register", person)
    page = _send_form(browser, "/account", "/account/tokens", {"name": "check"})
    try:
        yield Caller(browser, re.search('id="new-token">([^<]+)<', page)[1])
    finally:
        _send_form(browser, "/account/delete", "/account/delete", person)


def _send_form(browser: ChangedApp, page: str, action: str, fields: dict[str, str]) -> str:
    form = browser.get(page)
    if form.status_code == 503:
        raise Wrong(NO_MODEL)
    token = re.search('name="csrf_token"[^>]* value="([^"]+)"', form.text)[1]
    return browser.post(action, data=fields | {"csrf_token": token}).text


def save_district(caller: Caller, income: float, name: str = "check") -> int:
    """Save a district under a name, and return its price."""
    district = DISTRICT | {"median_income": income}
    reply = caller.post("/api/v1/saved", json={"name": name, "district": district})
    return reply.json()["price_usd"]


def _summary(caller: Caller) -> dict[str, object]:
    try:
        reply = caller.get(SUMMARY_ROUTE)
    except Wrong as crash:
        if "ZeroDivisionError" not in str(crash):
            raise
        raise Wrong(
            "for an account with no predictions, your view divides by zero. Return `None` as its mean."
        ) from None
    if reply.status_code != 200:
        raise Wrong(f"with a token, {SUMMARY_ROUTE} returns {reply.status_code} instead of 200.")
    try:
        found = reply.json()
    except requests.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise Wrong("the view must return a dictionary with `count` and `mean_price_usd`.")
    if lacking := [name for name in ("count", "mean_price_usd") if name not in found]:
        raise Wrong(
            f"the response has no {' and '.join(lacking)}; it has {', '.join(found) or 'nothing'}."
        )
    return found


def _compare(found: dict[str, object], prices: list[int], whose: str) -> None:
    count, mean = found["count"], found["mean_price_usd"]
    if count != len(prices):
        raise Wrong(
            f"an account with {whose} gets the count {count} instead of {len(prices)}. Count only the rows "
            "of `all_of(account_of_token())`."
        )
    expected = sum(prices) / len(prices) if prices else None
    if expected is None:
        if mean is not None:
            raise Wrong(
                f"an account with {whose} gets the mean {mean}. An empty list has no mean: return `None`."
            )
    elif not isinstance(mean, Real) or not math.isclose(mean, expected, abs_tol=1):
        raise Wrong(f"an account with {whose} gets the mean {mean} instead of {expected:,.1f}.")
