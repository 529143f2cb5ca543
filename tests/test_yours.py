"""Stage 07: any table becomes an app whose form and API answer."""
# ruff: noqa: S311 (tables for tests)

import json
import random
import re
import shutil
import subprocess
import sys

import pytest
from yours_support import (
    API,
    FOLDER,
    HEADER,
    PENGUINS,
    accepts,
    app,
    as_pandas,
    as_text,
    change_card,
    fit,
    guard,
    make,
    model,
    money_table,
    new_client,
    page,
    plain_rows,
    status_for,
    table,
    train,
    write,
)


@pytest.fixture(scope="module")
def penguins(tmp_path_factory):
    return make(shutil.copy(PENGUINS, tmp_path_factory.mktemp("penguins") / "p.csv"), "species")


@pytest.fixture(scope="module")
def mass(tmp_path_factory):
    return make(shutil.copy(PENGUINS, tmp_path_factory.mktemp("mass") / "p.csv"), "body_mass_g")


# Tables as people have them


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_european_tables_in_any_encoding(tmp_path, encoding, delimiter):
    draw = random.Random(1)
    rows = []
    for number in range(1, 81):
        ratio, sales = draw.uniform(1, 4), draw.uniform(1000, 99999)
        sales = f"{sales:,.2f}".translate(str.maketrans(",.", ".,"))
        share = f"{100 * draw.random():.1f} %".replace(".", ",")
        ratio_text = f"{ratio:.2f}".replace(".", ",")
        rows.append([number, ratio_text, sales, draw.choice(["Ja", "Nein"]), share])
        rows[-1].append("Größe A" if ratio > 2.5 else "Größe B")
    header = ["Nr", "od280/od315", "Umsatz €", "Kunde?", "Anteil", "Klasse"]
    path = write(tmp_path / "t.csv", header, rows, encoding, delimiter)
    made = make(path, "Klasse")
    assert set(made.card["left_out"]) == {"Nr"}
    assert 1 <= made.features["od280/od315"]["low"] <= made.features["od280/od315"]["high"] <= 4
    assert made.features["Umsatz €"]["low"] > 1000
    assert made.features["Anteil"]["unit"] == "%"
    assert made.card["target"]["words"] == ["Größe A", "Größe B"]
    accepts(made, as_text(path, encoding, delimiter))
    if encoding != "utf-16-le":  # which pandas can't tell
        accepts(made, as_pandas(path, encoding=encoding, sep=delimiter, decimal=",", thousands="."))


@pytest.fixture(scope="module")
def money(tmp_path_factory):
    return money_table(tmp_path_factory.mktemp("money") / "t.csv")


def test_money_booleans_gaps_and_an_index_column(money):
    made = make(money, "model_dump")
    assert made.features["price"]["unit"] == "$"
    assert made.features["net"]["low"] < -3000
    assert made.features["grade"]["words"] == ["a", "b"]
    assert made.features["flag"]["words"] == ["0", "1"]
    assert {name for name, feature in made.features.items() if feature["gaps"]} == {
        "grade",
        "score",
    }
    accepts(made, as_text(money))
    accepts(made, as_pandas(money))
    accepts(made, as_pandas(money, keep_default_na=False, na_values=[""], index_col=0))
    for flag in (0, "0", False, 0.0, " 0 "):
        assert made.ask(made.typical | {"flag": flag}).status_code == 200
    assert made.ask(made.typical | {"is new": True}).status_code == 200
    assert made.ask(made.typical | {"is new": "maybe"}).status_code == 422


def test_a_skewed_target_gets_an_interval_that_grows_with_it(money):
    made = make(money, "model_dump")
    assert made.card["interval"]["relative"]
    widths = []
    for price in (500, 30_000):
        answer = made.ask(made.typical | {"price": price}).get_json()
        low, high = answer["interval"]
        assert 0 < low < answer["prediction"] < high
        widths.append(high - low)
    assert widths[0] < widths[1] / 3


@pytest.mark.parametrize("target, words", [("flag", ["0", "1"]), ("is new", ["False", "True"])])
def test_a_target_of_two_values_has_classes(money, target, words):
    made = make(money, target)
    answer = made.ask(made.typical).get_json()
    assert list(answer["probabilities"]) == words
    assert answer["prediction"] in words
    accepts(made, as_text(money))


