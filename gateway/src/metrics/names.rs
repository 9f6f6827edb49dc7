//! Every metric the gateway has, by the names of SEMANTICS §11.
//!
//! A name people build alerts on stands here and nowhere else; never changes
//! its labels. Made once, by `app`.

use std::fmt::Write as _;
use std::sync::Arc;

use prometheus::{Registry, TextEncoder, proto};

use super::{Collected, Counter, Family, Gauge, Histogram, Value};

/// What a family is, for those who read of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// With the prefix.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// The names of its labels.
    pub labels: Vec<String>,
    /// What it means.
    pub help: String,
}

/// All families of the gateway.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    rows: Vec<Row>,
    /// Exchanges: endpoint, version, status class, fault code.
    pub requests: Arc<Family<Counter>>,
    /// From the first byte of the head to the last of the answer: endpoint, version.
    pub request_seconds: Arc<Family<Histogram>>,
    /// From the end of the head to the first byte to the replica, without the queue.
    pub routing_seconds: Arc<Family<Histogram>>,
    /// In the queue for a slot.
    pub queue_wait_seconds: Arc<Family<Histogram>>,
    /// From the request's last byte to the answer's first.
    pub upstream_first_byte_seconds: Arc<Family<Histogram>>,
    /// Slots of ready replicas: endpoint, version, state (busy, free).
    pub slots: Arc<Family<Gauge>>,
    /// Requests that wait for a slot: endpoint, version.
    pub queue_depth: Arc<Family<Gauge>>,
    /// Replicas: endpoint, version, state (wanted, ready, starting, draining).
    pub replicas: Arc<Family<Gauge>>,
    /// Ready replicas that are kept from requests for their outcomes: endpoint, version.
    pub replicas_ejected: Arc<Family<Gauge>>,
    /// How often one was: endpoint, version.
    pub replica_ejections: Arc<Family<Counter>>,
    /// Calls of a policy: plugin, role.
    pub policy_seconds: Arc<Family<Histogram>>,
    /// Failed calls: plugin, role, kind.
    pub policy_faults: Arc<Family<Counter>>,
    /// What policies answered: plugin, role, decision.
    pub policy_decisions: Arc<Family<Counter>>,
    /// Live instances: plugin.
    pub plugin_instances: Arc<Family<Gauge>>,
    /// Versions of a plugin that are in memory: plugin.
    pub plugin_versions_live: Arc<Family<Gauge>>,
    /// Swaps: plugin, result.
    pub plugin_swaps: Arc<Family<Counter>>,
    /// What plugins counted under a name or label that they do not declare: plugin.
    pub plugin_metrics_dropped: Arc<Family<Counter>>,
    /// Lines of plugins that were not logged: plugin.
    pub plugin_log_lines_dropped: Arc<Family<Counter>>,
    /// Collected entries: endpoint, version, result.
    pub collect_entries: Arc<Family<Counter>>,
    /// When a certificate ends, in seconds from 1970: name.
    pub certificate_expiry_seconds: Arc<Family<Gauge>>,
    /// Exchanges that share of a version was moved to others: endpoint, version.
    pub moved_shares: Arc<Family<Counter>>,
    /// Copies of exchanges: endpoint, version that got it, result (same,
    /// status_differs, size_differs, body_differs, uncompared, failed,
    /// `skipped_<reason>`).
    pub mirror: Arc<Family<Counter>>,
    /// By how much later than the original's the head of a copy's answer came:
    /// endpoint, version that got it.
    pub mirror_slower_seconds: Arc<Family<Histogram>>,
    /// By how much sooner.
    pub mirror_faster_seconds: Arc<Family<Histogram>>,
    /// Connections of callers, over all listeners.
    pub connections: Arc<Family<Gauge>>,
    /// Constant 1 with the version as label.
    pub build_info: Arc<Family<Gauge>>,
}

