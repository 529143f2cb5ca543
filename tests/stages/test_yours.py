"""Stage 07: any table becomes an app whose form and API answer."""
# ruff: noqa: S311 (tables for tests)

import csv
import html
import itertools
import json
import random
import re
import shlex
import shutil
from urllib.parse import quote, urlsplit

import pandas as pd
import pytest
import yours_support as yours
from app_support import problem
from yours_support import API, HEADER, PENGUINS, fit, make, plain_rows, write


def as_text(path, encoding="utf-8", delimiter=","):
    """Return the rows as a program reads them that knows nothing of types."""
    with path.open(encoding=encoding, newline="") as file:
        return list(csv.DictReader(file, delimiter=delimiter))


def accepts(made, rows):
    """Every row gets a prediction, in lists as long as the API takes."""
    for start in range(0, len(rows), 1000):
        answer = made.ask(rows[start : start + 1000])
        assert answer.status_code == 200, answer.get_json()["errors"][:3]
    assert made.client.get("/model").status_code == 200
    assert made.post_form().status_code == 200


def accepts_from_pandas(made, path, **how):
    """Every row gets a prediction as pandas makes JSON of it."""
    accepts(made, json.loads(pd.read_csv(path, **how).to_json(orient="records")))


def new_client(made, **settings):
    settings = {"MODEL_FOLDER": made.folder, "PREDICTION_LOG": "off"} | settings
    return yours.app.create_app(settings).test_client()


@pytest.fixture(scope="module")
def penguins(tmp_path_factory):
    return make(shutil.copy(PENGUINS, tmp_path_factory.mktemp("penguins") / "p.csv"), "species")


@pytest.fixture(scope="module")
def mass(tmp_path_factory):
    return make(shutil.copy(PENGUINS, tmp_path_factory.mktemp("mass") / "p.csv"), "body_mass_g")


# Tables as people have them


@pytest.mark.parametrize(("encoding", "delimiter"), [("utf-8-sig", ";"), ("utf-16", "\t")])
def test_european_tables_in_any_encoding(tmp_path, encoding, delimiter):
    draw = random.Random(1)
    rows = []
    for number in range(1, 81):
        sales = f"{draw.uniform(1000, 99999):,.2f}".translate(str.maketrans(",.", ".,"))
        rows.append([number, sales, f"{number % 7},5 %", draw.choice(["Größe A", "Größe B"])])
    header = ["Nr", "Umsatz €", "Anteil", "Klasse"]
    path = write(tmp_path / "t.csv", header, rows, encoding, delimiter)
    made = make(path, "Klasse")
    assert set(made.card["left_out"]) == {"Nr"}
    assert made.features["Umsatz €"]["low"] > 1000
    assert made.features["Anteil"]["unit"] == "%"
    assert made.card["target"]["words"] == ["Größe A", "Größe B"]
    accepts(made, as_text(path, encoding, delimiter))
    how = {"encoding": encoding, "sep": delimiter, "decimal": ",", "thousands": "."}
    accepts_from_pandas(made, path, **how)


@pytest.fixture(scope="module")
def money(tmp_path_factory):
    """A table of prices, with an index, accountants' minus signs, booleans of two kinds and gaps."""
    draw = random.Random(2)
    rows = []
    for number in range(150):
        price, net = draw.lognormvariate(8, 1.2), draw.gauss(0, 2000)
        row = [number, f"${price:,.2f}", f"({-net:,.0f})" if net < 0 else f"{net:,.0f}"]
        row += [draw.choice(["True", "False"]), draw.choice(["0", "1"])]
        row += [draw.choice(["a", "b", "NA", "None", "-", "?", "", "n/a"])]
        row += [f"{draw.gauss(5, 1):.2f}" if number % 9 else "--"]
        rows.append([*row, f"{price * draw.lognormvariate(0, 0.3):.2f}"])
    header = ["", "price", "net", "is new", "flag", "grade", "score", "model_dump"]
    return write(tmp_path_factory.mktemp("money") / "t.csv", header, rows)


def test_money_booleans_gaps_and_an_index_column(money):
    made = make(money, "model_dump")
    assert made.features["price"]["unit"] == "$"
    assert made.features["net"]["low"] < -3000
    assert made.features["grade"]["words"] == ["a", "b"]
    assert made.features["flag"]["words"] == ["0", "1"]
    assert [name for name in made.features if made.features[name]["gaps"]] == ["grade", "score"]
    accepts(made, as_text(money))
    accepts_from_pandas(made, money)
    for flag in (0, "0", False, " 0 "):
        assert made.ask(made.typical | {"flag": flag}).status_code == 200
    assert made.ask(made.typical | {"is new": "maybe"}).status_code == 422


