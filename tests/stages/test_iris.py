"""Stage 04: the iris model or any other estimator, the form, the answer and its picture."""

import hashlib
import html
import json
import re
import sys
from urllib.parse import quote, urlencode

import numpy as np
import pytest
from app_support import FLOWER, Page, assert_refused, copy_of_folder, python
from sklearn.datasets import load_wine
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC

from workshop.core.datasets import read_iris
from workshop.core.stages import load_app_module
from workshop.setup.process import ROOT

iris_app = load_app_module("04_iris")
iris_model = sys.modules["iris_model"]
FEATURES, ModelUnavailable = iris_model.FEATURES, iris_model.ModelUnavailable
FLOWERS = read_iris()
SPECIES = ["setosa", "versicolor", "virginica"]


@pytest.fixture(scope="module")
def trained():
    return iris_model.train(FLOWERS)


@pytest.fixture(scope="module")
def client(trained, tmp_path_factory):
    return client_of(iris_model.save(*trained, tmp_path_factory.mktemp("model")).parent)


def client_of(folder):
    return iris_app.create_app({"MODEL_FOLDER": folder}).test_client()


def classify(client, **changes):
    return client.post("/classify", data=FLOWER | changes, follow_redirects=True)


def test_training_reaches_the_reference_numbers_as_the_card_says(trained, client):
    pipeline, card = trained
    training, test = train_test_split(FLOWERS, random_state=0)
    assert pipeline.score(test[FEATURES], test["species"]) == card["metrics"]["accuracy"]
    assert card["metrics"]["confusion_matrix"] == [[13, 0, 0], [0, 15, 1], [0, 0, 9]]
    for name in FEATURES:  # the ranges don't include the test flowers
        known = training[name].agg(["min", "median", "max"]).to_dict()
        assert card["features"][name] == {"unit": "cm", **known}
    # The data's fingerprint does not depend on line ends.
    text = (ROOT / "data" / "iris.csv").read_bytes().replace(b"\r\n", b"\n")
    fingerprint, page = hashlib.sha256(text).hexdigest(), Page(client.get("/model")).text
    for part in ("97.4%", "data/iris.csv: 112 flowers to train, 38 held out", fingerprint):
        assert part in page


ESTIMATORS = {
    "a forest": (RandomForestClassifier(5, random_state=0), FEATURES),
    "a search": (GridSearchCV(LogisticRegression(max_iter=500), {"C": [1]}, cv=2), FEATURES),
    "other columns": (iris_model.build_pipeline(), FEATURES[:1:-1]),
    "no probabilities": (make_pipeline(StandardScaler(), SVC()), FEATURES),
}


@pytest.mark.parametrize(("estimator", "names"), ESTIMATORS.values(), ids=ESTIMATORS)
def test_any_estimator_works_on_the_page_and_in_the_api(trained, tmp_path, estimator, names):
    training, test = train_test_split(FLOWERS, random_state=0)
    estimator.fit(training[names], training["species"])
    iris_model.save(estimator, trained[1], tmp_path)
    client, some = client_of(tmp_path), test.head(8)
    asked = some[FEATURES].to_dict("records")
    found = [client.post("/api/predict", json=flower).json for flower in asked]
    assert [each["species"] for each in found] == list(estimator.predict(some[names]))
    if hasattr(estimator, "predict_proba"):
        assert list(found[0]["probabilities"]) == SPECIES
        shares = [list(each["probabilities"].values()) for each in found]
        assert shares == pytest.approx(estimator.predict_proba(some[names]), abs=1e-12)
    else:
        assert list(found[0]) == ["species"]
    said = "How sure is the model?" in classify(client).text
    assert said is hasattr(estimator, "predict_proba")


