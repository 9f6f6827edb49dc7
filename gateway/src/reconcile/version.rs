//! One version: its replicas' news into its fleet, and its state in words.
//!
//! Never starts or stops a replica (`scaling` does) and never touches the table:
//! a replica that comes or goes does not change an entry. Used by `reconcile`.

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::watch;

use super::RunningVersion;
use super::status::{ReplicaCounts, State};
use crate::id::ReplicaId;
use crate::runtime::ReplicaEvent;

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
    /// It finishes what it has and is stopped then.
    Draining,
}

/// Why a replica is not ready.
#[derive(Debug)]
struct Why {
    /// It ended or stopped answering; else it only has not answered yet.
    failed: bool,
    text: String,
}

/// What is known of a version's replicas.
#[derive(Debug)]
pub(super) struct VersionState {
    phases: BTreeMap<ReplicaId, Phase>,
    /// Those that were ordered and are to stay, told of or not yet.
    places: BTreeSet<ReplicaId>,
    wanted: u32,
    needed: u32,
    /// Of those that are not ready.
    reasons: BTreeMap<ReplicaId, Why>,
    /// Of the last that was stopped before it was ready.
    last_reason: String,
    was_ready: bool,
    failures: u32,
    told: watch::Sender<State>,
}

impl VersionState {
    pub(super) fn new(wanted: u32) -> Self {
        let mut new = Self {
            phases: BTreeMap::new(),
            places: BTreeSet::new(),
            wanted,
            needed: wanted,
            reasons: BTreeMap::new(),
            last_reason: String::new(),
            was_ready: false,
            failures: 0,
            told: watch::channel(State::Transitioning).0,
        };
        new.tell();
        new
    }

    /// The state, and each later one.
    pub(super) fn watch(&self) -> watch::Receiver<State> {
        self.told.subscribe()
    }

    fn tell(&mut self) {
        let (state, _) = self.state();
        self.told
            .send_if_modified(|told| std::mem::replace(told, state) != state);
    }

    /// How many there should be.
    pub(super) fn wanted(&self) -> u32 {
        self.wanted
    }

    /// How many make the version healthy, from now on.
    pub(super) fn need(&mut self, needed: u32) {
        self.needed = needed;
        self.tell();
    }

    /// Replicas that are started and wait for their next attempt.
    pub(super) fn failing(&self) -> u32 {
        self.count(Phase::BackOff)
    }

    /// These were ordered and are to stay; no news of them need have come yet.
    pub(super) fn place(&mut self, ids: Vec<ReplicaId>) {
        self.places = ids.into_iter().collect();
    }

    /// Replicas on their way to their first answer, from the order on.
    pub(super) fn starting(&self) -> u32 {
        // A place of the name of one whose end was not told yet is a new one.
        let starts = |id: &&ReplicaId| {
            matches!(
                self.phases.get(*id),
                None | Some(Phase::Starting | Phase::Draining)
            )
        };
        u32::try_from(self.places.iter().filter(starts).count()).unwrap_or(u32::MAX)
    }

    /// How many there should be, from now on.
    pub(super) fn want(&mut self, wanted: u32) {
        self.wanted = wanted;
    }

