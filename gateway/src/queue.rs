//! Requests that wait for a slot: in arrival order, bounded, each with the
//! instant until which it waits.
//!
//! Pure: time is an argument. Never reorders, never holds more than its
//! capacity, never keeps one past its deadline that it is asked about. Called
//! by `fleet`'s roster.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The name of a waiting request in its queue; later ones are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// One waiting request.
#[derive(Debug)]
pub struct Waiting<W> {
    /// Its name.
    pub ticket: Ticket,
    /// When it came.
    pub since: Instant,
    /// Until when it waits.
    pub until: Instant,
    /// What its owner put with it.
    pub who: W,
}

/// The queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// The queue of one version.
#[derive(Debug)]
pub struct Queue<W> {
    next: u64,
    line: VecDeque<Waiting<W>>,
}

impl<W> Default for Queue<W> {
    fn default() -> Self {
        Self {
            next: 0,
            line: VecDeque::new(),
        }
    }
}

impl<W> Queue<W> {
    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.line.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.line.is_empty()
    }

    /// Puts one at the end.
    ///
    /// # Errors
    ///
    /// [`Full`] where `capacity` wait already.
    pub fn join(
        &mut self,
        capacity: usize,
        since: Instant,
        until: Instant,
        who: W,
    ) -> Result<Ticket, Full> {
        if self.line.len() >= capacity {
            return Err(Full);
        }
        let ticket = Ticket(self.next);
        self.next += 1;
        self.line.push_back(Waiting {
            ticket,
            since,
            until,
            who,
        });
        Ok(ticket)
    }

    /// The one at `place`, 0 the longest waiting.
    #[must_use]
    pub fn peek(&self, place: usize) -> Option<&Waiting<W>> {
        self.line.get(place)
    }

    /// Takes out the one at `place`.
    pub fn take(&mut self, place: usize) -> Option<Waiting<W>> {
        if place == 0 {
            self.line.pop_front()
        } else {
            self.line.remove(place)
        }
    }

    /// Takes out the one of this ticket; none where it has left already.
    pub fn leave(&mut self, ticket: Ticket) -> Option<Waiting<W>> {
        // Tickets grow from front to back, so that the place is found by halving.
        let place = self
            .line
            .binary_search_by(|waiting| waiting.ticket.cmp(&ticket))
            .ok()?;
        self.take(place)
    }
}

/// How fast slots come back: a bounded memory of how long they were held.
///
/// Buckets are powers of √2 of a microsecond; all are halved when `MEMORY`
/// were taken, so that what was long ago fades.
#[derive(Debug, Clone)]
pub struct Pace {
    buckets: [u16; 64],
    taken: u32,
}

/// After this many the memory is halved: enough for a tenth of them to mean
/// something, few enough to follow a model that became slower.
const MEMORY: u32 = 512;
/// Below this many nothing is said.
const ENOUGH: u32 = 32;

impl Default for Pace {
    fn default() -> Self {
        Self {
            buckets: [0; 64],
            taken: 0,
        }
    }
}

impl Pace {
    /// Takes the time one slot was held.
    pub fn take(&mut self, held: Duration) {
        let us = u64::try_from(held.as_micros()).unwrap_or(u64::MAX).max(1);
        let log = us.ilog2();
        // The upper half of an octave starts at 1.5 of its power.
        let upper = log > 0 && (us >> (log - 1)) & 1 == 1;
        let bucket = (log as usize * 2 + usize::from(upper)).min(63);
        if let Some(count) = self.buckets.get_mut(bucket) {
            *count = count.saturating_add(1);
        }
        self.taken += 1;
        if self.taken >= MEMORY {
            self.taken = 0;
            for count in &mut self.buckets {
                *count /= 2;
                self.taken += u32::from(*count);
            }
        }
    }

    /// What nine of ten slots were held for at least; none while too little is
    /// known.
    #[must_use]
    pub fn fast(&self) -> Option<Duration> {
        if self.taken < ENOUGH {
            None
        } else {
            self.quantile(10)
        }
    }

    /// The time below which `percent` of the slots were held, to the lower edge
    /// of its bucket; none where none was.
    #[must_use]
    pub fn quantile(&self, percent: u32) -> Option<Duration> {
        let mut left = self.taken.saturating_mul(percent) / 100;
        for (bucket, count) in (0_u32..).zip(&self.buckets) {
            let count = u32::from(*count);
            if count > left {
                let octave = 1_u64 << (bucket / 2);
                let us = if bucket % 2 == 1 {
                    octave + octave / 2
                } else {
                    octave
                };
                return Some(Duration::from_micros(us));
            }
            left -= count;
        }
        None
    }
}

/// The wait that a request with `ahead` others before it has at the least, on
/// `slots` slots: even if every busy slot came back now, those ahead go first,
/// `slots` at a time, each for at least `fast`. Zero where nothing is known.
///
/// Used to tell a caller early that it cannot be served in time; a bound from
/// below, so that nobody is turned away who had a chance.
#[must_use]
pub fn wait_at_least(ahead: usize, slots: u64, fast: Option<Duration>) -> Duration {
    let rounds = (ahead as u64).checked_div(slots).unwrap_or(0);
    fast.unwrap_or(Duration::ZERO)
        .saturating_mul(u32::try_from(rounds).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests;
