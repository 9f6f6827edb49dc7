//! What a running version's task is told: settings, counts, its end.
//!
//! Said by whoever changes the endpoint, followed by `scaling`. Never waits.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::RunningVersion;
use crate::resource::Version;
use crate::table::Entry;

/// What a version's task is told while it runs.
#[derive(Debug)]
pub(super) struct Orders {
    /// The version's settings; replicas go by what they were started with.
    pub(super) settings: watch::Sender<Arc<Version>>,
    /// Whether requests come to it: an update's count is not scaled before.
    pub(super) serving: watch::Sender<bool>,
    /// How many replicas it has; an update that is to take over has as many.
    pub(super) wanted: watch::Sender<u32>,
    /// Lets the replicas drain, then ends the task.
    pub(super) retire: CancellationToken,
    /// Entries that exchanges may still hold.
    pub(super) entries: Mutex<Vec<Weak<Entry>>>,
}

impl Orders {
    /// Whether anybody holds an entry with the version.
    pub(super) fn is_shown(&self) -> bool {
        let entries = self.entries.lock();
        entries.iter().any(|entry| entry.strong_count() > 0)
    }
}

impl RunningVersion {
    /// The same replicas under other settings: waits, bounds, traffic.
    pub(super) fn carried(&self, version: &Version) -> Arc<Self> {
        let spec = Arc::new(version.clone());
        self.orders.settings.send_replace(Arc::clone(&spec));
        Arc::new(Self {
            spec,
            started: Arc::clone(&self.started),
            fleet: Arc::clone(&self.fleet),
            metrics: Arc::clone(&self.metrics),
            state: Arc::clone(&self.state),
            orders: Arc::clone(&self.orders),
        })
    }

    /// Requests come to it from now on.
    pub(super) fn serve(&self) {
        self.orders.serving.send_replace(true);
    }

    /// Ends when [`RunningVersion::retire`] was called. Cancel-safe.
    pub(super) async fn retired(&self) {
        self.orders.retire.cancelled().await;
    }

    /// Exchanges may find it in this entry from now on.
    pub(super) fn is_in(&self, entry: &Arc<Entry>) {
        let mut entries = self.orders.entries.lock();
        entries.retain(|entry| entry.strong_count() > 0);
        entries.push(Arc::downgrade(entry));
    }

    /// Nothing new, then the exchanges under way, then the end of the replicas.
    pub(super) fn retire(&self) {
        self.orders.retire.cancel();
    }
}
