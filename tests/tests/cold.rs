//! Comments for callers of event streams while a real replica starts from zero.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::time::Duration;

use tidegate_tests::client::request;
use tidegate_tests::gateway::Gateway;
use tidegate_tests::{until, yaml};

const TARGET: &str = "/api/v1/service/iris/score?sse=3";

#[test]
fn a_caller_of_events_hears_from_the_gateway_while_the_model_starts() {
    let script = format!("sleep 2.5; exec {}", yaml::program());
    let keys = "traffic: 100\nqueueCapacity: 10\nautoscale: { minReplicas: 0, maxReplicas: 1, \
                refresh: 100ms, scaleToZeroAfter: 1s, coldStartComments: true }";
    let version = yaml::command("blue", &["sh", "-c", &script], keys);
    let gateway = Gateway::start(&yaml::open("iris", &[version]));
    gateway.healthy("iris");
    // One who leaves while it waits, and one who stays.
    let headers = [("accept", "text/event-stream")];
    let mut leaves = gateway.client();
    leaves
        .send(&request("POST", TARGET, &headers, b"{}"))
        .unwrap();
    let mut stays = gateway.client();
    stays
        .send(&request("POST", TARGET, &headers, b"{}"))
        .unwrap();
    assert_eq!(leaves.head().unwrap().status, 200);
    drop(leaves);
    until("one waits", Duration::from_secs(2), || {
        let queued = gateway.metric("tidegate_queue_depth", &[("endpoint", "iris")]);
        (queued == 1.0).then_some(())
    });
    let mut answer = stays.head().unwrap();
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, Some("text/event-stream"))
    );
    stays.body(&mut answer).unwrap();
    let text = answer.text();
    assert!(text.starts_with(": waiting for a replica\n\n"), "{text}");
    let events = text.trim_start_matches(": waiting for a replica\n\n");
    let events = events.trim_start_matches(": waiting for the model\n\n");
    assert!(events.starts_with("data: 0"), "{text}");
    assert_eq!(events.matches("data: ").count(), 3, "{text}");
    // There is one now: the model's own status, and no comment.
    let answer = gateway.client().request(
        "POST",
        "/api/v1/service/iris/score?status=418",
        &headers,
        b"{}",
    );
    let answer = answer.unwrap();
    assert!(
        answer.status == 418 && !answer.text().contains("waiting"),
        "{}",
        answer.text()
    );
}
