//! The scenarios: traffic that changes, and replicas that do not do as they
//! should.

use std::num::NonZeroU32;
use std::time::Duration;

use tidegate::fleet::roster::Rules;
use tidegate::scale::Bounds;
use tidegate::units::Percent;

use crate::figures::Figures;
use crate::rule::Kind;
use crate::traffic::Traffic;
use crate::world::World;

/// How a replica behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// As it should.
    Good,
    /// Takes ten times as long.
    Slow,
    /// Never answers.
    Hangs,
    /// Answers 500 in 5 ms.
    Errors,
    /// Closes every connection after 2 ms.
    Closes,
    /// Is killed after two minutes, with what runs on it, and so is the one that
    /// is started in its place.
    Killed,
    /// Never becomes ready.
    NeverReady,
    /// Answers 503 in 5 ms while it runs two requests already.
    Overloads,
}

/// A scenario. Times are in seconds of virtual time.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) length: f64,
    pub(crate) traffic: Traffic,
    pub(crate) service: Duration,
    /// From the order for a replica to its own readiness.
    pub(crate) start: Duration,
    pub(crate) slots: u32,
    pub(crate) min: u32,
    pub(crate) max: u32,
    pub(crate) max_queue_wait: Duration,
    pub(crate) queue_capacity: usize,
    pub(crate) cold_start_wait: Option<Duration>,
    pub(crate) scale_to_zero_after: Duration,
    pub(crate) scale_down_delay: Duration,
    pub(crate) scoring_timeout: Duration,
    /// Of the first replica; the others are good.
    pub(crate) manner: Manner,
    /// Whether outcomes are told, so that replicas are ejected.
    pub(crate) breaker: bool,
}

impl Scenario {
    /// A version with the defaults of SEMANTICS §4, but for a queue wait of 30 s.
    pub(crate) fn new(
        name: &'static str,
        about: &'static str,
        length: f64,
        traffic: Traffic,
    ) -> Self {
        Self {
            name,
            about,
            length,
            traffic,
            service: Duration::from_millis(250),
            start: Duration::from_secs(5),
            slots: 1,
            min: 1,
            max: 100,
            max_queue_wait: Duration::from_secs(30),
            queue_capacity: 1_000,
            cold_start_wait: None,
            scale_to_zero_after: Duration::from_secs(300),
            scale_down_delay: Duration::from_secs(60),
            scoring_timeout: Duration::from_secs(60),
            manner: Manner::Good,
            breaker: true,
        }
    }

    fn slots(&self) -> NonZeroU32 {
        NonZeroU32::new(self.slots).unwrap_or(NonZeroU32::MIN)
    }

    pub(crate) fn rules(&self) -> Rules {
        Rules {
            slots: self.slots(),
            queue_capacity: self.queue_capacity,
            max_queue_wait: self.max_queue_wait,
            cold_start_wait: self.cold_start_wait,
            warm_up: Duration::ZERO,
            replicas_max: self.max,
        }
    }

    pub(crate) fn bounds(&self) -> Bounds {
        Bounds {
            min: self.min,
            max: self.max,
            slots: self.slots(),
            target: Percent::from_percent(70).unwrap_or(Percent::ALL),
            scale_down_delay: self.scale_down_delay,
            scale_to_zero_after: self.scale_to_zero_after,
        }
    }

    /// Runs it under a rule.
    pub(crate) fn run(&self, kind: Kind) -> Figures {
        World::new(self, kind).run()
    }
}

fn rate(points: &[(f64, f64)]) -> Traffic {
    Traffic::Rate(points.to_vec())
}

/// Scaling scenarios, in the order of the page.
pub(crate) fn scaled() -> Vec<Scenario> {
    vec![
        step(),
        short_patience(),
        ramp(),
        bursts(),
        waves(),
        slow_start(),
        many_slots(),
        to_zero(),
        large(),
    ]
}

fn step() -> Scenario {
    let traffic = rate(&[
        (0.0, 2.0),
        (60.0, 2.0),
        (60.0, 80.0),
        (360.0, 80.0),
        (360.0, 2.0),
        (900.0, 2.0),
    ]);
    Scenario::new(
        "step",
        "2 → 80 requests/s at once, for 5 minutes",
        900.0,
        traffic,
    )
}

fn short_patience() -> Scenario {
    let mut scenario = step();
    scenario.name = "step, 500 ms";
    scenario.about = "the same with the default `maxQueueWait` of 500 ms";
    scenario.max_queue_wait = Duration::from_millis(500);
    scenario
}

