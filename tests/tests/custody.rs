//! What becomes of a gateway whose store is taken away, held or does not go with
//! its files, and of those who follow its events over a restart.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::{Value, json};
use tidegate_tests::gateway::{Gateway, Setup};
use tidegate_tests::replica::Replica;
use tidegate_tests::yaml;

/// An endpoint of one version, open to all.
fn open(name: &str, replica: &Replica, spec: &str) -> String {
    let blue = yaml::version("blue", &[replica], "");
    yaml::endpoint(name, &format!("auth: {{ mode: none }}\n{spec}"), &[blue])
}

/// The document of such an endpoint.
fn document(name: &str, replica: &Replica, host: &str) -> String {
    json!({
        "apiVersion": "tidegate.dev/v1alpha1",
        "kind": "Endpoint",
        "metadata": { "name": name },
        "spec": {
            "auth": { "mode": "none" },
            "hosts": [host],
            "versions": [{
                "name": "blue",
                "static": { "addresses": [replica.address.to_string()] }
            }]
        }
    })
    .to_string()
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    tidegate_tests::until(what, Duration::from_secs(20), || done().then_some(()));
}

fn patch(gateway: &Gateway, description: &str) -> (u16, String) {
    let kind = "application/merge-patch+json";
    let body = json!({ "description": description }).to_string();
    let path = "/v1/endpoints/iris/versions/blue";
    let answer = gateway.admin_raw("PATCH", path, kind, body.as_bytes());
    (answer.status, answer.text())
}

/// What status warns of the store and of files.
fn warnings(gateway: &Gateway) -> String {
    let (_, status) = gateway.admin("GET", "/v1/status", b"");
    let mut warnings = status["warnings"].as_array().cloned().unwrap_or_default();
    let about =
        |one: &Value| ["store.db", "the files"].map(|words| one.to_string().contains(words));
    warnings.retain(|one| about(one).contains(&true));
    json!(warnings).to_string()
}

#[test]
fn a_store_that_is_taken_away_takes_no_changes_until_it_is_back() {
    let blue = Replica::start("blue");
    let gateway = Gateway::start(&open("iris", &blue, ""));
    let (file, aside) = (
        gateway.state().join("store.db"),
        gateway.state().join("aside"),
    );
    assert_eq!(patch(&gateway, "first").0, 200);
    fs::rename(&file, &aside).unwrap();
    let (status, why) = patch(&gateway, "second");
    assert_eq!(status, 503, "{why}");
    assert!(why.contains("moved, deleted or replaced"), "{why}");
    assert!(warnings(&gateway).contains("moved, deleted or replaced"));
    // What somebody puts there is not the store.
    fs::write(&file, "").unwrap();
    assert_eq!(patch(&gateway, "third").0, 503);
    fs::rename(&aside, &file).unwrap();
    until("changes are taken", || patch(&gateway, "fourth").0 == 200);
    assert_eq!(warnings(&gateway), "[]");
}

#[test]
fn a_start_without_the_store_of_before_says_so() {
    let blue = Replica::start("blue");
    let mut gateway = Gateway::start(&open("iris", &blue, ""));
    assert_eq!(warnings(&gateway), "[]");
    for gone in [false, true] {
        gateway.terminate();
        let file = gateway.state().join("store.db");
        if gone {
            fs::remove_file(&file).unwrap();
        } else {
            fs::write(&file, "").unwrap();
        }
        gateway.start_again();
        gateway.healthy("iris");
        assert_eq!(gateway.events("StoreMissing").len(), 1);
        let said = warnings(&gateway);
        assert!(said.contains("there was no store.db"), "{said}");
        assert_eq!(patch(&gateway, "anew").0, 200);
    }
    // No start after it forgets that, until somebody has looked at it.
    gateway.terminate();
    gateway.start_again();
    assert!(warnings(&gateway).contains("there was no store.db"));
    gateway.terminate();
    fs::remove_file(gateway.state().join("store.missing")).unwrap();
    gateway.start_again();
    assert_eq!(warnings(&gateway), "[]");
}

#[test]
fn changes_do_not_queue_for_a_store_that_is_known_to_be_held() {
    let blue = Replica::start("blue");
    let gateway = Gateway::start(&open("iris", &blue, ""));
    let other = Connection::open(gateway.state().join("store.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(patch(&gateway, "first").0, 503);
    let begun = Instant::now();
    for _ in 0..10 {
        assert_eq!(patch(&gateway, "more").0, 503);
    }
    // Each would wait for two seconds; so does the look whether it is free.
    assert!(begun.elapsed() < Duration::from_secs(15));
    other.execute_batch("ROLLBACK").unwrap();
    until("changes are taken", || patch(&gateway, "again").0 == 200);
}

#[test]
fn files_that_do_not_go_with_what_is_stored_stop_no_start() {
    let blue = Replica::start("blue");
    let mut gateway = Setup::new("")
        .file("endpoints/iris.yaml", open("iris", &blue, ""))
        .run(&["-f", "endpoints", "--watch"])
        .start();
    gateway.healthy("iris");
    let rose = document("rose", &blue, "rose.example");
    let path = "/v1/endpoints/rose";
    assert_eq!(gateway.admin("PUT", path, rose.as_bytes()).0, 201);
    let same = open("lily", &blue, "hosts: [rose.example]");
    let file = gateway.folder().join("endpoints/lily.yaml");
    fs::write(&file, &same).unwrap();
    gateway.terminate();
    gateway.start_again();
    gateway.healthy("rose");
    gateway.healthy("iris");
    assert_eq!(gateway.score("lily", "", &[]).status, 404);
    let said = warnings(&gateway);
    for part in ["not applied", "lily", "rose.example"] {
        assert!(said.contains(part), "{part} in {said}");
    }
    // Mended over the API, and the file is taken when it is looked at again.
    assert_eq!(gateway.admin("DELETE", path, b"").0, 204);
    fs::write(&file, &same).unwrap();
    until("lily is there", || {
        gateway.admin("GET", "/v1/endpoints/lily", b"").0 == 200
    });
    gateway.healthy("lily");
    until("status says so", || warnings(&gateway) == "[]");
}

#[test]
fn ids_of_events_grow_over_a_restart() {
    let blue = Replica::start("blue");
    let mut gateway = Gateway::start(&open("iris", &blue, ""));
    gateway.healthy("iris");
    let ids = |gateway: &Gateway, query: &str| -> Vec<u64> {
        let (_, events) = gateway.admin("GET", &format!("/v1/events?{query}"), b"");
        let items = events["items"].as_array().unwrap();
        items
            .iter()
            .map(|one| one["id"].as_u64().unwrap())
            .collect()
    };
    let last = *ids(&gateway, "").last().unwrap();
    gateway.terminate();
    gateway.start_again();
    gateway.healthy("iris");
    let since = ids(&gateway, &format!("since={last}"));
    assert_eq!(since, ids(&gateway, ""));
    assert!(since.windows(2).all(|pair| pair[1] == pair[0] + 1));
    // Who connects again says what it saw, whatever its address says.
    let newest = since.last().unwrap().to_string();
    let headers = [("last-event-id", newest.as_str())];
    let answer = gateway.admin_with("GET", "/v1/events?since=1", &headers, b"");
    let seen: Value = serde_json::from_str(&answer.text()).unwrap();
    assert_eq!(seen["items"], json!([]));
}
