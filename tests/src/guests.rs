//! Builds plugins and misbehaving guests for the tests.
//!
//! Their modules are built as `docs/PLUGINS.md` tells everybody to; the gateway
//! wraps them on push. One build at a time.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;

use crate::{root, target};

static ONE: Mutex<()> = Mutex::new(());

/// The module of a package of the plugins workspace; builds with another tag
/// have another digest.
///
/// # Panics
///
/// Where it does not build.
#[must_use]
pub fn build(package: &str, tag: &str) -> PathBuf {
    // A folder a tag, because another tag builds everything again.
    let folder = target().join(format!("test-guests-{tag}"));
    let _one = ONE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args([
        "build",
        "--quiet",
        "--release",
        "--target",
        "wasm32-unknown-unknown",
    ]);
    cargo.args([
        "--manifest-path",
        "plugins/Cargo.toml",
        "--package",
        package,
    ]);
    cargo
        .current_dir(root())
        .env("CARGO_TARGET_DIR", &folder)
        .env("TIDEGATE_BUILD_TAG", tag);
    for name in ["CARGO_ENCODED_RUSTFLAGS", "RUSTFLAGS", "CARGO_BUILD_TARGET"] {
        cargo.env_remove(name);
    }
    assert!(
        cargo.status().unwrap().success(),
        "{package} does not build"
    );
    let module = format!("{}.wasm", package.replace('-', "_"));
    let built = folder.join("wasm32-unknown-unknown/release").join(&module);
    let kept = folder.join(format!("{package}.wasm"));
    // Written beside and renamed: a test may be reading the same one.
    let part = kept.with_extension(format!("{}.part", std::process::id()));
    fs::copy(&built, &part).unwrap_or_else(|error| panic!("{}: {error}", built.display()));
    fs::rename(&part, &kept).unwrap();
    kept
}
