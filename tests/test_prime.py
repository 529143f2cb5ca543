"""Stage 03: the script, the functions, the form and its answers, the API, the exercises' hints."""

import re
import subprocess
import sys
import threading
from math import isqrt

import pytest
from exercise_support import copy_of, judge  # noqa: F401
from flask.testing import FlaskClient
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import Client

from workshop import check
from workshop.core.stages import find_stage, load_app_module
from workshop.learn import exercises

# ruff: noqa: F811 (a fixture that is imported is asked for by its name)

prime_app = load_app_module("03_prime")
primes = sys.modules["primes"]

FOLDER = find_stage("prime").folder
PROBLEM = "application/problem+json"
LARGEST_PRIME = 999_999_999_989  # the largest one below 10**12
LARGEST_SQUARE = 999_983**2  # 999,983 is the largest prime number below 10**6


@pytest.fixture
def client() -> FlaskClient:
    return prime_app.create_app().test_client()


def heading(response) -> str:
    return re.search("<h1>(.*?)</h1>", response.text)[1]


def text(response) -> str:
    return " ".join(re.sub("<[^>]*>", " ", response.text).split())


# The script


def run_script(typed: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "prime_script.py"],
        cwd=FOLDER,
        input=typed,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        ("97", "97 is a prime number"),
        ("2", "2 is a prime number"),
        ("91", "91 = 7 * 13 so it is not a prime number"),
        ("4", "4 = 2 * 2 so it is not a prime number"),
        ("1", "1 is not a prime number"),
        ("0", "0 is not a prime number"),
        ("-7", "-7 is not a prime number"),
    ],
)
def test_the_script_works(typed, answer):
    done = run_script(typed + "\n")
    assert done.stdout.strip() == f"Enter a whole number: {answer}"
    assert done.returncode == 0


# The functions


def test_every_small_number_is_judged_as_its_divisors_say():
    for n in range(-10, 5_000):
        factors = [divisor for divisor in range(2, n + 1) if n % divisor == 0]
        assert primes.smallest_factor(n) == (factors[0] if factors else None)
        assert primes.is_prime(n) == (len(factors) == 1)


@pytest.mark.parametrize(
    ("n", "factor"),
    [
        (LARGEST_PRIME, LARGEST_PRIME),
        (LARGEST_SQUARE, 999_983),
        (999_961 * 999_983, 999_961),  # two primes beside the root: nearly all the work there is
        (1_000_003, 1_000_003),
        (10**12, 2),
        (10**12 - 1, 3),
        (10**12 - 10**6 + 7, None),
    ],
)
def test_large_numbers_have_their_smallest_factor(n, factor):
    found = primes.smallest_factor(n)
    assert n % found == 0
    assert all(found % divisor for divisor in range(2, isqrt(found) + 1))  # so it is a prime
    assert factor is None or found == factor
    assert primes.is_prime(n) == (found == n)


def test_an_answer_takes_at_most_a_third_of_a_million_divisions():
    class Counting(int):
        """A number that counts how often it is divided."""

        divisions = 0

        def __mod__(self, divisor):
            self.divisions += 1
            return int(self) % divisor

    n = Counting(LARGEST_PRIME)
    assert primes.smallest_factor(n) == LARGEST_PRIME
    assert n.divisions <= 333_334


def test_the_functions_ask_and_print_nothing(capsys):
    primes.is_prime(91)
    assert capsys.readouterr().out == ""


# The form


