//! A slot as an exchange holds it, and the wait for one.
//!
//! The guard itself goes through the one-shot, so that a slot is never between
//! two owners: whoever drops it, in whatever state, gives it to the next.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::roster::{Handed, Refusal, Seat};
use super::{Fleet, Outcome, Replica, State, now};
use crate::fault::Fault;
use crate::queue::Ticket;

/// The end of a wait that the fleet holds.
pub(super) type Sender = oneshot::Sender<Result<Slot, Fault>>;

/// How often one who waits looks whether a replica's pause or back-off is over
/// while nothing else happens to the fleet.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Room for one request on a replica. Dropped, it goes to the next who waits.
#[derive(Debug)]
pub struct Slot {
    fleet: Arc<Fleet>,
    replica: Arc<Replica>,
    seat: Seat,
    waited: Duration,
    given: bool,
    /// Whether it is a copy's.
    copy: bool,
    /// Microseconds to the answer's head, at least 1; 0 where none is told.
    answered_us: AtomicU32,
    failed: AtomicBool,
    /// Whether any outcome was told.
    told: AtomicBool,
    /// Whether the answer came to its end.
    ended: AtomicBool,
}

impl Slot {
    /// A slot for a seat that was charged; none where its replica is not known,
    /// which cannot be while the lock is held.
    pub(super) fn new(
        fleet: &Arc<Fleet>,
        state: &State,
        seat: Seat,
        waited: Duration,
    ) -> Option<Self> {
        let known = state.replicas.get(seat.key as usize)?.as_ref()?;
        Some(Self {
            fleet: Arc::clone(fleet),
            replica: Arc::clone(&known.replica),
            seat,
            waited,
            given: false,
            copy: false,
            answered_us: AtomicU32::new(0),
            failed: AtomicBool::new(false),
            told: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        })
    }

    /// The replica the request goes to.
    #[must_use]
    pub fn replica(&self) -> &Arc<Replica> {
        &self.replica
    }

    /// How long the request waited for it.
    #[must_use]
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// Says that the head of an answer came, and when: [`Slot::outcome`], and
    /// the time for the version's figures.
    pub fn answered(&self, at: Instant, status: u16, retry_after: Option<Duration>) {
        // A 101 begins a conversation; how soon says nothing of answers, and
        // each end of it is a good one.
        if status == 101 {
            self.outcome(Outcome::Ended);
        } else {
            let us = u32::try_from(self.seat.held(at).as_micros()).unwrap_or(u32::MAX);
            self.answered_us.store(us.max(1), Ordering::Relaxed);
        }
        self.outcome(Outcome::Answered {
            status,
            retry_after,
        });
    }

    /// Says what became of the request, once its head came, its answer ended or
    /// it failed, also where nobody waits for it any more. Not to be called where
    /// it was cut because the caller went away: that says nothing of the replica.
    ///
    /// Free of cost for a good answer of a replica in good standing; else one
    /// lock, at once, so that a long stream does not hide a failure. The end of
    /// an answer is told with the slot.
    pub fn outcome(&self, outcome: Outcome) {
        if outcome == Outcome::Ended {
            self.ended.store(true, Ordering::Relaxed);
            return;
        }
        let good =
            matches!(outcome, Outcome::Answered { status, .. } if status < 500 && status != 429);
        let failed = !matches!(outcome, Outcome::Answered { status, .. } if status < 500);
        if failed {
            self.failed.store(true, Ordering::Relaxed);
        }
        self.told.store(true, Ordering::Relaxed);
        match outcome {
            Outcome::Answered { .. } | Outcome::Ended => self.replica.tally.answered(),
            Outcome::TransportError | Outcome::Timeout => self.replica.tally.failed(),
        }
        if good && !self.replica.attentive.load(Ordering::Relaxed) {
            return;
        }
        self.fleet.change(|state| {
            let handed = state.roster.report(now(), self.seat, outcome);
            let attentive = state.roster.is_attentive(self.replica.key);
            self.replica.attentive.store(attentive, Ordering::Relaxed);
            handed
        });
    }

    /// Gives the slot back; what is handed to others by that.
    fn give(&mut self) -> Vec<Made> {
        if std::mem::replace(&mut self.given, true) {
            return Vec::new();
        }
        if !*self.told.get_mut() {
            self.replica.tally.left();
        }
        let now = now();
        let mut state = self.fleet.state.lock();
        state.copies -= u32::from(self.copy);
        // Where it would change nothing, the end of an answer is not told.
        let attentive = &self.replica.attentive;
        let told = *self.ended.get_mut() && attentive.load(Ordering::Relaxed);
        let outcome = told.then_some(Outcome::Ended);
        let handed = state.roster.give(now, self.seat, outcome);
        if told {
            let still = state.roster.is_attentive(self.replica.key);
            attentive.store(still, Ordering::Relaxed);
        }
        let drained = state.roster.busy(self.replica.key).unwrap_or(0) == 0;
        state.took(now);
        state.load.held(self.seat.held(now));
        let (us, failed) = (*self.answered_us.get_mut(), *self.failed.get_mut());
        // One whose caller left says nothing.
        if us > 0 || failed {
            let answered = (us > 0).then(|| Duration::from_micros(u64::from(us)));
            state.recent.take(now, answered, failed);
        }
        self.fleet.gauges.show(&mut state);
        let made = made(&self.fleet, &state, handed);
        let draining = state.roster.sums().draining > 0;
        drop(state);
        if drained && draining {
            self.fleet.drained.notify_waiters();
        }
        made
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let made = self.give();
        if !made.is_empty() {
            self.fleet.deliver(made);
        }
    }
}

