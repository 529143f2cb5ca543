"""Tests of the app and its model, which pass with any table. Run `pytest`, and add your own."""

import re

import pytest

from app import create_app


@pytest.fixture
def client():
    return create_app({"PREDICTION_LOG": "off"}).test_client()


@pytest.fixture
def row(client):
    """A typical row, made from the card."""
    return {x["name"]: x["typical"] for x in client.get("/api/v1/model").get_json()["features"]}


def test_the_form_gets_an_answer(client, row):
    page = client.get("/").get_data(as_text=True)
    fields = re.findall(r'name="(f\d+)"', page)
    answer = client.post("/predict", data=dict(zip(fields, row.values(), strict=True)))
    assert answer.status_code == 200


def test_a_row_gets_the_same_answer_alone_and_in_a_list(client, row):
    one = client.post("/api/v1/predictions", json=row).get_json()
    two = client.post("/api/v1/predictions", json=[row, row]).get_json()
    assert two["predictions"] == [one, one]


def test_a_name_that_the_table_never_had_is_refused(client, row):
    answer = client.post("/api/v1/predictions", json=row | {"no such column": 1})
    assert answer.status_code == 422
