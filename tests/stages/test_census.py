"""Stage 05: the model and its card, the form and the prediction with its reasons, and the API.

For many people in one request, see test_census_tables.py.
"""

import json
import re
import sys
from itertools import pairwise

import pandas as pd
import pytest
from app_support import PERSON, Page, assert_refused, problem, python
from sklearn.metrics import brier_score_loss, confusion_matrix, roc_auc_score
from sklearn.tree import DecisionTreeClassifier

from workshop import cli
from workshop.core.stages import load_app_module
from workshop.setup.process import ROOT

census_app = load_app_module("05_census")
census_model = sys.modules["census_model"]
census_decisions, census_picture = (sys.modules[f"census_{n}"] for n in ("decisions", "picture"))
FEATURES, CATEGORIES = census_model.FEATURES, census_model.CATEGORIES
NUMBERS = ["age", "hours_per_week"]

RICHER = PERSON | {"age": 50, "marital_status": "Married-civ-spouse", "education": "Doctorate"}
UNKNOWN_EMPLOYER = PERSON | {"workclass": None}
LEFT_OUT = {name: value for name, value in PERSON.items() if name != "workclass"}
ONE = "/api/v1/predictions"


@pytest.fixture(scope="module")
def model(census_folder):
    return census_model.load(census_folder)


@pytest.fixture(scope="module")
def client(census_folder):
    return census_app.create_app({"MODEL_FOLDER": census_folder}).test_client()


def ask(client, person, **more):
    """Request a prediction as the form does, which sends a missing value as an empty one."""
    typed = {name: "" if value is None else value for name, value in (person | more).items()}
    return client.get("/probability", query_string=typed)


@pytest.mark.parametrize("line", [0, 30, 50])
def test_the_counts_in_the_card_give_the_rates_of_everybody_and_of_each_group(census, income, line):
    pipeline, card = income
    metrics = card["metrics"]
    truth, shares = census.test["income"], pipeline.predict_proba(census.test[FEATURES])[:, 1]
    assert metrics["roc_auc"] == roc_auc_score(truth, shares) > 0.86
    assert metrics["brier"] == brier_score_loss(truth, shares)
    decided = census_decisions.decide(metrics["decisions"], line)
    assert [each["category"] for each in decided][:3] == ["Everybody", "Female", "Male"]
    assert line != 50 or (metrics["groups"] == decided[1:])
    people = census.test.assign(says=(shares > line / 100).astype(int))
    for found in decided:
        feature, category = found["feature"], found["category"]
        group = people[people[feature] == category] if feature else people
        truth, says = group["income"], group["says"]
        rates = {
            "people": len(group),
            "accuracy": (truth == says).mean(),
            "earning_more": truth.mean(),
            "selection_rate": says.mean(),
            "false_negative_rate": 1 - says[truth == 1].mean(),
            "false_positive_rate": says[truth == 0].mean(),
        }
        assert {name: found[name] for name in rates} == pytest.approx(rates)
        cells = ("true_negatives", "false_positives", "false_negatives", "true_positives")
        counts = confusion_matrix(truth, says, labels=[0, 1]).ravel().tolist()
        assert [found[name] for name in cells] == counts


OTHERS = {
    "a tree": {"classify": DecisionTreeClassifier(max_depth=3)},
    # Its table is read without a complaint, but the sums differ from the pipeline's.
    "numbers that count twice": {"prepare__transformer_weights": {"numbers": 2}},
    "one more category": {},
}


@pytest.mark.parametrize("name", OTHERS)
def test_another_estimator_is_refused_and_nothing_is_written(census, income, tmp_path, name):
    pipeline = census_model.build_pipeline().set_params(**OTHERS[name])
    pipeline.fit(census.train[FEATURES], census.train["income"])
    card = json.loads(json.dumps(income[1]))
    if name == "one more category":
        card["features"]["sex"]["categories"].append("Other")
    with pytest.raises(census_model.ModelUnavailable) as refused:
        census_model.save(pipeline, card, tmp_path)
    assert name == "one more category" or "stage 07" in str(refused.value)
    assert str(refused.value).endswith("python3 -m workshop train 05")
    assert list(tmp_path.iterdir()) == []


