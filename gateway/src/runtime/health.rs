//! What a row of probes means: ready or not.
//!
//! Pure: knows no clock and sends nothing; `watch` probes and tells. The same
//! rule serves readiness (which takes out) and liveness (which restarts).

use std::time::Duration;

use crate::resource::Probe;

/// Between probes until the first success (SEMANTICS §4, ours).
const PERIOD_UNTIL_FIRST: Duration = Duration::from_millis(100);

/// What the probes of one replica said so far.
#[derive(Debug, Clone)]
pub(super) struct Health {
    ready: bool,
    succeeded: bool,
    /// Outcomes in a row that speak against what it is now.
    row: u32,
}

/// A replica became what it was not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// It may have requests.
    Ready,
    /// It may not.
    NotReady,
}

impl Health {
    /// Of a replica that was not probed yet: not ready.
    pub(super) const fn new() -> Self {
        Self {
            ready: false,
            succeeded: false,
            row: 0,
        }
    }

    /// Of a replica that counts as well until its probes say otherwise: for liveness.
    pub(super) const fn alive() -> Self {
        Self {
            ready: true,
            succeeded: true,
            row: 0,
        }
    }

    /// Whether it may have requests.
    pub(super) const fn ready(&self) -> bool {
        self.ready
    }

    /// Takes the outcome of one probe.
    pub(super) fn judge(&mut self, probe: &Probe, ok: bool) -> Option<Change> {
        self.succeeded |= ok;
        if ok == self.ready {
            self.row = 0;
            return None;
        }
        self.row = self.row.saturating_add(1);
        let (threshold, change) = if ok {
            (probe.success_threshold, Change::Ready)
        } else {
            (probe.failure_threshold, Change::NotReady)
        };
        if self.row < threshold {
            return None;
        }
        self.ready = ok;
        self.row = 0;
        Some(change)
    }

    /// From the start of one probe to the start of the next.
    pub(super) fn period(&self, probe: &Probe) -> Duration {
        if self.succeeded {
            probe.period
        } else {
            PERIOD_UNTIL_FIRST.min(probe.period)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(success: u32, failure: u32) -> Probe {
        Probe {
            path: None,
            period: Duration::from_secs(10),
            timeout: Duration::from_secs(2),
            success_threshold: success,
            failure_threshold: failure,
            initial_delay: Duration::ZERO,
        }
    }

    /// Each outcome (`+` a success, `-` a failure) and after it the state: `R`, `n`.
    #[track_caller]
    fn check(success: u32, failure: u32, outcomes: &str, states: &str) {
        let probe = probe(success, failure);
        let mut health = Health::new();
        let seen: String = outcomes
            .chars()
            .map(|outcome| {
                let before = health.ready();
                let change = health.judge(&probe, outcome == '+');
                assert_eq!(change.is_some(), before != health.ready());
                if health.ready() { 'R' } else { 'n' }
            })
            .collect();
        assert_eq!(seen, states, "{success} {failure} {outcomes}");
    }

    #[test]
    fn thresholds_count_outcomes_in_a_row() {
        check(1, 3, "--+--+---+", "nnRRRRRRnR");
        check(2, 1, "+-++-+", "nnnRnn");
        check(1, 1, "+-+-", "RnRn");
    }

    #[test]
    fn probes_are_close_until_the_first_success() {
        let probe = probe(1, 3);
        let mut health = Health::new();
        assert_eq!(health.period(&probe), Duration::from_millis(100));
        health.judge(&probe, false);
        assert_eq!(health.period(&probe), Duration::from_millis(100));
        health.judge(&probe, true);
        assert_eq!(health.period(&probe), probe.period);
        for _ in 0..3 {
            health.judge(&probe, false);
        }
        assert!(!health.ready());
        assert_eq!(health.period(&probe), probe.period);
    }
}
