//! Certificates that are replaced while the gateway serves: that of a listener,
//! and that of the admin API.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tidegate_tests::gateway::binary;
use tidegate_tests::{tool, until};

/// SEMANTICS §9 allows 2 s; a busy machine takes its time.
const SOON: Duration = Duration::from_secs(30);

/// A gateway whose listener and whose admin API show `shown.pem`.
struct Secured {
    child: Child,
    folder: TempDir,
}

impl Drop for Secured {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Secured {
    fn start() -> Self {
        let folder = TempDir::with_prefix("tidegate-").unwrap();
        for name in ["one", "two"] {
            tool::certificate_for(folder.path(), name, "localhost");
        }
        show(folder.path(), "one");
        let tls =
            "{ mode: certificates, certificates: [{ certFile: shown.pem, keyFile: shown.key }] }";
        let text = format!(
            "apiVersion: tidegate.dev/v1alpha1\nkind: GatewayConfig\nspec:\n  \
             listeners: [{{ name: web, address: '127.0.0.1:0', tls: {tls} }}]\n  \
             admin: {{ address: '127.0.0.1:0', tls: {tls} }}\n"
        );
        fs::write(folder.path().join("gateway.yaml"), text).unwrap();
        let mut run = Command::new(binary());
        run.args(["run", "-f", "gateway.yaml", "--state", "state"]);
        run.current_dir(&folder).stdin(Stdio::null());
        run.stdout(Stdio::null()).stderr(Stdio::null());
        Self {
            child: run.spawn().unwrap(),
            folder,
        }
    }

    /// Where `run.json` says that it is reached, by the name in the certificate.
    fn url(&self, pointer: &str) -> Option<String> {
        let run = fs::read(self.folder.path().join("state/run.json")).ok()?;
        let run: Value = serde_json::from_slice(&run).ok()?;
        let url = run.pointer(pointer)?.as_str()?.trim_end_matches('/');
        Some(format!("https://localhost:{}", url.rsplit_once(':')?.1))
    }

    /// What curl gets there, trusting this root alone.
    fn get(&self, pointer: &str, path: &str, root: &str) -> Option<String> {
        let token = fs::read_to_string(self.folder.path().join("state/admin.token")).ok()?;
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--max-time", "20", "--ipv4", "--cacert"]);
        curl.arg(self.folder.path().join(format!("{root}-ca.pem")));
        let bearer = format!("authorization: Bearer {}", token.trim());
        curl.args(["--header", &bearer]);
        curl.arg(format!("{}{path}", self.url(pointer)?));
        let output = curl.stdin(Stdio::null()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        output.status.success().then_some(text)
    }

    fn admin(&self, path: &str, root: &str) -> Option<String> {
        self.get("/admin", path, root)
    }

    /// `tidegate_certificate_expiry_seconds` of a name.
    fn expiry(&self, name: &str, root: &str) -> f64 {
        let text = self.admin("/metrics", root).unwrap();
        let start = format!("tidegate_certificate_expiry_seconds{{name=\"{name}\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&start));
        line.unwrap().parse().unwrap()
    }

    /// Objects of the events of a kind so far.
    fn objects(&self, kind: &str, root: &str) -> Vec<String> {
        let events = self.admin("/v1/events", root).unwrap();
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
}

/// Lets the gateway show this certificate from now on.
fn show(folder: &Path, name: &str) {
    for ending in ["key", "pem"] {
        let beside = folder.join(format!("beside.{ending}"));
        fs::copy(folder.join(format!("{name}.{ending}")), &beside).unwrap();
        fs::rename(&beside, folder.join(format!("shown.{ending}"))).unwrap();
    }
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
    let gateway = Secured::start();
    let folder = gateway.folder.path();
    until("it is up", Duration::from_secs(60), || {
        gateway.admin("/readyz", "one")
    });
    let both = ["admin", "listener/web"];
    let before = gateway.expiry("spec.admin", "one");
    assert!((before - gateway.expiry("web", "one")).abs() < 1.0);
    // Broken: the old one stays, and that is said of both.
    fs::write(folder.join("shown.pem"), "broken").unwrap();
    until("it is refused", SOON, || {
        (gateway.objects("CertificateRefused", "one") == both).then_some(())
    });
    let status = gateway.admin("/v1/status", "one").unwrap();
    for words in ["admin: the old certificate stays", "listener web: the old"] {
        assert!(status.contains(words), "{words} in {status}");
    }
    assert!((gateway.expiry("spec.admin", "one") - before).abs() < 1.0);
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
        (gateway.objects("CertificateReloaded", "two") == both).then_some(())
    });
    for name in ["spec.admin", "web"] {
        let sooner = before - gateway.expiry(name, "two");
        assert!((80_000.0..=86_400.0).contains(&sooner), "{name}: {sooner}");
    }
    let status = gateway.admin("/v1/status", "two").unwrap();
    assert!(!status.contains("the old certificate stays"), "{status}");
}
