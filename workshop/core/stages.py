"""The table of stages: the only place that lists them.

The command line, the gallery, the doctor, the tests and the training all read `STAGES`. To add a stage,
add a row here, a notebook in `notebooks/` and an app in `apps/`.
"""

import importlib
import importlib.util
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from workshop.core.errors import WorkshopError
from workshop.setup.process import ROOT, setting

COPY = ROOT / "work"  # the learner's own notebooks and apps (see `workshop.learn.my_copy`)
BASE = "WORKSHOP_WORK"  # the variable with the folder whose notebooks and apps to use


def base() -> Path:
    """The folder whose `notebooks/` and `apps/` to use: the learner's copy, or the repository.

    Commands for learners set the variable, and their child processes inherit it. A notebook opened in another
    program doesn't have it, but its working folder is inside the copy.
    """
    if named := setting(BASE):
        return Path(os.path.expanduser(named))  # noqa: PTH111 (unlike Path's, it raises no error for `~nobody`)
    return COPY if Path.cwd().is_relative_to(COPY) else ROOT


class UnknownStage(WorkshopError):
    """The requested stage isn't in the table."""


class HasApp:
    """What `Stage` and `OwnApp` share: a folder in `apps/` named `slug`."""

    slug: str

    @property
    def folder(self) -> Path:
        return base() / "apps" / self.slug

    @property
    def app_file(self) -> Path:
        return self.folder / "app.py"


@dataclass(frozen=True)
class Stage(HasApp):
    """One step of the workshop: a notebook, and from stage 01 on an app.

    `model` names the trained model, if the stage has one: `model="iris"` means the module `iris_model.py`
    and the card `model/iris.json` in the app's folder. `dataset` is the function of
    `workshop.core.datasets` whose result is passed to that module's `train`. A stage with its own `train.py`
    has `table` instead: the file and target column to train on. `database` says whether the app has a
    database, created by its command `init-db`.
    """

    number: int
    name: str
    title: str
    learn: str
    minutes: int
    app: bool = True
    model: str | None = None
    dataset: str | None = None
    table: tuple[str, str] | None = None
    database: bool = False
    notebooks: tuple[str, ...] | None = None  # if None, the one named like the stage

    @property
    def code(self) -> str:
        """The number as people type it: `04`."""
        return f"{self.number:02}"

    @property
    def slug(self) -> str:
        """The name of its folder and its notebook, also used in URLs: `04_iris`."""
        return f"{self.code}_{self.name}"

    @property
    def names(self) -> tuple[str, ...]:
        """What people may type for it: `4`, `04`, `iris` or `04_iris`."""
        return str(self.number), self.code, self.name, self.slug

    @property
    def card_file(self) -> Path:
        """The card of its trained model; the file exists once the model does."""
        return self.folder / "model" / f"{self.model}.json"

    @property
    def notebook_files(self) -> tuple[Path, ...]:
        return tuple(base() / f"notebooks/{name}.ipynb" for name in self.notebooks or (self.slug,))

    @property
    def port(self) -> int:
        """The port of `python3 -m workshop app`: 8004 for stage 04."""
        return 8000 + self.number


STAGES = (
    Stage(
        number=0,
        name="start_here",
        title="Start here",
        learn="How the workshop works, what its helpers do, and where to get help when you're stuck.",
        minutes=40,
        app=False,
    ),
    Stage(
        number=1,
        name="hello",
        title="Hello, Flask",
        learn="Your first app, from an empty file; then routes, requests, sessions and a small JSON API.",
        minutes=90,
    ),
    Stage(
        number=2,
        name="templates",
        title="Pages from templates",
        learn="Jinja: values, loops, conditions and inheritance, static files, and safe escaping.",
        minutes=55,
    ),
    Stage(
        number=3,
        name="prime",
        title="From a script to a form",
        learn="Turn a program that asks with input() into a page with a form, and an API.",
        minutes=60,
    ),
    Stage(
        number=4,
        name="iris",
        title="An iris classifier on the web",
        learn="Train a pipeline, type an app that serves it, and compare it with a careful version.",
        minutes=90,
        model="iris",
        dataset="read_iris",
    ),
    Stage(
        number=5,
        name="census",
        title="Census income, a documented API",
        learn="Real data with gaps and categories, fairness, explanations, and an API others build on.",
        minutes=185,
        model="census",
        dataset="fetch_census",
        notebooks=("05a_census_data", "05b_census_model", "05c_census_app"),
    ),
    Stage(
        number=6,
        name="housing",
        title="Housing prices, with accounts",
        learn="A product: prices with an interval, accounts, a database, tokens; and five attacks on it.",
        minutes=150,
        model="housing",
        dataset="fetch_housing",
        database=True,
        notebooks=("06_housing", "06b_attacks"),
    ),
    Stage(
        number=7,
        name="yours",
        title="Your own model",
        learn="Any table as an app of your own, on the internet: tests, hosts, a container, a watched log.",
        minutes=75,
        model="card",
        table=("data/penguins.csv", "species"),
    ),
)


def stages_with_app() -> tuple[Stage, ...]:
    return tuple(stage for stage in STAGES if stage.app)


def stages_with_model() -> tuple[Stage, ...]:
    return tuple(stage for stage in STAGES if stage.model)


def find_stage(text: str | int) -> Stage:
    """The stage that `text` means: `4`, `04`, `iris` and `04_iris` all mean the same stage.

    Raises `UnknownStage` with a list of the stages.
    """
    wanted = str(text).strip().lower().rstrip("/\\")
    for stage in STAGES:
        if wanted in stage.names:
            return stage
    known = ", ".join(stage.slug for stage in STAGES)
    raise UnknownStage(f"there is no stage {text!r}; the stages are {known}")


def require_app(stage: Stage) -> None:
    """Raise `WorkshopError` if a stage has only notebooks."""
    if not stage.app:
        raise WorkshopError(f"stage {stage.slug} has no app; open its notebook instead")


def load_module(stage: Stage, name: str) -> ModuleType:
    """Import `name`.py from a stage's app folder, the way `flask --app apps/NN_name/app.py` finds it.

    Every stage has an `app.py`, so that module gets a unique name in this process; all other module names
    are already unique across the apps.
    """
    if str(stage.folder) not in sys.path:
        sys.path.insert(0, str(stage.folder))
    if name != "app":
        return importlib.import_module(name)
    unique = f"workshop_stage_{stage.slug}"
    if unique not in sys.modules:
        spec = importlib.util.spec_from_file_location(unique, stage.app_file)
        module = importlib.util.module_from_spec(spec)
        sys.modules[unique] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[unique]
            raise
    return sys.modules[unique]


def load_app_module(slug: str) -> ModuleType:
    """The imported `app.py` of the stage named `slug`, such as `04_iris`."""
    return load_module(find_stage(slug), "app")
