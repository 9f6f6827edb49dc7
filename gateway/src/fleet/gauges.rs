//! A fleet's gauges and its histogram of queue waits.
//!
//! Gauges are moved by differences, so that two generations of a version that
//! live side by side add up, and a fleet that ends takes its part away.
//! `queue_wait_seconds` observes every slot that was granted (0 where nobody
//! had to wait) and every wait that ended in a fault; not those who went away,
//! nor those refused at once.

use std::sync::Arc;
use std::time::Duration;

use super::{Counts, FleetSettings, State};
use crate::metrics::{Counter, Family, Gauge, Histogram, Metrics};

/// Handles of one version's metrics.
#[derive(Debug)]
pub(super) struct Gauges {
    busy: Arc<Gauge>,
    free: Arc<Gauge>,
    queued: Arc<Gauge>,
    wanted: Arc<Gauge>,
    ready: Arc<Gauge>,
    starting: Arc<Gauge>,
    draining: Arc<Gauge>,
    wait: Arc<Histogram>,
    /// Their values are made with the first ejection: of ten thousand versions
    /// most never have one.
    ejected: Arc<Family<Gauge>>,
    ejections: Arc<Family<Counter>>,
}

impl Gauges {
    pub(super) fn new(metrics: &Metrics, settings: &FleetSettings) -> Self {
        let (endpoint, version) = (settings.endpoint.as_str(), settings.version.as_str());
        let slots = |state| metrics.slots.with(&[endpoint, version, state]);
        let replicas = |state| metrics.replicas.with(&[endpoint, version, state]);
        Self {
            busy: slots("busy"),
            free: slots("free"),
            queued: metrics.queue_depth.with(&[endpoint, version]),
            wanted: replicas("wanted"),
            ready: replicas("ready"),
            starting: replicas("starting"),
            draining: replicas("draining"),
            wait: metrics.queue_wait_seconds.with(&[endpoint, version]),
            ejected: Arc::clone(&metrics.replicas_ejected),
            ejections: Arc::clone(&metrics.replica_ejections),
        }
    }

    /// Shows what changed since the last time. Under the fleet's lock.
    pub(super) fn show(&self, state: &mut State) {
        let counts = state.counts();
        self.show_change(state, counts);
        state.shown = counts;
    }

    /// Takes the fleet's part out of the gauges, at its end.
    pub(super) fn clear(&self, state: &mut State) {
        self.show_change(state, Counts::default());
        state.shown = Counts::default();
    }

    fn show_change(&self, state: &State, new: Counts) {
        let old = state.shown;
        moved(&self.busy, old.busy, new.busy);
        moved(&self.free, old.free, new.free);
        moved(&self.queued, old.queued, new.queued);
        moved(&self.wanted, old.wanted, new.wanted);
        moved(&self.ready, old.ready, new.ready);
        moved(&self.starting, old.starting, new.starting);
        moved(&self.draining, old.draining, new.draining);
        if old.ejected != new.ejected {
            let settings = &state.settings;
            let labels = [settings.endpoint.as_str(), settings.version.as_str()];
            moved(&self.ejected.with(&labels), old.ejected, new.ejected);
            let more = new.ejected.saturating_sub(old.ejected);
            self.ejections.with(&labels).add(u64::from(more));
        }
    }

    /// Observes a wait that ended.
    pub(super) fn waited(&self, waited: Duration) {
        self.wait.observe(waited);
    }
}

fn moved(gauge: &Gauge, old: u32, new: u32) {
    if old != new {
        gauge.add(i64::from(new) - i64::from(old));
    }
}
