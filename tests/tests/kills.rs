//! What is killed: replicas under load, the gateway itself.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tidegate_tests::gateway::Gateway;
use tidegate_tests::load::Load;
use tidegate_tests::{process, rounds, until, yaml};

const TARGET: &str = "/api/v1/service/iris/score?sleep=5";
const LIMIT: Duration = Duration::from_secs(30);

fn replicas(gateway: &Gateway, state: &str) -> f64 {
    gateway.metric(
        "tidegate_replicas",
        &[("endpoint", "iris"), ("state", state)],
    )
}

/// The processes that answer.
fn answering(gateway: &Gateway, count: usize) -> BTreeSet<u32> {
    let mut pids = BTreeSet::new();
    until(&format!("{count} replicas answer"), LIMIT, || {
        let answer = gateway.score("iris", "", &[]);
        pids.extend(
            answer.json()["pid"]
                .as_u64()
                .and_then(|pid| u32::try_from(pid).ok()),
        );
        pids.retain(|pid| process::lives(*pid));
        (pids.len() == count).then_some(())
    });
    pids
}

#[test]
fn a_replica_killed_under_load_fails_only_what_was_on_it() {
    for _ in 0..rounds(20) {
        // A gateway a round, because one that is killed again and again is in
        // back-off for longer and longer, as it should be.
        one_is_killed();
    }
}

fn one_is_killed() {
    let version = yaml::process(
        "blue",
        &["--name", "blue"],
        "traffic: 100\nreplicas: 2\nmaxConcurrentRequests: 4\nmaxQueueWait: 20s",
    );
    let gateway = Gateway::start(&yaml::open("iris", &[version]));
    gateway.healthy("iris");
    let victim = *answering(&gateway, 2).first().unwrap();
    let load = Load::start(gateway.address("http"), 8, TARGET, &[]);
    until("a load", LIMIT, || (load.answered() > 100).then_some(()));
    process::signal(victim, Signal::KILL);
    until("it is noticed", LIMIT, || {
        (replicas(&gateway, "ready") < 2.0).then_some(())
    });
    until("it is back", LIMIT, || {
        (replicas(&gateway, "ready") == 2.0).then_some(())
    });
    let seen = load.stop();
    let good = |what: &str| what.starts_with("200 ");
    let failed: u32 = seen
        .iter()
        .filter(|(what, _)| !good(what))
        .map(|(_, n)| n)
        .sum();
    let other = seen
        .keys()
        .find(|what| !good(what) && !what.starts_with("502 replica-failed"));
    assert_eq!(other, None, "{seen:?}");
    assert!(
        failed <= 4,
        "a replica of 4 slots died and {failed} failed: {seen:?}"
    );
    let log = gateway.cli_text(&["logs", "iris"]);
    assert!(log.contains("listens on"), "{log}");
}

/// A gateway in front of replicas that fork, and every process below it.
fn with_forks() -> (Gateway, Vec<u32>) {
    let version = yaml::process(
        "blue",
        &["--name", "blue", "--fork"],
        "traffic: 100\nreplicas: 2\nmaxConcurrentRequests: 4",
    );
    let gateway = Gateway::start(&yaml::open("iris", &[version]));
    gateway.healthy("iris");
    answering(&gateway, 2);
    let below = process::descendants(gateway.pid());
    // Two guards, two replicas, two children of each.
    assert!(below.len() >= 8, "{below:?}");
    (gateway, below)
}

fn living(pids: &[u32]) -> Vec<u32> {
    pids.iter()
        .copied()
        .filter(|pid| process::lives(*pid))
        .collect()
}

#[test]
fn the_gateway_killed_leaves_no_process() {
    let (mut gateway, below) = with_forks();
    gateway.kill();
    let begun = Instant::now();
    // `grace` is 2 s in these tests; two more are the promise.
    let limit = Duration::from_secs(4);
    while !living(&below).is_empty() {
        assert!(begun.elapsed() < limit, "left behind: {:?}", living(&below));
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_clean_stop_leaves_no_process_either() {
    let (gateway, below) = with_forks();
    let status = gateway.stop();
    assert!(status.success(), "{status}");
    assert_eq!(living(&below), Vec::<u32>::new());
}

#[test]
fn a_replica_that_cannot_start_says_why() {
    let version = yaml::process(
        "blue",
        &["--fail", "no such model here"],
        "traffic: 100\nreplicas: 1",
    );
    let gateway = Gateway::start(&yaml::open("iris", &[version]));
    until("the reason is shown", LIMIT, || {
        let (_, endpoint) = gateway.admin("GET", "/v1/endpoints/iris", b"");
        endpoint["status"]
            .to_string()
            .contains("no such model here")
            .then_some(())
    });
    // All are in back-off between starts; a start under way lets requests wait.
    until("no-replica at once", LIMIT, || {
        let answer = gateway.score("iris", "", &[]);
        assert_eq!(answer.status, 503);
        (answer.code() == "no-replica").then_some(())
    });
}