fn ramp() -> Scenario {
    let traffic = rate(&[
        (0.0, 1.0),
        (60.0, 1.0),
        (360.0, 120.0),
        (660.0, 1.0),
        (1_200.0, 1.0),
    ]);
    Scenario::new(
        "ramp",
        "1 → 120 requests/s and back, 5 minutes each",
        1_200.0,
        traffic,
    )
}

fn bursts() -> Scenario {
    let mut points = vec![(0.0, 2.0)];
    for burst in 1..=10 {
        let at = f64::from(burst) * 90.0;
        points.extend([(at, 2.0), (at, 60.0), (at + 10.0, 60.0), (at + 10.0, 2.0)]);
    }
    let traffic = rate(&points);
    Scenario::new(
        "bursts",
        "10 s of 60 requests/s every 90 s over 2 requests/s",
        1_080.0,
        traffic,
    )
}

fn waves() -> Scenario {
    // A wave of two minutes, as a line through its points.
    let points: Vec<(f64, f64)> = (0..=180)
        .map(|step| f64::from(step) * 10.0)
        .map(|at| (at, 40.0 + 36.0 * (at * std::f64::consts::TAU / 120.0).sin()))
        .collect();
    Scenario::new(
        "waves",
        "4 to 76 requests/s, up and down every 2 minutes",
        1_800.0,
        rate(&points),
    )
}

fn slow_start() -> Scenario {
    let mut scenario = step();
    scenario.name = "slow start";
    scenario.about = "the step with replicas that need 45 s to start, and room for 5,000 callers that wait up to 60 s";
    scenario.queue_capacity = 5_000;
    scenario.start = Duration::from_secs(45);
    scenario.max_queue_wait = Duration::from_secs(60);
    scenario
}

fn many_slots() -> Scenario {
    let traffic = rate(&[
        (0.0, 20.0),
        (60.0, 20.0),
        (60.0, 400.0),
        (360.0, 400.0),
        (360.0, 20.0),
        (720.0, 20.0),
    ]);
    let mut scenario = Scenario::new(
        "many slots",
        "20 → 400 requests/s of 1 s on replicas of 32 slots",
        720.0,
        traffic,
    );
    scenario.slots = 32;
    scenario.max = 40;
    scenario.queue_capacity = 12_800;
    scenario.service = Duration::from_secs(1);
    scenario
}

fn to_zero() -> Scenario {
    let at = vec![30.0, 900.0, 1_800.0, 2_700.0];
    let traffic = Traffic::Bursts { count: 5, at };
    let mut scenario = Scenario::new(
        "to zero",
        "5 requests every 15 minutes, min 0, 8 s to start",
        3_600.0,
        traffic,
    );
    scenario.min = 0;
    scenario.start = Duration::from_secs(8);
    scenario.cold_start_wait = Some(Duration::from_secs(60));
    scenario
}

fn large() -> Scenario {
    let traffic = rate(&[
        (0.0, 1.0),
        (20.0, 1.0),
        (80.0, 3_200.0),
        (140.0, 3_200.0),
        (200.0, 1.0),
        (330.0, 1.0),
    ]);
    let mut scenario = Scenario::new(
        "1 to 5,000",
        "1 → 3,200 requests/s of 1 s and back, a minute each",
        330.0,
        traffic,
    );
    scenario.max = 5_000;
    scenario.queue_capacity = 50_000;
    scenario.service = Duration::from_secs(1);
    scenario
}

/// One replica of four that does not do as it should, at 60 % load, for ten
/// minutes; callers wait up to 5 s.
pub(crate) fn failing(manner: Manner, breaker: bool) -> Scenario {
    let traffic = rate(&[(0.0, 9.6)]);
    let mut scenario = Scenario::new("one of four", "", 600.0, traffic);
    scenario.max = 4;
    scenario.max_queue_wait = Duration::from_secs(5);
    scenario.scoring_timeout = Duration::from_secs(10);
    scenario.manner = manner;
    scenario.breaker = breaker;
    if manner == Manner::Overloads {
        // It says so only where it has slots to be over.
        scenario.slots = 4;
        scenario.traffic = rate(&[(0.0, 38.4)]);
    }
    scenario
}

/// What may be wrong with a replica, in the words of the page.
pub(crate) const MANNERS: [(Manner, &str); 8] = [
    (Manner::Good, "nothing"),
    (Manner::Hangs, "hangs (`scoringTimeout` 10 s)"),
    (Manner::Errors, "answers 500 in 5 ms"),
    (Manner::Closes, "closes every connection"),
    (
        Manner::Killed,
        "is killed every 2 minutes, 5 s to start again",
    ),
    (Manner::NeverReady, "never gets ready"),
    (Manner::Slow, "is ten times slower from birth"),
    (Manner::Overloads, "answers 503 at over 2 of its 4 slots"),
];