    /// Whom to take out so that `wanted` stay: those that do not answer before
    /// those that do, then the least busy, then the youngest. They are draining
    /// from now on.
    pub(super) fn take_out(
        &mut self,
        wanted: u32,
        busy: impl Fn(&ReplicaId) -> u32,
    ) -> Vec<ReplicaId> {
        let mut staying: Vec<(bool, u32, ReplicaId)> = self
            .places
            .iter()
            .map(|id| {
                let ready = self.phases.get(id) == Some(&Phase::Ready);
                (ready, busy(id), id.clone())
            })
            .collect();
        staying.sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)).then_with(|| b.2.cmp(&a.2)));
        let out = staying.len().saturating_sub(wanted as usize);
        let leaving: Vec<ReplicaId> = staying.into_iter().take(out).map(|one| one.2).collect();
        for id in &leaving {
            self.places.remove(id);
            self.phases.insert(id.clone(), Phase::Draining);
        }
        leaving
    }

    fn count(&self, phase: Phase) -> u32 {
        let count = self.phases.values().filter(|one| **one == phase).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// Takes one piece of news. Tells whether it is worth an event.
    fn take(&mut self, event: &ReplicaEvent) -> Option<&'static str> {
        let told = self.note(event);
        self.tell();
        told
    }

    fn note(&mut self, event: &ReplicaEvent) -> Option<&'static str> {
        let id = event.id().clone();
        let leaving = self.phases.get(&id) == Some(&Phase::Draining);
        match event {
            ReplicaEvent::Stopped { .. } => {
                self.phases.remove(&id);
                if let Some(why) = self.reasons.remove(&id) {
                    self.last_reason = why.text;
                }
                None
            }
            // Whatever else becomes of it, it is on its way out.
            _ if leaving => None,
            ReplicaEvent::Starting { .. } => {
                self.phases.insert(id, Phase::Starting);
                None
            }
            ReplicaEvent::Ready { .. } => {
                self.reasons.remove(&id);
                self.last_reason.clear();
                self.phases.insert(id, Phase::Ready);
                self.was_ready = true;
                self.failures = 0;
                Some("ReplicaReady")
            }
            ReplicaEvent::NotReady { reason, .. } => {
                self.say_why(&id, true, reason);
                self.phases.insert(id, Phase::NotReady);
                Some("ReplicaNotReady")
            }
            ReplicaEvent::NotYet { reason, .. } => {
                self.say_why(&id, false, reason);
                None
            }
            ReplicaEvent::Exited { reason, .. } => {
                self.say_why(&id, true, reason);
                self.phases.insert(id, Phase::BackOff);
                Some("ReplicaExited")
            }
            // Counted here: it also comes where nothing could be started.
            ReplicaEvent::BackOff { reason, .. } => {
                self.say_why(&id, true, reason);
                self.phases.insert(id, Phase::BackOff);
                self.failures = self.failures.saturating_add(1);
                None
            }
        }
    }

    /// Why it failed before says more than what it is waited for now.
    fn say_why(&mut self, id: &ReplicaId, failed: bool, reason: &str) {
        if failed || !self.reasons.get(id).is_some_and(|why| why.failed) {
            let text = reason.to_owned();
            self.reasons.insert(id.clone(), Why { failed, text });
        }
    }

    /// Why one of the replicas is not ready; empty where none said.
    fn reason(&self) -> &str {
        let worst = self.reasons.values().max_by_key(|why| why.failed);
        worst.map_or(&self.last_reason, |why| &why.text)
    }

    /// State and reason, in words.
    pub(super) fn state(&self) -> (State, String) {
        let ready = self.count(Phase::Ready);
        // Scaled to none it is well, unless its last start failed.
        let cannot_start = self.needed == 0 && ready == 0 && self.failures > 0;
        if ready >= self.needed && !cannot_start {
            return (State::Healthy, self.short_of());
        }
        let so_far = format!("{ready} of {} replicas ready", self.needed.max(1));
        let reason = if self.reason().is_empty() {
            so_far
        } else {
            format!("{so_far}: {}", self.reason())
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

    /// Why a healthy version has fewer replicas than its load needs; nothing
    /// where none of them fails.
    fn short_of(&self) -> String {
        if self.failing() == 0 || self.reason().is_empty() {
            return String::new();
        }
        let ready = self.count(Phase::Ready);
        format!(
            "{ready} of {} wanted replicas ready: {}",
            self.wanted,
            self.reason()
        )
    }
}

impl RunningVersion {
    /// These replicas were ordered and are to stay.
    pub(super) fn place(&self, ids: Vec<ReplicaId>) {
        let starting = {
            let mut state = self.state.lock();
            state.place(ids);
            state.starting()
        };
        self.fleet.set_starting(starting);
    }

    /// Its replicas, as status shows them.
    pub(super) fn counts(&self) -> ReplicaCounts {
        let wanted = self.state.lock().wanted;
        let counts = self.fleet.counts();
        ReplicaCounts {
            wanted,
            ready: counts.ready,
            starting: counts.starting,
            draining: counts.draining,
        }
    }

    /// Takes one piece of news into the state and the fleet. Tells whether it is
    /// worth an event.
    pub(super) fn take(&self, event: &ReplicaEvent) -> Option<&'static str> {
        let (told, starting, reason, leaving) = {
            let mut state = self.state.lock();
            let leaving = state.phases.get(event.id()) == Some(&Phase::Draining);
            let told = state.take(event);
            (told, state.starting(), state.reason().to_owned(), leaving)
        };
        // Said before the fleet changes, so that a waiter that is told "no
        // replica" is told why.
        self.fleet.set_reason(reason);
        match event {
            ReplicaEvent::Starting { .. } | ReplicaEvent::Ready { .. } if leaving => {}
            ReplicaEvent::Starting { id, address, tls } => {
                self.fleet.set_starting(starting);
                self.fleet.add_secure(id.clone(), *address, tls.clone());
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::name::Name;

    #[test]
    fn those_that_do_not_answer_go_first_then_the_least_busy_then_the_youngest() {
        let blue = Name::parse("blue").unwrap();
        let ids: Vec<ReplicaId> = (1..=4).map(|n| ReplicaId::new(&blue, n)).collect();
        let mut state = VersionState::new(1);
        state.place(ids.clone());
        for id in &ids[..3] {
            state.take(&ReplicaEvent::Ready { id: id.clone() });
        }
        // Of the fourth there is no news yet.
        assert_eq!(state.starting(), 1);
        let busy = |id: &ReplicaId| u32::from(*id == ids[1]);
        let out = state.take_out(1, busy);
        assert_eq!(out, [ids[3].clone(), ids[2].clone(), ids[0].clone()]);
        assert_eq!((state.count(Phase::Draining), state.starting()), (3, 0));
        assert!(state.take_out(1, busy).is_empty());
        // News of one that leaves does not bring it back.
        state.take(&ReplicaEvent::Ready { id: ids[3].clone() });
        assert_eq!(state.count(Phase::Draining), 3);
        // A new one of its name is starting, whatever is told of the old one.
        state.place(vec![ids[1].clone(), ids[3].clone()]);
        assert_eq!(state.starting(), 1);
        state.take(&ReplicaEvent::Stopped { id: ids[3].clone() });
        assert_eq!((state.count(Phase::Draining), state.starting()), (2, 1));
    }

    #[test]
    fn a_version_of_none_that_cannot_start_is_failed_and_says_why() {
        let mut state = VersionState::new(0);
        for _ in 0..FAILURES_MAX {
            state.take(&exited());
            state.take(&ReplicaEvent::BackOff {
                id: id(),
                reason: "exit 3: no module".to_owned(),
                wait: Duration::from_millis(100),
            });
        }
        let failed = "0 of 1 replicas ready: exit 3: no module".to_owned();
        assert_eq!(state.state(), (State::Failed, failed));
        state.take(&ReplicaEvent::Ready { id: id() });
        assert_eq!(state.state(), (State::Healthy, String::new()));
    }

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
        let mut state = VersionState::new(1);
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
        let mut state = VersionState::new(1);
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
    fn one_that_becomes_ready_does_not_hide_why_another_is_not() {
        let mut state = VersionState::new(2);
        state.take(&ReplicaEvent::NotYet {
            id: ReplicaId::new(&Name::parse("blue").unwrap(), 2),
            reason: "refused".to_owned(),
        });
        state.take(&ReplicaEvent::Ready { id: id() });
        let reason = "1 of 2 replicas ready: refused".to_owned();
        assert_eq!(state.state(), (State::Transitioning, reason));
    }

    #[test]
    fn a_version_of_no_replicas_is_healthy() {
        assert_eq!(VersionState::new(0).state().0, State::Healthy);
    }
}
