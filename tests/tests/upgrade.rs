//! WebSocket and other protocols through the gateway, with a client and a
//! server that are not ours.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;
use tidegate_tests::client::Client;
use tidegate_tests::gateway::{Gateway, Setup};
use tidegate_tests::{tool, until, yaml};

const TARGET: &str = "/api/v1/service/iris/score";
const LIMIT: Duration = Duration::from_secs(20);

fn resources(address: SocketAddr, keys: &str) -> String {
    let keys: String = keys.lines().map(|key| format!("      {key}\n")).collect();
    let version = format!(
        "    - name: blue\n      static: {{ addresses: [\"{address}\"] }}\n      traffic: 100\n{keys}"
    );
    yaml::open("iris", &[version])
}

fn start(address: SocketAddr, keys: &str) -> Gateway {
    let gateway = Gateway::start(&resources(address, keys));
    gateway.healthy("iris");
    gateway
}

/// Waits until so many slots are busy.
fn busy(gateway: &Gateway, expected: f64) {
    until(&format!("{expected} busy slots"), LIMIT, || {
        let seen = gateway.metric("tidegate_slots", &[("state", "busy")]);
        (seen == expected).then_some(())
    });
}

fn ask(query: &str) -> String {
    format!(
        "GET {TARGET}{query} HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

/// A replica that answers each head with `answer`, then echoes bytes to the end
/// of what comes, and says `bye`.
fn bytes(answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || echo(stream.unwrap(), answer));
        }
    });
    address
}

fn echo(mut stream: TcpStream, answer: &str) {
    let (mut seen, mut part) = (Vec::new(), [0; 4096]);
    while !seen.windows(4).any(|four| four == b"\r\n\r\n") {
        match stream.read(&mut part) {
            Ok(read @ 1..) => seen.extend_from_slice(&part[..read]),
            _ => return,
        }
    }
    stream.write_all(answer.as_bytes()).unwrap();
    while let Ok(read @ 1..) = stream.read(&mut part) {
        stream.write_all(&part[..read]).unwrap();
    }
    let _gone = stream.write_all(b"bye");
}

const SWITCH: &str =
    "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n";

#[test]
fn websockets_client_and_server_understand_each_other_through_it() {
    let server = tool::server("ws_server.py", &[]);
    let gateway = start(server.address, "maxConcurrentRequests: 2");
    let plain = format!("ws://{}{TARGET}", gateway.address("http"));
    let seen = tool::script("ws_checks.py", &[&plain]);
    assert!(seen.contains("all good"), "{seen}");
    let secure = format!("wss://{}{TARGET}", gateway.address("https"));
    let roots = gateway.state().join("development/tls.crt");
    let seen = tool::script("ws_checks.py", &[&secure, roots.to_str().unwrap()]);
    assert!(seen.contains("all good"), "{seen}");
    busy(&gateway, 0.0);
    let lines = gateway.access_lines_at_least(10);
    let switched = lines.iter().filter(|line| line["status"] == 101);
    assert_eq!(switched.count(), 8);
    let refused = lines.iter().filter(|line| line["status"] == 403);
    assert_eq!(refused.count(), 2);
    // Python closes TLS without saying so, which could also be an attacker's cut.
    let well = |line: &Value| line["fault"].is_null() || line["fault"] == "caller-gone";
    assert!(lines.iter().all(well), "{lines:?}");
    assert!(
        lines[..5].iter().all(|line| line["fault"].is_null()),
        "{lines:?}"
    );
    let most = lines.iter().map(|line| line["requestBytes"].as_u64());
    assert!(most.max().unwrap() > Some(3_000_000), "{lines:?}");
}

#[test]
fn a_half_closed_side_still_gets_what_the_other_says_and_the_slot_comes_back() {
    let gateway = start(bytes(SWITCH), "");
    let mut client = gateway.client();
    client.send(ask("").as_bytes()).unwrap();
    assert_eq!(client.head().unwrap().status, 101);
    // No HTTP, and nothing that HTTP would let pass.
    client.send(b"\n\0garbage\r\n\r\n").unwrap();
    busy(&gateway, 1.0);
    client.stream().shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.rest(), b"\n\0garbage\r\n\r\nbye");
    busy(&gateway, 0.0);
    let line = &gateway.access_lines_at_least(1)[0];
    assert_eq!(
        (&line["status"], &line["responseBytes"]),
        (&101.into(), &16.into())
    );
}

#[test]
fn what_was_sent_before_101_passes_after_it() {
    let gateway = start(bytes(SWITCH), "");
    let mut client = gateway.client();
    client
        .send(format!("{}\n\0early", ask("")).as_bytes())
        .unwrap();
    assert_eq!(client.head().unwrap().status, 101);
    client.stream().shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.rest(), b"\n\0earlybye");
}

#[test]
fn both_sides_are_closed_when_nothing_passes_for_the_idle_limit() {
    let server = tool::server("ws_server.py", &[]);
    let gateway = start(server.address, "streamIdleTimeout: 1s");
    let mut client = gateway.client();
    client.send(ask("?silent").as_bytes()).unwrap();
    assert_eq!(client.head().unwrap().status, 101);
    busy(&gateway, 1.0);
    let begun = Instant::now();
    client.rest();
    assert!(begun.elapsed() < Duration::from_secs(10));
    busy(&gateway, 0.0);
}

#[test]
fn without_101_it_stays_http() {
    let server = tool::server("ws_server.py", &[]);
    let gateway = start(server.address, "");
    let mut client = gateway.client();
    for _ in 0..3 {
        client.send(ask("?refuse").as_bytes()).unwrap();
        assert_eq!(client.answer().unwrap().status, 403);
    }
    // Bytes that were held are no request.
    client.send(ask("?refuse").repeat(2).as_bytes()).unwrap();
    let answer = client.answer().unwrap();
    assert_eq!(
        (answer.status, answer.header("connection")),
        (403, Some("close"))
    );
    assert_eq!(client.rest(), b"");
}

#[test]
fn a_101_that_nobody_asked_for_is_502() {
    let gateway = start(bytes(SWITCH), "");
    let plain = format!("GET {TARGET} HTTP/1.1\r\nhost: a\r\n\r\n");
    let unnamed = plain.replace("\r\n\r\n", "\r\nupgrade: websocket\r\n\r\n");
    let other = ask("").replace("websocket\r\nsec", "other\r\nsec");
    let old = ask("").replace("websocket\r\nsec", "h2c\r\nsec");
    for request in [plain, unnamed, other, old] {
        let mut client = Client::connect(gateway.address("http"));
        client.send(request.as_bytes()).unwrap();
        let answer = client.answer().unwrap();
        let seen = (answer.status, answer.code());
        assert_eq!(seen, (502, "replica-failed".to_owned()), "{request}");
    }
    busy(&gateway, 0.0);
}

#[test]
fn the_drain_lets_it_go_on_and_then_cuts_it() {
    let resources = resources(bytes(SWITCH), "");
    let gateway = Setup::new(&resources).spec("limits: { drain: 2s }").start();
    gateway.healthy("iris");
    let mut client = gateway.client();
    client.send(ask("").as_bytes()).unwrap();
    assert_eq!(client.head().unwrap().status, 101);
    let stopping = std::thread::spawn(move || gateway.stop());
    std::thread::sleep(Duration::from_millis(500));
    let mut stream = client.stream();
    stream.write_all(b"still here").unwrap();
    let mut seen = [0; 10];
    stream.read_exact(&mut seen).unwrap();
    assert_eq!(&seen, b"still here");
    client.rest();
    assert!(stopping.join().unwrap().success());
}
