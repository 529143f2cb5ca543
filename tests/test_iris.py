"""Stage 04: the iris data, the model and its card, and every route of the app, good and bad."""

import hashlib
import json
import re
import shutil
import sys
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sklearn
from flask.testing import FlaskClient
from sklearn.datasets import load_iris
from sklearn.model_selection import train_test_split
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import Client

from workshop.core.stages import load_app_module

iris_app = load_app_module("04_iris")
iris_model = sys.modules["iris_model"]
FEATURES, ModelUnavailable = iris_model.FEATURES, iris_model.ModelUnavailable

DATA = Path(__file__).parents[1] / "data" / "iris.csv"
SETOSA = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}
VIRGINICA = {"sepal_length": 6.3, "sepal_width": 3.3, "petal_length": 6.0, "petal_width": 2.5}
REMEDY = "python3 -m workshop train 04"
PROBLEM = "application/problem+json"
MODEL, CARD = "iris.joblib", "iris.json"


@pytest.fixture(scope="module")
def flowers() -> pd.DataFrame:
    return pd.read_csv(DATA)


@pytest.fixture(scope="module")
def trained(flowers):
    """The pipeline and its card, trained once for this file."""
    return iris_model.train(flowers)


@pytest.fixture(scope="module")
def built(trained, tmp_path_factory) -> Path:
    """A folder with a whole model; tests that damage one use a copy."""
    return iris_model.save(*trained, tmp_path_factory.mktemp("model")).parent


@pytest.fixture
def folder(built, tmp_path) -> Path:
    """A whole model of the test's own."""
    return Path(shutil.copytree(built, tmp_path / "model"))


@pytest.fixture(scope="module")
def client(built) -> FlaskClient:
    return iris_app.create_app({"MODEL_FOLDER": built}).test_client()


@pytest.fixture
def client_without_model(tmp_path) -> FlaskClient:
    return iris_app.create_app({"MODEL_FOLDER": tmp_path / "none"}).test_client()


# The data


def test_the_data_is_scikit_learns_own_copy(flowers):
    bunch = load_iris()
    assert list(flowers.columns) == [*FEATURES, "species"]
    assert np.array_equal(flowers[FEATURES].to_numpy(), bunch.data)
    assert list(flowers["species"]) == [str(bunch.target_names[i]) for i in bunch.target]


# Training


def test_the_reference_accuracy_is_reached_by_the_pipeline_that_is_served(flowers, trained):
    pipeline, card = trained
    _, test = train_test_split(flowers, random_state=0)
    assert card["metrics"]["accuracy"] == pytest.approx(0.9736842105263158, abs=1e-12)
    assert pipeline.score(test[FEATURES], test["species"]) == card["metrics"]["accuracy"]
    assert card["metrics"]["confusion_matrix"] == [[13, 0, 0], [0, 15, 1], [0, 0, 9]]


def test_the_card_says_what_the_model_was_trained_on(flowers, trained):
    _, card = trained
    training, _ = train_test_split(flowers, random_state=0)
    assert card["stage"] == "04_iris"
    assert card["data"]["source"] == "data/iris.csv"
    assert (card["data"]["rows_train"], card["data"]["rows_test"]) == (112, 38)
    assert card["classes"] == ["setosa", "versicolor", "virginica"]
    assert card["versions"]["scikit_learn"] == sklearn.__version__
    assert list(card["features"]) == FEATURES
    for name, feature in card["features"].items():
        assert feature == {
            "unit": "cm",
            "min": training[name].min(),
            "median": training[name].median(),
            "max": training[name].max(),
        }
    used = [flower["used_for"] for flower in card["flowers"]]
    assert (used.count("training"), used.count("test")) == (112, 38)
    # Petal length 1.0 is among the test flowers: a card that looked at all 150 would say 1.0.
    assert card["features"]["petal_length"]["min"] == 1.1


