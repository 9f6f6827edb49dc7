//! What a version's replicas did lately, in two figures: how soon they answer
//! and how often they fail. A split policy is shown them with each candidate.
//!
//! Bounded, and takes no lock of its own: each exchange adds to it when it gives
//! its slot back, under the fleet's lock. Never decides anything; ejecting
//! replicas is `breaker`'s.

use std::time::{Duration, Instant};

use super::{Counts, Fleet};

/// Answers whose time is remembered: enough for a median that is steady, few
/// enough to follow a model that became slower.
const TIMES: usize = 128;
/// The median is taken anew after so many answers: sorting at each would cost
/// an exchange half a microsecond.
const TIMES_BETWEEN: usize = 16;
/// After so many ended requests both counts are halved, so that the share of
/// failures is that of about the last one to two thousand.
const ENDED_MAX: u32 = 2_048;
/// Figures of a version that had no request for so long say nothing of it any
/// more; a policy that left it for its failures can try it again.
const FORGET: Duration = Duration::from_secs(300);

/// A version's figures; each 0 where nothing is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Figures {
    /// Half of the last 128 answers came sooner: milliseconds from slot to head,
    /// at least 1. Answers of 5xx and of 101 do not count.
    pub latency_ms_p50: u32,
    /// Of the last one to two thousand requests, those that failed, per 10,000:
    /// 5xx, no answer in time, or a connection that broke.
    pub errors_per_10k: u32,
}

/// What figures are made of.
#[derive(Debug)]
pub(super) struct Recent {
    times_us: [u32; TIMES],
    /// Answers ever taken, so that the next one's place is known.
    answers: usize,
    ended: u32,
    failed: u32,
    last: Option<Instant>,
    shown: Figures,
}

impl Default for Recent {
    fn default() -> Self {
        Self {
            times_us: [0; TIMES],
            answers: 0,
            ended: 0,
            failed: 0,
            last: None,
            shown: Figures::default(),
        }
    }
}

impl Recent {
    /// Takes a request that ended: when its answer came, where it did, and
    /// whether it failed.
    pub(super) fn take(&mut self, now: Instant, answered: Option<Duration>, failed: bool) {
        self.last = Some(now);
        if self.ended >= ENDED_MAX {
            self.ended /= 2;
            self.failed /= 2;
        }
        self.ended += 1;
        self.failed += u32::from(failed);
        self.shown.errors_per_10k = self.failed * 10_000 / self.ended;
        let Some(answered) = answered.filter(|_| !failed) else {
            return;
        };
        if let Some(time) = self.times_us.get_mut(self.answers % TIMES) {
            *time = u32::try_from(answered.as_micros()).unwrap_or(u32::MAX);
        }
        self.answers = self.answers.wrapping_add(1);
        if self.answers < TIMES_BETWEEN || self.answers.is_multiple_of(TIMES_BETWEEN) {
            self.shown.latency_ms_p50 = self.median_ms();
        }
    }

    fn median_ms(&self) -> u32 {
        let mut times = self.times_us;
        let known = self.answers.min(TIMES);
        let Some(times) = times.get_mut(..known).filter(|times| !times.is_empty()) else {
            return 0;
        };
        let middle = (times.len() - 1) / 2;
        let (_, median_us, _) = times.select_nth_unstable(middle);
        median_us.div_ceil(1_000).max(1)
    }

    /// Forgets what is too long ago to say anything.
    pub(super) fn fade(&mut self, now: Instant) {
        let old = |last| now.duration_since(last) >= FORGET;
        if self.last.is_some_and(old) {
            *self = Self::default();
        }
    }

    /// The figures as they are.
    pub(super) fn figures(&self) -> Figures {
        self.shown
    }
}

impl Fleet {
    /// Whether it takes its version's share, the sums as they were left, and
    /// its figures: one short lock, for each candidate of each exchange.
    #[must_use]
    pub fn look(&self) -> (bool, Counts, Figures) {
        let state = self.state.lock();
        let figures = state.recent.figures();
        (state.roster.takes_share(), state.counts(), figures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Option<Duration> {
        Some(Duration::from_millis(ms))
    }

    #[test]
    fn the_median_is_that_of_the_last_answers() {
        let now = Instant::now();
        let mut recent = Recent::default();
        assert_eq!(recent.figures(), Figures::default());
        recent.take(now, Some(Duration::from_micros(20)), false);
        assert_eq!(recent.figures().latency_ms_p50, 1, "known is never 0");
        for _ in 0..300 {
            recent.take(now, ms(40), false);
        }
        assert_eq!(recent.figures().latency_ms_p50, 40);
        // Slower from now on: told after half of what is remembered.
        for _ in 0..80 {
            recent.take(now, ms(90), false);
        }
        assert_eq!(recent.figures().latency_ms_p50, 90);
        for _ in 0..500 {
            recent.take(now, None, true);
            recent.take(now, ms(1), true);
        }
        let figures = recent.figures();
        assert_eq!(figures.latency_ms_p50, 90, "failures have no latency");
        assert!(figures.errors_per_10k > 7_000, "{figures:?}");
    }

    #[test]
    fn failures_fade_with_what_comes_after_them() {
        let now = Instant::now();
        let mut recent = Recent::default();
        for i in 0..1_000 {
            recent.take(now, ms(1), i % 100 == 0);
        }
        assert_eq!(recent.figures().errors_per_10k, 100);
        for _ in 0..20_000 {
            recent.take(now, ms(1), false);
        }
        assert_eq!(recent.figures().errors_per_10k, 0);
    }

    #[test]
    fn what_was_long_ago_says_nothing() {
        let now = Instant::now();
        let mut recent = Recent::default();
        recent.take(now, None, true);
        recent.fade(now + FORGET - Duration::from_secs(1));
        assert_eq!(recent.figures().errors_per_10k, 10_000);
        recent.fade(now + FORGET);
        assert_eq!(recent.figures(), Figures::default());
    }
}
