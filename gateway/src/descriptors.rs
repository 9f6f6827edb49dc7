//! How many files and sockets the process may have open, and how many callers
//! fit into that.
//!
//! A caller's connection may need another one to a replica, and somebody has to
//! be able to ask what is wrong: so callers get half of what a reserve leaves.
//! Without it the last descriptors go to callers, and then neither a replica
//! nor the admin API can be reached. Never counts what is open. Called by
//! `app`; `runtime` gives replicas the limit that was found.

use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Kept for the admin API, probes, pipes of replicas, logs and the store.
const RESERVE: u64 = 64;
/// Fewer connections than this are no gateway, whatever the system allows.
const CONNECTIONS_MIN: usize = 16;

/// The soft limit that was found, before [`raise`].
static FOUND: OnceLock<Option<u64>> = OnceLock::new();

/// Raises the soft limit to the hard one, as servers do: the soft one is low
/// for the sake of programs that use `select`. Returns what holds now; none:
/// no limit.
pub fn raise() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    FOUND.get_or_init(|| limit.current);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(error) => {
            tracing::debug!(%error, "the limit of open files stays as it is");
            limit.current
        }
    }
}

/// The limit that replicas are started with: what the gateway was given itself.
/// None where there is none, or where it was not raised.
#[must_use]
pub fn found() -> Option<u64> {
    FOUND.get().copied().flatten()
}

/// Sets this process's soft limit, where it is lower than what holds.
pub fn lower(soft: u64) {
    let limit = getrlimit(Resource::Nofile);
    let lowered = Rlimit {
        current: Some(soft),
        maximum: limit.maximum,
    };
    if limit.current.is_none_or(|current| soft < current)
        && let Err(error) = setrlimit(Resource::Nofile, lowered)
    {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}

/// How many of the `wanted` connections of callers fit into `open` files.
#[must_use]
pub fn connections(wanted: usize, open: Option<u64>) -> usize {
    let Some(open) = open else { return wanted };
    let fit = usize::try_from(open.saturating_sub(RESERVE) / 2).unwrap_or(usize::MAX);
    wanted.min(fit.max(CONNECTIONS_MIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_caller_has_room_for_a_replica_and_the_reserve_stays() {
        assert_eq!(connections(10_000, None), 10_000);
        assert_eq!(connections(10_000, Some(1 << 20)), 10_000);
        assert_eq!(connections(10_000, Some(1024)), 480);
        assert_eq!(connections(100, Some(1024)), 100);
        assert_eq!(connections(10_000, Some(0)), CONNECTIONS_MIN);
    }
}
