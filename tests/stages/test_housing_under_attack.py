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
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from unittest.mock import Mock

import pytest
from housing_support import (
    BERKELEY,
    PASSWORD,
    housing_app,
    join,
    make_app,
    messages,
    on_both_databases,
)
from sqlalchemy import text, update
from sqlalchemy.exc import OperationalError

from workshop.setup.process import ROOT

accounts = sys.modules["housing_accounts"]
database = sys.modules["housing_database"]
forms = sys.modules["housing_forms"]
key = sys.modules["housing_key"]
login = sys.modules["housing_login"]
saved = sys.modules["housing_saved"]

FOLDER = ROOT / "apps" / "06_housing"
NEW = "a horse that is even more correct"
NEED_DATABASE = ("/login", "/register", "/api/v1/saved")
NEED_NONE = ("/", "/model", "/static/style.css", "/openapi/openapi.json")


@pytest.fixture
def sqlite_config(built, tmp_path):
    """Settings for an app whose database is a file that isn't there yet."""
    return {
        "MODEL_FOLDER": built,
        "INSTANCE_FOLDER": tmp_path / "instance",
        "DATABASE_URL": None,
        "WTF_CSRF_ENABLED": False,
    }


def log_in(client, username="anna", password=PASSWORD, **sent):
    return client.post("/login", data={"username": username, "password": password}, **sent)


def in_time(ask, seconds):
    """What `ask` returns; an error if it takes longer than a server may take to say that it can't.

    The limits of the tests are twice those of the app, because this machine may be busy.
    """
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(ask).result(timeout=seconds)


# 1. A database that can't be used


@contextmanager
def nobody_listens(_):
    """A server that isn't there."""
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


@contextmanager
def locked(folder):
    """A file that another program keeps for itself."""
    with closing(sqlite3.connect(folder / "housing.db")) as connection:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("BEGIN EXCLUSIVE")
        yield None


CAUSES = {
    nobody_listens: "refused",
    hangs: "timeout",
    not_a_database: "file is not a database",
    locked: "database is locked",
}


@pytest.mark.parametrize("trouble", CAUSES, ids=lambda trouble: trouble.__name__)
def test_without_a_usable_database_the_rest_answers_and_the_reason_is_told(
    sqlite_config, caplog, trouble
):
    folder = sqlite_config["INSTANCE_FOLDER"]
    folder.mkdir()
    with trouble(folder) as url:
        app = housing_app.create_app(sqlite_config | {"DATABASE_URL": url})
        client = app.test_client()
        for path in NEED_NONE:
            assert in_time(lambda: client.get(path), 2).status_code == 200, path  # noqa: B023
        headers = {"Authorization": "Bearer x"}
        for path in NEED_DATABASE:
            answer = in_time(lambda: client.get(path, headers=headers), 10)  # noqa: B023
            assert answer.status_code == 503, path
            assert "very-secret" not in answer.text
        health = in_time(lambda: client.get("/healthz"), 4)
        assert (health.status_code, health.json["status"]) == (503, "unavailable")
        command = app.test_cli_runner().invoke(args=["init-db"])
        assert command.exit_code == 1
    for told in (caplog.text, command.output):
        assert CAUSES[trouble] in told
        assert "sqlalche.me" not in told
        assert "Traceback" not in told
        assert "very-secret" not in told


def test_a_database_that_is_locked_while_somebody_writes_is_a_503_in_time(sqlite_config, caplog):
    app = make_app(sqlite_config)
    anna = join(app, "anna")
    with closing(sqlite3.connect(sqlite_config["INSTANCE_FOLDER"] / "housing.db")) as other:
        other.execute("BEGIN IMMEDIATE")
        body = {"name": "x", "district": BERKELEY}
        send = {"json": body, "headers": anna.headers}
        assert in_time(lambda: anna.browser.post("/api/v1/saved", **send), 10).status_code == 503
        assert in_time(lambda: anna.browser.get("/saved"), 10).status_code == 200
    assert "database is locked" in caplog.text
    assert anna.saves("now")["name"] == "now"


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_table_that_somebody_locks_on_a_server_is_a_503_in_time(app, anna, caplog):
    with app.app_context(), database.db.engine.connect() as other:
        other.execute(text("LOCK TABLE account"))
        for path in ("/account", "/healthz"):
            assert in_time(lambda: anna.browser.get(path), 10).status_code == 503  # noqa: B023
    assert "statement timeout" in caplog.text
    assert anna.browser.get("/account").status_code == 200


