//! `tidegate logs`: what replicas wrote, to their end or as it comes.
//!
//! Never hands a control character of a model to the terminal. Called by `cli`.

use std::collections::VecDeque;
use std::io::{self, Write as _};

use clap::Args;

use super::connect::Gateway;
use super::kind::segment;
use super::tone::plain;
use super::{Failure, To};
use crate::units::Interval;

/// Longest line that is put together of pieces.
const LINE_BYTES_MAX: usize = 1 << 20;

/// `tidegate logs`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tidegate logs iris --since 5m
  tidegate logs iris --version blue -f")]
pub struct Logs {
    /// The endpoint.
    endpoint: String,
    /// Only of this version.
    #[arg(long)]
    version: Option<String>,
    /// Only of this replica, as blue-1.
    #[arg(long)]
    replica: Option<String>,
    /// Not older than that, as 5m.
    #[arg(long, value_parser = Interval::parse)]
    since: Option<Interval>,
    /// Go on as lines come.
    #[arg(short, long)]
    follow: bool,
    #[command(flatten)]
    to: To,
}

impl Logs {
    pub(super) async fn act(&self) -> Result<(), Failure> {
        logs(&Gateway::find(&self.to)?, self).await
    }
}

async fn logs(gateway: &Gateway, logs: &Logs) -> Result<(), Failure> {
    let mut query = Vec::new();
    for (key, value) in [("version", &logs.version), ("replica", &logs.replica)] {
        if let Some(value) = value {
            query.push(format!("{key}={}", segment(value)?));
        }
    }
    query.extend(logs.since.map(|since| format!("since={since}")));
    if logs.follow {
        query.push("follow=true".to_owned());
    }
    let path = format!(
        "/v1/endpoints/{}/logs?{}",
        segment(&logs.endpoint)?,
        query.join("&")
    );
    let mut stream = gateway.stream(&path).await?;
    let mut lines = Lines {
        follow: logs.follow,
        rest: Vec::new(),
    };
    while let Some(piece) = stream.next().await.map_err(|error| gateway.failed(error))? {
        lines.take(&piece)?;
    }
    lines.take(b"\n")
}

/// The last lines of a version that are kept, oldest first.
pub(super) async fn tail(
    gateway: &Gateway,
    endpoint: &str,
    version: &str,
    count: usize,
) -> Result<Vec<String>, Failure> {
    let path = format!(
        "/v1/endpoints/{}/logs?version={}",
        segment(endpoint)?,
        segment(version)?
    );
    let mut stream = gateway.stream(&path).await?;
    let mut kept = VecDeque::new();
    let mut rest = Vec::new();
    while let Some(piece) = stream.next().await.map_err(|error| gateway.failed(error))? {
        rest.extend_from_slice(&piece);
        if let Some(end) = rest.iter().rposition(|byte| *byte == b'\n') {
            let later = rest.split_off(end + 1);
            let whole = std::mem::replace(&mut rest, later);
            kept.extend(
                whole
                    .split(|byte| *byte == b'\n')
                    .filter_map(|line| shown(line, false)),
            );
        }
        rest.truncate(LINE_BYTES_MAX);
        let over = kept.len().saturating_sub(count);
        kept.drain(..over);
    }
    Ok(kept.into())
}

/// Pieces of a body, put together to lines.
struct Lines {
    follow: bool,
    rest: Vec<u8>,
}

impl Lines {
    fn take(&mut self, piece: &[u8]) -> Result<(), Failure> {
        self.rest.extend_from_slice(piece);
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else {
            if self.rest.len() > LINE_BYTES_MAX {
                self.rest.clear();
            }
            return Ok(());
        };
        let later = self.rest.split_off(end + 1);
        let whole = std::mem::replace(&mut self.rest, later);
        let mut stdout = io::stdout().lock();
        for line in whole.split(|byte| *byte == b'\n') {
            if let Some(line) = shown(line, self.follow) {
                writeln!(stdout, "{line}")?;
            }
        }
        Ok(stdout.flush()?)
    }
}

/// A line for the terminal; none for what is not data.
pub(super) fn shown(line: &[u8], follow: bool) -> Option<String> {
    let line = if follow {
        line.strip_prefix(b"data: ")?
    } else {
        line
    };
    if line.is_empty() {
        return None;
    }
    Some(plain(&String::from_utf8_lossy(line)))
}