def test_a_skewed_target_gets_an_interval_that_grows_with_it(money):
    made = make(money, "model_dump")
    assert made.card["interval"]["relative"]
    widths = []
    for price in (500, 30_000):
        answer = made.ask(made.typical | {"price": price}).json
        low, high = answer["interval"]
        assert 0 < low < answer["prediction"] < high
        widths.append(high - low)
    assert widths[0] < widths[1] / 3


def test_what_spreadsheets_and_r_add_to_a_table(tmp_path):
    plain = [",".join(row) for row in plain_rows(60)]
    head = ",".join(HEADER)
    for lines in (
        [f"{head},,,,,", *(f"{row},,,,," for row in plain), ",,,,,,,,"],
        [head, *(f"{row}," for row in plain)],
        [head, *(f"{number},{row}" for number, row in enumerate(plain))],
        ["SEP=,", head, *plain],
    ):
        (tmp_path / "t.csv").write_text("\n".join(lines))
        assert list(make(tmp_path / "t.csv", "kind").features) == HEADER[:3]


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
    words = ["rise", "id", "date", "free text", "empty", "different words", "same value", "asked"]
    assert all(word in reasons[name] for name, word in zip(header, words, strict=False))
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
    paths = ("/", "/model", "/api/v1/model", "/api/v1/openapi.json")
    public = "".join(made.client.get(path).text for path in paths)
    assert not re.search(r"Secret|Hidden|999\b", public.replace(made.card["sha256"], ""))
    assert made.card["target"]["words"] == ["x", "y"]
    assert "Left out: the rows of classes" in made.said
    accepts(made, as_text(path))
    assert made.ask({"n": 0, "w": "Secret"}).json["warnings"]


def test_small_tables_get_a_warning_and_large_ones_are_sampled(tmp_path, monkeypatch):
    rows = {"24": [*plain_rows(24)], "60": [*plain_rows(60)]}
    rows["901"] = [*plain_rows(900), ["", "1", "violet", "big"]]
    monkeypatch.setattr(yours.table, "MOST_ROWS", 300)
    paths = [write(tmp_path / f"{name}.csv", HEADER, some) for name, some in rows.items()]
    said = [make(path, "kind").said for path in paths]
    assert ["Warning" in each for each in said] == [True, False, False]
    assert ["drawn at random" in each for each in said] == [False, False, True]
    accepts(make(paths[2], "kind"), as_text(paths[2]))


def test_numbers_that_are_few_are_classes_unless_you_say_otherwise(tmp_path):
    draw = random.Random(7)
    rows = [[draw.random(), draw.randint(3, 8)] for _ in range(200)]
    path = write(tmp_path / "t.csv", ["x", "quality"], rows)
    assert make(path, "quality").card["target"]["words"] == ["3", "4", "5", "6", "7", "8"]
    made = make(path, "quality", task="numbers", kind="linear")
    assert made.card["estimator"] == "linear"
    assert "boosted" not in made.said.casefold()
    assert 3 < made.ask({"x": 0.5}).json["prediction"] < 8


GOOD = "a,b,t\n" + "".join(f"0.{i:02},{i % 7}.5,{'xy'[i % 2]}\n" for i in range(60))


ROW_3 = "0.01,1.5,y"
NO_TABLES = [
    (GOOD, "tt", 'no column "tt". The columns are: t, '),
    (GOOD.replace("x\n", "y\n"), "t", "Fewer than two"),
    ("a,t\n" + "".join(f"{i}.5,word{i}\n" for i in range(3000)), "t", "too many"),
    (GOOD[: GOOD.index("0.15")], "t", "Only 15 rows"),
    ("", "t", "empty"),
    (GOOD.replace("a,b,t", "a,a,t"), "t", "Repeated names: a"),
    (GOOD.replace(ROW_3, f"{ROW_3},7"), "t", "Line 3 has 4 cells"),
    ("Sales of 2026\n\n" + GOOD, "t", "title"),
    ("t\n" + "x\ny\n" * 40, "t", "one column"),
    (GOOD.replace(ROW_3, '0.01,1.5,"y'), "t", "Line 3 opens a quotation mark"),
    (b"PK\x03\x04 a workbook", "t", "not CSV"),
]


def test_what_is_no_table_is_refused_in_a_sentence(tmp_path):
    path, limit = tmp_path / "t.csv", csv.field_size_limit()
    for content, target, told in NO_TABLES:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(yours.table.TableProblem) as refused:
            fit(path, target, tmp_path / "model")
        assert csv.field_size_limit() == limit, "that is the whole process's"
        assert told in str(refused.value)
        assert "\n" not in str(refused.value)
        assert not (tmp_path / "model").exists()


