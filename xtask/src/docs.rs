//! `cargo xtask docs`: writes the generated files below docs/.
//!
//! Only runs the gateway's own test of them and lets it write; holds no rule.
//! Called by people.

use anyhow::Result;

use crate::run::{cargo, run};

/// Writes the schemas and the pages that are made of the code.
pub(crate) fn docs() -> Result<()> {
    let test = ["test", "--package", "tidegate", "--test", "docs"];
    run(cargo(&test).env("TIDEGATE_WRITE_DOCS", "1"))
}