def test_exported_data_trains_the_same_model(tmp_path, census, monkeypatch):
    monkeypatch.setattr(cli, "use_my_copy", lambda: None)
    monkeypatch.setattr("workshop.core.datasets.fetch_census", lambda: census)
    assert cli.run(["train", "05", "--export", str(tmp_path / "people.csv")]) == 0
    table = census_model.read_table(tmp_path / "people.csv")
    for part in ("train", "test"):
        exported = getattr(table, part).drop(columns="part")
        pd.testing.assert_frame_equal(exported, census[part], check_dtype=False)


def test_the_card_has_what_the_training_people_have_and_the_form_offers_it(census, client, model):
    train, card, page = census.train, model.card, Page(client.get("/"))
    assert (card["data"]["source"], card["data"]["is_real"]) == (census.source, False)
    assert "people who don't exist" in page.text
    assert list(card["features"]) == FEATURES
    known = train["age"].agg(["min", "median", "max"]).to_dict()
    assert card["features"]["age"] == {"type": "number", "unit": "years", **known}
    assert page.by_id("age")["value"] == str(round(known["median"]))
    for name in CATEGORIES:
        feature = card["features"][name]
        assert set(feature["categories"]) == set(train[name].dropna())
        assert feature["optional"] is (name == "workclass")
        options = re.search(rf'<select[^>]* id="{name}".*?</select>', page.html, re.DOTALL)[0]
        offered = Page(options).all("option")
        values = [option["value"] for option in offered]
        assert values == [""] * feature["optional"] + feature["categories"]
        (chosen,) = (option["value"] for option in offered if "selected" in option)
        assert chosen == feature["most_common"] == train[name].mode()[0]
    assert card["features"]["education"]["categories"][-1] == "Doctorate", "in their order"
    assert ask(client, model.typical).status_code == 200


def test_the_page_shows_the_probability_its_warnings_and_the_other_sex(client, model):
    for person in [PERSON, RICHER, UNKNOWN_EMPLOYER]:
        answer = ask(client, person)
        probability = model.answer(person).probability
        assert f"<h1>Probability of earning more than $50K: {probability:.1%}</h1>" in answer.text
    assert "Kind of employer: Not known" in answer.text
    assert "never use this to decide about a person" in Page(answer).text
    assert "outside the training range" not in answer.text
    assert "120 years is outside the training range" in ask(client, PERSON, age=120).text
    plain, both = (Page(ask(client, PERSON, **more)) for more in ({}, {"compare": "sex"}))
    for sex in ("Female", "Male"):
        share = f"{model.answer(PERSON | {'sex': sex}).probability:.1%}"
        assert f"{sex} {share}" in both.text
        assert f"{sex} {share}" not in plain.text
    assert "compare=sex" in both.text, "in the address to copy"


def test_the_page_shows_each_contribution_as_a_bar_and_in_words(client, census, model):
    html = ask(client, PERSON).text
    contributions = sorted(model.explain(PERSON).values(), key=lambda each: -abs(each))
    shown = re.findall(r'class="number">([+−][\d.]+)<', html)
    found = [float(each.replace("−", "-")) for each in shown]
    assert found == pytest.approx(contributions, abs=0.005)
    said = re.findall(r'class="visually-hidden"> \((up|down)\)', html)
    assert said == ["up" if each > 0 else "down" for each in contributions]
    drawn = re.findall(r'class="value (?:up|down)" x="[-\d.]+" width="([\d.]+)"', html)
    widths = [100 * abs(each / contributions[0]) for each in contributions]
    assert [float(width) for width in drawn] == pytest.approx(widths, abs=0.1)
    # They are measured from the average of the training people.
    terms = pd.DataFrame([model.explain(row) for row in census.train[FEATURES].to_dict("records")])
    assert terms.mean().tolist() == pytest.approx([0] * 7, abs=1e-9)


