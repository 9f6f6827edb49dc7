//! One version: its replicas' news into its fleet, and its state in words.
//!
//! One task per version is the only writer of its fleet's replicas. Never calls
//! a policy and never touches the table: a replica that comes or goes does not
//! change an entry. Used by `reconcile`.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::status::{ReplicaCounts, State, VersionStatus};
use super::{Control, RunningVersion};
use crate::fleet::{Fleet, FleetSettings};
use crate::id::ReplicaId;
use crate::metrics::ExchangeMetrics;
use crate::name::Name;
use crate::resource::{Scale, Version};
use crate::runtime::{ReplicaEvent, Replicas, ReplicasSpec};

/// Ends of a replica in a row, none ready between, after which the version
/// counts as failed: two may be a slow disk or a port that was taken.
const FAILURES_MAX: u32 = 3;

/// Where a replica is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Starting,
    Ready,
    NotReady,
    BackOff,
}

/// What is known of a version's replicas.
#[derive(Debug, Default)]
pub(super) struct VersionState {
    phases: BTreeMap<ReplicaId, Phase>,
    wanted: u32,
    needed: u32,
    reason: String,
    was_ready: bool,
    failures: u32,
}

impl VersionState {
    fn new(wanted: u32, needed: u32) -> Self {
        Self {
            wanted,
            needed,
            ..Self::default()
        }
    }

    fn count(&self, phase: Phase) -> u32 {
        let count = self.phases.values().filter(|one| **one == phase).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// Takes one piece of news. Tells whether it is worth an event.
    fn take(&mut self, event: &ReplicaEvent) -> Option<&'static str> {
        let id = event.id().clone();
        match event {
            ReplicaEvent::Starting { .. } => {
                self.phases.insert(id, Phase::Starting);
                None
            }
            ReplicaEvent::Ready { .. } => {
                self.phases.insert(id, Phase::Ready);
                self.was_ready = true;
                self.failures = 0;
                self.reason.clear();
                Some("ReplicaReady")
            }
            ReplicaEvent::NotReady { reason, .. } => {
                self.phases.insert(id, Phase::NotReady);
                self.reason.clone_from(reason);
                Some("ReplicaNotReady")
            }
            ReplicaEvent::NotYet { reason, .. } => {
                // Why it failed before says more than what it is waited for now.
                if self.failures == 0 {
                    self.reason.clone_from(reason);
                }
                None
            }
            ReplicaEvent::Exited { reason, .. } => {
                self.phases.insert(id, Phase::BackOff);
                self.reason.clone_from(reason);
                Some("ReplicaExited")
            }
            // Counted here: it also comes where nothing could be started.
            ReplicaEvent::BackOff { reason, .. } => {
                self.phases.insert(id, Phase::BackOff);
                self.failures = self.failures.saturating_add(1);
                self.reason.clone_from(reason);
                None
            }
            ReplicaEvent::Stopped { .. } => {
                self.phases.remove(&id);
                None
            }
        }
    }

    /// State and reason, in words.
    fn state(&self) -> (State, String) {
        let ready = self.count(Phase::Ready);
        if ready >= self.needed {
            return (State::Healthy, String::new());
        }
        let so_far = format!("{ready} of {} replicas ready", self.needed);
        let reason = if self.reason.is_empty() {
            so_far
        } else {
            format!("{so_far}: {}", self.reason)
        };
        let state = if ready > 0 {
            State::Transitioning
        } else if self.failures >= FAILURES_MAX {
            State::Failed
        } else if self.was_ready {
            State::Unhealthy
        } else {
            State::Transitioning
        };
        (state, reason)
    }
}

impl RunningVersion {
    /// What status shows; `traffic` in hundredths of a percent.
    pub(super) fn status(&self, traffic: u32) -> VersionStatus {
        let state = self.state.lock();
        let (word, reason) = state.state();
        let counts = self.fleet.counts();
        VersionStatus {
            name: self.spec.name.clone(),
            state: word,
            reason,
            traffic: f64::from(traffic) / 100.0,
            replicas: ReplicaCounts {
                wanted: state.wanted,
                ready: counts.ready,
                starting: state.count(Phase::Starting),
                draining: counts.draining,
            },
        }
    }

    fn take(&self, event: &ReplicaEvent) -> Option<&'static str> {
        let (told, starting, reason) = {
            let mut state = self.state.lock();
            let told = state.take(event);
            (told, state.count(Phase::Starting), state.reason.clone())
        };
        // Said before the fleet changes, so that a waiter that is told "no
        // replica" is told why.
        self.fleet.set_reason(reason);
        match event {
            ReplicaEvent::Starting { id, address } => {
                self.fleet.set_starting(starting);
                self.fleet.add(id.clone(), *address);
            }
            ReplicaEvent::Ready { id } => {
                self.fleet.set_ready(id, true);
                self.fleet.set_starting(starting);
            }
            ReplicaEvent::NotReady { id, .. } => {
                self.fleet.set_ready(id, false);
                self.fleet.set_starting(starting);
            }
            ReplicaEvent::Exited { id, .. } | ReplicaEvent::Stopped { id } => {
                self.fleet.remove(id);
                self.fleet.set_starting(starting);
            }
            ReplicaEvent::NotYet { .. } => {}
            ReplicaEvent::BackOff { .. } => self.fleet.set_starting(starting),
        }
        told
    }
}

