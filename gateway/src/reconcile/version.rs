//! One version: its replicas' news into its fleet, and its state in words.
//!
//! Never starts or stops a replica (`scaling` does) and never touches the table:
//! a replica that comes or goes does not change an entry. Used by `reconcile`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::RunningVersion;
use super::status::{ReplicaCounts, State};
use crate::id::ReplicaId;
use crate::runtime::ReplicaEvent;

/// Ends of a replica in a row, none ready between, after which the version
/// counts as failed: two may be a slow disk or a port that was taken.
const FAILURES_MAX: u32 = 3;

/// How long there may be no room for a replica before its version counts as failed.
const NO_ROOM_MAX: Duration = Duration::from_secs(5 * 60);

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
    /// Since when there has been no room for it; none: that is not why.
    no_room: Option<Instant>,
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
        // Of none wanted one more is no loss: its first start is still to come.
        let here = |phase: &Phase| !matches!(phase, Phase::Starting | Phase::Draining);
        if self.needed == 0 && needed > 0 && !self.phases.values().any(here) {
            self.was_ready = false;
        }
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
                if let Some(why) = self.reasons.get_mut(&id) {
                    why.no_room = None;
                }
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
            ReplicaEvent::BackOff {
                reason, no_room, ..
            } if *no_room => {
                let since = self.reasons.get(&id).and_then(|why| why.no_room);
                self.say_why(&id, true, reason);
                if let Some(why) = self.reasons.get_mut(&id) {
                    why.no_room = since.or_else(|| Some(Instant::now()));
                }
                self.phases.insert(id, Phase::BackOff);
                None
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
            let why = Why {
                failed,
                no_room: None,
                text: reason.to_owned(),
            };
            self.reasons.insert(id.clone(), why);
        }
    }

    /// Whether a replica said why it is not ready.
    pub(super) fn has_reason(&self) -> bool {
        !self.reason().is_empty()
    }

    /// Why one of the replicas is not ready; empty where none said.
    fn reason(&self) -> &str {
        let worst = self.reasons.values().max_by_key(|why| why.failed);
        worst.map_or(&self.last_reason, |why| &why.text)
    }

    /// State and reason, in words.
    pub(super) fn state(&self) -> (State, String) {
        let ready = self.count(Phase::Ready);
        let no_room = self.reasons.values().filter_map(|why| why.no_room).min();
        // Scaled to none it is well, unless its last start failed.
        let failing = self.failures > 0 || no_room.is_some();
        let cannot_start = self.needed == 0 && ready == 0 && failing;
        if ready >= self.needed && !cannot_start {
            return (State::Healthy, self.short_of());
        }
        let so_far = format!("{ready} of {} replicas ready", self.needed.max(1));
        let reason = if self.reason().is_empty() {
            so_far
        } else {
            format!("{so_far}: {}", self.reason())
        };
        let state = if let Some(since) = no_room {
            if since.elapsed() >= NO_ROOM_MAX {
                return (
                    State::Failed,
                    format!("{reason}; so it has been for 5 minutes"),
                );
            }
            State::Unschedulable
        } else if ready > 0 {
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
            ejected: counts.ejected,
        }
    }

    /// The names of the replicas that are ejected, of which there are so many.
    pub(super) fn ejected(&self, counts: ReplicaCounts) -> Vec<String> {
        if counts.ejected == 0 {
            return Vec::new();
        }
        let ejected = self.fleet.replicas().into_iter().filter(|one| one.ejected);
        ejected.map(|one| one.id.to_string()).collect()
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
            ReplicaEvent::BackOff { wait, .. } => {
                self.fleet.backs_off(*wait);
                self.fleet.set_starting(starting);
            }
        }
        told
    }
}

#[cfg(test)]
mod tests;