NUMBERS = {
    ".": {"1,234.50": 1234.5, "1\u202f234": 1234, "1'234.5": 1234.5, "$1,234": 1234, "-€ 5": -5}
    | {"($1,234.50)": -1234.5, "5-": -5, "−5": -5, ".5": 0.5, "1e3": 1000},
    ",": {"1.234,50": 1234.5, "1 234,5": 1234.5},
}
NO_NUMBERS = ["1e999", "nan", "1_000", "12,34", "(5", "١٢", "2026-11-28"]


def test_numbers_as_people_write_them():
    for mark, texts in NUMBERS.items():
        assert {text: yours.table.number(text, mark) for text in texts} == texts
    assert [yours.table.number(text, ".") for text in NO_NUMBERS] == [None] * len(NO_NUMBERS)


# The API


def test_every_row_of_the_penguins_is_accepted_alone_and_in_lists(penguins, mass):
    for made in (penguins, mass):
        accepts(made, as_text(PENGUINS))
        accepts_from_pandas(made, PENGUINS)
    one = penguins.ask(penguins.typical).json
    many = penguins.ask([penguins.typical] * 3).json
    assert many == {"predictions": [one] * 3, "model_version": one["model_version"]}
    assert sum(one["probabilities"].values()) == pytest.approx(1)
    assert one["prediction"] == max(one["probabilities"], key=one["probabilities"].get)
    for rows in ([], [penguins.typical] * 1001):
        assert penguins.ask(rows).status_code == 422


def test_a_name_the_table_never_had_is_refused_and_the_nearest_is_named(penguins):
    row = penguins.typical
    row["bill_lenght_mm"] = row.pop("bill_length_mm")
    [error] = problem(penguins.ask([penguins.typical, row]), 422)["errors"]
    assert (error["index"], error["field"]) == (1, "bill_lenght_mm")
    assert '"bill_length_mm"' in error["message"]


def test_a_missing_name_is_a_gap_only_where_the_data_has_gaps(penguins):
    for name, feature in penguins.features.items():
        row = penguins.typical
        del row[name]
        for sent in (row, row | {name: None}, row | {name: "NA"}):
            answer = penguins.ask(sent)
            if feature["gaps"]:
                assert answer.status_code == 200
            else:
                assert problem(answer, 422)["errors"][0]["field"] == name


def test_answers_are_finite_or_refused(money):
    made = make(money, "model_dump")
    for name, value in itertools.product(("price", "net", "score"), (1e308, -1e18)):
        answer = made.ask(made.typical | {name: value})
        assert answer.status_code in (200, 422)
        assert not re.search("Infinity|NaN", answer.text)


# The pages


def test_the_form_keeps_what_was_typed_next_to_the_answer_and_warns(penguins, mass):
    answer = mass.post_form(bill_length_mm="39,1", sex="").text
    assert 'value="39,1"' in answer
    assert re.search(r'<data id="prediction" value="\d+\.\d+">', answer)
    answer = mass.post_form(bill_length_mm="long", year="")
    assert answer.status_code == 422
    assert 'value="long"' in answer.text
    assert answer.text.count('aria-invalid="true"') == 2
    assert "notice warning" not in penguins.post_form(body_mass_g="4000").text
    assert "notice warning" in penguins.post_form(body_mass_g="20000").text
    assert penguins.ask(penguins.typical | {"body_mass_g": 20000.0}).json["warnings"]


def drawn(page):
    """The points of the line, in the coordinates of the picture."""
    points = re.search(r'<polyline [^>]*points="([^"]*)"', page.text)[1].split()
    return [tuple(map(float, point.split(","))) for point in points]


def test_the_curve_is_what_the_api_answers_with_everything_else_as_it_is(penguins, mass):
    for made, fields in ((penguins, ("bill_length_mm", "year")), (mass, ("bill_depth_mm",))):
        for name, own in itertools.product(fields, ("", "17", "80")):
            row = made.typical | {name: float(own) if own else made.typical[name]}
            place, feature = [*made.features].index(name), made.features[name]
            page = made.post_form(**{name: str(row[name])}, over=f"f{place}")
            points, answer = drawn(page), made.ask(row).json
            low, high = sorted([feature["low"], feature["high"], row[name]])[::2]
            values = [low + (high - low) * x / 400 for x, _ in points]
            said = made.ask([row | {name: value} for value in values]).json["predictions"]
            if answer["probabilities"]:
                ends, heights = (0, 1), [x["probabilities"][answer["prediction"]] for x in said]
            else:
                heights, goal = [x["prediction"] for x in said], made.card["target"]
                ends = min(goal["low"], *heights), max(goal["high"], *heights)
            expected = [150 - 150 * (h - ends[0]) / (ends[1] - ends[0]) for h in heights]
            assert [y for _, y in points] == pytest.approx(expected, abs=0.5)
            at = re.search(r'<circle class="mark" cx="([\d.]+)" cy="([\d.]+)"', page.text)
            here = points.index(tuple(map(float, at.groups())))
            assert values[here] == pytest.approx(row[name], rel=1e-3)


