"""Requests that no browser would send, to every route of every app and of the gallery.

The routes come from the apps' own URL maps, so a new one needs no line here. No request may cause a server
error (5xx) or show a traceback; each error has the form that the app documents, and each answer takes at
most a second of CPU time. (Elapsed time would include the machine's other work.)
"""

import gc
import json
import re
import time
from dataclasses import dataclass
from io import BytesIO
from urllib.parse import urlencode

import pytest
from app_support import FLOWER, NEW, PERSON, SLUGS, body
from flask import Flask
from host_support import Mounted
from housing_support import BERKELEY, PASSWORD, Person, join
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from werkzeug.test import EnvironBuilder, run_wsgi_app

from workshop.host import gallery

SECONDS = 1  # of CPU time, for one request
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"]

# A valid request to each app. The hostile ones below are this with some values exchanged.
FIELDS = {
    "01_hello": {"name": "a", "text": "b"},
    "02_templates": {"names": "Ada,Grace", "day": "13"},
    "03_prime": {"number": "91"},
    "04_iris": FLOWER,
    "05_census": PERSON,
    "06_housing": BERKELEY
    | dict.fromkeys(("name", "place", "username", "password", "model_version", "csrf_token"), "a")
    | {"sort": "price", "next": "/saved"},
    "07_yours": {f"f{place}": "1" for place in range(7)},
}
JSON = {
    "05_census": [PERSON, {"people": [PERSON, PERSON]}],
    "06_housing": [BERKELEY, {"name": "a", "district": BERKELEY}, {"name": "a"}],
}


@dataclass
class Target:
    """A WSGI application, its routes with the `<...>` in them, and perhaps somebody with an account."""

    slug: str
    application: object
    rules: list[tuple[str, set[str]]]
    somebody: Person | None = None

    def ask(self, rule: str, word: str, method: str, raw=None, **sent) -> None:
        """Send a request with `word` for each `<...>`, and check the answer. `raw` goes into the environ."""
        path = re.sub("<[^>]+>", lambda _: word, rule)
        environ = EnvironBuilder("/", method=method, **sent).get_environ()
        # As a server passes a path on: each byte as one character.
        environ["PATH_INFO"] = path.encode("utf-8", "surrogatepass").decode("latin-1")
        began = time.process_time()
        pieces, status, headers = run_wsgi_app(self.application, environ | (raw or {}))
        body = b"".join(pieces)
        took = time.process_time() - began
        code = int(status.split()[0])
        is_oops = "/oops" in path and code == 500  # stage 01 crashes there on purpose
        assert code < 500 or is_oops, (status, body)
        assert b"Traceback" not in body
        assert took <= SECONDS
        if code >= 400 and method != "HEAD":
            inner = re.sub(r"^/\d\d_\w+(?=/|$)", "", path) if self.slug == "gallery" else path
            assert_documented(inner, code, headers["Content-Type"], body)

    def login(self) -> dict[str, str]:
        """Return the session and the token of somebody, whom an earlier request may have logged out."""
        if not self.somebody:
            return {}
        browser, token = self.somebody.browser, self.somebody.headers["Authorization"]
        if browser.get("/account").status_code != 200:
            browser.post("/login", data={"username": "carla", "password": PASSWORD})
        session = browser.get_cookie("housing_session").value
        return {"HTTP_COOKIE": f"housing_session={session}", "HTTP_AUTHORIZATION": token}


def assert_documented(path: str, code: int, kind: str, body: bytes) -> None:
    """Assert that an error has the form that the app documents: of its API, or of its pages."""
    if path.startswith("/api/"):
        assert kind == "application/problem+json", (kind, body)
        told = json.loads(body)
        assert list(told) == ["title", "status", "detail", "errors"]
        assert told["status"] == code
    elif path.split("/")[1:2] == ["notes"] and b"does not go by the name" not in body:  # the host's
        assert kind == "application/json", (kind, body)
        assert json.loads(body)["status"] == code
    else:
        assert kind == "text/html; charset=utf-8", (kind, body)
        assert b'<html lang="en">' in body  # Werkzeug's own pages have none


def routes(app: Flask, prefix: str = "") -> list[tuple[str, set[str]]]:
    """Return the rule of each route of an app, and its methods."""
    return [(prefix + rule.rule, rule.methods) for rule in app.url_map.iter_rules()]


