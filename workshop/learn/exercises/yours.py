"""The checks of stage 07: an app for another table, a test that can fail, and a setting."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree  # nosec B405

from workshop.core.own_apps import OwnApp, own_apps
from workshop.learn.exercises import ChangedApp, NotYet, Wrong, exercise
from workshop.learn.exercises.slips import slip

LIMIT = 120  # seconds for what a check runs in an app's folder
NEW = "python3 -m workshop new flowers --csv data/iris.csv --target species"
CONTACT = (
    "Ask <ana@example.org>"  # the setting of exercise 07.3; its < shows whether the page escapes it
)
ESCAPED = "Ask &lt;ana@example.org&gt;"
GIVEN = {  # the tests that the app comes with
    "test_the_form_gets_an_answer",
    "test_a_row_gets_the_same_answer_alone_and_in_a_list",
    "test_a_name_that_the_table_never_had_is_refused",
}
PAGES = ("/", "/model", "/no-such-page")
LOOK = f"""
import json
from app import create_app
client = create_app({{"PREDICTION_LOG": "off"}}).test_client()
print(json.dumps([client.get(page).get_data(as_text=True) for page in {PAGES}]))
"""
# Replaces app.py, and makes the app respond like a broken one.
SPOILED = """
import honest_app
from flask import request
from honest_app import *

def create_app(config=None):
    app = honest_app.create_app(config)

    @app.after_request
    def spoil(response):
        if request.method == "POST" and (response.status_code < 400) == {good}:
            response.status_code = {status}
            response.set_data("{{}}")
        return response

    return app
"""


def run_in(folder: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python in an app's folder. Raises `Wrong` if it doesn't finish."""
    try:
        return subprocess.run(
            [sys.executable, *command],
            cwd=folder,
            env=os.environ | {"PYTHONUTF8": "1", "PYTHONDONTWRITEBYTECODE": "1"} | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=LIMIT,
        )
    except subprocess.TimeoutExpired:
        raise Wrong(
            f"the code in {folder.name} hasn't finished after {LIMIT} seconds. Is there an endless loop?"
        ) from None


def run_tests(folder: Path) -> dict[str, bool]:
    """Run the tests in an app's folder; return whether each one passed. Raises `Wrong` if they can't run."""
    with tempfile.TemporaryDirectory() as place:
        results = Path(place, "results.xml")
        done = run_in(folder, "-m", "pytest", "-p", "no:cacheprovider", f"--junitxml={results}")
        cases = list(ElementTree.parse(results).iter("testcase")) if results.exists() else []  # noqa: S314  # nosec B314
    found = {case.get("name"): len(case) == 0 for case in cases if case.get("name")}
    if not found or done.returncode not in (0, 1):
        lines = [line for line in done.stdout.splitlines() if line.startswith("E ")]
        reason = lines[-1].removeprefix("E").strip() if lines else "no test was found"
        raise Wrong(f"pytest can't run the tests: {reason}. Fix that, and save the file.")
    return found


@exercise(
    "07.1",
    hint="run the command `new` in a second terminal, in the workshop's folder. It makes an app from a "
    "table, and the exercise shows an example.",
    then=f"run `{NEW}`, or use your own table and the column you want to predict. Then put the app's "
    "name in `answer`, in quotes.",
)
def app_from_a_second_table(answer: object) -> str:
    """The name of an app that `new` made from a table other than the notebook's."""
    if not isinstance(answer, str):
        raise Wrong('`answer` must be the name of your app, in quotes: `answer = "flowers"`.')
    app = OwnApp(answer.strip())
    if app not in own_apps():
        there = ", ".join(each.name for each in own_apps()) or "none yet"
        raise Wrong(
            f"there is no app {answer!r} in the folder `apps`. Your apps: {there}. If the command printed an "
            "error, do what it says and run it again."
        )
    try:
        card = json.loads((app.folder / "model" / "card.json").read_bytes())
        target, data = card["target"]["name"], card["data"]
        metrics, features = card["metrics"], [each["name"] for each in card["features"]]
    except (OSError, ValueError, KeyError, TypeError):
        raise Wrong(
            f"the app {answer!r} has no model trained on a table. Make one with: {NEW}"
        ) from None
    if target == "species" and "flipper_length_mm" in features:
        raise Wrong(
            "that app predicts the species of penguins, like the notebook's. Use another table, or "
            "predict another column, such as body_mass_g."
        )
    if failed := [name for name, passed in run_tests(app.folder).items() if not passed]:
        raise Wrong(f"the app's own tests don't pass: {', '.join(failed)}. Did you change a file?")
    error = "log_loss" if card["target"]["words"] else "mean_absolute_error"
    better = metrics[error] < metrics[f"{error}_trivial"]
    return (
        f"{answer} predicts {target} from {len(features)} columns of {data['rows_used']:,} rows, its tests "
        f"pass, and its error is {metrics[error]:.3g}, compared with "
        f"{metrics[f'{error}_trivial']:.3g} for the trivial answer. "
        + ("It has learned something." if better else "It has learned nothing: don't publish it.")
    )


