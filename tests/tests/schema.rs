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