@pytest.fixture(scope="module", autouse=True)
def collect_only_the_apps_garbage():
    """Keep the garbage collector from scanning the tests' own objects during the apps' requests."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="module", params=[*SLUGS, "gallery"])
def target(request, apps) -> Target:
    slug = request.param
    if slug in apps:
        if slug in ("07_yours", NEW):
            JSON[slug] = [body(slug, apps[slug].test_client())]
        somebody = join(apps[slug], "carla") if slug == "06_housing" else None
        return Target(slug, apps[slug], routes(apps[slug]), somebody)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gallery, "Mount", lambda stage, **_: Mounted(stage, apps[stage.slug]))
        patch.setattr(gallery, "end_with_main_process", lambda: None)
        whole = gallery.create_gallery()
    rules = [rule for slug in SLUGS[:-1] for rule in routes(apps[slug], f"/{slug}")]
    return Target("gallery", whole, routes(gallery.create_app({})) + rules)


NASTY = [
    *("", " ", "0", "-1", "1", "1e999", "nan", "9" * 5000, "1_0", "١٢", "½", "\0", "a\nb", "‮"),
    *("..", "../../etc/passwd", "%", "%00", "{{7*7}}", "<script>", "'; DROP TABLE account; --"),
    *("😀" * 300, "é", "ﬀ", "2147483648", "9223372036854775808", "a" * 3000, "\ud800"),
]
text = st.one_of(st.sampled_from(NASTY), st.text(max_size=10))
value = st.one_of(
    st.sampled_from([None, True, [], {}, -0.0, 1e308, 10**400, float("nan"), float("inf")]),
    text,
    st.integers(),
    st.lists(st.integers(), max_size=3),
)
LEFT_OUT = object()
MEDIA_TYPES = ["application/json", "application/x-www-form-urlencoded", "", "x", "é"]
MEDIA_TYPES += ["multipart/form-data", "multipart/form-data; boundary=", "text/csv; charset=utf-16"]
ODD_HEADERS = {
    "HTTP_ACCEPT": ["text/csv", "*/*;q=x", "application/json;q=0", ",,,", "é" * 50],
    "HTTP_AUTHORIZATION": ["Bearer", "Bearer x", "Basic é", "Bearer \xff", "Digest a=,b"],
    "HTTP_COOKIE": ["housing_session=x", "session=e30.x.y", "=;=;;", "é=\xff", "a" * 5000],
    "HTTP_HOST": ["", "evil.example", "localhost:x", "[::1", "é", "a b", "localhost:99999999"],
    "HTTP_TRANSFER_ENCODING": ["gzip", "chunked"],
    "CONTENT_LENGTH": ["-1", "x", "", "9" * 30, "1"],
    "QUERY_STRING": ["%", "%ff=%00", "a" * 5000, "&" * 2000, "next=//evil", "\xff\xfe", "sort=-"],
}
ODD_HEADERS = {name: st.sampled_from(values) for name, values in ODD_HEADERS.items()}


def spoilt(good: dict, values) -> st.SearchStrategy[dict]:
    """Return `good` with some values exchanged, and some fields missing or added."""
    names = st.sampled_from([*good, "a", ""])
    changes = st.dictionaries(names, st.one_of(values, st.just(LEFT_OUT)), max_size=2)
    return changes.map(lambda new: {k: v for k, v in {**good, **new}.items() if v is not LEFT_OUT})


def as_form(fields: dict) -> bytes:
    return urlencode(fields, errors="surrogatepass").encode()


def as_table(row: dict) -> bytes:
    return f"{','.join(row)}\n{','.join(map(str, row.values()))}".encode(errors="surrogatepass")


def bodies(slug: str) -> st.SearchStrategy[tuple[str, bytes]]:
    """Return bodies of every kind, each with a media type, which is often the wrong one."""
    good = FIELDS.get(slug, FLOWER)
    in_json = st.sampled_from(JSON.get(slug, [good])).flatmap(lambda each: spoilt(each, value))
    contents = {
        "application/json": st.one_of(in_json, value).map(lambda each: json.dumps(each).encode()),
        "application/x-www-form-urlencoded": spoilt(good, text).map(as_form),
        "text/csv": spoilt(good, text).map(as_table),
    }
    return st.sampled_from(list(contents)).flatmap(
        lambda kind: st.tuples(st.sampled_from([kind] * 9 + MEDIA_TYPES), contents[kind])
    )


def test_every_method_on_every_route(target):
    for rule, _ in target.rules:
        headers = target.login()
        for method in METHODS:
            target.ask(rule, "1", method, headers)


@settings(max_examples=12, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_every_request_gets_an_answer_that_is_documented(target, data):
    kind, body = data.draw(bodies(target.slug))
    fields = data.draw(spoilt(FIELDS.get(target.slug, FLOWER), text))
    odd = {"QUERY_STRING": as_form(fields).decode(), "CONTENT_LENGTH": str(len(body))}
    odd["wsgi.input_terminated"] = True  # as granian sets it
    odd |= data.draw(st.sampled_from([dict, target.login]))()
    odd |= data.draw(st.one_of(st.just({}), st.fixed_dictionaries({}, optional=ODD_HEADERS)))
    word = data.draw(text)
    # Each example goes to several routes: making it takes longer than answering it.
    for rule, methods in data.draw(st.lists(st.sampled_from(target.rules), min_size=8, max_size=8)):
        method = data.draw(st.sampled_from([*sorted(methods), "POST"]))
        target.ask(rule, word, method, odd, input_stream=BytesIO(body), content_type=kind)


# The largest bodies that are accepted, of the slowest kinds: each once took an app seconds.
LONGEST = {
    "lists in lists": ("application/json", '{"people":[', f"{'[' * 190}{']' * 190},", "[]]}"),
    "fields": ("application/json", "{", '"a":1,', '"b":1}'),
    "columns": ("text/csv", "", ",", ""),
    "empty lines": ("text/csv", f"{','.join(PERSON)}\n", "\n", ""),
    "form fields": ("application/x-www-form-urlencoded", "", "a&", ""),
    "parts": ("multipart/form-data; boundary=x", "", "--x\r\n\r\n", "--x--"),
}


@pytest.mark.parametrize("longest", LONGEST.values(), ids=LONGEST)
def test_the_largest_bodies_are_answered_quickly(apps, longest):
    kind, head, unit, tail = longest
    for slug, app in apps.items():
        room = (app.config["MAX_CONTENT_LENGTH"] or 64 * 1024) - len(head) - len(tail)
        sent = (head + unit * (room // len(unit)) + tail).encode()
        target = Target(slug, app, routes(app))
        for rule, methods in target.rules:
            if "POST" in methods:
                target.ask(rule, "1", "POST", data=sent, content_type=kind)
