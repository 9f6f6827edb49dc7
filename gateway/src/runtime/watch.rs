//! Probes one replica at one address for as long as it is there, and tells
//! when it became ready or not.
//!
//! Never starts or stops anything. Run by the tasks of replicas beside what
//! else they wait for.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::health::{Change, Health};
use super::{Place, ReplicaEvent};
use crate::upstream::{self, ProbeError};

/// How long a replica has been ready.
#[derive(Debug, Default)]
pub(super) struct ReadySince(Option<Instant>);

impl ReadySince {
    /// Without a break until now; zero where it is not ready.
    pub(super) fn ready_for(&self) -> Duration {
        self.0.map(|since| since.elapsed()).unwrap_or_default()
    }

    fn update(&mut self, ready: bool) {
        self.0 = ready.then(|| self.0.unwrap_or_else(Instant::now));
    }

    /// Whether it is ready now.
    pub(super) const fn is_ready(&self) -> bool {
        self.0.is_some()
    }
}

/// Probes for ever. Cancel-safe: dropped, the probe under way is broken off.
pub(super) async fn watch(place: &Place, address: SocketAddr, since: &mut ReadySince) {
    let probe = &place.spec.version.readiness;
    let busy = || (place.spec.busy)(&place.id);
    let mut health = Health::new();
    let mut news = News::default();
    tokio::time::sleep(probe.initial_delay).await;
    loop {
        let started = Instant::now();
        // A ready replica with requests in flight is judged by them: a model
        // server that answers probes only between requests is not dead.
        if !(health.ready() && busy()) {
            let outcome = upstream::probe(address, probe).await;
            let excused = outcome.is_err() && health.ready() && busy();
            if !excused {
                let change = health.judge(probe, outcome.is_ok());
                since.update(health.ready());
                news.tell(place, change, outcome).await;
            }
        }
        tokio::time::sleep_until(started + health.period(probe)).await;
    }
}

/// What was told of the probes so far.
#[derive(Debug, Default)]
struct News {
    was_ready: bool,
    /// Failures before the first success, and the last that was told.
    failures: u32,
    told: String,
}

impl News {
    async fn tell(
        &mut self,
        place: &Place,
        change: Option<Change>,
        outcome: Result<(), ProbeError>,
    ) {
        let endpoint = &place.spec.endpoint;
        let id = place.id.clone();
        let reason = match outcome {
            Ok(()) => String::new(),
            Err(error) => format!("its probe failed: {error}"),
        };
        match change {
            Some(Change::Ready) => {
                self.was_ready = true;
                tracing::info!(%endpoint, replica = %id, "replica is ready");
                place.tell(ReplicaEvent::Ready { id }).await;
            }
            Some(Change::NotReady) => {
                tracing::warn!(%endpoint, replica = %id, reason, "replica is not ready");
                place.tell(ReplicaEvent::NotReady { id, reason }).await;
            }
            None if self.was_ready || reason.is_empty() => {}
            None => {
                // The first few fail in every start: nothing listens yet.
                self.failures = self.failures.saturating_add(1);
                let enough = self.failures >= place.spec.version.readiness.failure_threshold;
                if enough && self.told != reason {
                    self.told.clone_from(&reason);
                    place.tell(ReplicaEvent::NotYet { id, reason }).await;
                }
            }
        }
    }
}
