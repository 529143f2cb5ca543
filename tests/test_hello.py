"""Stage 01: every route of the app, good and bad, and the hints of its exercises."""

import json
import os
import re
import shutil
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from exercise_support import copy_of, judge  # noqa: F401
from flask import Flask
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import Client

from workshop import check
from workshop.core.stages import find_stage, load_app_module

# ruff: noqa: F811 (a fixture that is imported is asked for by its name)

hello_app = load_app_module("01_hello")
hello_notes = sys.modules["hello_notes"]

NOTE = {"name": "milk", "text": "two bottles"}


@pytest.fixture
def client():
    return hello_app.create_app().test_client()


def heading(response):
    """The text of a page's only h1, as HTML."""
    [found] = re.findall("<h1>(.*?)</h1>", response.text)
    return found


def error(response, status):
    """The sentence of a JSON error, after a look at its shape."""
    assert response.status_code == status
    assert response.mimetype == "application/json"
    assert response.json.keys() == {"error", "status"}
    assert response.json["status"] == status
    return response.json["error"]


def post_json(client, body):
    """The answer to `body` as JSON; the client's own `json=None` would send nothing."""
    return client.post("/notes", data=json.dumps(body), content_type="application/json")


# --- pages ----------------------------------------------------------------------------------------


def test_hello_answers_hello_world(client):
    response = client.get("/hello")
    assert (response.status_code, response.text) == (200, "<h1>hello world</h1>")
    assert response.content_type == "text/html; charset=utf-8"


def test_the_index_links_to_every_route_a_browser_can_open(client):
    page = client.get("/")
    assert page.status_code == 200
    links = set(re.findall('href="(.*?)"', page.text))
    adapter = client.application.url_map.bind("localhost")
    linked = {adapter.match(link)[0] for link in links}
    rules = client.application.url_map.iter_rules()
    assert linked == {rule.endpoint for rule in rules if "GET" in rule.methods} - {
        "static",
        "index",
    }
    assert "/notes." in page.text  # POST alone: no link can lead there
    assert "Plain on purpose" in page.text


@pytest.mark.parametrize("path", ["/profile/Ada", "/visits", "/nope", "/oops"])
def test_every_other_page_leads_back_to_the_index(client, path):
    assert 'href="/"' in client.get(path).text


def test_every_link_of_the_index_answers(client):
    links = set(re.findall('href="(.*?)"', client.get("/").text))
    found = {link: client.get(link).status_code for link in links}
    assert found.pop("/oops") == 500
    assert set(found.values()) == {200}


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/profile/Ada", "Profile of Ada"),
        ("/profile/नमस्ते", "Profile of नमस्ते"),
        ("/profile/<script>", "Profile of &lt;script&gt;"),
        ("/profile/%22%27&amp;", "Profile of &#34;&#39;&amp;amp;"),
        ("/square/12", "12 × 12 = 144"),
        ("/square/0", "0 × 0 = 0"),
        (f"/square/{10**20}", f"{10**20} × {10**20} = {10**40}"),
        ("/half/2.5", "2.5 / 2 = 1.25"),
        ("/files/a/b/c.txt", "You asked for a/b/c.txt"),
        ("/files/<b>/x", "You asked for &lt;b&gt;/x"),
    ],
)
def test_a_part_of_the_address_reaches_the_view(client, path, shown):
    response = client.get(path)
    assert response.status_code == 200
    assert heading(response) == shown


def test_nothing_of_a_hostile_name_is_run(client):
    response = client.get("/profile/<img src=x onerror=alert(1)>")
    assert response.status_code == 200
    assert "<img" not in response.text


@pytest.mark.parametrize(
    "path",
    [
        *("/nope", "/Hello", "/hello/", "/notesx", "/profile/", "/profile/a/b", "/files/"),
        *(
            "/square/twelve",
            "/square/-1",
            "/square/1.5",
            pytest.param(f"/square/{'9' * 5000}", id="long"),
        ),
        *("/half/3", "/half/x"),
    ],
)
def test_an_unknown_address_gets_a_friendly_page(client, path):
    response = client.get(path)
    assert response.status_code == 404
    assert heading(response) == "There is no page here (404)"
    assert 'href="/"' in response.text


def test_the_address_asked_for_is_no_way_to_slip_html_in(client):
    assert "<b>" not in client.get("/<b>nope</b>").text


