"""The form of stage 05 once more, as a Streamlit app: the same model file, the same questions.

    python3 -m workshop train 05
    pip install streamlit
    streamlit run benchmarks/streamlit_census.py

Streamlit is not among the workshop's dependencies. `docs/flask-or-streamlit.md` compares the two apps,
with the figures of `benchmarks/frameworks.py`.
"""

import sys
from pathlib import Path

import streamlit as st

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "apps" / "05_census"))
import census_model

model = st.cache_resource(census_model.load)()
person = {}

st.title("Census income, 1994")
with st.form("person"):
    for name, feature in model.card["features"].items():
        label = name.replace("_", " ").capitalize()
        if feature["type"] == "number":
            low, high = int(feature["min"]), int(feature["max"])
            person[name] = st.number_input(label, low, high, round(feature["median"]), key=name)
        else:
            words = [None] * feature["optional"] + feature["categories"]
            usual = words.index(feature["most_common"])
            person[name] = st.selectbox(label, words, usual, format_func=str, key=name)
    asked = st.form_submit_button("Predict")

if asked:
    contributions = model.explain(person)
    probability = model.probability(contributions)
    st.metric("Probability of earning more than $50K", f"{probability:.1%}")
    st.bar_chart(contributions, horizontal=True)
