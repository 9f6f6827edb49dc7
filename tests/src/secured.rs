//! The real gateway with certificates on its listener and on its admin API.
//!
//! `Gateway` speaks plain HTTP to the admin API; this one is spoken to by curl,
//! which judges the certificate as anybody's client does.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::gateway::binary;
use crate::{tool, until};

/// A gateway whose listener and whose admin API show `shown.pem`, at first the
/// certificate `one` for localhost; there is a `two` as well.
#[derive(Debug)]
pub struct Secured {
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
    /// With its admin API at this address, and these resources. Waits until it is
    /// up.
    ///
    /// # Panics
    ///
    /// Where it does not come up.
    #[must_use]
    pub fn start(admin: &str, resources: &str) -> Self {
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
             admin: {{ address: '{admin}', tls: {tls} }}\n{resources}"
        );
        fs::write(folder.path().join("gateway.yaml"), text).unwrap();
        let mut run = Command::new(binary());
        run.args(["run", "-f", "gateway.yaml", "--state", "state"]);
        run.current_dir(&folder).stdin(Stdio::null());
        run.stdout(Stdio::null()).stderr(Stdio::null());
        let secured = Self {
            child: run.spawn().unwrap(),
            folder,
        };
        until("it is up", Duration::from_secs(60), || {
            secured.admin("/readyz", "one")
        });
        secured
    }

    /// The folder of its files.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where `run.json` says that it is reached, by the name in the certificate.
    fn url(&self, pointer: &str) -> Option<String> {
        let run = fs::read(self.folder.path().join("state/run.json")).ok()?;
        let run: Value = serde_json::from_slice(&run).ok()?;
        let url = run.pointer(pointer)?.as_str()?.trim_end_matches('/');
        Some(format!("https://localhost:{}", url.rsplit_once(':')?.1))
    }

    /// What curl gets there, trusting this root alone.
    ///
    /// # Panics
    ///
    /// Where there is no curl.
    #[must_use]
    pub fn get(&self, pointer: &str, path: &str, root: &str) -> Option<String> {
        self.curl(pointer, path, root, &[])
    }

    /// The same with more words, as `--request PUT`.
    ///
    /// # Panics
    ///
    /// Where there is no curl.
    #[must_use]
    pub fn curl(&self, pointer: &str, path: &str, root: &str, more: &[&str]) -> Option<String> {
        let token = fs::read_to_string(self.folder.path().join("state/admin.token")).ok()?;
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--max-time", "20", "--ipv4", "--cacert"]);
        curl.arg(self.folder.path().join(format!("{root}-ca.pem")));
        let bearer = format!("authorization: Bearer {}", token.trim());
        curl.args(["--header", &bearer]).args(more);
        curl.arg(format!("{}{path}", self.url(pointer)?));
        let output = curl.stdin(Stdio::null()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        output.status.success().then_some(text)
    }

    /// What the admin API answers, where it shows a certificate of this root.
    ///
    /// # Panics
    ///
    /// Where there is no curl.
    #[must_use]
    pub fn admin(&self, path: &str, root: &str) -> Option<String> {
        self.get("/admin", path, root)
    }
}

/// Lets the gateway show this certificate from now on.
///
/// # Panics
///
/// Where it is not there.
pub fn show(folder: &Path, name: &str) {
    for ending in ["key", "pem"] {
        let beside = folder.join(format!("beside.{ending}"));
        fs::copy(folder.join(format!("{name}.{ending}")), &beside).unwrap();
        fs::rename(&beside, folder.join(format!("shown.{ending}"))).unwrap();
    }
}
