"""Stage 06: accounts, sessions, tokens and CSRF, what slows down a guesser, and the database itself."""

import hashlib
import os
import re
import sqlite3
import stat
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta

import limits
import pytest
from housing_support import (
    BERKELEY,
    PASSWORD,
    csrf_token,
    dispose,
    housing_app,
    join,
    log_in,
    make_app,
    messages,
    on_both_databases,
    token_in,
)
from sqlalchemy import inspect, text
from werkzeug.security import generate_password_hash

database = sys.modules["housing_database"]
login = sys.modules["housing_login"]
INIT = "flask --app apps/06_housing/app.py init-db"
WRONG = "The username or the password is wrong."


def counts(app):
    """How many rows each table has."""
    with app.app_context(), database.db.engine.connect() as connection:
        return {
            table.name: connection.scalar(text(f"SELECT count(*) FROM {table.name}"))  # noqa: S608
            for table in database.Base.metadata.sorted_tables
        }


# Registering, logging in and out


def test_a_password_is_stored_as_its_scrypt_hash_and_a_token_as_its_hash(app, anna, monkeypatch):
    token = anna.headers["Authorization"].removeprefix("Bearer ")
    with app.app_context(), database.db.engine.connect() as connection:
        account = connection.execute(text("SELECT * FROM account")).one()
        stored = connection.execute(text("SELECT * FROM api_token")).one()
    assert account.password_hash.startswith("scrypt:")
    assert PASSWORD not in str(account)
    assert stored.digest == hashlib.sha256(token.encode()).hexdigest()
    assert token not in str(stored)
    assert token not in anna.browser.get("/account").text
    monkeypatch.undo()  # the tests' own quick hash
    ours, theirs = login.hash_password(PASSWORD), generate_password_hash(PASSWORD)
    assert ours.partition("$")[0] == theirs.partition("$")[0], "a hash costs what Werkzeug sets"


BAD_NAMES = {"": "1 to 64", "x" * 65: "1 to 64", "two words": "no spaces", "nul\0": "no spaces"}
BAD_NAMES |= {
    "ANNA": "taken",
    "ａｎｎａ": "taken",
    "аnna": "Latin letters",
    "an\u200bna": "Latin letters",
}
BAD_PASSWORDS = {"short": "8 to 256", "x" * 257: "8 to 256", "Benedict": "other than the username"}


def test_a_bad_registration_says_what_is_wrong(app, anna, client):
    tries = [(name, PASSWORD, message) for name, message in BAD_NAMES.items()]
    tries += [("benedict", password, message) for password, message in BAD_PASSWORDS.items()]
    for username, password, message in tries:
        page = client.post("/register", data={"username": username, "password": password})
        assert page.status_code == 422
        assert [message in each for each in messages(page)] == [True], ascii(username)
        assert password not in page.text
    assert counts(app)["account"] == 1
    assert log_in(client, " ＡＮＮＡ ").status_code == 303
    assert "Account of nguyễn" in join(app, "Nguyễn").browser.get("/account").text


def test_logging_out_ends_the_session_on_the_server(app, anna):
    elsewhere, thief = app.test_client(), app.test_client()
    with elsewhere.session_transaction() as session:
        session["left by"] = "somebody"
    log_in(elsewhere)
    with elsewhere.session_transaction() as session, thief.session_transaction() as copy:
        assert "left by" not in session, "it is another one after the login"
        copy.update(session)
    assert thief.get("/account").status_code == 200
    assert elsewhere.post("/logout").location == "/"
    assert thief.get("/account").status_code == 303
    assert anna.browser.get("/account").status_code == 200


@on_both_databases
def test_sessions_end_in_time(app, anna, monkeypatch):
    monkeypatch.setattr(login, "SESSION_LASTS", timedelta(0))
    assert anna.browser.get("/account").status_code == 303
    log_in(app.test_client())
    assert counts(app)["login_session"] == 1, "the old one's row is gone"


