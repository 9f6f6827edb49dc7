//! The state of a fleet as one value: its replicas, what runs on each, and who
//! waits. Joins the rules of `balance`, `queue` and `breaker`.
//!
//! Synchronous: no lock, no await, no clock; time is an argument, chance a seed.
//! After every call nobody waits who could have a slot. `Fleet` puts it behind
//! its lock, the simulation drives it in virtual time: the same code decides in
//! both. Never runs more requests on a replica than it has slots.

use std::time::{Duration, Instant};

use crate::balance::{Balance, WARM};
use crate::breaker::{self, Health, Outcome, RetryBudget, Verdict};
use crate::queue::{self, Pace, Queue, Ticket};

mod members;

pub use super::seat::{Again, Asked, Handed, Refusal, Rules, Seat, Sums};

/// The key of a replica that is gone: one who had it tries once more like any
/// other, and every replica will do.
pub(super) const GONE: u32 = u32::MAX;

#[derive(Debug)]
struct Member {
    life: u32,
    ready: bool,
    draining: bool,
    busy: u32,
    ready_since: Option<Instant>,
    watched: bool,
    health: Health,
}

#[derive(Debug)]
struct Waiter<W> {
    not: Option<u32>,
    who: W,
}

/// See the module.
#[derive(Debug)]
pub struct Roster<W> {
    rules: Rules,
    members: Vec<Option<Member>>,
    free_keys: Vec<u32>,
    lives: u32,
    balance: Balance,
    queue: Queue<Waiter<W>>,
    pace: Pace,
    budget: RetryBudget,
    watched: Vec<u32>,
    next_due: Option<Instant>,
    sums: Sums,
    erring: usize,
    starting: u32,
    cold: bool,
    chance: u64,
}

impl<W> Roster<W> {
    /// An empty one. `seed` is where its chance comes from.
    #[must_use]
    pub fn new(rules: Rules, seed: u64) -> Self {
        Self {
            balance: Balance::new(rules.slots.get()),
            cold: rules.cold_start_wait.is_some(),
            rules,
            members: Vec::new(),
            free_keys: Vec::new(),
            lives: 0,
            queue: Queue::default(),
            pace: Pace::default(),
            budget: RetryBudget::default(),
            watched: Vec::new(),
            next_due: None,
            sums: Sums::default(),
            erring: 0,
            starting: 0,
            chance: seed,
        }
    }

    /// Sums, for the scaler and the gauges.
    #[must_use]
    pub fn sums(&self) -> Sums {
        Sums {
            queued: u32::try_from(self.queue.len()).unwrap_or(u32::MAX),
            ..self.sums
        }
    }

    /// How long slots were held lately.
    #[must_use]
    pub fn pace(&self) -> &Pace {
        &self.pace
    }

    /// Whether a request could be answered: one is ready or being started, or
    /// the request would start one.
    #[must_use]
    pub fn can_answer(&self) -> bool {
        self.sums.ready > 0 || self.starting > 0 || self.cold
    }

    /// Whether its version keeps its share of the traffic: one is ready, or a
    /// request would start one. A request may wait for one that is only being
    /// started, but others that are ready have the traffic until then.
    #[must_use]
    pub fn takes_share(&self) -> bool {
        self.sums.ready > 0 || self.cold
    }

    /// Whether somebody waits and nothing is ready or being started, so that
    /// the first replica should be.
    #[must_use]
    pub fn wants_start(&self) -> bool {
        !self.queue.is_empty() && self.sums.ready == 0 && self.starting == 0
    }

    /// Requests of this replica that run; none where it is not known.
    #[must_use]
    pub fn busy(&self, key: u32) -> Option<u32> {
        self.member(key).map(|member| member.busy)
    }

    /// Whether this replica is ejected.
    #[must_use]
    pub fn is_ejected(&self, key: u32) -> bool {
        self.member(key)
            .is_some_and(|member| member.health.ejected())
    }

    /// Whether a good answer of this replica has to be told at once.
    #[must_use]
    pub fn is_attentive(&self, key: u32) -> bool {
        self.member(key)
            .is_some_and(|member| member.health.attentive())
    }

    fn member(&self, key: u32) -> Option<&Member> {
        self.members.get(key as usize).and_then(Option::as_ref)
    }

    /// Asks for a slot. One who tries once more is charged to the retry budget,
    /// gets another replica, and waits only for what is left of one wait. `who`
    /// is made where it has to wait.
    pub fn ask(
        &mut self,
        now: Instant,
        again: Option<Again<u32>>,
        who: impl FnOnce() -> W,
    ) -> (Asked, Vec<Handed<W>>) {
        let mut handed = self.settle(now);
        let not = again.map(|again| again.not);
        if not.is_none() {
            self.budget.earn();
        } else if (self.others(not) == 0 && self.starting == 0) || !self.budget.spend() {
            return (Asked::Refused(Refusal::NoReplica), handed);
        }
        let mut key = self.pick(now, not);
        if key.is_none() && not.is_none() && self.would_refuse_for_a_break(now) {
            handed.extend(self.trust_all(now));
            key = self.pick(now, not);
        }
        let asked = match key {
            Some(key) => Asked::Seat(self.charge(now, key)),
            None => self.wait(now, again, who),
        };
        (asked, handed)
    }

