"""Trains the two versions of the iris model.

Called by `cargo xtask demo` at set-up; writes DIRECTORY/blue/model.joblib and
DIRECTORY/green/model.joblib. Deterministic: the same versions of scikit-learn
give the same models.

    python train.py DIRECTORY
"""

import pathlib
import sys

import joblib
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score

MODELS = {
    "blue": LogisticRegression(max_iter=1000),
    "green": RandomForestClassifier(n_estimators=20, max_depth=4, random_state=7),
}


def main(directory: pathlib.Path) -> None:
    iris = load_iris()
    for version, model in MODELS.items():
        accuracy = cross_val_score(model, iris.data, iris.target, cv=5).mean()
        model.fit(iris.data, iris.target)
        folder = directory / version
        folder.mkdir(parents=True, exist_ok=True)
        joblib.dump({"model": model, "classes": list(map(str, iris.target_names))}, folder / "model.joblib")
        print(f"{version}: {type(model).__name__}, accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
