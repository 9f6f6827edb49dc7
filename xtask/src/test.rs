//! `cargo xtask test` and `soak`: every test there is, in both workspaces.
//!
//! Builds the binary first, so that the end-to-end tests find it and none of
//! them builds. Never retries a test. Called by people and by `ci`.

use std::path::PathBuf;

use anyhow::Result;

use crate::run::{Steps, cargo, command, run, target};
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

/// Every test, the heavy rounds by a tenth.
pub(crate) fn test() -> Result<()> {
    let mut steps = Steps::new();
    let result = test_steps(&mut steps);
    steps.table();
    result
}

/// The steps of `cargo xtask test`, for `ci` to put among its own.
pub(crate) fn test_steps(steps: &mut Steps) -> Result<()> {
    steps.step("setup", setup)?;
    let binary = steps.step("build", build)?;
    steps.step("test: root workspace", || {
        run(cargo(&["test", "--workspace"]).env("TIDEGATE_BIN", &binary))
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

/// The end-to-end tests with their heavy rounds in full.
pub(crate) fn soak(filter: Option<&str>) -> Result<()> {
    let mut steps = Steps::new();
    steps.step("setup", setup)?;
    let binary = steps.step("build", build)?;
    let result = steps.step("soak", || {
        let mut tests = cargo(&["test", "--package", "tidegate-tests"]);
        if let Some(filter) = filter {
            tests.arg(filter);
        }
        tests
            .env("TIDEGATE_BIN", &binary)
            .env("TIDEGATE_ROUNDS", "full");
        run(&mut tests)
    });
    steps.table();
    result
}