def test_over_a_word_each_word_has_the_api_s_answer(penguins):
    page = penguins.post_form(over="f0").text
    figure = page[page.index('id="curve"') : page.index("</figure>")]
    said = re.search(r"Probability of (\w+)", figure)[1]
    shown = dict(re.findall(r"<span>(\w+).*?number\">([^<]+)", figure))
    for word in penguins.features["island"]["words"]:
        answer = penguins.ask(penguins.typical | {"island": word}).json
        assert shown[word] == yours.app.percent(answer["probabilities"][said])


def test_an_answer_can_be_shared_and_asked_again_in_any_terminal(tmp_path):
    draw, odd = random.Random(8), 'a "$HOME" `id` %PATH% \\ it\'s & <Größe>!'
    rows = [[draw.random(), draw.choice([odd, "plain"]), draw.choice("ab")] for _ in range(60)]
    made = make(write(tmp_path / "t.csv", ["x^|y", odd, "t"], rows), "t")
    row = {"x^|y": 0.25, odd: odd}
    page = made.post_form(**{name: str(value) for name, value in row.items()})
    texts = dict(re.findall(r'<code id="(\w+)">(.*?)</code>', page.text, re.DOTALL))
    texts = {name: html.unescape(text) for name, text in texts.items()}
    assert json.loads(texts["json"]) == made.ask(row).json
    *_, data, address = shlex.split(texts["curl"])
    assert json.loads(data) == row
    assert urlsplit(address).path == API
    sent = re.search(r"-Body '(.*)' http", texts["powershell"])[1]
    assert json.loads(sent) == row
    assert not set("'$`%!&|^<>") & set(sent)
    assert texts["json"] in html.unescape(made.client.get(texts["link"]).text)
    room = {"SCRIPT_NAME": "/07_yours", "workshop.room_url": "http://10.0.0.7:8000/07_yours"}
    room["workshop.qr_url"] = "/qr/07_yours.svg?path="
    page = html.unescape(made.client.get(texts["link"], environ_overrides=room).text)
    path = f"/predict?{urlsplit(texts['link']).query}"
    assert room["workshop.room_url"] + path in page
    assert f'src="{room["workshop.qr_url"]}{quote(path)}"' in page


def test_training_replaces_the_model_and_rollback_brings_it_back(tmp_path):
    folder = tmp_path / "model"
    paths = [write(tmp_path / f"{i}.csv", HEADER, plain_rows(60, seed=i)) for i in (1, 2)]
    versions = [fit(path, "kind", folder)[1]["sha256"][:12] for path in paths]
    assert fit(paths[1], "kind", folder)[1]["sha256"][:12] == versions[1]  # the same once more
    assert yours.model.load(folder).version == versions[1]
    assert yours.train.roll_back(folder) == versions[0]
    assert yours.model.load(folder).version == versions[0]
    with pytest.raises(yours.table.TableProblem):
        yours.train.roll_back(folder)


# Guard and log


NAMES = [
    ("TRUSTED_NAMES", "a.example B.example", "b.example"),
    ("RENDER_EXTERNAL_HOSTNAME", "x.onrender.com", "x.onrender.com"),
    ("FLY_APP_NAME", "mine", "mine.fly.dev"),
    ("PYTHONANYWHERE_DOMAIN", "pythonanywhere.com", "ana.pythonanywhere.com"),
]


@pytest.mark.parametrize(("variable", "value", "name"), NAMES)
def test_hosts_names_are_trusted(penguins, monkeypatch, variable, value, name):
    def status(host):
        return new_client(penguins).get("/healthz", headers={"Host": host}).status_code

    for each in (*yours.guard.HOSTS, "TRUSTED_NAMES"):
        monkeypatch.delenv(each, raising=False)
    assert status(name) == 400
    monkeypatch.setenv(variable, value)
    assert status(name) == status("127.0.0.1:8007") == status("[::1]") == 200
    assert status(f"{name}.evil.test") == 400


def test_who_may_frame_the_app(penguins, monkeypatch):
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