def test_what_spreadsheets_and_r_add_to_a_table(tmp_path):
    plain = [",".join(row) for row in plain_rows(60)]
    head = ",".join(HEADER)
    for lines in (
        [f"{head},,,,,", *(f"{row},,,,," for row in plain), ",,,,,,,,"],
        [head, *(f"{row}," for row in plain)],
        [head, *(f"{number},{row}" for number, row in enumerate(plain))],
        ["sep=,", head, *plain],
    ):
        (tmp_path / "t.csv").write_text("\n".join(lines))
        assert list(make(tmp_path / "t.csv", "kind").features) == HEADER[:3]


def test_none_is_a_class_and_no_gap_where_the_target_has_words(tmp_path):
    draw = random.Random(3)
    words = ["None", "low", "high", "NA"]
    rows = [[draw.random(), draw.gauss(), draw.choice(words)] for _ in range(100)]
    made = make(write(tmp_path / "t.csv", ["x", "y", "t"], rows), "t")
    assert made.card["target"]["words"] == ["None", "high", "low"]
    assert made.card["data"]["rows_used"] < 100  # NA is a gap


def test_columns_are_left_out_with_their_reason_and_kept_if_you_ask(tmp_path):
    draw = random.Random(4)
    story = "the quick brown fox jumps over a lazy dog in line number"
    rows = [
        [i + 1, draw.randrange(10**9), f"20{draw.randint(10, 25)}-0{draw.randint(1, 9)}-28"]
        + [f"{story} {i} {draw.random()}", "", f"w{draw.randrange(150)}", "same"]
        + [i if i % 40 else "oops", draw.choice("ab"), draw.randrange(2)]
        for i in range(400)
    ]
    header = ["row", "customer_id", "day", "story", "void", "many", "one", "mixed", "good", "t"]
    path = write(tmp_path / "t.csv", header, rows)
    made = make(path, "t", drop=["mixed"])
    assert list(made.features) == ["good"]
    for name, reason in made.card["left_out"].items():
        assert f'Left out "{name}": {reason}.' in made.said
    reasons = made.card["left_out"]
    words = {
        "row": "rise",
        "customer_id": "id",
        "day": "date",
        "story": "free text",
        "void": "empty",
    }
    words |= {"many": "different words", "one": "same value", "mixed": "asked"}
    assert all(word in reasons[name] for name, word in words.items())
    accepts(made, as_text(path))
    kept = make(path, "t", keep=["row", "many"])
    assert {"row", "many"} <= set(kept.features)
    assert "oops" not in json.dumps(kept.card)
    accepts(kept, as_text(path))


def test_the_card_names_no_rare_word_and_no_extreme_but_their_rows_are_accepted(tmp_path):
    draw = random.Random(5)
    rows = [[draw.gauss(), draw.choice(["a", "b"]), draw.choice(["x", "y"])] for _ in range(600)]
    rows += [[999, "Secret", "x"], [-999, "Hidden", "y"], [0, "Secret", "z"]]
    path = write(tmp_path / "t.csv", ["n", "w", "t"], rows)
    made = make(path, "t")
    public = made.client.get("/api/v1/model").get_data(as_text=True)
    public += made.client.get("/model").get_data(as_text=True)
    public += made.client.get("/api/v1/openapi.json").get_data(as_text=True)
    assert not re.search(r"Secret|Hidden|999\b", public.replace(made.card["sha256"], ""))
    assert made.card["target"]["words"] == ["x", "y"]
    assert "Left out: the rows of classes" in made.said
    accepts(made, as_text(path))
    assert made.ask({"n": 0, "w": "Secret"}).get_json()["warnings"]


def test_a_rare_class_is_counted_next_to_the_trivial_answer(tmp_path):
    draw = random.Random(6)
    rows = [[draw.gauss(2 * (i % 50 == 0)), "yes" if i % 50 == 0 else "no"] for i in range(500)]
    made = make(write(tmp_path / "t.csv", ["x", "t"], rows), "t")
    counts = made.card["classes"]["yes"]
    assert counts["rows"] == 10
    assert f'{counts["found"]} of 10 rows of "yes"' in made.said
    metrics = made.card["metrics"]
    assert metrics["accuracy_trivial"] == pytest.approx(0.98)
    assert metrics["log_loss"] == min(metrics["log_loss_linear"], metrics["log_loss_boosted"])


