"""The entry scripts as the model server calls them, without a server.

Run by `cargo xtask test`, which sets IRIS_MODELS to the folder of the trained
models.
"""

import importlib.util
import json
import os
import pathlib
import unittest

HERE = pathlib.Path(__file__).parent
SETOSA, VIRGINICA = [5.1, 3.5, 1.4, 0.2], [6.3, 3.3, 6.0, 2.5]


def served(version):
    """The version's entry script, loaded and ready."""
    spec = importlib.util.spec_from_file_location(version, HERE / version / "score.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    os.environ["AZUREML_MODEL_DIR"] = str(pathlib.Path(os.environ["IRIS_MODELS"]) / version)
    script.init()
    return script


class Score(unittest.TestCase):
    def test_both_versions_know_two_typical_flowers(self):
        for version in ("blue", "green"):
            answer = served(version).run(json.dumps({"data": [SETOSA, VIRGINICA]}))
            self.assertEqual(answer["class"], ["setosa", "virginica"], version)

    def test_green_says_how_sure_it_is(self):
        answer = served("green").run(json.dumps({"data": [SETOSA]}))
        self.assertGreater(answer["probability"][0], 0.9)


if __name__ == "__main__":
    unittest.main()
