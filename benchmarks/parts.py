"""What one prediction of stage 05's API consists of, in process: no server, no connection.

Prints JSON: for each part the microseconds that one call takes, a figure for each round.
"""

import json
import sys
import time
from collections.abc import Callable

from flask import Flask, request
from floor import STAGE, create_app
from load import PERSON, ask_in_process
from pydantic_core import to_json

from workshop.core.stages import load_module

CALLS = 2000  # in each round
BODY = json.dumps(PERSON).encode()


def plain_flask(answer: dict) -> Flask:
    """The smallest app that reads JSON and answers JSON."""
    app = Flask("plain")

    @app.post("/floor")
    def floor() -> dict:
        request.get_json()
        return answer

    return app


def parts() -> dict[str, Callable[[], object]]:
    """What is measured, by name."""
    model = load_module(STAGE, "census_model").load(STAGE.folder / "model")
    read_person = load_module(STAGE, "census_forms").read_person
    person = read_person(BODY, model)
    contributions = model.explain(person)
    answer = {
        "probability": model.probability(contributions),
        "label": "<=50K",
        "contributions": contributions,
        "model_version": model.version,
    }
    plain, app = plain_flask(answer), create_app()
    return {
        "plain Flask, JSON in and out": lambda: ask_in_process(plain, "/floor", BODY),
        "the same in stage 05's app": lambda: ask_in_process(app, "/floor", BODY),
        "a prediction in stage 05's app": lambda: ask_in_process(app, "/api/v1/predictions", BODY),
        "parse with json": lambda: json.loads(BODY),
        "parse and validate with pydantic": lambda: read_person(BODY, model),
        "explain, and add up": lambda: model.probability(model.explain(person)),
        "write with json": lambda: json.dumps(answer),
        "write with pydantic": lambda: to_json(answer),
    }


def microseconds(function: Callable[[], object]) -> float:
    """How long one call takes, over one round."""
    start = time.perf_counter()
    for _ in range(CALLS):
        function()
    return (time.perf_counter() - start) / CALLS * 1e6


def main(rounds: int) -> None:
    measured = parts()
    for function in measured.values():
        microseconds(function)  # warms it up
    by_round = [[microseconds(each) for each in measured.values()] for _ in range(rounds)]
    print(json.dumps(dict(zip(measured, zip(*by_round, strict=True), strict=True))))


if __name__ == "__main__":
    main(int(sys.argv[1]))