def test_a_page_that_is_damaged_is_a_503_with_its_cause(sqlite_config, caplog):
    """The file opens, its tables are there, and the rows can't be read."""
    anna = join(make_app(sqlite_config), "anna")
    anna.saves("one")
    file = sqlite_config["INSTANCE_FOLDER"] / "housing.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        size = connection.execute("PRAGMA page_size").fetchone()[0]
        page = connection.execute(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'saved_prediction'"
        ).fetchone()[0]
    with file.open("r+b") as opened:
        opened.seek((page - 1) * size)
        opened.write(b"?" * size)
    assert anna.browser.get("/saved").status_code == 503
    assert "malformed" in caplog.text


GARBAGE = [
    ("account", "username", b"\xff", "/account"),
    ("saved_prediction", "latitude", "north", "/saved/download.csv"),
    ("saved_prediction", "price_usd", "much", "/api/v1/saved"),
]


@pytest.mark.parametrize(("table", "column", "garbage", "path"), GARBAGE)
def test_a_row_that_no_app_has_written_is_a_503_that_names_it(
    sqlite_config, caplog, table, column, garbage, path
):
    app = make_app(sqlite_config)
    anna, ben = join(app, "anna"), join(app, "ben")
    anna.saves("one")
    with closing(sqlite3.connect(sqlite_config["INSTANCE_FOLDER"] / "housing.db")) as other:
        change = f"UPDATE {table} SET {column} = ? WHERE id = 1"  # noqa: S608
        other.execute(change, [garbage])
        other.commit()
    headers = anna.headers if path.startswith("/api") else {}
    answer = anna.browser.get(path, headers=headers)
    assert answer.status_code == 503
    assert f"{table} has a row whose {column}" in caplog.text
    assert f"{table} has a row whose {column}" in html.unescape(answer.text)
    assert ben.browser.get(path.replace("/1", ""), headers=ben.headers).status_code == 200


def test_the_command_on_the_page_makes_the_database_of_the_app_that_names_it(tmp_path):
    """A learner's copy, and a terminal in the workshop's folder that knows no `flask`."""
    (tmp_path / "workshop").mkdir()
    copy = tmp_path / "work" / "apps" / "06_housing"
    shutil.copytree(FOLDER, copy, ignore=shutil.ignore_patterns("model", "instance", "__pycache__"))
    code = "import housing_database as d; print(d.DatabaseUnavailable('There is none').command)"
    asked = subprocess.run(
        [sys.executable, "-c", code], cwd=copy, capture_output=True, text=True, check=True
    )
    environ = {"PATH": os.defpath, "SYSTEMROOT": os.environ.get("SYSTEMROOT", "")}
    typed = subprocess.run(  # noqa: S602 (as a terminal does)
        asked.stdout.strip(), shell=True, cwd=tmp_path, env=environ, capture_output=True, text=True
    )
    assert typed.stdout == "Made the database.\n", typed.stderr
    assert (copy / "instance" / "housing.db").exists()


@pytest.mark.parametrize("date", ["yesterday", b"\xff"])
def test_a_date_that_cannot_be_read_is_shown_as_unknown_and_opens_nothing(app, anna, date):
    saved = anna.saves("one")

    def damage(table, column):
        with app.app_context(), database.db.engine.begin() as connection:
            connection.execute(text(f"UPDATE {table} SET {column} = :date"), {"date": date})  # noqa: S608

    for table in ("account", "saved_prediction", "api_token"):
        damage(table, "created")
    damage("api_token", "last_used")
    for path in ("/saved", f"/saved/{saved['id']}", "/account", "/saved/download.csv"):
        page = anna.browser.get(path)
        assert page.status_code == 200, path
        assert "0001-" not in page.text, path
    assert anna.list() == [saved | {"created": None}]
    damage("api_token", "expires")
    answer = anna.browser.get("/api/v1/saved", headers=anna.headers)
    assert answer.status_code == 401
    damage("login_session", "created")
    assert anna.browser.get("/account").status_code == 303


