"""The WSGI file for PythonAnywhere: paste this into the file that its Web tab links to, and change two names.

The server that reads it works in another folder than the app's, so this says where the app is.
"""

import os
import sys

YOU, APP = "YOU", "shop"  # your username there, and the folder that you uploaded to your home

os.environ["TRUSTED_NAMES"] = f"{YOU.lower()}.pythonanywhere.com"
os.environ["TRUSTED_PROXIES"] = "1"  # PythonAnywhere's own, which speaks HTTPS for you
os.environ["PREDICTION_LOG"] = f"/home/{YOU}/predictions.log"
sys.path.insert(0, f"/home/{YOU}/{APP}")

from wsgi import app as application  # noqa: E402, F401
