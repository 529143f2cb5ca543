"""The learner's own apps in `work/apps`: names and ports, the commands, the gallery, the checks, the doctor.

Each test works in a copy of its own: `WORKSHOP_WORK`, which commands and checks look at.
"""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
import requests
from exercise_support import Copy, judge

from workshop import cli
from workshop.core.own_apps import (
    FIRST_PORT,
    PORTS,
    TYPED,
    NoSuchApp,
    OwnApp,
    check_name,
    find_app,
    own_apps,
)
from workshop.core.stages import BASE, find_stage
from workshop.host import gallery
from workshop.host.background import Server, serve
from workshop.host.ports import free_port
from workshop.learn import my_copy
from workshop.learn.catch_up import bring_typed, catch_up
from workshop.learn.exercises import slips
from workshop.setup.process import ROOT
from workshop.teach import doctor

SOLUTIONS = ROOT / "notebooks" / "solutions"
HELLO = (SOLUTIONS / "apps" / "hello" / "app.py").read_text(encoding="utf-8")
FACTORY = """from flask import Flask


def create_app():
    app = Flask(__name__)
    app.add_url_rule("/", view_func=lambda: "from a factory")
    return app
"""
FLOWER = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}


class Work:
    """A learner's copy that holds only what a test puts into it."""

    def __init__(self, root):
        self.root = root

    def write(self, name, text=HELLO):
        """Make the app `name`; return its file."""
        file = self.root / "apps" / name / "app.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return file

    def solve(self, number):
        """Make the change that the stored solution of an exercise has."""
        if not shutil.which("git"):
            pytest.skip("the solution is a diff, and there is no git here to apply it")
        subprocess.run(
            ["git", "apply", SOLUTIONS / f"{number}.diff"],
            cwd=self.root,
            env=os.environ | {"GIT_CEILING_DIRECTORIES": str(self.root.parent)},
            check=True,
        )


@pytest.fixture
def work(tmp_path, monkeypatch):
    root = tmp_path / "work"
    (root / "apps").mkdir(parents=True)
    monkeypatch.setenv(BASE, str(root))
    return Work(root)


@pytest.fixture(scope="module")
def iris(tmp_path_factory):
    """The folder of stage 04's app with its model, trained once."""
    root = tmp_path_factory.mktemp("iris")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(BASE, str(root))
        copy = Copy(root, "iris")
        subprocess.run([sys.executable, "-m", "workshop", "train", "04"], cwd=ROOT, check=True)
    return copy.app


@pytest.fixture
def with_model(work, iris):
    """A copy that holds stage 04's app with its model."""
    shutil.copytree(iris, work.root / "apps" / iris.name)
    return work


# Names and ports


@pytest.mark.parametrize("name", ["my", "wine-2026", "A_b", "x" * 40])
def test_a_name_of_letters_digits_and_two_signs(name):
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", "x" * 41, "my app", "ä", "../my", "a/b", "a.b", "my\n"])
def test_any_other_name_is_refused_in_a_sentence(name):
    with pytest.raises(NoSuchApp, match="use letters, digits, _ and -, at most 40 of them"):
        check_name(name)


@pytest.mark.parametrize("name", ["iris", "IRIS", "04_iris", "04", "4"])
def test_the_name_of_a_stage_is_refused(work, name):
    with pytest.raises(NoSuchApp, match="is the name of a stage"):
        check_name(name)
    work.write(name)
    assert own_apps() == []


def test_apps_are_found_beside_the_stages(work):
    for name in ("zoo", "my", "04_iris", "no app"):
        work.write(name)
    (work.root / "apps" / "empty").mkdir()
    assert [app.name for app in own_apps()] == ["my", "zoo"]
    assert find_app("my") == OwnApp("my")
    assert find_app("4") == find_stage("04")
    with pytest.raises(NoSuchApp, match=r"apps of your own: my, zoo .*work/apps/nix/app\.py"):
        find_app("nix")


def test_hello_is_the_learners_app_once_it_is_typed_and_stage_01_before(work):
    assert find_app("hello") == find_stage("01")
    work.write("hello")
    assert find_app("hello") == OwnApp("hello")
    assert find_app("01") == find_app("01_hello") == find_stage("01")


