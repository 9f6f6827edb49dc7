//! Random histories of a roster, with what must hold after every step.

use std::collections::HashMap;
use std::num::NonZeroU32;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Add,
    Ready(prop::sample::Index, bool),
    Drain(prop::sample::Index),
    Remove(prop::sample::Index),
    Starting(u32),
    Ask,
    AskOther(prop::sample::Index),
    Leave(prop::sample::Index),
    Give(prop::sample::Index, Option<Outcome>),
    Report(prop::sample::Index, Outcome),
    Later(u64),
    Slots(u32),
}

fn any_outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        4 => Just(Outcome::Answered { status: 200, retry_after: None }),
        1 => Just(Outcome::Answered { status: 500, retry_after: None }),
        1 => Just(Outcome::Answered { status: 503, retry_after: None }),
        1 => Just(Outcome::Answered { status: 429, retry_after: Some(Duration::from_secs(1)) }),
        3 => Just(Outcome::TransportError),
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        2 => Just(Step::Add),
        4 => (index(), prop::bool::weighted(0.8)).prop_map(|(at, ready)| Step::Ready(at, ready)),
        1 => index().prop_map(Step::Drain),
        1 => index().prop_map(Step::Remove),
        1 => (0_u32..2).prop_map(Step::Starting),
        20 => Just(Step::Ask),
        2 => index().prop_map(Step::AskOther),
        4 => index().prop_map(Step::Leave),
        10 => (index(), prop::option::of(any_outcome())).prop_map(|(at, outcome)| Step::Give(at, outcome)),
        4 => (index(), any_outcome()).prop_map(|(at, outcome)| Step::Report(at, outcome)),
        3 => (1_u64..1_500).prop_map(Step::Later),
        1 => (1_u32..12).prop_map(Step::Slots),
    ]
}

fn rules(slots: u32) -> Rules {
    Rules {
        slots: NonZeroU32::new(slots).unwrap(),
        queue_capacity: 8,
        max_queue_wait: Duration::from_secs(2),
        cold_start_wait: None,
        warm_up: Duration::from_millis(700),
        replicas_max: 4,
    }
}

/// A roster, and what its users hold of it.
struct World {
    roster: Roster<u64>,
    now: Instant,
    keys: Vec<u32>,
    seats: Vec<Seat>,
    /// Who waits, in arrival order; whether it named a `not`.
    line: Vec<(u64, Ticket, Instant, bool)>,
    asked: u64,
}

impl World {
    fn step(&mut self, step: Step) {
        let now = self.now;
        let key = |at: prop::sample::Index, keys: &[u32]| {
            (!keys.is_empty()).then(|| keys[at.index(keys.len())])
        };
        let handed = match step {
            Step::Add if self.keys.len() < 6 => {
                self.keys.push(self.roster.add());
                Vec::new()
            }
            Step::Ready(at, ready) => key(at, &self.keys)
                .map(|key| self.roster.set_ready(now, key, ready))
                .unwrap_or_default(),
            Step::Drain(at) => key(at, &self.keys)
                .map(|key| self.roster.set_draining(now, key))
                .unwrap_or_default(),
            Step::Remove(at) if !self.keys.is_empty() => {
                let key = self.keys.remove(at.index(self.keys.len()));
                self.roster.remove(now, key)
            }
            Step::Starting(starting) => self.roster.set_starting(now, starting),
            Step::Ask => self.ask(None),
            Step::AskOther(at) => self.ask(key(at, &self.keys)),
            Step::Leave(at) if !self.line.is_empty() => {
                let (who, ticket, ..) = self.line.remove(at.index(self.line.len()));
                assert_eq!(self.roster.leave(ticket), Some(who));
                Vec::new()
            }
            Step::Give(at, outcome) if !self.seats.is_empty() => {
                let seat = self.seats.remove(at.index(self.seats.len()));
                self.roster.give(now, seat, outcome)
            }
            Step::Report(at, outcome) if !self.seats.is_empty() => {
                let seat = self.seats[at.index(self.seats.len())];
                self.roster.report(now, seat, outcome)
            }
            Step::Later(ms) => {
                self.now += Duration::from_millis(ms);
                self.expire();
                self.roster.settle(self.now)
            }
            Step::Slots(slots) => self.roster.update(now, rules(slots)),
            _ => Vec::new(),
        };
        self.take(handed);
        self.check();
    }

    fn ask(&mut self, not: Option<u32>) -> Vec<Handed<u64>> {
        self.asked += 1;
        let who = self.asked;
        let again = not.map(|not| Again::after(not, Duration::ZERO));
        let (asked, handed) = self.roster.ask(self.now, again, || who);
        match asked {
            Asked::Seat(seat) => {
                assert_ne!(Some(seat.key), not);
                // Nobody was overtaken who could have had it.
                assert!(self.line.iter().all(|(_, _, _, picky)| *picky) || !handed.is_empty());
                self.seats.push(seat);
            }
            Asked::Waits { ticket, until } => self.line.push((who, ticket, until, not.is_some())),
            Asked::Refused(_) => {}
        }
        handed
    }

