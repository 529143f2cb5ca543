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
ROUTE = '@app.route("/books", methods=["GET", "POST"])'


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
        ("/books", ROUTE, '    return "both"'),
        ("create_app", "def create_app():", "    return app"),
    ],
)
def test_shows_a_part_of_a_python_file(folder, name, first, last):
    lines = str(show("app.py", name)).splitlines()
    assert (lines[0], lines[-1]) == (first, last)


def test_shows_blocks_and_macros_of_a_template(folder):
    assert str(show("page.html", "field")).splitlines()[0] == "{% macro field(name) %}"
    assert str(show("page.html", "main")).count("\n") == 2
    assert str(show("page.html", "inner")) == "{% block inner %}<p>inner</p>{% endblock inner %}"
    stray = template_parts("{% endblock %}\n{% block a %}x{% endblock %}")
    assert stray == {"a": "{% block a %}x{% endblock %}"}


def test_shows_a_whole_file_highlighted_and_plain(folder):
    shown = show("app.py")
    assert str(shown) == PYTHON.rstrip()
    assert shown._repr_markdown_() == f"```python\n{PYTHON.rstrip()}\n```"
    (folder / "notes.md").write_text("```\ncode\n```", encoding="utf-8")
    assert show("notes.md")._repr_markdown_().startswith("````text\n")


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (("app.py", "nope"), ["'nope'", "Shelf, Shelf.add, create_app"]),
        (("page.html", "nope"), ["field, inner, main"]),
        (("ap.py",), ["ap.py", "app.py, page.html"]),
        (("nowhere/app.py",), ["nowhere/app.py"]),
    ],
)
def test_what_is_not_there_is_a_sentence_that_lists_what_is(folder, asked, words):
    with pytest.raises(NotShown) as error:
        show(*asked)
    assert all(word in str(error.value) for word in words)
    assert error.value._render_traceback_() == [f"NotShown: {error.value}"], "all that is displayed"


def test_a_slip_in_the_file_is_named_with_its_line(folder):
    (folder / "app.py").write_text("x = 1\n\n\ndef broken()\n    return x\n", encoding="utf-8")
    with pytest.raises(NotShown, match=r"app\.py, line 4 \(expected ':'\)"):
        show("app.py", "broken")
    assert "def broken()" in str(show("app.py")), "the whole file can still be shown"


def test_the_shown_source_of_an_app_is_in_its_file():
    shown = str(show("apps/04_iris/iris_model.py", "build_pipeline"))
    assert shown in (ROOT / "apps/04_iris/iris_model.py").read_text(encoding="utf-8")
