//! From batches of exchanges, through the collect policies, to the journal.
//!
//! Runs on the control runtime; never on the request path. A policy that fails
//! drops its batch, counted: nothing passes a policy unseen. Started by `app`.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::journal::{Journal, Record};
use crate::metrics::Metrics;
use crate::name::Name;
use crate::outbox::{Collected, Inbox};
use crate::policy::{CollectedExchange, Entry, Outcome};
use crate::shutdown::Tasks;
use crate::table::CollectEntry;

/// Exchanges of a batch (DESIGN §6).
const BATCH_MAX: usize = 256;
/// Longest wait of an exchange for its batch.
const BATCH_WAIT: Duration = Duration::from_millis(200);
/// How long it lets more come before it looks again: without it every exchange
/// wakes this task, a switch of threads each; much less than `BATCH_WAIT`, and
/// far from what fills the outbox.
const GATHER: Duration = Duration::from_millis(5);
/// Bytes of bodies in a batch (DESIGN §6), and of a single exchange with both
/// bodies at the largest `bodyBytes`. A policy that keeps each body twice stays
/// within what one call may bring back.
const BATCH_BYTES_MAX: usize = 2 << 20;
/// Batches that wait for the disk; past it the collector waits, the
/// outbox fills, and drops are counted there.
const WRITES_MAX: usize = 16;

/// Exchanges that the same policies are asked about.
struct Batch {
    collect: Arc<[CollectEntry]>,
    asked: u32,
    exchanges: Vec<CollectedExchange>,
    bytes: usize,
    since: Instant,
}

/// Starts collecting into `<state>/modeldata`. Ends when every outbox is gone
/// and everything taken is written.
///
/// # Errors
///
/// Where the folder cannot be made.
pub fn start(
    inbox: Inbox,
    state: &Path,
    gateway: &str,
    metrics: &Arc<Metrics>,
    tasks: &Tasks,
) -> std::io::Result<()> {
    let journal = Journal::open(&state.join("modeldata"), gateway)?;
    let (kept, written) = mpsc::channel(WRITES_MAX);
    let counts = Arc::clone(metrics);
    drop(tasks.blocking(move || write(journal, written, &counts)));
    let metrics = Arc::clone(metrics);
    drop(tasks.spawn(async move { Collector { metrics, kept }.run(inbox).await }));
    Ok(())
}

/// What the policies kept of a batch, on its way to the disk.
struct Kept {
    exchanges: Vec<CollectedExchange>,
    entries: Vec<Entry>,
}

struct Collector {
    metrics: Arc<Metrics>,
    kept: mpsc::Sender<Kept>,
}

impl Collector {
    async fn run(self, mut inbox: Inbox) {
        let mut batches: Vec<Batch> = Vec::new();
        let mut taken = Vec::with_capacity(BATCH_MAX);
        loop {
            let due = batches.iter().map(|batch| batch.since + BATCH_WAIT).min();
            let take = inbox.take(&mut taken, BATCH_MAX);
            let open = match due {
                Some(due) => tokio::time::timeout_at(due.into(), take)
                    .await
                    .unwrap_or(true),
                None => take.await,
            };
            let few = taken.len() < BATCH_MAX;
            for collected in taken.drain(..) {
                self.ask_all(add(&mut batches, collected)).await;
                self.ask_due(&mut batches).await;
            }
            self.ask_due(&mut batches).await;
            if !open {
                break;
            }
            if few {
                tokio::time::sleep(GATHER).await;
            }
        }
        self.ask_all(batches).await;
    }

    /// Asks about the batches that are full or have waited long enough.
    async fn ask_due(&self, batches: &mut Vec<Batch>) {
        let now = Instant::now();
        if batches.iter().any(|batch| batch.is_due(now)) {
            let all = std::mem::take(batches).into_iter();
            let (due, rest): (Vec<_>, _) = all.partition(|batch| batch.is_due(now));
            *batches = rest;
            self.ask_all(due).await;
        }
    }

    async fn ask_all(&self, batches: impl IntoIterator<Item = Batch>) {
        for batch in batches {
            let Some(kept) = self.ask(batch).await else {
                continue;
            };
            count_kept(&kept, &self.metrics);
            if self.kept.send(kept).await.is_err() {
                return;
            }
        }
    }

    /// Asks the batch's policies in order; what the last answers is kept.
    async fn ask(&self, batch: Batch) -> Option<Kept> {
        let mut entries: Vec<Entry> = Vec::new();
        for (place, one) in batch.collect.iter().enumerate() {
            if batch.asked & (1 << place) == 0 {
                continue;
            }
            let Some(policy) = &one.policy else {
                self.count(&batch.exchanges, "dropped_policy");
                return None;
            };
            let cut = cut(&batch.exchanges, one.body_bytes);
            let shown = cut.as_deref().unwrap_or(&batch.exchanges);
            match policy.collect(shown, entries).await {
                Ok(answer) => entries = answer,
                Err(fault) => {
                    tracing::warn!(plugin = %policy.plugin(), %fault, "batch dropped");
                    self.count(&batch.exchanges, "dropped_policy");
                    return None;
                }
            }
        }
        (!entries.is_empty()).then_some(Kept {
            exchanges: batch.exchanges,
            entries,
        })
    }

    fn count(&self, exchanges: &[CollectedExchange], result: &'static str) {
        let mut counts = Counts::new(&self.metrics);
        for exchange in exchanges {
            counts.add(&exchange.request.endpoint, &exchange.version, result);
        }
    }
}

/// Counts entries: those in a row that count as the same with one look-up.
struct Counts<'a> {
    metrics: &'a Metrics,
    row: Option<(&'a Name, &'a Name, &'static str)>,
    length: u64,
}