def test_a_number_too_long_to_print_is_refused_with_a_reason(client):
    response = client.get(f"/square/{'9' * 4000}")
    assert response.status_code == 400
    assert "at most 100 digits" in response.text


@pytest.mark.parametrize(
    "path",
    ["/profile/%ff", "/files/%00", "//", pytest.param(f"/half/{'9' * 5000}.0", id="long")],
)
def test_strange_addresses_never_crash(client, path):
    assert client.get(path).status_code < 500


def test_a_wrong_method_on_a_page_names_the_right_ones(client):
    response = client.post("/hello")
    assert response.status_code == 405
    assert "GET" in response.allow
    assert heading(response) == "Method Not Allowed (405)"


def test_the_app_works_below_a_prefix():
    client = Client(DispatcherMiddleware(Flask("root"), {"/01_hello": hello_app.create_app()}))
    links = re.findall('href="(.*?)"', client.get("/01_hello/").text)
    assert links
    assert all(link.startswith("/01_hello/") for link in links)
    assert 'href="/01_hello/"' in client.get("/01_hello/nope").text
    created = client.post("/01_hello/notes", json=NOTE)
    assert created.headers["Location"] == "/01_hello/notes/milk"
    assert error(client.get("/01_hello/notes/nope"), 404)


# --- notes ----------------------------------------------------------------------------------------


def test_a_note_is_created_read_changed_and_deleted(client):
    created = client.post("/notes", json=NOTE)
    assert (created.status_code, created.json) == (201, NOTE)
    address = created.headers["Location"]
    assert client.get(address).json == NOTE
    changed = client.put(address, json={"text": "three bottles"})
    assert (changed.status_code, changed.json) == (200, {"name": "milk", "text": "three bottles"})
    assert client.get(address).json["text"] == "three bottles"
    deleted = client.delete(address)
    assert (deleted.status_code, deleted.text) == (204, "")
    assert error(client.get(address), 404)
    assert error(client.delete(address), 404)


def test_put_creates_a_note_that_is_not_there(client):
    response = client.put("/notes/milk", json={"text": "two bottles"})
    assert (response.status_code, response.json) == (201, NOTE)
    assert client.get("/notes/milk").json == NOTE


@pytest.mark.parametrize("name", ["shopping list", "100% wool?", "नमस्ते", "#1", "a\\b", "x" * 40])
def test_a_note_is_found_at_its_location_whatever_its_name(client, name):
    created = client.post("/notes", json={"name": name, "text": "t"})
    assert created.status_code == 201
    assert created.headers["Location"].isascii()
    assert client.get(created.headers["Location"]).json == {"name": name, "text": "t"}


def test_a_text_comes_back_as_it_was_sent(client):
    text = "<script>\u0000 \ud800 नमस्ते\n"
    client.post("/notes", json={"name": "odd", "text": text})
    assert client.get("/notes/odd").json["text"] == text
    assert client.get("/notes/odd").mimetype == "application/json"


def test_apps_do_not_share_their_notes(client):
    client.post("/notes", json=NOTE)
    assert error(hello_app.create_app().test_client().get("/notes/milk"), 404)


@pytest.mark.parametrize(
    "body",
    [[], "text", 5, None, {}, {"name": "a"}, {"text": "b"}]
    + [{"name": "a", "text": text} for text in (None, 5, True, [], {}, "", " ", float("nan"))]
    + [{"name": name, "text": "b"} for name in (None, 5, "", " ", "a/b", ".", "..", "a\nb")]
    + [{"name": "x" * 41, "text": "b"}, {"name": "\ud800", "text": "b"}]
    + [{"name": "a", "text": "b", "more": "c"}],
)
def test_a_body_that_is_no_note_is_refused_with_a_reason(client, body):
    assert re.match("(Send|Choose) ", error(post_json(client, body), 422))


@pytest.mark.parametrize("body", [{}, [], {"text": 5}, {"text": " "}, NOTE])
def test_put_takes_a_text_alone(client, body):
    assert "text" in error(client.put("/notes/milk", json=body), 422)
    assert client.get("/notes/milk").status_code == 404


def test_a_name_in_the_address_keeps_to_the_rules_too(client):
    assert "40" in error(client.put(f"/notes/{'x' * 41}", json={"text": "t"}), 422)
    assert error(client.put("/notes/%00", json={"text": "t"}), 422)


