"""`python3 -m workshop`: sets the workshop up if needed, then runs the command.

This file and `workshop/__init__.py` keep to syntax that any Python 3 can read, so that one that is too
old can say so.
"""

import sys

if sys.version_info < (3, 11):
    sys.exit(
        "The workshop needs Python 3.11 or newer, and this is Python %d.%d: "
        "install a newer one from python.org, then run the same command with it."
        % sys.version_info[:2]
    )


def import_only_ours():
    """Take what is meant for another Python out of this process's path, and out of what it starts.

    Modules there, or next to README.md, could have the name of one that set-up or a command imports.
    """
    import os  # which Python itself has imported already

    foreign = [os.getcwd()]  # noqa: PTH109 (nothing more is imported yet)
    if "1" not in os.environ.get("WORKSHOP_NO_VENV", ""):  # that Python may need them
        foreign += os.environ.pop("PYTHONPATH", "").split(os.pathsep)
        os.environ.pop("PYTHONHOME", "")
    sys.path[:] = [place for place in sys.path if place not in map(os.path.abspath, foreign)]


def main(arguments):
    """Set up if needed, then run the command inside the environment. Returns the exit code."""
    import importlib.util

    from workshop.setup.environment import damage, find_environment
    from workshop.setup.process import SetupError, one_at_a_time, replace_process, say

    environment = find_environment()
    try:
        ready = environment.is_ready
        if not ready:
            from workshop.setup.set_up import set_up  # here, because most calls find all set up

            with one_at_a_time():
                if not environment.is_ready:
                    set_up(environment)
    except SetupError as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        say("\nSet-up was interrupted: the same command finishes it.")
        return 130
    if not (ready and environment.is_current):
        return replace_process([environment.python, "-m", "workshop"] + arguments)
    try:
        from workshop.cli import run
    except Exception as error:
        if isinstance(error, ImportError) and (error.name or "").startswith("workshop"):
            say("%s is missing: get the whole folder of the workshop again." % error.name)
            return 1
        # An upgraded Python looks for its packages in another folder; a virus scanner may take a file.
        if importlib.util.find_spec("click") and not damage():
            raise
        say("Packages are gone or damaged (by an upgrade?): the same command installs them again.")
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
    except KeyboardInterrupt:  # while the command was still being loaded, or had ended
        sys.stderr.write("\nInterrupted: the same command finishes it.\n")
        code = 130
    sys.exit(code)