def test_the_start_page_is_a_form_with_a_label_and_a_hint(client):
    response = client.get("/")
    assert response.status_code == 200
    assert '<form class="panel" action="/prime" method="post">' in response.text
    assert '<label for="number">Your number</label>' in response.text
    assert 'id="number-hint">a whole number from 0 to 1,000,000,000,000<' in response.text
    field = re.search("<input[^>]*>", response.text)[0]
    for attribute in [
        'id="number"',
        'name="number"',
        'type="text"',
        'inputmode="numeric"',
        'value=""',
    ]:
        assert attribute in field
    assert 'aria-describedby="number-hint"' in field
    assert 'aria-invalid="false"' in field


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        ("97", "97 is a prime number"),
        ("91", "91 = 7 × 13, so it is not prime"),
        ("2", "2 is a prime number"),
        ("3", "3 is a prime number"),
        ("4", "4 = 2 × 2, so it is not prime"),
        ("194", "194 = 2 × 97, so it is not prime"),
        ("0", "0 is not a prime number"),
        ("1", "1 is not a prime number"),
        ("1000000000000", "1000000000000 = 2 × 500000000000, so it is not prime"),
        (str(LARGEST_PRIME), f"{LARGEST_PRIME} is a prime number"),
        (str(LARGEST_SQUARE), f"{LARGEST_SQUARE} = 999983 × 999983, so it is not prime"),
        (" 97 ", "97 is a prime number"),
        ("0097", "97 is a prime number"),
        ("0" * 5_000 + "97", "97 is a prime number"),
        ("0" * 5_000, "0 is not a prime number"),
        ("९७", "97 is a prime number"),
    ],
    ids=lambda value: value[:20],
)
def test_a_number_is_answered_with_a_page(client, typed, answer):
    response = client.post("/prime", data={"number": typed})
    assert response.status_code == 200
    assert heading(response) == answer
    assert f"<title>{answer}</title>" in response.text
    assert '<a class="button" href="/">Try another number</a>' in response.text


def test_zero_and_one_are_explained(client):
    assert "Zero has more than anyone can count" in text(
        client.post("/prime", data={"number": "0"})
    )
    assert "The number 1 has only one divisor" in text(client.post("/prime", data={"number": "1"}))


def test_the_answer_says_why(client):
    assert "nothing from 2 to 9 divides it" in text(client.post("/prime", data={"number": "97"}))
    assert "even 2 × 2 is more than 3" in text(client.post("/prime", data={"number": "3"}))
    assert "it goes into it 13 times" in text(client.post("/prime", data={"number": "91"}))


@pytest.mark.parametrize(
    ("number", "title"),
    [
        (91, "91 dots in rows of 13: they fill a rectangle of 7 × 13"),
        (97, "97 dots in rows of 9: the last row has only 7"),
        (4, "4 dots in rows of 2: they fill a rectangle of 2 × 2"),
        (5, "5 dots in rows of 2: the last row has only 1"),
    ],
)
def test_a_small_number_is_drawn_as_dots(client, number, title):
    response = client.post("/prime", data={"number": str(number)})
    assert response.text.count("<circle") == number
    assert title in text(response)
    assert 'role="img" aria-labelledby="dots-title"' in response.text


@pytest.mark.parametrize("number", [0, 1, 3, 194, 401, 10**12])
def test_a_number_that_makes_no_good_picture_has_none(client, number):
    assert "<svg" not in client.post("/prime", data={"number": str(number)}).text


EMPTY = "Enter a whole number, for example 91."
NO_NUMBER = "This is not a whole number. Enter digits alone, for example 91."
NOT_DIGITS = "Enter a whole number in digits alone: no point, comma, space or sign."
NEGATIVE = "Prime numbers are never negative. Enter a number from 0 to 1,000,000,000,000."
TOO_LARGE = "This number is too large for this page. Enter a number from 0 to 1,000,000,000,000."

MISTAKES = {
    "": EMPTY,
    "   ": EMPTY,
    "seven": NO_NUMBER,
    "97a": NO_NUMBER,
    "1e3": NO_NUMBER,
    "0x10": NO_NUMBER,
    "nan": NO_NUMBER,
    "--": NO_NUMBER,
    "²": NO_NUMBER,
    "9\x007": NO_NUMBER,
    "नमस्ते": NO_NUMBER,
    "<script>alert(1)</script>": NO_NUMBER,
    "9" * 60_000 + "x": NO_NUMBER,  # a pattern that backtracks would take minutes
    "3.5": NOT_DIGITS,
    "3,5": NOT_DIGITS,
    "97.0": NOT_DIGITS,
    "-3.5": NOT_DIGITS,
    "1,000": NOT_DIGITS,
    "1 000": NOT_DIGITS,
    "1_000": NOT_DIGITS,
    "+7": NOT_DIGITS,
    "-7": NEGATIVE,
    "−7": NEGATIVE,
    "-0": NEGATIVE,
    "-" + "9" * 5_000: NEGATIVE,
    "1000000000001": TOO_LARGE,
    "9" * 14: TOO_LARGE,
    "9" * 4_300: TOO_LARGE,
    "9" * 5_000: TOO_LARGE,
    "9" * 60_000: TOO_LARGE,
}


