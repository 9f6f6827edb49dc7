//! What a fleet's lock protects.
//!
//! Never held across an await; never drops a slot, which would take the lock
//! again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::figures::Recent;
use super::load::Load;
use super::roster::{Refusal, Roster};
use super::slot::Sender;
use super::{Counts, Fleet, FleetSettings, Replica, now};
use crate::fault::Fault;
use crate::id::ReplicaId;

#[derive(Debug)]
pub(super) struct State {
    pub(super) settings: FleetSettings,
    pub(super) roster: Roster<Sender>,
    /// By the roster's keys.
    pub(super) replicas: Vec<Option<Known>>,
    pub(super) reason: String,
    /// When a replica is started again next, where one waits for that.
    pub(super) next_start: Option<Instant>,
    pub(super) wanted: u32,
    pub(super) starting: u32,
    pub(super) arrived: u64,
    /// Slots that copies of other versions' exchanges hold.
    pub(super) copies: u32,
    pub(super) load: Load,
    pub(super) recent: Recent,
    pub(super) shown: Counts,
}

#[derive(Debug)]
pub(super) struct Known {
    pub(super) replica: Arc<Replica>,
    pub(super) ready: bool,
    pub(super) draining: bool,
}

impl State {
    pub(super) fn known(&mut self, id: &ReplicaId) -> Option<&mut Known> {
        self.replicas
            .iter_mut()
            .flatten()
            .find(|known| known.replica.id == *id)
    }

    pub(super) fn counts(&self) -> Counts {
        let sums = self.roster.sums();
        Counts {
            busy: sums.busy - sums.leaving,
            queued: sums.queued,
            slots: sums.slots,
            free: sums.free,
            ready: sums.ready,
            starting: self.starting,
            draining: sums.draining,
            ejected: sums.ejected,
            wanted: self.wanted,
            arrived: self.arrived,
        }
    }

    pub(super) fn took(&mut self, now: Instant) {
        let sums = self.roster.sums();
        self.load.at(now, self.arrived, sums.busy, sums.queued);
    }

    /// How long until a replica is started again; none where none is about to be.
    fn start_in(&self, now: Instant) -> Option<Duration> {
        let left = self.next_start?.duration_since(now);
        (self.starting == 0 && !left.is_zero()).then_some(left)
    }

    pub(super) fn fault(&self, refusal: Refusal, waited: Duration) -> Fault {
        let endpoint = self.settings.endpoint.clone();
        match refusal {
            Refusal::Overloaded {
                queued,
                retry_after,
            } => Fault::Overloaded {
                endpoint,
                waited,
                queued,
                retry_after,
            },
            Refusal::NoReplica => Fault::NoReplica {
                endpoint,
                reason: self.reason.clone(),
                retry_after: self.start_in(now()),
            },
        }
    }
}

impl Fleet {
    /// A replica is started again after this wait. Who finds none ready meanwhile
    /// is told to come back then, at the first of such starts.
    pub fn backs_off(&self, wait: Duration) {
        let (now, mut state) = (now(), self.state.lock());
        let before = state.next_start.filter(|next| *next > now);
        let next = now + wait;
        state.next_start = Some(before.map_or(next, |before| before.min(next)));
    }
}