def test_what_ends_all_sessions_of_an_account(app, anna):
    elsewhere = app.test_client()
    log_in(elsewhere)
    anna.browser.post("/account/logout-everywhere")
    for browser in (elsewhere, anna.browser):
        assert browser.get("/account").status_code == 303
        assert log_in(browser).status_code == 303
    anna.browser.post("/account/delete", data={"password": PASSWORD})
    join(app, "anna")  # somebody else, by the same name
    assert elsewhere.get("/account").status_code == 303
    assert anna.browser.get("/api/v1/saved", headers=anna.headers).status_code == 401


def test_after_the_login_one_is_where_one_was_and_never_elsewhere(anna, client):
    assert log_in(client, query_string={"next": "/predict?x=1"}).location == "/predict?x=1"
    hosts = ["//elsewhere.example", "/\\elsewhere.example", "https://elsewhere.example"]
    for wanted in [*hosts, "/\t/elsewhere.example", ""]:
        assert log_in(client, query_string={"next": wanted}).location == "/saved", wanted


def test_visitors_are_sent_to_the_login_and_change_nothing(app, client):
    pages = ("/saved", "/saved/1", "/saved/1/delete", "/saved/download.csv")
    for path in (*pages, "/account", "/account/delete"):
        answer = client.get(path)
        assert (answer.status_code, answer.location) == (303, f"/login?next={path}")
    for path in ("/saved", "/saved/1", "/saved/1/delete", "/account/tokens"):
        answer = client.post(path, data=BERKELEY | {"name": "x"})
        assert (answer.status_code, answer.location) == (303, "/login")
    assert counts(app)["saved_prediction"] == counts(app)["api_token"] == 0


def test_the_cookie_is_this_apps_own_and_private_pages_are_not_kept(client, anna):
    (cookie,) = log_in(client).headers.getlist("Set-Cookie")
    assert cookie.startswith("housing_session=")
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    answer = anna.browser.get("/api/v1/saved", headers=anna.headers)
    assert answer.headers["Cache-Control"] == "no-store"


# Guessing


def from_address(address):
    return {"environ_base": {"REMOTE_ADDR": address}}


def test_after_five_failures_even_the_right_password_waits_for_at_most_half_a_minute(
    app, anna, clock
):
    for _ in range(5):
        assert log_in(app.test_client(), password="wrong").status_code == 422
    slow = log_in(app.test_client())  # the page doesn't tell that this one is right
    seconds = int(slow.headers["Retry-After"])
    assert slow.status_code == 429
    assert 0 < seconds <= 30
    assert messages(slow) == [f"Too many attempts. Wait {seconds} seconds, then try again."]
    clock[0] += seconds
    assert log_in(app.test_client()).status_code == 303
    assert log_in(app.test_client(), password="wrong").status_code == 422, "and it starts again"


def test_nobody_locks_somebody_else_out_from_another_address(app, anna, ben, clock):
    for _ in range(20):
        log_in(app.test_client(), password="wrong", **from_address("192.0.2.1"))
    assert log_in(app.test_client(), **from_address("192.0.2.1")).status_code == 429
    assert log_in(app.test_client(), **from_address("192.0.2.2")).status_code == 303
    neighbor = log_in(app.test_client(), "ben", **from_address("192.0.2.1"))
    assert neighbor.status_code == 303, "mistakes of a neighbor do not count for other accounts"


def test_a_clock_that_is_set_back_locks_nobody_out(app, anna, clock):
    for _ in range(6):
        log_in(app.test_client(), password="wrong")
    clock[0] -= 86_400
    assert log_in(app.test_client()).status_code == 303


def test_every_other_place_for_a_password_is_slowed_down_alike(anna, clock):
    for path in ("/account/delete", "/account/password"):
        wrong = {"password": "wrong", "new": "a longer horse"}
        statuses = [anna.browser.post(path, data=wrong).status_code for _ in range(6)]
        assert statuses == [*[422] * 5, 429]
        clock[0] += 60


