"""`python -m workshop.host.development ARGS`: the `flask` command, for `app --debug`.

Flask starts a second process that serves, and restarts it after each change. If the first process is
killed, it can't stop the second, which would keep the port; so the second one watches its parent.
"""

import os
import threading

from flask.cli import main

from workshop.host.end_with_parent import follow
from workshop.host.server import announce

URL = "WORKSHOP_APP_URL"  # the variable that contains the address to print

if __name__ == "__main__":
    if os.environ.get("WERKZEUG_RUN_MAIN") == "true":  # the second process
        follow(os.getppid())
    else:
        url = os.environ[URL]
        told = [url, f"Open {url} ; press Ctrl-C to stop."]
        threading.Thread(target=announce, args=told, daemon=True).start()
    main()
