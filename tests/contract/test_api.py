"""The JSON API of every app that has one: its answers, and how it refuses a request.

Each refusal is `application/problem+json`, with the status that fits and the field's name.
"""

import gzip
import json
import re

import pytest
from app_support import (
    FORM,
    PROBLEM,
    WITH_API,
    WITH_MODEL,
    Page,
    api,
    body,
    number_field,
    problem,
    submit,
)

WITH_DOCUMENT = {
    "05_census": "/openapi/openapi.json",
    "06_housing": "/openapi/openapi.json",
    "07_yours": "/api/v1/openapi.json",
    "my_app": "/api/v1/openapi.json",
}
each_with_model = pytest.mark.parametrize("slug", WITH_MODEL)
each_with_document = pytest.mark.parametrize("slug", WITH_DOCUMENT)

MALFORMED = {
    "empty": b"",
    "a form": b"age=39",
    "cut off": b'{"age": 5.1',
    "not UTF-8": b'{"age": "\xff"}',
    "UTF-16": json.dumps({"age": 39}).encode("utf-16"),
    "too deep": b"[" * 60_000,
    "too deep, closed": b"[" * 30_000 + b"]" * 30_000,
    "two values": b"{} {}",
    "null byte": b"\x00",
    "lone surrogate": b'{"\\ud800": 1}',
}
MEDIA_TYPES = [None, "", "text/plain", "application/x-www-form-urlencoded", "application/xml"]
MEDIA_TYPES += ["application/problem+json", "multipart/form-data; boundary=x", "nonsense"]
NOT_NUMBERS = ['"x"', "true", "null", "[5.1]", "{}", '""', "1e400", "-1e400"]
NOT_A_NUMBER = ["NaN", "Infinity", "-Infinity"]
NOT_JSON = [*NOT_A_NUMBER, "9" * 5000]  # some parsers refuse these as JSON


def post(client, slug, content, content_type="application/json"):
    """Send bytes to an app's API."""
    return client.post(api(slug), data=content, content_type=content_type)


@each_with_model
def test_the_page_the_api_and_healthz_answer_and_a_charset_is_allowed(slug, client):
    content = json.dumps(body(slug, client))
    answer = post(client, slug, content, "application/json; charset=utf-8")
    assert (answer.status_code, answer.mimetype) == (200, "application/json")
    page = submit(slug, client)
    assert page.status_code == 200
    assert "Error" not in page.text
    health = client.get("/healthz")
    assert (health.status_code, health.json) == (200, {"status": "ok"})


@each_with_model
def test_malformed_json_is_a_400(slug, client):
    for name, content in MALFORMED.items():
        assert problem(post(client, slug, content), 400)["errors"] == [], name


@each_with_model
def test_a_body_that_is_not_json_is_named_for_what_it_is(slug, client):
    content = json.dumps(body(slug, client))

    def told(content, status, **headers):
        sent = {"content_type": "application/json", "headers": headers}
        return problem(client.post(api(slug), data=content, **sent), status)["detail"]

    packed = gzip.compress(content.encode())
    for headers in ({"Content-Encoding": "gzip"}, {}):
        assert "compressed" in told(packed, 415, **headers)
    assert "compressed" in told(b"\x0b\x02\x80{}\x03", 415, **{"Content-Encoding": "br"})
    assert "byte-order mark" in told(content.encode("utf-8-sig"), 400)
    for encoding in ("utf-16", "utf-16-le", "utf-16-be"):
        assert "UTF-16" in told(content.encode(encoding), 400)
    assert "compressed" not in told("{", 400)


@each_with_model
def test_another_media_type_is_a_415_that_names_the_right_one(slug, client):
    content = json.dumps(body(slug, client))
    for media_type in MEDIA_TYPES:
        assert "application/json" in problem(post(client, slug, content, media_type), 415)["detail"]


@each_with_model
def test_a_big_body_is_a_413(slug, apps, client):
    limit = apps[slug].config["MAX_CONTENT_LENGTH"]
    content = json.dumps(body(slug, client)) + " " * limit
    problem(post(client, slug, content), 413)
    if slug != "05_census":  # its form is a GET
        answer = client.post(FORM.get(slug, "/predict"), data={"x": "5" * limit})
        assert (answer.status_code, answer.mimetype) == (413, "text/html")