    /// A slot that nobody needs at the moment: none waits, and more than `leave`
    /// are free. Never waits and starts nothing.
    pub fn spare(&mut self, now: Instant, leave: u32) -> Option<Seat> {
        if !self.queue.is_empty() || self.sums.free <= leave {
            return None;
        }
        let key = self.pick(now, None)?;
        Some(self.charge(now, key))
    }

    /// Ready replicas other than `not`.
    fn others(&self, not: Option<u32>) -> u32 {
        let is_ready = |member: &Member| member.ready && !member.draining;
        let excluded = not.and_then(|key| self.member(key)).is_some_and(is_ready);
        self.sums.ready - u32::from(excluded)
    }

    fn wait(&mut self, now: Instant, again: Option<Again<u32>>, who: impl FnOnce() -> W) -> Asked {
        if !self.can_answer() {
            return Asked::Refused(Refusal::NoReplica);
        }
        let queued = self.queue.len();
        let waited = again.map_or(Duration::ZERO, |again| again.waited);
        let patience = self.patience().saturating_sub(waited);
        let least = self.wait_at_least(now, queued);
        let full = queued >= self.rules.queue_capacity;
        if full || patience.is_zero() || least > patience {
            return self.overloaded(now, queued, Some(least));
        }
        let waiter = Waiter {
            not: again.map(|again| again.not),
            who: who(),
        };
        let until = now + patience;
        match self
            .queue
            .join(self.rules.queue_capacity, now, until, waiter)
        {
            Ok(ticket) => Asked::Waits { ticket, until },
            Err(queue::Full) => self.overloaded(now, queued, Some(least)),
        }
    }

    /// How long one may wait that asks now.
    fn patience(&self) -> Duration {
        let starts = self.sums.ready == 0 && self.rules.cold_start_wait.is_some();
        match self.rules.cold_start_wait {
            Some(cold) if starts => cold.max(self.rules.max_queue_wait),
            _ => self.rules.max_queue_wait,
        }
    }

    fn overloaded(&self, now: Instant, queued: usize, least: Option<Duration>) -> Asked {
        let retry_after = self
            .pause_left(now)
            .max(least)
            .filter(|wait| !wait.is_zero());
        Asked::Refused(Refusal::Overloaded {
            queued,
            retry_after,
        })
    }

    /// Whether replicas may come sooner than those that are there take requests.
    fn may_grow(&self) -> bool {
        self.starting > 0 || self.sums.ready < self.rules.replicas_max
    }

    /// The wait of one with `ahead` others before it, from below; zero where
    /// more replicas may come.
    fn wait_at_least(&self, now: Instant, ahead: usize) -> Duration {
        if self.may_grow() {
            return Duration::ZERO;
        }
        let slots = u64::from(self.rules.slots.get()) * u64::from(self.sums.ready);
        let turn = queue::wait_at_least(ahead, slots, self.pace.fast());
        turn.max(self.pause_left(now).unwrap_or_default())
    }

    /// Until the first replica takes requests again, where all of them are
    /// ejected or their models asked for a pause.
    fn pause_left(&self, now: Instant) -> Option<Duration> {
        let mut least = None;
        for member in self
            .members
            .iter()
            .flatten()
            .filter(|member| member.ready && !member.draining)
        {
            let left = member.health.held_until()?.duration_since(now);
            least = Some(least.map_or(left, |before: Duration| before.min(left)));
        }
        least
    }

    fn pick(&mut self, now: Instant, not: Option<u32>) -> Option<u32> {
        self.chance = self.chance.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let Self {
            balance,
            members,
            rules,
            ..
        } = self;
        let weight = |key: u32| {
            let member = members.get(key as usize).and_then(Option::as_ref);
            member.map_or(WARM, |member| member.warmth(now, rules.warm_up))
        };
        balance.pick(mixed(self.chance), not, weight)
    }

    /// Takes a slot of a replica that `pick` chose.
    fn charge(&mut self, now: Instant, key: u32) -> Seat {
        let mut life = 0;
        if let Some(Some(member)) = self.members.get_mut(key as usize) {
            life = member.life;
            member.busy += 1;
            self.sums.busy += 1;
            self.sums.free = self.sums.free.saturating_sub(1);
        }
        self.place(now, key);
        Seat {
            key,
            life,
            since: now,
        }
    }

    /// A waiting one goes away; none where it is no longer in the queue.
    pub fn leave(&mut self, ticket: Ticket) -> Option<W> {
        self.queue.leave(ticket).map(|waiting| waiting.who.who)
    }

