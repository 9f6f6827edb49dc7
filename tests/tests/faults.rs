//! One of four replicas that goes wrong, under load; back-pressure; memory.
//!
//! The bounds are those of the simulation (`docs/scaling.md`) with room for a
//! busy machine.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

use std::time::{Duration, Instant};

use rustix::process::Signal;
use tidegate_tests::client::{Client, request};
use tidegate_tests::gateway::{Gateway, Setup};
use tidegate_tests::load::{Load, Seen};
use tidegate_tests::replica::Replica;
use tidegate_tests::{process, rounds, until, yaml};

const TARGET: &str = "/api/v1/service/iris/score";
const LIMIT: Duration = Duration::from_secs(60);

/// Three faults or five 500 in a row eject it, and each replica has two slots;
/// after that each trial fails: after 2, 4, 8, … s.
const FAILED_MAX: u32 = 16;

fn replicas(gateway: &Gateway, state: &str) -> f64 {
    gateway.metric(
        "tidegate_replicas",
        &[("endpoint", "iris"), ("state", state)],
    )
}

/// Four replicas of two slots and a gateway before them.
fn four(keys: &str) -> (Vec<Replica>, Gateway) {
    let four: Vec<Replica> = ["a", "b", "c", "d"].map(Replica::start).into();
    let all: Vec<&Replica> = four.iter().collect();
    let keys = format!("traffic: 100\nmaxConcurrentRequests: 2\nmaxQueueWait: 5s\n{keys}");
    let gateway = Gateway::start(&yaml::open("iris", &[yaml::version("blue", &all, &keys)]));
    until("four are ready", LIMIT, || {
        (replicas(&gateway, "ready") == 4.0).then_some(())
    });
    (four, gateway)
}

/// What five callers see while so many requests are answered; six tenths of the slots.
fn seen_under_load(gateway: &Gateway) -> Seen {
    let target = format!("{TARGET}?sleep=20");
    let load = Load::start(gateway.address("http"), 5, &target, &[]);
    let wanted = rounds(10_000);
    until("a load", 5 * LIMIT, || {
        (load.answered() >= wanted).then_some(())
    });
    load.stop()
}

/// How many failed; all of them as said.
#[track_caller]
fn failed(seen: &Seen, how: &str) -> u32 {
    let bad: Vec<_> = seen
        .iter()
        .filter(|(what, _)| !what.starts_with("200 "))
        .collect();
    assert!(
        bad.iter().all(|(what, _)| what.starts_with(how)),
        "{seen:?}"
    );
    let failed = bad.iter().map(|(_, count)| **count).sum();
    println!("{failed} failed of {}", seen.values().sum::<u32>());
    failed
}

/// One of four is ejected for what it does, and comes back when it is well.
#[track_caller]
fn check(manner: &str, how: &str, most: u32) {
    let (four, gateway) = four("scoringTimeout: 1s");
    four[0].behave(manner);
    let seen = seen_under_load(&gateway);
    let failed = failed(&seen, how);
    assert!(
        (3..=most).contains(&failed),
        "{manner}: {failed} failed: {seen:?}"
    );
    for other in &four[1..] {
        assert!(other.served() > 50, "{manner}: {} served", other.served());
    }
    four[0].behave("");
    let before = four[0].served();
    until("it is trusted again", 2 * LIMIT, || {
        assert_eq!(gateway.score("iris", "?sleep=1", &[]).status, 200);
        (four[0].served() > before + 5).then_some(())
    });
}

/// What an operator sees of the ejected replicas: how many, by the metric and by
/// status, and their names.
fn ejected(gateway: &Gateway) -> (f64, u64, Vec<String>) {
    let metric = gateway.metric("tidegate_replicas_ejected", &[("endpoint", "iris")]);
    let (_, shown) = gateway.admin("GET", "/v1/endpoints/iris/versions/blue", b"");
    let status = &shown["status"];
    let names = status["ejected"].as_array().unwrap().iter();
    let names = names.map(|name| name.as_str().unwrap().to_owned());
    let count = status["replicas"]["ejected"].as_u64().unwrap();
    (metric, count, names.collect())
}