def test_a_name_that_is_taken_is_refused(client):
    client.post("/notes", json=NOTE)
    again = client.post("/notes", json={"name": "milk", "text": "overwritten?"})
    assert "PUT" in error(again, 422)
    assert client.get("/notes/milk").json == NOTE


@pytest.mark.parametrize("body", [b"", b"{", b'{"name": "a", "text": ', b"\xff\xfe\x00", b"name=a"])
def test_malformed_json_is_refused(client, body):
    response = client.post("/notes", data=body, content_type="application/json")
    assert "not valid JSON" in error(response, 400)


def test_deep_nesting_is_refused(client):
    response = client.post("/notes", data=b"[" * 4096, content_type="application/json")
    assert error(response, 400)
    body = b"[" * 2000 + b"]" * 2000  # valid; whether it can be read depends on the Python
    response = client.post("/notes", data=body, content_type="application/json")
    assert response.status_code in (400, 422)


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_what_is_not_said_to_be_json_is_refused(client, content_type):
    response = client.post("/notes", data=b'{"text": "t"}', content_type=content_type)
    assert "application/json" in error(response, 415)
    assert error(client.put("/notes/a", data=b"{}", content_type=content_type), 415)


def test_a_long_body_is_refused(client):
    long = {"name": "a", "text": "x" * 5000}
    assert "4,096 bytes" in error(client.post("/notes", json=long), 413)
    assert "4,096 bytes" in error(client.put("/notes/a", json={"text": "x" * 5000}), 413)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/notes", {"POST"}),
        ("DELETE", "/notes", {"POST"}),
        ("POST", "/notes/a", {"GET", "PUT", "DELETE"}),
        ("PATCH", "/notes/a", {"GET", "PUT", "DELETE"}),
    ],
)
def test_a_wrong_method_on_the_notes_names_the_right_ones(client, method, path, allowed):
    response = client.open(path, method=method)
    assert error(response, 405)
    assert allowed <= set(response.allow)


def test_an_unknown_address_below_the_notes_answers_json(client):
    assert error(client.get("/notes/"), 404)
    assert error(client.get("/notes/a/b"), 404)


def test_there_is_room_for_a_limited_number_of_notes(client):
    free = hello_notes.MAX_NOTES - 1  # one is there from the beginning
    codes = [client.put(f"/notes/{i}", json={"text": "t"}).status_code for i in range(free)]
    assert set(codes) == {201}
    assert "delete one" in error(client.put("/notes/more", json={"text": "t"}), 422)
    assert "delete one" in error(client.post("/notes", json=NOTE), 422)
    assert client.put("/notes/0", json={"text": "changed"}).status_code == 200
    client.delete("/notes/0")
    assert client.post("/notes", json=NOTE).status_code == 201


def test_one_name_sent_by_many_at_once_is_created_once():
    class SlowDict(dict):
        """Gives other threads time to come in between the question and what follows from it."""

        def __contains__(self, key):
            found = super().__contains__(key)
            time.sleep(0.05)
            return found

    notes = hello_notes.Notes()
    notes._texts = SlowDict()
    with ThreadPoolExecutor(4) as pool:
        is_new = list(pool.map(lambda i: notes.write("milk", f"{i}", replace=True), range(4)))
    assert sorted(is_new) == [False, False, False, True]


# --- visits ---------------------------------------------------------------------------------------


def test_each_browser_has_its_own_count():
    app = hello_app.create_app()
    first, second = app.test_client(), app.test_client()
    assert [heading(first.get("/visits"))[-1] for _ in range(3)] == ["1", "2", "3"]
    assert heading(second.get("/visits")) == "Visits from this browser: 1"


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(client):
    cookie = client.get("/visits").headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie


def test_a_forged_cookie_counts_for_nothing(client):
    client.get("/visits")
    payload, signature = client.get_cookie("session").value.split(".", 1)
    forger = hello_app.create_app({"SECRET_KEY": "a guess"}).test_client()
    with forger.session_transaction() as session:
        session["visits"] = 1000
    forged_payload, _ = forger.get_cookie("session").value.split(".", 1)
    assert forged_payload != payload
    for value in (forger.get_cookie("session").value, f"{forged_payload}.{signature}", "x", "..."):
        client.set_cookie("session", value)
        assert heading(client.get("/visits")) == "Visits from this browser: 1"


