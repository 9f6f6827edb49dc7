//! What goes in and out of a roster: its rules, a seat, the answers to those
//! who ask, and its sums.
//!
//! Types only; they decide nothing. Used by `roster`, `Fleet` and the simulation.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use crate::queue::Ticket;

/// What a roster goes by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Requests one replica runs at once.
    pub slots: NonZeroU32,
    /// How many may wait.
    pub queue_capacity: usize,
    /// How long one may wait.
    pub max_queue_wait: Duration,
    /// How long one may wait where its coming starts the first replica; none:
    /// requests start nothing.
    pub cold_start_wait: Option<Duration>,
    /// How long a fresh replica gets less than its share; zero: not at all.
    pub warm_up: Duration,
    /// The most replicas there can be; with fewer, waiting may end sooner than
    /// the past says, and nobody is told early.
    pub replicas_max: u32,
}

/// A try after one that failed; `R` names a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Again<R> {
    /// The replica of that one; another is asked.
    pub not: R,
    /// How long that one waited: so much less may this one.
    pub waited: Duration,
}

impl<R> Again<R> {
    /// After a try on `not` that had waited so long for its slot.
    #[must_use]
    pub const fn after(not: R, waited: Duration) -> Self {
        Self { not, waited }
    }
}

/// A slot of a replica, held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seat {
    /// The replica.
    pub key: u32,
    pub(super) life: u32,
    pub(super) since: Instant,
}

impl Seat {
    /// For how long it was held by `now`.
    #[must_use]
    pub fn held(&self, now: Instant) -> Duration {
        now.duration_since(self.since)
    }
}

/// Why there is no slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The queue is full, or the wait is over or would be in vain.
    Overloaded {
        /// How many wait.
        queued: usize,
        /// When trying again may help.
        retry_after: Option<Duration>,
    },
    /// None is ready and none is being started.
    NoReplica,
}

/// The answer to one who asks for a slot.
#[derive(Debug)]
pub enum Asked {
    /// Here it is.
    Seat(Seat),
    /// It waits, until then at the longest.
    Waits {
        /// Its ticket.
        ticket: Ticket,
        /// Its deadline.
        until: Instant,
    },
    /// Refused.
    Refused(Refusal),
}

/// What became of one who waited.
#[derive(Debug)]
pub struct Handed<W> {
    /// Who.
    pub who: W,
    /// How long it waited.
    pub waited: Duration,
    /// What it gets.
    pub what: Result<Seat, Refusal>,
}

/// Sums over a roster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sums {
    /// Requests that run.
    pub busy: u32,
    /// Those of them on replicas that are leaving.
    pub leaving: u32,
    /// Requests that wait.
    pub queued: u32,
    /// Slots of ready replicas.
    pub slots: u32,
    /// Those of them that are free.
    pub free: u32,
    /// Ready replicas.
    pub ready: u32,
    /// Replicas that are leaving.
    pub draining: u32,
    /// Ready replicas that are ejected.
    pub ejected: u32,
}
