"""The checks of stage 04: a rule by hand, a pipeline, a page that admits doubt, and two apps."""

import re
from numbers import Real

import numpy as np
import requests
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted

from workshop.core.datasets import read_iris
from workshop.learn.exercises import ChangedApp, NotYet, Wrong, ask_small_app, exercise
from workshop.learn.exercises.cells import of_notebook

PETALS = ["petal_length", "petal_width"]
SPECIES = ["setosa", "versicolor", "virginica"]
FEATURES = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
# The model is 54, 80, 80 and 99.7% sure of these flowers: two are just below and just above the line.
FLOWERS = [(6.0, 2.2, 5.0, 1.5), (6.5, 3.0, 5.5, 1.8), (7.0, 3.2, 4.7, 1.4), (5.2, 4.1, 1.5, 0.1)]
SURE = 0.8  # below it, the page of exercise 04.3 says WORDS
WORDS = "not sure"
# Two flowers that any good model classifies correctly, for the learner's own app.
CLEAR = {"setosa": (5.1, 3.5, 1.4, 0.2), "virginica": (6.3, 3.3, 6.0, 2.5)}


@exercise(
    "04.1",
    hint="the table below the pair plot lists the longest and the shortest petals of each species.",
    then="take the longest setosa petal and the shortest petal of the other two. Any number "
    "between them will do. Write it like `answer = 1.5`.",
)
def setosa_limit(answer: object) -> str:
    """A petal length in cm that is above every setosa and below every other flower."""
    if isinstance(answer, tuple):
        raise Wrong("write a decimal point, as in 1.5: with a comma, Python sees several numbers.")
    if isinstance(answer, bool) or not isinstance(answer, Real):
        raise Wrong(
            "the answer is one number, a petal length in cm, without quotes: `answer = 1.5`."
        )
    flowers = read_iris()
    is_setosa = flowers["species"] == "setosa"
    setosa, others = flowers.loc[is_setosa, "petal_length"], flowers.loc[~is_setosa, "petal_length"]
    if others.max() < answer:
        raise Wrong(
            f"every petal in the table is shorter than {answer:g} cm. Did you mean millimeters?"
        )
    if missed := int((~(setosa < answer)).sum()):
        raise Wrong(
            f"{missed} of the 50 setosa flowers {_has(missed)} petals of {answer:g} cm or more, "
            "so your rule misses them. Go higher."
        )
    if caught := int((~(others > answer)).sum()):
        raise Wrong(
            f"{caught} of the 100 other flowers {_has(caught)} petals of {answer:g} cm or less, "
            "so your rule calls them setosa. Go lower."
        )
    return (
        f"every setosa petal is shorter than {answer:g} cm, and every other petal is longer. If "
        "one cut is enough, a rule you make by hand is as good as a model; there is no cut like that "
        "between the other two species."
    )


def _has(count: int) -> str:
    """Return the verb that goes with `count` flowers."""
    return "has" if count == 1 else "have"


@exercise(
    "04.2",
    hint="“What is in the pipeline?” makes and trains one. Make a second one, and leave "
    "`pipeline` as it is.",
    then="start with `answer = Pipeline([...])` and the same two steps as before, then call "
    "`answer.fit` with the two petal columns and the species of the training flowers.",
)
def petal_pipeline(answer: object) -> str:
    """The notebook's pipeline, trained on the two petal features of the training flowers."""
    if isinstance(answer, float | np.ndarray):
        raise Wrong("that is a result of the pipeline. Put the pipeline itself in `answer`.")
    if isinstance(answer, BaseEstimator) and not isinstance(answer, Pipeline):
        raise Wrong(
            f"that is only a {type(answer).__name__}. Put it in a `Pipeline`, after the scaler."
        )
    if not isinstance(answer, Pipeline):
        raise Wrong(
            "`answer` must be a pipeline: `Pipeline([...])`, trained on `training[PETALS]` and "
            '`training["species"]`.'
        )
    _check_own_steps(answer)
    scaler = next((step for _, step in answer.steps if isinstance(step, StandardScaler)), None)
    if scaler is None:
        raise Wrong("there is no scaler in your pipeline. Make `StandardScaler()` its first step.")
    try:
        check_is_fitted(scaler)
        check_is_fitted(answer[-1])
    except NotFittedError:
        raise Wrong(
            "the pipeline isn't trained yet. Call `fit` with the features and the species."
        ) from None
    except TypeError:  # the last step isn't an estimator, or is a class without its ()
        raise Wrong("the last step must be `LogisticRegression()`, with its parentheses.") from None
    columns = [str(name) for name in getattr(answer, "feature_names_in_", ())]
    if not columns:
        raise Wrong(
            "the pipeline was trained on plain numbers. Give it the data frame `training[PETALS]`, "
            "so that it knows the names of its features."
        )
    if sorted(columns) != PETALS:
        raise Wrong(
            f"the pipeline was trained on {', '.join(columns)}. Train it on `training[PETALS]`, "
            "only the two petal features."
        )
    if [str(name) for name in getattr(answer, "classes_", ())] != SPECIES:
        raise Wrong('the pipeline doesn\'t predict a species. Is the target `training["species"]`?')
    return _check_training(answer, scaler)


