//! Replicas that follow the load, as real processes: up, down, to none and back.
//!
//! `soak` runs the loads in full and prints the figures of `docs/scaling.md`.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::Value;
use tidegate_tests::client::{Answer, Client, request};
use tidegate_tests::gateway::{Gateway, Setup};
use tidegate_tests::load::{Load, Seen};
use tidegate_tests::{rounds, until, yaml};

const TARGET: &str = "/api/v1/service/iris/score";
const LIMIT: Duration = Duration::from_secs(60);

/// A gateway with one scaled version of the test replica.
fn scaled(autoscale: &str, keys: &str) -> Gateway {
    let keys = format!("traffic: 100\nmaxQueueWait: 30s\nautoscale: {{ {autoscale} }}\n{keys}");
    let gateway = Gateway::start(&yaml::open("iris", &[yaml::process("blue", &[], &keys)]));
    gateway.healthy("iris");
    gateway
}

fn replicas(gateway: &Gateway, state: &str) -> f64 {
    gateway.metric(
        "tidegate_replicas",
        &[("endpoint", "iris"), ("state", state)],
    )
}

#[track_caller]
fn wait_replicas(gateway: &Gateway, state: &str, count: u32) {
    until(&format!("{count} {state}"), LIMIT, || {
        (replicas(gateway, state) == f64::from(count)).then_some(())
    });
}

fn load(gateway: &Gateway, callers: u32, query: &str) -> Load {
    let target = format!("{TARGET}?{query}");
    Load::start(gateway.address("http"), callers, &target, &[])
}

#[track_caller]
fn assert_all_served(seen: &Seen) {
    let failed: Vec<_> = seen
        .iter()
        .filter(|(what, _)| !what.starts_with("200 "))
        .collect();
    assert!(failed.is_empty(), "{failed:?} of {seen:?}");
}

/// How many replicas were ever started, by what they print.
fn starts(gateway: &Gateway) -> usize {
    let logs = gateway.cli_text(&["logs", "iris"]);
    logs.matches("listens on").count()
}

/// The messages of the events of this kind.
fn events(gateway: &Gateway, kind: &str) -> Vec<String> {
    let (_, list) = gateway.admin("GET", "/v1/events", b"");
    let items = list["items"].as_array().cloned().unwrap_or_default();
    let of_kind = |event: &&Value| event["kind"] == kind;
    let message = |event: &Value| event["message"].as_str().unwrap_or_default().to_owned();
    items.iter().filter(of_kind).map(message).collect()
}

