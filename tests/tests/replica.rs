//! The test replica itself: what the other tests lean on.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use tidegate_tests::client::Client;
use tidegate_tests::replica::{Digest, Replica};
use tidegate_tests::until;

fn ask(replica: &Replica, query: &str, body: &[u8]) -> tidegate_tests::client::Answer {
    let mut client = Client::connect(replica.address);
    client
        .request("POST", &format!("/score?{query}"), &[], body)
        .unwrap()
}

#[test]
fn it_answers_a_line_of_json_with_what_it_got() {
    let replica = Replica::start("blue");
    let answer = ask(&replica, "", b"hello");
    assert_eq!(
        (answer.status, answer.header("x-replica")),
        (200, Some("blue"))
    );
    let mut digest = Digest::default();
    digest.update(b"hello");
    assert_eq!(answer.json()["bytes"], 5);
    assert_eq!(answer.json()["digest"], format!("{:016x}", digest.0));
}

#[test]
fn it_echoes_with_trailers_and_streams_events() {
    let replica = Replica::start("blue");
    let answer = ask(&replica, "echo&trailers", b"again");
    assert_eq!(answer.text(), "again");
    assert_eq!(answer.trailers.len(), 1);
    assert_eq!(
        ask(&replica, "sse=3", b"").text(),
        "data: 0 \n\ndata: 1 \n\ndata: 2 \n\n"
    );
    assert_eq!(ask(&replica, "bytes=100000", b"").body.len(), 100_000);
    assert_eq!(ask(&replica, "early=413", b"").status, 413);
}

#[test]
fn bad_answers_are_bad() {
    let replica = Replica::start("blue");
    for query in ["vanish", "garbage", "short", "cut"] {
        let mut client = Client::connect(replica.address);
        let answer = client.request("GET", &format!("/score?{query}"), &[], b"");
        assert!(answer.is_err(), "{query}: {answer:?}");
    }
}

#[test]
fn it_computes_on_when_its_caller_leaves_and_counts_that() {
    let replica = Replica::start("blue");
    for _ in 0..2 {
        let mut client = Client::connect(replica.address);
        client
            .send(b"GET /score?sleep=200 HTTP/1.1\r\n\r\n")
            .unwrap();
        until("it computes", Duration::from_secs(5), || {
            (replica.busy() > 0).then_some(())
        });
    }
    until("both compute", Duration::from_secs(5), || {
        (replica.greatest() == 2).then_some(())
    });
    until("both are done", Duration::from_secs(5), || {
        (replica.busy() == 0).then_some(())
    });
}