def _check_own_steps(answer: Pipeline) -> None:
    """Raise Wrong if a pipeline is the notebook's own, or shares its steps and so retrains them."""
    own = of_notebook("pipeline")
    if not isinstance(own, Pipeline):
        return
    if any(step is other for _, step in answer.steps for _, other in own.steps):
        raise Wrong(
            "that is the notebook's own `pipeline`, or one that shares its steps, so `fit` has trained it "
            "again. Make a new one, with `answer = Pipeline([...])` and two new steps. To get the notebook's "
            "back, run the two cells of “What is in the pipeline?” that make and train it."
        )


def _check_training(answer: Pipeline, scaler: StandardScaler) -> str:
    """Confirm that a petal pipeline was trained on the training flowers. Raises Wrong."""
    flowers = read_iris()
    training, test = train_test_split(flowers, random_state=0)
    seen = int(scaler.n_samples_seen_)
    if seen == len(flowers):
        raise Wrong(
            f"the pipeline has seen all {seen} flowers, so none are left to test it on. Train it on "
            "`training[PETALS]`."
        )
    if seen == len(test):
        raise Wrong(f"the pipeline was trained on the {seen} test flowers. Use `training` instead.")
    if not np.allclose(scaler.mean_, training[list(answer.feature_names_in_)].mean()):
        raise Wrong(
            "the pipeline wasn't trained on the same flowers as the notebook's. Use `training` as "
            "it is, from `train_test_split(flowers, random_state=0)`."
        )
    right = int((answer.predict(test[list(answer.feature_names_in_)]) == test["species"]).sum())
    return (
        f"{right} of {len(test)} test flowers classified correctly. The petals tell the model almost "
        "everything, so a form with two fields would be enough."
    )


@exercise(
    "04.3",
    hint="in `apps/04_iris/templates/result.html`, the paragraph goes below the line with `<h1>`. "
    "Stage 02 shows how to write an `if` in a template.",
    then="write `{% if ... %}`, a paragraph with the words “not sure”, and `{% endif %}`. "
    "`probabilities[species]` is the probability of the species in the heading; compare it "
    "with 0.8.",
    app="iris",
)
def unsure_answers(app: ChangedApp) -> str:
    """The page with the prediction says "not sure" if the model is less than 80% sure."""
    says = {}  # by how sure the model is, whether the page says so
    for values in FLOWERS:
        flower = dict(zip(FEATURES, values, strict=True))
        page = app.post("/classify", data=flower)
        if page.status_code == 503:
            raise Wrong("the app has no model. Run the cells above that save it.")
        if "Predicted species" not in page.text:
            raise Wrong("the page has lost its heading, “Predicted species: ...”. Put it back.")
        reply = app.post("/api/predict", json=flower).json()
        says[reply["probabilities"][reply["species"]]] = WORDS in _visible(page.text)
    _check_words(says, app.source("templates/result.html"))
    return (
        "anyone who reads the page now learns when not to rely on it. You changed what the app says in "
        "one template, without touching the model or a line of Python."
    )


def _visible(page: str) -> str:
    """Return a page's text in one line and in lower case, without comments and tags."""
    text = re.sub("<!--.*?-->|<[^>]*>", " ", page, flags=re.DOTALL)
    return " ".join(text.split()).lower()


