//! HTTP as callers that are not hyper speak it: curl, Python's h2, raw sockets.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::time::Duration;

use tidegate_tests::client::{Client, request};
use tidegate_tests::gateway::Gateway;
use tidegate_tests::replica::Replica;
use tidegate_tests::{rounds, tool, until, yaml};

const TARGET: &str = "/api/v1/service/iris/score";
const LIMIT: Duration = Duration::from_secs(20);

fn start(keys: &str) -> (Gateway, Replica) {
    let replica = Replica::start("a");
    let version = yaml::version("blue", &[&replica], &format!("traffic: 100\n{keys}"));
    let gateway = Gateway::start(&yaml::open("iris", &[version]));
    gateway.healthy("iris");
    (gateway, replica)
}

#[test]
fn curl_speaks_http_1_and_2_over_tls_1_2_and_1_3() {
    let (gateway, _replica) = start("maxConcurrentRequests: 8");
    let url = format!("{}{TARGET}", gateway.url("https"));
    let certificate = gateway.state().join("development/tls.crt");
    let certificate = certificate.to_str().unwrap();
    for (tls, http, expected) in [
        ("1.2", "--http1.1", "200 1.1"),
        ("1.3", "--http1.1", "200 1.1"),
        ("1.2", "--http2", "200 2"),
        ("1.3", "--http2", "200 2"),
    ] {
        let minimum = format!("--tlsv{tls}");
        let seen = tool::curl_text(&[
            "--cacert",
            certificate,
            &minimum,
            "--tls-max",
            tls,
            http,
            "-o",
            "/dev/null",
            "-w",
            "%{http_code} %{http_version}",
            "-d",
            "{}",
            &url,
        ]);
        assert_eq!(seen, expected, "TLS {tls} {http}");
    }
}

#[test]
fn the_h2_of_python_gets_answers_trailers_and_resets() {
    let (gateway, _replica) = start("maxConcurrentRequests: 8");
    let seen = tool::script("h2_checks.py", &[&gateway.url("https"), TARGET]);
    assert!(seen.contains("all good"), "{seen}");
}

