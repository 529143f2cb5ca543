"""Stage 06's notebook: its model is the app's, and its checks know the typical mistakes."""

import json

import numpy as np
import pandas as pd
import pytest
import requests
from flask import Flask

from workshop import check
from workshop.stages import ROOT, find_stage, load_app_module, load_module

housing_app = load_app_module("06_housing")
housing_model = load_module(find_stage("housing"), "housing_model")
housing_login = load_module(find_stage("housing"), "housing_login")
housing_saved = load_module(find_stage("housing"), "housing_saved")

ROUTE = "/api/v1/summary"


@pytest.mark.parametrize("number", ["06.1", "06.2", "06.3", "06.4"])
@pytest.mark.parametrize("answer", [..., None])
def test_blank_is_not_solved_yet(number, answer):
    verdict = check(number, answer)
    assert verdict.status == "not yet"
    assert "answer" in verdict.message


def test_notebook_trains_the_price_estimator_of_the_app():
    cells = json.loads((ROOT / "notebooks" / "06_housing.ipynb").read_text(encoding="utf-8"))[
        "cells"
    ]
    sources = ["".join(cell["source"]) for cell in cells]
    (training,) = [source for source in sources if "trees = Hist" in source]
    names: dict[str, object] = {}
    exec("\n".join(training.splitlines()[:3]), names)  # noqa: S102 (the notebook is ours)

    own, served = names["trees"], housing_model.build_estimators()["price"]

    assert own.get_params() == served.get_params()


@pytest.mark.parametrize("answer", [0.0548, np.float64(0.055), 0.09])
def test_share_far_off_is_right(answer):
    assert check("06.1", answer).status == "solved"


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (pd.Series([True, False]), "The mean makes a share"),
        (np.array([120_000.0, 3.0]), "The mean makes a share"),
        (True, "one number from 0 to 1"),
        ("5 %", "one number from 0 to 1"),
        (0, "in dollars"),
        (0.03, "both directions"),
        (0.16, "both directions"),  # of the line
        (5.5, "percent"),
        (283, "how many districts"),
        (29_803.3, "looks like dollars"),
    ],
)
def test_wrong_share_gets_its_hint(answer, hint):
    verdict = check("06.1", answer)
    assert verdict.status == "wrong"
    assert hint in verdict.message


def table(covered: float, width: float = 100_000) -> pd.DataFrame:
    """A thousand districts of which the interval holds the share `covered`."""
    price = np.full(1000, 200_000.0)
    low = np.where(np.arange(1000) < 1000 * covered, price - width / 2, price + 1)
    return pd.DataFrame({"price": price, "low": low, "high": low + width})


@pytest.mark.parametrize("covered", [0.78, 0.8, 0.83])
def test_narrower_interval_is_right(covered):
    verdict = check("06.2", table(covered))
    assert verdict.status == "solved"
    assert f"kept {covered:.1%}" in verdict.message


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        ((1, 2), "must be a table"),
        (6000.0, "must be a table"),
        (table(0.8).drop(columns="high"), "lacks the column high"),
        (table(0.8).assign(low=np.nan), "gaps in the table"),
        (table(0.8).rename(columns={"low": "high", "high": "low"}), "swapped"),
        (table(0.8) / 1000, "in dollars"),
        (table(0.73), "on both ends"),
        (table(0.9), "as one for 90 %"),
        (table(1.0), "more than once"),
    ],
)
def test_wrong_interval_gets_its_hint(answer, hint):
    verdict = check("06.2", answer)
    assert verdict.status == "wrong"
    assert hint in verdict.message


def saved(**incomes: float) -> list[dict[str, object]]:
    """The list that the API gives, of predictions with these names and incomes."""
    return [
        {"name": name, "district": {"median_income": income}, "price_usd": round(40_000 * income)}
        for name, income in incomes.items()
    ]


def test_three_saved_are_right():
    verdict = check("06.3", saved(other=5, low=2, middle=4, high=8.0))
    assert verdict.status == "solved"
    assert "80,000, 160,000 and 320,000 dollars" in verdict.message


def refused() -> requests.Response:
    reply = requests.Response()
    reply.status_code = 401
    return reply


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (refused(), "status 401. Add `.json()`"),
        ({"title": "Unauthorized", "status": 401}, "headers=headers"),
        ({"detail": "See errors.", "errors": [{"field": "name"}]}, "See errors."),
        (saved(low=2)[0], "not the list"),
        ("[]", "must be the list"),
        (["low", "middle", "high"], "must be the list"),
        ([], "no 'low' or 'middle' or 'high'"),
        (saved(low=2, middle=4), "no 'high'"),
        (saved(low=2, middle=4, high=4), "'high' was saved with a median_income of 4 instead of 8"),
    ],
)
def test_wrong_list_gets_its_hint(answer, hint):
    verdict = check("06.3", answer)
    assert verdict.status == "wrong"
    assert hint in verdict.message


# --- the route of exercise 06.4 -------------------------------------------------------------------


class Steady:
    """An estimator that is quick, for a test of the app."""

    def __init__(self, price: float) -> None:
        self.price = price

    def predict(self, districts: pd.DataFrame) -> np.ndarray:
        return self.price + 1000 * districts["median_income"].to_numpy()


