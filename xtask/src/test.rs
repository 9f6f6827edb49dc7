//! `cargo xtask test` and `soak`: every test there is, in both workspaces.
//!
//! Builds the binary first, so that the end-to-end tests find it and none of
//! them builds. Never retries a test. Called by people and by `ci`.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Result, ensure};

use crate::run::{Steps, cargo, command, root, run, target};
use crate::setup;

/// Installs what the tests need: curl, the venvs of the test clients and of the
/// example's model server, the wasm target.
pub(crate) fn setup() -> Result<()> {
    setup::packages(&[setup::CURL, setup::OPENSSL])?;
    setup::rust_target("wasm32-unknown-unknown")?;
    setup::venv("tests", "tests/requirements.txt")?;
    setup::venv("iris", "examples/iris/requirements.txt")?;
    Ok(())
}

/// Builds the binary and returns its path.
pub(crate) fn build() -> Result<PathBuf> {
    run(&mut cargo(&[
        "build",
        "--quiet",
        "--package",
        "tidegate",
        "--bin",
        "tidegate",
    ]))?;
    Ok(target().join("debug/tidegate"))
}

/// Tests that passed and failed, over all runners.
#[derive(Default)]
pub(crate) struct Tally {
    passed: u32,
    failed: u32,
}

impl Tally {
    /// The plain last line.
    pub(crate) fn print(&self) {
        println!("\n{} passed, {} failed", self.passed, self.failed);
    }

    /// Runs a `cargo test`, passing its lines on and counting its results.
    fn cargo(&mut self, command: &mut Command) -> Result<()> {
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let lines = child.stdout.take().map(|out| BufReader::new(out).lines());
        for line in lines.into_iter().flatten() {
            let line = line?;
            println!("{line}");
            if line.starts_with("test result:") {
                self.passed += before(&line, " passed");
                self.failed += before(&line, " failed");
            }
        }
        let status = child.wait()?;
        ensure!(status.success(), "cargo test: {status}");
        Ok(())
    }
}

/// The number before a word.
fn before(line: &str, word: &str) -> u32 {
    let number = line
        .split(word)
        .next()
        .and_then(|part| part.split(' ').next_back());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Every test, the heavy rounds by a tenth.
pub(crate) fn test() -> Result<()> {
    let mut steps = Steps::new();
    let mut tally = Tally::default();
    let result = test_steps(&mut steps, &mut tally);
    steps.table();
    tally.print();
    result
}

/// The steps of `cargo xtask test`, for `ci` to put among its own.
pub(crate) fn test_steps(steps: &mut Steps, tally: &mut Tally) -> Result<()> {
    steps.step("setup", setup)?;
    let binary = steps.step("build", build)?;
    steps.step("test: root workspace", || {
        tally.cargo(cargo(&["test", "--workspace", "--no-fail-fast"]).env("TIDEGATE_BIN", &binary))
    })?;
    steps.step("test: plugins and sdk", || {
        run(&mut cargo(&[
            "test",
            "--manifest-path",
            "plugins/Cargo.toml",
            "--workspace",
        ]))
    })?;
    steps.step("test: example iris", example)
}

/// The example's entry scripts, each with its model, without a server.
fn example() -> Result<()> {
    let bin = crate::demo::models()?;
    let mut python = command(bin.join("python"));
    python.args(["-m", "unittest", "examples/iris/test_score.py"]);
    run(python
        .env("IRIS_MODELS", crate::demo::models_folder())
        .env("PYTHONDONTWRITEBYTECODE", "1"))
}

/// The end-to-end tests with their heavy rounds in full: all, those of a file
/// of `tests/tests`, or those with a name that contains the filter. Shows the
/// figures that they print.
///
/// # Errors
///
/// Where one fails, or there is none of that name.
pub(crate) fn soak(filter: Option<&str>) -> Result<()> {
    let files = files()?;
    let mut steps = Steps::new();
    let mut tally = Tally::default();
    steps.step("setup", setup)?;
    let binary = steps.step("build", build)?;
    let result = steps.step("soak", || {
        let mut tests = cargo(&["test", "--package", "tidegate-tests", "--no-fail-fast"]);
        match filter {
            Some(file) if files.iter().any(|one| one == file) => tests.args(["--test", file]),
            Some(name) => tests.arg(name),
            None => &mut tests,
        };
        tests.args(["--", "--show-output"]);
        tally.cargo(
            tests
                .env("TIDEGATE_BIN", &binary)
                .env("TIDEGATE_ROUNDS", "full"),
        )
    });
    steps.table();
    tally.print();
    result?;
    ensure!(
        tally.passed > 0,
        "no test is called so; a name of a test, or one of the files: {}",
        files.join(", ")
    );
    Ok(())
}

/// The files of end-to-end tests, without their ending.
fn files() -> Result<Vec<String>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(root().join("tests/tests"))? {
        let path = entry?.path();
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        if path.extension().is_some_and(|end| end == "rs") {
            files.extend(stem.map(str::to_owned));
        }
    }
    files.sort();
    Ok(files)
}
