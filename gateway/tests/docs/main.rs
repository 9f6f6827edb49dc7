//! The generated files below docs/ are those of the code.
//!
//! `cargo test --test docs` compares them; `cargo xtask docs` writes them.
#![expect(clippy::unwrap_used, reason = "a test: what is wrong should end it")]

mod config;
mod metrics;

use std::path::Path;

use tidegate::resource::schema::{Draft, of_all};

/// Set by `cargo xtask docs`: the files are written, not compared.
const WRITE: &str = "TIDEGATE_WRITE_DOCS";

#[track_caller]
fn current(name: &str, made: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../docs")
        .join(name);
    if std::env::var_os(WRITE).is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, made).unwrap();
        return;
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        there == made,
        "docs/{name} is not up to date: run `cargo xtask docs`"
    );
}

#[test]
fn the_schemas_are_current() {
    for (name, draft) in [("draft-07", Draft::Seven), ("2020-12", Draft::TwentyTwenty)] {
        current(
            &format!("schema/resources.{name}.json"),
            &format!("{:#}\n", of_all(draft)),
        );
    }
}

#[test]
fn the_page_of_keys_is_current() {
    current("CONFIG.md", &config::page());
}

#[test]
fn the_page_of_metrics_is_current() {
    current("METRICS.md", &metrics::page());
}