/// As many callers at once, one request each; every answer.
fn at_once(address: SocketAddr, callers: u32, query: &str) -> Vec<Answer> {
    let target = format!("{TARGET}?{query}");
    let callers: Vec<_> = (0..callers)
        .map(|_| {
            let target = target.clone();
            std::thread::spawn(move || {
                let mut client = Client::connect(address);
                client.request("POST", &target, &[], b"{}").unwrap()
            })
        })
        .collect();
    let answers = callers.into_iter().map(|caller| caller.join().unwrap());
    answers.collect()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

#[test]
fn a_version_follows_its_load_up_and_down() {
    let gateway = scaled(
        "minReplicas: 1, maxReplicas: 4, refresh: 200ms, scaleDownDelay: 3s",
        "",
    );
    let load = load(&gateway, 8, "sleep=200");
    wait_replicas(&gateway, "ready", 4);
    let seen = load.stop();
    assert_all_served(&seen);
    let quiet = Instant::now();
    wait_replicas(&gateway, "wanted", 1);
    // The last need was seen a look and a request before the end; more on a busy
    // machine.
    let down = quiet.elapsed();
    assert!(down >= Duration::from_secs(1), "down after {down:?}");
    wait_replicas(&gateway, "draining", 0);
    wait_replicas(&gateway, "ready", 1);
    assert_eq!(gateway.score("iris", "", &[]).status, 200);
    let told = events(&gateway, "Scaled");
    assert!(told[0].starts_with("blue from 1 to "), "{told:?}");
    assert!(told.last().unwrap().contains(" to 1 replicas"), "{told:?}");
    assert_eq!(starts(&gateway), 4, "{told:?}");
}

#[test]
fn replicas_that_are_slow_to_end_count_for_nothing() {
    let script = format!("trap 'sleep 1.5' TERM; {} & wait", yaml::program());
    let keys = "traffic: 100\nmaxQueueWait: 30s\nautoscale: { minReplicas: 1, maxReplicas: 4, \
                refresh: 100ms, scaleDownDelay: 1s }";
    let version = yaml::command("blue", &["sh", "-c", &script], keys);
    let gateway = Gateway::start(&yaml::open("iris", &[version]));
    gateway.healthy("iris");
    let first = load(&gateway, 8, "sleep=100");
    wait_replicas(&gateway, "ready", 4);
    assert_all_served(&first.stop());
    wait_replicas(&gateway, "wanted", 1);
    // Three are being ended, which takes a while; the load comes back at once.
    let second = load(&gateway, 8, "sleep=100");
    wait_replicas(&gateway, "ready", 4);
    until("those before are gone", LIMIT, || {
        (starts(&gateway) == 7).then_some(())
    });
    wait_replicas(&gateway, "starting", 0);
    assert_eq!(replicas(&gateway, "ready"), 4.0);
    assert_all_served(&second.stop());
    assert_eq!(starts(&gateway), 7, "four, then three more");
}

#[test]
fn no_request_fails_while_it_scales_again_and_again() {
    let gateway = scaled(
        "minReplicas: 1, maxReplicas: 4, refresh: 100ms, scaleDownDelay: 500ms",
        "maxConcurrentRequests: 2",
    );
    let wanted = rounds(10_000);
    // One caller all the time, so that replicas are taken out under traffic.
    let steady = load(&gateway, 1, "sleep=3");
    let (mut served, mut cycles) = (0, 0);
    while served + steady.answered() < wanted || cycles < 3 {
        let burst = load(&gateway, 12, "sleep=8");
        wait_replicas(&gateway, "ready", 4);
        let share = wanted / 10;
        until("a burst", LIMIT, || {
            (burst.answered() >= share).then_some(())
        });
        let seen = burst.stop();
        assert_all_served(&seen);
        served += seen.values().sum::<u32>();
        until("fewer are wanted", LIMIT, || {
            (replicas(&gateway, "wanted") <= 2.0).then_some(())
        });
        cycles += 1;
    }
    let seen = steady.stop();
    assert_all_served(&seen);
    let all = served + seen.values().sum::<u32>();
    println!("{all} requests, {cycles} times up and down: none failed");
}

/// From none to the first answer: min 0, and how long it takes to none.
fn from_none() -> Gateway {
    let gateway = scaled(
        "minReplicas: 0, maxReplicas: 4, refresh: 100ms, scaleDownDelay: 500ms, scaleToZeroAfter: 1s",
        "queueCapacity: 100",
    );
    assert_eq!(starts(&gateway), 0);
    gateway
}

#[test]
fn the_first_request_after_none_starts_one() {
    let gateway = from_none();
    let mut times = Vec::new();
    for round in 1..=rounds(20) {
        let answer = gateway.score("iris", "", &[]);
        assert_eq!(answer.status, 200, "{}", answer.text());
        times.push(Duration::from_millis(
            answer.json()["upMs"].as_u64().unwrap(),
        ));
        assert_eq!(starts(&gateway), round as usize);
        wait_replicas(&gateway, "wanted", 0);
        wait_replicas(&gateway, "draining", 0);
        assert_eq!(replicas(&gateway, "ready"), 0.0);
        gateway.healthy("iris");
    }
    println!(
        "from the replica's readiness to the answer: median {:?} of {times:?}",
        median(times.clone())
    );
}

#[test]
fn a_hundred_callers_of_none_cause_one_start() {
    let gateway = from_none();
    for round in 1..=rounds(20) {
        let answers = at_once(gateway.address("http"), 100, "sleep=1");
        let served = answers.iter().filter(|answer| answer.status == 200).count();
        assert_eq!(
            served,
            100,
            "{:?}",
            answers.iter().find(|a| a.status != 200)
        );
        // Once it was ready the load may have asked for more, never before.
        let scaled = events(&gateway, "Scaled");
        let first = scaled
            .iter()
            .filter(|told| told.contains("from 0 to 1"))
            .count();
        assert_eq!(first, round as usize, "{scaled:?}");
        assert!(!scaled.iter().any(|told| told.contains("from 0 to 4")));
        wait_replicas(&gateway, "wanted", 0);
        wait_replicas(&gateway, "draining", 0);
    }
}

#[test]
fn a_hundred_callers_of_none_have_one_answerer() {
    let gateway = scaled(
        "minReplicas: 0, maxReplicas: 1, refresh: 100ms, scaleToZeroAfter: 5m",
        "maxConcurrentRequests: 1\nqueueCapacity: 100",
    );
    let answers = at_once(gateway.address("http"), 100, "sleep=1");
    let pid = answers[0].json()["pid"].clone();
    for answer in &answers {
        assert_eq!((answer.status, &answer.json()["pid"]), (200, &pid));
    }
    assert_eq!(starts(&gateway), 1);
}

#[test]
fn a_version_of_none_that_cannot_start_says_why() {
    let keys = "traffic: 100\nautoscale: { minReplicas: 0, maxReplicas: 4, refresh: 100ms }";
    let version = yaml::process("blue", &["--fail", "no such model here"], keys);
    let gateway = Gateway::start(&yaml::open("iris", &[version]));
    gateway.healthy("iris");
    let answer = gateway.score("iris", "", &[]);
    assert_eq!((answer.status, answer.code().as_str()), (503, "no-replica"));
    gateway.state_is("iris", "Failed");
    let (_, endpoint) = gateway.admin("GET", "/v1/endpoints/iris", b"");
    let reason = endpoint["status"]["versions"][0]["reason"].to_string();
    assert!(reason.contains("no such model here"), "{reason}");
    assert_eq!(replicas(&gateway, "wanted"), 1.0, "never more than one");
}

#[test]
fn a_version_that_leaves_none_by_a_change_raises_no_alarm() {
    let keys = "traffic: 100\nreplicas: 1";
    let version = yaml::process("blue", &[], keys);
    let gateway = Gateway::start(&yaml::open("iris", &[version]));
    gateway.healthy("iris");
    for count in [0, 2] {
        let body = format!(r#"{{"replicas": {count}}}"#);
        let path = "/v1/endpoints/iris/versions/blue";
        let kind = "application/merge-patch+json";
        let answer = gateway.admin_raw("PATCH", path, kind, body.as_bytes());
        assert_eq!(answer.status, 200, "{}", answer.text());
        wait_replicas(&gateway, "ready", count);
        wait_replicas(&gateway, "draining", 0);
    }
    gateway.healthy("iris");
    assert_eq!(events(&gateway, "Unhealthy"), Vec::<String>::new());
}

#[test]
fn the_last_hour_is_shown_and_planned_for() {
    let gateway = scaled("minReplicas: 1, maxReplicas: 4", "");
    let plan = gateway.cli_text(&["plan", "--rps", "20", "--seconds", "10"]);
    assert_eq!(plan.trim(), "286");
    for _ in 0..20 {
        assert_eq!(gateway.score("iris", "?sleep=20", &[]).status, 200);
    }
    let (status, load) = gateway.admin("GET", "/v1/endpoints/iris/load", b"");
    assert_eq!(status, 200);
    let minutes = load["versions"][0]["minutes"].as_array().unwrap();
    assert_eq!(minutes.len(), 60);
    let requests = minutes
        .iter()
        .filter_map(|minute| minute["requests"].as_u64());
    assert_eq!(requests.sum::<u64>(), 20, "{load}");
    let table = gateway.cli_text(&["plan", "--endpoint", "iris"]);
    let row = table.lines().find(|line| line.contains("blue")).unwrap();
    let cells: Vec<&str> = row.split_whitespace().collect();
    assert_eq!((cells[3], cells[4], cells[6]), ("70%", "1", "1"), "{table}");
    let rps: f64 = cells[1].parse().unwrap();
    let seconds: f64 = cells[2].parse().unwrap();
    assert!(rps > 0.1 && (0.02..1.0).contains(&seconds), "{table}");
}

/// The figures with the defaults: 1 s a request, a look each second.
#[test]
fn the_time_to_the_order_and_to_the_fourth_replica() {
    let (mut ordered, mut ready) = (Vec::new(), Vec::new());
    for round in 0..rounds(10) {
        let gateway = scaled("minReplicas: 1, maxReplicas: 4", "");
        // The load comes at any moment between two looks, not always after one.
        std::thread::sleep(Duration::from_millis(100) * round);
        let begun = Instant::now();
        let load = load(&gateway, 8, "sleep=1000");
        wait_replicas(&gateway, "wanted", 4);
        ordered.push(begun.elapsed());
        wait_replicas(&gateway, "ready", 4);
        ready.push(begun.elapsed());
        assert_all_served(&load.stop());
    }
    println!(
        "to the order: median {:?} of {ordered:?}",
        median(ordered.clone())
    );
    println!(
        "to the fourth ready: median {:?} of {ready:?}",
        median(ready.clone())
    );
}

/// Gives the replicas another name, so that other ones take their place.
fn replace_by_green(gateway: &Gateway) {
    let (_, mut endpoint) = gateway.admin("GET", "/v1/endpoints/iris", b"");
    let command = endpoint.pointer_mut("/spec/versions/0/process/command");
    let command = command.unwrap().as_array_mut().unwrap();
    command.extend(["--name".into(), "green".into()]);
    endpoint.as_object_mut().unwrap().remove("status");
    let body = endpoint.to_string();
    let (status, answer) = gateway.admin("PUT", "/v1/endpoints/iris", body.as_bytes());
    assert_eq!(status, 200, "{answer}");
}

#[test]
fn what_a_replaced_replica_does_not_finish_is_cut_after_the_drain() {
    let version = yaml::process("blue", &[], "traffic: 100\nreplicas: 1");
    let gateway = Setup::new(&yaml::open("iris", &[version]))
        .spec("limits: { drain: 2s }")
        .start();
    gateway.healthy("iris");
    let mut client = gateway.client();
    let bytes = request("POST", &format!("{TARGET}?hang"), &[], b"{}");
    client.send(&bytes).unwrap();
    let busy = [("endpoint", "iris"), ("state", "busy")];
    until("it is under way", LIMIT, || {
        (gateway.metric("tidegate_slots", &busy) == 1.0).then_some(())
    });
    let begun = Instant::now();
    replace_by_green(&gateway);
    until("the update serves", LIMIT, || {
        (events(&gateway, "Updated").len() == 1).then_some(())
    });
    // The other one serves meanwhile.
    let answer = gateway.score("iris", "", &[]);
    assert_eq!(answer.json()["replica"], "green", "{}", answer.text());
    let cut = client.answer().unwrap();
    assert_eq!((cut.status, cut.code().as_str()), (502, "replica-failed"));
    let took = begun.elapsed();
    assert!(took > Duration::from_secs(2), "cut after {took:?}");
    assert!(took < LIMIT, "cut after {took:?}");
    wait_replicas(&gateway, "ready", 1);
}

#[test]
fn an_update_under_load_begins_as_large_and_fails_nobody() {
    let gateway = scaled("minReplicas: 1, maxReplicas: 4, refresh: 200ms", "");
    // More callers than slots: some always wait in the queue that is replaced.
    let load = load(&gateway, 8, "sleep=50");
    wait_replicas(&gateway, "ready", 4);
    let scaled = events(&gateway, "Scaled").len();
    replace_by_green(&gateway);
    until("the update serves", LIMIT, || {
        (events(&gateway, "Updated").len() == 1).then_some(())
    });
    let so_far = load.answered();
    until("more are served", LIMIT, || {
        (load.answered() > so_far + 100).then_some(())
    });
    wait_replicas(&gateway, "ready", 4);
    let answer = gateway.score("iris", "", &[]);
    assert_eq!(answer.json()["replica"], "green", "{}", answer.text());
    let after = events(&gateway, "Scaled");
    assert_eq!(after.len(), scaled, "it began with four: {after:?}");
    assert_all_served(&load.stop());
}