@pytest.mark.parametrize("codes", [(10, 20, 30), (True, False, False)], ids=str)
def test_classes_may_be_numbers_or_true_and_false(tmp_path, codes):
    table = FLOWERS.assign(species=FLOWERS["species"].map(dict(zip(SPECIES, codes, strict=True))))
    iris_model.save(*iris_model.train(table), tmp_path)
    client, classes = client_of(tmp_path), sorted(set(codes))
    answer = client.post("/api/predict", json=FLOWER).json
    assert answer["species"] is codes[0]
    assert list(answer["probabilities"]) == [json.dumps(code) for code in classes]
    assert f"Predicted species: {codes[0]}" in classify(client).text
    assert client.get("/model").status_code == 200


def test_save_refuses_what_the_app_could_not_use(trained, tmp_path, monkeypatch):
    def logarithm(table):
        return np.log1p(table)

    # As if a notebook had defined it.
    logarithm.__module__, logarithm.__qualname__ = "__main__", "logarithm"
    monkeypatch.setattr(sys.modules["__main__"], "logarithm", logarithm, raising=False)
    own = make_pipeline(FunctionTransformer(logarithm), LogisticRegression(max_iter=500))
    table, species = FLOWERS[FEATURES], FLOWERS["species"]
    other_names = LogisticRegression(max_iter=500).fit(table.rename(columns=str.upper), species)
    for estimator, reason in (
        (iris_model.build_pipeline(), "iris.joblib"),  # untrained
        (other_names, "iris.joblib"),
        (RandomForestClassifier(3).fit(table, species == "setosa"), "iris.joblib"),
        (own.fit(table, species), "function or class"),
    ):
        with pytest.raises(ModelUnavailable, match=reason):
            iris_model.save(estimator, trained[1], tmp_path)
        assert list(tmp_path.iterdir()) == []


def test_the_starting_values_of_the_form_are_answered_with_three_probabilities(client):
    form = Page(client.get("/"))
    typed = dict(zip(FEATURES, ["5.8", "3.0", "4.25", "1.3"], strict=True))
    assert form.forms[0][1] == typed
    assert "trained on 4.3 to 7.9 cm" in form.text
    assert "Predicted species: Versicolor" in Page(classify(client, **typed)).text
    answer = classify(client).text
    assert "<h1>Predicted species: Setosa</h1>" in answer
    assert re.findall(r'class="number">([^<]*%)', answer) == ["98.1%", "1.9%", "&lt; 0.1%"]
    widths = re.findall(r'class="value series-\d" width="([\d.]+)"', answer)
    assert widths == ["98.08", "1.92", "0.00"]
    shares = {0.0005: "0.1%", 0.2344: "23.4%", 0.9996: "> 99.9%"}
    assert {share: iris_app.percent(share) for share in shares} == shares, "never a false 100.0%"
    assert "outside the training range" not in answer
    text = Page(classify(client, petal_length="12", sepal_width="0.5")).text
    assert "your petal length of 12 cm is outside the training range, 1.1 to 6.9 cm" in text
    assert text.count("is outside the training range") == 2


def test_an_answer_has_an_address_to_share_and_a_qr_code_in_an_open_room(client):
    sent = client.post("/classify", data=FLOWER | {"sepal_length": " 5,10"})
    assert sent.status_code == 303
    page = Page(client.get(sent.location))
    typed = {name: str(value) for name, value in FLOWER.items()}
    assert page.forms[0][1].items() >= typed.items(), "the form comes with the answer"
    assert sent.location in page.text, "to be copied"
    (reply,) = re.findall(r'id="json">(.*?)</code>', page.html, re.DOTALL)
    assert json.loads(html.unescape(reply)) == client.post("/api/predict", json=FLOWER).json
    assert page.all("img") == [], "only the host of the room has a QR code"
    room = {"workshop.room_url": "http://10.0.0.7:8000/04", "workshop.qr_url": "/qr/04.svg?path="}
    path = f"/classify?{urlencode(FLOWER)}"
    page = Page(client.get(path, environ_base=room))
    assert room["workshop.room_url"] + path in page.text
    (code,) = page.all("img")
    assert code["src"] == room["workshop.qr_url"] + quote(path)
    assert_refused(client.get(sent.location + "x"), "petal_width", "not a number", "0.2x")
    assert client.get("/classify").location == "/", "no flower, no answer"


