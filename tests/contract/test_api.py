"""The JSON API of every app that has one: its answers, and how it refuses a request.

Each refusal is `application/problem+json`, with the status that fits and the field's name.
"""

import gzip
import json
import re

import pytest
from app_support import API, FORM, NUMBER, WITH_API, WITH_MODEL, Page, body, problem, submit

WITH_DOCUMENT = dict.fromkeys(["05_census", "06_housing"], "/openapi/openapi.json")
WITH_DOCUMENT |= dict.fromkeys(["07_yours", "my_app"], "/api/v1/openapi.json")
each_with_model = pytest.mark.parametrize("slug", WITH_MODEL)
each_with_document = pytest.mark.parametrize("slug", WITH_DOCUMENT)

MALFORMED = [b"", b"age=39", b'{"age": 5.1', b'{"age": "\xff"}', b"[" * 60_000, b"{} {}", b"\x00"]
MALFORMED += [b"[" * 30_000 + b"]" * 30_000, b'{"\\ud800": 1}']
MEDIA_TYPES = [None, "text/plain", "application/x-www-form-urlencoded"]
MEDIA_TYPES += ["application/problem+json", "multipart/form-data; boundary=x", "nonsense"]
NOT_NUMBERS = ['"x"', "true", "null", "[5.1]", '""', "1e400"]
NOT_JSON = ["NaN", "-Infinity", "9" * 5000]  # some parsers refuse these as JSON


def post(client, slug, content, content_type="application/json", **headers):
    """Send bytes to an app's API."""
    return client.post(API[slug], data=content, content_type=content_type, headers=headers)


@each_with_model
def test_the_page_the_api_and_healthz_answer_and_a_charset_is_allowed(slug, client):
    content = json.dumps(body(slug, client))
    answer = post(client, slug, content, "application/json; charset=utf-8")
    assert (answer.status_code, answer.mimetype) == (200, "application/json")
    assert submit(slug, client).status_code == 200
    health = client.get("/healthz")
    assert (health.status_code, health.json) == (200, {"status": "ok"})


@each_with_model
def test_a_body_that_is_not_json_is_named_for_what_it_is(slug, client):
    content = json.dumps(body(slug, client))
    for malformed in MALFORMED:
        assert problem(post(client, slug, malformed), 400)["errors"] == [], malformed[:20]
    for media_type in MEDIA_TYPES:
        assert "application/json" in problem(post(client, slug, content, media_type), 415)["detail"]
    packed = gzip.compress(content.encode())
    for headers in ({"Content-Encoding": "gzip"}, {}):
        assert "compressed" in problem(post(client, slug, packed, **headers), 415)["detail"]
    for encoding, name in {"utf-8-sig": "byte-order mark", "utf-16": "UTF-16"}.items():
        assert name in problem(post(client, slug, content.encode(encoding)), 400)["detail"]


@each_with_model
def test_a_big_body_is_a_413(slug, apps, client):
    limit = apps[slug].config["MAX_CONTENT_LENGTH"]
    content = json.dumps(body(slug, client)) + " " * limit
    problem(post(client, slug, content), 413)
    if slug != "05_census":  # its form is a GET
        answer = client.post(FORM.get(slug, "/predict"), data={"x": "5" * limit})
        assert (answer.status_code, answer.mimetype) == (413, "text/html")


@each_with_model
def test_a_wrong_value_or_field_is_a_422_that_names_it(slug, client):
    good, name = body(slug, client), NUMBER[slug]
    for value in [*NOT_NUMBERS, *NOT_JSON]:
        answer = post(client, slug, json.dumps(good | {name: "@"}).replace('"@"', value))
        found = problem(answer, 400 if answer.status_code == 400 and value in NOT_JSON else 422)
        if answer.status_code == 422:
            assert [error["field"] for error in found["errors"]] == [name], value

    def fields(sent):
        found = problem(post(client, slug, json.dumps(sent)), 422)
        return [error["field"] for error in found["errors"]]

    for sent in (5.1, None, json.dumps(good)):
        assert fields(sent) == ["body"]
    assert set(fields([])) <= {"body"}
    assert fields(good | {"colour": "blue"}) == ["colour"]
    assert fields({key: value for key, value in good.items() if key != name}) == [name]
    assert name in fields({})
    assert set(fields({})) <= set(good)


@pytest.mark.parametrize("slug", WITH_API)
def test_under_api_every_error_is_problem_json(slug, client):
    problem(client.get("/api/nothing"), 404)
    answer = client.delete("/api/prime/97" if slug == "03_prime" else API[slug])
    problem(answer, 405)
    assert ("GET" if slug == "03_prime" else "POST") in answer.headers["Allow"]


@each_with_document
def test_the_document_lists_the_api_and_its_examples_are_answered(slug, apps, client, models):
    card = json.loads(next(models[slug].glob("*.json")).read_bytes())
    assert client.get("/api/v1/model").json == {"model_version": card["sha256"][:12], **card}
    below = {"SCRIPT_NAME": "/some/where"}
    document = client.get(WITH_DOCUMENT[slug], environ_overrides=below).json
    assert "openapi/" not in WITH_DOCUMENT[slug] or document["servers"] == [{"url": "/some/where"}]
    assert document["openapi"] == "3.1.0"
    rules = {re.sub("<(.+?)>", r"{\1}", rule.rule) for rule in apps[slug].url_map.iter_rules()}
    routes = {rule for rule in rules if re.match("/api/(?!.*openapi)", rule)}
    assert set(document["paths"]) == routes
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation["summary"]
            assert {"200", "201", "204"} & set(operation["responses"])
            # Only what needs a token names the token.
            needs_token = path.startswith("/api/v1/saved")
            assert ("security" in operation) is ("401" in operation["responses"]) is needs_token
            for status, response in operation["responses"].items():
                if status > "4" and "content" in response:
                    assert "application/problem+json" in response["content"]
            for media_type, sent in operation.get("requestBody", {}).get("content", {}).items():
                if "example" in sent and not needs_token:
                    data = sent["example"]
                    data = data if isinstance(data, str) else json.dumps(data)
                    answer = client.open(path, method=method, data=data, content_type=media_type)
                    assert answer.status_code == 200, (path, media_type)
    references = re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(document))
    assert set(references) <= set(document["components"]["schemas"])


@pytest.mark.parametrize("slug", ["04_iris", "05_census", "06_housing"])
def test_the_curl_command_of_an_answer_asks_the_same_question(slug, client):
    text = Page(submit(slug, client)).text
    told = re.search(r'curl .*?-d "(\{.*?\})" http://localhost(\S+)', text)
    content = told[1].replace('\\"', '"')
    assert json.loads(content) == body(slug, client)
    assert told[2] == API[slug]
    assert post(client, slug, content).json == client.post(API[slug], json=body(slug, client)).json
    assert "PowerShell" in text
