//! Which replicas are kept from requests for a while, because their outcomes
//! stand out, and how often an exchange may be tried once more.
//!
//! - Transport errors and timeouts in a row eject a replica; so do a model's
//!   5xx in a row where its peers do not answer so. After a back-off one
//!   request at a time tries it (half open); a good answer takes it back.
//! - The head of an answer is no good answer yet: a run of broken exchanges ends
//!   where an answer came to its end, and one that was taken back by a head is
//!   out again at the first answer that breaks off before any came to its end.
//! - 429 and 503 from a model are back-pressure, not death: fewer slots for a
//!   while, and none until `Retry-After` is over.
//! - One whose connection broke gets nothing for a moment: the next of the queue
//!   would break as well where the replica is gone.
//! - 4xx never count, and at most half of a version's replicas are ejected.
//!
//! Pure: time is an argument. Never looks at a request. Called by `fleet`'s
//! roster with what `exchange` saw.

use std::time::{Duration, Instant};

mod conduct;

pub use conduct::{Conduct, Word};

/// What became of a request on a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The head of an answer came.
    Answered {
        /// Its status.
        status: u16,
        /// Its `Retry-After`, where it had one.
        retry_after: Option<Duration>,
    },
    /// The replica could not be connected to, closed, reset or answered nonsense,
    /// before the head of its answer or after it.
    TransportError,
    /// No head within `scoringTimeout`, or nothing for `streamIdleTimeout` after it.
    Timeout,
    /// The answer whose head came has come to its end.
    Ended,
}

/// Transport errors and timeouts in a row that eject: one may be chance, two
/// may be one restart seen by two requests.
pub const FAILURES_IN_A_ROW: u32 = 3;
/// A model's 5xx in a row that eject; more, because a caller can cause some.
pub const ERRORS_IN_A_ROW: u32 = 5;
/// The first ejection; each in a row is twice the one before.
pub const EJECTION_FIRST: Duration = Duration::from_secs(2);
/// The longest: one request a minute is what a dead replica may still cost.
pub const EJECTION_MAX: Duration = Duration::from_secs(60);
/// A pause after back-pressure without `Retry-After`, doubling; without any, a
/// replica that refuses at once would draw all requests, being always idle.
pub const PAUSE_FIRST: Duration = Duration::from_millis(100);
/// The longest of those.
pub const PAUSE_MAX: Duration = Duration::from_secs(5);
/// After a connection broke: a process of this machine is known to be gone long
/// before that, and a request can wait so long for one that is not.
pub const BROKEN_PAUSE: Duration = Duration::from_millis(100);
/// What is believed of a model's own `Retry-After`, so that one answer cannot
/// take a replica out for a day.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);
/// After back-pressure an eighth of the slots (at least one) comes back this often.
pub const RECOVERY_STEP: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gate {
    /// Takes requests.
    Closed,
    /// Takes none until then.
    Out { until: Instant },
    /// Takes one at a time; its answer decides.
    Trial,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    Failures,
    Errors,
}

/// Fewer slots for a while.
#[derive(Debug, Clone, Copy)]
struct Limit {
    slots: u32,
    since: Instant,
}

/// What outcomes say of one replica.
#[derive(Debug, Clone)]
pub struct Health {
    gate: Gate,
    cause: Cause,
    failures: u32,
    errors: u32,
    pressures: u32,
    ejections: u32,
    last: Duration,
    /// Since when it is well after its last ejection.
    closed_at: Option<Instant>,
    limit: Option<Limit>,
    paused: Option<Instant>,
    /// Until when it gets nothing because its connection broke.
    broken: Option<Instant>,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            gate: Gate::Closed,
            cause: Cause::Failures,
            failures: 0,
            errors: 0,
            pressures: 0,
            ejections: 0,
            last: Duration::ZERO,
            closed_at: None,
            limit: None,
            paused: None,
            broken: None,
        }
    }
}

/// What an outcome asks of the fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Keep,
    /// To eject the replica, where it can be spared.
    Eject,
    /// The same, but only where its peers do not answer so.
    EjectIfAlone,
}

impl Health {
    /// Requests the replica may run at once now, of its `slots`.
    #[must_use]
    pub fn allowed(&self, slots: u32, now: Instant) -> u32 {
        if self
            .paused
            .max(self.broken)
            .is_some_and(|until| now < until)
        {
            return 0;
        }
        match self.gate {
            Gate::Out { until } if now < until => 0,
            Gate::Out { .. } | Gate::Trial => 1,
            Gate::Closed => self.limit.map_or(slots, |limit| limit.at(slots, now)),
        }
    }

