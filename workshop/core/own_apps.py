"""The learner's own apps: the folders of `work/apps` that are no stages.

Each has an `app.py` that holds `app` or `create_app()`. Two of them may have modules of the same names, so
each runs in a process of its own, and nothing else ever imports one.
"""

import json
import re
from dataclasses import dataclass

from workshop.core.errors import WorkshopError
from workshop.core.files import write_whole
from workshop.core.stages import STAGES, HasApp, Stage, UnknownStage, base, find_stage

# Windows allows no folder with one of the names in the second bracket.
NAME = re.compile(r"(?!-)(?!(?i:con|prn|aux|nul|com\d|lpt\d)$)[A-Za-z0-9_-]{1,40}")
FIRST_PORT = 8010
PORTS = ".ports.json"  # in the folder `apps`: the port that each app has had from its first run on
TYPED = {"hello": "01", "my": "04"}  # those that a notebook has learners type, and its stage


class NoSuchApp(WorkshopError):
    """An app of the learner's own was asked for that can't be, or is not there."""


@dataclass(frozen=True)
class OwnApp(HasApp):
    """An app of the learner's own, with the names that a `Stage` has for the same things."""

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
        """The port it runs on, from 8010 up. It keeps the one that it got first."""
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
    """Return `name`, if an app may be called that. Raises `NoSuchApp`."""
    if not NAME.fullmatch(name):
        raise NoSuchApp(
            f"{name!r} can't be the name of an app: use letters, digits, _ and -, at most 40 of them."
        )
    if name.lower() in {each for stage in STAGES for each in stage.names}:
        raise NoSuchApp(f"{name!r} is the name of a stage: give your app another one.")
    return name


def own_apps() -> list[OwnApp]:
    """The apps there are, by name.

    `hello` is one of them where notebook 01 has had it typed, although stage 01 goes by that name too.
    """
    taken = {name for stage in STAGES for name in stage.names} - TYPED.keys()
    found = sorted(file.parent.name for file in (base() / "apps").glob("*/app.py"))
    return [OwnApp(name) for name in found if NAME.fullmatch(name) and name.lower() not in taken]


def find_app(text: str | int) -> Stage | OwnApp:
    """The learner's own app of this name, or else the stage that `text` means.

    Raises `NoSuchApp`, which lists what there is.
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