@pytest.mark.parametrize(("typed", "message"), MISTAKES.items(), ids=lambda value: value[:20])
def test_a_mistake_brings_the_form_back_with_a_message(client, typed, message):
    response = client.post("/prime", data={"number": typed})
    assert response.status_code == 422
    assert f'<p class="message" id="number-message">{message}</p>' in response.text
    assert response.text.count('class="message"') == 1
    field = re.search(r"<input[^>]*>", response.text)[0]
    kept = typed.replace("<", "&lt;").replace(">", "&gt;")
    assert f'value="{kept}"' in field
    assert 'aria-describedby="number-hint number-message"' in field
    assert 'aria-invalid="true"' in field
    assert "<title>Error: " in response.text


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"data": {"other": "97"}},
        {"json": {"number": 97}},
        {"data": b"\xff\x00%%%", "content_type": "application/x-www-form-urlencoded"},
        {"data": b"--x\r\nbroken", "content_type": "multipart/form-data; boundary=x"},
    ],
    ids=["nothing", "other field", "JSON", "bytes", "broken multipart"],
)
def test_a_body_without_a_number_brings_the_form_back(client, request_):
    response = client.post("/prime", **request_)
    assert response.status_code == 422
    assert EMPTY in response.text


def test_the_answers_address_leads_back_to_the_form(client):
    response = client.get("/prime")
    assert (response.status_code, response.location) == (302, "/")


# The API


@pytest.mark.parametrize(
    ("number", "is_prime", "factor"),
    [
        ("97", True, 97),
        ("91", False, 7),
        ("2", True, 2),
        ("1", False, None),
        ("0", False, None),
        ("1000000000000", False, 2),
        (str(LARGEST_PRIME), True, LARGEST_PRIME),
        ("0" * 5_000 + "97", True, 97),
        ("0" * 5_000, False, None),
        ("९७", True, 97),
    ],
    ids=lambda value: str(value)[:20],
)
def test_the_api_answers_json(client, number, is_prime, factor):
    response = client.get(f"/api/prime/{number}")
    assert response.status_code == 200
    assert response.mimetype == "application/json"
    assert response.json == {
        "number": int(number[-13:]),
        "is_prime": is_prime,
        "smallest_factor": factor,
    }


