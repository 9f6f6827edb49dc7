//! Every metric the gateway has, by the names of SEMANTICS §11.
//!
//! A name people build alerts on stands here and nowhere else; never changes
//! its labels. Made once, by `app`.

use std::sync::Arc;

use prometheus::{Registry, TextEncoder};

use super::{Collected, Counter, Family, Gauge, Histogram, Value};

/// All families of the gateway.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
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
    #[expect(clippy::too_many_lines, reason = "one row per name; nothing to follow")]
    pub fn new() -> Result<Arc<Self>, prometheus::Error> {
        let registry = Registry::new();
        let r = &registry;
        let version = ["endpoint", "version"];
        let metrics = Self {
            requests: family(
                r,
                "requests_total",
                "Exchanges",
                &["endpoint", "version", "status", "fault"],
            )?,
            request_seconds: family(r, "request_seconds", "Duration of exchanges", &version)?,
            routing_seconds: family(
                r,
                "routing_seconds",
                "From the head to the first byte to the replica, without the queue",
                &version,
            )?,
            queue_wait_seconds: family(r, "queue_wait_seconds", "Wait for a slot", &version)?,
            upstream_first_byte_seconds: family(
                r,
                "upstream_first_byte_seconds",
                "From the request's last byte to the answer's first",
                &version,
            )?,
            slots: family(r, "slots", "Slots", &["endpoint", "version", "state"])?,
            queue_depth: family(r, "queue_depth", "Requests that wait for a slot", &version)?,
            replicas: family(r, "replicas", "Replicas", &["endpoint", "version", "state"])?,
            policy_seconds: family(r, "policy_seconds", "Policy calls", &["plugin", "role"])?,
            policy_faults: family(
                r,
                "policy_faults_total",
                "Failed policy calls",
                &["plugin", "role", "kind"],
            )?,
            policy_decisions: family(
                r,
                "policy_decisions_total",
                "What policies answered",
                &["plugin", "role", "decision"],
            )?,
            plugin_instances: family(r, "plugin_instances", "Live instances", &["plugin"])?,
            plugin_versions_live: family(
                r,
                "plugin_versions_live",
                "Versions of a plugin in memory",
                &["plugin"],
            )?,
            plugin_swaps: family(
                r,
                "plugin_swaps_total",
                "Swaps of a plugin",
                &["plugin", "result"],
            )?,
            collect_entries: family(
                r,
                "collect_entries_total",
                "Collected entries",
                &["endpoint", "version", "result"],
            )?,
            certificate_expiry_seconds: family(
                r,
                "certificate_expiry_seconds",
                "When a certificate ends, in seconds from 1970",
                &["name"],
            )?,
            moved_shares: family(
                r,
                "moved_shares_total",
                "Exchanges drawn while a version's share was moved to others",
                &version,
            )?,
            mirror: family(
                r,
                "mirror_total",
                "Copies of exchanges for another version",
                &["endpoint", "version", "result"],
            )?,
            mirror_slower_seconds: family(
                r,
                "mirror_slower_seconds",
                "By how much later than the original's the answer to a copy began",
                &version,
            )?,
            mirror_faster_seconds: family(
                r,
                "mirror_faster_seconds",
                "By how much sooner than the original's the answer to a copy began",
                &version,
            )?,
            connections: family(r, "connections", "Connections of callers", &["listener"])?,
            build_info: family(r, "build_info", "The running build", &["version"])?,
            registry,
        };
        metrics.build_info.with(&[env!("CARGO_PKG_VERSION")]).set(1);
        Ok(Arc::new(metrics))
    }

    /// Prometheus text of all families.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        if let Err(error) = TextEncoder::new().encode_utf8(&self.registry.gather(), &mut text) {
            tracing::warn!(%error, "metrics could not be written");
        }
        text
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