/// What somebody who waited gets, made under the lock and sent after it.
#[derive(Debug)]
pub(super) struct Made {
    who: Sender,
    what: Result<Slot, Fault>,
}

/// Makes slots and faults of what the roster handed out.
pub(super) fn made(fleet: &Arc<Fleet>, state: &State, handed: Vec<Handed<Sender>>) -> Vec<Made> {
    let what = |handed: &Handed<Sender>| match handed.what {
        Ok(seat) => Slot::new(fleet, state, seat, handed.waited)
            .ok_or_else(|| state.fault(Refusal::NoReplica, handed.waited)),
        Err(refusal) => Err(state.fault(refusal, handed.waited)),
    };
    handed
        .into_iter()
        .map(|handed| Made {
            what: what(&handed),
            who: handed.who,
        })
        .collect()
}

impl Fleet {
    /// A slot for a copy of another version's exchange, where one is free at
    /// once: a copy never waits, is no traffic, and starts nothing. Where the
    /// version has `own` traffic, copies hold at most half of its slots and
    /// leave one free, so that its own requests seldom meet them.
    pub fn spare_slot(self: &Arc<Self>, own: bool) -> Option<Slot> {
        let now = now();
        let mut state = self.state.lock();
        let slots = state.roster.sums().slots;
        let (most, leave) = if own { (slots / 2, 1) } else { (slots, 0) };
        if state.copies >= most {
            return None;
        }
        let seat = state.roster.spare(now, leave)?;
        let mut slot = Slot::new(self, &state, seat, Duration::ZERO)?;
        slot.copy = true;
        state.copies += 1;
        state.took(now);
        self.gauges.show(&mut state);
        Some(slot)
    }

    /// Sends what was made, without the lock. A slot whose waiter has gone
    /// meanwhile goes to the next.
    pub(super) fn deliver(&self, made: Vec<Made>) {
        let mut line = VecDeque::from(made);
        while let Some(Made { who, what }) = line.pop_front() {
            if let Err(Ok(mut slot)) = who.send(what) {
                line.extend(slot.give());
            }
        }
    }
}

/// A place in the queue. Dropped, it is left.
#[derive(Debug)]
pub(super) struct Wait {
    fleet: Arc<Fleet>,
    ticket: Ticket,
    receiver: oneshot::Receiver<Result<Slot, Fault>>,
    since: Instant,
    until: Instant,
    left: bool,
}

impl Wait {
    pub(super) fn new(
        fleet: &Arc<Fleet>,
        ticket: Ticket,
        receiver: oneshot::Receiver<Result<Slot, Fault>>,
        since: Instant,
        until: Instant,
    ) -> Self {
        Self {
            fleet: Arc::clone(fleet),
            ticket,
            receiver,
            since,
            until,
            left: false,
        }
    }

    /// The end of the wait, whatever it is. Its duration is observed.
    pub(super) async fn end(mut self) -> Result<Slot, Fault> {
        let result = loop {
            let look = self.next_look();
            tokio::select! {
                biased;
                got = &mut self.receiver => {
                    self.left = true;
                    break got.unwrap_or_else(|_| Err(Fault::Internal(LOST.to_owned())));
                }
                () = tokio::time::sleep_until(look.into()) => {}
            }
            if now() < self.until {
                self.fleet.change(|state| state.roster.settle(now()));
            } else if let Some(fault) = self.give_up() {
                break Err(fault);
            }
        };
        let waited = result
            .as_ref()
            .map_or_else(|_| now() - self.since, Slot::waited);
        self.fleet.gauges.waited(waited);
        result
    }

    fn next_look(&self) -> Instant {
        let now = now();
        let due = self.fleet.state.lock().roster.due();
        // Never at once again, should a due instant already be past.
        let soonest = now + Duration::from_millis(1);
        let look = due.map_or(now + LOOK_EVERY, |due| {
            due.max(soonest).min(now + LOOK_EVERY)
        });
        look.min(self.until)
    }

    /// Leaves the queue at the end of its time; none where a slot or a fault is
    /// on its way, which then counts.
    fn give_up(&mut self) -> Option<Fault> {
        let now = now();
        let mut state = self.fleet.state.lock();
        state.roster.leave(self.ticket)?;
        self.left = true;
        self.fleet.gauges.show(&mut state);
        let refusal = state.roster.refusal(now);
        Some(state.fault(refusal, now - self.since))
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        if self.left {
            return;
        }
        let mut state = self.fleet.state.lock();
        // Where it is no longer in the queue, a slot is in the receiver or on
        // its way: the receiver's drop, or the sender's failure, passes it on.
        if state.roster.leave(self.ticket).is_some() {
            self.fleet.gauges.show(&mut state);
        }
    }
}

/// What a wait says that nobody ended; it cannot be, since the queue's entry is
/// taken out only to be answered.
const LOST: &str = "a place in the queue was lost";