def test_the_datas_fingerprint_does_not_depend_on_line_ends(trained, tmp_path):
    text = DATA.read_bytes().replace(b"\r\n", b"\n")
    (tmp_path / "windows.csv").write_bytes(text.replace(b"\n", b"\r\n"))
    _, card = iris_model.train(pd.read_csv(tmp_path / "windows.csv"))
    assert card["data"]["sha256"] == hashlib.sha256(text).hexdigest()
    assert card["data"]["sha256"] == trained[1]["data"]["sha256"]


# Saving and loading


def test_a_saved_model_answers_as_the_trained_one(flowers, trained, built):
    model = iris_model.load(built)
    expected = trained[0].predict_proba(flowers[FEATURES])
    for flower, shares in zip(flowers[FEATURES].to_dict("records"), expected, strict=True):
        answer = model.answer(flower)
        assert list(answer.probabilities) == ["setosa", "versicolor", "virginica"]
        assert list(answer.probabilities.values()) == pytest.approx(list(shares), abs=1e-12)
        assert answer.probabilities[answer.species] == max(answer.probabilities.values())


# Pages


class Page(HTMLParser):
    """What the tests ask of a page: its tags, its text, and which ids it has and refers to."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def by_id(self, id_: str) -> dict[str, str | None]:
        (found,) = (attributes for _, attributes in self.tags if attributes.get("id") == id_)
        return found


def page(response) -> Page:
    return Page(response.get_data(as_text=True))


@pytest.mark.parametrize("path", ["/", "/home"])
def test_the_form_has_labels_ranges_and_starting_values(client, path):
    form = page(client.get(path))
    labelled = {label["for"] for label in form.all("label")}
    for name, start in zip(FEATURES, ["5.8", "3.0", "4.25", "1.3"], strict=True):
        field = form.by_id(name)
        assert field["name"] == name
        assert field["value"] == start
        assert field["inputmode"] == "decimal"
        assert field["aria-invalid"] == "false"
        assert name in labelled
    assert "trained on 4.3 to 7.9 cm" in form.text
    assert "trained on 1.1 to 6.9 cm" in form.text


def test_the_starting_values_can_be_sent_as_they_are(client):
    typed = {field["name"]: field["value"] for field in page(client.get("/")).all("input")}
    answer = client.post("/classify", data=typed)
    assert answer.status_code == 200
    assert "Predicted species: Versicolor" in page(answer).text


def test_the_answer_has_the_species_and_three_probabilities(client):
    answer = client.post("/classify", data=SETOSA)
    html = answer.get_data(as_text=True)
    assert answer.status_code == 200
    assert "<h1>Predicted species: Setosa</h1>" in html
    assert re.findall(r'class="number">([^<]*%)', html) == ["98.1%", "1.9%", "&lt; 0.1%"]
    widths = re.findall(r'class="value series-\d" width="([\d.]+)"', html)
    assert widths == ["98.08", "1.92", "0.00"]
    assert ("a", {"class": "button", "href": "/"}) in page(answer).tags
    assert "Outside what the model has seen" not in html


def test_the_picture_shows_all_flowers_and_yours_and_says_so_in_words(client):
    answer = page(client.post("/classify", data=VIRGINICA))
    marks = [use for use in answer.all("use") if "x" in use]
    known = [use for use in marks if use["href"] != "#star"]
    hollow = [use for use in known if "hollow" in use["class"]]
    assert (len(known), len(hollow)) == (150, 38)
    assert known[-38:] == hollow  # drawn last: a hollow mark would vanish under a filled one
    assert {(use["href"], use["class"].removesuffix(" hollow")) for use in known} == {
        ("#setosa", "marker series-1"),
        ("#versicolor", "marker series-2"),
        ("#virginica", "marker series-3"),
    }
    (star,) = (use for use in marks if use["href"] == "#star")
    twin = {"x": star["x"], "y": star["y"]}
    assert any(use["href"] == "#virginica" and twin.items() <= use.items() for use in known)
    assert "Your flower: petals 6 cm long and 2.5 cm wide." in answer.text
    assert "Virginica: petals 4.5 to 6.9 cm long and 1.4 to 2.5 cm wide." in " ".join(
        answer.text.split()
    )


@pytest.mark.parametrize("petal_length", [1e-9, 0.1, 7, 7.1, 14.5, 30])
def test_your_flower_stays_inside_the_picture(client, petal_length):
    flower = SETOSA | {"petal_length": petal_length, "petal_width": petal_length}
    answer = page(client.post("/classify", data=flower))
    (star,) = (use for use in answer.all("use") if use["href"] == "#star" and "x" in use)
    (view,) = (svg["viewbox"] for svg in answer.all("svg") if svg.get("role") == "img")
    _, _, width, height = map(float, view.split())
    assert 16 <= float(star["x"]) <= width - 16
    assert 16 <= float(star["y"]) <= height - 16


def test_a_flower_outside_the_training_range_is_answered_with_a_warning(client):
    answer = client.post("/classify", data=SETOSA | {"petal_length": "12", "sepal_width": "0.5"})
    text = " ".join(page(answer).text.split())
    assert answer.status_code == 200
    assert "Predicted species:" in text
    assert "your petal length of 12 cm is outside the training range, 1.1 to 6.9 cm" in text
    assert "your sepal width of 0.5 cm is outside the training range, 2.0 to 4.4 cm" in text
    assert text.count("is outside the training range") == 2


@pytest.mark.parametrize("typed", ["5.15", "5,15", " 5.15 ", "515e-2", "+5.15", "٥.١٥"])
def test_a_number_may_be_typed_in_several_ways(client, typed):
    answer = client.post("/classify", data=SETOSA | {"sepal_length": typed})
    assert answer.status_code == 200
    assert "5.15 cm" in page(answer).text


MISTAKES = {
    "": "Enter the petal length in cm",
    "   ": "Enter the petal length in cm",
    "abc": "This is not a number",
    "1.4 cm": "This is not a number",
    "1,234.5": "This is not a number",
    "1_4": "This is not a number",
    "नमस्ते": "This is not a number",
    "<script>alert(1)</script>": "This is not a number",
    "1\x004": "This is not a number",
    "0": "above 0 and at most 30",
    "-1.4": "above 0 and at most 30",
    "30.01": "above 0 and at most 30",
    "nan": "above 0 and at most 30",
    "inf": "above 0 and at most 30",
    "-inf": "above 0 and at most 30",
    "1e400": "above 0 and at most 30",
    "9" * 5000: "above 0 and at most 30",
}


@pytest.mark.parametrize(("typed", "message"), MISTAKES.items(), ids=lambda text: text[:30])
def test_a_mistake_brings_the_form_back_with_its_message(client, typed, message):
    response = client.post("/classify", data=SETOSA | {"petal_length": typed})
    form = page(response)
    assert response.status_code == 422
    assert message in form.text
    field = form.by_id("petal_length")
    assert field["value"] == typed
    assert field["aria-invalid"] == "true"
    assert "petal_length-message" in field["aria-describedby"].split()
    # One mistake, one message; the other fields keep what was typed and are not blamed.
    assert [p["id"] for p in form.all("p") if p.get("class") == "message"] == [
        "petal_length-message"
    ]
    assert form.by_id("sepal_length")["value"] == "5.1"
    assert "<script>" not in response.get_data(as_text=True)


def test_the_largest_length_is_accepted(client):
    assert client.post("/classify", data=SETOSA | {"sepal_length": "30"}).status_code == 200


@pytest.mark.parametrize(
    "request_",
    [
        {"data": {}},
        {"json": SETOSA},
        {"json": [1, 2]},
        {"data": b"\xff\x00%%%", "content_type": "application/x-www-form-urlencoded"},
        {"data": b"--x\r\nbroken", "content_type": "multipart/form-data; boundary=x"},
        {"data": b"x", "content_type": "multipart/form-data"},
    ],
    ids=["nothing", "JSON", "JSON list", "bytes", "broken multipart", "no boundary"],
)
def test_a_body_that_is_no_form_brings_the_form_back(client, request_):
    response = client.post("/classify", **request_)
    assert response.status_code == 422
    assert page(response).text.count("Enter the ") == 4


def test_a_repeated_field_counts_once(client):
    body = "sepal_length=5.1&sepal_length=99&sepal_width=3.5&petal_length=1.4&petal_width=0.2"
    response = client.post("/classify", data=body, content_type="application/x-www-form-urlencoded")
    assert response.status_code == 200


def test_the_answers_address_leads_back_to_the_form(client):
    response = client.get("/classify")
    assert response.status_code == 302
    assert response.location == "/"


def test_the_curl_command_asks_the_same_question(client):
    text = page(client.post("/classify", data=SETOSA)).text
    body = re.search(r'-d "(\{.*\})" http://localhost/api/predict', text)[1].replace('\\"', '"')
    assert json.loads(body) == SETOSA
    answer = client.post("/api/predict", data=body, content_type="application/json")
    assert answer.json["species"] == "setosa"
    assert "PowerShell reads quotes in another way" in " ".join(text.split())


def test_every_field_suggests_a_length_that_its_flowers_have(client, built):
    features = json.loads((built / CARD).read_text("utf-8"))["features"]
    for typed in ("", "abc"):
        form = page(client.post("/classify", data=dict.fromkeys(SETOSA, typed)))
        suggested = re.findall(r"for example ([0-9.]+)\.", form.text)
        assert len(suggested) == len(features)
        for length, feature in zip(suggested, features.values(), strict=True):
            assert feature["min"] <= float(length) <= feature["max"]


def test_the_models_card_is_a_page(client, built):
    card = json.loads((built / CARD).read_text("utf-8"))
    text = " ".join(page(client.get("/model")).text.split())
    for part in ["97.4%", "data/iris.csv: 112 flowers to train, 38 held out", sklearn.__version__]:
        assert part in text
    assert card["sha256"] in text
    assert card["data"]["sha256"] in text


def every_page(client: FlaskClient, client_without_model: FlaskClient) -> dict[str, Page]:
    return {
        "form": page(client.get("/")),
        "errors": page(client.post("/classify")),
        "answer": page(client.post("/classify", data=SETOSA | {"petal_length": 12})),
        "model": page(client.get("/model")),
        "404": page(client.get("/nothing")),
        "405": page(client.delete("/")),
        "503": page(client_without_model.get("/")),
    }


def test_every_page_can_be_used_by_everyone(client, client_without_model):
    for name, each in every_page(client, client_without_model).items():
        ids = [attributes["id"] for _, attributes in each.tags if attributes.get("id")]
        assert len(ids) == len(set(ids)), name
        for _, attributes in each.tags:
            referred = " ".join(
                attributes.get(key) or "" for key in ("aria-describedby", "aria-labelledby", "for")
            ).split()
            if (attributes.get("href") or "").startswith("#"):
                referred.append(attributes["href"][1:])
            assert set(referred) <= set(ids), name
        headings = [int(tag[1]) for tag, _ in each.tags if re.fullmatch("h[1-6]", tag)]
        assert headings[0] == 1, name
        assert headings.count(1) == 1, name
        assert all(b - a <= 1 for a, b in pairwise(headings)), name
        assert each.all("html")[0]["lang"] == "en", name
        assert all(svg.get("role") == "img" or svg.get("aria-hidden") for svg in each.all("svg"))


def test_every_page_stands_a_strict_content_security_policy_and_needs_no_network(
    client, client_without_model
):
    for name, each in every_page(client, client_without_model).items():
        for tag, attributes in each.tags:
            assert tag not in {"script", "style", "iframe"}, name
            assert not [key for key in attributes if key == "style" or key.startswith("on")], name
            for key in ("href", "src", "action"):
                assert not re.match("[a-z]+:|//", attributes.get(key) or ""), name


def test_the_app_works_under_a_prefix(built):
    app = iris_app.create_app({"MODEL_FOLDER": built})
    nothing = iris_app.create_app({"MODEL_FOLDER": built})
    mounted = Client(DispatcherMiddleware(nothing, {"/04_iris": app}))
    for path in ["/04_iris/", "/04_iris/model", "/04_iris/nothing"]:
        found = Page(mounted.get(path).get_data(as_text=True))
        for tag, attributes in found.tags:
            for key in ("href", "src", "action"):
                target = attributes.get(key) or "#"
                assert target.startswith(("#", "/04_iris/")), (path, tag, target)
    assert mounted.get("/04_iris/static/style.css").status_code == 200
    assert mounted.get("/04_iris/classify").location == "/04_iris/"
    assert mounted.get("/04_iris/api/nothing").mimetype == PROBLEM


# The API


@pytest.mark.parametrize("flower", [SETOSA, VIRGINICA], ids=["setosa", "virginica"])
def test_the_api_answers_as_the_pipeline(client, trained, flower):
    response = client.post("/api/predict", json=flower)
    expected = trained[0].predict_proba(pd.DataFrame([flower]))[0]
    assert response.status_code == 200
    assert response.mimetype == "application/json"
    assert list(response.json) == ["species", "probabilities"]
    assert response.json["species"] == trained[0].predict(pd.DataFrame([flower]))[0]
    assert list(response.json["probabilities"]) == ["setosa", "versicolor", "virginica"]
    assert list(response.json["probabilities"].values()) == pytest.approx(expected, abs=1e-12)


def test_whole_numbers_and_a_charset_are_fine(client):
    body = '{"sepal_length": 5, "sepal_width": 3.0, "petal_length": 1, "petal_width": 30}'
    response = client.post(
        "/api/predict", data=body, content_type="application/json; charset=utf-8"
    )
    assert response.status_code == 200


def problem(response, status: int) -> dict:
    """Assert that the response is a whole `application/problem+json`, and return it."""
    assert response.status_code == status
    assert response.mimetype == PROBLEM
    assert set(response.json) == {"title", "status", "detail", "errors"}
    assert response.json["status"] == status
    assert response.json["title"]
    assert response.json["detail"]
    assert all(set(error) == {"field", "message"} for error in response.json["errors"])
    return response.json


INVALID_VALUES = ['"5.1"', "true", "null", "[5.1]", "{}", "0", "-1", "30.1", "1e400", "-1e400",
                  "NaN", "Infinity", "-Infinity", "9" * 4000, '""', "1e-400"]  # fmt: skip


@pytest.mark.parametrize("value", INVALID_VALUES, ids=lambda text: text[:20])
def test_an_invalid_value_is_named_by_its_field(client, value):
    body = json.dumps(SETOSA).replace("5.1", value)
    response = client.post("/api/predict", data=body, content_type="application/json")
    errors = problem(response, 422)["errors"]
    assert [error["field"] for error in errors] == ["sepal_length"]
    assert errors[0]["message"]


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, FEATURES),
        ({"sepal_length": 5.1}, FEATURES[1:]),
        (SETOSA | {"colour": "blue"}, ["colour"]),
        (SETOSA | {"sepal_length": "x", "petal_width": 0}, ["sepal_length", "petal_width"]),
        (SETOSA | {"": 1}, [""]),
        ([SETOSA], ["body"]),
        ([], ["body"]),
        ("text", ["body"]),
        (5.1, ["body"]),
        (None, ["body"]),
        (True, ["body"]),
    ],
    ids=repr,
)
def test_a_body_of_another_form_is_refused(client, body, fields):
    response = client.post("/api/predict", data=json.dumps(body), content_type="application/json")
    assert [error["field"] for error in problem(response, 422)["errors"]] == fields


MALFORMED = {
    "empty": b"",
    "text": b"sepal_length=5.1",
    "cut off": b'{"sepal_length": 5.1',
    "not UTF-8": b'{"sepal_length": "\xff"}',
    "UTF-16": json.dumps(SETOSA).encode("utf-16"),
    "too deep": b"[" * 60_000,
    "too deep, closed": b"[" * 30_000 + b"]" * 30_000,
    "two values": b"{} {}",
    "null byte": b"\x00",
    "lone surrogate": b'{"\\ud800": 1}',
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
def test_malformed_json_is_a_400(client, body):
    response = client.post("/api/predict", data=body, content_type="application/json")
    assert problem(response, 400)["errors"] == []


@pytest.mark.parametrize(
    "media_type",
    [None, "", "text/plain", "text/csv", "application/x-www-form-urlencoded", "application/xml",
     "application/problem+json", "multipart/form-data; boundary=x", "nonsense"],
)  # fmt: skip
def test_another_media_type_is_a_415(client, media_type):
    response = client.post("/api/predict", data=json.dumps(SETOSA), content_type=media_type)
    assert "application/json" in problem(response, 415)["detail"]


def test_a_big_body_is_a_413(client):
    body = b'{"sepal_length": 5.1' + b" " * 65_536 + b"}"
    problem(client.post("/api/predict", data=body, content_type="application/json"), 413)
    response = client.post("/classify", data={"sepal_length": "5" * 65_536})
    assert response.status_code == 413
    assert "only these" in page(response).text
    response = client.post("/classify", data={f"field{i}": "1" for i in range(4000)})
    assert response.status_code in {413, 422}


def test_under_api_every_error_is_problem_json(client):
    problem(client.get("/api/nothing"), 404)
    problem(client.get("/api/"), 404)
    response = client.get("/api/predict")
    problem(response, 405)
    assert "POST" in response.headers["Allow"]


@pytest.mark.parametrize("path", ["/nothing", "/api", "/static/nothing.css", "/%ff", "/../app.py"])
def test_elsewhere_a_missing_page_is_a_friendly_one(client, path):
    response = client.get(path)
    assert response.status_code == 404
    assert response.mimetype == "text/html"
    assert ("a", {"class": "button", "href": "/"}) in page(response).tags


def test_a_wrong_method_is_a_friendly_page_too(client):
    response = client.put("/classify")
    assert response.status_code == 405
    assert "POST" in response.headers["Allow"]
    assert ("a", {"class": "button", "href": "/"}) in page(response).tags


def test_a_crash_shows_no_traceback(built, monkeypatch):
    def crash(*_):
        raise RuntimeError("a secret of the inside")

    client = iris_app.create_app({"MODEL_FOLDER": built}).test_client()
    monkeypatch.setattr(iris_model.IrisModel, "answer", crash)
    response = client.post("/classify", data=SETOSA)
    assert response.status_code == 500
    assert "Something went wrong in the app" in page(response).text
    api = client.post("/api/predict", json=SETOSA)
    problem(api, 500)
    for each in (response, api):
        assert "secret" not in each.get_data(as_text=True)


# Health, and life without a model


def test_healthz_is_ok_with_a_model(client):
    response = client.get("/healthz")
    assert (response.status_code, response.json) == (200, {"status": "ok"})


def test_without_a_model_the_app_starts_and_says_what_to_do(client_without_model):
    client = client_without_model
    for response in [
        client.get("/"),
        client.get("/home"),
        client.get("/model"),
        client.post("/classify", data=SETOSA),
    ]:
        assert response.status_code == 503
        assert REMEDY in page(response).text
        assert "no trained model" in page(response).text
    assert problem(client.post("/api/predict", json=SETOSA), 503)["detail"].endswith(REMEDY)
    health = client.get("/healthz")
    assert health.status_code == 503
    assert health.json["status"] != "ok"
    assert health.json["reason"].endswith(REMEDY)
    assert client.get("/static/style.css").status_code == 200


def test_without_a_model_the_start_logs_what_to_do(tmp_path, caplog):
    iris_app.create_app({"MODEL_FOLDER": tmp_path})
    assert any(record.getMessage().endswith(REMEDY) for record in caplog.records)


@pytest.mark.parametrize(
    ("share", "shown"),
    [(0, "< 0.1%"), (0.0004, "< 0.1%"), (0.0005, "0.1%"), (0.2344, "23.4%"),
     (0.9994, "99.9%"), (0.9996, "> 99.9%"), (1, "> 99.9%")],
)  # fmt: skip
def test_a_percentage_never_claims_more_than_is_known(share, shown):
    assert iris_app.percent(share) == shown