def test_an_app_keeps_the_port_it_got_first(work):
    for name in ("b", "a", "c"):
        work.write(name)
    assert OwnApp("b").port == FIRST_PORT == 8010
    assert OwnApp("a").port == 8011
    shutil.rmtree(work.root / "apps" / "b")
    assert (OwnApp("c").port, OwnApp("a").port) == (8012, 8011)
    (work.root / "apps" / PORTS).write_text("[torn", encoding="utf-8")
    assert OwnApp("a").port == FIRST_PORT


# The commands


def running(work, *command):
    """`python -m workshop COMMAND` with a free port, as a server."""
    port = free_port()
    return Server("an app", ["workshop", *command, "--port", port], f"http://127.0.0.1:{port}")


@pytest.mark.parametrize("command", [["app"], ["serve"], ["app", "--debug"]], ids=" ".join)
def test_a_command_runs_an_app(work, command):
    work.write("hello")
    name, *options = command
    with running(work, name, "hello", *options) as server:
        server.wait_until_ready()
        assert "Hello world" in requests.get(server.url, timeout=10).text


def test_an_app_may_be_made_by_a_factory_and_a_notebook_can_serve_it(work):
    work.write("made", FACTORY)
    with serve("made") as url:
        assert requests.get(url, timeout=10).text == "from a factory"


def test_two_apps_with_modules_of_the_same_name_run_side_by_side(work):
    for name in ("one", "two"):
        code = HELLO.replace('return f"', 'return f"{model.NAME}')
        folder = work.write(name, f"import model\n{code}").parent
        (folder / "model.py").write_text(f"NAME = {name!r}\n", encoding="utf-8")
    with serve("one") as first, serve("two") as second:
        assert requests.get(first, timeout=10).text.startswith("one")
        assert requests.get(second, timeout=10).text.startswith("two")


def test_a_command_for_an_app_that_is_not_there_lists_those_that_are(work, capsys, monkeypatch):
    monkeypatch.setattr(cli, "use_my_copy", lambda: None)
    work.write("my")
    assert cli.run(["app", "mine"]) == 2
    assert "apps of your own: my" in capsys.readouterr().err


# The gallery


def test_the_gallery_lists_the_apps_and_links_the_one_that_runs(work):
    work.write("my")
    work.write("other")
    (work.root / "apps" / PORTS).write_text(json.dumps({"my": free_port()}), encoding="utf-8")
    page = gallery.create_app({}).test_client().get("/").text
    assert "Your apps" in page
    assert "python3 -m workshop app my" in page
    assert "Open my" not in page
    with Server(
        "my", ["workshop", "app", "my", "--port", OwnApp("my").port],
        f"http://127.0.0.1:{OwnApp('my').port}",
    ) as server:  # fmt: skip
        server.wait_until_ready()
        page = gallery.create_app({}).test_client().get("/").text
    assert f'href="http://127.0.0.1:{OwnApp("my").port}/">Open my' in page
    assert "Open other" not in page


def test_the_gallery_never_imports_an_app(work):
    """What a learner's file does at import must not stop the room."""
    mark = work.root / "imported"
    work.write("endless", f"open({str(mark)!r}, 'w').close()\nwhile True:\n    pass\n")
    work.write("ends", f"open({str(mark)!r}, 'w').close()\nraise SystemExit\n")
    page = gallery.create_app({}).test_client().get("/")
    assert page.status_code == 200
    assert "python3 -m workshop app endless" in page.text
    assert not mark.exists()


# The exercises


def test_an_app_not_typed_yet_is_not_solved_yet(work):
    judge("01.4", "not yet", r"apps/hello/app\.py.*Saved\?")
    judge("04.4", "not yet", r"apps/my/app\.py")


@pytest.mark.parametrize(
    ("place", "hint"),
    [
        (
            "apps/hello/untitled.txt",
            r"holds `untitled\.txt`, but the file must be called `app\.py`",
        ),
        ("apps/hello/app.py.txt", r"holds `app\.py\.txt`"),
        ("apps/hello/hello.py", r"holds `hello\.py`"),
        ("apps/app.py", r"your file is `apps/app\.py`, but it must be `apps/hello/app\.py`"),
        ("notebooks/app.py", r"your file is `notebooks/app\.py`"),
        ("notebooks/hello/app.py", r"your file is `notebooks/hello/app\.py`"),
        ("apps/01_hello/hello/app.py", r"your file is `apps/01_hello/hello/app\.py`"),
        ("apps/Untitled Folder/app.py", r"your file is `apps/Untitled Folder/app\.py`"),
    ],
)
def test_a_file_in_the_wrong_place_is_named(work, place, hint):
    file = work.root / place
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(HELLO, encoding="utf-8")
    judge("01.4", "wrong", hint)


