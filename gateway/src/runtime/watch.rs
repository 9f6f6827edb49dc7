//! Probes one replica at one address for as long as it is there, and tells
//! when it became ready or not.
//!
//! Never starts or stops anything. Run by the tasks of replicas beside what
//! else they wait for.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::health::{Change, Health, Phase};
use super::{Place, ReplicaEvent};
use crate::breaker::{Conduct, Word};
use crate::resource::Runtime;
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
    let mut health = Health::new(Phase::new(&place.spec.endpoint, &place.id));
    let mut news = News::default();
    let mut requests = Requests::default();
    tokio::time::sleep(probe.initial_delay).await;
    loop {
        let started = Instant::now();
        // A busy one that is ready is judged by its requests: ejection is their
        // way to take it out.
        let word = requests.look(place);
        let asked = match word {
            Word::Idle | Word::Left => true,
            Word::Answers | Word::Fails | Word::Waits => !health.ready(),
        };
        if asked {
            let outcome = upstream::probe(address, tls, probe).await;
            let says = !overtaken(place, word, &outcome) || !health.ready();
            if says && !is_ours(&outcome) {
                let change = health.judge(probe, outcome.is_ok());
                since.update(health.ready());
                news.tell(place, change, outcome).await;
            }
        }
        tokio::time::sleep_until(started + health.until_next(probe)).await;
    }
}

/// Ends, with the reason, when the version's liveness says that the replica has
/// to be started again; never where it has none. Cancel-safe.
pub(super) async fn dead(place: &Place, address: SocketAddr) -> String {
    let Some(probe) = &place.spec.version.liveness else {
        return std::future::pending().await;
    };
    let mut health = Health::alive(Phase::new(&place.spec.endpoint, &place.id));
    let mut requests = Requests::default();
    tokio::time::sleep(probe.initial_delay).await;
    loop {
        let started = Instant::now();
        let word = requests.look(place);
        let judged = match word {
            Word::Idle | Word::Left => {
                let outcome = upstream::probe(address, None, probe).await;
                let says = !overtaken(place, word, &outcome) && !is_ours(&outcome);
                says.then(|| outcome.map_err(|e| e.to_string()))
            }
            Word::Answers => Some(Ok(())),
            Word::Fails => Some(Err("it answered none of its requests".to_owned())),
            Word::Waits => None,
        };
        let ok = judged.as_ref().map(Result::is_ok);
        if ok.and_then(|ok| health.judge(probe, ok)).is_some()
            && let Some(Err(error)) = judged
        {
            let times = probe.failure_threshold;
            return format!("failed its liveness probe {times} times: {error}");
        }
        tokio::time::sleep_until(started + health.until_next(probe)).await;
    }
}

/// What was said at the last look.
#[derive(Debug, Default)]
struct Requests(Conduct);

impl Requests {
    fn look(&mut self, place: &Place) -> Word {
        let now = (place.spec.conduct)(&place.id);
        let before = std::mem::replace(&mut self.0, now);
        now.since(&before)
    }
}

/// Whether a probe of an idle replica failed because a request came before it
/// was answered: a model server may answer probes only between requests.
fn overtaken(place: &Place, word: Word, outcome: &Result<(), ProbeError>) -> bool {
    outcome.is_err() && word == Word::Idle && (place.spec.conduct)(&place.id).busy > 0
}

/// Whether a probe failed for what the gateway itself lacks.
fn is_ours(outcome: &Result<(), ProbeError>) -> bool {
    matches!(outcome, Err(ProbeError::Ours(_)))
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
