use std::path::PathBuf;

use super::key::{Key, keys};
use super::*;
use crate::resource::defaults::SHIPPED;
use crate::resource::{Problem, Set, Source, check};

/// What each kind needs at least. `/base` is the folder of the file.
fn least(kind: &str) -> Value {
    let spec = match kind {
        "GatewayConfig" => json!({}),
        "Plugin" => json!({ "role": "auth", "source": { "file": "a.wasm" } }),
        _ => json!({ "versions": [
            { "name": "blue", "process": { "command": ["serve"] } },
            { "name": "green", "static": { "addresses": ["127.0.0.1:1"] } },
        ] }),
    };
    json!({ "apiVersion": API_VERSION, "kind": kind, "metadata": { "name": "iris" }, "spec": spec })
}

/// What a key needs beside it, by the beginning of its path.
fn beside(path: &str) -> Value {
    let blue = |more: Value| {
        let mut version = json!({ "name": "blue" });
        merge(&mut version, &more);
        json!({ "versions": [version, { "name": "green", "static": { "addresses": ["a:1"] } }] })
    };
    let certificates = json!([{ "certFile": "a", "keyFile": "b" }]);
    let table = [
        (
            "spec.auth.policies[]",
            json!({ "auth": { "mode": "custom", "policies": [{ "plugin": "key-auth" }] } }),
        ),
        (
            "spec.split.policy.",
            json!({ "split": { "policy": { "plugin": "weighted-split" } } }),
        ),
        (
            "spec.split.sticky.",
            json!({ "split": { "sticky": { "by": "header", "name": "x-user" } } }),
        ),
        (
            "spec.mirror.",
            json!({ "mirror": { "version": "green", "percent": 5 } }),
        ),
        (
            "spec.collect[].",
            json!({ "collect": [{ "plugin": "model-data" }] }),
        ),
        (
            "spec.metrics[].",
            json!({ "metrics": [{ "name": "a", "type": "counter" }] }),
        ),
        (
            "spec.versions[].static",
            blue(json!({ "static": { "addresses": ["a:1"] } })),
        ),
        (
            "spec.versions[].autoscale.scaleToZeroAfter",
            blue(json!({ "process": { "command": ["a"] }, "autoscale": { "minReplicas": 0 } })),
        ),
        (
            "spec.versions[].autoscale.coldStartComments",
            blue(json!({ "process": { "command": ["a"] }, "autoscale": { "minReplicas": 0 } })),
        ),
        (
            "spec.listeners[].tls.policy",
            json!({ "listeners": [{ "name": "a", "address": "127.0.0.1:0", "tls": { "certificates": certificates } }] }),
        ),
        (
            "spec.listeners[].",
            json!({ "listeners": [{ "name": "a", "address": "127.0.0.1:0" }] }),
        ),
        (
            "spec.admin.tls.certificates",
            json!({ "admin": { "tls": { "mode": "certificates", "certificates": certificates } } }),
        ),
    ];
    let found = table
        .into_iter()
        .find(|(prefix, _)| path.starts_with(prefix));
    found.map_or(json!({}), |(_, spec)| spec)
}