@pytest.mark.parametrize(
    "url",
    ["nonsense", "postgresql://me:very-secret@host:none/x", "mysql://me:very-secret@host/x"],
)
def test_a_database_url_that_names_none_is_refused_with_its_form(sqlite_config, url):
    with pytest.raises(key.BadSetting, match=r"postgresql://user:password@host/name") as refused:
        housing_app.create_app(sqlite_config | {"DATABASE_URL": url})
    assert "very-secret" not in str(refused.value)
    assert refused.value.__cause__ is None


# 2. Nothing secret in the log


@on_both_databases
def test_what_the_database_refuses_leaves_no_secret_in_the_log(app, anna, database_url, caplog):
    no = "ALTER TABLE login_session ADD CONSTRAINT no CHECK (false) NOT VALID"
    if not database_url:
        no = "CREATE TRIGGER no BEFORE INSERT ON login_session BEGIN SELECT RAISE(FAIL, 'no'); END"
    with app.app_context(), database.db.engine.begin() as connection:
        connection.execute(text(no))
    assert log_in(app.test_client()).status_code == 503
    assert "The database does not answer" in caplog.text
    assert "sqlalche.me" not in caplog.text
    assert not re.search(r"[0-9a-f]{32}|scrypt|\$", caplog.text)


# 3. Guessing, and clocks


@pytest.fixture
def clock(monkeypatch):
    """The time that everything reads; a test moves it on."""
    now = [time.time() // 3600 * 3600 + 40.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    return now


@pytest.mark.parametrize("start", [0, 10, 28])
def test_the_sixth_guess_waits_wherever_the_clock_stands(sqlite_config, clock, start):
    app = make_app(sqlite_config)
    clock[0] += start
    for _ in range(5):
        assert log_in(app.test_client(), "anna", "wrong").status_code == 422
    for _ in range(9):
        clock[0] += 3
        assert log_in(app.test_client(), "anna", "wrong").status_code == 429
    clock[0] += 3.1
    assert log_in(app.test_client(), "anna", "wrong").status_code == 422


def test_a_database_that_is_away_for_a_while_locks_nobody_out(sqlite_config):
    app = make_app(sqlite_config)
    join(app, "anna")
    file = sqlite_config["INSTANCE_FOLDER"] / "housing.db"
    file.rename(file.with_name("elsewhere"))
    assert {log_in(app.test_client()).status_code for _ in range(6)} == {503}
    file.with_name("elsewhere").rename(file)
    assert log_in(app.test_client()).status_code == 303


# 4. Sessions, passwords, tokens


def change(client, old=PASSWORD, new=NEW):
    return client.post("/account/password", data={"password": old, "new": new})


def test_changing_the_password_ends_all_other_sessions_and_says_which_tokens_stay(app, anna):
    elsewhere = app.test_client()
    log_in(elsewhere)
    assert "test" in anna.browser.get("/account/password").text
    assert change(anna.browser).location == "/account"
    page = anna.browser.get("/account").text
    assert "Your password is changed" in page
    assert "Tokens still open the API until you revoke them: “test”." in page
    assert elsewhere.get("/account").status_code == 303
    assert log_in(app.test_client()).status_code == 422
    assert log_in(app.test_client(), password=NEW).status_code == 303
    assert anna.list() == []
    assert "test" in re.search("Logging out doesn't stop.*", page)[0]
    anna.browser.post("/account/logout-everywhere")
    assert "until you revoke them: “test”." in anna.browser.get("/").text


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("wrong", NEW, "The password is wrong."),
        (PASSWORD, "short", "Choose a password of 8 to 256 characters."),
        (PASSWORD, "ANNABELLE", "Choose a password other than the username."),
    ],
)
def test_a_password_that_is_not_changed_says_why(sqlite_config, old, new, message):
    app = make_app(sqlite_config)
    browser = join(app, "annabelle").browser
    page = change(browser, old, new)
    assert (page.status_code, messages(page)) == (422, [message])
    assert log_in(app.test_client(), "annabelle").status_code == 303


def cells(app, browser):
    """What the account's page says of its first token: name, created, last used, expires."""
    page = browser.get("/account").text
    row = re.search("<tbody>.*?</tr>", page, re.DOTALL)[0]
    return [re.sub("<.*?>", "", cell) for cell in re.findall("<t[hd].*?>(.*?)</t[hd]>", row)][:4]