impl Metrics {
    /// All families, empty.
    ///
    /// # Errors
    ///
    /// Never in practice: where a name is not one of Prometheus.
    pub fn new() -> Result<Arc<Self>, prometheus::Error> {
        let mut made = Made::default();
        let version = ["endpoint", "version"];
        let metrics = Self {
            requests: made.family("requests_total", "Exchanges by status class (2xx) and fault code; the code is empty where the model's answer passed", &["endpoint", "version", "status", "fault"])?,
            request_seconds: made.family("request_seconds", "Exchanges, from the first byte of the head to the last of the answer", &version)?,
            routing_seconds: made.family("routing_seconds", "From the end of the head to the first byte to the replica, without the queue", &version)?,
            queue_wait_seconds: made.family("queue_wait_seconds", "Wait for a slot, 0 where one was free; also waits that ended in a fault", &version)?,
            upstream_first_byte_seconds: made.family("upstream_first_byte_seconds", "From the last byte of the request to the first of the answer", &version)?,
            slots: made.family("slots", "Slots of ready replicas: busy, free", &["endpoint", "version", "state"])?,
            queue_depth: made.family("queue_depth", "Requests that wait for a slot", &version)?,
            replicas: made.family("replicas", "Replicas: wanted, ready, starting, draining", &["endpoint", "version", "state"])?,
            replicas_ejected: made.family("replicas_ejected", "Ready replicas that are kept from requests for a while, because connections to them fail, they time out, or they alone answer 5xx; from the first one on", &version)?,
            replica_ejections: made.family("replica_ejections_total", "How often a replica was kept from requests so; the first time lasts 2 s", &version)?,
            policy_seconds: made.family("policy_seconds", "Calls of a policy; for collect its batches", &["plugin", "role"])?,
            policy_faults: made.family("policy_faults_total", "Failed calls of a policy: error, trap, timeout, memory, overload, lie", &["plugin", "role", "kind"])?,
            policy_decisions: made.family("policy_decisions_total", "Answers of policies: allow, pass, deny, remembered (a grant that was used again), chosen, collected", &["plugin", "role", "decision"])?,
            plugin_instances: made.family("plugin_instances", "Instances of a plugin that live", &["plugin"])?,
            plugin_versions_live: made.family("plugin_versions_live", "Versions of a plugin in memory; more than 1 for as long as a call of an old one runs", &["plugin"])?,
            plugin_swaps: made.family("plugin_swaps_total", "Swaps of a plugin: swapped, refused", &["plugin", "result"])?,
            plugin_metrics_dropped: made.family("plugin_metrics_dropped_total", "Values of a plugin's own metrics that were not counted, because its resource does not declare the name, or not that label or value of it", &["plugin"])?,
            plugin_log_lines_dropped: made.family("plugin_log_lines_dropped_total", "Lines of a plugin that were not logged, because they were too many", &["plugin"])?,
            collect_entries: made.family("collect_entries_total", "Collected entries: taken (a policy kept it), then delivered (its file has it) or dropped_disk (it could not be written); never taken: dropped_bytes or dropped_queue (too much waits for the policy), dropped_policy (it failed), dropped_exchange (it named one it was not shown)", &["endpoint", "version", "result"])?,
            certificate_expiry_seconds: made.family("certificate_expiry_seconds", "When a certificate ends, in seconds from 1970; by listener, and spec.admin: that of the admin API", &["name"])?,
            moved_shares: made.family("moved_shares_total", "Exchanges drawn while the share of a version was moved to others, because none of its replicas was ready", &version)?,
            mirror: made.family("mirror_total", "Copies of exchanges by the version that got them: same, status_differs, size_differs, body_differs, uncompared (an answer broke off), failed, skipped_REASON (not sent)", &["endpoint", "version", "result"])?,
            mirror_slower_seconds: made.family("mirror_slower_seconds", "By how much later than the original's the answer to a copy began", &version)?,
            mirror_faster_seconds: made.family("mirror_faster_seconds", "By how much sooner than the original's the answer to a copy began", &version)?,
            connections: made.family("connections", "Connections of callers", &["listener"])?,
            build_info: made.family("build_info", "The running build; always 1", &["version"])?,
            registry: made.registry,
            rows: made.rows,
        };
        metrics.build_info.with(&[env!("CARGO_PKG_VERSION")]).set(1);
        Ok(Arc::new(metrics))
    }

    /// Prometheus text of all families; of those without a value `HELP` and
    /// `TYPE`, so that who looks for a name finds it.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        let families = self.registry.gather();
        if let Err(error) = TextEncoder::new().encode_utf8(&families, &mut text) {
            tracing::warn!(%error, "metrics could not be written");
        }
        let is_there = |row: &&Row| families.iter().any(|family| family.name() == row.name);
        for Row {
            name, kind, help, ..
        } in self.rows.iter().filter(|row| !is_there(row))
        {
            let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        }
        text
    }

    /// Every family but those of plugins, as it is described to people.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Upper bounds of the buckets of every histogram, in seconds.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "far below what a float holds")]
    pub fn buckets() -> Vec<f64> {
        super::BOUNDS_US.map(|us| us as f64 / 1e6).to_vec()
    }

    /// A family of a plugin's own, `tidegate_plugin_NAME`; the one that is
    /// there where it was made before.
    ///
    /// # Errors
    ///
    /// Where the name or a label is not one of Prometheus, or is taken.
    pub fn plugin_family<V: Value>(
        &self,
        name: &str,
        labels: &[&str],
    ) -> Result<Arc<Family<V>>, prometheus::Error> {
        family(
            &self.registry,
            &format!("plugin_{name}"),
            "Counted by a plugin",
            labels,
        )
    }
}

/// Families that are being made.
#[derive(Default)]
struct Made {
    registry: Registry,
    rows: Vec<Row>,
}

impl Made {
    fn family<V: Value>(
        &mut self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<Arc<Family<V>>, prometheus::Error> {
        let family = family(&self.registry, name, help, labels)?;
        self.rows.push(Row {
            name: format!("tidegate_{name}"),
            kind: match V::KIND {
                proto::MetricType::COUNTER => "counter",
                proto::MetricType::HISTOGRAM => "histogram",
                _ => "gauge",
            },
            labels: labels.iter().map(|label| (*label).to_owned()).collect(),
            help: help.to_owned(),
        });
        Ok(family)
    }
}

fn family<V: Value>(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<Arc<Family<V>>, prometheus::Error> {
    let family = Arc::new(Family::new(name, help, labels)?);
    registry.register(Box::new(Collected(Arc::clone(&family))))?;
    Ok(family)
}
