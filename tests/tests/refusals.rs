//! What is refused: each with its status and code, and without a replica seeing it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use tidegate_tests::gateway::{Gateway, Setup};
use tidegate_tests::replica::Replica;
use tidegate_tests::yaml;

const TARGET: &str = "/api/v1/service/iris/score";

fn start(replica: &Replica, limits: &str) -> Gateway {
    let version = yaml::version("blue", &[replica], "traffic: 100\nmaxConcurrentRequests: 4");
    let gateway = Setup::new(&yaml::open("iris", &[version]))
        .spec(limits)
        .start();
    gateway.healthy("iris");
    gateway
}

/// Method, target, a header (or none), status, code.
type Refusal = (
    &'static str,
    &'static str,
    (&'static str, &'static str),
    u16,
    &'static str,
);

const NO: (&str, &str) = ("", "");
const PIN: &str = "azureml-model-deployment";
const REFUSALS: &[Refusal] = &[
    ("POST", "/api/v1/service/nobody/score", NO, 404, "not-found"),
    ("POST", "/api/v1/service/iris/admin", NO, 404, "not-found"),
    (
        "POST",
        "/api/v1/service/iris;x=1/score",
        NO,
        404,
        "not-found",
    ),
    ("POST", "/", NO, 404, "not-found"),
    ("POST", TARGET, (PIN, "none"), 404, "not-found"),
    ("TRACE", TARGET, NO, 405, "method-not-allowed"),
    ("POST", TARGET, ("x-request-id", "a b"), 400, "malformed"),
    (
        "POST",
        TARGET,
        ("connection", "authorization"),
        400,
        "malformed",
    ),
    ("POST", TARGET, ("connection", "host"), 400, "malformed"),
    (
        "POST",
        TARGET,
        ("transfer_encoding", "chunked"),
        400,
        "malformed",
    ),
    (
        "POST",
        "/api/v1/service/iris/../iris/score",
        NO,
        400,
        "malformed",
    ),
    ("POST", "/api/v1/service/iris%2fscore", NO, 400, "malformed"),
    ("POST", "/api/v1/service/iris/v1/%zz", NO, 400, "malformed"),
    ("POST", "/api/v1/service/iris/v1/%00", NO, 400, "malformed"),
    (
        "POST",
        "/api/v1/service/iris/v1/%2e%2e/score",
        NO,
        400,
        "malformed",
    ),
    ("POST", "/api/v1/service/iris/v1/a\\b", NO, 400, "malformed"),
    (
        "POST",
        "http://other/api/v1/service/iris/score",
        NO,
        400,
        "malformed",
    ),
];

#[test]
fn each_refusal_has_its_status_and_code() {
    let replica = Replica::start("a");
    let gateway = start(&replica, "");
    let long = format!("{TARGET}?{}", "x".repeat(9000));
    let id = "i".repeat(101);
    let more = [
        ("POST", long.as_str(), NO, 414, "target-too-long"),
        (
            "POST",
            TARGET,
            ("x-request-id", id.as_str()),
            431,
            "head-too-large",
        ),
    ];
    for (method, target, header, status, code) in REFUSALS.iter().copied().chain(more) {
        let headers: Vec<_> = [header]
            .into_iter()
            .filter(|(name, _)| !name.is_empty())
            .collect();
        let answer = gateway
            .client()
            .request(method, target, &headers, b"{}")
            .unwrap();
        let case = format!(
            "{method} {} {}",
            target.get(..60).unwrap_or(target),
            header.0
        );
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (status, code),
            "{case}"
        );
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json"),
            "{case}"
        );
        assert!(answer.header("x-request-id").is_some(), "{case}");
    }
    let plain = gateway
        .client()
        .request("POST", "/none", &[("accept", "text/plain")], b"{}");
    assert!(
        !plain.unwrap().text().starts_with('{'),
        "`Accept: text/plain` gets the detail alone"
    );
    assert_eq!(replica.served(), 0, "none of them reached a replica");
}

/// A name, what comes after the first two lines of a head, and what after it.
const SMUGGLING: &[(&str, &str, &str)] = &[
    (
        "chunked twice",
        "transfer-encoding: chunked, chunked",
        "0\r\n\r\n",
    ),
    (
        "gzip, chunked",
        "transfer-encoding: gzip, chunked",
        "0\r\n\r\n",
    ),
    (
        "an empty coding",
        "transfer-encoding: ,chunked",
        "0\r\n\r\n",
    ),
    (
        "two codings",
        "transfer-encoding: cow\r\ntransfer-encoding: chunked",
        "0\r\n\r\n",
    ),
    ("a signed length", "content-length: +2", "{}"),
    (
        "two lengths",
        "content-length: 2\r\ncontent-length: 3",
        "{}",
    ),
    (
        "twice the same length",
        "content-length: 2\r\ncontent-length: 2",
        "{}",
    ),
    ("a list of lengths", "content-length: 2, 2", "{}"),
    (
        "a length of 2^64",
        "content-length: 18446744073709551616",
        "{}",
    ),
    ("obs-fold", "x-a: b\r\n c: d", ""),
    ("a space before the colon", "x-a : b", ""),
    ("a NUL", "x-a: \0", ""),
    ("two hosts", "host: b\r\ncontent-length: 2", "{}"),
    (
        "a host with a user",
        "x: y\r\nhost: u@x\r\ncontent-length: 2",
        "{}",
    ),
    (
        "two credentials",
        "authorization: Bearer a\r\nauthorization: Bearer b\r\ncontent-length: 2",
        "{}",
    ),
    (
        "a chunk size with a space",
        "transfer-encoding: chunked",
        "2 \r\n{}\r\n0\r\n\r\n",
    ),
    (
        "a chunk without its CR LF",
        "transfer-encoding: chunked",
        "2\r\n{}\n0\r\n\r\n",
    ),
    (
        "a length in trailers",
        "transfer-encoding: chunked",
        "0\r\ncontent-length: 5\r\n\r\n",
    ),
];

