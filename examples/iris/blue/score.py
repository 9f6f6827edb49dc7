"""Version blue of the iris model: logistic regression.

The model server calls `init` once and `run` with each request's body.
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
    return {"class": [CLASSES[index] for index in MODEL.predict(rows)]}
