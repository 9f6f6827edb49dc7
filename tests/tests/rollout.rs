//! Changes of an endpoint while it serves. What is left of them after a kill: `store.rs`.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_tests::gateway::Gateway;
use tidegate_tests::load::Load;
use tidegate_tests::replica::Replica;
use tidegate_tests::{until, yaml};

const ENDPOINT: &str = "/v1/endpoints/iris";
const TARGET: &str = "/api/v1/service/iris/score";

fn two_processes() -> String {
    let keys = "maxConcurrentRequests: 32\nmaxQueueWait: 5s";
    yaml::open(
        "iris",
        &[
            yaml::process("blue", &[], &format!("{keys}\ndefault: true\nreplicas: 1")),
            yaml::process("green", &[], &format!("{keys}\nreplicas: 1")),
        ],
    )
}

fn patch(gateway: &Gateway, body: &Value) -> (u16, Value) {
    let content = body.to_string();
    let kind = "application/merge-patch+json";
    let answer = gateway.admin_raw("PATCH", ENDPOINT, kind, content.as_bytes());
    (answer.status, answer.json())
}

#[track_caller]
fn traffic(gateway: &Gateway, shares: &Value) -> Value {
    let body = shares.to_string();
    let (status, shown) = gateway.admin("PUT", &format!("{ENDPOINT}/traffic"), body.as_bytes());
    assert_eq!(status, 200, "{shown}");
    shown
}

/// The endpoint's versions with `change` made to the first.
fn versions(gateway: &Gateway, change: impl Fn(&mut Value)) -> Value {
    let (_, shown) = gateway.admin("GET", ENDPOINT, b"");
    let mut versions = shown["spec"]["versions"].clone();
    change(&mut versions[0]);
    json!({ "spec": { "versions": versions } })
}

#[test]
fn changes_under_load_fail_no_request() {
    let gateway = Gateway::start(&two_processes());
    gateway.healthy("iris");
    let load = Load::start(gateway.address("http"), 8, TARGET, &[]);
    let between = || {
        let seen = load.answered();
        until("requests between changes", Duration::from_secs(20), || {
            (load.answered() > seen + 50).then_some(())
        });
    };
    between();
    for share in [10, 50, 100] {
        traffic(&gateway, &json!({ "blue": 100 - share, "green": share }));
        between();
    }
    // Other replicas: the new ones take over when they are ready.
    let change = versions(&gateway, |blue| {
        blue["process"]["env"] = json!({ "BUILD": "2" })
    });
    assert_eq!(patch(&gateway, &change).0, 200);
    let updated = |message: &str| {
        let (_, events) = gateway.admin("GET", "/v1/events", b"");
        let found = events["items"].as_array().unwrap().iter().any(|event| {
            event["kind"] == "Updated" && event["message"].as_str().unwrap().contains(message)
        });
        found.then_some(())
    };
    until(
        "the new replicas take over",
        Duration::from_secs(30),
        || updated("blue"),
    );
    between();
    // A version more, then one less.
    let mut more = versions(&gateway, |_| {})["spec"]["versions"].clone();
    let mut gray = more[1].clone();
    gray["name"] = json!("gray");
    gray["traffic"] = json!(0);
    more.as_array_mut().unwrap().push(gray);
    assert_eq!(
        patch(&gateway, &json!({ "spec": { "versions": more } })).0,
        200
    );
    gateway.healthy("iris");
    traffic(&gateway, &json!({ "blue": 40, "gray": 60 }));
    between();
    let fewer = json!([more[0], more[2]]);
    assert_eq!(
        patch(&gateway, &json!({ "spec": { "versions": fewer } })).0,
        200
    );
    between();
    let seen = load.stop();
    assert!(seen.keys().all(|what| what.starts_with("200 ")), "{seen:?}");
    assert!(!seen.is_empty());
}

