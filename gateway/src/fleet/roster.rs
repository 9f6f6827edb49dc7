//! The state of a fleet as one value: its replicas, what runs on each, and who
//! waits. Joins the rules of `balance`, `queue` and `breaker`.
//!
//! Synchronous: no lock, no await, no clock; time is an argument, chance a seed.
//! After every call nobody waits who could have a slot. `Fleet` puts it behind
//! its lock, the simulation drives it in virtual time: the same code decides in
//! both. Never runs more requests on a replica than it has slots.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use crate::balance::{Balance, WARM};
use crate::breaker::{self, Health, Outcome, RetryBudget, Verdict};
use crate::queue::{self, Pace, Queue, Ticket};

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

/// A slot of a replica, held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seat {
    /// The replica.
    pub key: u32,
    life: u32,
    since: Instant,
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

    // What `reconcile` does.

    /// Other rules from now on. Who waits keeps its deadline.
    pub fn update(&mut self, now: Instant, rules: Rules) -> Vec<Handed<W>> {
        let same = rules.slots == self.rules.slots;
        if rules.cold_start_wait.is_some() != self.rules.cold_start_wait.is_some() {
            self.cold = rules.cold_start_wait.is_some();
        }
        self.rules = rules;
        if !same {
            self.balance = Balance::new(self.rules.slots.get());
            self.sums.slots = 0;
            self.sums.free = 0;
            for key in 0..u32::try_from(self.members.len()).unwrap_or(0) {
                let Some(member) = self.member(key) else {
                    continue;
                };
                if member.ready && !member.draining {
                    let busy = member.busy;
                    self.sums.slots += self.rules.slots.get();
                    self.sums.free += self.rules.slots.get().saturating_sub(busy);
                }
                self.place(now, key);
            }
        }
        self.settle(now)
    }

    /// A replica that is not ready yet; its key.
    pub fn add(&mut self) -> u32 {
        self.lives = self.lives.wrapping_add(1);
        let member = Member {
            life: self.lives,
            ready: false,
            draining: false,
            busy: 0,
            ready_since: None,
            watched: false,
            health: Health::default(),
        };
        if let Some(key) = self.free_keys.pop()
            && let Some(slot) = self.members.get_mut(key as usize)
        {
            *slot = Some(member);
            return key;
        }
        self.members.push(Some(member));
        u32::try_from(self.members.len() - 1).unwrap_or(u32::MAX)
    }

    /// Says whether a replica is ready. One that becomes so has a clean record.
    pub fn set_ready(&mut self, now: Instant, key: u32, ready: bool) -> Vec<Handed<W>> {
        self.leave_sums(key);
        if let Some(Some(member)) = self.members.get_mut(key as usize) {
            if ready && !member.ready {
                member.health = Health::default();
                member.ready_since = Some(now);
            }
            member.ready = ready;
        }
        self.enter_sums(key);
        self.changed(now, key)
    }

    /// How many are being started.
    pub fn set_starting(&mut self, now: Instant, starting: u32) -> Vec<Handed<W>> {
        self.starting = starting;
        self.settle(now)
    }

    /// Whether a request may start the first replica; no where the last start
    /// failed and waits for its next attempt.
    pub fn set_cold(&mut self, now: Instant, cold: bool) -> Vec<Handed<W>> {
        self.cold = cold && self.rules.cold_start_wait.is_some();
        self.settle(now)
    }

    /// The replica gets nothing new; what runs on it goes on.
    pub fn set_draining(&mut self, now: Instant, key: u32) -> Vec<Handed<W>> {
        self.leave_sums(key);
        if let Some(Some(member)) = self.members.get_mut(key as usize) {
            member.draining = true;
        }
        self.enter_sums(key);
        self.changed(now, key)
    }

    /// Forgets a replica. Seats of it that are still out are worth nothing.
    pub fn remove(&mut self, now: Instant, key: u32) -> Vec<Handed<W>> {
        self.leave_sums(key);
        if let Some(slot) = self.members.get_mut(key as usize)
            && let Some(member) = slot.take()
        {
            self.sums.busy -= member.busy;
            self.free_keys.push(key);
        }
        self.changed(now, key)
    }

    fn changed(&mut self, now: Instant, key: u32) -> Vec<Handed<W>> {
        self.spare_half();
        self.place(now, key);
        self.settle(now)
    }

    /// Takes a member out of the sums before it changes; `enter_sums` puts it
    /// back as it then is.
    fn leave_sums(&mut self, key: u32) {
        let slots = self.rules.slots.get();
        let Some(Some(member)) = self.members.get(key as usize) else {
            return;
        };
        let sums = &mut self.sums;
        if member.draining {
            sums.draining -= 1;
            sums.leaving -= member.busy;
        } else if member.ready {
            sums.ready -= 1;
            sums.slots -= slots;
            sums.free -= slots.saturating_sub(member.busy);
            sums.ejected -= u32::from(member.health.ejected());
            self.erring -= usize::from(member.health.erring());
        }
    }

    fn enter_sums(&mut self, key: u32) {
        let slots = self.rules.slots.get();
        let Some(Some(member)) = self.members.get(key as usize) else {
            return;
        };
        let sums = &mut self.sums;
        if member.draining {
            sums.draining += 1;
            sums.leaving += member.busy;
        } else if member.ready {
            sums.ready += 1;
            sums.slots += slots;
            sums.free += slots.saturating_sub(member.busy);
            sums.ejected += u32::from(member.health.ejected());
            self.erring += usize::from(member.health.erring());
        }
    }

    /// Takes ejections back, the soonest over first, until at most half are out.
    fn spare_half(&mut self) {
        while self.sums.ejected * 2 > self.sums.ready {
            let soonest = (0_u32..)
                .zip(&self.members)
                .filter_map(|(key, slot)| slot.as_ref().map(|member| (key, member)))
                .filter(|(_, member)| member.ready && !member.draining)
                .filter_map(|(key, member)| Some((member.health.ejected_until()?, key)))
                .min();
            let Some((_, key)) = soonest else { return };
            if let Some(Some(member)) = self.members.get_mut(key as usize) {
                member.health.readmit();
                self.sums.ejected -= 1;
            }
        }
    }

    /// Puts a replica where `balance` finds it, or takes it out of there.
    fn place(&mut self, now: Instant, key: u32) {
        let slots = self.rules.slots.get();
        let Some(Some(member)) = self.members.get_mut(key as usize) else {
            self.balance.set(key, None);
            return;
        };
        let takes = member.ready && !member.draining;
        let room = takes && member.busy < member.health.allowed(slots, now);
        self.balance.set(key, room.then_some(member.busy));
        let Some(due) = member.health.due(slots, now).filter(|_| takes) else {
            return;
        };
        self.next_due = Some(self.next_due.map_or(due, |before| before.min(due)));
        if !member.watched {
            member.watched = true;
            self.watched.push(key);
        }
    }

    // What `exchange` does.

    /// Asks for a slot on a replica that is not `not`. One who names a `not`
    /// tries once more and is charged to the retry budget. `who` is made where
    /// it has to wait.
    pub fn ask(
        &mut self,
        now: Instant,
        not: Option<u32>,
        who: impl FnOnce() -> W,
    ) -> (Asked, Vec<Handed<W>>) {
        let handed = self.settle(now);
        if not.is_none() {
            self.budget.earn();
        } else if (self.others(not) == 0 && self.starting == 0) || !self.budget.spend() {
            return (Asked::Refused(Refusal::NoReplica), handed);
        }
        let asked = match self.pick(now, not) {
            Some(key) => Asked::Seat(self.charge(now, key)),
            None => self.wait(now, not, who),
        };
        (asked, handed)
    }

    /// Ready replicas other than `not`.
    fn others(&self, not: Option<u32>) -> u32 {
        let is_ready = |member: &Member| member.ready && !member.draining;
        let excluded = not.and_then(|key| self.member(key)).is_some_and(is_ready);
        self.sums.ready - u32::from(excluded)
    }

    fn wait(&mut self, now: Instant, not: Option<u32>, who: impl FnOnce() -> W) -> Asked {
        if !self.can_answer() {
            return Asked::Refused(Refusal::NoReplica);
        }
        let queued = self.queue.len();
        let starts = self.sums.ready == 0 && self.rules.cold_start_wait.is_some();
        let patience = match self.rules.cold_start_wait {
            Some(cold) if starts => cold.max(self.rules.max_queue_wait),
            _ => self.rules.max_queue_wait,
        };
        let least = self.wait_at_least(queued);
        let full = queued >= self.rules.queue_capacity;
        if full || patience.is_zero() || least > patience {
            return self.overloaded(now, queued, Some(least));
        }
        let waiter = Waiter { not, who: who() };
        let until = now + patience;
        match self
            .queue
            .join(self.rules.queue_capacity, now, until, waiter)
        {
            Ok(ticket) => Asked::Waits { ticket, until },
            Err(queue::Full) => self.overloaded(now, queued, Some(least)),
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

    /// The wait of one with `ahead` others before it, from below; zero where
    /// more replicas may come.
    fn wait_at_least(&self, ahead: usize) -> Duration {
        if self.starting > 0 || self.sums.ready < self.rules.replicas_max {
            return Duration::ZERO;
        }
        let slots = u64::from(self.rules.slots.get()) * u64::from(self.sums.ready);
        queue::wait_at_least(ahead, slots, self.pace.fast())
    }

    /// Until the first model that asked for a pause takes requests again, where
    /// all of them did.
    fn pause_left(&self, now: Instant) -> Option<Duration> {
        let mut least = None;
        for member in self
            .members
            .iter()
            .flatten()
            .filter(|member| member.ready && !member.draining)
        {
            let left = member.health.paused_until()?.duration_since(now);
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
            let late = now >= waiting.until;
            let not = waiting.who.not;
            let what = if late || !answers {
                Err(self.refusal(now))
            } else if let Some(key) = self.pick(now, not) {
                Ok(self.charge(now, key))
            } else if not.is_some() {
                // Only the one replica it must not have is free.
                place += 1;
                continue;
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
