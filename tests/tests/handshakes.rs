//! TLS as others speak it: a hello in pieces, early data, names of certificates.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use tidegate_tests::gateway::{Gateway, Setup};
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

/// A listener with two certificates; a connection is for the names of the one
/// that it was shown.
#[test]
fn a_host_of_another_certificate_is_misdirected() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a", "b"] {
        tool::certificate_for(folder.path(), name, &format!("{name}.example"));
    }
    let file = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    let replica = Replica::start("a");
    let version = yaml::version("blue", &[&replica], "traffic: 100");
    let certificate = |name: &str| format!("{{ certFile: {name}.pem, keyFile: {name}.key }}");
    let gateway = Setup::new(&yaml::open("iris", &[version]))
        .listener(&format!(
            "{{ name: two, address: 127.0.0.1:0, tls: {{ mode: certificates, certificates: [{}, {}] }} }}",
            certificate("a"),
            certificate("b")
        ))
        .file("a.pem", file("a.pem"))
        .file("a.key", file("a.key"))
        .file("b.pem", file("b.pem"))
        .file("b.key", file("b.key"))
        .start();
    gateway.healthy("iris");
    let address = gateway.address("two");
    let roots = in_folder(folder.path(), "a-ca.pem");
    for version in ["--http1.1", "--http2"] {
        for (host, status) in [
            ("a.example", "200"),
            ("b.example", "421"),
            ("c.example", "200"),
        ] {
            let connect = format!("a.example:443:{address}");
            let host = format!("host: {host}");
            let url = format!("https://a.example{TARGET}");
            let seen = tool::curl_text(&[
                version,
                "--cacert",
                &roots,
                "--connect-to",
                &connect,
                "-H",
                &host,
                "-d",
                "{}",
                "-o",
                "/dev/null",
                "-w",
                "%{http_code}",
                &url,
            ]);
            assert_eq!(seen, status, "{version} {host}");
        }
    }
}
