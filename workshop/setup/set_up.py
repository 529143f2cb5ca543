"""Set-up with only the standard library: creates `.venv` and installs the locked packages."""

import contextlib
import errno
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from workshop.setup import mirror
from workshop.setup.environment import Environment, damage, make_environment
from workshop.setup.installer import NotServed, find_uv, install, places
from workshop.setup.lock import LOCK, PROJECT, TEST_LOCK, locked
from workshop.setup.process import ROOT, SetupError, one_at_a_time, say

ROOM = 50e6  # bytes; if less is free after a failure, a full disk is the reason


def sentence_for(error: OSError) -> str:
    """What to do about a file system error."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "The disk is full: free about 1 GB, then run the same command again."
    return (
        f"The workshop can't write in {ROOT}: move it to a folder of your own, "
        "such as one in Documents, and run the same command there."
    )


@contextlib.contextmanager
def filling(folder: Path) -> Iterator[None]:
    """Turn an OSError into a `SetupError`. Report a full disk even if an installer reports something else."""
    try:
        yield
    except OSError as error:
        raise SetupError(sentence_for(error)) from error
    except SetupError as error:
        if shutil.disk_usage(folder).free < ROOM:
            raise SetupError(sentence_for(OSError(errno.ENOSPC, ""))) from error
        raise


def require(*files: Path) -> None:
    """Raise `SetupError` if one of the files is missing."""
    for file in files:
        if not file.is_file():
            raise SetupError(
                f"{file.name} is not in {ROOT}: download the whole workshop folder again."
            )


def from_first_place(act: Callable[[str | None], None]) -> None:
    """Call `act` with each place in turn until one has all the packages.

    If none has, raises the `NotServed` of the last place, the network.
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
                say(f"      {error}\n      (trying the next place)")
            elif lacking:
                raise NotServed(
                    f"{' and '.join(lacking)} lacks packages that this Python and system need (the lines "
                    f"above say which). {error}"
                ) from error
            else:
                raise


def set_up(environment: Environment) -> None:
    """Complete the environment. Raises `SetupError` with a sentence that says what to do."""
    require(LOCK, PROJECT)
    began = time.monotonic()
    where = environment.prefix if environment.own else environment.python
    say(f"Setting up the workshop in {where} (once; a minute or two, depending on the network)")

    def fill(place: str | None) -> None:
        say("  2/4 getting uv, which installs packages fast")
        find_uv(environment, place)
        # Some are listed twice, for different Pythons, and a few are only for other systems.
        count = len({pin.partition("==")[0] for pin in locked(LOCK)})
        say(f"  3/4 installing about {count} packages")
        install(environment, place, "--require-hashes", "-r", LOCK)
        say("  4/4 installing the workshop itself")
        # No build isolation: flit-core, which builds it, is in the lock, so nothing is downloaded.
        # "." because brackets in the folder's path would be read as extras.
        install(environment, place, "--no-deps", "--no-build-isolation", "-e", ".")

    with filling(ROOT):
        whole_before = environment.stamp.exists() and environment.is_made
        environment.stamp.unlink(missing_ok=True)
        if environment.own and not environment.is_current and not whole_before:
            say("  1/4 creating the environment")
            make_environment(environment.prefix)
        else:
            say("  1/4 using the existing environment")
        from_first_place(fill)
        environment.stamp.write_text(environment.digest(LOCK), encoding="ascii")
    say(f"Set up in {time.monotonic() - began:.0f} s.")


def repair(environment: Environment) -> None:
    """Reinstall, in place, the packages that are damaged, missing or of another version.

    Raises `SetupError` if that fails; what worked before still works.
    """
    require(LOCK)
    say("Reinstalling damaged and missing packages")
    options = ["--require-hashes", *(f"--reinstall-package={name}" for name in damage())]
    with one_at_a_time(), filling(ROOT):
        from_first_place(lambda place: install(environment, place, *options, "-r", LOCK))


def set_up_tests(environment: Environment) -> None:
    """Install what only the tests need, once. Raises `SetupError` if it isn't available."""
    with one_at_a_time():
        if environment.is_stamped(environment.test_stamp, LOCK, TEST_LOCK):
            return
        say(f"Installing what only the tests need ({TEST_LOCK.name}; once)")
        require(TEST_LOCK)
        what = "--require-hashes", "-r", TEST_LOCK
        with filling(ROOT):
            environment.test_stamp.unlink(missing_ok=True)
            from_first_place(lambda place: install(environment, place, *what))
            digest = environment.digest(LOCK, TEST_LOCK)
            environment.test_stamp.write_text(digest, encoding="ascii")
