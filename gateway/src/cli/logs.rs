//! `tidegate logs`: what replicas wrote, to their end or as it comes.
//!
//! Never hands a control character of a model to the terminal. Called by `cli`.

use std::io::{self, Write as _};

use super::connect::{Gateway, failed};
use super::{Failure, Logs, show};

/// Longest line that is put together of pieces.
const LINE_BYTES_MAX: usize = 1 << 20;

pub(super) async fn logs(gateway: &Gateway, logs: &Logs) -> Result<(), Failure> {
    let mut query = Vec::new();
    for (key, value) in [("version", &logs.version), ("replica", &logs.replica)] {
        if let Some(value) = value {
            query.push(format!("{key}={}", show::segment(value)?));
        }
    }
    query.extend(logs.since.map(|since| format!("since={since}")));
    if logs.follow {
        query.push("follow=true".to_owned());
    }
    let path = format!(
        "/v1/endpoints/{}/logs?{}",
        show::segment(&logs.endpoint)?,
        query.join("&")
    );
    let mut stream = gateway.stream(&path).await?;
    let mut lines = Lines {
        follow: logs.follow,
        rest: Vec::new(),
    };
    while let Some(piece) = stream.next().await.map_err(failed)? {
        lines.take(&piece)?;
    }
    lines.take(b"\n")
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
    let text = String::from_utf8_lossy(line);
    let plain = |c: char| c == '\t' || !c.is_control();
    Some(
        text.chars()
            .map(|c| {
                if plain(c) {
                    c.to_string()
                } else {
                    c.escape_default().to_string()
                }
            })
            .collect(),
    )
}