/// RFC 7396.
fn merge(into: &mut Value, patch: &Value) {
    match (into, patch) {
        (Value::Object(into), Value::Object(patch)) => {
            for (key, value) in patch {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, patch) => *into = patch.clone(),
    }
}

/// A resource with a value at a key, and what the key needs beside it.
fn with(key: &Key, value: Value) -> Value {
    let mut resource = least(key.kind);
    if key.path.starts_with("spec.") {
        // `mode: custom` needs policies; with none it is the mode that is left out.
        let none = [Value::Null, json!([])].contains(&value);
        if !(none && key.path == "spec.auth.policies[]") {
            merge(&mut resource["spec"], &beside(&key.path));
        }
    }
    let path = key.path.trim_end_matches("[]");
    let mut at = &mut resource;
    for step in path.split('.') {
        at = match step.strip_suffix("[]") {
            Some(name) => {
                let list = &mut at[name];
                if list.get(0).is_none() {
                    *list = json!([{}]);
                }
                &mut list[0]
            }
            None => &mut at[step],
        };
    }
    *at = value;
    resource
}

fn checked(resource: &Value) -> Result<Set, Vec<Problem>> {
    let made = check(&[Source {
        name: "f.yaml".to_owned(),
        text: resource.to_string(),
        base: Some(PathBuf::from("/base")),
    }]);
    // Two ways to write the same are told apart by what was written only.
    made.map(|set| Set {
        documents: Vec::new(),
        ..set
    })
}

/// What is told at a key, or where it stands in.
fn told(key: &Key, value: Value) -> Vec<String> {
    let path = key.path.trim_end_matches("[]").replace("[]", "[0]");
    let around = path.rsplit_once('.').map_or("", |(around, _)| around);
    let problems = checked(&with(key, value)).err().unwrap_or_default();
    let here = problems
        .into_iter()
        .filter(|problem| problem.path == path || problem.path == around);
    here.map(|problem| problem.message).collect()
}

/// A value of a key that is one step below, at, or above a limit.
fn stepped(key: &Key, limit: &str, step: i64) -> Value {
    let add = |number: u64| number.checked_add_signed(step).unwrap();
    match key.type_words.as_str() {
        "duration" => {
            let ms = Interval::parse(limit).unwrap().duration().as_millis();
            json!(format!("{}ms", add(u64::try_from(ms).unwrap())))
        }
        "size" => json!(add(Size::parse(limit).unwrap().bytes())),
        list if list.starts_with("list of") => {
            let like = beside(&key.path);
            let like = key
                .path
                .trim_start_matches("spec.")
                .trim_end_matches("[]")
                .split('.')
                .fold(&like, |at, step| &at[step]);
            let item = |i: u64| match like.get(0) {
                Some(item) => item.clone(),
                None if list.ends_with("maps") => json!({ "name": format!("name-{i}") }),
                None if key.path.ends_with("addresses[]") => json!(format!("a:{}", i + 1)),
                None => json!(format!("/p{i}")),
            };
            (0..add(limit.parse().unwrap())).map(item).collect()
        }
        _ => json!(add(limit.parse().unwrap())),
    }
}

/// Whether a message is about how much, not about what goes with what.
fn is_bound(message: &str) -> bool {
    [
        "out of bounds",
        "is not a percentage",
        "; at most",
        "; 1 to",
        "no listener",
        "no path",
        "no program",
        "needs exactly one",
    ]
    .iter()
    .any(|words| message.contains(words))
}

#[test]
fn every_limit_is_that_of_the_check() {
    let mut count = 0;
    for key in keys() {
        let (least, most) = key.limits.clone();
        let mut out = Vec::new();
        if let Some(least) = &least {
            let inside = told(&key, stepped(&key, least, 0));
            assert!(
                !inside.iter().any(|m| is_bound(m)),
                "{}: {inside:?}",
                key.path
            );
            if !["0", "0s"].contains(&least.as_str()) {
                out.push(stepped(&key, least, -1));
            }
        }
        if let Some(most) = &most {
            let inside = told(&key, stepped(&key, most, 0));
            assert!(
                !inside.iter().any(|m| is_bound(m)),
                "{}: {inside:?}",
                key.path
            );
            out.push(stepped(&key, most, 1));
        }
        for value in out {
            let short: String = value.to_string().chars().take(40).collect();
            let told = told(&key, value);
            assert!(
                told.iter().any(|m| is_bound(m)),
                "{} {short}: {told:?}",
                key.path
            );
            count += 1;
        }
    }
    assert!(count > 60, "{count} limits");
}

#[test]
fn the_check_has_no_limit_that_the_schema_does_not_tell() {
    let mut count = 0;
    for key in keys().iter().filter(|key| key.later.is_none()) {
        let (least, most) = match key.type_words.as_str() {
            "duration" => (json!("0s"), json!("36500d")),
            "size" => (json!(0), json!("16777215Ti")),
            "whole number" => (json!(0), json!(u64::MAX)),
            "percent" => (json!(0), json!(100)),
            _ => continue,
        };
        for (value, limit) in [(least, &key.limits.0), (most, &key.limits.1)] {
            if limit.is_none() {
                let told = told(key, value);
                assert!(!told.iter().any(|m| is_bound(m)), "{}: {told:?}", key.path);
            }
            count += 1;
        }
    }
    assert!(count > 60, "{count} numbers");
}

#[test]
fn every_default_is_what_the_check_takes_for_a_key_that_is_left_out() {
    let mut count = 0;
    for key in keys() {
        let Some(default) = key.default_value.clone() else {
            continue;
        };
        let given = checked(&with(&key, default));
        assert!(given.is_ok(), "{}: {given:?}", key.path);
        assert_eq!(given, checked(&with(&key, Value::Null)), "{}", key.path);
        count += 1;
    }
    assert!(count > 60, "{count} defaults");
}

#[test]
fn a_key_of_a_later_version_has_its_default_or_is_refused() {
    let mut count = 0;
    for key in keys() {
        let Some(default) = key.later.clone() else {
            continue;
        };
        if key.path != "spec.source.oci" && key.path != "spec.versions[].kubernetes" {
            assert_eq!(told(&key, default), Vec::<String>::new(), "{}", key.path);
        }
        let told = told(&key, json!(["other"]));
        assert!(
            told.iter().any(|m| m.contains(LATER)),
            "{}: {told:?}",
            key.path
        );
        assert!(key.doc.contains(LATER), "{}: {}", key.path, key.doc);
        count += 1;
    }
    assert!(count > 15, "{count} keys");
}

#[test]
fn every_key_says_what_it_means() {
    for key in keys() {
        let end = key.doc.ends_with('.');
        assert!(
            end && key.doc.len() > 3,
            "{} {}: {:?}",
            key.kind,
            key.path,
            key.doc
        );
        assert_ne!(key.type_words, "", "{}", key.path);
        for (word, meaning) in &key.words {
            let alone = key.path == "spec.source.shipped";
            assert!(alone || !meaning.is_empty(), "{}: {word}", key.path);
            assert!(!meaning.contains(LATER), "{}: {word} is offered", key.path);
        }
    }
}

#[test]
fn the_shipped_plugins_are_those_the_schema_names() {
    let keys = keys();
    let shipped = keys
        .iter()
        .find(|key| key.path == "spec.source.shipped")
        .unwrap();
    let words: Vec<&str> = shipped
        .words
        .iter()
        .map(|(word, _)| word.as_str())
        .collect();
    assert_eq!(words, SHIPPED.map(|(name, ..)| name));
}

#[test]
fn nothing_but_the_language_differs_between_the_drafts() {
    let [mut seven, mut later] = [Draft::Seven, Draft::TwentyTwenty].map(of_all);
    for schema in [&mut seven, &mut later] {
        schema.as_object_mut().unwrap().remove("$schema");
    }
    assert_eq!(seven, later);
    let text = seven.to_string();
    for word in [
        "$ref",
        "$defs",
        "definitions",
        "anyOf",
        "\"default\":null",
        "prefixItems",
    ] {
        assert!(!text.contains(word), "{word}");
    }
}