fn settings(endpoint: &Name, version: &Version) -> FleetSettings {
    let mut settings = FleetSettings::new(
        endpoint.clone(),
        version.name.clone(),
        version.max_concurrent_requests,
        version.queue_capacity,
        version.max_queue_wait,
    );
    settings.replicas_max = match &version.scale {
        Scale::Fixed(replicas) => *replicas,
        Scale::Auto(autoscale) => autoscale.max_replicas,
    };
    settings
}

impl Control {
    /// Makes a version's fleet and starts its replicas.
    pub(super) fn start_version(
        self: &Arc<Self>,
        endpoint: &Name,
        version: &Version,
    ) -> Arc<RunningVersion> {
        let wanted = match &version.scale {
            Scale::Fixed(replicas) => *replicas,
            // The scaler comes with issue 4; until then the fewest are the count.
            Scale::Auto(autoscale) => autoscale.min_replicas,
        };
        let fleet = Fleet::new(settings(endpoint, version), &self.metrics);
        fleet.set_wanted(wanted);
        fleet.set_starting(wanted);
        let spec = Arc::new(version.clone());
        let metrics = ExchangeMetrics::new(&self.metrics, endpoint.as_str(), version.name.as_str());
        let running = Arc::new(RunningVersion {
            spec: Arc::clone(&spec),
            metrics: Arc::new(metrics),
            state: Mutex::new(VersionState::new(wanted, wanted)),
            fleet: Arc::clone(&fleet),
        });
        let busy = move |id: &ReplicaId| {
            fleet
                .replicas()
                .iter()
                .any(|replica| replica.id == *id && replica.busy > 0)
        };
        let (replicas, news) = self.machine.start(
            ReplicasSpec {
                endpoint: endpoint.clone(),
                version: spec,
                busy: Arc::new(busy),
            },
            wanted,
        );
        let object = format!("endpoint/{endpoint}");
        let task = Arc::clone(self).follow(object, Arc::clone(&running), replicas, news);
        drop(self.tasks.spawn(task));
        running
    }

    /// Follows a version's replicas until the gateway stops; then stops them.
    async fn follow(
        self: Arc<Self>,
        object: String,
        version: Arc<RunningVersion>,
        replicas: Replicas,
        mut news: mpsc::Receiver<ReplicaEvent>,
    ) {
        loop {
            let event = tokio::select! {
                event = news.recv() => event,
                () = self.tasks.stopped() => None,
            };
            let Some(event) = event else { break };
            if let Some(kind) = version.take(&event) {
                let reason = match &event {
                    ReplicaEvent::Exited { reason, .. } | ReplicaEvent::NotReady { reason, .. } => {
                        format!("{}: {reason}", event.id())
                    }
                    _ => event.id().to_string(),
                };
                self.events.tell(kind, &object, &reason);
            }
        }
        // The channel is drained beside, or a replica would wait with its news.
        let drain = async { while news.recv().await.is_some() {} };
        tokio::select! {
            () = replicas.stop_all() => {}
            () = drain => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn id() -> ReplicaId {
        ReplicaId::new(&Name::parse("blue").unwrap(), 1)
    }

    fn exited() -> ReplicaEvent {
        ReplicaEvent::Exited {
            id: id(),
            reason: "exit 3: no module".to_owned(),
        }
    }

    #[test]
    fn a_version_is_healthy_when_its_replicas_are_ready() {
        let mut state = VersionState::new(1, 1);
        assert_eq!(state.state().0, State::Transitioning);
        state.take(&ReplicaEvent::Ready { id: id() });
        assert_eq!(state.state(), (State::Healthy, String::new()));
        state.take(&ReplicaEvent::NotReady {
            id: id(),
            reason: "no answer".to_owned(),
        });
        assert_eq!(state.state().0, State::Unhealthy);
    }

    #[test]
    fn a_version_that_keeps_exiting_is_failed_and_says_why() {
        let mut state = VersionState::new(1, 1);
        for _ in 0..FAILURES_MAX {
            assert_eq!(state.state().0, State::Transitioning);
            state.take(&exited());
            state.take(&ReplicaEvent::BackOff {
                id: id(),
                reason: "exit 3: no module".to_owned(),
                wait: Duration::from_millis(100),
            });
        }
        let (word, reason) = state.state();
        assert_eq!(word, State::Failed);
        assert_eq!(reason, "0 of 1 replicas ready: exit 3: no module");
    }

    #[test]
    fn a_version_of_no_replicas_is_healthy() {
        assert_eq!(VersionState::new(0, 0).state().0, State::Healthy);
    }
}
