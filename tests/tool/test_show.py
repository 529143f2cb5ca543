"""`show` displays the source that is really in the file."""

import pytest

from workshop import show
from workshop.learn.show import NotShown

PYTHON = """\
import flask


class Shelf:
    def add(self, book):
        return book


def create_app():
    app = flask.Flask(__name__)

    @app.route("/books", methods=["GET", "POST"])
    @app.get("/shelf")
    def books():
        return "both"

    return app
"""
TEMPLATE = """\
{% macro field(name) %}
<input name="{{ name }}">
{% endmacro %}
{% block main %}
  {% block inner %}<p>inner</p>{% endblock inner %}
{% endblock %}
"""
INNER = "{% block inner %}<p>inner</p>{% endblock inner %}"
ROUTE = '@app.route("/books", methods=["GET", "POST"])'


@pytest.fixture
def folder(monkeypatch, tmp_path):
    monkeypatch.setenv("WORKSHOP_WORK", str(tmp_path))
    (tmp_path / "app.py").write_text(PYTHON, encoding="utf-8")
    (tmp_path / "page.html").write_text(TEMPLATE, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("file", "name", "first", "last"),
    [
        ("app.py", "Shelf", "class Shelf:", "        return book"),
        ("app.py", "Shelf.add", "def add(self, book):", "    return book"),
        ("app.py", "/shelf", ROUTE, '    return "both"'),
        ("app.py", "create_app", "def create_app():", "    return app"),
        ("page.html", "field", "{% macro field(name) %}", "{% endmacro %}"),
        ("page.html", "inner", INNER, INNER),
    ],
)
def test_shows_a_part_of_a_file(folder, file, name, first, last):
    lines = str(show(file, name)).splitlines()
    assert (lines[0], lines[-1]) == (first, last)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (("app.py", "nope"), ["'nope'", "Shelf, Shelf.add, create_app"]),
        (("page.html", "nope"), ["field, inner, main"]),
        (("ap.py",), ["ap.py", "app.py, page.html"]),
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
