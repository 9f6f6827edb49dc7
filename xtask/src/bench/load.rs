//! One measurement: wrk on one proxy, and the CPU the proxy used meanwhile.
//!
//! CPU is user and system time of the proxy's processes from `/proc`; neither
//! load nor upstream is in it. Called by `bench`.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::proxy::Proxy;
use crate::run::{command, output};

/// `sysconf(_SC_CLK_TCK)` is 100 on every Linux there is.
const TICKS_PER_SECOND: f64 = 100.0;
/// Where load and upstream run; the proxy has core 0.
const OTHER_CORE: &str = "1";

/// What one measurement found.
pub(super) struct Sample {
    /// CPU of the proxy's processes per request, in µs.
    pub(super) cpu_us: f64,
    /// Requests a second.
    pub(super) rate: f64,
    /// Latency, in µs.
    pub(super) p50_us: f64,
    /// Latency, in µs.
    pub(super) p99_us: f64,
    /// Memory after the load, in MB: resident, and proportional.
    pub(super) rss_mb: f64,
    pub(super) pss_mb: f64,
}

/// Loads a proxy for some seconds.
///
/// # Errors
///
/// Where an answer was not 200 or a socket failed.
pub(super) fn load(proxy: &Proxy, tls: bool, connections: u32, seconds: u32) -> Result<Sample> {
    // Warm: connections to the upstream, plugin instances, caches.
    wrk(proxy, tls, connections, 1)?;
    let before = cpu(&proxy.pids);
    let text = wrk(proxy, tls, connections, seconds)?;
    let used = cpu(&proxy.pids) - before;
    let requests = number(&text, "requests in", -1)?;
    Ok(Sample {
        cpu_us: used * 1e6 / requests,
        rate: number(&text, "Requests/sec:", 1)?,
        p50_us: number(&text, "50%", 1)?,
        p99_us: number(&text, "99%", 1)?,
        rss_mb: memory(&proxy.pids, "status", "VmRSS:"),
        pss_mb: memory(&proxy.pids, "smaps_rollup", "Pss:"),
    })
}

/// Loads a proxy for some seconds; what wrk said.
fn wrk(proxy: &Proxy, tls: bool, connections: u32, seconds: u32) -> Result<String> {
    let url = if tls {
        proxy.tls.as_deref().context("no TLS here")?
    } else {
        &proxy.plain
    };
    wrk_at(proxy.name, url, &proxy.script, connections, seconds)
}

fn wrk_at(name: &str, url: &str, script: &Path, connections: u32, seconds: u32) -> Result<String> {
    let mut wrk = command("taskset");
    wrk.args(["-c", OTHER_CORE, "wrk", "-t1", "--latency"]);
    wrk.args(["--timeout", "30s", "-c", &connections.to_string(), "-s"])
        .arg(script);
    let text = output(wrk.args(["-d", &format!("{seconds}s"), url]))?;
    for bad in ["Non-2xx", "Socket errors"] {
        ensure!(
            !text.contains(bad),
            "{name} under load of {connections}:\n{text}"
        );
    }
    Ok(text)
}

/// Loads a proxy over plain HTTP for some seconds; how many requests that were.
pub(super) fn requests(proxy: &Proxy, connections: u32, seconds: u32) -> Result<f64> {
    number(&wrk(proxy, false, connections, seconds)?, "requests in", -1)
}

/// The same at an address, with a script of wrk.
pub(super) fn requests_at(
    name: &str,
    url: &str,
    script: &Path,
    connections: u32,
    seconds: u32,
) -> Result<f64> {
    let text = wrk_at(name, url, script, connections, seconds)?;
    number(&text, "requests in", -1)
}

/// The word beside the phrase, as a number; times become µs.
fn number(text: &str, phrase: &str, side: i32) -> Result<f64> {
    // "99.50%" stands in other lines too.
    let here = |line: &&str| {
        if side < 0 {
            line.contains(phrase)
        } else {
            line.trim_start().starts_with(phrase)
        }
    };
    let line = text
        .lines()
        .find(here)
        .with_context(|| format!("wrk said nothing of {phrase}:\n{text}"))?;
    let (before, after) = line.split_once(phrase).unwrap_or_default();
    let word = if side < 0 {
        before.split_whitespace().last()
    } else {
        after.split_whitespace().next()
    };
    let word = word.context("no number")?;
    let unit = word.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let scale = match unit {
        "" | "us" => 1.0,
        "ms" => 1e3,
        "s" => 1e6,
        "k" => 1e3,
        other => bail!("wrk said {word}: what is {other}?"),
    };
    Ok(word.trim_end_matches(unit).parse::<f64>()? * scale)
}

/// User and system time of processes, in seconds.
pub(super) fn cpu(pids: &[u32]) -> f64 {
    let ticks: f64 = pids
        .iter()
        .filter_map(|pid| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let rest = stat.rsplit(')').next()?.to_owned();
            let mut words = rest.split_whitespace().skip(11);
            Some(words.next()?.parse::<f64>().ok()? + words.next()?.parse::<f64>().ok()?)
        })
        .sum();
    ticks / TICKS_PER_SECOND
}

/// Memory of processes, in MB, from a file of `/proc`.
pub(super) fn memory(pids: &[u32], file: &str, name: &str) -> f64 {
    let kib: f64 = pids
        .iter()
        .filter_map(|pid| {
            let text = fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?;
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(name))?
                .trim()
                .to_owned();
            line.split_whitespace().next()?.parse::<f64>().ok()
        })
        .sum();
    kib / 1024.0
}
