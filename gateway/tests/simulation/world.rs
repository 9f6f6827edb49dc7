//! One version of an endpoint in virtual time: callers, the roster the gateway
//! runs, a rule that scales it, and replicas that start, serve and fail.
//!
//! Only the clock, the callers and the replicas are made up here. Who waits, in
//! what order, which replica is chosen, which is ejected and how many there
//! should be is decided by `tidegate::{fleet::roster, balance, queue, breaker,
//! scale}`, as in the gateway.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::{Duration, Instant};

use tidegate::breaker::Outcome;
use tidegate::fleet::roster::{Asked, Handed, Refusal, Roster, Seat};
use tidegate::queue::Ticket;
use tidegate::scale::Load;

use crate::figures::{Figures, Second};
use crate::rule::{Kind, Rule, Seen};
use crate::scenarios::{Manner, Scenario};
use crate::traffic::Chance;

/// The runtime looks at a replica that starts this often (SEMANTICS §4).
pub(crate) const PROBE: Duration = Duration::from_millis(100);

/// A replica that is killed lives so long.
const KILLED_EVERY: Duration = Duration::from_secs(120);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrives,
    Done(u64),
    WaitOver(u64),
    Ready(u32),
    Killed(u32),
    Due,
    Look,
}

struct Running {
    seat: Seat,
    request: u64,
    number: u32,
    outcome: Outcome,
}

/// Where a replica is in its life; the key is the roster's.
struct Replica {
    key: u32,
    manner: Manner,
    ready: bool,
    draining: bool,
}

pub(crate) struct World<'a> {
    scenario: &'a Scenario,
    base: Instant,
    now: Duration,
    events: BinaryHeap<Reverse<(Duration, u64, Event)>>,
    order: u64,
    chance: Chance,
    roster: Roster<u64>,
    rule: Rule,
    wanted: u32,
    replicas: BTreeMap<u32, Replica>,
    /// By the roster's keys.
    numbers: Vec<u32>,
    last_number: u32,
    starting: u32,
    due: Option<Duration>,
    running: BTreeMap<u64, Running>,
    waiting: BTreeMap<u64, Ticket>,
    requests: Vec<Duration>,
    runs: u64,
    /// Integrals since the last look, in request seconds.
    concurrency: f64,
    busy: f64,
    integrated: Duration,
    figures: Figures,
}

impl<'a> World<'a> {
    pub(crate) fn new(scenario: &'a Scenario, kind: Kind) -> Self {
        let base = Instant::now();
        let bounds = scenario.bounds();
        let wanted = if let Kind::Fixed(count) = kind {
            count
        } else {
            scenario.min
        };
        let mut world = Self {
            scenario,
            base,
            now: Duration::ZERO,
            events: BinaryHeap::new(),
            order: 0,
            chance: Chance(42),
            roster: Roster::new(scenario.rules(), 1),
            rule: kind.start(&bounds, base, wanted),
            wanted,
            replicas: BTreeMap::new(),
            numbers: Vec::new(),
            last_number: 0,
            starting: 0,
            due: None,
            running: BTreeMap::new(),
            waiting: BTreeMap::new(),
            requests: Vec::new(),
            runs: 0,
            concurrency: 0.0,
            busy: 0.0,
            integrated: Duration::ZERO,
            figures: Figures::default(),
        };
        // What there is at the beginning is ready.
        for number in 1..=wanted {
            world.last_number = number;
            let manner = if number == 1 {
                scenario.manner
            } else {
                Manner::Good
            };
            world.begin(number, manner);
            if world.replicas[&number].manner != Manner::NeverReady {
                world.ready(number);
            }
        }
        world
    }

    fn at(&self) -> Instant {
        self.base + self.now
    }

    fn plan(&mut self, at: Duration, event: Event) {
        self.order += 1;
        self.events.push(Reverse((at, self.order, event)));
    }

    pub(crate) fn run(mut self) -> Figures {
        let mut chance = Chance(7);
        for second in self
            .scenario
            .traffic
            .arrivals(self.scenario.length, &mut chance)
        {
            self.plan(Duration::from_secs_f64(second), Event::Arrives);
        }
        self.plan(Duration::from_secs(1), Event::Look);
        let end = Duration::from_secs_f64(self.scenario.length);
        while let Some(Reverse((at, _, event))) = self.events.pop() {
            if at > end {
                break;
            }
            self.integrate(at);
            self.now = at;
            self.happens(event);
        }
        self.figures.end();
        self.figures
    }