@pytest.fixture
def app(tmp_path, monkeypatch) -> Flask:
    """The app of the stage with a database of its own, and a model that needs no training."""
    monkeypatch.delenv("DATABASE_URL", raising=False)
    card = {"sha256": "0" * 64, "interval": {"margin_usd": 0.0}}
    estimators = {name: Steady(100_000) for name in ("price", "low", "high")}
    model = housing_model.HousingModel(estimators, card)
    monkeypatch.setattr(housing_model.ModelFile, "get", lambda _: model)
    app = housing_app.create_app({"INSTANCE_FOLDER": tmp_path})
    assert app.test_cli_runner().invoke(args=["init-db"]).exit_code == 0
    return app


def own_prices() -> list[int]:
    return [row.price_usd for row in housing_saved.all_of(housing_login.account_of_token())]


def mean(prices: list[int]) -> float | None:
    return sum(prices) / len(prices) if prices else None


def right() -> dict[str, object]:
    prices = own_prices()
    return {"count": len(prices), "mean_price_usd": mean(prices)}


def everybodys() -> dict[str, object]:
    housing_login.account_of_token()
    session = housing_saved.open_session()
    prices = [row.price_usd for row in session.query(housing_saved.SavedPrediction)]
    return {"count": len(prices), "mean_price_usd": mean(prices)}


def divides_by_zero() -> dict[str, object]:
    prices = own_prices()
    return {"count": len(prices), "mean_price_usd": sum(prices) / len(prices)}


def test_summary_is_right_and_the_check_leaves_no_account(app):
    app.add_url_rule(ROUTE, "learner", right)
    verdict = check("06.4", app)
    assert verdict.status == "solved", verdict.message
    with app.app_context():
        session = housing_saved.open_session()
        assert session.query(housing_login.Account).count() == 0


WRONG_VIEWS = {
    "everybody's rows": (everybodys, "nobody else's"),
    "zero": (divides_by_zero, "divides by zero"),
    "mean 0 for none": (lambda: right() | {"mean_price_usd": mean(own_prices()) or 0}, "`None`"),
    "a sum": (lambda: right() | {"mean_price_usd": sum(own_prices())}, "gets the mean"),
    "words": (lambda: right() | {"mean_price_usd": "high"}, "gets the mean high"),
    "another key": (lambda: {"count": 2, "mean": 1}, "lacks mean_price_usd; it has count, mean"),
    "nothing in it": (dict, "lacks count and mean_price_usd; it has nothing"),
    "a list": (lambda: [1, 2], "must return a dictionary"),
    "text": (lambda: "2", "must return a dictionary"),
    "nothing": (lambda: None, "did not return a valid response"),
    "a crash": (lambda: undefined_name, "NameError"),  # noqa: F821 (a learner's slip)
}


@pytest.mark.parametrize(("view", "hint"), WRONG_VIEWS.values(), ids=WRONG_VIEWS.keys())
def test_wrong_view_gets_its_hint(app, view, hint):
    app.add_url_rule(ROUTE, "learner", view)
    verdict = check("06.4", app)
    assert verdict.status == "wrong"
    assert hint in verdict.message


def test_view_that_asks_nobody_gets_its_hint(app):
    def open_to_all() -> dict[str, object]:
        try:
            return right()
        except housing_login.Refusal:
            return {"count": 0, "mean_price_usd": None}

    app.add_url_rule(ROUTE, "learner", open_to_all)
    verdict = check("06.4", app)
    assert verdict.status == "wrong"
    assert "answers 200 instead of 401" in verdict.message


@pytest.mark.parametrize(
    ("rule", "methods", "hint"),
    [
        ("/summary", ["GET"], "no route /api/v1/summary yet"),
        (ROUTE, ["POST"], "not for GET"),
        (ROUTE + "/", ["GET"], "answers 308"),
    ],
)
def test_route_elsewhere_gets_its_hint(app, rule, methods, hint):
    app.add_url_rule(rule, "learner", right, methods=methods)
    verdict = check("06.4", app)
    assert verdict.status == "wrong"
    assert hint in verdict.message


def test_app_without_database_gets_its_hint(tmp_path, monkeypatch):
    monkeypatch.delenv("DATABASE_URL", raising=False)
    verdict = check("06.4", housing_app.create_app({"INSTANCE_FOLDER": tmp_path}))
    assert verdict.status == "wrong"
    assert "init-db" in verdict.message


def test_app_without_model_gets_its_hint(tmp_path, monkeypatch):
    monkeypatch.delenv("DATABASE_URL", raising=False)
    app = housing_app.create_app({"INSTANCE_FOLDER": tmp_path, "MODEL_FOLDER": tmp_path})
    assert app.test_cli_runner().invoke(args=["init-db"]).exit_code == 0
    app.add_url_rule(ROUTE, "learner", right)
    verdict = check("06.4", app)
    assert verdict.status == "wrong"
    assert "no model" in verdict.message


@pytest.mark.parametrize("answer", [{"count": 0}, right])
def test_answer_that_is_no_app_gets_its_hint(answer):
    verdict = check("06.4", answer)
    assert verdict.status == "wrong"
    assert "put the app itself" in verdict.message