#[test]
fn trailers_pass_both_ways() {
    let (gateway, _replica) = start("");
    let mut client = gateway.client();
    let head = format!(
        "POST {TARGET}?echo&trailers HTTP/1.1\r\nhost: a\r\nte: trailers\r\n\
         trailer: x-sent\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    client.send(head.as_bytes()).unwrap();
    client
        .send(b"5\r\nhello\r\n0\r\nx-sent: yes\r\n\r\n")
        .unwrap();
    let answer = client.answer().unwrap();
    assert_eq!(answer.text(), "hello");
    let names: Vec<&str> = answer
        .trailers
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert!(names.contains(&"x-checksum"), "{:?}", answer.trailers);
    let mut client = gateway.client();
    let head = head.replace("?echo&trailers", "");
    client.send(head.as_bytes()).unwrap();
    client
        .send(b"5\r\nhello\r\n0\r\nx-sent: yes\r\n\r\n")
        .unwrap();
    assert_eq!(
        client.answer().unwrap().json()["trailers"],
        1,
        "the model got the trailer"
    );
}

#[test]
fn a_body_is_asked_for_when_it_is_wanted() {
    let (gateway, replica) = start("maxQueueWait: 20s");
    let head = format!(
        "POST {TARGET}?head HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n"
    );
    let mut client = gateway.client();
    client.send(head.as_bytes()).unwrap();
    assert_eq!(client.head().unwrap().status, 100);
    client.send(b"hello").unwrap();
    let answer = client.answer().unwrap();
    assert_eq!(answer.status, 200);
    assert!(
        !answer.text().to_lowercase().contains("expect"),
        "Expect goes no further"
    );
    // While no slot is free, no body is asked for.
    let mut busy = gateway.client();
    busy.send(&request(
        "POST",
        &format!("{TARGET}?sleep=1500"),
        &[],
        b"{}",
    ))
    .unwrap();
    until("the slot is taken", LIMIT, || {
        (replica.busy() == 1).then_some(())
    });
    let mut client = gateway.client();
    client.send(head.as_bytes()).unwrap();
    client
        .stream()
        .set_read_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    assert!(
        client.head().is_err(),
        "100 Continue came before a slot was free"
    );
    client.stream().set_read_timeout(Some(LIMIT)).unwrap();
    assert_eq!(client.head().unwrap().status, 100);
    client.send(b"hello").unwrap();
    assert_eq!(client.answer().unwrap().status, 200);
    // And a refusal comes without one.
    let mut client = gateway.client();
    client
        .send(head.replace("/iris/", "/nobody/").as_bytes())
        .unwrap();
    assert_eq!(client.head().unwrap().status, 404);
    let with_curl = tool::curl_text(&[
        "-H",
        "Expect: 100-continue",
        "-d",
        "hello",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        &format!("{}{TARGET}", gateway.url("http")),
    ]);
    assert_eq!(with_curl, "200");
}

#[test]
fn an_answer_before_the_body_was_sent_passes_and_stops_the_upload() {
    let (gateway, replica) = start("");
    let mut client = gateway.client();
    let total: usize = 50 * 1024 * 1024;
    let head =
        format!("POST {TARGET}?early=413 HTTP/1.1\r\nhost: a\r\ncontent-length: {total}\r\n\r\n");
    client.send(head.as_bytes()).unwrap();
    client.send(&[b'x'; 64 * 1024]).unwrap();
    let answer = client.answer().unwrap();
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (413, r#"{"early":true}"#)
    );
    client
        .stream()
        .set_write_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let mut sent = 64 * 1024;
    while sent < total && client.send(&[b'x'; 64 * 1024]).is_ok() {
        sent += 64 * 1024;
    }
    assert!(
        replica.body_bytes() < total as u64 / 2,
        "{} bytes reached it",
        replica.body_bytes()
    );
    let next = gateway.score("iris", "", &[]);
    assert_eq!(next.status, 200, "the slot is back: {}", next.text());
}

#[test]
fn replicas_that_close_after_each_answer_cause_no_errors() {
    let (gateway, _replica) = start("");
    let mut client = gateway.client();
    for number in 0..50 {
        let answer = client
            .request("POST", &format!("{TARGET}?close"), &[], b"{}")
            .unwrap();
        assert_eq!(answer.status, 200, "request {number}: {}", answer.text());
    }
}

#[test]
fn a_bad_answer_of_the_replica_is_502_or_broken_off() {
    let (gateway, _replica) = start("scoringTimeout: 1s");
    for query in ["?vanish", "?garbage"] {
        let answer = gateway.score("iris", query, &[]);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (502, "replica-failed"),
            "{query}"
        );
    }
    let answer = gateway.score("iris", "?hang", &[]);
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (504, "scoring-timeout")
    );
    for query in ["?short", "?cut"] {
        let mut client = gateway.client();
        let answer = client.request("POST", &format!("{TARGET}{query}"), &[], b"{}");
        assert!(answer.is_err(), "{query} ended cleanly: {answer:?}");
    }
    assert_eq!(gateway.score("iris", "", &[]).status, 200);
}

