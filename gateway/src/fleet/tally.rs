//! Counts of what became of one replica's requests, by the exchanges themselves.
//!
//! Never judges: `breaker` says what they mean, `runtime` asks. Used by `slot`.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::Fleet;
use crate::breaker::Conduct;
use crate::id::ReplicaId;

/// Counts of one replica; each wraps.
#[derive(Debug, Default)]
pub(super) struct Tally {
    answered: AtomicU32,
    unanswered: AtomicU32,
    left: AtomicU32,
}

impl Tally {
    /// The head of an answer came.
    pub(super) fn answered(&self) {
        self.answered.fetch_add(1, Relaxed);
    }

    /// None came in time, or the connection failed.
    pub(super) fn failed(&self) {
        self.unanswered.fetch_add(1, Relaxed);
    }

    /// The caller left before either.
    pub(super) fn left(&self) {
        self.left.fetch_add(1, Relaxed);
    }
}

impl Fleet {
    /// What became of a replica's requests; nothing where it is not known.
    #[must_use]
    pub fn conduct(&self, id: &ReplicaId) -> Conduct {
        let mut state = self.state.lock();
        let Some(replica) = state.known(id).map(|known| known.replica.clone()) else {
            return Conduct::default();
        };
        Conduct {
            busy: state.roster.busy(replica.key).unwrap_or(0),
            answered: replica.tally.answered.load(Relaxed),
            unanswered: replica.tally.unanswered.load(Relaxed),
            left: replica.tally.left.load(Relaxed),
        }
    }
}
