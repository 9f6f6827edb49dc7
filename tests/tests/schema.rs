//! `tidegate schema`: a validator of others refuses and takes what the check does, and
//! editors find the schema of every example.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tidegate_tests::gateway::binary;
use tidegate_tests::{root, tool};

#[test]
fn a_validator_of_others_judges_shapes_as_the_check_does() {
    let (binary, root) = (binary().display().to_string(), root().display().to_string());
    let printed = tool::script("schema_checks.py", &[&binary, &root]);
    assert!(printed.starts_with("all good: "), "{printed}");
}

/// All YAML files below a folder.
fn yaml_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(yaml_files(&path));
        } else if path.extension().is_some_and(|ending| ending == "yaml") {
            found.push(path);
        }
    }
    found
}

#[test]
fn every_example_names_a_schema_that_is_there() {
    let files = yaml_files(&root().join("examples"));
    assert!(!files.is_empty());
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let first = text.lines().next().unwrap();
        let named = first.strip_prefix("# yaml-language-server: $schema=");
        let named = named.unwrap_or_else(|| panic!("{}: {first}", file.display()));
        let schema = fs::read_to_string(file.parent().unwrap().join(named)).unwrap();
        let schema: Value = serde_json::from_str(&schema).unwrap();
        assert_eq!(schema["$schema"], "http://json-schema.org/draft-07/schema#");
    }
}

#[test]
fn a_schema_is_of_the_kind_and_the_draft_that_is_asked_for() {
    let schema = |arguments: &[&str]| {
        let output = Command::new(binary())
            .arg("schema")
            .args(arguments)
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        let schema: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        (output.status.code(), schema, errors)
    };
    let (code, all, _) = schema(&[]);
    assert_eq!(code, Some(0));
    assert_eq!(all["allOf"].as_array().unwrap().len(), 3);
    for word in ["endpoint", "Endpoint", "endpoints"] {
        assert_eq!(schema(&[word]).1["title"], "Endpoint", "{word}");
    }
    let (_, plugin, _) = schema(&["plugin", "--draft", "2020-12"]);
    assert_eq!(
        plugin["$schema"],
        "https://json-schema.org/draft/2020-12/schema"
    );
    let cpu = &plugin["properties"]["spec"]["properties"]["limits"]["properties"]["cpu"];
    let said = "Default: 5ms; for collect 50ms. Limits: 1ms to 10s.";
    assert!(
        cpu["description"].as_str().unwrap().ends_with(said),
        "{cpu}"
    );
    for wrong in [&["endpoit"][..], &["--draft", "4"], &["pods"]] {
        let (code, _, errors) = schema(wrong);
        assert_eq!(code, Some(2), "{wrong:?}");
        assert!(errors.contains("possible values"), "{errors}");
    }
}

/// Exit code, standard output and standard error of `tidegate explain`.
fn explain(arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut line = Command::new(binary());
    let output = line.arg("explain").args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn keys_and_faults_are_explained() {
    for (arguments, expected) in [
        (
            &[][..],
            &["gatewayconfig  ", "plugin  ", "endpoint  ", "fault  "][..],
        ),
        (
            &["endpoint.spec.versions.maxQueueWait"],
            &[
                "endpoint.spec.versions[].maxQueueWait\n",
                "type      duration: a whole number and ms, s, m, h or d",
                "default   500ms\n",
                "limits    0s to 1d\n",
                "How long a request waits for a slot",
            ],
        ),
        (
            &["spec.versions[1].callerGone"],
            &["finish | abort", "\nabort ", "default   finish\n"],
        ),
        (&["plugin"], &["KEY ", "\nspec ", "required"]),
        (
            &["plugin", "--recursive"],
            &["\nspec.limits.cpu ", "\nspec.metrics[].labels "],
        ),
        (
            &["spec.limits.memory"],
            &[
                "gatewayconfig.spec.limits.memory\n",
                "plugin.spec.limits.memory\n",
            ],
        ),
        (
            &["endpoint.spec.cors"],
            &["none yet; comes with a later version", "until then  null\n"],
        ),
        (&["fault"], &["CODE ", "\nmalformed ", "\nscoring-timeout "]),
        (
            &["fault", "503"],
            &["\noverloaded ", "\nno-replica ", "\ndraining "],
        ),
        (
            &["fault", "overloaded"],
            &["overloaded: 503 Overloaded\n", "\nCaller: ", "\nOperator: "],
        ),
        (&["fault", "504"], &["scoring-timeout: 504 "]),
    ] {
        let (code, out, errors) = explain(arguments);
        assert_eq!((code, errors.as_str()), (Some(0), ""), "{arguments:?}");
        for part in expected {
            assert!(
                out.contains(part),
                "{arguments:?}: {part:?} is not in\n{out}"
            );
        }
    }
    for (arguments, code, expected) in [
        (
            &["endpoint.spec.versions.trafic"][..],
            1,
            "did you mean traffic?",
        ),
        (&["endpont"], 2, "did you mean endpoint?"),
        (&["fault", "overload"], 1, "did you mean overloaded?"),
        (&["endpoint", "spec"], 2, "a key path is one word"),
    ] {
        let (got, out, errors) = explain(arguments);
        assert_eq!((got, out.as_str()), (Some(code), ""), "{arguments:?}");
        assert!(errors.contains(expected), "{errors}");
    }
}