def test_an_address_that_tries_many_names_is_slowed_down(app, anna, clock, monkeypatch):
    monkeypatch.setattr(login, "GUESSES_FROM_ADDRESS", limits.parse("3 per minute"))
    here, there = from_address("2001:db8:0:1::1"), from_address("2001:db8:0:2::1")
    right = {log_in(app.test_client(), **here).status_code for _ in range(8)}
    assert right == {303}, "a whole class behind one address knows its passwords"
    for number in range(3):
        assert log_in(app.test_client(), f"name{number}", **here).status_code == 422
    neighbor = from_address("2001:db8:0:1::ffff")
    assert log_in(app.test_client(), **neighbor).status_code == 429
    assert log_in(app.test_client(), **there).status_code == 303


def test_guesses_at_the_same_time_do_not_slip_through(app, anna, clock):
    def guess(_):
        return log_in(app.test_client(), password="wrong").status_code

    with ThreadPoolExecutor(10) as pool:
        assert sorted(pool.map(guess, range(10))) == [*[422] * 5, *[429] * 5]


def test_registering_has_a_limit_for_each_address(app, clock):
    def register(**sent):
        return app.test_client().post("/register", data={"username": "", "password": ""}, **sent)

    statuses = [register().status_code for _ in range(101)]
    assert statuses == [*[422] * 100, 429]
    assert register(**from_address("192.0.2.1")).status_code == 422


# CSRF


def test_every_form_that_posts_carries_a_token_and_every_post_wants_it(config):
    guarded = make_app(config | {"WTF_CSRF_ENABLED": True})
    browser, anna = guarded.test_client(), {"username": "anna", "password": PASSWORD}
    assert browser.post("/register", data=anna).status_code == 400
    sent = anna | {"csrf_token": csrf_token(browser.get("/register"))}
    assert browser.post("/register", data=sent).status_code == 303
    sent = {"name": "x", "csrf_token": csrf_token(browser.get("/account"))}
    page = browser.post("/account/tokens", data=sent)
    headers = {"Authorization": f"Bearer {token_in(page)}"}
    # The API wants none: its token comes with no form of another site.
    body = {"name": "one", "district": BERKELEY}
    assert browser.post("/api/v1/saved", json=body, headers=headers).status_code == 201
    answer = browser.post("/predict", data=BERKELEY | {"csrf_token": csrf_token(browser.get("/"))})
    assert answer.status_code == 200
    paths = ("/", "/account", "/account/delete", "/saved/1", "/saved/1/delete", "/login")
    for page in (answer, *map(browser.get, paths)):
        forms = re.findall(r"<form.*?</form>", page.text, re.DOTALL)
        assert forms
        for form in forms:
            assert 'method="post"' in form
            assert 'name="csrf_token"' in form
    rules = [rule for rule in guarded.url_map.iter_rules() if "POST" in rule.methods]
    pages = {rule.rule.replace("<number>", "1") for rule in rules if "/api/" not in rule.rule}
    assert len(pages) >= 11
    for path in pages:
        refused = browser.post(path, data=BERKELEY | {"name": "x", "password": PASSWORD})
        assert refused.status_code == 400
        assert "Open the page again" in refused.text
    assert len(browser.get("/api/v1/saved", headers=headers).json) == 1


# Tokens and the end of an account


@on_both_databases
def test_a_token_needs_a_name_and_nobody_gets_more_than_there_may_be(anna, app):
    assert anna.browser.post("/account/tokens", data={"name": " "}).status_code == 422
    browsers = [app.test_client() for _ in range(6)]
    for browser in browsers:
        log_in(browser)
    for _ in range(16):
        assert anna.browser.post("/account/tokens", data={"name": "x"}).status_code == 201

    def make(browser):
        return browser.post("/account/tokens", data={"name": "x"}).status_code

    with ThreadPoolExecutor(len(browsers)) as pool:
        assert sorted(pool.map(make, browsers)) == [*[201] * 3, *[422] * 3]
    assert counts(app)["api_token"] == 20


