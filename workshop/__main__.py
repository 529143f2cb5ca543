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


def main(arguments):
    """Set up if needed, then run the command inside the environment. Returns the exit code."""
    import importlib.util

    from workshop.setup.environment import find_environment
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
    if importlib.util.find_spec("click") is None:
        # An upgraded Python looks for its packages in another folder.
        say("The packages are gone (was Python upgraded?): the same command installs them again.")
        try:
            environment.forget()
        except OSError as error:
            say("First delete %s by hand (%s)." % (environment.stamp, error.strerror))
        return 1
    from workshop.cli import run

    return run(arguments)


if __name__ == "__main__":
    try:
        code = main(sys.argv[1:])
    except KeyboardInterrupt:  # while the command was still being loaded, or had ended
        sys.stderr.write("\nInterrupted: the same command finishes it.\n")
        code = 130
    sys.exit(code)