def _check_words(says: dict[float, bool], template: str) -> None:
    """Compare the pages that warn with those that should. Raises Wrong, and NotYet if none does."""
    least, most = min(says), max(says)
    if not any(says.values()):
        if WORDS not in template.lower():
            raise NotYet
        raise Wrong(
            f"“{WORDS}” is in `result.html`, but not on the page of a flower that the model is only "
            f"{least:.0%} sure of. It must be inside `{{% block main %}}`, for a `probabilities[species]` "
            "below 0.8."
        )
    if all(says.values()):
        raise Wrong(
            f"the page says “{WORDS}” for every flower, even one that the model is {most:.1%} sure of. A "
            "probability is between 0 and 1, so compare it with 0.8, and end the `if` with `{% endif %}` "
            "below the paragraph."
        )
    if says[most]:
        raise Wrong(f"it is the wrong way around: “{WORDS}” is for a probability *below* 0.8.")
    for probability, warns in says.items():
        if warns != (probability < SURE):
            raise Wrong(
                f"the model is {probability:.1%} sure of one flower, and its page "
                f"{'says' if warns else 'lacks'} “{WORDS}”. Compare `probabilities[species]`, the "
                "probability of the species in the heading, with 0.8."
            )


@exercise(
    "04.4",
    hint="your app is the one from “Can you put the model on the web yourself?”, in "
    "`apps/my/app.py`. One line in its function `predict` fails if a length is a word.",
    then="put that line below `try:`. Then catch the `ValueError` with `except`, and call `abort` "
    "with the status and a sentence for the person who typed the word.",
    app="my",
)
def own_app_refuses_words(app: ChangedApp) -> str:
    """The learner's own app: a form and an API that predict, and refuse a length that isn't a number."""
    form = app.get("/")
    if form.status_code != 200:
        raise Wrong(f"`/` returns status {form.status_code}. It must show the form.")
    if missing := [name for name in FEATURES if name not in form.text]:
        raise Wrong(f"the form at `/` has no field named {missing[0]}.")
    for species, lengths in CLEAR.items():
        flower = dict(zip(FEATURES, lengths, strict=True))
        _check_own(species, app.post("/", data=flower), "POST /")
        reply = app.post("/api/predict", json=flower)
        _check_own(species, reply, "POST /api/predict")
        if not reply.headers["Content-Type"].startswith("application/json"):
            raise Wrong(
                '/api/predict doesn\'t return JSON. Return a dictionary: `{"species": ...}`.'
            )
    wrong = flower | {"petal_width": "abc"}
    for path, what in [("/", {"data": wrong}), ("/api/predict", {"json": wrong})]:
        try:
            status = app.post(path, **what).status_code
        except Wrong as crash:
            raise Wrong(
                f"your app predicts, but a petal width of `abc` crashes it. {crash} Catch that error, and "
                "call `abort(422, ...)` with a sentence."
            ) from None
        if status not in (400, 422):
            raise Wrong(
                f"POST {path} with a petal width of `abc` returns status {status}. Refuse it with "
                "`abort(422, ...)`."
            )
    return "your own app predicts for people and for programs, and tells both if a length isn't a number."


def _check_own(species: str, reply: requests.Response, asked: str) -> None:
    """Compare a response of the learner's own app with the species it must name. Raises Wrong."""
    if reply.status_code in (404, 405):
        raise Wrong(f"no route matches {asked}. Check the line with `@` above that view.")
    if reply.status_code != 200:
        raise Wrong(f"{asked} with a valid flower returns status {reply.status_code}.")
    if species not in reply.text.lower():
        raise Wrong(
            f"{asked} with a typical {species} doesn't return {species}: {reply.text[:100]!r}."
        )


@exercise(
    "04.5",
    hint="the app crashes: JSON can hold text and numbers, but not the array that `predict` returns.",
    then="the data frame has one row, so what does the array contain?",
)
def small_iris_app(answer: object) -> str:
    """A small app that had two mistakes: it returned an array, and left out the scaler."""
    for species, lengths in CLEAR.items():
        flower = dict(zip(FEATURES, lengths, strict=True))
        try:
            found = ask_small_app(answer, "POST", "/predict", json=flower).json
        except TypeError as error:
            if "JSON" not in str(error):
                raise
            raise NotYet from None
        if not isinstance(found, dict) or "species" not in found:
            raise Wrong('the response must be a dictionary with the species: `{"species": ...}`.')
        if isinstance(found["species"], list):
            raise Wrong(f"`species` must be text, but it is the list {found['species']}.")
        if found["species"] != species:
            raise Wrong(
                f"the app runs, but calls a typical {species} {found['species']!r}. Which part of the "
                "pipeline does it call, and does that part expect centimeters?"
            )
    return (
        "both mistakes are fixed. The first one crashed, so it was easy to find. The second silently "
        "gave wrong answers, and you could notice it only with a flower whose species you know."
    )
