//! Certificates that are replaced while the gateway serves: that of a listener,
//! and that of the admin API.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tidegate_tests::secured::{Secured, show};
use tidegate_tests::until;

/// SEMANTICS §9 allows 2 s; a busy machine takes its time.
const SOON: Duration = Duration::from_secs(30);

/// `tidegate_certificate_expiry_seconds` of a name.
fn expiry(gateway: &Secured, name: &str, root: &str) -> f64 {
    let text = gateway.admin("/metrics", root).unwrap();
    let start = format!("tidegate_certificate_expiry_seconds{{name=\"{name}\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&start));
    line.unwrap().parse().unwrap()
}

/// Objects of the events of a kind so far.
fn objects(gateway: &Secured, kind: &str, root: &str) -> Vec<String> {
    let events = gateway.admin("/v1/events", root).unwrap();
    let events: Value = serde_json::from_str(&events).unwrap();
    let items = events["items"].as_array().unwrap().iter();
    let of_kind = items.filter(|event| event["kind"] == kind);
    let mut objects: Vec<String> = of_kind
        .map(|event| event["object"].as_str().unwrap().to_owned())
        .collect();
    objects.sort();
    objects.dedup();
    objects
}

/// Has the root of `name` sign it again, for one day.
fn shorten(folder: &Path, name: &str) {
    let line = format!(
        "x509 -req -in {name}.csr -CA {name}-ca.pem -CAkey {name}-ca.key -days 1 -extfile {name}.ext -out {name}.pem"
    );
    let mut openssl = Command::new("openssl");
    openssl.args(line.split(' ')).current_dir(folder);
    assert!(openssl.output().unwrap().status.success());
}

#[test]
fn the_certificates_of_a_listener_and_of_the_admin_api_are_read_again() {
    let gateway = Secured::start("127.0.0.1:0", "");
    let folder = gateway.folder();
    let both = ["admin", "listener/web"];
    let before = expiry(&gateway, "spec.admin", "one");
    assert!((before - expiry(&gateway, "web", "one")).abs() < 1.0);
    // Broken: the old one stays, and that is said of both.
    fs::write(folder.join("shown.pem"), "broken").unwrap();
    until("it is refused", SOON, || {
        (objects(&gateway, "CertificateRefused", "one") == both).then_some(())
    });
    let status = gateway.admin("/v1/status", "one").unwrap();
    for words in ["admin: the old certificate stays", "listener web: the old"] {
        assert!(status.contains(words), "{words} in {status}");
    }
    assert!((expiry(&gateway, "spec.admin", "one") - before).abs() < 1.0);
    // Another: new connections get it, and the old root is of no use.
    shorten(folder, "two");
    show(folder, "two");
    until("the admin API shows the other", SOON, || {
        gateway.admin("/readyz", "two")
    });
    until("the listener shows the other", SOON, || {
        gateway.get("/listeners/web", "/", "two")
    });
    assert!(gateway.admin("/readyz", "one").is_none());
    until("both are told", SOON, || {
        (objects(&gateway, "CertificateReloaded", "two") == both).then_some(())
    });
    for name in ["spec.admin", "web"] {
        let sooner = before - expiry(&gateway, name, "two");
        assert!((80_000.0..=86_400.0).contains(&sooner), "{name}: {sooner}");
    }
    let status = gateway.admin("/v1/status", "two").unwrap();
    assert!(!status.contains("the old certificate stays"), "{status}");
}
