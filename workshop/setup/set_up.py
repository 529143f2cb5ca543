"""Set-up with the standard library alone: makes `.venv` and fills it from the lock."""

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

ROOM = 50e6  # bytes; where less is left after a failure, that is why


def sentence_for(error: OSError) -> str:
    """What to do about a file system that refuses."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "The disk is full: free about 1 GB, then run the same command again."
    return (
        f"The workshop cannot write in {ROOT}: move it to a folder of your own, "
        "such as one in Documents, and run the same command there."
    )


@contextlib.contextmanager
def filling(folder: Path) -> Iterator[None]:
    """Turn an OSError into a `SetupError`. A full disk is the reason, whatever an installer made of it."""
    try:
        yield
    except OSError as error:
        raise SetupError(sentence_for(error)) from error
    except SetupError as error:
        if shutil.disk_usage(folder).free < ROOM:
            raise SetupError(sentence_for(OSError(errno.ENOSPC, ""))) from error
        raise


def require(*files: Path) -> None:
    """Raise `SetupError` if one of the files is not there."""
    for file in files:
        if not file.is_file():
            raise SetupError(
                f"{file.name} is not in {ROOT}: get the whole folder of the workshop again."
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
                say(f"      {error}\n      (asking the next place)")
            elif lacking:
                raise NotServed(
                    f"{' and '.join(lacking)} lacks packages that this Python and system need (the lines "
                    f"above say which). {error}"
                ) from error
            else:
                raise


def set_up(environment: Environment) -> None:
    """Make the environment whole. Raises `SetupError` with a sentence that says what to do."""
    require(LOCK, PROJECT)
    began = time.monotonic()
    where = environment.prefix if environment.own else environment.python
    say(f"Setting up the workshop in {where} (once; a minute or two, depending on the network)")

    def fill(place: str | None) -> None:
        say("  2/4 getting uv, which installs packages fast")
        find_uv(environment, place)
        # Some of them in two versions for two Pythons, and a few only for other systems.
        count = len({pin.partition("==")[0] for pin in locked(LOCK)})
        say(f"  3/4 installing about {count} packages")
        install(environment, place, "--require-hashes", "-r", LOCK)
        say("  4/4 installing the workshop itself")
        # No build isolation: what builds it (flit-core) came with the lock, so nothing is downloaded.
        # "." because the path of the folder may hold brackets, which would be read as extras.
        install(environment, place, "--no-deps", "--no-build-isolation", "-e", ".")

    with filling(ROOT):
        whole_before = environment.stamp.exists() and environment.is_made
        environment.stamp.unlink(missing_ok=True)
        if environment.own and not environment.is_current and not whole_before:
            say("  1/4 making the environment")
            make_environment(environment.prefix)
        else:
            say("  1/4 using the environment that is there")
        from_first_place(fill)
        environment.stamp.write_text(environment.digest(LOCK), encoding="ascii")
    say(f"Set up in {time.monotonic() - began:.0f} s.")


def repair(environment: Environment) -> None:
    """Install again, in place, the packages that are damaged, gone or of another version.

    Raises `SetupError` where that fails; what worked before still does.
    """
    require(LOCK)
    say("Installing again what is damaged or gone")
    options = ["--require-hashes", *(f"--reinstall-package={name}" for name in damage())]
    with one_at_a_time(), filling(ROOT):
        from_first_place(lambda place: install(environment, place, *options, "-r", LOCK))


def set_up_tests(environment: Environment) -> None:
    """Install what only the tests need, once. Raises `SetupError` where it isn't available."""
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