def test_sorted_tables_are_shuffled_before_they_are_tested(tmp_path):
    rows = [[i % 7, i % 5, "early" if i < 60 else "late", f"{i}.5"] for i in range(120)]
    made = make(write(tmp_path / "t.csv", ["a", "b", "half", "t"], rows), "t")
    assert made.card["metrics"]["mean_absolute_error"] < 20


def test_small_tables_get_a_warning(tmp_path):
    paths = [write(tmp_path / f"{rows}.csv", HEADER, plain_rows(rows)) for rows in (24, 60)]
    assert ["Warning" in make(path, "kind").said for path in paths] == [True, False]


def test_a_large_table_is_sampled_and_its_rows_are_accepted(tmp_path, monkeypatch):
    monkeypatch.setattr(table, "MOST_ROWS", 300)
    rows = [*plain_rows(900), ["", "1", "violet", "big"]]
    path = write(tmp_path / "t.csv", HEADER, rows)
    made = make(path, "kind")
    assert "300" in made.said and "drawn at random" in made.said
    accepts(made, as_text(path))


def test_numbers_that_are_few_are_classes_unless_you_say_otherwise(tmp_path):
    draw = random.Random(7)
    rows = [[draw.random(), draw.randint(3, 8)] for _ in range(200)]
    path = write(tmp_path / "t.csv", ["x", "quality"], rows)
    assert make(path, "quality").card["target"]["words"] == ["3", "4", "5", "6", "7", "8"]
    made = make(path, "quality", task="numbers", kind="linear")
    assert made.card["estimator"] == "linear"
    assert "boosted" not in made.said.casefold()
    assert 3 < made.ask({"x": 0.5}).get_json()["prediction"] < 8


GOOD = "a,b,t\n" + "".join(f"0.{i:02},{i % 7}.5,{'xy'[i % 2]}\n" for i in range(60))


@pytest.mark.parametrize(
    "content, target, told",
    [
        (GOOD, "tt", 'no column "tt". The columns are: t, '),
        (GOOD.replace("x\n", "y\n"), "t", "Fewer than two"),
        ("a,t\n" + "".join(f"{i}.5,word{i}\n" for i in range(3000)), "t", "too many"),
        (GOOD[: GOOD.index("0.15")], "t", "Only 15 rows"),
        ("a,b,t\n", "t", "Only 0 rows"),
        ("", "t", "empty"),
        (b"\xff\xfe", "t", "empty"),
        (GOOD.replace("a,b,t", "a,a,t"), "t", "Repeated names: a"),
        (GOOD.replace("0.01,1.5,y", "0.01,1.5,y,7"), "t", "Line 3 has 4 cells"),
        (GOOD.replace("0.01,1.5,y", "0.01,1.5"), "t", "Line 3 has 2 cells"),
        ("Sales of 2026\n\n" + GOOD, "t", "title"),
        ("Sales of 2026,,\n" + GOOD, "t", "title"),
        ("Sales, 2026\n" + GOOD, "t", "title"),
        ("t\n" + "x\ny\n" * 40, "t", "one column"),
        ('sep=;\n""\n', "t", "one column"),
        (GOOD.replace("0.01,1.5,y", '0.01,1.5,"y'), "t", "Line 3 opens a quotation mark"),
        (b"PK\x03\x04 a workbook", "t", "not CSV"),
    ],
)
def test_what_is_no_table_is_refused_in_a_sentence(tmp_path, content, target, told):
    path = tmp_path / "t.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(table.TableProblem) as refused:
        fit(path, target, tmp_path / "model")
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    "text, mark, value",
    [
        ("1,234.50", ".", 1234.5),
        ("1.234,50", ",", 1234.5),
        ("1 234,5", ",", 1234.5),
        ("1\u202f234", ".", 1234),
        ("1'234.5", ".", 1234.5),
        ("$1,234", ".", 1234),
        ("-€ 5", ".", -5),
        ("($1,234.50)", ".", -1234.5),
        ("5-", ".", -5),
        ("−5", ".", -5),
        (".5", ".", 0.5),
        ("1e3", ".", 1000),
        ("1e999", ".", None),
        ("nan", ".", None),
        ("1_000", ".", None),
        ("12,34", ".", None),
        ("(5", ".", None),
        ("١٢", ".", None),
        ("2026-11-28", ".", None),
    ],
)
def test_numbers_as_people_write_them(text, mark, value):
    assert table.number(text, mark) == value


