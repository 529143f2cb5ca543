"""The checks of 05c: a gap sent to the API, a thousand people scored, one more route, and a broken app.

They don't read the census data, so they work offline: the ranges fit both the real data and the stand-in.
"""

from __future__ import annotations

import json

import requests

from workshop.learn.exercises import (
    ChangedApp,
    NotYet,
    Wrong,
    ask_small_app,
    exercise,
    number_in,
)
from workshop.learn.exercises.census_data import NO_MODEL
from workshop.learn.exercises.census_model import groups_of_card

GROUPS_ROUTE = "/api/v1/groups"


@exercise(
    "05.8",
    hint="the cells of “How does a program ask?” send requests to the running app. You need the API, a "
    "person as JSON, and one changed value for that person.",
    then='inside `with serve("census") as url:`, call `requests.post` with the address of '
    "`/api/v1/predictions`. `person | {...}` is the person with one value changed; JSON's "
    "null is Python's `None`.",
)
def unknown_employer(answer: object) -> str:
    """The API's response for a person whose workclass isn't known."""
    if not isinstance(answer, requests.Response):
        raise Wrong(
            f"`answer` is a {type(answer).__name__}. It must be the response itself, as "
            "`requests.post(...)` returns it, without `.json()`."
        )
    if answer.status_code == 422:
        error = answer.json()["errors"][0]
        reason = error["message"].partition(" Known: ")[0]  # without the long list
        raise Wrong(
            f'the API refused it because of {error["field"]}: "{reason}". For "not known", '
            "send `None` or leave the field out; a word such as `?` is an unknown category."
        )
    if answer.status_code != 200:
        raise Wrong(
            f"the response has status {answer.status_code}. Use `requests.post`, the address "
            "`/api/v1/predictions`, and `json=` for the person."
        )
    if not answer.request.path_url.endswith("/predictions"):
        raise Wrong(
            "that request went to a different address. Send one person to `/api/v1/predictions`."
        )
    sent = json.loads(answer.request.body)
    if sent.get("workclass") is not None:
        raise Wrong(f"you sent a workclass, {sent['workclass']}. Send the person without one.")
    part = answer.json()["contributions"]["workclass"]
    return (
        f"the API answers, and its explanation shows what the missing value adds: {part:+.2f} in log-odds. "
        "To the model, “missing” is one more category."
    )


@exercise(
    "05.9",
    hint="the labels have lost information that is still in the column `probability` of `scored`.",
    then="ten people with a probability of 0.3 each: you expect three of them, because the "
    "probabilities add up to 3.",
)
def expected_number(answer: object) -> str:
    """How many of the first thousand people in the test set earn more: the sum of their probabilities."""
    number = number_in(answer, "the answer is one number, how many of the thousand people.")
    if 0 < number < 1:
        raise Wrong("that is a share. How many of the thousand people is that?")
    if 205 <= number <= 280:
        return (
            f"about {number:.0f} people. The model says yes to fewer: most people have small probabilities, "
            "and labels round all of those down to no."
        )
    if 100 <= number < 205:
        raise Wrong(
            'that is near the number of labels `>50K`. Use the column `"probability"`, not the labels.'
        )
    if 700 <= number <= 900:
        raise Wrong("that is about the number of people who earn less.")
    raise Wrong("add up the column `probability` of `scored`.")


@exercise(
    "05.10",
    hint="the route `/model` in `apps/05_census/census_api.py` does almost what you need: it "
    "answers with the card.",
    then="copy that route with its decorator. In the copy, change the address, the summary, the "
    "function's name and what it returns: a dictionary with the list from the card.",
    app="census",
)
def groups_route(app: ChangedApp) -> str:
    """The API with one more documented route, which says how the model treats groups of people."""
    reply = app.get_added_to_api(GROUPS_ROUTE, "census_api.py")
    if reply.status_code == 503:
        raise Wrong(NO_MODEL)
    if reply.status_code != 200:
        raise Wrong(f"{GROUPS_ROUTE} returns status {reply.status_code} instead of 200.")
    try:
        body = reply.json()
    except requests.JSONDecodeError:
        raise Wrong(
            "the response isn't JSON. Return a dictionary, and Flask turns it into JSON."
        ) from None
    if isinstance(body, list):
        raise Wrong('the view returns only the list. Put it in a dictionary: `{"groups": ...}`.')
    if not isinstance(body, dict) or list(body) != ["groups"]:
        raise Wrong("the response must be a dictionary with `groups` in it, and nothing else.")
    if body["groups"] != groups_of_card(app):
        raise Wrong(
            "that isn't the list on the card. `model.card`, which the view `card` uses, is the card you "
            'know: return its `["metrics"]["groups"]`.'
        )
    described = app.get("/openapi/openapi.json").json()["paths"].get(GROUPS_ROUTE)
    if described is None:
        raise Wrong(
            "the route works, but it isn't in the API's documentation. Write it in `census_api.py` with "
            "`@api.get`, and it is added to the documentation automatically."
        )
    if described["get"].get("summary") in (None, "", "The model's card"):
        raise Wrong("the documentation lists the route, but it needs its own `summary`. Write one.")
    return (
        f"a program can ask how the model treats {len(body['groups'])} groups, and the documentation lists "
        f"it: “{described['get']['summary']}”. You didn't have to write a line of that documentation."
    )


SLIPS = {"sex": "male", "education": "bachelors"}


@exercise(
    "05.11",
    hint="the app says that a person who never married is more likely to earn more than the same person "
    "if married.",
    then="`pipeline.predict_proba(row)` returns two numbers: which one is the probability of yes?",
)
def small_census_app(answer: object) -> str:
    """A small app that had two mistakes: the wrong column, and words that the model doesn't know."""

    def probability(**change: str) -> float:
        reply = ask_small_app(answer, "GET", "/probability", query_string=change)
        if reply.status_code != 200 or not isinstance(reply.json, dict):
            raise Wrong(f"/probability for {change or 'the person'} returns {reply.status_code}.")
        return number_in(reply.json.get("probability"), '`"probability"` must be a number.')

    alone, married = probability(), probability(marital_status="Married-civ-spouse")
    if alone > married:
        raise NotYet
    if not 0 <= alone < married <= 1:
        raise Wrong(
            f"the probability is {alone:.3f}, and {married:.3f} if the same person is married. Each must be "
            "between 0 and 1."
        )
    for name, word in SLIPS.items():
        status = ask_small_app(answer, "GET", "/probability", query_string={name: word}).status_code
        if status not in (400, 422):
            raise Wrong(
                f"`{name}={word}` returns {status}. The model doesn't know that word, and "
                "ignores it. Check each word against the card, and refuse one that isn't there with 422."
            )
    probability(sex="Female")
    return (
        "both mistakes are fixed. Neither crashed: each gave a number that looked like any other."
    )