def spoil(folder: Path, copy: Path, good: bool, status: int) -> None:
    """Copy an app, and make the copy return `status` for all good requests, or for all bad ones."""
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("__pycache__", "*.tmp"))
    (copy / "app.py").rename(copy / "honest_app.py")
    (copy / "app.py").write_text(SPOILED.format(good=good, status=status), encoding="utf-8")


@exercise(
    "07.2",
    hint="in `apps/07_yours/test_app.py`, yours goes below the last test. A test is a function "
    "whose name begins with `test_`; the others show what it looks like.",
    then="it takes `client` and `row`, like the others. Send one good row and one with a "
    "mistake, and `assert` the status of each.",
    app="yours",
)
def test_of_ones_own(app: ChangedApp) -> str:
    """A test with a good and a bad request that fails for an app that mixes them up."""
    folder = app.stage.folder
    mine = {name: ok for name, ok in run_tests(folder).items() if name not in GIVEN}
    if not mine:
        raise NotYet
    if failed := [name for name, passed in mine.items() if not passed]:
        raise Wrong(
            f"{failed[0]} fails, but the app is right. Run `python -m pytest` in `apps/07_yours`, and look "
            "at the line that starts with E."
        )
    with tempfile.TemporaryDirectory() as place:
        for good, status, told in (
            (True, 422, "refuses every good request. Ask for a prediction for `row`"),
            (False, 200, "accepts every bad request. Send a row with a mistake in it"),
        ):
            copy = Path(place, str(status))
            spoil(folder, copy, good, status)
            results = run_tests(copy)
            if all(results.get(name, True) for name in mine):
                raise Wrong(
                    f"your test also passes with an app that {told}, and `assert` the "
                    "status of the response."
                )
    return (
        f"{', '.join(mine)} passes with your app, and it failed with two apps that were broken on purpose: "
        "one refused good requests, the other accepted bad ones. A test that can fail is worth having."
    )


def pages_of(folder: Path, contact: str) -> list[str]:
    """Return the `PAGES` of an app with the setting CONTACT. Raises `Wrong` if it doesn't run."""
    done = run_in(folder, "-c", LOOK, CONTACT=contact)
    if done.returncode:
        raise Wrong(f"with CONTACT={contact!r}, the app crashes. {slip(done.stderr)}")
    return json.loads(done.stdout.splitlines()[-1])


@exercise(
    "07.3",
    hint="the app's settings are in `create_app` in `apps/07_yours/app.py`, next to MODEL_FOLDER. "
    "Everything that every page shows is in `templates/base.html`.",
    then="read the variable with `os.environ.get`, and pass it to the app as the setting CONTACT. "
    "In the footer, show `config.CONTACT` if it isn't empty.",
    app="yours",
)
def contact_from_the_environment(app: ChangedApp) -> str:
    """Each page ends with whom to ask, if the environment variable CONTACT is set."""
    source, template = app.source("app.py"), app.source("templates/base.html")
    if "CONTACT" not in source + template:
        raise NotYet
    for name, page in zip(PAGES, pages_of(app.stage.folder, CONTACT), strict=True):
        if CONTACT in page:
            raise Wrong("the page shows the setting as HTML. Leave out `|safe`: Jinja escapes it.")
        if ESCAPED not in page and "environ" not in source:
            raise Wrong(
                'nothing in app.py reads the variable: `os.environ.get("CONTACT", "")`, with `import os`.'
            )
        if ESCAPED not in page:
            raise Wrong(
                f"with CONTACT set, {name} doesn't show it. Add it to the app's config in `create_app`, and "
                "write `{{ config.CONTACT }}` in the footer of base.html."
            )
    if "Ask" in (without := pages_of(app.stage.folder, "")[0]) or "None" in without:
        raise Wrong(
            "without the setting, the page still shows the line for it. Put `{% if config.CONTACT %}` and "
            "`{% endif %}` around it."
        )
    return (
        "every page says whom to ask, and the address isn't in any file: the person who runs the app sets "
        "it. If it isn't set, the line is gone."
    )
