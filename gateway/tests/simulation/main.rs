//! Scaling in virtual time: the same `scale`, `balance`, `queue` and `breaker`
//! that the gateway runs, on traffic and replicas that are made up.
//!
//! `cargo test --test simulation` proves the bounds; `cargo xtask sim` also
//! writes the figures of `docs/scaling.md` and the plot beside it.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test: what is wrong should end it"
)]

mod bounds;
mod figures;
mod page;
mod proofs;
mod rule;
mod scenarios;
mod traffic;
mod world;

use std::path::Path;

/// Set by `cargo xtask sim`: the figures are written, not compared.
const WRITE: &str = "TIDEGATE_WRITE_FIGURES";

#[test]
fn the_figures_of_the_page_are_those_of_the_code() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let compared = page::compared();
    let (tables, plot) = (page::tables(compared), page::plot(compared));
    let (page_path, plot_path) = (docs.join("scaling.md"), docs.join("scaling.svg"));
    let old = std::fs::read_to_string(&page_path).unwrap();
    let new = page::replaced(&old, &tables).expect("docs/scaling.md has a place for the figures");
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&page_path, new).unwrap();
        std::fs::write(&plot_path, plot).unwrap();
        return;
    }
    assert!(
        old == new,
        "docs/scaling.md is not up to date: run `cargo xtask sim`"
    );
    let drawn = std::fs::read_to_string(&plot_path).unwrap_or_default();
    assert!(
        drawn == plot,
        "docs/scaling.svg is not up to date: run `cargo xtask sim`"
    );
}
