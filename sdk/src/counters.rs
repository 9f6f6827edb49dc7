//! The operator's rate limiters. Roles `auth` and `split`.

pub use crate::bindings::host::tidegate::policy::counters::Verdict;

/// Whether the operator has a limiter of this name; ask in `new`.
#[must_use]
pub fn known(limiter: &str) -> bool {
    #[cfg(target_arch = "wasm32")]
    {
        crate::bindings::host::tidegate::policy::counters::known(limiter)
    }
    #[cfg(not(target_arch = "wasm32"))]
    {
        crate::fake::with(|fake| fake.limiters.contains_key(limiter))
    }
}

/// Takes `cost` from the limiter's share of `key`; `None` where there is no
/// such limiter.
#[must_use]
pub fn take(limiter: &str, key: &str, cost: u64) -> Option<Verdict> {
    #[cfg(target_arch = "wasm32")]
    {
        crate::bindings::host::tidegate::policy::counters::take(limiter, key, cost)
    }
    #[cfg(not(target_arch = "wasm32"))]
    {
        crate::fake::with(|fake| {
            let capacity = *fake.limiters.get(limiter)?;
            let taken = fake
                .taken
                .entry((limiter.to_owned(), key.to_owned()))
                .or_default();
            let allowed = taken.saturating_add(cost) <= capacity;
            if allowed {
                *taken += cost;
            }
            let remaining = capacity.saturating_sub(*taken);
            Some(Verdict {
                allowed,
                remaining,
                retry_after_ms: if allowed { 0 } else { 1000 },
            })
        })
    }
}
