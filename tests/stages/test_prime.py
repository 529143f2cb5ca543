"""Stage 03: the script, the functions it became, the form and its answers, and the same for programs."""

import re
import runpy
import sys

import pytest
from app_support import Page, assert_refused, problem

from workshop.core.stages import find_stage, load_app_module

prime_app = load_app_module("03_prime")
primes = sys.modules["primes"]

LARGEST_PRIME = 999_999_999_989  # the largest one below 10**12


@pytest.fixture
def client():
    return prime_app.create_app().test_client()


def ask(client, number):
    return client.post("/prime", data={"number": number})


def test_the_script_works(capsys, monkeypatch):
    script = find_stage("prime").folder / "prime_script.py"
    answers = {"97": "97 is a prime number", "91": "91 = 7 * 13 so it is not a prime number"}
    for typed, answer in (answers | {"-7": "-7 is not a prime number"}).items():
        monkeypatch.setattr("builtins.input", lambda prompt, typed=typed: typed)
        runpy.run_path(str(script), run_name="__main__")
        assert capsys.readouterr().out == f"{answer}\n"


def test_numbers_are_prime_if_they_have_one_divisor_above_1():
    for n in range(-10, 1_000):
        factors = [divisor for divisor in range(2, n + 1) if n % divisor == 0]
        assert primes.smallest_factor(n) == (factors[0] if factors else None)
        assert primes.is_prime(n) == (len(factors) == 1)
    large = {999_983**2: 999_983, 999_961 * 999_983: 999_961, 10**12: 2, 10**12 - 1: 3}
    for n, factor in (large | {LARGEST_PRIME: LARGEST_PRIME, 1_000_003: 1_000_003}).items():
        assert primes.smallest_factor(n) == factor
        assert primes.is_prime(n) == (factor == n)


def test_a_number_is_answered_with_a_page_a_reason_and_a_picture_if_it_is_small(client):
    for typed, answer in {
        "97": "97 is a prime number",
        "91": "91 = 7 × 13, so it is not prime",
        "4": "4 = 2 × 2, so it is not prime",
        "0": "0 is not a prime number",
        " 97 ": "97 is a prime number",
        "0" * 5_000 + "97": "97 is a prime number",
        "९७": "97 is a prime number",
    }.items():
        response = ask(client, typed)
        assert response.status_code == 200
        assert Page(response).in_tag("h1") == [answer]
        assert f"<title>{answer} · " in response.text
    for number, dots, words in (
        (0, 0, "Zero has infinitely many"),
        (3, 0, "even 2 × 2 is more than 3"),
        (91, 91, "it goes into 91 exactly 13 times"),
        (91, 91, "91 dots in rows of 13: they fill a rectangle of 7 × 13"),
        (97, 97, "nothing from 2 to 9 divides it"),
        (97, 97, "97 dots in rows of 9: the last row has only 7"),
        (401, 0, "401 is a prime number"),
    ):
        response = ask(client, str(number))
        assert words in Page(response).text
        assert response.text.count("<circle") == dots


def test_a_mistake_shows_the_form_again_with_a_message(client):
    for message, mistakes in {
        "Enter a whole number, for example": ["", "   "],
        "This is not a whole number": ["97a", "1e3", "0x10", "nan", "²", "9\x007", "<script>"]
        + ["9" * 60_000 + "x"],  # quadratic patterns take minutes
        "no point, comma, space or sign": ["3.5", "3,5", "1 000", "1_000", "+7"],
        "never negative": ["-7", "−7", "-0", "-" + "9" * 5_000],
        "too large for this page": ["1000000000001", "9" * 4_300, "9" * 60_000],
    }.items():
        for typed in mistakes:
            response = ask(client, typed)
            assert_refused(response, "number", message, typed)
            assert "<title>Error: " in response.text


def test_the_api_answers_json_and_names_the_range_after_a_mistake(client):
    factors = {"97": 97, "91": 7, "1": None, "0" * 5_000 + "97": 97, "९७": 97}
    for number, factor in factors.items():
        response = client.get(f"/api/prime/{number}")
        assert (response.status_code, response.mimetype) == (200, "application/json")
        n = int(number[-2:])
        assert response.json == {"number": n, "is_prime": n == factor, "smallest_factor": factor}
    address = re.search('href="(/api[^"]*)"', ask(client, "91").text)[1]
    assert client.get(address).json["smallest_factor"] == 7
    statuses = dict.fromkeys(["1000000000001", "9" * 4_300, "9" * 5_000], 422)
    statuses |= dict.fromkeys(["-5", "3.5", "", "97/", "%ff%00"], 404)
    for number, status in statuses.items():
        found = problem(client.get(f"/api/prime/{number}"), status)
        assert "a whole number from 0 to 1,000,000,000,000" in found["detail"]