    fn integrate(&mut self, until: Duration) {
        let sums = self.roster.sums();
        let seconds = (until - self.integrated).as_secs_f64();
        self.concurrency += f64::from(sums.busy + sums.queued) * seconds;
        self.busy += f64::from(sums.busy) * seconds;
        self.integrated = until;
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Arrives => self.arrives(),
            Event::Done(run) => self.done(run),
            Event::WaitOver(request) => self.wait_over(request),
            Event::Ready(number) => self.ready(number),
            Event::Killed(number) => self.killed(number),
            Event::Due => {
                self.due = None;
                let handed = self.roster.settle(self.at());
                self.hand(handed);
            }
            Event::Look => {
                self.look(true);
                self.plan(self.now + Duration::from_secs(1), Event::Look);
            }
        }
    }

    // Callers.

    fn arrives(&mut self) {
        let request = self.requests.len() as u64;
        self.requests.push(self.now);
        let (asked, handed) = self.roster.ask(self.at(), None, || request);
        self.hand(handed);
        match asked {
            Asked::Seat(seat) => self.begins(request, seat, Duration::ZERO),
            Asked::Waits { ticket, until } => {
                self.waiting.insert(request, ticket);
                self.plan(until - self.base, Event::WaitOver(request));
                if self.roster.wants_start() && self.rule.is_woken() {
                    self.look(false);
                }
            }
            Asked::Refused(refusal) => self.refused(request, refusal, Duration::ZERO),
        }
    }

    fn begins(&mut self, request: u64, seat: Seat, waited: Duration) {
        self.figures.waited(waited);
        let number = self.numbers[seat.key as usize];
        let Some(manner) = self.replicas.get(&number).map(|replica| replica.manner) else {
            return;
        };
        let ok = |status| Outcome::Answered {
            status,
            retry_after: None,
        };
        let service = self.chance.service(self.scenario.service);
        let busy = self.roster.busy(seat.key).unwrap_or(0);
        let (lasts, outcome) = match manner {
            Manner::Good | Manner::Killed | Manner::NeverReady => (service, ok(200)),
            Manner::Slow => (service * 10, ok(200)),
            Manner::Overloads if busy > 2 => (Duration::from_millis(5), ok(503)),
            Manner::Overloads => (service, ok(200)),
            Manner::Hangs => (self.scenario.scoring_timeout, Outcome::Timeout),
            Manner::Errors => (Duration::from_millis(5), ok(500)),
            Manner::Closes => (Duration::from_millis(2), Outcome::TransportError),
        };
        self.runs += 1;
        self.running.insert(
            self.runs,
            Running {
                seat,
                request,
                number,
                outcome,
            },
        );
        self.plan(self.now + lasts, Event::Done(self.runs));
    }

    fn done(&mut self, run: u64) {
        let Some(Running {
            seat,
            request,
            number,
            outcome,
        }) = self.running.remove(&run)
        else {
            return;
        };
        let good = matches!(outcome, Outcome::Answered { status, .. } if status < 500);
        self.figures
            .ended(good, self.now - self.requests[request as usize]);
        let mut told = self.scenario.breaker.then_some(outcome);
        // Here an answer ends with its head.
        if let Some(Outcome::Answered { .. }) = told {
            let handed = self.roster.report(self.at(), seat, outcome);
            self.hand(handed);
            told = Some(Outcome::Ended);
        }
        let handed = self.roster.give(self.at(), seat, told);
        self.hand(handed);
        self.leave_if_drained(number);
        self.asks_again();
    }

    fn refused(&mut self, request: u64, refusal: Refusal, waited: Duration) {
        self.waiting.remove(&request);
        self.figures.refused(refusal, waited);
        // A closed caller that is turned away tries again a second later.
        if let Some(until) = self.scenario.traffic.asks_again_until()
            && self.now.as_secs_f64() < until
        {
            self.plan(self.now + Duration::from_secs(1), Event::Arrives);
        }
    }

    fn asks_again(&mut self) {
        let until = self.scenario.traffic.asks_again_until();
        if until.is_some_and(|until| self.now.as_secs_f64() < until) {
            self.plan(self.now, Event::Arrives);
        }
    }

    fn wait_over(&mut self, request: u64) {
        let Some(ticket) = self.waiting.remove(&request) else {
            return;
        };
        if self.roster.leave(ticket).is_some() {
            let refusal = self.roster.refusal(self.at());
            self.refused(request, refusal, self.now - self.requests[request as usize]);
        }
    }

    fn hand(&mut self, handed: Vec<Handed<u64>>) {
        for Handed { who, waited, what } in handed {
            self.waiting.remove(&who);
            match what {
                Ok(seat) => self.begins(who, seat, waited),
                Err(refusal) => self.refused(who, refusal, waited),
            }
        }
        if let Some(due) = self.roster.due() {
            let due = due.duration_since(self.base).max(self.now);
            if self.due.is_none_or(|planned| due < planned) {
                self.due = Some(due);
                self.plan(due, Event::Due);
            }
        }
    }

    // Replicas.

    /// A replica that is known and starts.
    fn begin(&mut self, number: u32, manner: Manner) {
        let key = self.roster.add();
        let place = key as usize;
        self.numbers.resize(self.numbers.len().max(place + 1), 0);
        self.numbers[place] = number;
        self.starting += 1;
        self.replicas.insert(
            number,
            Replica {
                key,
                manner,
                ready: false,
                draining: false,
            },
        );
        if manner == Manner::Killed {
            self.plan(self.now + KILLED_EVERY, Event::Killed(number));
        }
    }

    fn order(&mut self, manner: Manner) {
        self.last_number += 1;
        let number = self.last_number;
        self.begin(number, manner);
        self.figures.started();
        // Seen at the first probe after its own readiness.
        let probes = self.scenario.start.as_nanos().div_ceil(PROBE.as_nanos());
        let seen = PROBE * u32::try_from(probes).unwrap_or(u32::MAX);
        self.plan(self.now + seen, Event::Ready(number));
    }

    fn ready(&mut self, number: u32) {
        let now = self.at();
        let Some(replica) = self.replicas.get_mut(&number) else {
            return;
        };
        replica.ready = true;
        self.starting -= 1;
        let handed = self.roster.set_ready(now, replica.key, true);
        self.hand(handed);
        self.say_starting();
    }

    fn killed(&mut self, number: u32) {
        let lost: Vec<u64> = self
            .running
            .iter()
            .filter(|(_, run)| run.number == number)
            .map(|(id, _)| *id)
            .collect();
        for run in lost {
            if let Some(Running { request, .. }) = self.running.remove(&run) {
                self.figures
                    .ended(false, self.now - self.requests[request as usize]);
                self.asks_again();
            }
        }
        if let Some(replica) = self.replicas.remove(&number) {
            let handed = self.roster.remove(self.at(), replica.key);
            self.hand(handed);
        }
        // The runtime starts another in its place.
        self.order(Manner::Killed);
        self.say_starting();
    }

    fn say_starting(&mut self) {
        let handed = self.roster.set_starting(self.at(), self.starting);
        self.hand(handed);
    }

    fn leave_if_drained(&mut self, number: u32) {
        let Some(replica) = self.replicas.get(&number) else {
            return;
        };
        if replica.draining && self.roster.busy(replica.key) == Some(0) {
            let key = replica.key;
            self.replicas.remove(&number);
            let handed = self.roster.remove(self.at(), key);
            self.hand(handed);
        }
    }

    // The rule.

    fn look(&mut self, regular: bool) {
        let sums = self.roster.sums();
        let load = Load {
            busy: sums.busy - sums.leaving,
            queued: sums.queued,
            ready: sums.ready,
            starting: self.starting,
            failing: 0,
            arrived: self.requests.len() as u64,
        };
        let seen = Seen {
            load,
            concurrency: self.concurrency,
            running: self.busy,
        };
        if regular {
            let held = self.replicas.len() as u32;
            self.figures.second(Second {
                need: self.concurrency,
                ready: sums.ready,
                held,
            });
            self.concurrency = 0.0;
            self.busy = 0.0;
        }
        let wanted = self.rule.look(self.at(), &seen);
        if wanted != self.wanted {
            self.figures.ordered(self.now, self.wanted, wanted);
            self.wanted = wanted;
        }
        self.follow();
    }

    /// Starts and drains replicas until there are as many as are wanted.
    fn follow(&mut self) {
        let mut there: Vec<(bool, u32, Reverse<u32>)> = Vec::new();
        for (number, replica) in self
            .replicas
            .iter()
            .filter(|(_, replica)| !replica.draining)
        {
            let busy = self.roster.busy(replica.key).unwrap_or(0);
            there.push((replica.ready, busy, Reverse(*number)));
        }
        let count = there.len() as u32;
        for _ in count..self.wanted {
            self.order(Manner::Good);
        }
        if count > self.wanted {
            // Those that start, then the newest of the least busy.
            there.sort_unstable();
            there.truncate((count - self.wanted) as usize);
            for (.., Reverse(number)) in there {
                self.drain(number);
            }
        }
        self.say_starting();
    }

    fn drain(&mut self, number: u32) {
        let now = self.at();
        if let Some(replica) = self.replicas.get_mut(&number) {
            replica.draining = true;
            self.starting -= u32::from(!replica.ready);
            let handed = self.roster.set_draining(now, replica.key);
            self.hand(handed);
        }
        self.leave_if_drained(number);
    }
}
