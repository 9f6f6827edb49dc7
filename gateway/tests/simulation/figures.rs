//! What came of a scenario under a rule.

use std::time::Duration;

use tidegate::fleet::roster::Refusal;

/// What an order undoes within this time of another was for nothing.
const FLAP: Duration = Duration::from_secs(60);

/// One second of a scenario.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Second {
    /// Requests that ran and waited, on average.
    pub(crate) need: f64,
    /// Ready replicas.
    pub(crate) ready: u32,
    /// All there were, starting and draining ones too.
    pub(crate) held: u32,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    /// Answered well.
    pub(crate) served: u64,
    /// Sent, and not answered well.
    pub(crate) failed: u64,
    /// Turned away: overloaded.
    pub(crate) overloaded: u64,
    /// Turned away: no replica.
    pub(crate) no_replica: u64,
    /// Replicas that were started.
    pub(crate) starts: u32,
    /// Orders down within a minute of an order up: replicas that were started
    /// and given up at once.
    pub(crate) flaps: u32,
    /// Replicas ordered within a minute of giving up as many.
    pub(crate) undone: u32,
    /// Orders: when, from how many, to how many.
    pub(crate) orders: Vec<(Duration, u32, u32)>,
    /// Second by second.
    pub(crate) seconds: Vec<Second>,
    /// When the first request was answered well.
    pub(crate) first_answer: Option<Duration>,
    waits: Vec<u32>,
    latencies: Vec<u32>,
    last_up: Option<Duration>,
    last_down: Option<(Duration, u32)>,
}

fn micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}

/// The value below which `percent` of the sorted ones are.
fn quantile(sorted: &[u32], percent: usize) -> Duration {
    let place = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    Duration::from_micros(sorted.get(place).copied().unwrap_or(0).into())
}

impl Figures {
    /// A request got its slot after so long.
    pub(crate) fn waited(&mut self, waited: Duration) {
        self.waits.push(micros(waited));
    }

    /// A request ended, so long after it came.
    pub(crate) fn ended(&mut self, good: bool, latency: Duration) {
        if good {
            self.served += 1;
            self.latencies.push(micros(latency));
            self.first_answer.get_or_insert(latency);
        } else {
            self.failed += 1;
        }
    }

    /// A request was turned away after so long.
    pub(crate) fn refused(&mut self, refusal: Refusal, waited: Duration) {
        match refusal {
            Refusal::Overloaded { .. } => self.overloaded += 1,
            Refusal::NoReplica => self.no_replica += 1,
        }
        self.waits.push(micros(waited));
    }

    /// A replica was started.
    pub(crate) fn started(&mut self) {
        self.starts += 1;
    }

    /// The rule changed its mind.
    pub(crate) fn ordered(&mut self, now: Duration, from: u32, to: u32) {
        self.orders.push((now, from, to));
        if to < from {
            self.flaps += u32::from(self.last_up.is_some_and(|up| now - up < FLAP));
            let before = self.last_down.filter(|(down, _)| now - *down < FLAP);
            self.last_down = Some((now, from - to + before.map_or(0, |(_, given_up)| given_up)));
        } else {
            self.last_up = Some(now);
            if let Some((_, given_up)) =
                self.last_down.take().filter(|(down, _)| now - *down < FLAP)
            {
                self.undone += given_up.min(to - from);
            }
        }
    }

    /// A second passed.
    pub(crate) fn second(&mut self, second: Second) {
        self.seconds.push(second);
    }

    /// The scenario is over.
    pub(crate) fn end(&mut self) {
        self.waits.sort_unstable();
        self.latencies.sort_unstable();
    }

    /// All requests that ended.
    pub(crate) fn all(&self) -> u64 {
        self.served + self.failed + self.refusals()
    }

    /// Those that were turned away.
    pub(crate) fn refusals(&self) -> u64 {
        self.overloaded + self.no_replica
    }

    /// Answered well, of all, in percent.
    pub(crate) fn goodput(&self) -> f64 {
        100.0 * self.served as f64 / self.all().max(1) as f64
    }

    /// Time in the queue.
    pub(crate) fn wait(&self, percent: usize) -> Duration {
        quantile(&self.waits, percent)
    }

    /// From coming to the answer, of those that were served.
    pub(crate) fn latency(&self, percent: usize) -> Duration {
        quantile(&self.latencies, percent)
    }

    /// What the replicas cost.
    pub(crate) fn replica_minutes(&self) -> f64 {
        self.seconds
            .iter()
            .map(|second| f64::from(second.held))
            .sum::<f64>()
            / 60.0
    }

    /// The most there were at once.
    pub(crate) fn most(&self) -> u32 {
        self.seconds
            .iter()
            .map(|second| second.held)
            .max()
            .unwrap_or(0)
    }
}