def test_the_solutions_in_the_copy_are_not_taken_for_a_file_in_the_wrong_place(work):
    shutil.copytree(SOLUTIONS, work.root / "notebooks" / "solutions")
    assert slips.misplaced(OwnApp("hello")) is None


def test_the_ten_lines_want_a_greeting_and_the_stored_solution_has_it(work):
    work.write("hello")
    judge("01.4", "not yet")
    work.solve("01.4")
    judge("01.4", "solved")


GREETING = """

@app.get("/hello/<string:name>")
def hello(name):
    return f"<h1>Hello {escape(name)}</h1>"
"""
GREETS = "from markupsafe import escape\n" + HELLO + GREETING
GREETING_SLIPS = {
    "no app": ("app = Flask(__name__)", "", r"line \d+, uses `app`, but no line above it makes one"),
    "another name": ("app = Flask", "ap = Flask", r"line \d+, uses `app`"),
    "no return": (
        'return f"<h1>Hello {escape(name)}</h1>"',
        'f"<h1>Hello {escape(name)}</h1>"',
        "The view `hello` returns nothing",
    ),
    "no f": ('return f"<h1>Hello {', 'return "<h1>Hello {', "Put an `f` before the quote"),
    "not escaped": ("{escape(name)}", "{name}", "comes out bold"),
    "escape not imported": ("from markupsafe import escape\n", "", "NameError: name 'escape'"),
    "no argument": ("def hello(name)", "def hello()", "needs an argument of that name"),
    "the same greeting": ("Hello {escape(name)}", "Hello Ada", "must show Grace"),
    "another address": ("/hello/<string:name>", "/hello", "nothing answers /hello/Ada"),
    "not indented": ("    return f\"<h1>Hello {", "return f\"<h1>Hello {", "Python can't read"),
    "no first page": ('@app.get("/")', '@app.get("/first")', "first page is gone"),
}  # fmt: skip


@pytest.mark.parametrize("slip", GREETING_SLIPS)
def test_a_slip_in_the_greeting_gets_its_hint(work, slip):
    old, new, hint = GREETING_SLIPS[slip]
    assert old in GREETS
    work.write("hello", GREETS.replace(old, new))
    judge("01.4", "wrong", hint)


@pytest.fixture
def mine(with_model):
    """The app of notebook 04, typed as it is shown, with its model; returns the copy and the file."""
    list(bring_typed("my", fresh=False))
    return with_model, OwnApp("my").app_file


def test_the_typed_app_predicts_and_the_stored_solution_refuses_words(mine):
    work, _ = mine
    with serve("my") as url:
        page = requests.post(url, data=FLOWER, timeout=30)
        reply = requests.post(f"{url}/api/predict", json=FLOWER, timeout=30)
        crashed = requests.post(url, data=FLOWER | {"petal_width": "abc"}, timeout=30)
    assert "<h1>setosa</h1>" in page.text
    assert reply.json() == {"species": "setosa"}
    assert crashed.status_code == 500, "the notebook promises it"
    judge("04.4", "wrong", r"`abc` crashes it.*apps/my/app\.py, line \d+: ValueError")
    work.solve("04.4")
    judge("04.4", "solved")


@pytest.mark.parametrize(
    ("old", "new", "hint"),
    [
        ('"/api/predict"', '"/api"', "nothing answers POST /api/predict"),
        ("/iris.joblib", "/irises.joblib", r"line \d+, opens the file irises\.joblib"),
        ("    answer = predict", "    predict", "crashes.*answer"),
        ("float(values[name])", "0.0", r"setosa doesn't answer setosa|virginica doesn't answer"),
        ('methods=["GET", "POST"]', 'methods=["GET"]', "nothing answers POST /"),
    ],
)
def test_a_slip_in_the_app_with_a_model_gets_its_hint(mine, old, new, hint):
    work, file = mine
    text = file.read_text(encoding="utf-8")
    assert old in text
    work.write("my", text.replace(old, new))
    judge("04.4", "wrong", hint)


# catch-up


