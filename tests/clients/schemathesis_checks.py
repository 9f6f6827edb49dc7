"""Runs schemathesis against the admin API of a running gateway; also its hooks.

usage: schemathesis_checks.py ADMIN_URL TOKEN_FILE EXAMPLES
The gateway has an endpoint `iris`, which is made again whenever a request took
it away. Same seed, same requests. Ends with the status of `st`.
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import zlib

import requests
import schemathesis
from hypothesis import strategies
from hypothesis.internal.conjecture.engine import ConjectureRunner

SEED = "20261127"
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "allow_header_conformance",
    "ignored_auth",
)
# It climbs towards answers that are 2xx: for a long text that is a search of ten
# minutes and more in which nothing is sent. `st` cannot be told to leave it out.
ConjectureRunner.optimise_targets = lambda self, **limits: False

PLUGINS = ("key-auth", "weighted-split", "model-data")

# No component at all, and the smallest one: both are refused with a reason.
schemathesis.openapi.media_type(
    "application/wasm",
    strategies.binary(max_size=64)
    | strategies.just(b"\0asm\x0d\0\x01\0")
    | strategies.binary(max_size=32).map(lambda rest: b"\0asm\x0d\0\x01\0" + rest),
)


def is_name(value):
    return isinstance(value, str) and 3 <= len(value) <= 32 and value.isascii()


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    """Mostly names of things that are there, always the same for the same name."""
    for key, value in (path_parameters or {}).items():
        number = zlib.crc32(str(value).encode())
        if not is_name(value) or number % 4 == 0:
            continue
        plugin = context.operation.path.startswith("/v1/plugins/")
        path_parameters[key] = PLUGINS[number % 3] if plugin else "iris"
    return path_parameters


@schemathesis.hook
def before_call(context, case, **kwargs):
    """No stream without an end; a resource that has the name of its path."""
    if case.query and str(case.query.get("follow")).lower() == "true":
        del case.query["follow"]
    if case.method == "PUT" and isinstance(case.body, dict):
        metadata = case.body.get("metadata")
        if isinstance(metadata, dict) and is_name(metadata.get("name")):
            metadata["name"] = case.path_parameters["name"]


@schemathesis.hook
def after_call(context, case, response):
    """Makes `iris` again where it was taken away."""
    if case.method == "DELETE" and response.status_code == 204:
        made = requests.put(
            f"{os.environ['TIDEGATE_ADMIN_URL']}/v1/endpoints/iris",
            headers={"Authorization": f"Bearer {os.environ['TIDEGATE_TOKEN']}"},
            json={
                "apiVersion": "tidegate.dev/v1alpha1",
                "kind": "Endpoint",
                "metadata": {"name": "iris"},
                "spec": {"versions": [{"name": "blue", "static": {"addresses": ["127.0.0.1:9"]}}]},
            },
            timeout=20,
        )
        assert made.status_code in (200, 201), made.text


def main():
    url, token, examples = sys.argv[1:4]
    token = pathlib.Path(token).read_text(encoding="utf-8").strip()
    here = pathlib.Path(__file__)
    environment = {
        **os.environ,
        "SCHEMATHESIS_HOOKS": here.stem,
        "PYTHONPATH": str(here.parent),
        "TIDEGATE_ADMIN_URL": url,
        "TIDEGATE_TOKEN": token,
    }
    command = [
        str(pathlib.Path(sys.executable).with_name("st")),
        "run",
        f"{url}/openapi.json",
        *("--header", f"Authorization: Bearer {token}"),
        *("--checks", ",".join(CHECKS)),
        *("--phases", "examples,coverage,fuzzing"),
        *("--max-examples", examples),
        *("--seed", SEED),
        *("--request-timeout", "20"),
        *("--generation-database", "none"),
        *("--warnings", "off"),
        "--continue-on-failure",
        "--no-color",
    ]
    # It keeps a cache of its own where it runs.
    with tempfile.TemporaryDirectory() as folder:
        ended = subprocess.run(
            command, cwd=folder, env=environment, stdout=sys.stderr, check=False
        )
    if ended.returncode:
        sys.exit(ended.returncode)
    print("all good")


if __name__ == "__main__":
    main()
