"""Stage 06 under attack: what broke once, and what is of the same kind."""

import html
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from unittest.mock import Mock

import pytest
from housing_support import (
    BERKELEY,
    PASSWORD,
    housing_app,
    log_in,
    make_app,
    messages,
    on_both_databases,
    token_in,
)
from sqlalchemy import text, update
from sqlalchemy.exc import OperationalError

from workshop.setup.process import ROOT

accounts = sys.modules["housing_accounts"]
database = sys.modules["housing_database"]
key = sys.modules["housing_key"]
login = sys.modules["housing_login"]
saved = sys.modules["housing_saved"]

FOLDER = ROOT / "apps" / "06_housing"
NEW = "a horse that is even more correct"


def in_time(client, path, seconds=10, method="GET", **sent):
    """The answer; an error if it takes longer than a server may take to say that it can't.

    The limits of the tests are twice those of the app, because this machine may be busy.
    """
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(client.open, path, method=method, **sent).result(timeout=seconds)


def change_rows(app, statement, **values):
    """Change the database past the app."""
    with app.app_context(), database.db.engine.begin() as connection:
        connection.execute(text(statement), values)


# A database that can't be used


@contextmanager
def nobody_listens(_):
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
    yield f"postgresql://me:very-secret@127.0.0.1:{port}/houses"