#[test]
fn shapes_that_smuggle_are_refused_and_the_connection_closes() {
    let replica = Replica::start("a");
    let gateway = start(&replica, "");
    let mut wrong = Vec::new();
    let mut check = |name: &str, bytes: &str| {
        let mut client = gateway.client();
        client.send(bytes.as_bytes()).unwrap();
        let status = client.head().map(|answer| answer.status);
        if status.as_ref().ok() != Some(&400) {
            wrong.push(format!("{name}: {status:?}"));
        }
    };
    for (name, lines, body) in SMUGGLING {
        check(
            name,
            &format!("POST {TARGET} HTTP/1.1\r\nhost: a\r\n{lines}\r\n\r\n{body}"),
        );
    }
    check("a file", "POST file:///api HTTP/1.1\r\nhost: a\r\n\r\n");
    check("bare LF", &format!("POST {TARGET} HTTP/1.1\nhost: a\n\n"));
    check(
        "no host",
        &format!("POST {TARGET} HTTP/1.1\r\ncontent-length: 2\r\n\r\n{{}}"),
    );
    check("an asterisk", "OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n");
    check("no slash", "GET score HTTP/1.1\r\nhost: a\r\n\r\n");
    assert!(
        wrong.is_empty(),
        "not refused with 400:\n{}",
        wrong.join("\n")
    );
    assert_eq!(gateway.score("iris", "", &[]).status, 200);
    assert_eq!(replica.busy(), 0);
}

#[test]
fn no_tunnel_is_made() {
    let replica = Replica::start("a");
    let gateway = start(&replica, "");
    let mut client = gateway.client();
    let after = format!("POST {TARGET} HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{{}}");
    let both = format!("CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n{after}");
    client.send(both.as_bytes()).unwrap();
    let answer = client.answer().unwrap();
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (405, "method-not-allowed")
    );
    assert!(answer.header("allow").is_some());
    // What follows is HTTP, or the connection is over.
    if let Ok(next) = client.answer() {
        assert_eq!(next.status, 200, "{}", next.text());
    }
    assert_eq!(gateway.score("iris", "", &[]).status, 200);
}

#[test]
fn every_limit_on_time_and_size_is_kept() {
    let replica = Replica::start("a");
    let limits = "limits: { headTimeout: 500ms, bodyIdleTimeout: 500ms, idleTimeout: 1s, headFields: 20, headBytes: 8Ki }";
    let gateway = start(&replica, limits);
    // A slow head is closed.
    let mut slow = gateway.client();
    slow.send(b"POST / HTTP/1.1\r\nhost: ").unwrap();
    drop(slow.rest());
    // A slow body is 408.
    let mut slow = gateway.client();
    let head = format!("POST {TARGET} HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nfive!");
    slow.send(head.as_bytes()).unwrap();
    let answer = slow.answer().unwrap();
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (408, "caller-timeout")
    );
    // An idle connection is closed.
    let mut idle = gateway.client();
    assert_eq!(
        idle.request("POST", TARGET, &[], b"{}").unwrap().status,
        200
    );
    drop(idle.rest());
    let fields: Vec<String> = (0..30).map(|number| format!("x-{number}")).collect();
    let fields: Vec<(&str, &str)> = fields.iter().map(|name| (name.as_str(), "y")).collect();
    let many = gateway
        .client()
        .request("POST", TARGET, &fields, b"{}")
        .unwrap();
    assert_eq!(many.status, 431);
    let large = "y".repeat(10_000);
    let large = gateway
        .client()
        .request("POST", TARGET, &[("x-large", &large)], b"{}")
        .unwrap();
    assert_eq!(large.status, 431);
}

#[test]
fn a_resource_that_does_not_check_is_refused_with_every_problem() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bad.yaml");
    let text = "apiVersion: tidegate.dev/v1alpha1\nkind: Endpoint\nmetadata: { name: iris }\nspec:\n  \
                versoins: []\n  versions:\n    - name: blue\n      traffic: 70\n      static: { addresses: [\"127.0.0.1:1\"] }\n    \
                - name: green\n      traffic: 40\n      scoringTimeuot: 5s\n      static: { addresses: [\"127.0.0.1:1\"] }\n";
    std::fs::write(&file, text).unwrap();
    let mut check = std::process::Command::new(tidegate_tests::gateway::binary());
    let output = check.args(["check", "-f"]).arg(&file).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&output.stderr);
    for expected in [
        "versoins",
        "scoringTimeout",
        "spec.versions",
        "110",
        "bad.yaml:",
    ] {
        assert!(
            errors.contains(expected),
            "`{expected}` is not in:\n{errors}"
        );
    }
}
