//! How much memory the process may use, and whether it is over.
//!
//! Past the limit no new exchange is taken (503); callers under way are not
//! harmed, and it is over when memory is back below it: the allocator of the
//! binary gives free memory back to the system. Never frees anything itself.
//! Read by `exchange` for every request, at the cost of one load; measured by
//! `app`.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

/// How often the process is measured: what callers can send in that time over
/// loopback is a fraction of what 80 % leaves free.
pub const LOOK: Duration = Duration::from_millis(250);

/// New exchanges are taken again below this share of the limit, in percent, so
/// that the answer does not flap.
const BACK_PERCENT: u64 = 95;

/// The memory of the process against its limit.
#[derive(Debug)]
pub struct Memory {
    limit: u64,
    over: AtomicBool,
}

impl Memory {
    /// With the configured limit in bytes; none: 80 % of what the machine or
    /// its group allows.
    #[must_use]
    pub fn new(configured: Option<u64>) -> Self {
        let limit = configured.unwrap_or_else(|| allowed() / 5 * 4);
        Self {
            limit,
            over: AtomicBool::new(false),
        }
    }

    /// The limit, in bytes.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Whether no new exchange is to be taken.
    #[must_use]
    pub fn over(&self) -> bool {
        self.over.load(Relaxed)
    }

    /// Whether so many bytes are too many, as it stands.
    fn is_past(&self, used: u64) -> bool {
        let back = self.limit / 100 * BACK_PERCENT;
        used > if self.over() { back } else { self.limit }
    }

    /// Measures the process. Tells a change: whether it is over now.
    pub fn measure(&self) -> Option<bool> {
        self.take(used())
    }

    fn take(&self, used: u64) -> Option<bool> {
        let was = self.over();
        let over = self.is_past(used);
        self.over.store(over, Relaxed);
        (over != was).then_some(over)
    }
}

/// Resident bytes of this process; 0 where the system does not tell.
fn used() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    kilobytes(&status, "VmRSS:").unwrap_or(0)
}

/// What the machine, or a control group of this process, allows.
fn allowed() -> u64 {
    let machine = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let machine = kilobytes(&machine, "MemTotal:").unwrap_or(u64::MAX);
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    // `0::/a/b`: version 2, where each level may have a limit of its own.
    let path = groups.lines().find_map(|line| line.strip_prefix("0::"));
    let mut least = machine;
    let mut folder = path.unwrap_or_default().trim_matches('/');
    loop {
        let file = format!("/sys/fs/cgroup/{folder}/memory.max");
        let limit = fs::read_to_string(file).unwrap_or_default();
        least = least.min(limit.trim().parse().unwrap_or(u64::MAX));
        match folder.rsplit_once('/') {
            Some((above, _)) => folder = above,
            None if folder.is_empty() => return least,
            None => folder = "",
        }
    }
}

fn kilobytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    let number: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(number << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn past_the_limit_it_is_over_until_there_is_some_room() {
        let memory = Memory::new(Some(1000));
        assert_eq!(memory.take(1000), None);
        assert_eq!(memory.take(1001), Some(true));
        assert!(memory.over());
        assert_eq!(memory.take(960), None);
        assert_eq!(memory.take(950), Some(false));
        assert!(!memory.over());
    }

    #[test]
    fn without_a_limit_it_is_a_share_of_the_machine() {
        let memory = Memory::new(None);
        assert!(memory.limit() > 64 << 20 && memory.limit() < u64::MAX / 5 * 4);
        assert!(used() > 0);
    }

    #[test]
    fn a_number_is_read_with_its_unit() {
        assert_eq!(
            kilobytes("A: 1 kB\nVmRSS:\t  12 kB\n", "VmRSS:"),
            Some(12 << 10)
        );
        assert_eq!(kilobytes("A: 1 kB\n", "VmRSS:"), None);
    }
}
