//! What a row of probes means: ready or not.
//!
//! Pure: knows no clock and sends nothing; `watch` probes and tells. The same
//! rule serves readiness (which takes out) and liveness (which restarts).

use std::time::Duration;

use twox_hash::XxHash3_64;

use crate::id::ReplicaId;
use crate::name::Name;
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
    /// Until the first full period.
    phase: Option<Phase>,
}

/// When in the period a replica is probed: replicas that became ready together,
/// as after a start, are not all probed in one moment ever after.
#[derive(Debug, Clone, Copy)]
pub(super) struct Phase(f64);

impl Phase {
    /// Of the replica `id` of `endpoint`: always the same.
    pub(super) fn new(endpoint: &Name, id: &ReplicaId) -> Self {
        let text = format!("{endpoint}/{id}");
        Self(XxHash3_64::oneshot(text.as_bytes()) as f64 / u64::MAX as f64)
    }
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
    pub(super) const fn new(phase: Phase) -> Self {
        Self {
            ready: false,
            succeeded: false,
            row: 0,
            phase: Some(phase),
        }
    }

    /// Of a replica that counts as well until its probes say otherwise: for liveness.
    pub(super) const fn alive(phase: Phase) -> Self {
        Self {
            ready: true,
            succeeded: true,
            row: 0,
            phase: Some(phase),
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

    /// From the start of the probe that was judged to the start of the next. Once
    /// shorter than the period, by the replica's phase, after a probe that said
    /// nothing against what the replica is.
    pub(super) fn until_next(&mut self, probe: &Probe) -> Duration {
        if !self.succeeded {
            return PERIOD_UNTIL_FIRST.min(probe.period);
        }
        if self.row == 0
            && let Some(Phase(share)) = self.phase.take()
        {
            return probe.period.mul_f64(share);
        }
        probe.period
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
        let mut health = Health::new(Phase(0.25));
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
        let mut health = Health::new(Phase(0.25));
        assert_eq!(health.until_next(&probe), Duration::from_millis(100));
        health.judge(&probe, false);
        assert_eq!(health.until_next(&probe), Duration::from_millis(100));
        health.judge(&probe, true);
        assert_eq!(health.until_next(&probe), probe.period.mul_f64(0.25));
        for _ in 0..3 {
            assert_eq!(health.until_next(&probe), probe.period);
            health.judge(&probe, false);
        }
        assert!(!health.ready());
        assert_eq!(health.until_next(&probe), probe.period);
    }

    #[test]
    fn the_phase_shortens_no_row_of_failures() {
        let probe = probe(1, 3);
        let mut health = Health::alive(Phase(0.25));
        for _ in 0..2 {
            health.judge(&probe, false);
            assert_eq!(health.until_next(&probe), probe.period);
        }
        health.judge(&probe, true);
        assert_eq!(health.until_next(&probe), probe.period.mul_f64(0.25));
        assert_eq!(health.until_next(&probe), probe.period);
    }

    #[test]
    fn replicas_are_spread_over_the_period() {
        let mut tenths = [0; 10];
        for number in 0..10_000 {
            let endpoint = Name::parse(&format!("model-{number}")).unwrap();
            let id = ReplicaId::new(&Name::parse("blue").unwrap(), 1);
            let Phase(share) = Phase::new(&endpoint, &id);
            tenths[((share * 10.0) as usize).min(9)] += 1;
        }
        assert!(tenths.iter().all(|n| (900..1100).contains(n)), "{tenths:?}");
    }
}
