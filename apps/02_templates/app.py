"""Stage 02: pages made from templates.

This stage teaches how a route passes values to a template, and how Jinja makes a page from both;
loops, conditions and filters; one frame for all pages; and how what a visitor types is shown, never
run. Run it in this folder with `flask --app app.py run`.
"""

from datetime import date

from flask import Flask, Response, render_template, request
from werkzeug.exceptions import HTTPException

NAMES = "Ada, Grace, Katherine, Alan"
DAYS = {str(day): day for day in range(1, 32)}  # what people may type, and the day it means


def create_app(config: dict | None = None) -> Flask:
    """Return the app. `config` overrides settings: TODAY is a function that returns a date."""
    app = Flask(__name__)
    app.config.from_mapping(TODAY=date.today)
    app.config.from_mapping(config)
    app.add_template_filter(ordinal)

    @app.get("/")
    def index() -> str:
        """A page that needs no values, only its template."""
        return render_template("index.html")

    @app.get("/heading")
    def heading() -> str:
        """One value, passed from Python to the template by name."""
        return render_template("heading.html", heading="This heading comes from Python")

    @app.get("/extend")
    def extend() -> str:
        """A page that fills the blocks of base.html."""
        return render_template("extend.html")

    @app.get("/list")
    def list_names() -> str:
        """A loop over names. `?names=Ada,Grace` chooses them; `?names=` gives none."""
        typed = request.args.get("names", NAMES)
        names = [name.strip() for name in typed.split(",") if name.strip()]
        return render_template("list.html", names=names, typed=typed)

    @app.get("/condition")
    def condition() -> str | tuple[str, int]:
        """Where to park today, or on `?day=1` to `?day=31`."""
        typed = request.args.get("day")
        if typed is None:
            day = app.config["TODAY"]().day
            return render_template("condition.html", day=day, when="Today", typed=day)
        day = DAYS.get(typed.strip())
        status = 200 if day else 400
        return render_template("condition.html", day=day, when="That day", typed=typed), status

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> Response:
        """Return every error, even a crash (500), as a page that says what to do."""
        response = error.get_response()  # keeps headers such as the Allow of a 405
        response.data = render_template("error.html", error=error)
        return response

    return app


def ordinal(number: int) -> str:
    """Return a whole number as an English ordinal: `1st`, `2nd`, `3rd`, `4th`, `11th`."""
    endings = {1: "st", 2: "nd", 3: "rd"}
    is_teen = number % 100 in (11, 12, 13)
    ending = "th" if is_teen else endings.get(number % 10, "th")
    return f"{number}{ending}"