@pytest.mark.parametrize("name", TYPED)
def test_catch_up_brings_a_typed_app_and_keeps_the_learners(with_model, name):
    told = "\n".join(bring_typed(name, fresh=False))
    assert "as the notebook of stage" in told
    file = OwnApp(name).app_file
    assert file.read_bytes() == (SOLUTIONS / "apps" / name / "app.py").read_bytes()
    assert (file.parent / "iris.joblib").exists() == (name == "my")
    file.write_text("mine", encoding="utf-8")
    list(bring_typed(name, fresh=False))
    assert file.read_text(encoding="utf-8") == "mine"


def test_fresh_sets_the_learners_file_aside(work):
    file = work.write("hello", "mine")
    told = "\n".join(bring_typed("hello", fresh=True))
    assert file.read_text(encoding="utf-8") == HELLO
    aside = re.search(r"set aside in (.+)", told)[1]
    [kept] = work.root.glob("aside/*/apps/hello/app.py")
    assert str(kept).startswith(aside)
    assert kept.read_text(encoding="utf-8") == "mine"
    assert list(bring_typed("hello", fresh=True)) == [
        "  apps/hello/app.py: it is there, so it stays as it is"
    ]


def test_a_later_stage_brings_what_the_stages_before_it_have_typed(with_model):
    my_copy.bring_up_to_date(with_model.root)
    mine = with_model.write("hello", "mine")
    told = "\n".join(catch_up(find_stage("05"), fresh=False))
    assert mine.read_text(encoding="utf-8") == "mine"
    assert OwnApp("my").app_file.exists()
    assert "apps/my/iris.joblib" in told
    assert "apps/hello" not in told


def test_an_earlier_stage_brings_nothing_that_comes_later(work):
    my_copy.bring_up_to_date(work.root)
    list(catch_up(find_stage("04"), fresh=False))
    assert OwnApp("hello").app_file.exists()
    assert not OwnApp("my").app_file.exists()


def test_the_command_brings_an_app(work, capsys):
    assert cli.run(["catch-up", "hello"]) == 0
    assert OwnApp("hello").app_file.exists()
    assert cli.run(["catch-up", "nix"]) == 2
    assert "there is no stage 'nix'" in capsys.readouterr().err


def test_in_the_repository_itself_no_app_is_brought(monkeypatch, capsys):
    monkeypatch.setenv(BASE, str(ROOT))
    assert cli.run(["catch-up", "hello"]) == 1
    assert "names the repository itself" in capsys.readouterr().err
    assert not (ROOT / "apps" / "hello").exists()


def test_what_a_run_in_the_repository_leaves_comes_into_no_copy(monkeypatch, tmp_path):
    for place in ("apps/my/iris.joblib", f"apps/{PORTS}", "apps/01_hello/app.py"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).touch()
    monkeypatch.setattr(my_copy, "ROOT", tmp_path)
    monkeypatch.setattr(my_copy, "COPIED", ("apps",))
    assert [path.as_posix() for path in my_copy.originals()] == ["apps/01_hello/app.py"]


# The doctor


def test_the_doctor_tries_each_app_in_a_process_of_its_own(work, monkeypatch):
    monkeypatch.setattr(doctor, "STAGE_LIMIT", 8)
    work.write("good")
    work.write("bare", "from flask import Flask\napp = Flask(__name__)\n")
    work.write("hello", HELLO.replace("Flask(__name__)", "Flask(__name__"))
    work.write("endless", "while True:\n    pass\n")
    work.write("ends", "import os\nos._exit(0)\n")
    found = {finding.text.partition(":")[0]: finding for finding in doctor.your_apps()}
    assert len(found) == 5
    assert found["good"].well and not found["good"].note
    assert found["bare"].well and found["bare"].note
    assert not found["endless"].well
    assert "apps/endless/app.py, line" in found["endless"].text
    assert "its code ended Python" in found["ends"].text
    [broken] = [finding for text, finding in found.items() if "hello" in text]
    assert re.search(r"app\.py, line \d: SyntaxError.* catch-up hello --fresh$", broken.text)


def test_modules_of_the_same_name_do_not_meet_in_the_doctor(work):
    for name in ("one", "two"):
        code = f"import model\nassert model.NAME == {name!r}\n{HELLO}"
        folder = work.write(name, code).parent
        (folder / "model.py").write_text(f"NAME = {name!r}\n", encoding="utf-8")
    assert all(finding.well for finding in doctor.your_apps())


def test_without_an_app_the_doctor_says_nothing_of_any(work):
    assert list(doctor.your_apps()) == []
