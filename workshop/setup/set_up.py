"""Set-up with the standard library alone: makes `.venv` and fills it from the lock."""

import errno
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from workshop.setup import mirror
from workshop.setup.environment import Environment, make_environment
from workshop.setup.installer import NotServed, find_installer, places
from workshop.setup.lock import LOCK, PROJECT, TEST_LOCK, locked
from workshop.setup.process import ROOT, SetupError, one_at_a_time, say

ROOM = 50e6  # bytes; where less is left after a failure, that is why


def sentence_for(error: OSError) -> str:
    """What to do about a file system that refuses."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "The disk is full: free about 1 GB, then run the same command again."
    return (
        f"The workshop cannot write in {ROOT}: move it to a folder of your own, "
        "such as one in Documents, and run the same command there."
    )


def from_first_place(act: Callable[[str | None], None]) -> None:
    """Call `act` with one place after the other until one has all packages.

    Raises the `NotServed` of the last one, the network, if none has.
    """
    lacking = []
    for place in places():
        if place:
            say(f"      (all packages come from {mirror.shown(place)})")
        try:
            act(place)
            return
        except NotServed as error:
            if place:
                lacking.append(mirror.shown(place))
                say(f"      {error}")
                say("      (asking the next place)")
            elif lacking:
                raise NotServed(
                    f"{' and '.join(lacking)} lacks packages that this Python and system need (the lines "
                    f"above say which). {error}"
                ) from error
            else:
                raise


def require(*files: Path) -> None:
    """Raise `SetupError` if one of the files is not there."""
    for file in files:
        if not file.is_file():
            raise SetupError(
                f"{file.name} is not in {ROOT}: get the whole folder of the workshop again."
            )


def set_up(environment: Environment) -> None:
    """Make the environment whole. Raises `SetupError` with a sentence that says what to do."""
    require(LOCK, PROJECT)
    began = time.monotonic()
    where = environment.prefix if environment.own else environment.python
    say(f"Setting up the workshop in {where} (once; a minute or two, depending on the network)")

    def fill(place: str | None) -> None:
        say("  2/4 getting uv, which installs packages fast")
        installer = find_installer(environment, place)
        # Some of them in two versions for two Pythons, and a few only for other systems.
        say(
            f"  3/4 installing about {len({pin.partition('==')[0] for pin in locked(LOCK)})} packages"
        )
        installer.install(LOCK)
        say("  4/4 installing the workshop itself")
        installer.install_workshop()

    try:
        whole_before = environment.stamp.exists() and environment.python.exists()
        environment.stamp.unlink(missing_ok=True)
        if environment.own and not environment.is_current and not whole_before:
            say("  1/4 making the environment")
            make_environment(environment.prefix)
        else:
            say("  1/4 using the environment that is there")
        from_first_place(fill)
        environment.stamp.write_text(environment.digest, encoding="ascii")
    except (OSError, SetupError) as error:
        raise _with_reason(error, environment.prefix.parent) from error
    say(f"Set up in {time.monotonic() - began:.0f} s.")


def set_up_tests(environment: Environment) -> None:
    """Install what only the tests need, once. Raises `SetupError` where it isn't available."""
    with one_at_a_time():
        if environment.is_ready_for_tests:
            return
        say(f"Installing what only the tests need ({TEST_LOCK.name}; once)")
        try:
            require(TEST_LOCK)
            environment.test_stamp.unlink(missing_ok=True)
            from_first_place(lambda place: find_installer(environment, place).install(TEST_LOCK))
            environment.test_stamp.write_text(environment.test_digest, encoding="ascii")
        except (OSError, SetupError) as error:
            raise _with_reason(error, environment.prefix.parent) from error


def _with_reason(error: Exception, folder: Path) -> SetupError:
    """The error to report: a full disk is the reason, whatever an installer made of it."""
    if isinstance(error, OSError):
        return SetupError(sentence_for(error))
    if shutil.disk_usage(folder).free < ROOM:
        return SetupError(sentence_for(OSError(errno.ENOSPC, "")))
    return error
