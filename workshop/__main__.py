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

from workshop.bootstrap import main

sys.exit(main(sys.argv[1:]))
