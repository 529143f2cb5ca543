"""Stage 03: a program that asked at the keyboard, now a web app.

What this stage teaches: the calculation lives in functions of its own (`primes.py`), and the app
does what `input()` and `print()` did in `prime_script.py`. A form asks, a page answers; what was
typed is never trusted, and a mistake brings the form back with a message. The same functions also
answer programs, as JSON.

Run it in this folder with `flask --app app.py run`.
"""

from math import isqrt
from typing import Any

from flask import Flask, Response, jsonify, redirect, render_template, request, url_for
from werkzeug.exceptions import HTTPException, UnprocessableEntity
from werkzeug.http import HTTP_STATUS_CODES

from prime_forms import RANGE, CappedIntConverter, NumberForm
from prime_guard import guard
from primes import LARGEST, is_prime, smallest_factor


def create_app(config: dict[str, Any] | None = None) -> Flask:
    """Return the app. `config` overrides settings, such as TESTING in a test."""
    app = Flask(__name__)
    app.config.from_mapping(MAX_CONTENT_LENGTH=64 * 1024)
    app.config.from_mapping(config)
    guard(app)
    app.json.sort_keys = False
    app.url_map.converters["int"] = CappedIntConverter

    @app.get("/")
    def index() -> str:
        """The form: what `input()` was."""
        return render_template("index.html", form=NumberForm(None))

    @app.get("/prime")
    def prime_nothing() -> Response:
        """Whoever reloads or bookmarks the answer's address gets the form."""
        return redirect(url_for("index"))

    @app.post("/prime")
    def prime() -> str | tuple[str, int]:
        """The answer as a page: what `print()` was; or the form again, saying what is wrong."""
        form = NumberForm(request.form)
        if not form.validate():
            return render_template("index.html", form=form), 422
        number = form.number.data
        factor = smallest_factor(number)
        return render_template("answer.html", number=number, factor=factor, root=isqrt(number))

    @app.get("/api/prime/<int:number>")
    def prime_api(number: int) -> dict[str, Any]:
        """The answer as JSON. Below 2 there is no smallest factor: it is null."""
        if number > LARGEST:
            raise UnprocessableEntity(f"This number is too large. Ask for a whole number {RANGE}.")
        return {
            "number": number,
            "is_prime": is_prime(number),
            "smallest_factor": smallest_factor(number),
        }

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> Response:
        """Every error, a crash (500) included: JSON for the API, a page for people."""
        response = error.get_response()  # keeps headers such as the Allow of a 405
        if request.path.startswith("/api/"):
            details = problem_details(error)
            response.data, response.content_type = details.data, details.content_type
        else:
            response.data = render_template("error.html", error=error)
        return response

    return app


def problem_details(error: HTTPException) -> Response:
    """Return an error in the form of RFC 9457, `application/problem+json`."""
    detail = error.description
    if error.code == 404:
        detail = f"Nothing is at this address. Ask /api/prime/NUMBER with a whole number {RANGE}."
    title = HTTP_STATUS_CODES[error.code]
    response = jsonify(title=title, status=error.code, detail=detail, errors=[])
    response.content_type = "application/problem+json"
    return response
