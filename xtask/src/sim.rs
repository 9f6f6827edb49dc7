//! `cargo xtask sim`: scaling in virtual time, and the figures it gives.
//!
//! Only runs the gateway's own simulation test and lets it write
//! `docs/scaling.md` and `docs/scaling.svg`; holds no rule. Called by people.

use anyhow::Result;

use crate::run::{cargo, run};

/// Runs the simulation, writes its figures, and checks its bounds.
pub(crate) fn sim() -> Result<()> {
    let test = ["test", "--package", "tidegate", "--test", "simulation"];
    run(cargo(&test).env("TIDEGATE_WRITE_FIGURES", "1"))
}