def test_the_picture_shows_all_flowers_and_yours_and_describes_them(client):
    answer = Page(classify(client, petal_length=6.0, petal_width=2.5))
    marks = [use for use in answer.all("use") if "x" in use]
    known = [use for use in marks if use["href"] != "#star"]
    hollow = [use for use in known if "hollow" in use["class"]]
    assert (len(known), len(hollow)) == (150, 38)
    assert known[-38:] == hollow  # drawn last: a hollow mark would vanish under a filled one
    (star,) = (use for use in marks if use["href"] == "#star")
    twin = {"href": "#virginica", "x": star["x"], "y": star["y"]}
    assert any(twin.items() <= use.items() for use in known)
    assert "Your flower: petals 6 cm long and 2.5 cm wide." in answer.text


def test_a_mistake_shows_the_form_again_with_its_message(client):
    for message, mistakes in {
        "Enter the petal length in cm": ["", "   "],
        "This is not a number": ["1.4 cm", "1,234.5", "1_4", "<script>", "1\x004"],
        "above 0 and at most 30": ["0", "-1.4", "30.01", "nan", "inf", "1e400", "9" * 5000],
    }.items():
        for typed in mistakes:
            response = classify(client, petal_length=typed)
            page = assert_refused(response, "petal_length", message, typed)
            assert page.by_id("sepal_length")["value"] == "5.1", "the others keep what was typed"
    assert classify(client, sepal_length="30").status_code == 200
    for typed in ("5,15", " 5.15 ", "515e-2", "+5.15", "٥.١٥"):
        page = Page(classify(client, sepal_length=typed))
        assert page.by_id("sepal_length")["value"] == "5.15"


@pytest.mark.slow
def test_a_copy_for_wine_needs_only_the_changes_that_its_messages_name(tmp_path):
    copy = copy_of_folder("04_iris", tmp_path / "Büro Müller")
    wine = load_wine(as_frame=True).frame.rename(columns={"target": "cultivar"})
    wine.to_csv(copy / "wine.csv", index=False)
    features = list(wine.columns[:-1])

    def change(name, changes):
        text = (copy / name).read_text("utf-8")
        for old, new in changes.items():
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        (copy / name).write_text(text, "utf-8")

    def train():
        return python(copy, "iris_model.py", "wine.csv")

    assert "FEATURES and TARGET in iris_model.py" in train().stderr
    table = {json.dumps(FEATURES): repr(features), '"species"': '"cultivar"', '= "cm"': '= ""'}
    change("iris_model.py", table)
    assert "ABOVE and AT_MOST in iris_model.py" in train().stderr
    pipeline = 'Pipeline([("scale", StandardScaler()), ("classify", LogisticRegression())])'
    forest = {
        "AT_MOST = 0, 30": "AT_MOST = 0, 2000",
        "linear_model import LogisticRegression": "ensemble import RandomForestClassifier",
        pipeline: "RandomForestClassifier()",
    }
    change("iris_model.py", forest)
    assert "iris_picture.py" in python(copy, "-m", "flask", "--app", "app.py", "routes").stderr
    uses = ("from iris_picture import picture\n", "    app.add_template_global(picture)\n")
    change("app.py", dict.fromkeys(uses, ""))
    (copy / "iris_picture.py").unlink()
    assert train().returncode == 0
    code = f"""
import app
client, typical = app.create_app().test_client(), {wine[features].median().to_dict()}
page = client.post("/classify", data=typical, follow_redirects=True)
refused = client.post("/classify", data=typical | {{"proline": "2001"}})
answer = client.post("/api/predict", json=typical)
print([each.status_code for each in (client.get("/model"), page, refused, answer)])
print(answer.json["species"] in (0, 1, 2), list(answer.json["probabilities"]))
"""
    assert python(copy, "-c", code).stdout == "[200, 200, 422, 200]\nTrue ['0', '1', '2']\n"
