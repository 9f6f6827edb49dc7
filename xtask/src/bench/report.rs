//! The table of `bench/README.md`.
//!
//! Ratios are to nginx under the same load in the same run. Called by `bench`.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result};

use super::{Case, machine};
use crate::run::root;

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
pub(super) fn write(table: &str, seconds: u32, rounds: usize, state: &str) -> Result<()> {
    let head = format!(
        "`cargo xtask bench --seconds {seconds}` on {}: {rounds} rounds, medians by CPU.\n\
         {}; {}; {}.\n{state}",
        machine::today()?,
        machine::kind()?,
        machine::version("nginx", "-v"),
        machine::version("haproxy", "-v"),
    );
    put("bench", &format!("{head}\n\n{table}"))
}

/// Puts a text between the markers of one command in `bench/README.md`.
pub(super) fn put(command: &str, content: &str) -> Result<()> {
    let file = root().join("bench/README.md");
    let text = fs::read_to_string(&file)?;
    let begin = format!("<!-- written by cargo xtask {command}: begin -->\n");
    let end = format!("<!-- written by cargo xtask {command}: end -->");
    let (before, rest) = text
        .split_once(&begin)
        .with_context(|| format!("bench/README.md has no line `{}`", begin.trim()))?;
    let (_, after) = rest
        .split_once(&end)
        .with_context(|| format!("bench/README.md has no line `{end}`"))?;
    fs::write(&file, format!("{before}{begin}{content}{end}{after}"))?;
    Ok(())
}
