"""`python3 -m workshop`: sets the workshop up if needed, then runs the command.

This file and `workshop/__init__.py` keep to syntax that any Python 3 can read, so that one too old
can say so.
"""

import sys

if sys.version_info < (3, 11):
    sys.exit(
        "The workshop needs Python 3.11 or newer, and this is Python %d.%d: "
        "install a newer one from python.org, then run the same command with it."
        % sys.version_info[:2]
    )

try:
    from workshop.bootstrap import main

    code = main(sys.argv[1:])
except KeyboardInterrupt:  # while the command was still being loaded, or had ended
    sys.stderr.write("\nInterrupted: the same command finishes it.\n")
    code = 130
sys.exit(code)