def test_a_curve_leads_through_the_person_and_is_straight_in_log_odds(model):
    for age in (39, 120):  # the second is outside the training range
        person = PERSON | {"age": age}
        chance, log_odds = census_picture.curves(model, person)["age"]
        assert chance["value"] == pytest.approx(model.answer(person).probability)
        points = re.findall(r"([\d.]+) ([\d.]+)", log_odds["path"])
        assert (str(log_odds["x"]), f"{log_odds['y']}") in points
        steps = [float(after) - float(before) for (_, before), (_, after) in pairwise(points)]
        assert steps == pytest.approx([steps[0]] * len(steps), abs=0.11), "rounded to 0.1"


def test_an_invalid_value_has_its_message_and_the_rest_is_kept(client):
    for name, mistakes in {
        "age": ["", " ", "16", "121", "39.5", "abc", "1e3", "4_0", "nan", "9" * 5000],
        "hours_per_week": ["", "0", "169"],
        "education": ["", "bachelors", "<script>"],
        "workclass": ["?", "None"],
    }.items():
        for typed in mistakes:
            response = ask(client, PERSON, **{name: typed})
            page = assert_refused(response, name, "", None if name in CATEGORIES else typed)
            for other in set(NUMBERS) - {name}:
                assert page.by_id(other)["value"] == str(PERSON[other])
            chosen = {option["value"] for option in page.all("option") if "selected" in option}
            assert chosen >= {PERSON[each] for each in CATEGORIES if each != name}
    assert set(Page(client.get("/probability")).messages) == set(FEATURES) - {"workclass"}
    for query in ("%ff=%ff&age=%00", "age=1&age=39", "age[]=39", "&" * 5000, "="):
        assert client.get(f"/probability?{query}").status_code == 422


def test_the_models_card_is_a_page_whose_line_can_be_moved(client, model):
    metrics, text = model.card["metrics"], Page(client.get("/model")).text
    shown = [f"{metrics[name]:.4f}" for name in ("accuracy", "roc_auc", "brier")]
    shown += [f"{group['false_negative_rate']:.1%}" for group in metrics["groups"]]
    trivial = 1 - census_decisions.decide(metrics["decisions"], 50)[0]["earning_more"]
    for each in [*shown, f"{trivial:.1%} for the trivial answer", model.card["data"]["source"]]:
        assert each in text
    for query, line in {"": 50, "?line=30": 30, "?line=999": 100, "?line=x": 50}.items():
        assert f"Line at {line}%" in Page(client.get(f"/model{query}")).text


def test_the_api_answers_one_person_with_the_reasons_or_the_known_categories(client, model):
    answer = client.post(ONE, json=PERSON).json
    assert list(answer) == ["probability", "label", "contributions", "model_version"]
    assert answer["contributions"] == model.explain(PERSON)
    assert (answer["label"], client.post(ONE, json=RICHER).json["label"]) == ("<=50K", ">50K")
    for person in (UNKNOWN_EMPLOYER, LEFT_OUT, LEFT_OUT | {"age": 39.0, "hours_per_week": 4e1}):
        answer = client.post(ONE, json=person).json
        assert answer["probability"] == model.answer(UNKNOWN_EMPLOYER).probability
    for name in CATEGORIES:
        for value in (1, ["Male"], "", "Male "):
            (error,) = problem(client.post(ONE, json=PERSON | {name: value}), 422)["errors"]
            assert error["field"] == name
        known = model.card["features"][name]["categories"]
        assert all(category in error["message"] for category in known)


def test_serving_never_imports_scikit_learn_and_pandas_only_for_a_batch(census_folder):
    code = f"""
import json, sys
import app
client = app.create_app({{"MODEL_FOLDER": {str(census_folder)!r}}}).test_client()
answers = [client.get(path) for path in ("/", "/model", "/healthz", "/openapi/openapi.json")]
answers.append(client.get("/probability", query_string={LEFT_OUT}))
answers.append(client.post("/api/v1/predictions", json={LEFT_OUT}))
heavy = sorted({{"joblib", "numpy", "pandas", "scipy", "sklearn"}} & set(sys.modules))
answers.append(client.post("/api/v1/predictions/batch", json={{"people": [{LEFT_OUT}]}}))
print(json.dumps([[each.status_code for each in answers], heavy, "sklearn" in sys.modules]))
"""
    done = python(ROOT / "apps" / "05_census", "-c", code)
    assert json.loads(done.stdout) == [[200] * 7, [], False], done.stderr
