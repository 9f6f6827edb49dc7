//! `cargo xtask bench`: what a request costs, beside nginx and haproxy.
//!
//! One run, on loopback, at the same upstream: each proxy is pinned to one
//! core, load and upstream to another. The load generator is wrk, the upstream
//! nginx. Writes `bench/README.md`. Never run by `ci`: it wants a quiet machine.

mod crowd;
mod endpoints;
mod gateway;
mod load;
mod machine;
mod profile;
mod proxy;
mod report;
mod steps;

use std::fs;

use anyhow::Result;

use crate::run::{Steps, cargo, run, target};
use crate::setup::{self, Package};
use load::Sample;
use proxy::Proxy;

/// Connections of the load, kept alive.
const CONNECTIONS: [u32; 3] = [1, 16, 64];
/// Each case is measured this often, the proxies in turn, and the median kept.
const ROUNDS: usize = 3;

/// One line of the table: a proxy under one load.
struct Case {
    tls: bool,
    connections: u32,
    proxy: &'static str,
    sample: Sample,
}

/// Starts every proxy, measures, writes the table.
///
/// # Errors
///
/// Where a proxy does not start or answers anything but 200.
pub(crate) fn bench(seconds: u32, only: Option<&str>) -> Result<()> {
    let mut steps = Steps::new();
    steps.step("packages", || {
        setup::packages(&[
            Package("nginx", "nginx-light"),
            Package("haproxy", "haproxy"),
            Package("wrk", "wrk"),
            Package("openssl", "openssl"),
            Package("taskset", "util-linux"),
            setup::CURL,
        ])
    })?;
    let ours = only.is_none_or(|only| "tidegate, log".contains(only) || only.contains("tidegate"));
    if ours {
        build(&mut steps)?;
    }
    let before = steps.step("state of the machine", machine::look)?;
    let folder = target().join("bench");
    fs::create_dir_all(&folder)?;
    let proxies = steps.step("start", || proxy::start_all(&folder, only))?;
    let mut cases = Vec::new();
    for tls in [false, true] {
        for connections in CONNECTIONS {
            let name = format!("{} {connections}", if tls { "tls" } else { "plain" });
            steps.step(&name, || {
                cases.extend(measure(&proxies, tls, connections, seconds)?);
                Ok(())
            })?;
        }
    }
    let state = steps.step("state of the machine, again", || before.told())?;
    let text = report::table(&cases);
    println!("{text}\n{state}");
    if only.is_none() {
        report::write(&text, seconds, ROUNDS, &state)?;
    }
    steps.table();
    Ok(())
}

/// Where the instructions of a request go; see `steps`.
///
/// # Errors
///
/// Where the gateway cannot be run under valgrind.
pub(crate) fn account(seconds: u32) -> Result<()> {
    steps::steps(seconds)
}

/// What many endpoints cost; see `endpoints`.
///
/// # Errors
///
/// Where a gateway does not start or answers anything but what it should.
pub(crate) fn many(count: usize, seconds: u32) -> Result<()> {
    endpoints::endpoints(count, seconds)
}

/// Builds the gateway, unless `TIDEGATE_BIN` names one.
fn build(steps: &mut Steps) -> Result<()> {
    if std::env::var_os("TIDEGATE_BIN").is_some() {
        return Ok(());
    }
    let arguments = [
        "build",
        "--release",
        "--package",
        "tidegate",
        "--bin",
        "tidegate",
    ];
    steps.step("release build", || run(&mut cargo(&arguments)))
}

/// One load on every proxy in turn, [`ROUNDS`] times; the median by CPU.
fn measure(proxies: &[Proxy], tls: bool, connections: u32, seconds: u32) -> Result<Vec<Case>> {
    let mut rounds: Vec<Vec<Sample>> = proxies.iter().map(|_| Vec::new()).collect();
    for _ in 0..ROUNDS {
        for (proxy, samples) in proxies.iter().zip(&mut rounds) {
            if !tls || proxy.tls.is_some() {
                samples.push(load::load(proxy, tls, connections, seconds)?);
            }
        }
    }
    let cases = proxies
        .iter()
        .zip(rounds)
        .filter_map(|(proxy, mut samples)| {
            samples.sort_by(|a, b| a.cpu_us.total_cmp(&b.cpu_us));
            let median = samples.len() / 2;
            let sample = samples.into_iter().nth(median)?;
            Some(Case {
                tls,
                connections,
                proxy: proxy.name,
                sample,
            })
        });
    Ok(cases.collect())
}