@on_both_databases
def test_deleting_an_account_takes_all_its_rows_and_no_others(app, anna, ben):
    anna.saves("one"), anna.saves("two")
    kept = ben.saves("Ben's")
    wrong = anna.browser.post("/account/delete", data={"password": "wrong"})
    assert (wrong.status_code, messages(wrong)) == (422, ["The password is wrong."])
    assert counts(app)["saved_prediction"] == 3
    assert anna.browser.post("/account/delete", data={"password": PASSWORD}).location == "/"
    found = counts(app)
    assert (found["account"], found["api_token"], found["saved_prediction"]) == (1, 1, 1)
    assert anna.browser.get("/account").status_code == 303
    assert messages(log_in(app.test_client())) == [WRONG]
    assert ben.list() == [kept]


# The database


@on_both_databases
def test_without_tables_the_pages_that_need_them_name_the_command(config, database_url):
    app = housing_app.create_app(config)
    client = app.test_client()
    for path in ("/login", "/register"):
        page = client.get(path)
        assert page.status_code == 503
        assert INIT in page.text
    with client.session_transaction() as session:
        session["account"] = 1
    assert client.get("/saved").status_code == 503
    answer = client.get("/api/v1/saved", headers={"Authorization": "Bearer x"})
    assert answer.status_code == 503
    assert INIT in answer.json["detail"]
    assert INIT in client.get("/healthz").json["reason"]
    # A question needs no database, and none is made by surprise.
    assert client.post("/predict", data=BERKELEY).status_code == 200
    assert not (config["INSTANCE_FOLDER"] / "housing.db").exists()
    for done in ("Made", "already"):
        assert done in app.test_cli_runner().invoke(args=["init-db"]).output
    assert client.get("/login").status_code == 200
    assert client.get("/healthz").json == {"status": "ok"}
    dispose(app)


@on_both_databases
def test_a_database_of_another_version_is_refused_and_left_alone(app):
    with app.app_context(), database.db.engine.begin() as connection:
        connection.execute(text("DROP TABLE login_session"))
    page = app.test_client().get("/login")
    assert page.status_code == 503
    assert "another version" in page.text
    result = app.test_cli_runner().invoke(args=["init-db"])
    assert result.exit_code == 1
    assert "another version" in result.output
    with app.app_context():
        assert "login_session" not in inspect(database.db.engine).get_table_names()


def test_a_database_url_names_the_file_and_readers_may_read_while_somebody_writes(config):
    make_app(config | {"DATABASE_URL": "sqlite:///other.db"})
    with closing(sqlite3.connect(config["INSTANCE_FOLDER"] / "other.db")) as found:
        assert found.execute("SELECT count(*) FROM account").fetchall() == [(0,)]
        assert found.execute("PRAGMA journal_mode").fetchall() == [("wal",)]


# The key that signs the sessions


def test_the_key_is_made_once_and_for_this_user_only(config):
    def start(_):
        return housing_app.create_app(config).config["SECRET_KEY"]

    with ThreadPoolExecutor(8) as pool:
        (key,) = set(pool.map(start, range(8)))
    file = config["INSTANCE_FOLDER"] / "secret_key"
    assert len(key) == 64
    assert file.read_text() == key
    assert [path.name for path in file.parent.iterdir()] == ["secret_key"]
    if os.name == "posix":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_where_no_key_can_be_kept_the_app_says_so_and_takes_one(config, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(ValueError, match="set SECRET_KEY"):
        housing_app.create_app(config | {"INSTANCE_FOLDER": tmp_path / "file"})
    monkeypatch.setenv("SECRET_KEY", "from outside, and long enough for any rule")
    assert housing_app.create_app(config).secret_key == "from outside, and long enough for any rule"