def test_a_token_shows_when_it_was_last_used(app, anna):
    assert cells(app, anna.browser)[2:] == ["never", "never"]
    anna.list()
    year = str(database.now().year)
    assert cells(app, anna.browser)[2].startswith(year)
    with app.app_context(), database.db.engine.begin() as connection:
        connection.execute(update(database.ApiToken).values(last_used=database.now().replace(1999)))
    anna.list()
    assert cells(app, anna.browser)[2].startswith(year)


def test_a_token_may_expire(app, anna, monkeypatch):
    made = anna.browser.post("/account/tokens", data={"name": "short", "days": "1"})
    token = re.search(r'id="new-token">([^<]+)<', made.text)[1]
    headers = {"Authorization": f"Bearer {token}"}
    assert anna.browser.get("/api/v1/saved", headers=headers).status_code == 200
    tomorrow = database.now() + login.timedelta(days=1, seconds=5)
    for module in (login, accounts):
        monkeypatch.setattr(module, "now", lambda: tomorrow)
    assert anna.browser.get("/api/v1/saved", headers=headers).status_code == 401
    assert "expired" in anna.browser.get("/account").text
    assert anna.list() == [], "the other one has no end"


@pytest.mark.parametrize("days", ["-1", "0", "2", "x", "9" * 5000])
def test_a_token_takes_no_other_time(sqlite_config, days):
    browser = join(make_app(sqlite_config), "anna").browser
    page = browser.post("/account/tokens", data={"name": "x", "days": days})
    assert (page.status_code, len(messages(page))) == (422, 1)


def test_a_name_that_nobody_has_costs_as_much_as_a_wrong_password(sqlite_config, monkeypatch):
    app = make_app(sqlite_config)
    join(app, "anna")
    work = []
    check, make = login.check_password_hash, login.generate_password_hash
    monkeypatch.setattr(
        login, "check_password_hash", lambda *a: work.append(a[0].split("$")[0]) or check(*a)
    )
    monkeypatch.setattr(login, "generate_password_hash", lambda *a: work.append("made") or make(*a))
    for name in ("nobody", "anna", "ann a", "\u200banna"):
        assert log_in(app.test_client(), name, "wrong").status_code == 422
    assert len(work) == 4
    assert len(set(work)) == 1


# 5. The key


@pytest.mark.parametrize("value", ["", "short", "ä" * 40, "x" * 31])
def test_a_key_that_protects_nothing_is_refused_at_the_start(sqlite_config, monkeypatch, value):
    monkeypatch.setenv("SECRET_KEY", value)
    with pytest.raises(key.BadSetting, match="SECRET_KEY .*set it to 32 random characters or more"):
        housing_app.create_app(sqlite_config)
    monkeypatch.delenv("SECRET_KEY")
    file = sqlite_config["INSTANCE_FOLDER"] / "secret_key"
    file.parent.mkdir()
    file.write_text(value, encoding="utf-8")
    with pytest.raises(key.BadSetting, match="delete this file"):
        housing_app.create_app(sqlite_config)
    file.unlink()
    assert len(housing_app.create_app(sqlite_config).secret_key) == 64


def test_a_key_that_another_process_is_writing_is_waited_for(sqlite_config):
    file = sqlite_config["INSTANCE_FOLDER"] / "secret_key"
    file.parent.mkdir()
    file.touch()
    threading.Timer(0.2, file.write_text, ["k" * 64]).start()
    assert housing_app.create_app(sqlite_config).secret_key == "k" * 64


