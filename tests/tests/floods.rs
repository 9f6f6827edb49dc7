//! Attacks on a connection of HTTP/2, one test a table: each ends as it should,
//! costs little memory, and leaves the gateway whole.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

use std::time::Duration;

use tidegate_tests::gateway::{Gateway, Setup};
use tidegate_tests::process::MemoryWatch;
use tidegate_tests::replica::Replica;
use tidegate_tests::{tool, until, yaml};

const TARGET: &str = "/api/v1/service/iris/score";
/// What one attack may add to the gateway's memory (facts/bad-inputs: 32 MB).
const MORE_KIB: u64 = 32 * 1024;

fn start(limits: &str) -> (Gateway, Replica) {
    let replica = Replica::start("a");
    let keys = "traffic: 100\nmaxConcurrentRequests: 4\nmaxQueueWait: 1s";
    let version = yaml::version("blue", &[&replica], keys);
    let gateway = Setup::new(&yaml::open("iris", &[version]))
        .spec(limits)
        .start();
    gateway.healthy("iris");
    for _ in 0..10 {
        assert_eq!(gateway.score("iris", "", &[]).status, 200);
    }
    (gateway, replica)
}

/// Runs an attack; the gateway has to be whole after it.
#[track_caller]
fn attack(gateway: &Gateway, name: &str) -> String {
    let watch = MemoryWatch::start(gateway.pid());
    let seen = tool::script("h2_floods.py", &[&gateway.url("https"), TARGET, name]);
    let seen = seen.trim().to_owned();
    let grown = watch.grown_kib();
    println!("{name}: {seen}; {grown} KiB more");
    assert!(grown <= MORE_KIB, "{name}: {grown} KiB more");
    until("every slot is free", Duration::from_secs(60), || {
        let busy = gateway.metric("tidegate_slots", &[("endpoint", "iris"), ("state", "busy")]);
        (busy == 0.0).then_some(())
    });
    assert_eq!(gateway.score("iris", "", &[]).status, 200, "after {name}");
    seen
}

#[track_caller]
fn check(gateway: &Gateway, table: &[(&str, &str)]) {
    let mut wrong = Vec::new();
    for (name, expected) in table {
        let seen = attack(gateway, name);
        if !seen.split(", ").any(|one| one == *expected) {
            wrong.push(format!("{name}: {seen}, not {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// ENHANCE_YOUR_CALM.
const CALM: &str = "goaway 11";

#[test]
fn floods_of_small_frames_are_told_to_calm_down() {
    let (gateway, replica) = start("");
    let before = replica.served();
    let floods = [
        ("settings", CALM),
        // PROTOCOL_ERROR: nobody asked for it.
        ("settings-acks", "goaway 1"),
        ("pings", CALM),
        ("pongs", CALM),
        ("priorities", CALM),
        ("unknown-frames", CALM),
        ("continuations", CALM),
        ("empty-data", CALM),
        ("small-data", CALM),
    ];
    check(&gateway, &floods);
    let served = replica.served() - before;
    // One after each attack; those of DATA begin one of their own, whose head
    // may have reached it.
    assert!((9..=11).contains(&served), "{served} reached the replica");
    let log = gateway.log().len();
    assert!(log < 16 * 1024, "{log} bytes of log for nine callers");
}

#[test]
fn streams_that_are_reset_at_once_are_told_to_calm_down() {
    let (gateway, replica) = start("");
    let floods = [
        ("rapid-reset", CALM),
        ("no-increment", "goaway 1"),
        ("too-much-window", CALM),
        ("over-its-length", CALM),
    ];
    let before = replica.served();
    check(&gateway, &floods);
    let served = replica.served() - before;
    assert!(served < 1000, "{served} requests reached the replica");
}

#[test]
fn a_head_that_is_small_on_the_wire_and_large_here_is_431() {
    let (gateway, replica) = start("");
    let before = replica.served();
    let heads = [("bomb", "status 431 x100"), ("crumbs", "status 431")];
    check(&gateway, &heads);
    assert_eq!(replica.served() - before, 2);
}

#[test]
fn a_stream_that_is_no_http_is_refused() {
    let (gateway, _replica) = start("");
    // PROTOCOL_ERROR, of the stream or, where the head cannot be read, of the
    // connection; the host is known to be wrong only when the head is read.
    let (reset, goaway) = ("reset 1", "goaway 1");
    let bad = [
        ("connect", "status 405"),
        ("trace", "status 405"),
        ("asterisk", "status 400"),
        ("without-host", "status 400"),
        ("other-host", "status 400"),
        ("over-length", reset),
        ("under-length", reset),
        ("te-gzip", reset),
        ("connection", reset),
        ("upper-case", goaway),
        ("crlf-value", goaway),
        ("bad-preface", "closed"),
    ];
    check(&gateway, &bad);
}

#[test]
fn a_pseudo_field_among_trailers_goes_no_further() {
    let (gateway, _replica) = start("");
    // h2 drops it without a word, and there is no way to see it beneath: what
    // counts is that it changes nothing. The replica counts no trailer.
    check(&gateway, &[("pseudo-trailer", "status 200")]);
}

#[test]
fn a_caller_that_opens_no_window_is_reset_and_its_slot_comes_back() {
    let (gateway, _replica) = start("limits: { bodyIdleTimeout: 2s }");
    check(&gateway, &[("no-window", "reset 8")]);
}