impl<'a> Counts<'a> {
    fn new(metrics: &'a Metrics) -> Self {
        Self {
            metrics,
            row: None,
            length: 0,
        }
    }

    fn add(&mut self, endpoint: &'a Name, version: &'a Name, result: &'static str) {
        let row = Some((endpoint, version, result));
        if self.row != row {
            self.end_row();
            self.row = row;
        }
        self.length += 1;
    }

    fn end_row(&mut self) {
        if let Some((endpoint, version, result)) = self.row.take() {
            self.metrics
                .collect_entries
                .with(&[endpoint.as_str(), version.as_str(), result])
                .add(std::mem::take(&mut self.length));
        }
    }
}

impl Drop for Counts<'_> {
    fn drop(&mut self) {
        self.end_row();
    }
}

impl Batch {
    fn new(first: Collected) -> Self {
        Self {
            bytes: body_bytes(&first.exchange),
            collect: first.collect,
            asked: first.asked,
            exchanges: vec![first.exchange],
            since: Instant::now(),
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        self.exchanges.len() >= BATCH_MAX
            || self.bytes >= BATCH_BYTES_MAX
            || now.duration_since(self.since) >= BATCH_WAIT
    }
}

/// Bytes of both bodies.
fn body_bytes(exchange: &CollectedExchange) -> usize {
    [&exchange.request_body, &exchange.response_body]
        .into_iter()
        .flatten()
        .map(|body| body.data.len())
        .sum()
}

/// Puts an exchange into the batch of its policies; gives the one that was begun
/// where that has no room for it.
fn add(batches: &mut Vec<Batch>, collected: Collected) -> Option<Batch> {
    let same = batches.iter_mut().find(|batch| {
        Arc::ptr_eq(&batch.collect, &collected.collect) && batch.asked == collected.asked
    });
    let Some(batch) = same else {
        batches.push(Batch::new(collected));
        return None;
    };
    let bytes = batch.bytes + body_bytes(&collected.exchange);
    if bytes > BATCH_BYTES_MAX {
        return Some(std::mem::replace(batch, Batch::new(collected)));
    }
    batch.exchanges.push(collected.exchange);
    batch.bytes = bytes;
    None
}

/// The exchanges with bodies cut to what one policy is given; none where they
/// fit as they are, which is the usual case.
fn cut(exchanges: &[CollectedExchange], body_bytes: usize) -> Option<Vec<CollectedExchange>> {
    let over = |exchange: &CollectedExchange| {
        [&exchange.request_body, &exchange.response_body]
            .into_iter()
            .flatten()
            .any(|body| body.data.len() > body_bytes || body_bytes == 0)
    };
    if !exchanges.iter().any(over) {
        return None;
    }
    let mut cut = exchanges.to_vec();
    for exchange in &mut cut {
        for body in [&mut exchange.request_body, &mut exchange.response_body] {
            if body_bytes == 0 {
                *body = None;
            } else if let Some(body) = body
                && body.data.len() > body_bytes
            {
                body.data.truncate(body_bytes);
                body.complete = false;
            }
        }
    }
    Some(cut)
}

fn record<'a>(exchange: &'a CollectedExchange, entry: &'a Entry) -> Record<'a> {
    let outcome = match exchange.outcome {
        Outcome::Answered => "answered",
        Outcome::ModelError => "model-error",
        Outcome::BrokenOff => "broken-off",
        Outcome::Fault => "fault",
    };
    let caller = exchange.caller.as_ref();
    Record {
        endpoint: &exchange.request.endpoint,
        version: &exchange.version,
        designation: entry.designation.as_str(),
        time_ms: exchange.started_ms,
        request_id: &exchange.request.id,
        caller: caller.map_or("", |one| &one.subject),
        status: exchange.status,
        outcome,
        content_type: &entry.content_type,
        data: &entry.data,
    }
}

/// The disk's side, on a thread of its own.
fn write(mut journal: Journal, mut batches: mpsc::Receiver<Kept>, metrics: &Metrics) {
    let runtime = tokio::runtime::Handle::current();
    loop {
        let next = runtime
            .block_on(async { tokio::time::timeout(Duration::from_secs(1), batches.recv()).await });
        let now = Instant::now();
        match next {
            Ok(Some(kept)) => append(&mut journal, &kept, metrics, now),
            Ok(None) => break,
            Err(_) => {}
        }
        if let Err(error) = journal.tick(now) {
            tracing::error!(%error, "collected entries could not be rolled");
        }
    }
    if let Err(error) = journal.finish() {
        tracing::error!(%error, "collected entries could not be finished");
    }
}

/// Counts what the policies kept, before it goes to the disk.
fn count_kept(kept: &Kept, metrics: &Metrics) {
    let mut counts = Counts::new(metrics);
    for entry in &kept.entries {
        let of = |place: usize| kept.exchanges.get(place);
        if let Some(exchange) = entry.exchange.and_then(of) {
            counts.add(&exchange.request.endpoint, &exchange.version, "taken");
        } else if let Some(first) = kept.exchanges.first() {
            counts.add(&first.request.endpoint, &first.version, "dropped_exchange");
        }
    }
}

fn append(journal: &mut Journal, kept: &Kept, metrics: &Metrics, now: Instant) {
    let mut counts = Counts::new(metrics);
    let of = |place: usize| kept.exchanges.get(place);
    let known = kept.entries.iter();
    let records: Vec<Record<'_>> = known
        .filter_map(|entry| Some(record(entry.exchange.and_then(of)?, entry)))
        .collect();
    for (record, written) in records.iter().zip(journal.append(&records, now)) {
        let result = if written { "delivered" } else { "dropped_disk" };
        counts.add(record.endpoint, record.version, result);
    }
}

#[cfg(test)]
mod tests;
