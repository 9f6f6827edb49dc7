//! `tidegate top`: endpoints and versions at work, refreshed in place.
//!
//! Reads the metrics twice and shows what came between: rates, faults and
//! latencies are of the last interval, the rest is of now. Where standard output
//! is no terminal it shows one table. Called by `cli`.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::connect::Gateway;
use super::get::structured;
use super::kind::segment;
use super::row::{self, list, percent, text};
use super::sample::{Sample, latency};
use super::table::{Cell, Table};
use super::tone::colour;
use super::{Failure, Output, To, complete, say};
use crate::units::Interval;

/// The other screen, without a cursor; and back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
/// The first line; the rest of a line; the rest of the screen.
const HOME: &str = "\x1b[H";
const REST_OF_LINE: &str = "\x1b[K";
const REST_OF_SCREEN: &str = "\x1b[J";
/// A line that is longer than the screen is wide is cut; and back.
const CUT: &str = "\x1b[?7l";
const WRAP: &str = "\x1b[?7h";
/// Rows of a terminal that does not say how many it has.
const ROWS_UNTOLD: usize = 24;

/// `tidegate top`.
#[derive(Debug, Args)]
#[command(after_help = "\
Rates, errors (5xx) and latencies (P50, P95) are of the last interval.

Examples:
  tidegate top
  tidegate top iris --every 5s
  tidegate top --once -o json")]
pub struct Top {
    /// Only this endpoint.
    #[arg(add = ArgValueCompleter::new(complete::endpoints))]
    endpoint: Option<String>,
    /// Show one interval and end; so too where standard output is no terminal.
    #[arg(long)]
    once: bool,
    /// The interval, 500ms at least.
    #[arg(long, default_value = "2s", value_parser = Interval::parse)]
    every: Interval,
    /// How to show them; json and yaml once.
    #[arg(short, long, default_value = "table")]
    output: Output,
    #[command(flatten)]
    to: To,
}

/// Less would be noise.
const EVERY_MIN: Duration = Duration::from_millis(500);

impl Top {
    pub(super) async fn act(&self) -> Result<(), Failure> {
        let every = self.every.duration();
        if every < EVERY_MIN {
            return Err(Failure::Usage(format!(
                "--every {}: at least 500ms",
                self.every
            )));
        }
        let gateway = Gateway::find(&self.to)?;
        let look = Look {
            gateway,
            endpoint: self.endpoint.as_deref().map(segment).transpose()?,
            every,
        };
        let people = matches!(self.output, Output::Table | Output::Wide);
        if self.once || !people || !io::stdout().is_terminal() {
            return self.once(&look).await;
        }
        let mut screen = Screen::enter()?;
        let shown = tokio::select! {
            shown = look.live(&mut screen) => shown,
            // That is how it is ended.
            _ = tokio::signal::ctrl_c() => Ok(()),
        };
        drop(screen);
        shown
    }

    async fn once(&self, look: &Look<'_>) -> Result<(), Failure> {
        let before = look.sample().await?;
        let (rows, _) = look.next(&before).await?;
        match self.output {
            Output::Json | Output::Yaml => {
                let items: Vec<Value> = rows.iter().map(Row::json).collect();
                structured(&json!({ "items": items }), self.output)
            }
            Output::Name => {
                let names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
                say(&names.join("\n"))
            }
            Output::Table | Output::Wide => table(&rows).print(),
        }
    }
}

/// What is looked at.
struct Look<'a> {
    gateway: Gateway,
    endpoint: Option<&'a str>,
    every: Duration,
}

/// Metrics, and when they were read.
struct Read {
    at: Instant,
    sample: Sample,
}

impl Look<'_> {
    async fn sample(&self) -> Result<Read, Failure> {
        let text = self.gateway.text("/metrics").await?;
        Ok(Read {
            at: Instant::now(),
            sample: Sample::parse(&text, self.endpoint),
        })
    }

    /// The rows of one more interval, and where the next one begins.
    async fn next(&self, before: &Read) -> Result<(Vec<Row>, Read), Failure> {
        tokio::time::sleep_until(before.at + self.every).await;
        let after = self.sample().await?;
        let endpoints = match self.endpoint {
            Some(name) => vec![self.gateway.get(&format!("/v1/endpoints/{name}")).await?],
            None => self.gateway.items("/v1/endpoints").await?,
        };
        let passed = after.at.duration_since(before.at).as_secs_f64();
        let between = after.sample.since(&before.sample);
        let mut rows = Vec::new();
        for endpoint in &endpoints {
            rows.extend(rows_of(endpoint, &between, passed));
        }
        Ok((rows, after))
    }

    async fn live(&self, screen: &mut Screen) -> Result<(), Failure> {
        let mut before = self.sample().await?;
        loop {
            let (rows, after) = self.next(&before).await?;
            screen.show(&table(&rows).take(colour()))?;
            before = after;
        }
    }
}

/// One endpoint or version.
struct Row {
    name: String,
    state: String,
    traffic: String,
    ready: String,
    numbers: Numbers,
    /// Seconds that the numbers are of.
    passed: f64,
}