# The API


def test_every_row_of_the_penguins_is_accepted(penguins, mass):
    for made in (penguins, mass):
        accepts(made, as_text(PENGUINS))
        accepts(made, as_pandas(PENGUINS))


def test_a_row_and_a_list_get_the_same_answer(penguins):
    one = penguins.ask(penguins.typical).get_json()
    many = penguins.ask([penguins.typical] * 3).get_json()
    assert many == {"predictions": [one] * 3, "model_version": one["model_version"]}
    assert sum(one["probabilities"].values()) == pytest.approx(1)
    assert one["prediction"] == max(one["probabilities"], key=one["probabilities"].get)


def test_a_name_the_table_never_had_is_refused_and_the_nearest_is_named(penguins):
    row = penguins.typical
    row["bill_lenght_mm"] = row.pop("bill_length_mm")
    answer = penguins.ask([penguins.typical, row])
    assert answer.status_code == 422
    assert answer.content_type == "application/problem+json"
    [error] = answer.get_json()["errors"]
    assert (error["index"], error["field"]) == (1, "bill_lenght_mm")
    assert '"bill_length_mm"' in error["message"]


def test_a_missing_name_is_a_gap_only_where_the_data_has_gaps(penguins):
    for name, feature in penguins.features.items():
        row = penguins.typical
        del row[name]
        for sent in (row, row | {name: None}, row | {name: "NA"}):
            answer = penguins.ask(sent)
            assert answer.status_code == (200 if feature["gaps"] else 422)
            if not feature["gaps"]:
                assert answer.get_json()["errors"][0]["field"] == name


@pytest.mark.parametrize(
    "body, status",
    [
        (b"{", 400),
        (b"", 400),
        (b"[NaN]", 400),
        (b'{"year": NaN}', 400),
        (b"[" * 100_000, 400),
        (b"\xff\xff", 400),
        (b'"text"', 422),
        (b"5", 422),
        (b"[]", 422),
        (b"[1]", 422),
        (b"{}", 422),
        (json.dumps([{}] * 1001).encode(), 422),
        (b'{"year": ' + b"9" * 5000 + b"}", 400),
        (b" " * 2_000_000, 413),
    ],
)
def test_every_mistake_has_its_status(penguins, body, status):
    answer = penguins.client.post(API, data=body, content_type="application/json")
    problem = answer.get_json()
    assert (answer.status_code, problem["status"]) == (status, status)
    assert problem["detail"]


def test_other_mistakes_of_a_client(penguins):
    assert penguins.client.post(API, data="{}").status_code == 415
    answer = penguins.client.get(API)
    assert answer.status_code == 405 and "POST" in answer.headers["Allow"]
    assert penguins.client.get("/api/nothing").content_type == "application/problem+json"


@pytest.mark.parametrize("value", ["abc", [], {}, True, 1e400, "1e999", "\ud800", 10**400])
def test_what_is_no_number_is_a_422_for_its_field(penguins, value):
    body = json.dumps(penguins.typical | {"year": value}).replace("Infinity", "1e999")
    answer = penguins.client.post(API, data=body, content_type="application/json")
    assert answer.status_code in (400, 422)
    if answer.status_code == 422:
        assert [error["field"] for error in answer.get_json()["errors"]] == ["year"]


def test_answers_are_finite_or_refused(mass, money):
    for made in (mass, make(money, "model_dump", kind="linear")):
        for name, feature in made.features.items():
            if feature["kind"] == "number":
                for value in (1e308, -1e308, 1e18, -1e18):
                    answer = made.ask(made.typical | {name: value})
                    assert answer.status_code in (200, 422)
                    assert not re.search("Infinity|NaN", answer.get_data(as_text=True))


