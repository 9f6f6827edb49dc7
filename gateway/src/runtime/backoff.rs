//! How long a replica that failed waits before it is started again.
//!
//! Pure: time is an argument. Used by the tasks of replicas.

use std::time::Duration;

/// Before the first start after a failure (SEMANTICS §6).
const FIRST: Duration = Duration::from_millis(100);
/// The longest (SEMANTICS §6).
const LONGEST: Duration = Duration::from_secs(30);
/// Ready for that long, a replica begins from the beginning (SEMANTICS §6).
const FORGIVEN_AFTER: Duration = Duration::from_secs(60);

/// The failures of one replica in a row.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The wait after another failure; `ready_for`: how long it had been ready
    /// without a break.
    pub(super) fn next(&mut self, ready_for: Duration) -> Duration {
        if ready_for >= FORGIVEN_AFTER {
            self.failures = 0;
        }
        let wait = FIRST.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX));
        // Past 31 the shift would be refused; the wait is the longest long before.
        self.failures = (self.failures + 1).min(31);
        wait.min(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_from_100_ms_to_30_s() {
        let mut backoff = Backoff::default();
        let waits: Vec<u128> = (0..40)
            .map(|_| backoff.next(Duration::ZERO).as_millis())
            .collect();
        assert_eq!(
            waits[..10],
            [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000]
        );
        assert!(waits[10..].iter().all(|wait| *wait == 30_000));
    }

    #[test]
    fn a_minute_ready_forgives_what_was_before() {
        let mut backoff = Backoff::default();
        for _ in 0..5 {
            backoff.next(Duration::from_secs(59));
        }
        assert_eq!(backoff.next(Duration::from_secs(60)), FIRST);
        assert_eq!(backoff.next(Duration::from_secs(59)), 2 * FIRST);
    }
}
