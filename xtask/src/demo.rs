//! `cargo xtask demo`: a gateway in front of two real models, left running or checked.
//!
//! Makes the venv, trains the models, builds the binary and a second build of a
//! plugin, starts `tidegate run -f examples/iris`, and prints what to try. Holds
//! no product logic: it uses the binary as anybody would.

mod check;
mod gateway;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::run::{Steps, cargo, command, root, run, target};
use crate::{setup, test};
use gateway::Gateway;

/// A typical flower; the answer is `setosa`.
const FLOWER: &str = r#"{"data": [[5.1, 3.5, 1.4, 0.2]]}"#;

/// Where the trained models are; `examples/iris/endpoint.yaml` names it.
pub(crate) fn models_folder() -> PathBuf {
    root().join("target/iris/model")
}

/// The venv of the model server and the trained models; returns the venv's `bin`.
///
/// # Errors
///
/// Where pip or the training fails.
pub(crate) fn models() -> Result<PathBuf> {
    let bin = setup::venv("iris", "examples/iris/requirements.txt")?;
    let folder = models_folder();
    let mut wanted = fs::read_to_string(root().join("examples/iris/train.py"))?;
    wanted.push_str(&fs::read_to_string(
        root().join("examples/iris/requirements.txt"),
    )?);
    let stamp = folder.join("stamp");
    if fs::read_to_string(&stamp).is_ok_and(|there| there == wanted) {
        return Ok(bin);
    }
    println!("    train.py: two models");
    run(command(bin.join("python"))
        .arg("examples/iris/train.py")
        .arg(&folder))?;
    fs::write(stamp, wanted)?;
    Ok(bin)
}

/// Another build of `weighted-split`: the same code, another digest.
fn second_build() -> Result<PathBuf> {
    let folder = target().join("demo-plugins");
    let mut build = cargo(&[
        "build",
        "--quiet",
        "--release",
        "--target",
        "wasm32-unknown-unknown",
        "--manifest-path",
        "plugins/Cargo.toml",
        "--package",
        "weighted-split",
    ]);
    build
        .env("TIDEGATE_BUILD_TAG", "demo")
        .env("CARGO_TARGET_DIR", &folder);
    run(&mut build)?;
    let built = folder.join("wasm32-unknown-unknown/release/weighted_split.wasm");
    let kept = target().join("iris/weighted_split.wasm");
    fs::copy(&built, &kept).with_context(|| format!("no {}", built.display()))?;
    Ok(kept)
}

/// Builds, starts and prints; with `check` it then does what it printed.
pub(crate) fn demo(check: bool) -> Result<()> {
    let mut steps = Steps::new();
    steps.step("packages", || setup::packages(&[setup::CURL]))?;
    steps.step("wasm target", || {
        setup::rust_target("wasm32-unknown-unknown")
    })?;
    let bin = steps.step("models", models)?;
    let binary = steps.step("build tidegate", test::build)?;
    let plugin = steps.step("build a plugin a second time", second_build)?;
    let state = target().join(if check {
        "iris/state-check"
    } else {
        "iris/state"
    });
    if check && state.is_dir() {
        fs::remove_dir_all(&state)?;
    }
    let gateway = steps.step("start", || Gateway::start(&binary, &bin, &state, !check))?;
    let lines = Lines::new(&gateway, &binary, &plugin)?;
    lines.print(&gateway);
    if check {
        let result = check::check(&mut steps, gateway, &lines);
        steps.table();
        result
    } else {
        gateway.until_interrupted()
    }
}

/// The commands the demo prints; `check` runs them as they stand.
struct Lines {
    score: String,
    swap: String,
    list: String,
}

impl Lines {
    fn new(gateway: &Gateway, binary: &Path, plugin: &Path) -> Result<Self> {
        let tidegate = shown(binary);
        let state = shown(&gateway.state);
        Ok(Self {
            score: format!(
                "curl --cacert {state}/development/tls.crt {}/api/v1/service/iris/score \\\n  -H 'Authorization: Bearer {}' \\\n  \
                 -H 'Content-Type: application/json' \\\n  -d '{FLOWER}'",
                gateway.url,
                gateway.key()?
            ),
            swap: format!(
                "{tidegate} plugin push {} --name weighted-split --state {state} && \\\n  \
                 {tidegate} plugin swap weighted-split --state {state}",
                shown(plugin)
            ),
            list: format!("{tidegate} plugin list --state {state}"),
        })
    }

    fn print(&self, gateway: &Gateway) {
        println!(
            "\nThe gateway runs (pid {}); two versions of a model are behind it, blue 80 %, green 20 %.\n\
             Its output: {}\n\n\
             Ask for a class (the certificate is one it made for itself):\n\n{}\n\n\
             Swap the plugin that splits the traffic for another build of it:\n\n{}\n\n\
             See what is active:\n\n{}\n",
            gateway.pid(),
            shown(&gateway.log),
            indented(&self.score),
            indented(&self.swap),
            indented(&self.list),
        );
    }
}

fn indented(text: &str) -> String {
    text.lines()
        .map(|line| format!("    {line}\n"))
        .collect::<String>()
        .trim_end()
        .to_owned()
}

/// Relative to the root where it is below it, so that lines are short; the
/// reader stands at the root, because `cargo xtask` works only there.
fn shown(path: &Path) -> String {
    path.strip_prefix(root())
        .unwrap_or(path)
        .display()
        .to_string()
}
