"""Stage 03: a program that asked at the keyboard, now a web app.

What this stage teaches: the calculation has its own functions (`primes.py`), and the app does what
`input()` and `print()` did in `prime_script.py`. A form asks, a page answers. Input is never
trusted: after a mistake, the form comes back with a message. The same functions also answer
programs, as JSON. Run it in this folder with `flask --app app.py run`.
"""

from math import isqrt

from flask import Flask, Response, abort, jsonify, redirect, render_template, request, url_for
from werkzeug.exceptions import HTTPException
from werkzeug.http import HTTP_STATUS_CODES

from prime_forms import RANGE, NumberForm, capped_int
from primes import LARGEST, is_prime, smallest_factor


def create_app(config: dict | None = None) -> Flask:
    """Return the app. `config` overrides settings, such as TESTING in a test."""
    app = Flask(__name__)
    app.config.from_mapping(MAX_CONTENT_LENGTH=64 * 1024)  # bytes
    app.config.from_mapping(config)
    app.json.sort_keys = False

    @app.get("/")
    def index() -> str:
        """Show the form, which replaces `input()`."""
        return render_template("index.html", form=NumberForm(None))

    @app.get("/prime")
    def prime_nothing() -> Response:
        """Send anyone who opens the answer's address directly, from a bookmark say, to the form."""
        return redirect(url_for("index"))

    @app.post("/prime")
    def prime() -> str | tuple[str, int]:
        """Show the answer, which replaces `print()`, or the form again with what is wrong."""
        form = NumberForm(request.form)
        if not form.validate():
            return render_template("index.html", form=form), 422
        number = form.number.data
        factor = smallest_factor(number)
        return render_template("answer.html", number=number, factor=factor, root=isqrt(number))

    @app.get("/api/prime/<digits>")
    def prime_api(digits: str) -> dict[str, int | bool | None]:
        """Return the answer as JSON. A number below 2 has no smallest factor: it is null."""
        if not digits.isdecimal():
            abort(404)
        number = capped_int(digits)
        if number > LARGEST:
            abort(422, f"This number is too large. Send a whole number {RANGE}.")
        return {
            "number": number,
            "is_prime": is_prime(number),
            "smallest_factor": smallest_factor(number),
        }

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> Response:
        """Return every error, even a crash (500): as JSON for the API, as a page for people."""
        response = error.get_response()  # keeps headers such as the Allow of a 405
        if asked_by_api():
            detail = error.description
            if error.code == 404:
                detail = f"There's nothing here. Use /api/prime/NUMBER with a whole number {RANGE}."
            problem = problem_details(error.code, detail)
            response.data, response.content_type = problem.data, problem.content_type
        else:
            response.data = render_template("error.html", error=error)
        return response

    return app


def asked_by_api() -> bool:
    """Return whether the current request is for the JSON API."""
    return request.path.startswith("/api/")


def problem_details(status: int, detail: str) -> Response:
    """Return an error in the format of RFC 9457, `application/problem+json`."""
    response = jsonify(title=HTTP_STATUS_CODES[status], status=status, detail=detail, errors=[])
    response.status, response.content_type = status, "application/problem+json"
    return response
