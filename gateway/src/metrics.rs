//! Counters, gauges and histograms that cost an exchange a few nanoseconds,
//! and their Prometheus text.
//!
//! Each value has a cell per worker, which only that worker writes; cells are
//! added up when they are read. Label values come from configuration only,
//! never from a request (SEMANTICS §11). Used by every layer.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::core::{Collector, Desc};
use prometheus::proto;

mod exchange;
mod names;

pub use exchange::ExchangeMetrics;
pub use names::{Metrics, Row};

/// Cells a value has before [`set_workers`] says how many there are.
const CELLS_DEFAULT: usize = 2;

static CELLS: AtomicUsize = AtomicUsize::new(CELLS_DEFAULT);

thread_local! {
    static WORKER: Cell<usize> = const { Cell::new(0) };
}

/// Says how many workers there are. Once, before any metric is made.
pub fn set_workers(workers: usize) {
    CELLS.store(workers + 1, Relaxed);
}

/// Cells of a value: one per worker and one for all other threads.
#[must_use]
pub fn cells() -> usize {
    CELLS.load(Relaxed)
}

/// Makes this thread the worker `index`, 1 to the number of workers.
pub fn enter_worker(index: usize) {
    WORKER.set(index);
}

/// The worker this thread is; 0 where it is none.
#[must_use]
pub fn worker() -> usize {
    WORKER.get()
}

/// A cell on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Padded(AtomicU64);

/// Adds to this thread's cell. A worker's cell has one writer, so no locked
/// instruction is needed; cell 0 has many.
fn add_to(cells: &[Padded], n: u64) {
    let index = worker();
    let Some(cell) = cells.get(index).or_else(|| cells.first()) else {
        return;
    };
    if index == 0 || index >= cells.len() {
        cell.0.fetch_add(n, Relaxed);
    } else {
        cell.0.store(cell.0.load(Relaxed).wrapping_add(n), Relaxed);
    }
}

fn padded() -> Box<[Padded]> {
    (0..cells()).map(|_| Padded::default()).collect()
}

/// A value that only grows.
#[derive(Debug)]
pub struct Counter(Box<[Padded]>);

impl Default for Counter {
    fn default() -> Self {
        Self(padded())
    }
}

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        add_to(&self.0, n);
    }

    /// Adds one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// The sum over the workers.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0
            .iter()
            .fold(0, |sum, cell| sum.wrapping_add(cell.0.load(Relaxed)))
    }
}

/// A value that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Sets it.
    pub fn set(&self, value: i64) {
        self.0.store(value, Relaxed);
    }

    /// Adds to it.
    pub fn add(&self, n: i64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// The value.
    #[must_use]
    pub fn value(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// Upper bounds of the buckets, in microseconds: 100 µs to 60 s, because that
/// is where routing, policies and models are; below and above is one bucket.
const BOUNDS_US: [u64; 18] = [
    10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000,
    500_000, 1_000_000, 10_000_000, 60_000_000,
];

#[derive(Debug, Default)]
#[repr(align(64))]
struct HistogramCell {
    buckets: [AtomicU64; BOUNDS_US.len() + 1],
    sum_ns: AtomicU64,
}

/// A distribution of durations. Its cells are made with the first one: of ten
/// thousand endpoints most are quiet.
#[derive(Debug, Default)]
pub struct Histogram(OnceLock<Box<[HistogramCell]>>);

fn histogram_cells() -> Box<[HistogramCell]> {
    (0..cells()).map(|_| HistogramCell::default()).collect()
}

impl Histogram {
    /// Takes one duration.
    pub fn observe(&self, value: Duration) {
        let us = u64::try_from(value.as_micros()).unwrap_or(u64::MAX);
        let ns = u64::try_from(value.as_nanos()).unwrap_or(u64::MAX);
        let place = BOUNDS_US.partition_point(|bound| *bound < us);
        let index = worker();
        let cells = self.0.get_or_init(histogram_cells);
        let Some(cell) = cells.get(index).or_else(|| cells.first()) else {
            return;
        };
        let Some(bucket) = cell.buckets.get(place) else {
            return;
        };
        if index == 0 || index >= cells.len() {
            bucket.fetch_add(1, Relaxed);
            cell.sum_ns.fetch_add(ns, Relaxed);
        } else {
            bucket.store(bucket.load(Relaxed).wrapping_add(1), Relaxed);
            cell.sum_ns
                .store(cell.sum_ns.load(Relaxed).wrapping_add(ns), Relaxed);
        }
    }

    fn cells(&self) -> &[HistogramCell] {
        self.0.get().map_or(&[], |cells| cells)
    }

    /// How many were taken.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.cells()
            .iter()
            .flat_map(|cell| &cell.buckets)
            .map(|bucket| bucket.load(Relaxed))
            .sum()
    }
}

/// One kind of value, as Prometheus writes it.
pub trait Value: Default + Send + Sync + 'static {
    /// What Prometheus calls it.
    const KIND: proto::MetricType;
    /// Writes the value.
    fn write(&self, metric: &mut proto::Metric);
    /// Whether nothing was counted yet, so that it need not be shown: ten thousand
    /// endpoints of two versions have 80,000 histograms, of 20 lines each.
    fn unused(&self) -> bool {
        false
    }
}