@each_with_model
def test_an_invalid_number_is_a_422_that_names_its_field(slug, client):
    name = number_field(slug, client)
    for value in [*NOT_NUMBERS, *NOT_JSON]:
        content = json.dumps(body(slug, client) | {name: "@"}).replace('"@"', value)
        answer = post(client, slug, content)
        found = problem(answer, 400 if answer.status_code == 400 and value in NOT_JSON else 422)
        if answer.status_code == 422:
            assert [error["field"] for error in found["errors"]] == [name], value
        if value in NOT_A_NUMBER:
            said = found["errors"][0]["message"] if found["errors"] else found["detail"]
            assert value.lstrip("-") in said


@each_with_model
def test_a_body_of_the_wrong_form_is_a_422_that_names_what_is_wrong(slug, client):
    good = body(slug, client)

    def fields(sent):
        return [
            error["field"] for error in problem(post(client, slug, json.dumps(sent)), 422)["errors"]
        ]

    for sent in ("text", 5.1, None, True, json.dumps(good)):
        assert fields(sent) == ["body"]
    assert set(fields([])) <= {"body"}
    assert fields(good | {"colour": "blue"}) == ["colour"]
    name = number_field(slug, client)
    assert fields({key: value for key, value in good.items() if key != name}) == [name]
    assert name in fields({})
    assert set(fields({})) <= set(good)


@pytest.mark.parametrize("slug", WITH_API)
def test_under_api_every_error_is_problem_json(slug, client):
    problem(client.get("/api/nothing"), 404)
    problem(client.get("/api/"), 404)
    address = "/api/prime/97" if slug == "03_prime" else api(slug)
    answer = client.delete(address)
    problem(answer, 405)
    assert ("GET" if slug == "03_prime" else "POST") in answer.headers["Allow"]


@each_with_document
def test_the_card_is_served_as_json(slug, client, folder):
    card = json.loads(next(folder.glob("*.json")).read_bytes())
    assert client.get("/api/v1/model").json == {"model_version": card["sha256"][:12], **card}


@each_with_document
def test_the_document_lists_the_api_and_nothing_else(slug, apps, client):
    document = client.get(WITH_DOCUMENT[slug]).json
    assert document["openapi"] == "3.1.0"
    rules = {re.sub("<(.+?)>", r"{\1}", rule.rule) for rule in apps[slug].url_map.iter_rules()}
    routes = {rule for rule in rules if rule.startswith("/api/") and "openapi" not in rule}
    assert set(document["paths"]) == routes
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert operation["summary"]
            assert "200" in operation["responses"] or {"201", "204"} & set(operation["responses"])
            # Only what needs a token names the token.
            assert ("security" in operation) is ("401" in operation["responses"])
            assert ("security" in operation) is path.startswith("/api/v1/saved")
            for status, response in operation["responses"].items():
                if status > "4" and "content" in response:
                    assert PROBLEM in response["content"]
    references = re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(document))
    assert set(references) <= set(document["components"]["schemas"])


@each_with_document
def test_the_examples_of_the_document_are_answered(slug, client):
    document = client.get(WITH_DOCUMENT[slug]).json
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for media_type, sent in operation.get("requestBody", {}).get("content", {}).items():
                if "example" in sent and "security" not in operation:
                    example = sent["example"]
                    data = example if isinstance(example, str) else json.dumps(example)
                    answer = client.open(path, method=method, data=data, content_type=media_type)
                    assert answer.status_code == 200, (path, media_type)


@pytest.mark.parametrize("slug", ["05_census", "06_housing"])
def test_the_document_names_the_prefix_of_the_app(slug, client):
    below = {"SCRIPT_NAME": "/some/where"}
    document = client.get(WITH_DOCUMENT[slug], environ_overrides=below).json
    assert document["servers"] == [{"url": "/some/where"}]


@pytest.mark.parametrize("slug", ["04_iris", "05_census", "06_housing"])
def test_the_curl_command_of_an_answer_asks_the_same_question(slug, client):
    text = Page(submit(slug, client)).text
    told = re.search(r'curl .*?-d "(\{.*?\})" http://localhost(\S+)', text)
    content = told[1].replace('\\"', '"')
    assert json.loads(content) == body(slug, client)
    assert told[2] == api(slug)
    assert post(client, slug, content).json == client.post(api(slug), json=body(slug, client)).json
    assert "PowerShell" in text
