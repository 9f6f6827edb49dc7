//! The gateway's own log, and the line writer that it, the access log and the
//! replicas' output share.
//!
//! Never blocks who writes: a line that finds no room is dropped and counted.
//! `app` calls [`init`] once; every layer uses the macros of `tracing`.

use std::io::{self, IsTerminal, Write};

use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

mod lines;

pub use lines::{Lines, Rotation, Target, Writer};

/// What the log shows where nothing else is said: the work of our
/// dependencies (rustls, wasmtime, hyper) only where it goes wrong. h2 warns of
/// single frames, of which a caller can send as many as it likes.
pub const FILTER_DEFAULT: &str = "warn,tidegate=info,h2=error";

/// How the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Why the log could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// Not a filter.
    #[error("{filter:?} is not a log filter such as {FILTER_DEFAULT:?}: {why}")]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        why: String,
    },
    /// The writer's thread could not be started.
    #[error("the log's writer could not start: {0}")]
    Writer(#[from] io::Error),
    /// There is a log already.
    #[error("the log was set up before")]
    Twice,
}

/// Sends what `tracing` is told to standard error, from a thread of its own.
///
/// The answer is the writer: whoever ends the process flushes it.
///
/// # Errors
///
/// [`InitError`] where the filter does not parse, or the log is set up twice.
pub fn init(filter: &str, format: Format) -> Result<Lines, InitError> {
    let targets: Targets =
        filter
            .parse()
            .map_err(
                |error: tracing_subscriber::filter::ParseError| InitError::Filter {
                    filter: filter.to_owned(),
                    why: error.to_string(),
                },
            )?;
    let lines = Lines::open(Target::Stderr, Rotation::default())?;
    let layer = fmt::layer().with_writer(lines.clone());
    let layer = match format {
        Format::Json => layer.json().boxed(),
        Format::Text => layer.with_ansi(io::stderr().is_terminal()).boxed(),
    };
    tracing_subscriber::registry()
        .with(layer.with_filter(targets))
        .try_init()
        .map_err(|_| InitError::Twice)?;
    Ok(lines)
}

/// One event on its way into [`Lines`]; `tracing` writes each in one piece.
#[derive(Debug)]
pub struct Event<'a>(&'a Lines);

impl Write for Event<'_> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.write(text.strip_suffix(b"\n").unwrap_or(text));
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Event<'a>;

    fn make_writer(&'a self) -> Event<'a> {
        Event(self)
    }
}

#[cfg(test)]
mod tests;
