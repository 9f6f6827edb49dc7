//! TLS as others speak it: a hello in pieces, early data, names of certificates.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use tidegate_tests::gateway::Gateway;
use tidegate_tests::replica::Replica;
use tidegate_tests::{tool, yaml};

const TARGET: &str = "/api/v1/service/iris/score";

fn start() -> (Gateway, Replica) {
    let replica = Replica::start("a");
    let version = yaml::version("blue", &[&replica], "traffic: 100");
    let gateway = Gateway::start(&yaml::open("iris", &[version]));
    gateway.healthy("iris");
    (gateway, replica)
}

#[test]
fn a_hello_in_many_records_or_byte_by_byte_is_understood() {
    let (gateway, _replica) = start();
    let address = gateway.address("https");
    let port = address.port().to_string();
    let seen = tool::script("tls_hello.py", &["127.0.0.1", &port, TARGET]);
    assert!(seen.contains("all good"), "{seen}");
}

/// What `openssl s_client` prints of a connection that sends `request`.
fn s_client(gateway: &Gateway, arguments: &[&str], request: &str) -> String {
    let mut openssl = Command::new("openssl");
    let address = gateway.address("https").to_string();
    openssl.args(["s_client", "-connect", &address, "-tls1_3", "-ign_eof"]);
    openssl.args(["-servername", "localhost"]).args(arguments);
    openssl.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = openssl.stderr(Stdio::null()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(request.as_bytes()).unwrap();
    // It stays open until the gateway closes, as the request asks for.
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn in_folder(folder: &Path, name: &str) -> String {
    folder.join(name).display().to_string()
}

#[test]
fn early_data_is_neither_offered_nor_taken() {
    let (gateway, replica) = start();
    let request = format!(
        "POST {TARGET} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{{}}"
    );
    let folder = tempfile::tempdir().unwrap();
    let session = in_folder(folder.path(), "session");
    let first = s_client(&gateway, &["-sess_out", &session], &request);
    assert!(first.contains("HTTP/1.1 200 OK"), "{first}");
    assert!(first.contains("Max Early Data: 0"), "{first}");
    assert_eq!(replica.served(), 1);
    let early = in_folder(folder.path(), "early");
    std::fs::write(&early, &request).unwrap();
    let again = ["-sess_in", &session, "-early_data", &early];
    let second = s_client(&gateway, &again, &request);
    assert!(!second.contains("Early data was accepted"), "{second}");
    assert!(second.contains("HTTP/1.1 200 OK"), "{second}");
    // Once, and not what was early.
    assert_eq!(replica.served(), 2);
}
