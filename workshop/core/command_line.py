"""Building blocks of the command line: ordered commands, and types for stages, apps and ports."""

import errno
from collections.abc import Callable

import click

from workshop.core.errors import WorkshopError
from workshop.core.own_apps import TYPED, NoSuchApp, OwnApp, find_app
from workshop.core.stages import Stage, UnknownStage, find_stage

# What `kit` can include wheels for; workshop/teach/wheels.py describes the systems.
KIT_SYSTEMS = ("windows", "macos", "macos-intel", "linux", "linux-arm")
KIT_PYTHONS = ("3.11", "3.12", "3.13", "3.14")

# Errors of a disk that is full or read-only, or of a folder without write permission.
REFUSALS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}


class Interrupted(WorkshopError):
    """The user pressed Ctrl-C."""


class InOrder(click.Group):
    """Lists the commands as defined, in the order in which a newcomer needs them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interrupt:  # click itself would print "Aborted!"
            raise Interrupted(
                f"\n{ctx.invoked_subcommand} was interrupted: run the same command again to finish it."
            ) from interrupt


class StageType(click.ParamType):
    """A stage as people type it: 4, 04, iris or 04_iris."""

    name = "stage"

    def find(self, text: str) -> Stage | OwnApp:
        return find_stage(text)

    def convert(self, value, param, ctx) -> Stage | OwnApp:
        if isinstance(value, Stage | OwnApp):
            return value
        try:
            return self.find(value)
        except (UnknownStage, NoSuchApp) as error:
            self.fail(str(error), param, ctx)


class AppType(StageType):
    """A stage, or the name of one of the learner's own apps; `prepare` is called before the search."""

    name = "app"

    def __init__(self, prepare: Callable[[], None]) -> None:
        self.prepare = prepare

    def find(self, text: str) -> Stage | OwnApp:
        self.prepare()
        return find_app(text)


class PortType(click.ParamType):
    """A number from 1 to 65535."""

    name = "port"

    def convert(self, value, param, ctx) -> int:
        text = str(value)
        if not (text.isdecimal() and text.isascii() and 1 <= int(text) <= 65535):
            self.fail(f"{text!r} is not a port: give a number from 1 to 65535", param, ctx)
        return int(text)


def stage_or_typed(ctx: click.Context, param: click.Parameter, value: str) -> Stage | str:
    """A stage, or the name of an app that learners type in a notebook: hello or my."""
    return value if value in TYPED else StageType().convert(value, param, ctx)
