"""The census model behind FastAPI, in the two usual ways. FastAPI is in an environment that the bench makes.

`/pipeline` asks the pipeline of stage 05 with a data frame of one row. `/dictionary` asks a pipeline that
takes dictionaries as they are (DictVectorizer), so that no data frame is needed. Both validate with pydantic.
"""

import os
from pathlib import Path
from typing import Literal

import joblib
import pandas as pd
from fastapi import FastAPI
from pydantic import BaseModel, Field

MODELS = Path(os.environ["BENCH_MODELS"])  # the folder in which the bench has put both

pipeline = joblib.load(MODELS / "pipeline.joblib")
dictionary = joblib.load(MODELS / "dictionary.joblib")
app = FastAPI()


class Person(BaseModel):
    """One person, as stage 05's API takes them, without its list of known categories."""

    age: int = Field(ge=17, le=120)
    workclass: str | None = None
    education: str
    marital_status: str
    race: str
    sex: Literal["Female", "Male"]
    hours_per_week: int = Field(ge=1, le=168)


# `async`, though the model computes: handing so short a task to another thread costs more than it takes.
@app.post("/pipeline")
async def ask_pipeline(person: Person) -> dict[str, float]:
    frame = pd.DataFrame([person.model_dump()])
    return {"probability": float(pipeline.predict_proba(frame)[0, 1])}


@app.post("/dictionary")
async def ask_dictionary(person: Person) -> dict[str, float]:
    return {
        "probability": float(dictionary.predict_proba([person.model_dump(exclude_none=True)])[0, 1])
    }


@app.get("/healthz")
async def healthz() -> dict[str, str]:
    return {"status": "ok"}