/// What metrics tell of one endpoint or version.
#[derive(Default, Clone)]
pub(super) struct Numbers {
    /// Exchanges of the interval.
    pub(super) requests: f64,
    /// Of those, answered 5xx.
    pub(super) errors: f64,
    /// Slots now.
    pub(super) busy: f64,
    /// Slots now.
    pub(super) free: f64,
    /// Requests that wait now.
    pub(super) queue: f64,
    /// Durations of the interval, by the upper bound of their bucket in
    /// microseconds: how many were no longer.
    pub(super) durations: BTreeMap<u64, f64>,
}

impl Numbers {
    fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.errors += other.errors;
        self.busy += other.busy;
        self.free += other.free;
        self.queue += other.queue;
        for (bound, count) in &other.durations {
            *self.durations.entry(*bound).or_default() += count;
        }
    }
}

/// The row of an endpoint, and those of its versions.
fn rows_of(endpoint: &Value, between: &Sample, passed: f64) -> Vec<Row> {
    let name = text(endpoint, "/metadata/name");
    let mut sum = between.of(name, "");
    let mut rows = Vec::new();
    for version in row::versions(endpoint) {
        let version_name = text(&version, "/metadata/name");
        let numbers = between.of(name, version_name);
        sum.add(&numbers);
        rows.push(Row {
            name: format!("{name}/{version_name}"),
            state: text(&version, "/status/state").to_owned(),
            traffic: percent(&version, "/status/traffic"),
            ready: row::ready(&version, "/status/replicas"),
            numbers,
            passed,
        });
    }
    let replicas = |key: &str| -> u64 {
        let all = list(endpoint, "/status/versions").iter();
        all.map(|one| row::whole(one, key)).sum()
    };
    let whole = Row {
        name: name.to_owned(),
        state: text(endpoint, "/status/state").to_owned(),
        traffic: "-".to_owned(),
        ready: format!(
            "{}/{}",
            replicas("/replicas/ready"),
            replicas("/replicas/wanted")
        ),
        numbers: sum,
        passed,
    };
    rows.insert(0, whole);
    rows
}

impl Row {
    fn rate(&self) -> f64 {
        self.numbers.requests / self.passed.max(f64::MIN_POSITIVE)
    }

    /// Percent of the exchanges; none where there were none.
    fn errors(&self) -> Option<f64> {
        let all = self.numbers.requests;
        (all > 0.0).then(|| self.numbers.errors * 100.0 / all)
    }

    fn cells(&self) -> Vec<Cell> {
        let n = &self.numbers;
        let latency = |share| latency(&n.durations, share);
        let milliseconds = |found: Option<f64>| found.map_or("-".to_owned(), shown_ms);
        vec![
            self.name.as_str().into(),
            Cell::state(&self.state),
            self.traffic.as_str().into(),
            format!("{:.1}", self.rate()).into(),
            self.errors()
                .map_or("-".to_owned(), |errors| format!("{errors:.1}%"))
                .into(),
            format!("{}/{}", n.busy, n.busy + n.free).into(),
            n.queue.to_string().into(),
            self.ready.as_str().into(),
            milliseconds(latency(0.5)).into(),
            milliseconds(latency(0.95)).into(),
        ]
    }

    fn json(&self) -> Value {
        let n = &self.numbers;
        json!({
            "name": self.name,
            "state": self.state,
            "requestsPerSecond": self.rate(),
            "errorPercent": self.errors(),
            "slotsBusy": n.busy,
            "slots": n.busy + n.free,
            "queue": n.queue,
            "ready": self.ready,
            "p50Seconds": latency(&n.durations, 0.5),
            "p95Seconds": latency(&n.durations, 0.95),
        })
    }
}

fn shown_ms(seconds: f64) -> String {
    match seconds * 1000.0 {
        ms if ms < 10.0 => format!("{ms:.1}ms"),
        ms if ms < 10_000.0 => format!("{ms:.0}ms"),
        ms => format!("{:.0}s", ms / 1000.0),
    }
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(&[
        "NAME", "STATE", "TRAFFIC", "REQ/S", "ERRORS", "BUSY", "QUEUE", "READY", "P50", "P95",
    ]);
    for row in rows {
        table.add(row.cells());
    }
    table
}

/// The terminal while it shows one screen after the other; as it was, when dropped.
struct Screen;

impl Screen {
    fn enter() -> Result<Self, Failure> {
        let mut stdout = io::stdout().lock();
        write!(stdout, "{ENTER}{CUT}")?;
        stdout.flush()?;
        Ok(Self)
    }

    #[expect(clippy::unused_self, reason = "only while the screen is ours")]
    fn show(&mut self, lines: &[String]) -> Result<(), Failure> {
        let size = rustix::termios::tcgetwinsize(io::stdout());
        // Some terminals do not tell.
        let rows = size.map_or(0, |size| usize::from(size.ws_row));
        let rows = if rows == 0 { ROWS_UNTOLD } else { rows };
        let mut screen = HOME.to_owned();
        // A line more would scroll the first one away.
        for (at, line) in lines.iter().take(rows).enumerate() {
            if at > 0 {
                screen.push_str("\r\n");
            }
            screen.push_str(line);
            screen.push_str(REST_OF_LINE);
        }
        screen.push_str(REST_OF_SCREEN);
        let mut stdout = io::stdout().lock();
        write!(stdout, "{screen}")?;
        Ok(stdout.flush()?)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Where the terminal is gone there is nothing to put back.
        let mut stdout = io::stdout().lock();
        let _ = write!(stdout, "{WRAP}{LEAVE}");
        let _ = stdout.flush();
    }
}
