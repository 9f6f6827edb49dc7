//! Bodies are streams: memory stays flat, and one slow caller slows nobody else.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use tidegate_tests::client::request;
use tidegate_tests::gateway::{Gateway, Setup};
use tidegate_tests::process::MemoryWatch;
use tidegate_tests::replica::{Digest, Replica};
use tidegate_tests::{tool, until, yaml};

const TARGET: &str = "/api/v1/service/iris/score";
/// What a long stream may add to the gateway's memory.
const MORE_KIB: u64 = 32 * 1024;
const MIB: usize = 1024 * 1024;

fn open(replica: &Replica) -> String {
    let keys = "traffic: 100\nmaxConcurrentRequests: 8";
    yaml::open("iris", &[yaml::version("blue", &[replica], keys)])
}

fn started(setup: Setup) -> Gateway {
    let gateway = setup.start();
    gateway.healthy("iris");
    for _ in 0..10 {
        assert_eq!(gateway.score("iris", "", &[]).status, 200);
    }
    gateway
}

#[test]
fn an_upload_of_100_mib_passes_in_little_memory() {
    let replica = Replica::start("a");
    let gateway = started(Setup::new(&open(&replica)));
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let block: Vec<u8> = (0..MIB).map(|at| u8::try_from(at % 251).unwrap()).collect();
    let mut digest = Digest::default();
    for _ in 0..100 {
        file.write_all(&block).unwrap();
        digest.update(&block);
    }
    let data = format!("@{}", file.path().display());
    let url = format!("{}{TARGET}", gateway.url("https"));
    for version in ["--http1.1", "--http2"] {
        let watch = MemoryWatch::start(gateway.pid());
        let answer = tool::curl_text(&["-k", version, "--data-binary", &data, &url]);
        let grown = watch.grown_kib();
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["bytes"], 100 * MIB, "{version}");
        assert_eq!(answer["digest"], format!("{:016x}", digest.0), "{version}");
        println!("{version}: {grown} KiB more");
        assert!(grown <= MORE_KIB, "{version}: {grown} KiB more");
    }
}

#[test]
fn one_byte_over_the_limit_is_413() {
    let replica = Replica::start("a");
    let resources = open(&replica).replace("auth:", "maxRequestBytes: 1Ki\n  auth:");
    let gateway = started(Setup::new(&resources));
    let fits = gateway
        .client()
        .request("POST", TARGET, &[], &[b'x'; 1024])
        .unwrap();
    assert_eq!(fits.status, 200);
    let over = gateway
        .client()
        .request("POST", TARGET, &[], &[b'x'; 1025])
        .unwrap();
    assert_eq!((over.status, over.code().as_str()), (413, "body-too-large"));
    let mut chunked = gateway.client();
    let head = format!("POST {TARGET} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
    chunked.send(head.as_bytes()).unwrap();
    let _ = chunked.send(format!("401\r\n{}\r\n0\r\n\r\n", "x".repeat(1025)).as_bytes());
    assert_eq!(chunked.answer().unwrap().status, 413);
}

#[test]
fn a_long_stream_of_events_passes_event_by_event_in_little_memory() {
    let replica = Replica::start("a");
    let gateway = started(Setup::new(&open(&replica)));
    let watch = MemoryWatch::start(gateway.pid());
    let mut client = gateway.client();
    let target = format!("{TARGET}?sse=60000&fill=1000");
    client.send(&request("POST", &target, &[], b"{}")).unwrap();
    let head = client.head().unwrap();
    assert_eq!(head.header("content-type"), Some("text/event-stream"));
    let mut bytes = 0;
    while let Some(piece) = client.chunk().unwrap() {
        bytes += piece.len();
    }
    assert!(bytes > 60_000 * 1000, "{bytes}");
    let grown = watch.grown_kib();
    println!("{bytes} bytes of events: {grown} KiB more");
    assert!(grown <= MORE_KIB, "{grown} KiB more");
    // And slowly: an event is there before the next one is made.
    let mut client = gateway.client();
    let begun = Instant::now();
    client
        .send(&request(
            "POST",
            &format!("{TARGET}?sse=5&every=400"),
            &[],
            b"{}",
        ))
        .unwrap();
    client.head().unwrap();
    let first = client.chunk().unwrap().unwrap();
    assert!(first.starts_with(b"data: 0"), "{first:?}");
    assert!(
        begun.elapsed() < Duration::from_millis(1500),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn a_caller_that_reads_slowly_slows_its_own_stream_only() {
    let replica = Replica::start("a");
    // One worker, so that both callers share it.
    let setup = Setup::new(&open(&replica))
        .threads(1)
        .spec("limits: { bodyIdleTimeout: 3s }");
    let gateway = started(setup);
    let watch = MemoryWatch::start(gateway.pid());
    let mut slow = gateway.client();
    slow.send(&request(
        "POST",
        &format!("{TARGET}?bytes=500000000"),
        &[],
        b"{}",
    ))
    .unwrap();
    assert_eq!(slow.head().unwrap().status, 200);
    let begun = Instant::now();
    let mut client = gateway.client();
    for _ in 0..200 {
        assert_eq!(
            client.request("POST", TARGET, &[], b"{}").unwrap().status,
            200
        );
    }
    let took = begun.elapsed();
    assert!(
        took < Duration::from_secs(5),
        "200 requests beside a slow reader took {took:?}"
    );
    until(
        "the slow stream is broken off and its slot is back",
        Duration::from_secs(20),
        || {
            let busy = gateway.metric("tidegate_slots", &[("endpoint", "iris"), ("state", "busy")]);
            (busy == 0.0).then_some(())
        },
    );
    let grown = watch.grown_kib();
    assert!(grown <= MORE_KIB, "{grown} KiB more");
    // What was under way arrives; what follows must not look like a whole answer.
    assert!(slow.rest().len() < 500_000_000);
}

#[test]
fn a_caller_of_http_1_0_sees_that_an_answer_broke_off() {
    let replica = Replica::start("a");
    let gateway = started(Setup::new(&open(&replica)));
    for (query, whole) in [("echo", true), ("cut", false)] {
        let mut client = gateway.client();
        let target = format!("{TARGET}?{query}");
        let head = format!("POST {target} HTTP/1.0\r\nhost: a\r\ncontent-length: 2\r\n\r\n");
        client.send(format!("{head}{{}}").as_bytes()).unwrap();
        let mut answer = Vec::new();
        let mut stream = client.stream();
        let end = stream
            .read_to_end(&mut answer)
            .map_err(|error| error.kind());
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
        if whole {
            assert!(answer.ends_with("\r\n\r\n{}"), "{answer}");
            assert!(end.is_ok(), "{end:?}");
        } else {
            assert!(answer.ends_with("cut within a chunk"), "{answer}");
            assert_eq!(end, Err(std::io::ErrorKind::ConnectionReset));
        }
    }
}