def test_the_document_of_the_api_describes_a_row(penguins, mass):
    for made in (penguins, mass):
        document = made.client.get("/api/v1/openapi.json").get_json()
        assert document["openapi"] == "3.1.0"
        row = document["components"]["schemas"]["Row"]
        assert row["properties"].keys() == made.features.keys()
        gapless = {name for name, feature in made.features.items() if not feature["gaps"]}
        assert set(row["required"]) == gapless
        assert row["properties"]["island"]["enum"] == ["Biscoe", "Dream", "Torgersen"]
        assert set(document["paths"]) == {API, "/api/v1/model"}
    assert "http" not in re.sub(r"http://localhost|http://www.w3.org", "", page(penguins, "/docs"))


# The pages


def test_the_form_keeps_what_was_typed_next_to_the_answer(mass):
    answer = mass.post_form(bill_length_mm="39,1", sex="").get_data(as_text=True)
    assert 'value="39,1"' in answer
    assert re.search(r'<data value="\d+\.\d+">', answer)
    answer = mass.post_form(bill_length_mm="long", year="")
    assert answer.status_code == 422
    text = answer.get_data(as_text=True)
    assert 'value="long"' in text
    assert text.count('aria-invalid="true"') == 2
    assert mass.client.get("/predict").location == "/"


def test_a_value_outside_the_usual_range_gets_a_warning(penguins):
    usual = penguins.post_form().get_data(as_text=True)
    odd = penguins.post_form(body_mass_g="20000").get_data(as_text=True)
    assert "notice warning" in odd and "notice warning" not in usual
    assert penguins.ask(penguins.typical | {"body_mass_g": 20000}).get_json()["warnings"]


def test_names_and_words_of_a_table_are_never_markup(tmp_path):
    rows = [[x, f"<b>{c}'\"</b>", y, k] for x, y, c, k in plain_rows(80)]
    path = write(tmp_path / "t.csv", ["<i>x</i>", 'a"b\\c', "{{ y }}", "</script>"], rows)
    made = make(path, "</script>")
    for text in (*(page(made, path) for path in ("/", "/model", "/docs")), made.post_form().text):
        assert not re.search(r"<b>|<i>|</script>", text)
    accepts(made, as_text(path))


def test_pages_need_no_script_and_load_only_their_own_files(penguins):
    for path in ("/", "/model", "/docs", "/nowhere"):
        text = page(penguins, path)
        assert not re.search(r"<script|<style|\sstyle=|\son\w+=", text)
        assert all(link.startswith("/") for link in re.findall(r'(?:href|src)="([^#"]+)', text))


# The model file


def test_without_a_model_every_page_says_so(tmp_path):
    client = app.create_app({"MODEL_FOLDER": tmp_path}).test_client()
    for path in ("/", "/model", "/docs", "/nowhere"):
        answer = client.get(path)
        assert answer.status_code == 503 and model.TRAIN in answer.text
    assert client.get("/healthz").get_json()["status"] == "unavailable"
    assert client.post(API, json={}).content_type == "application/problem+json"
    assert client.get("/static/style.css").status_code == 200


def test_the_remedy_is_the_one_that_works_where_the_folder_is(tmp_path):
    assert model.TRAIN == "python3 -m workshop train 07"
    shutil.copytree(FOLDER, tmp_path / "copy", ignore=shutil.ignore_patterns("model"))
    code = "import model; print(model.TRAIN)"
    run = [sys.executable, "-c", code]
    said = subprocess.run(run, cwd=tmp_path / "copy", capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "python train.py data.csv TARGET"


@pytest.mark.parametrize(
    "changes, told",
    [
        ({"metrics": "gone"}, "metrics"),
        ({"card_sha256": "0" * 64}, "changed after"),
        ({"sha256": "0" * 64}, "doesn't match"),
        ({"model_file": "other.joblib"}, "other.joblib is missing"),
        ({"versions": {"scikit_learn": "1.2.3"}}, "scikit-learn 1.2.3, and"),
    ],
)
def test_a_model_that_does_not_match_its_card_is_refused(penguins, tmp_path, changes, told):
    folder = shutil.copytree(penguins.folder, tmp_path / "model")
    change_card(folder, **changes)
    with pytest.raises(model.ModelUnavailable) as refused:
        model.load(folder)
    assert told in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"not JSON", b"[]", b"5", b"\xff\xfe"])