    /// Whether it is ejected and its time is not over.
    #[must_use]
    pub fn ejected(&self) -> bool {
        matches!(self.gate, Gate::Out { .. })
    }

    /// Until when it is ejected.
    #[must_use]
    pub fn ejected_until(&self) -> Option<Instant> {
        match self.gate {
            Gate::Out { until } => Some(until),
            Gate::Closed | Gate::Trial => None,
        }
    }

    /// Whether its last answer was a model's 5xx.
    #[must_use]
    pub fn erring(&self) -> bool {
        self.errors > 0
    }

    /// Whether a good answer would change anything; where not, it need not be
    /// told.
    #[must_use]
    pub fn attentive(&self) -> bool {
        self.gate != Gate::Closed || self.failures + self.errors + self.pressures > 0
    }

    /// When [`Health::allowed`] next grows by itself; none where it will not.
    #[must_use]
    pub fn due(&self, slots: u32, now: Instant) -> Option<Instant> {
        let gate = self.ejected_until();
        let limit = match (self.gate, self.limit) {
            (Gate::Closed, Some(limit)) => limit.next(slots, now),
            _ => None,
        };
        let paused = self.paused.max(self.broken).filter(|until| now < *until);
        // While it is paused nothing else can make it grow.
        paused.or(gate).or(limit)
    }

    /// Lets pass what is over by `now`.
    pub fn settle(&mut self, slots: u32, now: Instant) {
        if self.ejected_until().is_some_and(|until| now >= until) {
            self.gate = Gate::Trial;
        }
        if self.paused.is_some_and(|until| now >= until) {
            self.paused = None;
        }
        if self.broken.is_some_and(|until| now >= until) {
            self.broken = None;
        }
        if self
            .limit
            .is_some_and(|limit| limit.at(slots, now) >= slots)
        {
            self.limit = None;
        }
    }

    /// Takes an outcome; `busy` is what ran on the replica with it.
    pub fn report(&mut self, now: Instant, outcome: Outcome, slots: u32, busy: u32) -> Verdict {
        self.settle(slots, now);
        self.broken = match outcome {
            Outcome::TransportError => Some(now + BROKEN_PAUSE),
            Outcome::Timeout => self.broken,
            // It lives.
            Outcome::Answered { .. } | Outcome::Ended => None,
        };
        match outcome {
            Outcome::TransportError | Outcome::Timeout => {
                self.failures = self.failures.saturating_add(1);
                self.cause = Cause::Failures;
                let trial = self.gate == Gate::Trial;
                if trial || self.failures >= FAILURES_IN_A_ROW {
                    Verdict::Eject
                } else {
                    Verdict::Keep
                }
            }
            Outcome::Answered {
                status: 429 | 503,
                retry_after,
            } => {
                self.press(now, retry_after, slots, busy);
                Verdict::Keep
            }
            Outcome::Answered { status, .. } if status >= 500 => {
                self.errors = self.errors.saturating_add(1);
                if self.gate == Gate::Trial && self.cause == Cause::Errors {
                    return Verdict::Eject;
                }
                self.close(now);
                if self.errors >= ERRORS_IN_A_ROW {
                    Verdict::EjectIfAlone
                } else {
                    Verdict::Keep
                }
            }
            Outcome::Answered { .. } => {
                self.errors = 0;
                self.pressures = 0;
                self.close(now);
                Verdict::Keep
            }
            Outcome::Ended => {
                self.failures = 0;
                if self.gate == Gate::Closed {
                    self.closed_at.get_or_insert(now);
                }
                Verdict::Keep
            }
        }
    }

    /// The head of a trial's answer came: it takes requests again. A long answer
    /// is not waited for, but where it broke before, the next break is one too
    /// many. What answers after an ejection began was asked before it, and says
    /// nothing new.
    fn close(&mut self, now: Instant) {
        if self.gate != Gate::Trial {
            return;
        }
        self.gate = Gate::Closed;
        match self.cause {
            Cause::Failures => self.failures = FAILURES_IN_A_ROW - 1,
            Cause::Errors => self.closed_at = Some(now),
        }
    }