#[test]
fn an_ejected_replica_is_seen_while_it_is_kept_from_requests() {
    let (four, gateway) = four("scoringTimeout: 60s");
    let none = (0.0, 0, Vec::new());
    assert_eq!(ejected(&gateway), none);
    let ejections = || gateway.metric("tidegate_replica_ejections_total", &[("version", "blue")]);
    assert!(!gateway.metrics().contains("tidegate_replicas_ejected{"));
    // It is asked until it is ejected, and for longer each time it is tried again.
    four[1].behave("vanish");
    let seen = until("it is ejected", LIMIT, || {
        let _answer = gateway.score("iris", "?sleep=1", &[]);
        let seen = ejected(&gateway);
        (ejections() >= 2.0 && seen.0 > 0.0 && seen.1 > 0).then_some(seen)
    });
    assert_eq!((seen.0, seen.1, seen.2.len()), (1.0, 1, 1));
    let page = gateway.cli_text(&["describe", "version/iris/blue"]);
    let name = &seen.2[0];
    assert!(
        page.contains("4/4 ready") && page.contains("1 ejected"),
        "{page}"
    );
    assert!(
        page.lines()
            .any(|line| line.starts_with("Ejected:") && line.ends_with(name)),
        "{page}"
    );
    let page = gateway.cli_text(&["describe", "endpoint/iris"]);
    assert!(page.contains("EJECTED"), "{page}");
    // When its time is over that is seen without any request.
    until("it is tried again", LIMIT, || {
        (ejected(&gateway) == none).then_some(())
    });
    let text = gateway.metrics();
    let zero = "tidegate_replicas_ejected{endpoint=\"iris\",version=\"blue\"} 0\n";
    assert!(text.contains(zero), "{text}");
}

#[test]
fn one_that_hangs() {
    check("hang", "504 scoring-timeout", FAILED_MAX);
}

#[test]
fn one_that_answers_500() {
    check("status=500", "500 ", FAILED_MAX);
}

#[test]
fn one_that_closes_every_connection() {
    check("vanish", "502 replica-failed", FAILED_MAX);
}

#[test]
fn one_that_breaks_every_answer_off_after_its_head() {
    // The head of a trial's answer opens both slots, before the break.
    check("cut", "broken: ", 2 * FAILED_MAX);
}

#[test]
fn one_that_is_slow_from_birth() {
    let (four, gateway) = four("");
    four[0].behave("sleep=200");
    assert_eq!(failed(&seen_under_load(&gateway), "none"), 0);
    let (slow, other) = (four[0].served(), four[1].served());
    assert!(
        slow * 2 < other,
        "{slow} on the slow one, {other} on another"
    );
}

/// Four processes, of which the first may be told not to listen.
fn four_processes(arguments: &[&str]) -> Gateway {
    let keys = "traffic: 100\nreplicas: 4\nmaxConcurrentRequests: 2\nmaxQueueWait: 5s";
    let version = yaml::process("blue", arguments, keys);
    Gateway::start(&yaml::open("iris", &[version]))
}

#[test]
fn one_that_is_killed() {
    let gateway = four_processes(&[]);
    gateway.healthy("iris");
    let answer = gateway.score("iris", "", &[]);
    let victim = u32::try_from(answer.json()["pid"].as_u64().unwrap()).unwrap();
    let target = format!("{TARGET}?sleep=20");
    let load = Load::start(gateway.address("http"), 5, &target, &[]);
    until("a load", LIMIT, || (load.answered() > 100).then_some(()));
    process::signal(victim, Signal::KILL);
    until("another is in its place", LIMIT, || {
        let (_, list) = gateway.admin("GET", "/v1/events", b"");
        let of = |kind: &str| list.to_string().matches(&format!("\"{kind}\"")).count();
        (of("ReplicaExited") == 1 && of("ReplicaReady") == 5).then_some(())
    });
    let failed = failed(&load.stop(), "502 replica-failed");
    assert!(failed <= 2, "{failed} failed on a replica of two slots");
    gateway.healthy("iris");
}

