//! The table of `bench/README.md`.
//!
//! Ratios are to nginx under the same load in the same run. Called by `bench`.

use std::fmt::Write as _;
use std::fs;

use anyhow::Result;

use super::Case;
use crate::run::{command, output, root};

/// The measurements as a table, one block per kind of load.
pub(super) fn table(cases: &[Case]) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "| load | proxy | CPU µs/request | ÷ nginx | requests/s | ÷ nginx | p50 µs | p99 µs | p99 ÷ nginx | RSS MB | PSS MB |\n\
         | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    );
    for case in cases {
        let same = |other: &&Case| {
            other.proxy == "nginx" && other.tls == case.tls && other.connections == case.connections
        };
        let base = cases.iter().find(same);
        let ratio = |of: fn(&Case) -> f64| match base {
            Some(base) if of(base) > 0.0 => format!("{:.2}", of(case) / of(base)),
            _ => "–".to_owned(),
        };
        let sample = &case.sample;
        let _ = writeln!(
            text,
            "| {} {} | {} | {:.1} | {} | {:.0} | {} | {:.0} | {:.0} | {} | {:.1} | {:.1} |",
            if case.tls { "TLS" } else { "plain" },
            case.connections,
            case.proxy,
            sample.cpu_us,
            ratio(|case| case.sample.cpu_us),
            sample.rate,
            ratio(|case| case.sample.rate),
            sample.p50_us,
            sample.p99_us,
            ratio(|case| case.sample.p99_us),
            sample.rss_mb,
            sample.pss_mb,
        );
    }
    text
}

/// Puts the table between the markers of `bench/README.md`.
pub(super) fn write(table: &str, seconds: u32, rounds: usize) -> Result<()> {
    let file = root().join("bench/README.md");
    let text = fs::read_to_string(&file)?;
    let (before, rest) = text.split_once(BEGIN).unwrap_or((&text, ""));
    let after = rest.split_once(END).map_or("\n", |(_, after)| after);
    let head = format!(
        "`cargo xtask bench --seconds {seconds}` on {}: {rounds} rounds, medians by CPU.\n{}",
        output(command("date").args(["-u", "+%Y-%m-%d"]))?.trim(),
        machine()?,
    );
    fs::write(
        &file,
        format!("{before}{BEGIN}\n{head}\n\n{table}{END}{after}"),
    )?;
    Ok(())
}

const BEGIN: &str = "<!-- written by cargo xtask bench: begin -->";
const END: &str = "<!-- written by cargo xtask bench: end -->";

/// What it ran on.
fn machine() -> Result<String> {
    let cpus = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let model = model
        .unwrap_or(": unknown")
        .trim_start_matches([' ', '\t', ':']);
    let kernel = output(command("uname").arg("-r"))?;
    let first = |program: &str, argument: &str| {
        let said = command(program).arg(argument).output().ok();
        let said = said
            .map(|out| [out.stdout, out.stderr].concat())
            .unwrap_or_default();
        String::from_utf8_lossy(&said)
            .lines()
            .next()
            .unwrap_or_default()
            .trim()
            .to_owned()
    };
    Ok(format!(
        "{model}, Linux {}; {}; {}.",
        kernel.trim(),
        first("nginx", "-v"),
        first("haproxy", "-v"),
    ))
}
