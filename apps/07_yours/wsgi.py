"""How the app is served for others: `python wsgi.py`, or any WSGI server with `wsgi:app`.

Environment variables
    PORT             where it listens; without it, 8000
    HOST             the address it listens on; without it, 127.0.0.1: only this machine can ask
    TRUSTED_PROXIES  how many proxies in front of it are to be believed; without it, none is, and the app
                     takes the proxy's address for the visitor's and builds links with http
    OMP_NUM_THREADS  threads for one prediction; without it, 1: a single row gains nothing from more
"""

import os

# scikit-learn reads it once, when it is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from granian import Granian
from granian.constants import Interfaces
from werkzeug.middleware.proxy_fix import ProxyFix

from app import create_app

app = create_app()
if proxies := int(os.environ.get("TRUSTED_PROXIES") or 0):
    app.wsgi_app = ProxyFix(
        app.wsgi_app, x_for=proxies, x_proto=proxies, x_host=proxies, x_prefix=proxies
    )

if __name__ == "__main__":
    Granian(
        "wsgi:app",
        address=os.environ.get("HOST") or "127.0.0.1",
        port=int(os.environ.get("PORT") or 8000),
        interface=Interfaces.WSGI,
        blocking_threads=128,  # each one waits for one slow visitor
    ).serve()
