//! TLS to replicas: who is believed, and what happens where nobody is.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;
use tidegate_tests::gateway::{Gateway, Setup};
use tidegate_tests::tool::{self, Server};
use tidegate_tests::{until, yaml};

const LIMIT: Duration = Duration::from_secs(20);

/// Two roots with a certificate each: `ours` and `theirs`.
struct Certificates(TempDir);

impl Certificates {
    fn make() -> Self {
        let folder = TempDir::with_prefix("tidegate-").unwrap();
        for name in ["ours", "theirs"] {
            tool::certificate(folder.path(), name);
        }
        Self(folder)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn serve(&self) -> Server {
        let files = ["ours.pem", "ours.key", "theirs.pem", "theirs.key"];
        let files = files.map(|name| self.file(name));
        tool::server("tls_server.py", &files.each_ref().map(PathBuf::as_path))
    }

    fn gateway(&self, server: &Server, tls: &str, keys: &str) -> Gateway {
        let version = format!(
            "    - name: blue\n      traffic: 100\n      static:\n        addresses: [\"{}\"]\n\
             \x20       tls: {tls}\n{keys}",
            server.address
        );
        let mut setup = Setup::new(&yaml::open("iris", &[version]));
        for name in ["ours-ca.pem", "theirs-ca.pem"] {
            setup = setup.file(name, std::fs::read(self.file(name)).unwrap());
        }
        setup.start()
    }
}

const OURS: &str = "{ caFile: ours-ca.pem, serverName: model.example }";

/// Waits until the version says why it is not ready.
#[track_caller]
fn says(gateway: &Gateway, expected: &str) {
    until(expected, LIMIT, || {
        let (_, endpoint) = gateway.admin("GET", "/v1/endpoints/iris", b"");
        let version = &endpoint["status"]["versions"][0];
        let reason = version["reason"].as_str().unwrap_or_default();
        (version["replicas"]["ready"] == 0 && reason.contains(expected)).then_some(())
    });
    let answer = gateway.score("iris", "", &[]);
    assert_eq!(answer.status, 503, "{}", answer.text());
}

#[test]
fn with_the_right_roots_it_is_spoken_to_and_connections_are_kept() {
    let certificates = Certificates::make();
    let server = certificates.serve();
    let readiness = "      readiness: { path: /health }\n";
    for keys in ["", readiness] {
        let gateway = certificates.gateway(&server, OURS, keys);
        gateway.healthy("iris");
        let first = gateway.score("iris", "", &[]);
        assert_eq!(first.status, 200, "{}", first.text());
        assert_eq!(first.json()["alpn"], "http/1.1");
        let second = gateway.score("iris", "", &[]);
        assert_eq!(second.status, 200);
        // Two workers, and each has its own connections.
        let (mut same, mut last) = (false, second.json()["connection"].clone());
        for _ in 0..4 {
            let next = gateway.score("iris", "", &[]).json()["connection"].clone();
            same |= next == last || next == first.json()["connection"];
            last = next;
        }
        assert!(same, "no connection was used twice");
    }
}

#[test]
fn whoever_is_not_believed_is_not_ready() {
    let certificates = Certificates::make();
    let server = certificates.serve();
    let theirs = "{ caFile: theirs-ca.pem, serverName: model.example }";
    let gateway = certificates.gateway(&server, theirs, "");
    says(&gateway, "no TLS: invalid peer certificate: UnknownIssuer");
    let nameless = "{ caFile: ours-ca.pem }";
    let gateway = certificates.gateway(&server, nameless, "");
    says(&gateway, "no TLS: invalid peer certificate");
    // The machine's roots do not know it either.
    let machine = "{ serverName: model.example }";
    let gateway = certificates.gateway(&server, machine, "");
    says(&gateway, "TLS");
}

#[test]
fn roots_that_are_none_are_the_versions_reason_until_they_are_there() {
    let certificates = Certificates::make();
    let server = certificates.serve();
    let missing = "{ caFile: missing.pem, serverName: model.example }";
    let gateway = certificates.gateway(&server, missing, "");
    says(&gateway, "missing.pem: No such file");
    let file = gateway.folder().join("missing.pem");
    std::fs::write(&file, "no PEM").unwrap();
    says(&gateway, "missing.pem: no certificate in it");
    std::fs::copy(certificates.file("ours-ca.pem"), &file).unwrap();
    gateway.healthy("iris");
    assert_eq!(gateway.score("iris", "", &[]).status, 200);
}

#[test]
fn a_replica_that_shows_another_certificate_is_502_and_then_not_ready() {
    let certificates = Certificates::make();
    let server = certificates.serve();
    let readiness = "      readiness: { period: 2s, failureThreshold: 1 }\n";
    let gateway = certificates.gateway(&server, OURS, readiness);
    gateway.healthy("iris");
    assert_eq!(gateway.score("iris", "?turn", &[]).status, 200);
    let answer = gateway.score("iris", "", &[]);
    let seen = (answer.status, answer.code());
    // A probe may have been faster.
    let either = [(502, "replica-failed"), (503, "no-replica")];
    assert!(
        either
            .iter()
            .any(|(status, code)| *status == seen.0 && *code == seen.1),
        "{seen:?}"
    );
    assert!(!answer.text().contains("certificate"), "{}", answer.text());
    says(&gateway, "UnknownIssuer");
}

#[test]
fn websocket_runs_over_it() {
    let certificates = Certificates::make();
    let files = ["ours.pem", "ours.key"].map(|name| certificates.file(name));
    let server = tool::server("ws_server.py", &files.each_ref().map(PathBuf::as_path));
    let gateway = certificates.gateway(&server, OURS, "");
    gateway.healthy("iris");
    let url = format!("ws://{}/api/v1/service/iris/score", gateway.address("http"));
    let seen = tool::script("ws_checks.py", &[&url]);
    assert!(seen.contains("all good"), "{seen}");
}