/// Two replicas of one slot are busy, and four requests wait: the one on the
/// replica that is killed fails, and nobody who waited is thrown at it.
#[test]
fn one_that_is_killed_before_a_queue() {
    let keys = "traffic: 100\nreplicas: 2\nmaxConcurrentRequests: 1\nmaxQueueWait: 20s";
    let version = yaml::process("blue", &[], keys);
    let gateway = Gateway::start(&yaml::open("iris", &[version]));
    gateway.healthy("iris");
    let answer = gateway.score("iris", "", &[]);
    let victim = u32::try_from(answer.json()["pid"].as_u64().unwrap()).unwrap();
    std::thread::scope(|scope| {
        let call = || gateway.score("iris", "?sleep=600", &[]).status;
        let calls: Vec<_> = (0..6).map(|_| scope.spawn(call)).collect();
        let queued = || gateway.metric("tidegate_queue_depth", &[("endpoint", "iris")]);
        until("four wait", LIMIT, || (queued() == 4.0).then_some(()));
        process::signal(victim, Signal::KILL);
        let mut seen: Vec<u16> = calls.into_iter().map(|call| call.join().unwrap()).collect();
        seen.sort_unstable();
        assert_eq!(seen, [200, 200, 200, 200, 200, 502]);
    });
}

#[test]
fn one_that_never_gets_ready() {
    let folder = tempfile::tempdir().unwrap();
    let deaf = folder.path().join("deaf");
    let gateway = four_processes(&["--one-deaf", deaf.to_str().unwrap()]);
    until("three are ready", LIMIT, || {
        (replicas(&gateway, "ready") == 3.0).then_some(())
    });
    assert_eq!(failed(&seen_under_load(&gateway), "none"), 0);
    let version = until("the reason is shown", LIMIT, || {
        let (_, endpoint) = gateway.admin("GET", "/v1/endpoints/iris", b"");
        let version = endpoint["status"]["versions"][0].clone();
        let reason = version["reason"].as_str().unwrap_or_default();
        reason.contains("its probe failed").then_some(version)
    });
    assert_eq!(version["state"], "Transitioning", "{version}");
    assert_eq!(version["replicas"]["starting"], 1, "{version}");
    let reason = version["reason"].as_str().unwrap();
    assert!(reason.starts_with("3 of 4 replicas ready: "), "{reason}");
}

#[test]
fn a_model_that_asks_for_a_pause_gets_one() {
    let replicas = [Replica::start("a"), Replica::start("b")];
    let version = yaml::version(
        "blue",
        &[&replicas[0], &replicas[1]],
        "traffic: 100\nmaxConcurrentRequests: 4\nmaxQueueWait: 20s",
    );
    let gateway = Gateway::start(&yaml::open("iris", &[version]));
    until("two are ready", LIMIT, || {
        (self::replicas(&gateway, "ready") == 2.0).then_some(())
    });
    replicas[0].behave("status=503&retry=3");
    let told = until("one says so", LIMIT, || {
        let answer = gateway.score("iris", "", &[]);
        (answer.status == 503).then(|| (Instant::now(), answer))
    });
    assert_eq!(told.1.header("retry-after"), Some("3"));
    replicas[0].behave("");
    let before = replicas[0].served();
    until("it gets requests again", LIMIT, || {
        assert_eq!(gateway.score("iris", "", &[]).status, 200);
        (replicas[0].served() > before).then_some(())
    });
    let paused = told.0.elapsed();
    assert!(paused >= Duration::from_millis(2_900), "after {paused:?}");
    // Where all of them ask for it, callers wait in the queue.
    for replica in &replicas {
        replica.behave("status=503&retry=2");
    }
    let told: Vec<Instant> = (0..2)
        .map(|_| {
            assert_eq!(gateway.score("iris", "", &[]).status, 503);
            Instant::now()
        })
        .collect();
    for replica in &replicas {
        replica.behave("");
    }
    assert_eq!(gateway.score("iris", "", &[]).status, 200);
    assert!(told[0].elapsed() >= Duration::from_millis(1_900));
}