def test_the_secret_key_comes_from_outside_or_from_a_file_that_is_kept(monkeypatch):
    monkeypatch.delenv("SECRET_KEY", raising=False)
    kept = hello_app.create_app().secret_key
    assert len(kept) >= 32
    assert hello_app.create_app().secret_key == kept, "after a restart, and in another worker"
    monkeypatch.setenv("SECRET_KEY", "from the environment")
    assert hello_app.create_app().secret_key == "from the environment"
    assert hello_app.create_app({"SECRET_KEY": "given"}).secret_key == "given"
    monkeypatch.setenv("SECRET_KEY", "")
    assert hello_app.create_app().secret_key == kept


@pytest.fixture
def copied_app(tmp_path):
    """A command that prints the key of a copy of the app, and the file that the key is kept in."""
    copy = tmp_path / "müde app"
    ignored = shutil.ignore_patterns("instance", "__pycache__")
    shutil.copytree(find_stage("hello").folder, copy, ignore=ignored)
    program = "import app; print(app.create_app().secret_key)"
    environ = {name: value for name, value in os.environ.items() if name != "SECRET_KEY"}

    def start():
        return subprocess.Popen(
            [sys.executable, "-c", program],
            cwd=copy,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start, copy / "instance" / "secret_key"


def test_processes_that_start_together_share_one_key(copied_app):
    start, file = copied_app
    keys = {process.communicate()[0].strip() for process in [start() for _ in range(6)]}
    assert keys == {file.read_text(encoding="ascii")}
    assert len(keys.pop()) == 64
    assert list(file.parent.iterdir()) == [file], "no draft is left behind"
    if os.name == "posix":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_of_two_keys_the_first_one_written_counts(tmp_path, monkeypatch):
    """Another process writes its key after this one has looked for one, and before it writes its own."""
    app = Flask("app", instance_path=str(tmp_path / "instance"))
    touch = Path.touch

    def be_overtaken(draft, **options):
        (tmp_path / "instance" / "secret_key").write_text("the other's")
        touch(draft, **options)

    monkeypatch.setattr(Path, "touch", be_overtaken)
    assert hello_app.kept_key(app) == "the other's"


def test_without_a_place_for_the_key_the_app_runs_and_the_log_says_so(copied_app):
    start, file = copied_app
    file.parent.write_text("a file where the folder would be")
    key, log = start().communicate()
    assert len(key.strip()) == 64
    assert "The secret key can't be kept" in log
    assert "Traceback" not in log


# --- oops -----------------------------------------------------------------------------------------


def test_a_crash_is_a_plain_page_and_keeps_its_details_in_the_log(client, caplog):
    response = client.get("/oops")
    assert response.status_code == 500
    assert heading(response) == "This page broke (500)"
    assert not re.search("IndexError|Traceback|app.py", response.text)
    assert "Exception on /oops" in caplog.text


def test_in_debug_mode_the_crash_reaches_the_debugger():
    app = hello_app.create_app()
    app.debug = True  # what `flask run --debug` does
    with pytest.raises(IndexError):
        app.test_client().get("/oops")


# --- the exercises --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "answer", "hint"),
    [
        ("01.1", "404", "without quotes"),
        ("01.1", 200, "not a number"),
        ("01.1", 500, "never called"),
        ("01.1", 400, "no route"),
        ("01.1", 422, "no route"),
        ("01.1", 405, "method is fine"),
        ("01.1", 7, "three digits"),
        ("01.1", True, "three digits"),
        ("01.2", "POST /notes", "three values"),
        ("01.2", ("POST", "/notes"), "three values"),
        ("01.2", (1, "/notes", NOTE), "must be strings"),
        ("01.2", ("GET", "/notes", NOTE), "405"),
        ("01.2", ("POST", "notes", NOTE), "slash"),
        ("01.2", ("POST", "http://127.0.0.1:8001/notes", NOTE), "only the path"),
        ("01.2", ("POST", "/notes/lunch", NOTE), "POST goes to `/notes`"),
        ("01.2", ("PUT", "/notes", NOTE), "PUT to `/notes/lunch`"),
        ("01.2", ("POST", "/note", NOTE), "404"),
        ("01.2", ("PUT", "/notes/milk", {"text": "t"}), "lunch"),
        ("01.2", ("POST", "/notes", NOTE), "lunch"),
        ("01.2", ("POST", "/notes", {"name": "lunch"}), "422"),
        ("01.2", ("POST", "/notes", '{"name": "lunch"}'), "dictionary"),
        ("01.2", ("PUT", "/notes/lunch", {"name": "lunch", "text": "t"}), "422"),
        ("01.2", ("DELETE", "/notes/welcome", {}), "lunch"),
    ],
)
def test_a_typical_mistake_gets_its_hint(number, answer, hint):
    verdict = check(number, answer)
    assert verdict.status == "wrong"
    assert hint in verdict.message


