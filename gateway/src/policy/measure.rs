//! What is counted of plugins: their calls, their faults, their instances, and
//! the metrics they declare of their own.
//!
//! A name or label value that a Plugin resource does not declare is dropped
//! and counted, so that no request makes a new series (SEMANTICS §11). Used by
//! `host`, `pool`, `call` and `lend`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::{FaultKind, Refusal};
use crate::metrics::{Counter, Family, Gauge, Histogram, Metrics};
use crate::name::Name;
use crate::resource::{Plugin, PluginMetric, PluginMetricKind, Role};

/// Series of one declared metric; more is a mistake in its labels.
const SERIES_MAX: usize = 1000;

/// Handles of the gateway's own metrics of one plugin.
#[derive(Debug)]
pub(super) struct CallMetrics {
    pub(super) seconds: Arc<Histogram>,
    faults: Vec<Arc<Counter>>,
    pub(super) allow: Arc<Counter>,
    pub(super) pass: Arc<Counter>,
    pub(super) deny: Arc<Counter>,
    pub(super) remembered: Arc<Counter>,
    pub(super) chosen: Arc<Counter>,
    pub(super) collected: Arc<Counter>,
    pub(super) instances: Arc<Gauge>,
    pub(super) versions: Arc<Gauge>,
}

impl CallMetrics {
    pub(super) fn new(metrics: &Metrics, plugin: &Name, role: Role) -> Self {
        let (plugin, role_word) = (plugin.as_str(), role.as_str());
        // Only what the role can answer is shown.
        let decision = |of: Role, word: &str| {
            if of == role {
                metrics.policy_decisions.with(&[plugin, role_word, word])
            } else {
                Arc::default()
            }
        };
        Self {
            seconds: metrics.policy_seconds.with(&[plugin, role_word]),
            faults: FaultKind::ALL
                .iter()
                .map(|kind| {
                    metrics
                        .policy_faults
                        .with(&[plugin, role_word, kind.as_str()])
                })
                .collect(),
            allow: decision(Role::Auth, "allow"),
            pass: decision(Role::Auth, "pass"),
            deny: decision(Role::Auth, "deny"),
            remembered: decision(Role::Auth, "remembered"),
            chosen: decision(Role::Split, "chosen"),
            collected: decision(Role::Collect, "collected"),
            instances: metrics.plugin_instances.with(&[plugin]),
            versions: metrics.plugin_versions_live.with(&[plugin]),
        }
    }

    pub(super) fn fault(&self, kind: FaultKind) {
        let place = FaultKind::ALL.iter().position(|known| *known == kind);
        if let Some(counter) = place.and_then(|place| self.faults.get(place)) {
            counter.inc();
        }
    }
}

/// The families that plugins declared, kept because a name can be registered
/// once in a process and a plugin is loaded many times.
#[derive(Debug)]
pub(super) struct Declared {
    metrics: Arc<Metrics>,
    families: Mutex<BTreeMap<String, Registered>>,
}

#[derive(Debug, Clone)]
struct Registered {
    labels: Vec<String>,
    family: AnyFamily,
}

#[derive(Debug, Clone)]
enum AnyFamily {
    Counter(Arc<Family<Counter>>),
    Histogram(Arc<Family<Histogram>>),
}

impl AnyFamily {
    fn kind(&self) -> PluginMetricKind {
        match self {
            Self::Counter(_) => PluginMetricKind::Counter,
            Self::Histogram(_) => PluginMetricKind::Histogram,
        }
    }
}

