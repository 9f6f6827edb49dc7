"""Version green of the iris model: a small random forest.

The model server calls `init` once and `run` with each request's body. Unlike
blue it says how sure it is.
"""

import json
import os
import pathlib

import joblib

MODEL = None
CLASSES = None


def init():
    global MODEL, CLASSES
    kept = joblib.load(pathlib.Path(os.environ["AZUREML_MODEL_DIR"]) / "model.joblib")
    MODEL, CLASSES = kept["model"], kept["classes"]


def run(data):
    rows = json.loads(data)["data"]
    sure = MODEL.predict_proba(rows)
    return {
        "class": [CLASSES[row.argmax()] for row in sure],
        "probability": [round(float(row.max()), 3) for row in sure],
    }