def test_flask_prints_the_reason_and_no_traceback(tmp_path):
    environ = os.environ | {"SECRET_KEY": "short"}
    command = [sys.executable, "-m", "flask", "--app", FOLDER / "app.py", "init-db"]
    run = subprocess.run(command, env=environ, capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 1
    assert run.stderr.startswith("Error: SECRET_KEY has only 5 characters")
    assert "Traceback" not in run.stderr


# 6. Names that look alike


@pytest.mark.parametrize("name", ["anna", "ANNA", "ａｎｎａ", " anna ", "𝒶nna", "ᴬnna"])
def test_other_spellings_of_a_name_are_that_name(sqlite_config, name):
    app = make_app(sqlite_config)
    join(app, "Anna")
    taken = app.test_client().post("/register", data={"username": name, "password": PASSWORD})
    assert messages(taken) == ["This username is taken. Choose another one."]
    assert log_in(app.test_client(), name).status_code == 303


LOOKALIKES = ["аnna", "αnna", "an\u200bna", "anna\u00ad", "ınes", "an na", "<anna>", "１٢", "😀"]


@pytest.mark.parametrize("name", LOOKALIKES, ids=ascii)
def test_a_name_that_looks_like_another_is_refused_in_a_sentence(sqlite_config, name):
    browser = make_app(sqlite_config).test_client()
    page = browser.post("/register", data={"username": name, "password": PASSWORD})
    assert page.status_code == 422
    assert "Latin letters" in messages(page)[0]


@pytest.mark.parametrize("name", ["änna", "josé.2", "a-b_c", "nguyễn", "straße"])
def test_names_with_accents_and_signs_are_taken(sqlite_config, name):
    page = join(make_app(sqlite_config), name).browser.get("/account")
    assert f"Account of {name.replace('ß', 'ss')}" in page.text


# 7. Limits hold under parallel requests


@on_both_databases
def test_page_and_api_share_the_last_free_place(app, anna, monkeypatch):
    monkeypatch.setattr(saved, "MOST_SAVED", 3)
    browsers = [app.test_client() for _ in range(3)]
    for browser in browsers:
        log_in(browser)

    def save(number):
        if number % 2:
            return browsers[number // 2].post("/saved", data=BERKELEY | {"name": "x"}).status_code
        body = {"name": "x", "district": BERKELEY}
        answer = app.test_client().post("/api/v1/saved", json=body, headers=anna.headers)
        return answer.status_code

    with ThreadPoolExecutor(6) as pool:
        statuses = list(pool.map(save, range(6)))
    assert len(anna.list()) == 3
    assert sum(status in (201, 303) for status in statuses) == 3
    assert {status for status in statuses if status not in (201, 303)} <= {409, 422}
    page = anna.browser.post("/saved", data=BERKELEY | {"name": "two"})
    assert "Delete some first" in messages(page)[0]


# 8. Private pages, and the cookie


def test_every_page_that_names_the_account_is_kept_by_nobody(app, anna, monkeypatch):
    named = ("/", "/model", "/saved", "/account", "/account/password", "/nothing", "/saved/99")
    for path in named:
        page = anna.browser.get(path)
        assert "anna" in page.text, path
        assert page.headers["Cache-Control"] == "no-store", path
    with monkeypatch.context() as patch:
        patch.setattr(saved, "all_of", Mock(side_effect=OperationalError("", {}, Exception())))
        error = anna.browser.get("/saved")
    assert (error.status_code, error.headers["Cache-Control"]) == (503, "no-store")
    assert "anna" in error.text
    anna.browser.post("/account/delete", data={"password": PASSWORD})
    farewell = anna.browser.get("/")
    assert "The account anna is deleted" in farewell.text
    assert farewell.headers["Cache-Control"] == "no-store"
    assert "no-store" not in anna.browser.get("/").headers.get("Cache-Control", "")
    style = anna.browser.get("/static/style.css")
    assert "no-store" not in style.headers.get("Cache-Control", "")
    assert "Cookie" not in style.headers.get("Vary", "")


@pytest.mark.parametrize(("proxies", "secure"), [(None, False), ("0", False), ("1", True)])
def test_behind_a_proxy_the_cookie_goes_by_https_only(sqlite_config, monkeypatch, proxies, secure):
    monkeypatch.delenv("TRUSTED_PROXIES", raising=False)
    if proxies:
        monkeypatch.setenv("TRUSTED_PROXIES", proxies)
    app = make_app(sqlite_config)
    sent = {"username": "anna", "password": PASSWORD}
    (cookie,) = app.test_client().post("/register", data=sent).headers.getlist("Set-Cookie")
    assert ("; Secure" in cookie) is secure


# The API's document and the check of names agree


@pytest.mark.parametrize(
    "name", ["×*", " a ", "  ", "a\nb", "a\u200bb", "x" * 100, "x" * 101, "日\u3000本"]
)
def test_the_document_allows_the_names_that_the_check_allows(name):
    schema = forms.Renamed.model_json_schema()["properties"]["name"]
    length = schema["minLength"] <= len(name) <= schema["maxLength"]
    try:
        forms.Renamed(name=name)
        allowed = True
    except ValueError:
        allowed = False
    assert allowed == (length and bool(re.search(schema["pattern"], name)))
