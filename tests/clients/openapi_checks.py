"""Checks the OpenAPI document of a running gateway, and its rows without a token.

usage: openapi_checks.py ADMIN_URL TOKEN_FILE
Fails where the document is not OpenAPI 3.1, where an example does not fit its
schema, and where a row but those it says are open answers without the token.
"""

import re
import sys

import jsonschema
import requests
from openapi_spec_validator import OpenAPIV31SpecValidator

METHODS = ("get", "put", "post", "delete", "patch", "head", "options", "trace")


def examples(document):
    """Every schema with examples fits them."""
    count = 0
    resolvable = {"components": document["components"]}

    def walk(value):
        nonlocal count
        if isinstance(value, dict):
            for example in value.get("examples", []) if isinstance(value.get("examples"), list) else []:
                schema = {**{k: v for k, v in value.items() if k != "examples"}, **resolvable}
                jsonschema.Draft202012Validator(schema).validate(example)
                count += 1
            for key, inner in value.items():
                if key != "examples":
                    walk(inner)
        elif isinstance(value, list):
            for inner in value:
                walk(inner)

    walk(document["components"]["schemas"])
    walk(document["paths"])
    return count


def without_token(url, document):
    """Which rows answer without the token, or with another one."""
    answered = []
    for path, item in document["paths"].items():
        target = url + re.sub(r"\{[^}]*\}", "iris", path)
        for method in METHODS:
            if method in item and item[method].get("security") == []:
                continue
            for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic Og=="}):
                answer = requests.request(method, target, headers=headers, timeout=20)
                if answer.status_code != 401 and (method, path) not in OPEN_HEADS:
                    answered.append((method, path, headers, answer.status_code))
    return answered


# HEAD is GET without its body, so it is open where GET is.
OPEN_HEADS = {("head", path) for path in ("/healthz", "/readyz", "/metrics")}


def main():
    url, token = sys.argv[1], open(sys.argv[2], encoding="utf-8").read().strip()
    answer = requests.get(
        f"{url}/openapi.json", headers={"Authorization": f"Bearer {token}"}, timeout=20
    )
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    document = answer.json()
    OpenAPIV31SpecValidator(document).validate()
    jsonschema.Draft202012Validator.check_schema({"$defs": document["components"]["schemas"]})
    assert examples(document) >= 4, "the resources have examples"
    opened = {
        path
        for path, item in document["paths"].items()
        for method in METHODS
        if method in item and item[method].get("security") == []
    }
    assert opened == {"/healthz", "/readyz", "/metrics"}, opened
    answered = without_token(url, document)
    assert not answered, answered
    print(f"all good: {len(document['paths'])} paths")


if __name__ == "__main__":
    main()
