"""The learner's own apps: the folders in `work/apps` that aren't stages.

Each has an `app.py` that defines `app` or `create_app()`. Two of them may have modules with the same name, so
each runs in a separate process, and nothing else ever imports one.
"""

import json
import re
from dataclasses import dataclass

from workshop.core.errors import WorkshopError
from workshop.core.files import write_whole
from workshop.core.stages import STAGES, HasApp, Stage, UnknownStage, base, find_stage

# Windows reserves the names in the second group.
NAME = re.compile(r"(?!-)(?!(?i:con|prn|aux|nul|com\d|lpt\d)$)[A-Za-z0-9_-]{1,40}")
FIRST_PORT = 8010
PORTS = ".ports.json"  # in the folder `apps`: the port that each app got on its first run
TYPED = {"hello": "01", "my": "04"}  # the apps that learners type in a notebook, and its stage


class NoSuchApp(WorkshopError):
    """There is no such app of the learner's own, or there can't be one with that name."""


@dataclass(frozen=True)
class OwnApp(HasApp):
    """One of the learner's own apps; the attributes have the same names as those of a `Stage`."""

    name: str
    database: bool = False
    app: bool = True

    @property
    def slug(self) -> str:
        return self.name

    code = slug

    @property
    def model(self) -> str | None:
        """The folder of its model, if it has one."""
        return "model" if (self.folder / "model").is_dir() else None

    @property
    def port(self) -> int:
        """The port it runs on, 8010 or higher. It keeps the port from its first run."""
        file = base() / "apps" / PORTS
        try:
            ports = json.loads(file.read_bytes())
            kept = {str(name): int(port) for name, port in ports.items()}
        except (FileNotFoundError, ValueError, TypeError, AttributeError):
            kept = {}
        if self.name not in kept:
            kept[self.name] = max([FIRST_PORT - 1, *kept.values()]) + 1
            write_whole(file, json.dumps(kept, indent=1).encode())
        return kept[self.name]


def check_name(name: str) -> str:
    """Return `name` if an app can have it. Raises `NoSuchApp` if not."""
    if not NAME.fullmatch(name):
        raise NoSuchApp(
            f"{name!r} can't be the name of an app: use at most 40 letters, digits, _ and -."
        )
    if name.lower() in {each for stage in STAGES for each in stage.names}:
        raise NoSuchApp(f"{name!r} is the name of a stage: give your app another name.")
    return name


def own_apps() -> list[OwnApp]:
    """The learner's own apps, sorted by name.

    `hello` is included if the learner typed it in notebook 01, although it's a name of stage 01 too.
    """
    taken = {name for stage in STAGES for name in stage.names} - TYPED.keys()
    found = sorted(file.parent.name for file in (base() / "apps").glob("*/app.py"))
    return [OwnApp(name) for name in found if NAME.fullmatch(name) and name.lower() not in taken]


def find_app(text: str | int) -> Stage | OwnApp:
    """The learner's own app with this name, or else the stage that `text` means.

    Raises `NoSuchApp`, which lists the stages and apps.
    """
    known = own_apps()
    for app in known:
        if app.name == text:
            return app
    try:
        return find_stage(text)
    except UnknownStage as error:
        check_name(str(text))
        yours = ", ".join(app.name for app in known) or "none yet"
        raise NoSuchApp(
            f"{error}; apps of your own: {yours} (an app is work/apps/{text}/app.py)"
        ) from None