@contextmanager
def hangs(_):
    """A server that takes every call and never says a word."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield f"postgresql://me:very-secret@127.0.0.1:{server.getsockname()[1]}/houses"


@contextmanager
def not_a_database(folder):
    (folder / "housing.db").write_bytes(b"something else " * 1000)
    yield None


CAUSES = {
    nobody_listens: "refused",
    hangs: "timeout",
    not_a_database: "file is not a database",
}


@pytest.mark.parametrize("trouble", CAUSES, ids=lambda trouble: trouble.__name__)
def test_without_a_usable_database_the_rest_answers_and_the_reason_is_told(config, caplog, trouble):
    folder = config["INSTANCE_FOLDER"]
    folder.mkdir()
    with trouble(folder) as url:
        app = housing_app.create_app(config | {"DATABASE_URL": url})
        client = app.test_client()
        for path in ("/", "/model", "/static/style.css", "/openapi/openapi.json"):
            assert in_time(client, path, 2).status_code == 200, path
        for path in ("/login", "/register", "/api/v1/saved"):
            answer = in_time(client, path, headers={"Authorization": "Bearer x"})
            assert answer.status_code == 503, path
            assert "very-secret" not in answer.text
        health = in_time(client, "/healthz", 4)
        assert (health.status_code, health.json["status"]) == (503, "unavailable")
        command = app.test_cli_runner().invoke(args=["init-db"])
        assert command.exit_code == 1
    for told in (caplog.text, command.output):
        assert CAUSES[trouble] in told
        assert not re.search(r"sqlalche\.me|Traceback|very-secret", told)


def test_a_database_that_is_locked_while_somebody_writes_is_a_503_in_time(
    app, anna, config, caplog
):
    with closing(sqlite3.connect(config["INSTANCE_FOLDER"] / "housing.db")) as other:
        other.execute("BEGIN IMMEDIATE")
        sent = {"json": {"name": "x", "district": BERKELEY}, "headers": anna.headers}
        refused = in_time(anna.browser, "/api/v1/saved", method="POST", **sent)
        assert refused.status_code == 503
        assert in_time(anna.browser, "/saved").status_code == 200
    assert "database is locked" in caplog.text
    assert anna.saves("now")["name"] == "now"


GARBAGE = [
    ("account", "username", b"\xff", "/account"),
    ("saved_prediction", "price_usd", "much", "/api/v1/saved"),
]


@pytest.mark.parametrize(("table", "column", "garbage", "path"), GARBAGE)
def test_a_row_that_no_app_has_written_is_a_503_that_names_it(
    app, anna, ben, caplog, table, column, garbage, path
):
    anna.saves("one")
    change_rows(app, f"UPDATE {table} SET {column} = :x WHERE id = 1", x=garbage)  # noqa: S608
    answer = anna.browser.get(path, headers=anna.headers if "api" in path else {})
    assert answer.status_code == 503
    for told in (caplog.text, html.unescape(answer.text)):
        assert f"{table} has a row whose {column}" in told
    assert ben.browser.get(path, headers=ben.headers).status_code == 200


def test_a_date_that_cannot_be_read_is_shown_as_unknown_and_opens_nothing(app, anna):
    saved = anna.saves("one")
    change_rows(app, "UPDATE saved_prediction SET created = :date", date=b"\xff")
    for path in ("/saved", f"/saved/{saved['id']}", "/saved/download.csv"):
        assert anna.browser.get(path).status_code == 200, path
    assert anna.list() == [saved | {"created": None}]
    change_rows(app, "UPDATE api_token SET expires = 'yesterday'")
    assert anna.browser.get("/api/v1/saved", headers=anna.headers).status_code == 401


def test_the_command_on_the_page_makes_the_database_of_the_app_that_names_it(tmp_path):
    """A learner's copy, and a terminal in the workshop's folder that knows no `flask`."""
    (tmp_path / "workshop").mkdir()
    copy = tmp_path / "work" / "apps" / "06_housing"
    shutil.copytree(FOLDER, copy, ignore=shutil.ignore_patterns("model", "instance", "__pycache__"))
    code = "import housing_database as d; print(d.DatabaseUnavailable('There is none').command)"
    told = subprocess.check_output([sys.executable, "-c", code], cwd=copy, text=True)
    environ = {"PATH": os.defpath, "SYSTEMROOT": os.environ.get("SYSTEMROOT", "")}
    typed = subprocess.run(  # noqa: S602 (as a terminal does)
        told.strip(), shell=True, cwd=tmp_path, env=environ, capture_output=True, text=True
    )
    assert typed.stdout == "Made the database.\n", typed.stderr
    assert (copy / "instance" / "housing.db").exists()


@pytest.mark.parametrize("url", ["nonsense", "postgresql://me:very-secret@host:none/x"])
def test_a_database_url_that_names_none_is_refused_with_its_form(config, url):
    with pytest.raises(key.BadSetting, match=r"postgresql://user:password@host/name") as refused:
        housing_app.create_app(config | {"DATABASE_URL": url})
    assert "very-secret" not in str(refused.value)
    assert refused.value.__cause__ is None


@on_both_databases
def test_what_the_database_refuses_leaves_no_secret_in_the_log(app, anna, database_url, caplog):
    no = "ALTER TABLE login_session ADD CONSTRAINT no CHECK (false) NOT VALID"
    if not database_url:
        no = "CREATE TRIGGER no BEFORE INSERT ON login_session BEGIN SELECT RAISE(FAIL, 'no'); END"
    change_rows(app, no)
    assert log_in(app.test_client()).status_code == 503
    assert "The database does not answer" in caplog.text
    assert not re.search(r"sqlalche\.me|[0-9a-f]{32}|scrypt|\$", caplog.text)


# Passwords and tokens


@pytest.mark.parametrize("start", [0, 10, 28])
def test_the_sixth_guess_waits_wherever_the_clock_stands(app, clock, start):
    clock[0] += start
    for _ in range(5):
        assert log_in(app.test_client(), "anna", "wrong").status_code == 422
    for _ in range(9):
        clock[0] += 3
        assert log_in(app.test_client(), "anna", "wrong").status_code == 429
    clock[0] += 3.1
    assert log_in(app.test_client(), "anna", "wrong").status_code == 422


def test_changing_the_password_ends_all_other_sessions_and_says_which_tokens_stay(app, anna):
    def change(old, new):
        return anna.browser.post("/account/password", data={"password": old, "new": new})

    elsewhere = app.test_client()
    log_in(elsewhere)
    assert messages(change("wrong", NEW)) == ["The password is wrong."]
    assert messages(change(PASSWORD, "short")) == ["Choose a password of 8 to 256 characters."]
    assert elsewhere.get("/account").status_code == 200
    assert change(PASSWORD, NEW).location == "/account"
    page = anna.browser.get("/account").text
    assert "Tokens still open the API until you revoke them: “test”." in page
    assert elsewhere.get("/account").status_code == 303
    assert log_in(app.test_client()).status_code == 422
    assert log_in(app.test_client(), password=NEW).status_code == 303
    assert anna.list() == []
    anna.browser.post("/account/logout-everywhere")
    assert "until you revoke them: “test”." in anna.browser.get("/").text


def test_a_token_shows_when_it_was_last_used(app, anna):
    def last_used():
        row = re.search("<tbody>.*?</tr>", anna.browser.get("/account").text, re.DOTALL)[0]
        return re.sub("<.*?>", "", re.findall("<td.*?>(.*?)</td>", row)[1])

    assert last_used() == "never"
    anna.list()
    year = str(database.now().year)
    assert last_used().startswith(year)
    with app.app_context(), database.db.engine.begin() as connection:
        connection.execute(update(database.ApiToken).values(last_used=database.now().replace(1999)))
    anna.list()
    assert last_used().startswith(year)


def test_a_token_may_expire(app, anna, monkeypatch):
    for days in ("-1", "2", "x", "9" * 5000):
        page = anna.browser.post("/account/tokens", data={"name": "x", "days": days})
        assert (page.status_code, len(messages(page))) == (422, 1)
    page = anna.browser.post("/account/tokens", data={"name": "short", "days": "1"})
    headers = {"Authorization": f"Bearer {token_in(page)}"}
    assert anna.browser.get("/api/v1/saved", headers=headers).status_code == 200
    tomorrow = database.now() + login.timedelta(days=1, seconds=5)
    for module in (login, accounts):
        monkeypatch.setattr(module, "now", lambda: tomorrow)
    assert anna.browser.get("/api/v1/saved", headers=headers).status_code == 401
    assert "expired" in anna.browser.get("/account").text
    assert anna.list() == [], "the other one has no end"


def test_a_name_that_nobody_has_looks_and_costs_as_much_as_a_wrong_password(app, anna, monkeypatch):
    check = Mock(wraps=login.check_password_hash)
    make = Mock(wraps=login.generate_password_hash)
    monkeypatch.setattr(login, "check_password_hash", check)
    monkeypatch.setattr(login, "generate_password_hash", make)
    for name in ("nobody", "anna", "ann a", "\u200banna"):
        page = log_in(app.test_client(), name, "wrong")
        assert messages(page) == ["The username or the password is wrong."]
    costs = [call.args[0].partition("$")[0] for call in check.call_args_list]
    assert (len(costs), len(set(costs)), make.call_count) == (4, 1, 0)


# The key


@pytest.mark.parametrize("value", ["", "ä" * 40, "x" * 31])
def test_a_key_that_protects_nothing_is_refused_at_the_start(config, monkeypatch, value):
    monkeypatch.setenv("SECRET_KEY", value)
    with pytest.raises(key.BadSetting, match="SECRET_KEY .*set it to 32 random characters or more"):
        housing_app.create_app(config)
    monkeypatch.delenv("SECRET_KEY")
    file = config["INSTANCE_FOLDER"] / "secret_key"
    file.parent.mkdir()
    file.write_text(value, encoding="utf-8")
    with pytest.raises(key.BadSetting, match="delete this file"):
        housing_app.create_app(config)


def test_a_key_that_another_process_is_writing_is_waited_for(config):
    file = config["INSTANCE_FOLDER"] / "secret_key"
    file.parent.mkdir()
    file.touch()
    threading.Timer(0.2, file.write_text, ["k" * 64]).start()
    assert housing_app.create_app(config).secret_key == "k" * 64


def test_flask_prints_the_reason_and_no_traceback(tmp_path):
    environ = os.environ | {"SECRET_KEY": "short"}
    command = [sys.executable, "-m", "flask", "--app", FOLDER / "app.py", "init-db"]
    run = subprocess.run(command, env=environ, capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 1
    assert run.stderr.startswith("Error: SECRET_KEY has only 5 characters")
    assert "Traceback" not in run.stderr


# Limits, private pages, and the cookie


@on_both_databases
def test_page_and_api_share_the_last_free_place(app, anna, monkeypatch):
    monkeypatch.setattr(saved, "MOST_SAVED", 3)
    browsers = [app.test_client() for _ in range(3)]
    for browser in browsers:
        log_in(browser)

    def save(number):
        if number % 2:
            return browsers[number // 2].post("/saved", data=BERKELEY | {"name": "x"}).status_code
        sent = {"json": {"name": "x", "district": BERKELEY}, "headers": anna.headers}
        return app.test_client().post("/api/v1/saved", **sent).status_code

    with ThreadPoolExecutor(6) as pool:
        statuses = list(pool.map(save, range(6)))
    assert len(anna.list()) == 3
    assert sum(status in (201, 303) for status in statuses) == 3
    assert set(statuses) <= {201, 303, 409, 422}
    assert anna.browser.post("/saved", data=BERKELEY | {"name": "two"}).status_code == 422


def test_every_page_that_names_the_account_is_kept_by_nobody(anna, monkeypatch):
    pages = [anna.browser.get(path) for path in ("/", "/model", "/account", "/saved/99")]
    with monkeypatch.context() as patch:
        patch.setattr(saved, "all_of", Mock(side_effect=OperationalError("", {}, Exception())))
        pages.append(anna.browser.get("/saved"))
    assert pages[-1].status_code == 503
    anna.browser.post("/account/delete", data={"password": PASSWORD})
    pages.append(anna.browser.get("/"))  # says goodbye to anna
    for page in pages:
        assert "anna" in page.text
        assert page.headers["Cache-Control"] == "no-store"
    for path in ("/", "/static/style.css"):
        assert "no-store" not in anna.browser.get(path).headers.get("Cache-Control", "")


@pytest.mark.parametrize(("proxies", "secure"), [("0", False), ("1", True)])
def test_behind_a_proxy_the_cookie_goes_by_https_only(config, monkeypatch, proxies, secure):
    monkeypatch.setenv("TRUSTED_PROXIES", proxies)
    sent = {"username": "anna", "password": PASSWORD}
    page = make_app(config).test_client().post("/register", data=sent)
    (cookie,) = page.headers.getlist("Set-Cookie")
    assert ("; Secure" in cookie) is secure
