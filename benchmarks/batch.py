"""10,000 people in one call of stage 05's API, beside parsing the same body and one call of the pipeline.

Prints JSON: the seconds of both, by turns, in one process; and what the call took of memory, in bodies.
"""

import json
import random
import sys
import time
import tracemalloc

import joblib
import pandas as pd
from load import ask_in_process

from workshop.core.stages import find_stage, load_app_module, load_module

STAGE = find_stage("census")
PEOPLE = 10_000
BATCH = "/api/v1/predictions/batch"


def make_people(card: dict, count: int) -> list[dict]:
    """People who don't exist: every value drawn from those that the model's card allows."""
    draw = random.Random(0)  # noqa: S311 (nothing is kept secret by it)
    people = []
    for _ in range(count):
        person = {"age": draw.randint(17, 90), "hours_per_week": draw.randint(1, 99)}
        for name, feature in card["features"].items():
            if "categories" in feature:
                person[name] = draw.choice([*feature["categories"], *[None] * feature["optional"]])
        people.append(person)
    return people


def seconds_of(function, *arguments) -> float:
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def main(rounds: int) -> None:
    model_folder = STAGE.folder / "model"
    card = load_module(STAGE, "census_model").load(model_folder).card
    pipeline = joblib.load(model_folder / "census.joblib")
    app = load_app_module(STAGE.slug).create_app()
    people = make_people(card, PEOPLE)
    body = json.dumps({"people": people}).encode()

    def by_pipeline() -> list[float]:
        frame = pd.DataFrame(json.loads(body)["people"])
        return pipeline.predict_proba(frame)[:, 1].tolist()

    answers = [
        each["probability"] for each in json.loads(ask_in_process(app, BATCH, body))["predictions"]
    ]
    furthest = max(abs(a - b) for a, b in zip(answers, by_pipeline(), strict=True))
    if furthest > 1e-12:
        sys.exit(f"the API and the pipeline differ by {furthest}")
    pairs = [
        (seconds_of(ask_in_process, app, BATCH, body), seconds_of(by_pipeline))
        for _ in range(rounds)
    ]
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    ask_in_process(app, BATCH, body)
    peak = tracemalloc.get_traced_memory()[1] - before
    print(json.dumps({"pairs": pairs, "bodies": peak / len(body)}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
