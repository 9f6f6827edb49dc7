//! What the other commands need on the machine: Debian packages, venvs, Rust targets.
//!
//! Skips what is there, says in one line what it installs, never asks a question.
//! Called by `demo`, `test`, `ci` and `bench`, each with what it needs only.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::run::{command, output, root, run, succeeds, target, which};

/// A program and the Debian package that has it.
pub(crate) struct Package(pub(crate) &'static str, pub(crate) &'static str);

/// What sends requests in demo and tests.
pub(crate) const CURL: Package = Package("curl", "curl");
/// What makes the certificates of tests.
pub(crate) const OPENSSL: Package = Package("openssl", "openssl");
/// What makes venvs; the module is looked at apart, see [`python`].
const PYTHON: Package = Package("python3", "python3-venv");

/// Installs the packages whose programs are not there, by apt-get as root.
///
/// # Errors
///
/// Where something is missing and we are not root (the line to run is printed),
/// or apt-get fails.
pub(crate) fn packages(needed: &[Package]) -> Result<()> {
    let missing: Vec<&str> = needed
        .iter()
        .filter(|Package(program, _)| which(program).is_none())
        .map(|Package(_, debian)| *debian)
        .collect();
    install(&missing)
}

fn install(missing: &[&str]) -> Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    let line = format!(
        "apt-get install -y --no-install-recommends {}",
        missing.join(" ")
    );
    if !rustix::process::geteuid().is_root() || which("apt-get").is_none() {
        println!("missing: {}\nrun as root: {line}", missing.join(" "));
        bail!("Debian packages are missing: {}", missing.join(" "));
    }
    println!("    {line}");
    let mut update = command("apt-get");
    run(update.args(["-qq", "update"]))?;
    let mut install = command("apt-get");
    install
        .args(["-qq", "install", "-y", "--no-install-recommends"])
        .args(missing);
    install
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdout(std::process::Stdio::null());
    run(&mut install)
}

fn python() -> Result<()> {
    let whole = succeeds(command("python3").args(["-c", "import venv, ensurepip"]));
    if whole { Ok(()) } else { install(&[PYTHON.1]) }
}

/// A venv under `target/venv/NAME` with the requirements of a file, made again
/// when the file or the Python changes; returns its `bin`.
///
/// # Errors
///
/// Where Python is missing or pip fails.
pub(crate) fn venv(name: &str, requirements: &str) -> Result<PathBuf> {
    python()?;
    let folder = target().join("venv").join(name);
    let bin = folder.join("bin");
    let file = root().join(requirements);
    let wanted =
        fs::read_to_string(&file).with_context(|| format!("cannot read {requirements}"))?;
    let version = output(command("python3").arg("--version"))?;
    // The place is part of the stamp, because a venv cannot be moved.
    let stamp = format!("{}\n{version}{wanted}", folder.display());
    let stamp_file = folder.join("stamp");
    if fs::read_to_string(&stamp_file).is_ok_and(|there| there == stamp) {
        return Ok(bin);
    }
    println!("    venv {name}: pip install -r {requirements}");
    run(command("python3")
        .args(["-m", "venv", "--clear"])
        .arg(&folder))?;
    run(command(bin.join("python"))
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "-r",
        ])
        .arg(&file))?;
    fs::write(&stamp_file, stamp)?;
    Ok(bin)
}

/// Adds a target to the toolchain; skips it where it is there or where there is
/// no rustup (then the toolchain is somebody else's to keep).
///
/// # Errors
///
/// Where rustup cannot add it.
pub(crate) fn rust_target(triple: &str) -> Result<()> {
    let sysroot = output(command("rustc").args(["--print", "sysroot"]))?;
    let there = Path::new(sysroot.trim())
        .join("lib/rustlib")
        .join(triple)
        .join("lib");
    if there.is_dir() || which("rustup").is_none() {
        return Ok(());
    }
    println!("    rustup target add {triple}");
    run(command("rustup").args(["target", "add", triple]))
}
