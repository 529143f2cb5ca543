"""Tests of the app with its trained model. They pass with any table; add your own. Run `pytest`."""

import re

import pytest

from app import create_app


@pytest.fixture(scope="module")
def client():
    """A client of the app, which writes no log of predictions."""
    return create_app({"PREDICTION_LOG": "off"}).test_client()


@pytest.fixture(scope="module")
def row(client):
    """A typical row, made from the card."""
    card = client.get("/api/v1/model").get_json()
    return {feature["name"]: feature["typical"] for feature in card["features"]}


def test_the_form_as_it_comes_gets_an_answer(client):
    page = client.get("/").get_data(as_text=True)
    fields = re.findall(r'name="(f\d+)" value="([^"]*)"', page)
    answer = client.post("/predict", data=dict(fields))
    assert answer.status_code in (200, 422)
    assert client.get("/model").status_code == 200


def test_the_api_answers_a_row_and_a_list_alike(client, row):
    one = client.post("/api/v1/predictions", json=row).get_json()
    two = client.post("/api/v1/predictions", json=[row, row]).get_json()
    assert two["predictions"] == [one, one]


def test_a_name_that_the_table_never_had_is_refused(client, row):
    answer = client.post("/api/v1/predictions", json=row | {"no such column": 1})
    assert answer.status_code == 422
    assert answer.get_json()["errors"][0]["field"] == "no such column"