impl Declared {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            families: Mutex::default(),
        }
    }

    pub(super) fn lines_dropped(&self, plugin: &Name) -> Arc<Counter> {
        self.metrics
            .plugin_log_lines_dropped
            .with(&[plugin.as_str()])
    }

    /// Every series of the metrics that `plugin` declares.
    pub(super) fn own(&self, plugin: &Plugin) -> Result<OwnMetrics, Refusal> {
        let mut metrics = Vec::with_capacity(plugin.metrics.len());
        for declared in &plugin.metrics {
            metrics.push(self.one(&plugin.name, declared)?);
        }
        Ok(OwnMetrics {
            metrics,
            dropped: self
                .metrics
                .plugin_metrics_dropped
                .with(&[plugin.name.as_str()]),
        })
    }

    fn one(&self, plugin: &Name, declared: &PluginMetric) -> Result<OwnMetric, Refusal> {
        let refused = |what: String| Refusal::Metric {
            name: declared.name.clone(),
            what,
        };
        let series = declared
            .labels
            .values()
            .try_fold(1_usize, |series, values| series.checked_mul(values.len()))
            .filter(|series| (1..=SERIES_MAX).contains(series))
            .ok_or_else(|| {
                refused(format!(
                    "its labels make no or more than {SERIES_MAX} series"
                ))
            })?;
        let name = format!("{}_{}", plugin.as_str().replace('-', "_"), declared.name);
        let family = self.family(&name, declared).map_err(refused)?;
        let labels: Vec<(String, Vec<String>)> = declared
            .labels
            .iter()
            .map(|(label, values)| (label.clone(), values.clone()))
            .collect();
        let values = (0..series).map(|index| combination(&labels, index));
        let series = match &family {
            AnyFamily::Counter(family) => {
                Series::Counters(values.map(|values| family.with(&values)).collect())
            }
            AnyFamily::Histogram(family) => {
                Series::Histograms(values.map(|values| family.with(&values)).collect())
            }
        };
        Ok(OwnMetric {
            name: declared.name.clone(),
            labels,
            series,
        })
    }

    fn family(&self, name: &str, declared: &PluginMetric) -> Result<AnyFamily, String> {
        let labels: Vec<String> = declared.labels.keys().cloned().collect();
        let mut families = self.families.lock();
        if let Some(known) = families.get(name) {
            return if known.labels == labels && known.family.kind() == declared.kind {
                Ok(known.family.clone())
            } else {
                Err("it was declared with another type or other labels since the gateway started; give it another name".to_owned())
            };
        }
        let names: Vec<&str> = labels.iter().map(String::as_str).collect();
        let error = |error: &dyn std::fmt::Display| error.to_string();
        let family = match declared.kind {
            PluginMetricKind::Counter => AnyFamily::Counter(
                self.metrics
                    .plugin_family(name, &names)
                    .map_err(|e| error(&e))?,
            ),
            PluginMetricKind::Histogram => AnyFamily::Histogram(
                self.metrics
                    .plugin_family(name, &names)
                    .map_err(|e| error(&e))?,
            ),
        };
        let registered = Registered {
            labels,
            family: family.clone(),
        };
        families.insert(name.to_owned(), registered);
        Ok(family)
    }
}

/// The label values of series `index`, the last label turning fastest.
fn combination(labels: &[(String, Vec<String>)], mut index: usize) -> Vec<&str> {
    let mut values: Vec<&str> = labels
        .iter()
        .rev()
        .filter_map(|(_, values)| {
            let value = values.get(index.checked_rem(values.len())?)?;
            index /= values.len();
            Some(value.as_str())
        })
        .collect();
    values.reverse();
    values
}

/// The metrics that one plugin declares.
#[derive(Debug)]
pub(super) struct OwnMetrics {
    metrics: Vec<OwnMetric>,
    dropped: Arc<Counter>,
}

#[derive(Debug)]
struct OwnMetric {
    name: String,
    labels: Vec<(String, Vec<String>)>,
    series: Series,
}

#[derive(Debug)]
enum Series {
    Counters(Vec<Arc<Counter>>),
    Histograms(Vec<Arc<Histogram>>),
}

impl OwnMetrics {
    pub(super) fn add(&self, name: &str, delta: u64, labels: &[(String, String)]) {
        let found = self.find(name, labels).and_then(|(metric, index)| {
            let Series::Counters(counters) = &metric.series else {
                return None;
            };
            counters.get(index)
        });
        match found {
            Some(counter) => counter.add(delta),
            None => self.dropped.inc(),
        }
    }

    /// `value` is in seconds, as all of Prometheus is.
    pub(super) fn observe(&self, name: &str, value: f64, labels: &[(String, String)]) {
        let found = self.find(name, labels).and_then(|(metric, index)| {
            let Series::Histograms(histograms) = &metric.series else {
                return None;
            };
            Some((
                histograms.get(index)?,
                Duration::try_from_secs_f64(value).ok()?,
            ))
        });
        match found {
            Some((histogram, value)) => histogram.observe(value),
            None => self.dropped.inc(),
        }
    }

    fn find(&self, name: &str, labels: &[(String, String)]) -> Option<(&OwnMetric, usize)> {
        let metric = self.metrics.iter().find(|metric| metric.name == name)?;
        if labels.len() != metric.labels.len() {
            return None;
        }
        let mut index = 0;
        for (label, values) in &metric.labels {
            let (_, given) = labels.iter().find(|(name, _)| name == label)?;
            index = index * values.len() + values.iter().position(|value| value == given)?;
        }
        Some((metric, index))
    }
}
