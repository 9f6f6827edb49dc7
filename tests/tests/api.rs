//! The admin API as clients that are not ours see it: its OpenAPI document,
//! schemathesis against it, and a rollout with curl alone.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;
use tidegate_tests::gateway::Gateway;
use tidegate_tests::load::Load;
use tidegate_tests::replica::Replica;
use tidegate_tests::{root, rounds, tool, until, yaml};

/// A gateway with an endpoint `iris` and the shipped plugins.
fn start() -> (Gateway, Replica) {
    let replica = Replica::start("blue");
    let version = yaml::version("blue", &[&replica], "maxConcurrentRequests: 8");
    let gateway = Gateway::start(&yaml::endpoint("iris", "auth: { mode: key }", &[version]));
    gateway.healthy("iris");
    (gateway, replica)
}

fn token_file(gateway: &Gateway) -> String {
    gateway.state().join("admin.token").display().to_string()
}

#[test]
fn the_openapi_document_is_valid_and_no_closed_row_answers_without_the_token() {
    let (gateway, _replica) = start();
    let seen = tool::script(
        "openapi_checks.py",
        &[&gateway.admin_url(), &token_file(&gateway)],
    );
    assert!(seen.contains("all good"), "{seen}");
}

#[test]
fn schemathesis_finds_no_break_of_the_document() {
    let (gateway, _replica) = start();
    // 20 examples a row; in `soak` ten times as many.
    let examples = rounds(200).to_string();
    let seen = tool::script(
        "schemathesis_checks.py",
        &[&gateway.admin_url(), &token_file(&gateway), &examples],
    );
    assert!(seen.contains("all good"), "{seen}");
}

/// `docs/rollout.sh` at work; its endpoint `flowers` is there.
fn rollout(gateway: &Gateway, old: &Replica, new: &Replica) -> Child {
    let mut rollout = Command::new("sh");
    rollout
        .arg(root().join("docs/rollout.sh"))
        .arg(gateway.state())
        .args([
            "flowers",
            &old.address.to_string(),
            &new.address.to_string(),
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let running = rollout.spawn().unwrap();
    until("the endpoint is there", Duration::from_secs(30), || {
        let (status, shown) = gateway.admin("GET", "/v1/endpoints/flowers", b"");
        (status == 200 && shown["status"]["state"] == "Healthy").then_some(())
    });
    running
}

#[test]
fn a_rollout_with_curl_alone_fails_no_request() {
    let (old, new) = (Replica::start("blue"), Replica::start("green"));
    let gateway = Gateway::start(&yaml::open("other", &[yaml::version("blue", &[&old], "")]));
    let script = root().join("docs/rollout.sh");
    let text = std::fs::read_to_string(&script).unwrap();
    assert!(text.lines().count() <= 60, "it is to be read at one sight");
    let running = rollout(&gateway, &old, &new);
    let bearer = gateway.bearer("flowers");
    let load = Load::start(
        gateway.address("http"),
        4,
        "/api/v1/service/flowers/score",
        &[("authorization", &bearer)],
    );
    let output = running.wait_with_output().unwrap();
    let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let errors = shown(&output.stderr);
    assert!(
        output.status.success(),
        "{}\n{errors}",
        shown(&output.stdout)
    );
    assert_eq!(errors, "");
    let last = gateway.score("flowers", "", &[("authorization", &bearer)]);
    assert_eq!(last.header("azureml-model-deployment"), Some("green"));
    let seen = load.stop();
    assert!(seen.keys().all(|what| what.starts_with("200 ")), "{seen:?}");
    let (_, left) = gateway.admin("GET", "/v1/endpoints/flowers/traffic", b"");
    assert_eq!(left, json!({ "green": 100.0 }));
    let of = |result| [("endpoint", "flowers"), ("result", result)];
    let alike = ["same", "size_differs"];
    let copies = alike.map(|result| gateway.metric("tidegate_mirror_total", &of(result)));
    assert!(copies.iter().sum::<f64>() >= 20.0, "{copies:?} copies");
    // Run again over what is there, or nowhere: a refusal ends it.
    for state in [gateway.state(), gateway.folder().to_owned()] {
        let refused = Command::new("sh")
            .arg(&script)
            .arg(&state)
            .args(["flowers", "127.0.0.1:1", "127.0.0.1:1"])
            .output()
            .unwrap();
        assert!(!refused.status.success(), "{}", state.display());
    }
    let (_, left) = gateway.admin("GET", "/v1/endpoints/flowers/traffic", b"");
    assert_eq!(left, json!({ "green": 100.0 }));
}

#[test]
fn a_rollout_of_a_model_that_fails_ends_at_its_copies() {
    let (old, new) = (Replica::start("blue"), Replica::start("green"));
    new.behave("status=500");
    let gateway = Gateway::start(&yaml::open("other", &[yaml::version("blue", &[&old], "")]));
    let running = rollout(&gateway, &old, &new);
    let bearer = gateway.bearer("flowers");
    let headers = [("authorization", bearer.as_str())];
    let target = "/api/v1/service/flowers/score";
    let load = Load::start(gateway.address("http"), 4, target, &headers);
    let output = running.wait_with_output().unwrap();
    drop(load.stop());
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("blue gets all again"), "{errors}");
    let (_, left) = gateway.admin("GET", "/v1/endpoints/flowers/traffic", b"");
    assert_eq!(left, json!({ "blue": 100.0, "green": 0.0 }));
}
