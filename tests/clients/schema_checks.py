"""Checks the JSON Schemas of `tidegate schema` with a validator of others.

usage: schema_checks.py BINARY ROOT
Fails where a schema is none, where it refuses what the gateway takes (every resource
file of the repository, every case of its check that is fine), and where it takes what
is wrong by shape: a key, a type, a word, a count, something missing.
"""

import copy
import json
import pathlib
import re
import subprocess
import sys

import jsonschema
import yaml

API = "tidegate.dev/v1alpha1"
KINDS = {"gateway": "GatewayConfig", "plugin": "Plugin", "endpoint": "Endpoint"}
NAMES = {"gateway": "default", "plugin": "mine", "endpoint": "iris"}
DRAFTS = {"7": jsonschema.Draft7Validator, "2020-12": jsonschema.Draft202012Validator}

# What the check says of a wrong shape; the rest is about how keys fit each other.
SHAPES = re.compile(
    "|".join(
        (
            r": no such key",
            r" is not one of ",
            r" is not (true or false|a list|a map|text|a whole number)",
            r" is not a (percentage|duration|size|quantity|digest|listener's name)",
            r"has no unit; write",
            r"characters; a name has 3 to 32",
            r" is not shipped; ",
            r": (address|certFile|keyFile|plugin|command|addresses|versions|by|percent|version|type) is missing",
            r"spec\.(versions|metrics|listeners)\[\d\]: name is missing",
            r": (no path, so that|no listener;)",
            r": \d+ (versions|addresses|policies|paths|metrics); ",
            r": -?\d+(\.\d+)? is out of bounds",
            r"name: \S+ is not a metric's or label's name",
            r"^(?!.*\.plugin: ).*comes with a later version",
        )
    )
)
# In words of the check a shape, but of text that is some quantity, just not one in bounds.
NOT_SHAPES = re.compile(r"is more exact than|labels\.|[0-9](ms|s|m|h|d|[KMGT]i) is out of bounds")


class Yaml12(yaml.SafeLoader):
    """YAML 1.2 as the gateway and editors read it: `yes` is text."""


Yaml12.yaml_implicit_resolvers = {}
for tag, pattern, first in (
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    ("int", r"^[-+]?[0-9]+$", list("-+0123456789")),
    ("float", r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$", list("-+.0123456789")),
):
    Yaml12.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(pattern), first)


def documents(text):
    return [one for one in yaml.load_all(text, Yaml12) if one is not None]


def resource_files(root):
    """Every YAML or JSON file with resources, and every block of a page."""
    for path in sorted(root.rglob("*")):
        inside = path.relative_to(root).parts
        if any(part in ("target", "node_modules") or part.startswith(".") for part in inside):
            continue
        if path.suffix in (".yaml", ".yml") and f"apiVersion: {API}" in path.read_text("utf-8"):
            yield path, path.read_text("utf-8")
        if path.suffix == ".md":
            for block in re.findall(r"\n```yaml\n(.*?)\n```", path.read_text("utf-8"), re.S):
                if f"apiVersion: {API}" in block:
                    yield path, block


def cases(root):
    """The table of the check's own tests: a resource and what is told of it."""
    for path in sorted((root / "gateway/src/resource/check/tests").glob("*.txt")):
        for block in path.read_text("utf-8").strip().split("\n\n"):
            first, *told = block.split("\n")
            kind, spec = first.split(" ", 1)
            resource = {
                "apiVersion": API,
                "kind": KINDS[kind],
                "metadata": {"name": NAMES[kind]},
                "spec": yaml.load(spec, Yaml12),
            }
            yield path.name, first, resource, [line.strip() for line in told]


# Beside the cases of the check: what is wrong around `spec`.
AROUND = (
    ({"apiVersion": "tidegate.dev/v2"}, "apiVersion"),
    ({"apiVersion": None}, "apiVersion"),
    ({"kind": "Endpoints"}, "kind"),
    ({"kind": None}, "kind"),
    ({"metadata": {"name": "I"}}, "name"),
    ({"metadata": {"name": "iris", "lables": {}}}, "lables"),
    ({"metadata": {"name": "iris", "labels": {"a": 1}}}, "labels"),
    ({"metadata": None}, "metadata"),
    ({"metadata": {}}, "metadata"),
    ({"spec": None}, "spec"),
    ({"spec": []}, "spec"),
    ({"specs": {}}, "specs"),
)


def refused(validators, resource):
    return [draft for draft, validator in validators.items() if not validator.is_valid(resource)]


def main():
    binary, root = sys.argv[1], pathlib.Path(sys.argv[2])
    validators = {}
    for draft, validator in DRAFTS.items():
        for kind in ("", *KINDS.values()):
            words = [binary, "schema", *([kind] if kind else []), "--draft", draft]
            schema = json.loads(subprocess.run(words, check=True, capture_output=True).stdout)
            assert schema["$schema"] == validator.META_SCHEMA["$schema"], schema["$schema"]
            validator.check_schema(schema)
            validators[draft, kind] = validator(schema)

    def of(kind):
        return {key: one for key, one in validators.items() if key[1] in ("", kind)}

    files = 0
    for path, text in resource_files(root):
        for resource in documents(text):
            for (draft, kind), validator in of(resource["kind"]).items():
                for error in validator.iter_errors(resource):
                    sys.exit(f"{path}: draft {draft} {kind}: {error.json_path}: {error.message}")
        files += 1
    assert files >= 8, f"{files} files"

    fine = wrong = 0
    for name, case, resource, told in cases(root):
        by = refused(of(resource["kind"]), resource)
        if told == ["fine"]:
            assert not by, f"{name}: {case}\nis fine, and refused by {by}"
            fine += 1
        elif any(SHAPES.search(line) and not NOT_SHAPES.search(line) for line in told):
            assert len(by) == 4, f"{name}: {case}\n{told}\nrefused only by {by}"
            wrong += 1
    assert fine > 20 and wrong >= 75, (fine, wrong)

    good = {
        "apiVersion": API,
        "kind": "Endpoint",
        "metadata": {"name": "iris"},
        "spec": {"versions": [{"name": "blue", "static": {"addresses": ["127.0.0.1:1"]}}]},
    }
    assert not refused(of("Endpoint"), good)
    for change, what in AROUND:
        bad = copy.deepcopy(good)
        bad.update(change)
        assert len(refused(of("Endpoint"), bad)) == 4, what
        for key in [key for key, value in change.items() if value is None]:
            del bad[key]
            assert len(refused(of("Endpoint"), bad)) == 4, f"no {what}"
    print(f"all good: {files} files, {fine} fine and {wrong} wrong cases")


if __name__ == "__main__":
    main()