    /// The callers' own timers.
    fn expire(&mut self) {
        let now = self.now;
        for (who, ticket, ..) in self.line.extract_if(.., |(_, _, until, _)| *until <= now) {
            assert_eq!(self.roster.leave(ticket), Some(who));
        }
    }

    fn take(&mut self, handed: Vec<Handed<u64>>) {
        for handed in handed {
            let place = self
                .line
                .iter()
                .position(|(who, ..)| *who == handed.who)
                .expect("it waited");
            if let Ok(seat) = handed.what {
                // Everybody before it named a `not`.
                assert!(
                    self.line[..place].iter().all(|(_, _, _, picky)| *picky),
                    "overtaken"
                );
                self.seats.push(seat);
            }
            self.line.remove(place);
        }
    }

    fn check(&self) {
        let roster = &self.roster;
        let slots = roster.rules.slots.get();
        let mut seen: HashMap<(u32, u32), u32> = HashMap::new();
        for seat in &self.seats {
            *seen.entry((seat.key, seat.life)).or_default() += 1;
        }
        let mut sums = Sums {
            queued: self.line.len() as u32,
            ..Sums::default()
        };
        let mut room = false;
        for (key, member) in (0..).zip(&roster.members) {
            let Some(member) = member else { continue };
            let running = seen.get(&(key, member.life)).copied().unwrap_or(0);
            assert_eq!(member.busy, running, "of {key}");
            sums.busy += running;
            if member.draining {
                sums.draining += 1;
                sums.leaving += running;
            } else if member.ready {
                sums.ready += 1;
                sums.slots += slots;
                sums.free += slots.saturating_sub(running);
                sums.ejected += u32::from(member.health.ejected());
                room |= running < member.health.allowed(slots, self.now);
            }
        }
        assert_eq!(roster.sums(), sums);
        assert!(sums.ejected * 2 <= sums.ready, "{sums:?}");
        assert_eq!(room, roster.balance.open() > 0);
        assert!(
            !room || self.line.iter().all(|(_, _, _, picky)| *picky),
            "one waits beside a free slot"
        );
        assert!(
            self.line.is_empty() || roster.can_answer(),
            "one waits for nothing"
        );
        assert!(self.line.len() <= roster.rules.queue_capacity);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn order_slots_and_sums_hold_whatever_happens(
        slots in prop::sample::select(vec![1_u32, 2, 10]),
        steps in prop::collection::vec(any_step(), 1..150),
    ) {
        let mut world = World {
            roster: Roster::new(rules(slots), 7),
            now: Instant::now(),
            keys: Vec::new(),
            seats: Vec::new(),
            line: Vec::new(),
            asked: 0,
        };
        for step in steps {
            world.step(step);
        }
        // In the end everything is free again.
        for _ in 0..5 {
            world.step(Step::Later(100_000));
        }
        while let Some(seat) = world.seats.pop() {
            let handed = world.roster.give(world.now, seat, None);
            world.take(handed);
            world.check();
        }
        let sums = world.roster.sums();
        prop_assert_eq!((sums.busy, sums.leaving, sums.queued), (0, 0, 0));
        prop_assert_eq!(sums.free, sums.slots);
    }
}

#[test]
fn a_slot_limit_that_shrinks_never_adds_to_a_full_replica() {
    let now = Instant::now();
    let mut roster = Roster::<()>::new(rules(4), 1);
    let key = roster.add();
    roster.set_ready(now, key, true);
    for _ in 0..4 {
        assert!(matches!(roster.ask(now, None, || ()).0, Asked::Seat(_)));
    }
    roster.update(now, rules(2));
    assert_eq!(roster.sums().free, 0);
    assert!(matches!(
        roster.ask(now, None, || ()).0,
        Asked::Waits { .. }
    ));
}

#[test]
fn a_fresh_replica_gets_its_share_slowly() {
    let start = Instant::now();
    let mut roster = Roster::<()>::new(rules(10), 1);
    let old = roster.add();
    roster.set_ready(start, old, true);
    let now = start + Duration::from_secs(10);
    let fresh = roster.add();
    roster.set_ready(now, fresh, true);
    for _ in 0..10 {
        roster.ask(now, None, || ());
    }
    // A tenth of the weight: at most 1 runs on it while 9 run on the other.
    assert!(roster.busy(fresh) <= Some(1), "{:?}", roster.busy(fresh));
    let warm = now + Duration::from_millis(700);
    for _ in 0..8 {
        roster.ask(warm, None, || ());
    }
    assert!(roster.busy(fresh) >= Some(8), "{:?}", roster.busy(fresh));
}