impl Value for Counter {
    const KIND: proto::MetricType = proto::MetricType::COUNTER;

    #[expect(clippy::cast_precision_loss, reason = "Prometheus has floats only")]
    fn write(&self, metric: &mut proto::Metric) {
        let mut counter = proto::Counter::default();
        counter.set_value(self.value() as f64);
        metric.set_counter(counter);
    }

    fn unused(&self) -> bool {
        self.value() == 0
    }
}

impl Value for Gauge {
    const KIND: proto::MetricType = proto::MetricType::GAUGE;

    #[expect(clippy::cast_precision_loss, reason = "Prometheus has floats only")]
    fn write(&self, metric: &mut proto::Metric) {
        let mut gauge = proto::Gauge::default();
        gauge.set_value(self.value() as f64);
        metric.set_gauge(gauge);
    }
}

impl Value for Histogram {
    const KIND: proto::MetricType = proto::MetricType::HISTOGRAM;

    #[expect(clippy::cast_precision_loss, reason = "Prometheus has floats only")]
    fn write(&self, metric: &mut proto::Metric) {
        let mut histogram = proto::Histogram::default();
        let mut cumulative = 0;
        let mut buckets = Vec::with_capacity(BOUNDS_US.len());
        for (place, bound) in BOUNDS_US.iter().enumerate() {
            cumulative += self
                .cells()
                .iter()
                .filter_map(|cell| cell.buckets.get(place))
                .map(|bucket| bucket.load(Relaxed))
                .sum::<u64>();
            let mut bucket = proto::Bucket::default();
            bucket.set_upper_bound(*bound as f64 / 1e6);
            bucket.set_cumulative_count(cumulative);
            buckets.push(bucket);
        }
        histogram.set_bucket(buckets);
        histogram.set_sample_count(self.count());
        let sum: u64 = self
            .cells()
            .iter()
            .map(|cell| cell.sum_ns.load(Relaxed))
            .sum();
        histogram.set_sample_sum(sum as f64 / 1e9);
        metric.set_histogram(histogram);
    }

    fn unused(&self) -> bool {
        self.count() == 0
    }
}

/// Values of one name, told apart by their labels.
#[derive(Debug)]
pub struct Family<V> {
    desc: Desc,
    labels: Vec<String>,
    values: Mutex<BTreeMap<Vec<String>, Arc<V>>>,
}

impl<V: Value> Family<V> {
    /// A family `tidegate_NAME`.
    ///
    /// # Errors
    ///
    /// Where the name or a label is not one of Prometheus.
    pub fn new(name: &str, help: &str, labels: &[&str]) -> Result<Self, prometheus::Error> {
        let labels: Vec<String> = labels.iter().map(|label| (*label).to_owned()).collect();
        let desc = Desc::new(
            format!("tidegate_{name}"),
            help.to_owned(),
            labels.clone(),
            std::collections::HashMap::new(),
        )?;
        Ok(Self {
            desc,
            labels,
            values: Mutex::default(),
        })
    }

    /// The value of these labels, in the family's order; made where it is not
    /// there. Takes a lock: keep the handle.
    pub fn with(&self, labels: &[&str]) -> Arc<V> {
        let key: Vec<String> = labels.iter().map(|label| (*label).to_owned()).collect();
        Arc::clone(self.values.lock().entry(key).or_default())
    }

    /// Drops every value whose first labels are these. Costs the same however
    /// many others there are.
    pub fn remove(&self, first: &[&str]) {
        let begin: Vec<String> = first.iter().map(|label| (*label).to_owned()).collect();
        let mut values = self.values.lock();
        let of_first = values
            .range(begin.clone()..)
            .map(|(key, _)| key)
            .take_while(|key| key.starts_with(&begin));
        let gone: Vec<Vec<String>> = of_first.cloned().collect();
        for key in gone {
            values.remove(&key);
        }
    }

    /// The sum of `value` over all labels, for tests and summaries.
    pub fn total(&self, value: impl Fn(&V) -> u64) -> u64 {
        self.values.lock().values().map(|one| value(one)).sum()
    }

    fn family(&self) -> proto::MetricFamily {
        let mut family = proto::MetricFamily::default();
        family.set_name(self.desc.fq_name.clone());
        family.set_help(self.desc.help.clone());
        family.set_field_type(V::KIND);
        let mut metrics = Vec::new();
        for (key, value) in &*self.values.lock() {
            if value.unused() && (key.len() > 3 || V::KIND == proto::MetricType::HISTOGRAM) {
                continue;
            }
            let mut metric = proto::Metric::default();
            let pairs: Vec<proto::LabelPair> = self
                .labels
                .iter()
                .zip(key)
                .map(|(name, value)| {
                    let mut pair = proto::LabelPair::default();
                    pair.set_name(name.clone());
                    pair.set_value(value.clone());
                    pair
                })
                .collect();
            metric.set_label(pairs);
            value.write(&mut metric);
            metrics.push(metric);
        }
        family.set_metric(metrics);
        family
    }
}

/// A family as Prometheus collects it.
struct Collected<V>(Arc<Family<V>>);

impl<V: Value> Collector for Collected<V> {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.0.desc]
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let family = self.0.family();
        if family.get_metric().is_empty() {
            Vec::new()
        } else {
            vec![family]
        }
    }
}

#[cfg(test)]
mod tests;
