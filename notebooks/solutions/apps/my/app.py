import joblib
import pandas as pd
from flask import Flask, request

app = Flask(__name__)
model = joblib.load(f"{app.root_path}/iris.joblib")


def predict(values):
    flower = {name: float(values[name]) for name in model.feature_names_in_}
    return model.predict(pd.DataFrame([flower]))[0]


@app.route("/", methods=["GET", "POST"])
def index():
    answer = predict(request.form) if request.method == "POST" else "Which iris is it?"
    fields = [f"<p><label>{name} <input name={name}></label>" for name in model.feature_names_in_]
    return f"<h1>{answer}</h1><form method=post>{''.join(fields)}<p><button>Predict</button></form>"


@app.post("/api/predict")
def api():
    return {"species": predict(request.json)}