    /// Takes an outcome of a request whose seat is held.
    pub fn report(&mut self, now: Instant, seat: Seat, outcome: Outcome) -> Vec<Handed<W>> {
        let slots = self.rules.slots.get();
        self.leave_sums(seat.key);
        let erring = self.erring;
        let others = (self.sums.ready as usize, erring);
        let out = self.sums.ejected as usize;
        if let Some(Some(member)) = self.members.get_mut(seat.key as usize)
            && member.life == seat.life
        {
            let verdict = member.health.report(now, outcome, slots, member.busy);
            let wanted = match verdict {
                Verdict::Keep => false,
                Verdict::Eject => true,
                Verdict::EjectIfAlone => breaker::stands_out(others.0, others.1),
            };
            let counted = member.ready && !member.draining && !member.health.ejected();
            if wanted && counted && breaker::can_spare(others.0 + 1, out) {
                member.health.eject(now);
            }
        }
        self.enter_sums(seat.key);
        self.place(now, seat.key);
        self.settle(now)
    }

    /// Gives a slot back, with the outcome where it was not told before.
    pub fn give(&mut self, now: Instant, seat: Seat, outcome: Option<Outcome>) -> Vec<Handed<W>> {
        let mut handed = Vec::new();
        if let Some(outcome) = outcome {
            // Judged while the request still counts as running.
            handed = self.report(now, seat, outcome);
        }
        let slots = self.rules.slots.get();
        if let Some(Some(member)) = self.members.get_mut(seat.key as usize)
            && member.life == seat.life
        {
            member.busy -= 1;
            self.sums.busy -= 1;
            if member.draining {
                self.sums.leaving -= 1;
            } else if member.ready && member.busy < slots {
                self.sums.free += 1;
            }
            self.pace.take(now.duration_since(seat.since));
            self.place(now, seat.key);
        }
        handed.extend(self.settle(now));
        handed
    }

    /// When something next changes by itself; ask [`Roster::settle`] then.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.next_due
    }

    /// Lets pass what is over by `now`, and serves who can be served.
    pub fn settle(&mut self, now: Instant) -> Vec<Handed<W>> {
        if self.next_due.is_some_and(|due| now >= due) {
            self.settle_watched(now);
        }
        if self.queue.is_empty() {
            Vec::new()
        } else {
            self.serve(now)
        }
    }

    fn settle_watched(&mut self, now: Instant) {
        let slots = self.rules.slots.get();
        self.next_due = None;
        for key in std::mem::take(&mut self.watched) {
            self.leave_sums(key);
            if let Some(Some(member)) = self.members.get_mut(key as usize) {
                member.health.settle(slots, now);
                member.watched = false;
            }
            self.enter_sums(key);
            // Watches it again where there is more to come.
            self.place(now, key);
        }
    }

    fn serve(&mut self, now: Instant) -> Vec<Handed<W>> {
        let mut handed = Vec::new();
        let mut place = 0;
        let answers = self.can_answer();
        while let Some(waiting) = self.queue.peek(place) {
            let (until, not) = (waiting.until, waiting.who.not);
            let late = now >= until;
            let what = if late || !answers {
                Err(self.refusal(now))
            } else if let Some(key) = self.pick(now, not) {
                Ok(self.charge(now, key))
            } else if not.is_some() {
                // Only the one replica it must not have is free.
                place += 1;
                continue;
            } else if until < now + self.wait_at_least(now, 0) {
                // In vain: said now, not at the end of it.
                Err(self.refusal(now))
            } else {
                break;
            };
            if let Some(waiting) = self.queue.take(place) {
                let waited = now.duration_since(waiting.since);
                handed.push(Handed {
                    who: waiting.who.who,
                    waited,
                    what,
                });
            }
        }
        handed
    }

    /// Why one whose wait ends now has no slot.
    #[must_use]
    pub fn refusal(&self, now: Instant) -> Refusal {
        if self.sums.ready == 0 {
            return Refusal::NoReplica;
        }
        Refusal::Overloaded {
            queued: self.queue.len(),
            retry_after: self.pause_left(now),
        }
    }
}

impl Member {
    /// How much of its share it gets, in thousandths: a tenth when fresh,
    /// then in proportion to its age.
    fn warmth(&self, now: Instant, warm_up: Duration) -> u32 {
        let (Some(since), false) = (self.ready_since, warm_up.is_zero()) else {
            return WARM;
        };
        let age = now.duration_since(since);
        if age >= warm_up {
            return WARM;
        }
        let share = age.as_micros() * u128::from(WARM) / warm_up.as_micros().max(1);
        u32::try_from(share).unwrap_or(WARM).max(WARM / 10)
    }
}

/// A well-mixed number of a counter (SplitMix64's finisher).
fn mixed(counter: u64) -> u64 {
    let mut z = counter;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests;
