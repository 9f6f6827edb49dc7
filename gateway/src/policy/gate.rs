//! A bounded number of places and a bounded wait for one.
//!
//! Serves in arrival order, and never holds more than [`WAITING_MAX`] that
//! wait. Used by `pool`.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::{FaultKind, PolicyFault};

/// Longest wait of an exchange; then `overload` (DESIGN §6). Collect, where no
/// caller waits and a batch would be lost, waits as long as its call may take.
pub(super) const WAIT_MAX: Duration = Duration::from_millis(20);
/// Calls that may wait; one more is `overload` at once (DESIGN §6).
const WAITING_MAX: usize = 64;

/// Places that calls take and leave.
#[derive(Debug)]
pub(super) struct Gate {
    places: Semaphore,
    waiting: AtomicUsize,
}

/// One that waits; counted until it is served or gives up.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Gate {
    pub(super) fn new(places: usize) -> Self {
        Self {
            places: Semaphore::new(places.min(Semaphore::MAX_PERMITS)),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Takes a place where one is free. About 10 ns.
    pub(super) fn try_enter(&self) -> bool {
        let permit = self.places.try_acquire();
        permit.map(|permit| permit.forget()).is_ok()
    }

    /// Takes a place, which [`Gate::leave`] gives back. Cancel-safe: dropped
    /// while it waits, it has taken none.
    pub(super) async fn enter(&self, wait: Duration) -> Result<(), PolicyFault> {
        if self.try_enter() {
            return Ok(());
        }
        let waiting = self.waiting.fetch_add(1, Relaxed);
        let _waiting = Waiting(&self.waiting);
        if waiting >= WAITING_MAX {
            return Err(overload(format!("{waiting} calls wait already")));
        }
        match tokio::time::timeout(wait, self.places.acquire()).await {
            Ok(Ok(permit)) => {
                permit.forget();
                Ok(())
            }
            _ => Err(overload(format!(
                "no instance within {} ms",
                wait.as_millis()
            ))),
        }
    }

    /// Gives back what [`Gate::enter`] took.
    pub(super) fn leave(&self) {
        self.places.add_permits(1);
    }
}

pub(super) fn overload(detail: String) -> PolicyFault {
    PolicyFault {
        kind: FaultKind::Overload,
        detail,
    }
}
