//! `cargo xtask demo --check`: does what the demo printed, and looks at the answers.
//!
//! Uses curl only. Called by `demo`.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::gateway::Gateway;
use super::{FLOWER, Lines};
use crate::run::{Steps, command, output};

/// Requests of the count; with 80 % to blue, 1,600 ± 90 is five standard
/// deviations (17.9 each), so that one run in two million fails by chance.
const REQUESTS: u32 = 2_000;
const BLUE: std::ops::RangeInclusive<u32> = 1_510..=1_690;

/// Every check, then the stop.
///
/// # Errors
///
/// The first check that fails, with what was seen.
pub(super) fn check(steps: &mut Steps, mut gateway: Gateway, lines: &Lines) -> Result<()> {
    steps.step("the curl gives a class", || {
        let answer = sh(&lines.score)?;
        let answer: Value = serde_json::from_str(&answer).with_context(|| answer.clone())?;
        let class = answer.pointer("/class/0").and_then(Value::as_str);
        ensure!(
            class == Some("setosa"),
            "expected class setosa, got {answer}"
        );
        Ok(())
    })?;
    steps.step("401 without a key", || {
        let seen = score(&gateway, None, "")?;
        ensure!(seen.starts_with("401"), "expected 401, got {seen}");
        Ok(())
    })?;
    steps.step("of 2,000 requests 1,600 ± 90 go to blue", || {
        split(&gateway)
    })?;
    steps.step("a plugin is swapped", || swap(&gateway, lines))?;
    steps.step("and requests go on", || {
        let key = gateway.key()?;
        let seen = score(&gateway, Some(&key), "")?;
        ensure!(seen.starts_with("200"), "expected 200, got {seen}");
        Ok(())
    })?;
    steps.step("a clean stop", || {
        let status = gateway.stop()?;
        ensure!(
            status.success(),
            "tidegate: {status}\n{}",
            gateway.log_tail()
        );
        Ok(())
    })
}

/// A printed line, as a person would run it: by a shell at the root.
fn sh(line: &str) -> Result<String> {
    output(command("sh").args(["-c", line]))
}

/// Scores; answers one line a request, `STATUS VERSION`.
fn score(gateway: &Gateway, key: Option<&str>, query: &str) -> Result<String> {
    let mut curl = Command::new("curl");
    curl.args([
        "-sk",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code} %header{azureml-model-deployment}\n",
    ]);
    curl.args(["--max-time", "120", "--parallel", "--parallel-max", "4"]);
    curl.args(["-H", "Content-Type: application/json", "-d", FLOWER]);
    if let Some(key) = key {
        curl.arg("-H").arg(format!("Authorization: Bearer {key}"));
    }
    curl.arg(format!("{}/api/v1/service/iris/score{query}", gateway.url));
    output(&mut curl)
}

fn split(gateway: &Gateway) -> Result<()> {
    let begun = Instant::now();
    let seen = score(
        gateway,
        Some(&gateway.key()?),
        &format!("?n=[1-{REQUESTS}]"),
    )?;
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for line in seen.lines() {
        *counts.entry(line).or_default() += 1;
    }
    let rate = f64::from(REQUESTS) / begun.elapsed().as_secs_f64();
    println!("    {counts:?}, {rate:.0} requests a second");
    let blue = counts.get("200 blue").copied().unwrap_or(0);
    let green = counts.get("200 green").copied().unwrap_or(0);
    ensure!(
        blue + green == REQUESTS,
        "not all answered 200 by a version: {counts:?}"
    );
    ensure!(
        BLUE.contains(&blue),
        "{blue} of {REQUESTS} went to blue; expected {BLUE:?}"
    );
    Ok(())
}

fn swap(gateway: &Gateway, lines: &Lines) -> Result<()> {
    let digest = || -> Result<String> {
        let plugin = gateway.admin("/v1/plugins/weighted-split")?;
        let digest = plugin
            .pointer("/status/activeDigest")
            .and_then(Value::as_str);
        Ok(digest
            .with_context(|| format!("no activeDigest in {plugin}"))?
            .to_owned())
    };
    let before = digest()?;
    print!("{}", sh(&lines.swap)?);
    let after = digest()?;
    ensure!(before != after, "the active digest is still {before}");
    let listed = sh(&lines.list)?;
    ensure!(
        listed.contains("weighted-split"),
        "plugin list does not show it: {listed}"
    );
    Ok(())
}
