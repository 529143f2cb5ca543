"""The log of predictions: a line of JSON for each, so that you can see later what the model was asked.

The environment variable PREDICTION_LOG says where the lines go: a file, or `off`. Without it they go to
standard output, which hosts collect. They contain what visitors typed; see the README.
"""

import json
import logging
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from model import Answer


def open_log(place: str | None = None) -> logging.Logger:
    """Return the log at `place`, or where PREDICTION_LOG says. Raises OSError for a file it can't open."""
    place = place or os.environ.get("PREDICTION_LOG") or "standard output"
    log = logging.Logger("predictions")  # its own, with none of the app's handlers
    log.disabled = place == "off"
    if not log.disabled:
        to_file = place != "standard output"
        log.addHandler(logging.FileHandler(place) if to_file else logging.StreamHandler(sys.stdout))
    return log


def write(log: logging.Logger, inputs: Mapping[str, Any], answer: Answer) -> None:
    """Write one line: the time, the row, the prediction, and the version of the model."""
    line = {"time": datetime.now(UTC).isoformat(), "inputs": inputs, **asdict(answer)}
    log.info(json.dumps(line))
