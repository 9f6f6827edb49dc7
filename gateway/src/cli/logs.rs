//! `tidegate logs`: what replicas wrote, to their end or as it comes.
//!
//! Never hands a control character of a model to the terminal. Called by `cli`.

use std::collections::VecDeque;
use std::io::{self, Write as _};

use clap::Args;
use clap_complete::engine::ArgValueCompleter;

use super::connect::Gateway;
use super::kind::segment;
use super::tone::plain;
use super::{Failure, To, complete};
use crate::fetch::Stream;
use crate::units::Interval;

/// What comes before the last event of what was deleted.
const END: &[u8] = b"event: end";
/// Longest line that is put together of pieces.
const LINE_BYTES_MAX: usize = 1 << 20;

/// `tidegate logs`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tidegate logs iris --since 5m
  tidegate logs iris --version blue -f

Exit codes: with --follow 0 where the endpoint or the version was deleted, after its
last lines; 3 where the gateway ends.")]
pub struct Logs {
    /// The endpoint.
    #[arg(add = ArgValueCompleter::new(complete::endpoints))]
    endpoint: String,
    /// Only of this version.
    #[arg(long, add = ArgValueCompleter::new(complete::versions))]
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
    let mut pieces = Pieces::default();
    if logs.follow {
        return follow(gateway, &mut stream, &mut pieces).await;
    }
    while let Some(piece) = stream.next().await.map_err(|error| gateway.failed(error))? {
        print(&pieces.take(&piece), false)?;
    }
    print(&pieces.take(b"\n"), false)
}

/// Prints lines as they come, to the end of what writes them.
async fn follow(
    gateway: &Gateway,
    stream: &mut Stream,
    pieces: &mut Pieces,
) -> Result<(), Failure> {
    // Whether what comes next says why it is the end.
    let mut ends = false;
    loop {
        let piece = match stream.next().await {
            Ok(Some(piece)) => piece,
            Ok(None) if ends => return Ok(()),
            Ok(None) => return Err(gateway.ended(None)),
            Err(error) => return Err(gateway.ended(Some(error))),
        };
        let mut lines = pieces.take(&piece);
        if !ends && let Some(at) = lines.iter().position(|line| line == END) {
            let last = lines.split_off(at);
            print(&lines, true)?;
            (lines, ends) = (last, true);
        }
        if !ends {
            print(&lines, true)?;
        } else if let Some(why) = lines.iter().find_map(|line| shown(line, true)) {
            super::complain(&why);
            return Ok(());
        }
    }
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
    let mut pieces = Pieces::default();
    while let Some(piece) = stream.next().await.map_err(|error| gateway.failed(error))? {
        let lines = pieces.take(&piece);
        kept.extend(lines.iter().filter_map(|line| shown(line, false)));
        let over = kept.len().saturating_sub(count);
        kept.drain(..over);
    }
    Ok(kept.into())
}

/// Pieces of a body, put together to lines.
#[derive(Default)]
pub(super) struct Pieces(Vec<u8>);

impl Pieces {
    /// The lines that are whole with this piece, without their ends. A line
    /// beyond all measure is dropped.
    pub(super) fn take(&mut self, piece: &[u8]) -> Vec<Vec<u8>> {
        self.0.extend_from_slice(piece);
        let Some(end) = self.0.iter().rposition(|byte| *byte == b'\n') else {
            if self.0.len() > LINE_BYTES_MAX {
                self.0.clear();
            }
            return Vec::new();
        };
        let later = self.0.split_off(end + 1);
        let whole = std::mem::replace(&mut self.0, later);
        whole
            .split(|byte| *byte == b'\n')
            .map(<[u8]>::to_vec)
            .collect()
    }
}

fn print(lines: &[Vec<u8>], follow: bool) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    for line in lines {
        if let Some(line) = shown(line, follow) {
            writeln!(stdout, "{line}")?;
        }
    }
    Ok(stdout.flush()?)
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
