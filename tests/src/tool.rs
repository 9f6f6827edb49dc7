//! Clients that are programs of others: curl, and Python with `h2`.
//!
//! Used where a test needs TLS or HTTP/2 from something that is not hyper.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
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