#[test]
fn who_would_wait_in_vain_for_a_pause_is_told_at_once() {
    let replica = Replica::start("a");
    let version = yaml::version("blue", &[&replica], "traffic: 100\nmaxQueueWait: 15s");
    let gateway = Gateway::start(&yaml::open("iris", &[version]));
    gateway.healthy("iris");
    replica.behave("status=503&retry=30");
    assert_eq!(gateway.score("iris", "", &[]).status, 503);
    replica.behave("");
    let begun = Instant::now();
    let answer = gateway.score("iris", "", &[]);
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert_eq!((answer.status, answer.code().as_str()), (503, "overloaded"));
    let retry: u32 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((16..=30).contains(&retry), "{retry}");
}

#[test]
fn no_replica_says_when_the_next_one_is_started() {
    let version = yaml::process("blue", &["--fail", "no"], "traffic: 100\nreplicas: 1");
    let gateway = Gateway::start(&yaml::open("iris", &[version]));
    // The back-off doubles to 3.2 s and on.
    until("a later start is told", LIMIT, || {
        let answer = gateway.score("iris", "", &[]);
        assert_eq!((answer.status, answer.code().as_str()), (503, "no-replica"));
        let retry: u32 = answer.header("retry-after").unwrap().parse().unwrap();
        (retry >= 3).then_some(())
    });
}

/// Connections whose heads do not end: each holds its head in the gateway's memory.
fn half_heads(gateway: &Gateway, count: usize) -> Vec<Client> {
    let field = format!("x-fill: {}\r\n", "x".repeat(7_000));
    let head = format!(
        "POST {TARGET} HTTP/1.1\r\nhost: localhost\r\n{}",
        field.repeat(8)
    );
    let open = |_| {
        let mut client = gateway.client();
        // At the limit it may be closed at once.
        let _closed = client.send(head.as_bytes());
        client
    };
    (0..count).map(open).collect()
}

#[test]
fn past_its_memory_no_exchange_begins_and_none_is_harmed() {
    let replica = Replica::start("a");
    let keys = "traffic: 100\nmaxConcurrentRequests: 4";
    let resources = yaml::open("iris", &[yaml::version("blue", &[&replica], keys)]);
    let rest = {
        let gateway = Gateway::start(&resources);
        gateway.healthy("iris");
        assert_eq!(gateway.score("iris", "", &[]).status, 200);
        process::rss_kib(gateway.pid())
    };
    // Less than 64 Mi is not accepted.
    let limit = (rest + (32 << 10)).max(64 << 10);
    let limits = format!("limits: {{ memory: {limit}Ki, headTimeout: 2m }}");
    let gateway = Setup::new(&resources).spec(&limits).start();
    gateway.healthy("iris");
    // What compiling the plugins took may not all be given back yet.
    until("exchanges are taken", LIMIT, || {
        (gateway.score("iris", "", &[]).status == 200).then_some(())
    });
    let mut stream = gateway.client();
    let target = format!("{TARGET}?sse=100000&every=20");
    stream.send(&request("POST", &target, &[], b"{}")).unwrap();
    assert_eq!(stream.head().unwrap().status, 200);
    // Each holds 56 KiB.
    let heads = half_heads(&gateway, usize::try_from((limit - rest) / 28).unwrap());
    let refused = until("no exchange is taken", LIMIT, || {
        let answer = gateway.score("iris", "", &[]);
        (answer.status != 200).then_some(answer)
    });
    let most = process::rss_kib(gateway.pid());
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (503, "out-of-memory")
    );
    assert!(refused.header("retry-after").is_some());
    let (_, status) = gateway.admin("GET", "/v1/status", b"");
    let warnings = status["warnings"].to_string();
    assert!(warnings.contains("past limits.memory"), "{warnings}");
    assert!(!gateway.events("MemoryOver").is_empty());
    for _ in 0..20 {
        assert!(stream.chunk().unwrap().is_some(), "the stream goes on");
    }
    drop(heads);
    until("exchanges are taken again", LIMIT, || {
        (gateway.score("iris", "", &[]).status == 200).then_some(())
    });
    assert!(stream.chunk().unwrap().is_some(), "the stream goes on");
    assert!(!gateway.events("MemoryRecovered").is_empty());
    println!(
        "KiB at rest {rest}, limit {limit}, with the heads {most}, after {}",
        process::rss_kib(gateway.pid())
    );
}