@pytest.mark.parametrize(
    ("number", "answer"),
    [
        ("01.1", 404),
        ("01.2", ("POST", "/notes", {"name": "lunch", "text": "soup"})),
        ("01.2", ["put", "/notes/lunch", {"text": "soup"}]),
    ],
)
def test_other_right_answers_are_right(number, answer):
    assert check(number, answer).status == "solved"


@pytest.mark.parametrize("number", ["01.1", "01.2"])
def test_no_answer_stops_the_check(number):
    for answer in (..., None, 5, "x", [], {}, object(), float("nan"), b"x", lambda: 1 / 0):
        verdict = check(number, answer)
        assert verdict.status in ("not yet", "wrong")
        assert verdict.message


SQUARE = '        return page(f"{number} × {number} = {number * number}")\n'
CUBE = """
    @app.get("/cube/<int:number>")
    def cube(number: int) -> str:
        if number > 1_000:
            abort(400, "Choose a number of at most 1,000.")
        return page(f"The cube is {number**3}")
"""


def test_the_app_as_it_came_has_no_cubes_yet(copy_of):
    copy_of("hello")
    judge("01.3", "not yet", "copy the lines of `square`")


def test_the_stored_solution_adds_cubes_also_beside_the_page_of_stage_00(copy_of):
    copy = copy_of("hello")
    copy.solve("00.3")
    copy.solve("01.3")
    judge("01.3", "solved", "knows its limit")
    judge("00.3", "solved")


def test_another_text_and_another_argument_are_right_too(copy_of):
    copy = copy_of("hello")
    copy.edit("app.py", SQUARE, SQUARE + CUBE.replace("number", "n"))
    judge("01.3", "solved")


@pytest.mark.parametrize(
    ("right", "slip", "hint"),
    [
        ("<int:number>", "<number>", "no int converter"),
        ("number**3", "number**2", "/cube/3 must show 27 .* yours shows 'The cube is 9'"),
        ('page(f"', 'page("', "Put an `f` before the quote"),
        ("> 1_000", "> 10_000", "/cube/1001 is answered"),
        ("> 1_000", ">= 1_000", "/cube/1000 is refused"),
        ("400", "404", "refused with 404"),
        ("get", "post", "not for GET"),
        ("cube(number", "cube(n", "an argument of that name: `def cube\\(number\\):`"),
        ("number: int", "", "`def cube\\(number\\):`"),
        ("return page", "page", "The view `.*` returns nothing"),
        ("number**3", "nunber**3", r"line \d+: NameError: name 'nunber' is not defined"),
        ('"/cube/', '"/cubes/', "The address must be `/cube/<int:number>`"),
    ],
)
def test_a_typical_slip_in_the_cubes_gets_its_hint(copy_of, right, slip, hint):
    assert CUBE.count(right) == 1
    copy_of("hello").edit("app.py", SQUARE, SQUARE + CUBE.replace(right, slip))
    judge("01.3", "wrong", hint)


def test_a_view_in_the_wrong_place_gets_its_hint(copy_of):
    copy = copy_of("hello")
    text = (copy.app / "app.py").read_text(encoding="utf-8")

    copy.write("app.py", text + CUBE)
    judge("01.3", "wrong", "above `return app`")

    copy.write("app.py", text + CUBE.replace("\n    ", "\n"))
    judge("01.3", "wrong", r"line \d+ is outside `create_app`")


def test_changing_square_itself_gets_its_hint(copy_of):
    copy = copy_of("hello")
    copy.edit("app.py", "/square/<int:number>", "/cube/<int:number>")
    copy.edit("app.py", "= {number * number}", "= {number**3}")
    copy.edit("app.py", "10**100", "1_000")
    judge("01.3", "wrong", "`/square/12` is gone")
