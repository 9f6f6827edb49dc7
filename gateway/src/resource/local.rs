//! What of a resource names a command or a file of the machine: such a resource
//! is taken from administrators on the machine only (SEMANTICS §13).
//!
//! Knows which keys do and nothing else of them. Called by `admin`, and by
//! `reconcile` for what is brought back.

use serde_json::Value;

/// Whether a resource, or a merge patch of one, does.
#[must_use]
pub fn names_machine(resource: &Value) -> bool {
    let versions = resource.pointer("/spec/versions").and_then(Value::as_array);
    given(resource, "/spec/source/file")
        || versions.into_iter().flatten().any(version_names_machine)
}

/// Whether a version of an endpoint, or a merge patch of one, does.
#[must_use]
pub fn version_names_machine(version: &Value) -> bool {
    given(version, "/process") || given(version, "/static/tls/caFile")
}

fn given(value: &Value, pointer: &str) -> bool {
    value.pointer(pointer).is_some_and(|one| !one.is_null())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn commands_and_files_are_of_the_machine_and_addresses_are_not() {
        let check = |version: Value, expected: bool| {
            assert_eq!(version_names_machine(&version), expected, "{version}");
            let fixed = json!({ "static": { "addresses": ["127.0.0.1:1"] } });
            let endpoint = json!({ "spec": { "versions": [fixed, version] } });
            assert_eq!(names_machine(&endpoint), expected, "{endpoint}");
        };
        check(json!({ "process": { "command": ["a"] } }), true);
        check(
            json!({ "static": { "tls": { "caFile": "/ca.pem" } } }),
            true,
        );
        check(json!({ "static": { "tls": { "serverName": "a" } } }), false);
        check(
            json!({ "process": null, "static": { "tls": { "caFile": null } } }),
            false,
        );
        let plugin = |source: Value| json!({ "spec": { "source": source } });
        assert!(names_machine(&plugin(json!({ "file": "/a.wasm" }))));
        assert!(!names_machine(&plugin(json!({ "shipped": "key-auth" }))));
    }
}
