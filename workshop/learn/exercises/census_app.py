"""The checks of 05c: a gap sent to the API, a thousand people scored, and one more route.

They don't read the census data, so they need no network: the ranges fit both the real people and the
stand-in.
"""

from __future__ import annotations

import json

import requests

from workshop.learn.exercises import ChangedApp, NotYet, Wrong, exercise, number_in
from workshop.learn.exercises.census_data import NO_MODEL
from workshop.learn.exercises.census_model import groups_of_card

GROUPS_ROUTE = "/api/v1/groups"


@exercise(
    "05.8",
    hint="the cells of “How does a program ask?” ask the running app. You need the API, a person as "
    "JSON, and one value of that person changed.",
    then='inside `with serve("census") as url:`, call `requests.post` with the address of '
    "`/api/v1/predictions`. `person | {...}` is the person with one value changed; JSON's "
    "null is Python's `None`.",
)
def unknown_employer(answer: object) -> str:
    """The reply of the API about a person without a known workclass."""
    if not isinstance(answer, requests.Response):
        raise Wrong(
            f"`answer` holds a {type(answer).__name__}. Put the reply itself there, what "
            "`requests.post(...)` returns, without `.json()`."
        )
    if answer.status_code == 422:
        error = answer.json()["errors"][0]
        reason = error["message"].partition(" Known: ")[0]  # the list is long
        raise Wrong(
            f'the API has refused it, at {error["field"]}: "{reason}". For "not known", '
            "JSON has `None`, or you leave the field out; a word such as `?` is an unknown category."
        )
    if answer.status_code != 200:
        raise Wrong(
            f"the reply has the status {answer.status_code}. Use `requests.post`, the address "
            "`/api/v1/predictions`, and `json=` for the person."
        )
    if not answer.request.path_url.endswith("/predictions"):
        raise Wrong("this asks another address. One person goes to `/api/v1/predictions`.")
    sent = json.loads(answer.request.body)
    if sent.get("workclass") is not None:
        raise Wrong(f"you have sent a workclass, {sent['workclass']}. Send the person without one.")
    part = answer.json()["contributions"]["workclass"]
    return (
        f"the API answers, and its explanation says what not knowing adds: {part:+.2f} in log-odds. To the "
        "model, a gap is a category."
    )


@exercise(
    "05.9",
    hint="the labels lose what the column `probability` of `scored` knows.",
    then="ten people with a probability of 0.3 each: you expect three of them, because the "
    "probabilities add up to 3.",
)
def expected_number(answer: object) -> str:
    """How many of the first thousand test people earn more: the sum of their probabilities."""
    number = number_in(answer, "the answer is one number, how many of the thousand people.")
    if 0 < number < 1:
        raise Wrong("that is a share. How many people of the thousand are that?")
    if 205 <= number <= 280:
        return (
            f"about {number:.0f} people. The model's yes goes to fewer: where most people have small "
            "probabilities, labels round them all down to no."
        )
    if 100 <= number < 205:
        raise Wrong(
            'that is near the number of labels `>50K`. Use the column `"probability"`, not the labels.'
        )
    if 700 <= number <= 900:
        raise Wrong("that is about the number of those who earn less.")
    raise Wrong("add up the column `probability` of `scored`.")


@exercise(
    "05.10",
    hint="the route `/model` in `apps/05_census/census_api.py` does almost what you need: it "
    "answers with the card.",
    then="copy that route with its decorator. In the copy, change the address, the summary, the "
    "function's name and what it returns: a dictionary with the list of the card.",
    app="census",
)
def groups_route(app: ChangedApp) -> str:
    """The API with one more route, documented, which tells how the model treats groups of people."""
    reply = app.get(GROUPS_ROUTE)
    if reply.status_code == 404:
        _look_for_groups(app)
    if reply.status_code == 405:
        raise Wrong(f"{GROUPS_ROUTE} is there, but not for GET. Use `@api.get(...)`.")
    if reply.status_code == 503:
        raise Wrong(NO_MODEL)
    if reply.status_code != 200:
        raise Wrong(f"{GROUPS_ROUTE} is answered with status {reply.status_code} instead of 200.")
    try:
        body = reply.json()
    except requests.JSONDecodeError:
        raise Wrong("the answer is no JSON. Return a dictionary, and it becomes JSON.") from None
    if isinstance(body, list):
        raise Wrong('the view returns the list alone. Put it in a dictionary: `{"groups": ...}`.')
    if not isinstance(body, dict) or list(body) != ["groups"]:
        raise Wrong("the answer must be a dictionary with `groups` in it, and nothing else.")
    if body["groups"] != groups_of_card(app):
        raise Wrong(
            "the list is not the one of the card. In `card`, `model.card` is the card that you know: take "
            'its `["metrics"]["groups"]`.'
        )
    if reply.url.endswith("/"):
        raise Wrong('the address ends with a slash. Write `"/groups"`, without one.')
    described = app.get("/openapi/openapi.json").json()["paths"].get(GROUPS_ROUTE)
    if described is None:
        raise Wrong(
            "the route answers, but the API's documentation doesn't know it. Write it in `census_api.py`, "
            "with `@api.get`, so that the document is written from it."
        )
    if described["get"].get("summary") in (None, "", "The model's card"):
        raise Wrong(
            "the documentation lists the route without a `summary` of its own. Give it one."
        )
    return (
        f"a program can ask how the model treats {len(body['groups'])} groups, and the documentation says "
        f"so: “{described['get']['summary']}”. You have not written a line of that document."
    )


def _look_for_groups(app: ChangedApp) -> None:
    """Say why nothing answers at GROUPS_ROUTE: raises NotYet, or Wrong for a route elsewhere."""
    text = app.source("census_api.py")
    if "/groups" not in text and "/groups" not in app.source("app.py"):
        raise NotYet
    if GROUPS_ROUTE in text:
        raise Wrong(
            f"nothing answers {GROUPS_ROUTE}. The routes of `census_api.py` get `/api/v1` in front by "
            'themselves: write `"/groups"`.'
        )
    raise Wrong(
        f"nothing answers {GROUPS_ROUTE}. The view must stand inside `create_api` in `census_api.py`, above "
        "`return api`, as far indented as the others."
    )
