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
use crate::upstream;

/// How long a replica has been ready.
#[derive(Debug, Default)]
pub(super) struct ReadySince(Option<Instant>);

impl ReadySince {
    /// Without a break until now; zero where it is not ready.
    pub(super) fn ready_for(&self) -> Duration {
        self.0.map(|since| since.elapsed()).unwrap_or_default()
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
    tokio::time::sleep(probe.initial_delay).await;
    loop {
        let started = Instant::now();
        // A ready replica with requests in flight is judged by them: a model
        // server that answers probes only between requests is not dead.
        if !(health.ready() && busy()) {
            let outcome = upstream::probe(address, probe).await;
            let excused = outcome.is_err() && health.ready() && busy();
            if !excused {
                match health.judge(probe, outcome.is_ok()) {
                    Some(Change::Ready) => {
                        since.0 = Some(Instant::now());
                        let id = place.id.clone();
                        tracing::info!(
                            endpoint = %place.spec.endpoint, replica = %id, "replica is ready"
                        );
                        place.tell(ReplicaEvent::Ready { id }).await;
                    }
                    Some(Change::NotReady) => {
                        since.0 = None;
                        let id = place.id.clone();
                        let reason = match outcome {
                            Err(error) => format!("its probe failed: {error}"),
                            Ok(()) => String::new(),
                        };
                        tracing::warn!(
                            endpoint = %place.spec.endpoint, replica = %id, reason,
                            "replica is not ready"
                        );
                        place.tell(ReplicaEvent::NotReady { id, reason }).await;
                    }
                    None => {}
                }
            }
        }
        tokio::time::sleep_until(started + health.period(probe)).await;
    }
}
