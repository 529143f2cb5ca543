"""Flask's own command, as `python3 -m workshop app` runs it while somebody works on an app.

With `--debug` it starts a second process, which serves and is started anew at each change. Killed, the
first one could not end the second, which would keep the port; so that one looks after itself.
"""

import os

from flask.cli import main

from workshop.leash import follow

if __name__ == "__main__":
    if os.environ.get("WERKZEUG_RUN_MAIN") == "true":  # the second one
        follow(os.getppid())
    main()
