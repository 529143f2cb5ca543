"""Stage 06: nobody reaches what belongs to another, by any route, id, token or race.

The routes are the app's own list: one that is new fails here until it is said whose its ids are.
"""

import re
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count, product

from housing_support import BERKELEY, PASSWORD, join, log_in, messages, on_both_databases
from sqlalchemy import select

database = sys.modules["housing_database"]

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
# Each route with an id in its address, and what the id is of.
IDS = {
    "/saved/<number>": "saved",
    "/saved/<number>/delete": "saved",
    "/account/tokens/<number>/revoke": "token",
    "/api/v1/saved/<saved_id>": "saved",
}
NO_ID = ("0", "-1", "2147483648", "9" * 5000, "%D9%A1", "1%00")
# What a request sends, so that every route understands it.
NAME = {"name": "Ben was here"}
FIELDS = BERKELEY | NAME | {"username": "ben", "password": PASSWORD}
BODIES = {
    "/api/v1/predictions": BERKELEY,
    "/api/v1/saved": NAME | {"district": BERKELEY},
}


def routes(app, *, with_id):
    """The routes of the app's own: address with a place for the id, and methods."""
    found = {}
    for rule in app.url_map.iter_rules():
        if not rule.endpoint.endswith("static") and bool(rule.arguments) is with_id:
            found.setdefault(rule.rule, set()).update(rule.methods - {"HEAD", "OPTIONS"})
    return found


def send(client, method, route, number="", headers=None, **more):
    """Ask for a route, with an id in its address, by a body that it understands."""
    path = re.sub("<.+>", number, route)
    if route.startswith("/api/"):
        more["json"] = BODIES.get(route, NAME) | more.get("json", {})
    else:
        more["data"] = FIELDS | more.get("data", {})
    return client.open(path, method=method, headers=headers, **more)


def everything(app):
    """Every row of every table, except who is logged in."""
    with app.app_context(), database.db.engine.connect() as connection:
        return {
            table.name: sorted(map(tuple, connection.execute(select(table))))
            for table in database.Base.metadata.sorted_tables
            if table.name != "login_session"
        }


def ids(person):
    """The number of a token that somebody makes now, and of a row that they save."""
    page = person.browser.post("/account/tokens", data={"name": "Anna's own"}).text
    tokens = re.findall(r"/account/tokens/(\d+)/revoke", page)
    return {"saved": str(person.saves("Anna's own")["id"]), "token": tokens[-1]}


# Routes and ids


def told(answer, number):
    """All that an answer tells, but for the id that was in the address."""
    headers = {k: v for k, v in answer.headers if k not in ("Set-Cookie", "Content-Length")}
    text = f"{headers}\n{answer.text}"
    return answer.status_code, text.replace(f"/{number}", "/ID")


def test_every_route_with_an_id_is_known_and_opens_for_its_owner(app, anna):
    found = routes(app, with_id=True)
    assert set(found) == set(IDS), "say in IDS whose the ids of a new route are"
    for route, methods in found.items():
        for method in methods:
            answer = send(anna.browser, method, route, ids(anna)[IDS[route]], anna.headers)
            assert answer.status_code in (200, 204, 303), (method, route)
            for text in NO_ID:  # what can be no id
                answer = send(anna.browser, method, route, text, anna.headers)
                assert answer.status_code == 404, (method, route, text[:10])


def test_the_id_of_another_is_as_good_as_one_that_nobody_has(app, anna, ben):
    theirs = ids(anna)
    ids(ben)
    before = everything(app)
    visitor = app.test_client()
    impostor = app.test_client()  # holds Ben's key, and says that it is Anna
    with ben.browser.session_transaction() as own, impostor.session_transaction() as forged:
        forged.update(own, account=before["account"][0][0])
    asking = [(ben.browser, ben.headers), (ben.browser, {}), (visitor, ben.headers)]
    asking += [(visitor, {}), (impostor, {})]
    for (route, kind), (who, headers), method in product(IDS.items(), asking, METHODS):
        answer = send(who, method, route, theirs[kind], headers)
        nobodys = send(who, method, route, "777777", headers)
        assert told(answer, theirs[kind]) == told(nobodys, "777777"), (method, route)
        assert "own" not in answer.text
    assert everything(app) == before