@pytest.mark.parametrize(
    ("address", "status", "title"),
    [
        ("/api/prime/1000000000001", 422, "Unprocessable Entity"),
        ("/api/prime/" + "9" * 4_300, 422, "Unprocessable Entity"),
        ("/api/prime/" + "9" * 5_000, 422, "Unprocessable Entity"),
        ("/api/prime/-5", 404, "Not Found"),
        ("/api/prime/3.5", 404, "Not Found"),
        ("/api/prime/abc", 404, "Not Found"),
        ("/api/prime/", 404, "Not Found"),
        ("/api/prime/97/", 404, "Not Found"),
        ("/api/prime/%ff%00", 404, "Not Found"),
        ("/api/nothing", 404, "Not Found"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_mistake_in_the_address_is_answered_with_a_problem(client, address, status, title):
    response = client.get(address)
    problem = response.json
    assert (response.status_code, response.mimetype) == (status, PROBLEM)
    assert (problem["title"], problem["status"], problem["errors"]) == (title, status, [])
    assert "a whole number from 0 to 1,000,000,000,000" in problem["detail"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_another_method_on_the_api_is_a_problem_that_names_the_right_one(client, method):
    response = client.open("/api/prime/97", method=method)
    assert (response.status_code, response.mimetype) == (405, PROBLEM)
    assert response.json["title"] == "Method Not Allowed"
    assert "GET" in response.headers["Allow"]


def test_the_page_links_to_the_same_question_for_programs(client):
    address = re.search('href="(/api[^"]*)"', client.post("/prime", data={"number": "91"}).text)[1]
    assert client.get(address).json["smallest_factor"] == 7


# Errors, and where the app runs


@pytest.mark.parametrize(
    ("method", "address", "status"),
    [("GET", "/nothing", 404), ("DELETE", "/", 405), ("PUT", "/prime", 405), ("GET", "/api", 404)],
)
def test_a_wrong_address_or_method_is_a_friendly_page(client, method, address, status):
    response = client.open(address, method=method)
    assert (response.status_code, response.mimetype) == (status, "text/html")
    assert "Go to the form" in response.text


def test_a_body_that_is_too_large_is_refused(client):
    response = client.post("/prime", data={"number": "9" * 70_000})
    assert response.status_code == 413
    assert "Send one number, and nothing else." in response.text


def test_a_crash_shows_no_traceback(client, monkeypatch):
    def broken(n):
        raise RuntimeError("a secret of the app")

    monkeypatch.setattr(prime_app, "smallest_factor", broken)
    page, reply = client.post("/prime", data={"number": "97"}), client.get("/api/prime/97")
    assert page.status_code == reply.status_code == 500
    assert reply.mimetype == PROBLEM
    for response in (page, reply):
        assert "secret" not in response.text
        assert "Traceback" not in response.text


def test_the_app_works_under_a_prefix():
    def elsewhere(environ, start_response):
        start_response("404 Not Found", [])
        return []

    client = Client(DispatcherMiddleware(elsewhere, {"/03_prime": prime_app.create_app()}))
    form = client.get("/03_prime/").text
    assert 'action="/03_prime/prime"' in form
    assert 'href="/03_prime/static/style.css"' in form
    answer = client.post("/03_prime/prime", data={"number": "91"})
    assert 'href="/03_prime/api/prime/91"' in answer.text
    problem = client.get("/03_prime/api/prime/abc")
    assert (problem.status_code, problem.mimetype) == (404, PROBLEM)


def test_no_page_loads_or_runs_anything_from_elsewhere(client):
    pages = [
        client.get("/"),
        client.post("/prime", data={"number": "x"}),
        client.post("/prime", data={"number": "97"}),
        client.get("/nothing"),
    ]
    for page in pages:
        assert page.text.count("<h1>") == 1
        assert not re.search(r"<script|<style|\sstyle=|\son\w+=|https?://|[\"']//", page.text)
        for address in re.findall(r'<link[^>]* href="([^"]*)"', page.text):
            assert client.get(address).status_code == 200


def test_the_app_imports_no_data_science():
    program = (
        "import sys; from app import create_app; create_app().test_client().get('/');"
        "print(sorted({'pandas', 'numpy', 'sklearn', 'scipy', 'workshop'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=FOLDER,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == "[]"


# The exercises: typical mistakes get a hint of their own


def divisors(n):
    return [candidate for candidate in range(1, n + 1) if n % candidate == 0]


def prints(n):
    print(divisors(n))


def prints_and_returns(n):
    print(divisors(n))
    return divisors(n)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (divisors(12), "without parentheses"),
        (3.5, "must be your function"),
        (lambda: [1], "must take one argument"),
        (prints, "prints its answer"),
        (prints_and_returns, "take the `print` out"),
        (lambda n: None, "returns nothing"),
        (lambda n: 1, "after the loop, not inside it"),
        (lambda n: [1], "returns too early"),
        (lambda n: "1, 2", "returns a str"),
        (lambda n: divisors(n)[:-1], "divides itself and is missing"),
        (lambda n: divisors(n)[1:], "Begin the range with 1"),
        (lambda n: [1, n], r"divisors\(12\) must be"),
        (lambda n: sorted(divisors(n), reverse=True), r"divisors\(12\) must be"),
        (lambda n: n + "", "TypeError"),
        (lambda n: [number], "the argument is `n`"),  # noqa: F821 (a learner's slip)
        (lambda n: nowhere, "NameError"),  # noqa: F821 (a learner's slip)
        (lambda n: [int(input("Enter a whole number: "))], "Leave `input` out"),
    ],
)
def test_a_typical_mistake_in_the_first_exercise_gets_its_hint(answer, hint):
    verdict = check("03.1", answer)
    assert verdict.status == "wrong"
    assert re.search(hint, verdict.message)


def test_the_first_exercise_is_solved_by_a_function_that_returns():
    assert check("03.1", divisors).status == "solved"


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        ("999", "without quotes"),
        (True, "without quotes"),
        (1000.0015, "a whole number"),
        (float("nan"), "a whole number"),
        (float("inf"), "a whole number"),
        (1_000, "Is 1 tried?"),
        (998, "both 2 and 1,000 are tried"),
        (1_000_002, "the version without the square root"),
        (1_000_003, "the version without the square root"),
        (333, "How long is it?"),
        (-1, "How long is it?"),
    ],
)
def test_a_typical_mistake_in_the_second_exercise_gets_its_hint(answer, hint):
    verdict = check("03.2", answer)
    assert verdict.status == "wrong"
    assert hint in verdict.message


def test_the_second_exercise_is_solved_by_the_count():
    assert check("03.2", 999).status == "solved"


def never_ends(n):
    while not primes.is_prime(n):
        pass
    return n


def never_ends_and_prints(n):
    while True:
        print(n)


@pytest.mark.parametrize("answer", [never_ends, never_ends_and_prints])
def test_a_loop_that_never_ends_is_stopped_and_gets_its_hint(answer, monkeypatch):
    monkeypatch.setattr(exercises, "SECONDS", 0.2)
    threads, output = set(threading.enumerate()), sys.stdout

    verdict = check("03.1", answer)

    assert verdict.status == "wrong"
    assert "your loop never ends: does the number in it grow?" in verdict.message
    assert sys.stdout is output
    for thread in set(threading.enumerate()) - threads:
        thread.join(30)
        assert not thread.is_alive(), "the loop goes on in the background"


@pytest.mark.parametrize("number", ["03.1", "03.2"])
def test_an_exercise_that_nobody_began_says_how_to_begin(number):
    assert check(number, ...).status == "not yet"


IN_FORM = "        self.data = number\n"
FORM_RULE = """        if number < 2:
            raise ValueError("Prime numbers begin with 2.")
"""
IN_API = """        return {
            "number": number,
"""
API_RULE = FORM_RULE.replace("raise ValueError(", "abort(422, ")


def rule(copy, form=FORM_RULE, api=API_RULE):
    """Give the app the rule of the third exercise at both doors, or something else."""
    copy.edit("prime_forms.py", IN_FORM, form + IN_FORM)
    copy.edit("app.py", IN_API, api + IN_API)


def test_the_app_as_it_came_has_no_rule_yet(copy_of):
    copy_of("prime")
    judge("03.3", "not yet", "in `prime_forms.py`, at the end of `process_formdata`")


def test_the_stored_solution_refuses_0_and_1(copy_of):
    copy_of("prime").solve("03.3")
    judge("03.3", "solved", "one rule at two doors")


@pytest.mark.parametrize(
    ("form", "api", "hint"),
    [
        (FORM_RULE, "", "programs come in by another door"),
        ("", API_RULE, "the page answers it as before"),
        (FORM_RULE.replace("<", "<="), API_RULE, "the page refuses 2, which is a prime number"),
        (FORM_RULE, API_RULE.replace("<", "<="), "the API refuses 2, which is a prime number"),
        (FORM_RULE.replace("< 2", "> 2"), API_RULE, "the page answers it as before"),
        (FORM_RULE.replace("< 2", "== 1"), API_RULE, "the page refuses 1, but not 0"),
        (FORM_RULE, API_RULE.replace("number < 2", "not is_prime(number)"), "refuses 91 as well"),
        (FORM_RULE, API_RULE.replace("begin", "start"), "does not say that prime numbers begin"),
        (FORM_RULE.replace("with 2", ""), API_RULE, "the page refuses 1, but does not say"),
        (FORM_RULE, FORM_RULE, r"line \d+: ValueError: .* call `abort\(422, \.\.\.\)` there"),
        (API_RULE, API_RULE, r"prime_forms.py, line \d+: NameError: name 'abort'"),
        (FORM_RULE.replace("2:", "2"), API_RULE, r"prime_forms.py, line \d+ \(expected ':'\)"),
    ],
)
def test_a_typical_slip_in_the_rule_gets_its_hint(copy_of, form, api, hint):
    rule(copy_of("prime"), form, api)
    judge("03.3", "wrong", hint)


def test_a_rule_in_the_view_of_the_page_gets_its_hint(copy_of):
    copy = copy_of("prime")
    rule(copy, form="")
    copy.edit("app.py", "        factor = smallest", API_RULE + "        factor = smallest")
    judge("03.3", "wrong", "there is no message at the field")


def test_another_status_of_the_api_gets_its_hint(copy_of):
    api = API_RULE.replace("422", "400")
    rule(copy_of("prime"), api=api)
    judge("03.3", "wrong", "the API refuses 1 with status 400. It must be 422")
