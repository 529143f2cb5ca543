"""`python3 -m workshop`: sets the workshop up if necessary, then runs the command.

This file and `workshop/__init__.py` use only syntax that any Python 3 understands, so a version that is too
old can tell you that it is.
"""

import sys

if sys.version_info < (3, 11):
    sys.exit(
        "The workshop needs Python 3.11 or newer, and this is Python %d.%d: "
        "install a newer one from python.org, then run the same command with it."
        % sys.version_info[:2]
    )


def import_only_ours():
    """Remove folders meant for another Python from the module path, here and in child processes.

    A module in one of them, or next to README.md, could have the same name as one that we import.
    """
    import os  # already imported by Python itself

    foreign = [os.getcwd()]  # noqa: PTH109 (nothing else is imported yet)
    if "1" not in os.environ.get("WORKSHOP_NO_VENV", ""):  # then this Python may need them
        foreign += os.environ.pop("PYTHONPATH", "").split(os.pathsep)
        os.environ.pop("PYTHONHOME", "")
    sys.path[:] = [place for place in sys.path if place not in map(os.path.abspath, foreign)]


def main(arguments):
    """Set up if necessary, then run the command inside the environment. Returns the exit code."""
    import importlib.util

    from workshop.setup.environment import damage, find_environment
    from workshop.setup.process import SetupError, one_at_a_time, replace_process, say

    environment = find_environment()
    try:
        ready = environment.is_ready
        if not ready:
            from workshop.setup.set_up import set_up  # here, because most runs don't need it

            with one_at_a_time():
                if not environment.is_ready:
                    set_up(environment)
    except SetupError as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        say("\nSet-up was interrupted: run the same command again to finish it.")
        return 130
    if not (ready and environment.is_current):
        return replace_process([environment.python, "-m", "workshop"] + arguments)
    try:
        from workshop.cli import run
    except Exception as error:
        if isinstance(error, ImportError) and (error.name or "").startswith("workshop"):
            say("%s is missing: download the whole workshop folder again." % error.name)
            return 1
        # After an upgrade, Python looks in another folder; a virus scanner may have removed a file.
        if importlib.util.find_spec("click") and not damage():
            raise
        say(
            "Packages are missing or damaged (by an upgrade?): run the same command again to reinstall them."
        )
        try:
            environment.forget()
        except OSError as error:
            say("First delete %s by hand (%s)." % (environment.stamp, error.strerror))
        return 1
    return run(arguments)


if __name__ == "__main__":
    import_only_ours()
    try:
        code = main(sys.argv[1:])
    except KeyboardInterrupt:  # before the command started, or after it ended
        sys.stderr.write("\nInterrupted: run the same command again to finish.\n")
        code = 130
    sys.exit(code)