def test_no_route_without_an_id_takes_one_or_tells_of_another(app, anna):
    theirs = ids(anna)
    before = everything(app)
    [(account_id, *_)] = before["account"]
    smuggled = dict.fromkeys(["account_id", "account", "owner"], account_id)
    smuggled |= dict.fromkeys(["id", "saved_id"], theirs["saved"]) | {"number": theirs["token"]}
    for place, (route, methods) in enumerate(routes(app, with_id=False).items()):
        for method in methods:
            ben = join(app, f"ben{place}{method}")
            sent = {"query_string": smuggled}
            sent["json" if route.startswith("/api/") else "data"] = smuggled
            answer = send(ben.browser, method, route, headers=ben.headers, **sent)
            assert answer.status_code < 500, (method, route)
            assert "Anna" not in answer.text, (method, route)
    after = everything(app)
    for table, column in {"account": 0, "api_token": 1, "saved_prediction": 1}.items():
        rows = [row for row in after[table] if row[column] == account_id]
        assert rows == before[table], table


# Races. Each stops one request in the middle, lets another run as a whole, and then goes on.

BY_TOKEN = ("housing_api", "account_of_token")  # where a request finds whose token it has


def race(monkeypatch, place, slow, quick):
    """Run `slow` up to the end of its first call of `place`, all of `quick`, and the rest of `slow`.

    `place` is the module and the function's name in it. Returns what both return.
    """
    module, name = sys.modules[place[0]], place[1]
    function, turns = getattr(module, name), count()
    reached, done = threading.Event(), threading.Event()

    def stopped(*args, **options):
        result = function(*args, **options)
        if next(turns) == 0:
            reached.set()
            assert done.wait(30), "the other request does not end"
        return result

    with monkeypatch.context() as patched, ThreadPoolExecutor(1) as thread:
        patched.setattr(module, name, stopped)
        running = thread.submit(slow)
        try:
            assert reached.wait(30), f"the request never came to {name}"
            second = quick()
        finally:
            done.set()
        return running.result(), second


def delete_account(app, name):
    """Delete an account from another browser."""
    browser = app.test_client()
    log_in(browser, name)
    assert browser.post("/account/delete", data={"password": PASSWORD}).location == "/"


@on_both_databases
def test_whatever_an_account_is_doing_when_it_is_deleted_nothing_of_it_stays(app, monkeypatch):
    private = routes(app, with_id=True) | {
        route: methods
        for route, methods in routes(app, with_id=False).items()
        if route.startswith(("/saved", "/account", "/api/v1/saved"))
    }
    assert len(private) >= 10
    for place, (route, methods) in enumerate(private.items()):
        for method in methods:
            who = join(app, name := f"anna{place}{method}")
            number = ids(who)[IDS.get(route, "saved")]
            where = BY_TOKEN if route.startswith("/api/") else ("housing_login", "current_account")
            act = partial(send, who.browser, method, route, number, who.headers)
            answer, _ = race(monkeypatch, where, act, partial(delete_account, app, name))
            assert answer.status_code < 500, (method, route)
            assert not any(everything(app).values()), (method, route)


@on_both_databases
def test_a_token_that_is_revoked_while_in_use_opens_nothing_any_more(app, anna, monkeypatch):
    number = re.search(r"/account/tokens/(\d+)/revoke", anna.browser.get("/account").text)[1]
    body = {"name": "under way", "district": BERKELEY}
    answer, revoked = race(
        monkeypatch,
        BY_TOKEN,
        lambda: app.test_client().post("/api/v1/saved", json=body, headers=anna.headers),
        lambda: anna.browser.post(f"/account/tokens/{number}/revoke"),
    )
    # It was let in before, so it ends; and the next one is not.
    assert (answer.status_code, revoked.status_code) == (201, 303)
    assert app.test_client().get("/api/v1/saved", headers=anna.headers).status_code == 401
    assert len(everything(app)["saved_prediction"]) == 1


def test_a_login_under_way_with_the_old_password_gets_no_session(app, anna, monkeypatch):
    thief = app.test_client()
    changes = {"password": PASSWORD, "new": "a horse that is even more correct"}
    refused, changed = race(
        monkeypatch,
        ("housing_accounts", "authenticate"),
        lambda: log_in(thief),
        lambda: anna.browser.post("/account/password", data=changes),
    )
    assert (refused.status_code, changed.status_code) == (401, 303)
    assert thief.get("/account").status_code == 303


@on_both_databases
def test_of_two_who_register_one_name_at_once_one_gets_it_and_the_other_is_told(app, monkeypatch):
    def register(name):
        browser = app.test_client()
        sent = {"username": name, "password": PASSWORD}
        return browser, browser.post("/register", data=sent)

    acts = partial(register, "ANNA"), partial(register, "anna")
    (late, refused), (_, welcomed) = race(monkeypatch, ("housing_accounts", "hash_password"), *acts)
    assert (welcomed.status_code, refused.status_code) == (303, 422)
    assert messages(refused) == ["This username is taken. Choose another one."]
    assert late.get("/account").location == "/login?next=/account"
    assert len(everything(app)["account"]) == 1
