"""`show` displays the source that is really in the file."""

import pytest

from workshop import show
from workshop.learn.show import NotShown, template_parts
from workshop.setup.process import ROOT

PYTHON = '''\
import flask


class Shelf:
    """Holds books."""

    def add(self, book):
        return book


def create_app():
    app = flask.Flask(__name__)

    @app.get("/")
    def index():
        return "first"

    @app.route("/books", methods=["GET", "POST"])
    @app.get("/shelf")
    def books():
        return "both"

    return app
'''

TEMPLATE = """\
{% macro field(name) %}
<input name="{{ name }}">
{% endmacro %}
{% block main %}
  {% block inner %}<p>inner</p>{% endblock inner %}
{% endblock %}
"""


@pytest.fixture
def folder(monkeypatch, tmp_path):
    monkeypatch.setenv("WORKSHOP_WORK", str(tmp_path))
    (tmp_path / "app.py").write_text(PYTHON, encoding="utf-8")
    (tmp_path / "page.html").write_text(TEMPLATE, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("Shelf", "class Shelf:", "        return book"),
        ("Shelf.add", "def add(self, book):", "    return book"),
        ("index", '@app.get("/")', '    return "first"'),
        ("/", '@app.get("/")', '    return "first"'),
        ("/books", '@app.route("/books", methods=["GET", "POST"])', '    return "both"'),
        ("POST /books", '@app.route("/books", methods=["GET", "POST"])', '    return "both"'),
        ("GET /shelf", '@app.route("/books", methods=["GET", "POST"])', '    return "both"'),
        ("create_app", "def create_app():", "    return app"),
    ],
)
def test_shows_a_part_of_a_python_file(folder, name, first, last):
    lines = str(show("app.py", name)).splitlines()
    assert lines[0] == first
    assert lines[-1] == last


def test_shows_blocks_and_macros_of_a_template(folder):
    assert str(show("page.html", "field")).splitlines()[0] == "{% macro field(name) %}"
    assert str(show("page.html", "main")).count("\n") == 2
    assert str(show("page.html", "inner")) == "{% block inner %}<p>inner</p>{% endblock inner %}"


def test_a_template_with_a_stray_end_tag_is_still_read():
    assert template_parts("{% endblock %}\n{% block a %}x{% endblock %}") == {
        "a": "{% block a %}x{% endblock %}"
    }


def test_shows_a_whole_file_highlighted_and_plain(folder):
    shown = show("app.py")
    assert str(shown) == PYTHON.rstrip()
    assert shown._repr_markdown_() == f"```python\n{PYTHON.rstrip()}\n```"


def test_a_fence_in_the_source_does_not_end_the_highlighting(folder):
    (folder / "notes.md").write_text("```\ncode\n```", encoding="utf-8")
    assert show("notes.md")._repr_markdown_().startswith("````text\n")


def test_a_name_that_is_not_there_lists_those_that_are(folder):
    with pytest.raises(
        NotShown, match=r"no 'nope' in app\.py; it has Shelf, Shelf\.add, create_app"
    ):
        show("app.py", "nope")
    with pytest.raises(NotShown, match="it has field, inner, main"):
        show("page.html", "nope")


def test_a_file_that_is_not_there_lists_its_neighbours(folder):
    with pytest.raises(NotShown, match=r"no file ap\.py; \. holds app\.py, page\.html"):
        show("ap.py")
    with pytest.raises(NotShown, match=r"no file nowhere/app\.py"):
        show("nowhere/app.py")


def test_a_slip_in_the_file_is_named_with_its_line(folder):
    (folder / "app.py").write_text("x = 1\n\n\ndef broken()\n    return x\n", encoding="utf-8")
    with pytest.raises(NotShown) as error:
        show("app.py", "broken")
    assert str(error.value).startswith("Python can't read app.py, line 4 (expected ':'): mend that")
    assert "def broken()" in str(show("app.py")), "the whole file can still be shown"


def test_a_notebook_shows_the_sentence_without_a_traceback():
    error = NotShown("there is no file x")
    assert error._render_traceback_() == ["NotShown: there is no file x"]


def test_the_shown_source_of_an_app_stands_in_its_file():
    shown = str(show("apps/04_iris/iris_model.py", "build_pipeline"))
    assert shown in (ROOT / "apps/04_iris/iris_model.py").read_text(encoding="utf-8")
