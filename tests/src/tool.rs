//! Clients and servers that are programs of others: curl, openssl, and Python
//! with `h2` and `websockets`.
//!
//! Used where a test needs TLS, HTTP/2 or WebSocket from something that is not hyper.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

use crate::{root, target};

/// curl with a limit of time and nothing on standard error but errors.
#[must_use]
pub fn curl(arguments: &[&str]) -> Output {
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--max-time", "60"])
        .args(arguments)
        .stdin(Stdio::null());
    curl.output().expect("curl: run `cargo xtask setup` first")
}

/// What curl printed.
///
/// # Panics
///
/// Where curl failed.
#[must_use]
pub fn curl_text(arguments: &[&str]) -> String {
    let output = curl(arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "curl {arguments:?}: {}: {errors}",
        output.status
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The Python of the tests' own venv; `cargo xtask setup` makes it, and so does
/// the first test that finds none.
#[must_use]
pub fn python() -> PathBuf {
    venv("tests").join("python")
}

/// The `bin` of a venv that `cargo xtask setup` makes.
#[must_use]
pub fn venv(name: &str) -> PathBuf {
    static SETUP: OnceLock<()> = OnceLock::new();
    let bin = target().join("venv").join(name).join("bin");
    SETUP.get_or_init(|| {
        let there = ["tests", "iris"].map(|name| target().join("venv").join(name).join("stamp"));
        if !there.iter().all(|stamp| stamp.is_file()) {
            let mut setup = Command::new(env!("CARGO"));
            setup.args(["xtask", "setup"]).current_dir(root());
            assert!(
                setup.status().unwrap().success(),
                "cargo xtask setup failed"
            );
        }
    });
    bin
}

/// Runs a script of `tests/clients/` and returns what it printed.
///
/// # Panics
///
/// Where it fails; its errors are shown.
#[must_use]
pub fn script(name: &str, arguments: &[&str]) -> String {
    let mut script = Command::new(python());
    script
        .arg(root().join("tests/clients").join(name))
        .args(arguments);
    let output = script.env("PYTHONDONTWRITEBYTECODE", "1").output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{name} {arguments:?}: {}\n{errors}",
        output.status
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A server of `tests/clients/` that runs; stopped when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
}

/// Starts a script of `tests/clients/` that serves and prints its port.
///
/// # Panics
///
/// Where it prints none.
#[must_use]
pub fn server(name: &str, arguments: &[&Path]) -> Server {
    let mut script = Command::new(python());
    script
        .arg(root().join("tests/clients").join(name))
        .args(arguments)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut child = script.spawn().unwrap();
    let mut line = String::new();
    let printed = child.stdout.take().unwrap();
    BufReader::new(printed).read_line(&mut line).unwrap();
    let port: u16 = line.trim().parse().expect("the script prints its port");
    Server {
        child,
        address: SocketAddr::from(([127, 0, 0, 1], port)),
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Makes a root `NAME-ca.pem` and with it `NAME.pem` and `NAME.key`, for
/// `model.example`, in a folder.
///
/// # Panics
///
/// Where openssl fails.
pub fn certificate(folder: &Path, name: &str) {
    certificate_for(folder, name, "model.example");
}

/// The same for a host.
///
/// # Panics
///
/// Where openssl fails.
pub fn certificate_for(folder: &Path, name: &str, host: &str) {
    let file = |end: &str| folder.join(format!("{name}{end}")).display().to_string();
    let openssl = |arguments: &str| {
        let mut openssl = Command::new("openssl");
        openssl.args(arguments.split(' ')).stdin(Stdio::null());
        let output = openssl.output().expect("openssl runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {arguments}: {errors}");
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout";
    let (root, root_key) = (file("-ca.pem"), file("-ca.key"));
    openssl(&format!(
        "req -x509 {key} {root_key} -out {root} -subj /CN={name}-root -days 2"
    ));
    std::fs::write(file(".ext"), format!("subjectAltName=DNS:{host}\n")).unwrap();
    openssl(&format!(
        "req -new {key} {} -out {} -subj /CN={name}",
        file(".key"),
        file(".csr")
    ));
    openssl(&format!(
        "x509 -req -in {} -CA {root} -CAkey {root_key} -CAcreateserial -days 2 -extfile {} -out {}",
        file(".csr"),
        file(".ext"),
        file(".pem")
    ));
}