#[test]
fn an_update_that_does_not_come_up_leaves_the_old_replicas_serving() {
    let gateway = Gateway::start(&two_processes());
    gateway.healthy("iris");
    let before = gateway.score("iris", "", &[("azureml-model-deployment", "blue")]);
    assert_eq!(before.status, 200);
    let broken = versions(&gateway, |blue| {
        blue["process"]["command"] = json!(["/bin/false"])
    });
    assert_eq!(patch(&gateway, &broken).0, 200);
    let reason = until("the update has failed", Duration::from_secs(30), || {
        let (_, shown) = gateway.admin("GET", ENDPOINT, b"");
        let blue = &shown["status"]["versions"][0];
        (blue["state"] == "Failed").then(|| blue["reason"].as_str().unwrap().to_owned())
    });
    assert!(reason.contains("the replicas before it serve"), "{reason}");
    let after = gateway.score("iris", "", &[("azureml-model-deployment", "blue")]);
    assert_eq!(after.status, 200);
    // Back to what serves: the update is given up.
    assert!(
        gateway
            .cli(&["rollback", "endpoint/iris", "--to", "1"])
            .status
            .success()
    );
    gateway.healthy("iris");
}

#[test]
fn what_was_shifted_stays_over_a_restart_until_the_file_changes() {
    let (blue, green) = (Replica::start("blue"), Replica::start("green"));
    let resources = |share: u32| {
        yaml::open(
            "iris",
            &[
                yaml::version(
                    "blue",
                    &[&blue],
                    &format!("traffic: {share}\ndefault: true"),
                ),
                yaml::version("green", &[&green], "traffic: 0"),
            ],
        )
    };
    let mut gateway = Gateway::start(&resources(100));
    gateway.healthy("iris");
    traffic(&gateway, &json!({ "blue": 25, "green": 75 }));
    gateway.kill();
    gateway.start_again();
    let shares = |gateway: &Gateway| gateway.admin("GET", &format!("{ENDPOINT}/traffic"), b"").1;
    assert_eq!(shares(&gateway), json!({ "blue": 25.0, "green": 75.0 }));
    gateway.kill();
    let file = gateway.folder().join("resources.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("traffic: 100", "traffic: 90")).unwrap();
    gateway.start_again();
    assert_eq!(shares(&gateway), json!({ "blue": 90.0, "green": 0.0 }));
    let history = gateway.cli_text(&["history", "endpoint/iris"]);
    assert!(history.contains("traffic blue=25 green=75"), "{history}");
}

#[test]
fn a_change_can_be_conditional_and_tried_first() {
    let blue = Replica::start("blue");
    let gateway = Gateway::start(&yaml::open("iris", &[yaml::version("blue", &[&blue], "")]));
    let (_, shown) = gateway.admin("GET", ENDPOINT, b"");
    assert_eq!(shown["metadata"]["revision"], 1);
    let mut stale = shown.clone();
    traffic(&gateway, &json!({ "blue": 5 }));
    let body = stale.to_string();
    let (status, why) = gateway.admin("PUT", ENDPOINT, body.as_bytes());
    assert_eq!(status, 409, "{why}");
    stale["metadata"]["revision"] = json!(2);
    stale["spec"]["versions"][0]["traffic"] = json!(140);
    let body = stale.to_string();
    let (status, why) = gateway.admin("PUT", &format!("{ENDPOINT}?dryRun=true"), body.as_bytes());
    assert_eq!(status, 422, "{why}");
    assert!(
        why["problems"][0]["path"]
            .as_str()
            .unwrap()
            .starts_with("spec.versions"),
        "{why}"
    );
    let (status, _) = gateway.admin("DELETE", "/v1/endpoints/nobody", b"");
    assert_eq!(status, 404);
    let gone = gateway.admin_raw("DELETE", ENDPOINT, "application/json", b"");
    assert_eq!(gone.status, 204);
    assert_eq!(gateway.score("iris", "", &[]).status, 404);
    let (status, history) = gateway.admin("GET", &format!("{ENDPOINT}/history"), b"");
    assert_eq!(
        (status, &history["items"][0]["change"]),
        (200, &json!("deleted"))
    );
}

#[test]
fn a_pin_on_two_lines_is_to_no_version() {
    let (blue, green) = (Replica::start("blue"), Replica::start("green"));
    let versions = [("blue", &blue), ("green", &green)];
    let versions = versions.map(|(name, replica)| yaml::version(name, &[replica], ""));
    let gateway = Gateway::start(&yaml::open("iris", &versions));
    gateway.healthy("iris");
    let pin = |version| ("azureml-model-deployment", version);
    let status = |pins: &[_]| gateway.score("iris", "", pins).status;
    assert_eq!(status(&[pin("green")]), 200);
    // One line that says the same is no version's name either.
    assert_eq!(status(&[pin("green,blue")]), 404);
    assert_eq!(status(&[pin("green"), pin("blue")]), 404);
}
