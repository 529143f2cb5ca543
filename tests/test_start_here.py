"""Stage 00: every check confirms a right answer and gives a wrong one the hint that fits."""

import pytest

from workshop import check


@pytest.mark.parametrize("number", ["00.1", "00.2"])
@pytest.mark.parametrize("blank", [..., None])
def test_blank_is_not_solved_yet(number, blank):
    assert check(number, blank).status == "not yet"


def test_the_port_is_right():
    assert check("00.1", 8004).status == "solved"


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        ("8004", "quotes"),
        (4, "Add 8000"),
        (8000, "gallery"),
        (80004, "one zero too many"),
        (8888, "to 8000"),
        ([8004], "to 8000"),
    ],
)
def test_a_wrong_port_gets_its_hint(answer, hint):
    verdict = check("00.1", answer)
    assert verdict.status == "wrong"
    assert hint in verdict.message


@pytest.mark.parametrize("end", ["", "/"])
def test_the_address_is_right(end):
    verdict = check("00.2", lambda stage: f"http://127.0.0.1:{8000 + stage}{end}")
    assert verdict.status == "solved", verdict.message


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        ("http://127.0.0.1:8004", "the function itself"),
        (8004, "must be your function"),
        (lambda stage: ..., "returns nothing yet"),
        (lambda stage: None, "returns nothing yet"),
        (lambda stage: 8000 + stage, "returns 8004; it must return a text"),
        (lambda stage: "http://127.0.0.1:{8000 + stage}", "Write an f"),
        (lambda stage: "http://127.0.0.1:8004", "for stage 1 "),
        (lambda stage: f"http://127.0.0.1:800{stage}", "for stage 12 "),
        (lambda stage: f"127.0.0.1:{8000 + stage}", "it should be 'http://127.0.0.1:8004'"),
        (lambda: "http://127.0.0.1:8004", "must take one argument"),
        (lambda stage: "http://127.0.0.1:800" + stage, "`stage` is a number"),
        (lambda stage: 8000 + stage + "/", "`stage` is a number"),
        (lambda stage: len(stage), "TypeError"),
    ],
)
def test_a_wrong_address_gets_its_hint(answer, hint):
    verdict = check("00.2", answer)
    assert verdict.status == "wrong"
    assert hint in verdict.message