#[test]
fn headers_are_kept_dropped_and_set_as_told() {
    let (gateway, _replica) = start("");
    let headers = [
        ("x-custom", "kept"),
        ("connection", "x-hop"),
        ("x-hop", "dropped"),
        ("x-forwarded-for", "6.6.6.6"),
        ("x_forwarded_for", "6.6.6.6"),
        ("x-tidegate-admin", "1"),
        ("authorization", "Bearer secret"),
        ("x-request-id", "mine-1"),
        ("content-type", "application/x-own"),
    ];
    let answer = gateway
        .client()
        .request("POST", &format!("{TARGET}?head"), &headers, b"{}");
    let answer = answer.unwrap();
    let head = answer.text().to_lowercase();
    assert!(
        head.contains("x-custom: kept") && head.contains("application/x-own"),
        "{head}"
    );
    for dropped in ["x-hop: dropped", "6.6.6.6", "x-tidegate", "secret_never"] {
        assert!(
            !head.contains(dropped),
            "{dropped} reached the model:\n{head}"
        );
    }
    assert!(head.contains("x-forwarded-for: 127.0.0.1"), "{head}");
    assert_eq!(answer.header("x-request-id"), Some("mine-1"));
    assert_eq!(answer.header("x-ms-request-id"), Some("mine-1"));
    assert_eq!(answer.header("azureml-model-deployment"), Some("blue"));
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let (gateway, _replica) = start("");
    let mut client = Client::connect(gateway.address("http"));
    let mut bytes = Vec::new();
    for number in 0..20 {
        let id = format!("n-{number}");
        bytes.extend(request("POST", TARGET, &[("x-request-id", &id)], b"{}"));
    }
    client.send(&bytes).unwrap();
    for number in 0..20 {
        let answer = client.answer().unwrap();
        assert_eq!(
            answer.header("x-request-id"),
            Some(format!("n-{number}").as_str())
        );
    }
}

/// An endpoint that wants a key and takes at most 1 MiB.
fn closed() -> (Gateway, Replica) {
    let replica = Replica::start("a");
    let version = yaml::version("blue", &[&replica], "traffic: 100");
    let spec = "auth: { mode: key }\nmaxRequestBytes: 1Mi";
    let gateway = Gateway::start(&yaml::endpoint("iris", spec, &[version]));
    gateway.healthy("iris");
    (gateway, replica)
}

#[test]
fn curl_gets_every_refusal_over_http_2() {
    let (gateway, _replica) = closed();
    let url = format!("{}{TARGET}", gateway.url("https"));
    // A race of curl's body with the answer: one of twenty was lost once.
    for round in 0..rounds(500) {
        let seen = tool::curl_text(&[
            "-k",
            "--http2",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code} %{http_version}",
            "-d",
            "{}",
            &url,
        ]);
        assert_eq!(seen, "401 2", "round {round}");
    }
}

#[test]
fn curl_gets_every_refusal_of_a_body_that_is_not_read() {
    let (gateway, replica) = closed();
    let bearer = format!("Authorization: {}", gateway.bearer("iris"));
    let folder = tempfile::tempdir().unwrap();
    // One that is read off, and one that is too long for that.
    let data = [60_000, 8_000_000].map(|bytes| {
        let file = folder.path().join(bytes.to_string());
        std::fs::write(&file, vec![b'x'; bytes]).unwrap();
        format!("@{}", file.display())
    });
    let (http, https) = (gateway.url("http"), gateway.url("https"));
    for round in 0..rounds(100) {
        for (url, version) in [
            (&http, "--http1.1"),
            (&https, "--http1.1"),
            (&https, "--http2"),
        ] {
            let url = format!("{url}{TARGET}");
            let status = |data: &str, header: &str| {
                let fixed = ["-k", version, "-o", "/dev/null", "-w", "%{http_code}"];
                let own = ["-H", header, "--data-binary", data, &url];
                // Who is refused while it sends may also fail to send.
                let output = tool::curl(&[fixed.as_slice(), &own].concat());
                String::from_utf8_lossy(&output.stdout).into_owned()
            };
            let case = format!("{url} {version}, round {round}");
            for data in &data {
                assert_eq!(status(data, "Expect:"), "401", "{data} {case}");
            }
            assert_eq!(status(&data[1], &bearer), "413", "{case}");
        }
    }
    assert_eq!(replica.served(), 0);
    assert_eq!(gateway.score("iris", "", &[]).status, 401);
}