def test_a_card_that_is_none_is_refused(tmp_path, content):
    (tmp_path / "card.json").write_bytes(content)
    client = app.create_app({"MODEL_FOLDER": tmp_path}).test_client()
    assert client.get("/healthz").status_code == 503


def test_training_replaces_the_model_and_rollback_brings_it_back(tmp_path):
    folder = tmp_path / "model"
    paths = [write(tmp_path / f"{i}.csv", HEADER, plain_rows(60, seed=i)) for i in (1, 2)]
    versions = [fit(path, "kind", folder)[1]["sha256"][:12] for path in paths]
    assert fit(paths[1], "kind", folder)[1]["sha256"][:12] == versions[1]  # the same once more
    assert model.load(folder).version == versions[1]
    assert train.roll_back(folder) == versions[0]
    assert model.load(folder).version == versions[0]
    with pytest.raises(table.TableProblem):
        train.roll_back(folder)


# Guard and log


@pytest.mark.parametrize(
    "variable, value, name",
    [
        ("TRUSTED_NAMES", "a.example B.example", "b.example"),
        ("TRUSTED_NAMES", ".example", "deep.down.example"),
        ("RENDER_EXTERNAL_HOSTNAME", "x.onrender.com", "x.onrender.com"),
        ("SPACE_HOST", "me-app.hf.space", "me-app.hf.space"),
        ("FLY_APP_NAME", "mine", "mine.fly.dev"),
        ("WEBSITE_HOSTNAME", "m.azurewebsites.net", "m.azurewebsites.net"),
        ("PYTHONANYWHERE_DOMAIN", "pythonanywhere.com", "ana.pythonanywhere.com"),
    ],
)
def test_hosts_names_are_trusted(penguins, monkeypatch, variable, value, name):
    for each in (*guard.HOSTS, "TRUSTED_NAMES"):
        monkeypatch.delenv(each, raising=False)
    assert status_for(penguins, name) == 400
    monkeypatch.setenv(variable, value)
    assert status_for(penguins, name) == 200
    assert status_for(penguins, f"{name}.evil.test") == 400
    assert status_for(penguins, "127.0.0.1:8007") == status_for(penguins, "[::1]") == 200


def test_who_may_frame_the_app(penguins, monkeypatch):
    monkeypatch.delenv("SPACE_HOST", raising=False)
    headers = new_client(penguins).get("/").headers
    assert headers["Content-Security-Policy"].endswith("frame-ancestors 'none'")
    assert headers["X-Frame-Options"] == "DENY"
    monkeypatch.setenv("SPACE_HOST", "localhost")
    headers = new_client(penguins).get("/").headers
    assert "frame-ancestors https://huggingface.co" in headers["Content-Security-Policy"]
    assert "X-Frame-Options" not in headers
    monkeypatch.setenv("FRAME_ANCESTORS", "https://example.org")
    policy = new_client(penguins).get("/").headers["Content-Security-Policy"]
    assert policy.endswith("frame-ancestors https://example.org")


def test_the_log_has_one_line_of_json_for_each_prediction(penguins, tmp_path, capsys):
    place = tmp_path / "log"
    client = new_client(penguins, PREDICTION_LOG=str(place))
    client.post(API, json=[penguins.typical, penguins.typical | {"year": 2008}])
    client.post(API, json=penguins.typical | {"year": "x"})
    lines = [json.loads(line) for line in place.read_text("utf-8").splitlines()]
    assert [line["inputs"]["year"] for line in lines] == [penguins.typical["year"], 2008]
    assert set(lines[0]) >= {"time", "inputs", "prediction", "model_version"}
    new_client(penguins, PREDICTION_LOG="off").post(API, json=penguins.typical)
    assert capsys.readouterr().out == ""
    new_client(penguins, PREDICTION_LOG="").post(API, json=penguins.typical)
    assert json.loads(capsys.readouterr().out)["prediction"]
