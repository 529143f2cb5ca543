from datetime import datetime

from flask import Flask

app = Flask(__name__)


@app.get("/")
def index():
    return f"<h1>Hello world</h1><p>It is {datetime.now():%H:%M:%S}.</p>"