    /// Back-pressure: half of what runs, then none for a moment.
    fn press(&mut self, now: Instant, retry_after: Option<Duration>, slots: u32, busy: u32) {
        self.pressures = self.pressures.saturating_add(1);
        let allowed = self.limit.map_or(slots, |limit| limit.at(slots, now));
        let fewer = (allowed.min(busy.max(1)) / 2).max(1);
        self.limit = Some(Limit {
            slots: fewer,
            since: now,
        });
        let doubled = PAUSE_FIRST.saturating_mul(1_u32 << self.pressures.saturating_sub(1).min(16));
        let pause = match retry_after {
            Some(asked) => asked.min(RETRY_AFTER_MAX),
            None if fewer == 1 => doubled.min(PAUSE_MAX),
            None => return,
        };
        let until = now + pause;
        self.paused = Some(self.paused.map_or(until, |before| before.max(until)));
    }

    /// Ejects it. The caller has seen that it can be spared.
    pub fn eject(&mut self, now: Instant) {
        if self.errors >= ERRORS_IN_A_ROW {
            self.cause = Cause::Errors;
        }
        // What stayed well for as long as it was out before starts afresh.
        let well = self
            .closed_at
            .is_some_and(|since| now.duration_since(since) > self.last);
        if well && self.gate == Gate::Closed {
            self.ejections = 0;
        }
        let doubled = EJECTION_FIRST.saturating_mul(1_u32 << self.ejections.min(16));
        self.last = doubled.min(EJECTION_MAX);
        self.ejections = self.ejections.saturating_add(1);
        self.failures = 0;
        self.errors = 0;
        self.closed_at = None;
        self.gate = Gate::Out {
            until: now + self.last,
        };
    }

    /// Ends an ejection early, because it can no longer be spared: it is tried
    /// now.
    pub fn readmit(&mut self) {
        if self.ejected() {
            self.gate = Gate::Trial;
        }
    }

    /// Until when it takes nothing because the model asked for that.
    #[cfg(test)]
    fn paused_until(&self) -> Option<Instant> {
        self.paused
    }

    /// Until when it takes nothing for certain: the model asked for that, or it
    /// is ejected.
    #[must_use]
    pub fn held_until(&self) -> Option<Instant> {
        self.paused.max(self.ejected_until())
    }

    /// Whether it gets nothing because its connection broke a moment ago.
    #[must_use]
    pub fn broken(&self) -> bool {
        self.broken.is_some()
    }

    /// Ends the moment after a broken connection early, because nobody else can
    /// take what would be refused.
    pub fn trust(&mut self) {
        self.broken = None;
    }
}

impl Limit {
    fn step(slots: u32) -> u32 {
        (slots / 8).max(1)
    }

    fn at(self, slots: u32, now: Instant) -> u32 {
        let steps = now.duration_since(self.since).as_millis() / RECOVERY_STEP.as_millis();
        let grown = u32::try_from(steps)
            .unwrap_or(u32::MAX)
            .saturating_mul(Self::step(slots));
        self.slots.saturating_add(grown).min(slots)
    }

    fn next(self, slots: u32, now: Instant) -> Option<Instant> {
        if self.at(slots, now) >= slots {
            return None;
        }
        let steps = now.duration_since(self.since).as_millis() / RECOVERY_STEP.as_millis();
        let steps = u32::try_from(steps).unwrap_or(u32::MAX).saturating_add(1);
        Some(self.since + RECOVERY_STEP.saturating_mul(steps))
    }
}

/// Whether one more of `ready` replicas may be ejected, `ejected` being out:
/// never more than half, so never the only one.
#[must_use]
pub fn can_spare(ready: usize, ejected: usize) -> bool {
    (ejected + 1) * 2 <= ready
}

/// Whether a replica that errs stands out among its `others`, of which
/// `erring` err too; if half of them do, it is the model or the requests.
#[must_use]
pub fn stands_out(others: usize, erring: usize) -> bool {
    erring * 2 < others
}

/// How often exchanges may be tried once more: a tenth of them.
#[derive(Debug, Clone)]
pub struct RetryBudget {
    hundredths: u32,
}

/// What a fresh version may spend before it has earned anything.
const BUDGET_FIRST: u32 = 300;
/// What can be saved up, so that a quiet hour does not pay for a storm.
const BUDGET_MAX: u32 = 1_000;

impl Default for RetryBudget {
    fn default() -> Self {
        Self {
            hundredths: BUDGET_FIRST,
        }
    }
}

impl RetryBudget {
    /// An exchange asked for its first slot.
    pub fn earn(&mut self) {
        self.hundredths = (self.hundredths + 10).min(BUDGET_MAX);
    }

    /// Whether one may be tried once more; it is charged.
    pub fn spend(&mut self) -> bool {
        match self.hundredths.checked_sub(100) {
            Some(left) => {
                self.hundredths = left;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests;
