//! What the end-to-end tests share: the real gateway, replicas, clients that are not hyper.
//!
//! Everything here fails by panicking, because its only callers are tests. It
//! links nothing of the gateway: what is tested is the binary.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

pub mod change;
pub mod client;
pub mod gateway;
pub mod guests;
pub mod load;
pub mod output;
pub mod process;
pub mod replica;
pub mod secured;
pub mod tool;
pub mod yaml;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The root of the repository.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_path_buf()
}

/// The folder cargo builds into, found from the test's own place in it.
///
/// # Panics
///
/// Where a test runs from somewhere else.
#[must_use]
pub fn target() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    // target/debug/deps/NAME
    test.ancestors().nth(3).unwrap().to_path_buf()
}

/// How often a heavy proof repeats: `full` in `cargo xtask soak`, else a tenth,
/// at least one.
#[must_use]
pub fn rounds(full: u32) -> u32 {
    if std::env::var("TIDEGATE_ROUNDS").is_ok_and(|set| set == "full") {
        full
    } else {
        (full / 10).max(1)
    }
}

/// Waits until `done` answers something.
///
/// # Panics
///
/// When it still answers nothing after `limit`.
#[track_caller]
pub fn until<T>(what: &str, limit: Duration, mut done: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(result) = done() {
            return result;
        }
        assert!(begun.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
