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
use crate::resource::{Probe, Runtime};
use crate::upstream::{self, ProbeError, Secure};

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
pub(super) async fn watch(
    place: &Place,
    address: SocketAddr,
    tls: Option<&Secure>,
    since: &mut ReadySince,
) {
    let probe = &place.spec.version.readiness;
    let mut health = Health::new();
    let mut news = News::default();
    tokio::time::sleep(probe.initial_delay).await;
    loop {
        let started = Instant::now();
        if let Some(outcome) = ask(place, (address, tls), probe, health.ready()).await {
            let change = health.judge(probe, outcome.is_ok());
            since.update(health.ready());
            news.tell(place, change, outcome).await;
        }
        tokio::time::sleep_until(started + health.period(probe)).await;
    }
}

/// Ends, with the reason, when the version's liveness says that the replica has
/// to be started again; never where it has none. Cancel-safe.
pub(super) async fn dead(place: &Place, address: SocketAddr) -> String {
    let Some(probe) = &place.spec.version.liveness else {
        return std::future::pending().await;
    };
    let mut health = Health::alive();
    tokio::time::sleep(probe.initial_delay).await;
    loop {
        let started = Instant::now();
        if let Some(Err(error)) = ask(place, (address, None), probe, true).await {
            if health.judge(probe, false).is_some() {
                let times = probe.failure_threshold;
                return format!("failed its liveness probe {times} times: {error}");
            }
        } else {
            health.judge(probe, true);
        }
        tokio::time::sleep_until(started + probe.period).await;
    }
}

/// One probe; none where the replica is `well` as far as is known and has
/// requests in flight: then it is judged by them, because a model server that
/// answers probes only between requests is not dead.
async fn ask(
    place: &Place,
    (address, tls): (SocketAddr, Option<&Secure>),
    probe: &Probe,
    well: bool,
) -> Option<Result<(), ProbeError>> {
    let busy = || well && (place.spec.busy)(&place.id);
    if busy() {
        return None;
    }
    let outcome = upstream::probe(address, tls, probe).await;
    // A request may have come before the probe was answered.
    (outcome.is_ok() || !busy()).then_some(outcome)
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
                    let fixed = matches!(place.spec.version.runtime, Runtime::Static { .. });
                    let event = if fixed {
                        // Nobody starts a fixed address: no request may wait for it,
                        // and its version's share goes to others.
                        ReplicaEvent::NotReady { id, reason }
                    } else {
                        ReplicaEvent::NotYet { id, reason }
                    };
                    place.tell(event).await;
                }
            }
        }
    }
}
