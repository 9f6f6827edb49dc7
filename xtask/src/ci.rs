//! `cargo xtask ci`: what a change must pass, step by step with times.
//!
//! Ends at the first step that fails. Called by people and by `.ci/run`.

use anyhow::Result;

use crate::run::{Steps, cargo, command, root, run};
use crate::test::Tally;
use crate::{demo, setup, test};

/// Both workspaces, named for cargo.
const WORKSPACES: [(&str, &str); 2] = [("root", "Cargo.toml"), ("plugins", "plugins/Cargo.toml")];

/// Runs every step; the table of times comes in any case.
pub(crate) fn ci() -> Result<()> {
    let mut steps = Steps::new();
    let mut tally = Tally::default();
    let result = all(&mut steps, &mut tally);
    steps.table();
    tally.print();
    result
}

fn all(steps: &mut Steps, tally: &mut Tally) -> Result<()> {
    setup::rust_target("wasm32-unknown-unknown")?;
    for (name, manifest) in WORKSPACES {
        steps.step(&format!("format: {name}"), || {
            run(&mut cargo(&[
                "fmt",
                "--all",
                "--check",
                "--manifest-path",
                manifest,
            ]))
        })?;
    }
    for (name, manifest) in WORKSPACES {
        steps.step(&format!("clippy: {name}"), || clippy(manifest))?;
    }
    steps.step("docs", || {
        let mut docs = cargo(&["doc", "--quiet", "--no-deps", "--workspace"]);
        run(docs.env("RUSTDOCFLAGS", "-D warnings"))
    })?;
    steps.step("dependencies", dependencies)?;
    steps.step("advisories", advisories)?;
    test::test_steps(steps, tally)?;
    steps.step("demo --check", || demo::demo(true))
}

fn clippy(manifest: &str) -> Result<()> {
    run(&mut cargo(&[
        "clippy",
        "--quiet",
        "--workspace",
        "--all-targets",
        "--manifest-path",
        manifest,
        "--",
        "-D",
        "warnings",
    ]))
}

/// Bans, licences and sources; advisories come from a folder, see below.
fn dependencies() -> Result<()> {
    let tools = setup::venv("tools", "xtask/tools.txt")?;
    for (_, manifest) in WORKSPACES {
        // Also the crates of other platforms, which no build here has fetched:
        // cargo-deny reads them all, and does so offline.
        run(&mut cargo(&[
            "fetch",
            "--quiet",
            "--locked",
            "--manifest-path",
            manifest,
        ]))?;
        let mut deny = command(tools.join("cargo-deny"));
        deny.args(["--offline", "--manifest-path", manifest, "--config"]);
        deny.arg(root().join("deny.toml"));
        // The second workspace needs few of the licences and skips of the first.
        deny.args([
            "check",
            "--allow",
            "license-not-encountered",
            "--allow",
            "unmatched-skip",
        ]);
        run(deny.args(["bans", "licenses", "sources"]))?;
    }
    Ok(())
}

/// RustSec's advisories, where a copy of them stands beside the repository.
fn advisories() -> Result<()> {
    let database = root().join("../shared/advisory-db");
    if !database.is_dir() {
        println!("    skipped: no advisory database beside the repository");
        return Ok(());
    }
    let tools = setup::venv("tools", "xtask/tools.txt")?;
    for lock in ["Cargo.lock", "plugins/Cargo.lock"] {
        let mut audit = command(tools.join("cargo-audit"));
        audit
            .args(["audit", "--no-fetch", "--file", lock, "--db"])
            .arg(&database);
        run(&mut audit)?;
    }
    Ok(())
}
