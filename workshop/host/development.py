"""`python -m workshop.host.development ARGS`: Flask's own command, for `app --debug`.

It starts a second process, which serves and is started anew at each change. Killed, the
first one could not end the second, which would keep the port; so that one looks after itself.
"""

import os
import threading

from flask.cli import main

from workshop.host.end_with_parent import follow
from workshop.host.server import announce

URL = "WORKSHOP_APP_URL"  # the variable that holds the address to print

if __name__ == "__main__":
    if os.environ.get("WERKZEUG_RUN_MAIN") == "true":  # the second one
        follow(os.getppid())
    else:
        url = os.environ[URL]
        told = [url, f"Open {url} ; press Ctrl-C to stop."]
        threading.Thread(target=announce, args=told, daemon=True).start()
    main()
