"""Serves the app to others: `python wsgi.py`, or any WSGI server with `wsgi:app`.

Environment variables
    PORT             where it listens; default: 8000, only for this machine
    HOST             the address it listens on; default: all of them if a host has set PORT
    TRUSTED_PROXIES  how many proxies in front to trust; default: none, so links begin with http
    OMP_NUM_THREADS  threads for one prediction; default: 1, because more are slower for one row
"""

import os

# scikit-learn reads it once, when it is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

if __name__ == "__main__":
    from granian import Granian
    from granian.constants import Interfaces

    Granian(
        "wsgi:app",
        address=os.environ.get("HOST") or ("0.0.0.0" if "PORT" in os.environ else "127.0.0.1"),  # noqa: S104
        port=int(os.environ.get("PORT") or 8000),
        interface=Interfaces.WSGI,
        blocking_threads=128,  # each one waits for one slow visitor
    ).serve()
else:  # a server has imported this file
    from werkzeug.middleware.proxy_fix import ProxyFix

    from app import create_app

    app = create_app()
    if proxies := int(os.environ.get("TRUSTED_PROXIES") or 0):
        app.wsgi_app = ProxyFix(app.wsgi_app, proxies, proxies, proxies, x_prefix=proxies)
