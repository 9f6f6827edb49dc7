//! Copies of exchanges for another version, under load: no exchange is delayed
//! or failed by them, whatever the other version does.
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

const TARGET: &str = "/api/v1/service/iris/score";
const LIMIT: Duration = Duration::from_secs(30);

fn endpoint(blue: &Replica, green: &Replica) -> Gateway {
    let gateway = Gateway::start(&yaml::open(
        "iris",
        &[
            yaml::version(
                "blue",
                &[blue],
                "traffic: 100\ndefault: true\nmaxConcurrentRequests: 16",
            ),
            yaml::version(
                "green",
                &[green],
                "maxConcurrentRequests: 2\nscoringTimeout: 300ms",
            ),
        ],
    ));
    gateway.healthy("iris");
    gateway
}

#[track_caller]
fn mirror(gateway: &Gateway, mirror: &Value) {
    let body = json!({ "spec": { "mirror": mirror } }).to_string();
    let kind = "application/merge-patch+json";
    let answer = gateway.admin_raw("PATCH", "/v1/endpoints/iris", kind, body.as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
}

fn copies(gateway: &Gateway, result: &str) -> f64 {
    let labels = [("version", "green"), ("result", result)];
    gateway.metric("tidegate_mirror_total", &labels)
}

/// Waits until copies had this result again.
#[track_caller]
fn again(gateway: &Gateway, result: &str) {
    let before = copies(gateway, result);
    until(&format!("copies that are {result}"), LIMIT, || {
        (copies(gateway, result) >= before + 5.0).then_some(())
    });
}

/// Waits until as many callers more were answered.
fn more(load: &Load, count: u32) {
    let before = load.answered();
    until("more answers", LIMIT, || {
        (load.answered() >= before + count).then_some(())
    });
}

#[test]
fn a_mirror_fails_no_request_whatever_it_does() {
    let (blue, green) = (Replica::start("blue"), Replica::start("green"));
    let gateway = endpoint(&blue, &green);
    let load = Load::start(gateway.address("http"), 6, TARGET, &[]);
    more(&load, 50);
    assert_eq!(green.served(), 0);
    let all = json!({ "version": "green", "percent": 100, "compareBody": true });
    mirror(&gateway, &all);
    // Each names itself, so that the bodies are of one size only by chance.
    again(&gateway, "size_differs");
    for (manner, result) in [
        ("bytes=9", "size_differs"),
        ("status=500", "status_differs"),
        ("vanish", "failed"),
        ("garbage", "failed"),
        ("short", "failed"),
        ("cut", "failed"),
        ("early=503", "status_differs"),
        ("hang", "failed"),
        ("sleep=1000", "failed"),
    ] {
        if manner == "hang" {
            // Later it computes on after its time was up.
            assert!(green.greatest() <= 2, "{}", green.greatest());
        }
        green.behave(manner);
        again(&gateway, result);
        more(&load, 20);
    }
    blue.behave("bytes=20");
    green.behave("bytes=20");
    again(&gateway, "same");
    mirror(&gateway, &Value::Null);
    // Exchanges that began before the change are copied still.
    more(&load, 50);
    until("the last copies", LIMIT, || {
        (gateway.metric("tidegate_slots", &[("version", "green"), ("state", "busy")]) == 0.0)
            .then_some(())
    });
    let served = green.served();
    more(&load, 100);
    assert_eq!(green.served(), served, "no copy more");
    let seen = load.stop();
    assert!(seen.keys().all(|what| what == "200 blue"), "{seen:?}");
    assert!(copies(&gateway, "skipped_no_slot") > 0.0);
}

/// An exchange is over before the copy of it is: by the order of what is seen,
/// not by a clock.
#[test]
fn an_answer_does_not_wait_for_a_mirror_that_hangs() {
    let (blue, green) = (Replica::start("blue"), Replica::start("green"));
    let gateway = endpoint(&blue, &green);
    green.behave("hang");
    mirror(&gateway, &json!({ "version": "green", "percent": 100 }));
    let mut client = gateway.client();
    let answer = client.request("POST", TARGET, &[], b"{}").unwrap();
    assert_eq!((answer.status, copies(&gateway, "failed")), (200, 0.0));
    again_at_least_once(&gateway);
    // On the same connection: nothing of the copy is left there.
    let answer = client.request("POST", TARGET, &[], b"{}").unwrap();
    assert_eq!(answer.status, 200);
}

#[track_caller]
fn again_at_least_once(gateway: &Gateway) {
    until("the copy fails", LIMIT, || {
        (copies(gateway, "failed") == 1.0).then_some(())
    });
}

#[test]
fn a_mirror_must_be_another_version() {
    let (blue, green) = (Replica::start("blue"), Replica::start("green"));
    let gateway = endpoint(&blue, &green);
    let body = json!({ "spec": { "mirror": { "version": "gren" } } }).to_string();
    let kind = "application/merge-patch+json";
    let answer = gateway.admin_raw("PATCH", "/v1/endpoints/iris", kind, body.as_bytes());
    assert_eq!(answer.status, 422);
    let problems = answer.json()["problems"].clone();
    assert_eq!(problems.as_array().unwrap().len(), 2, "{problems}");
}
