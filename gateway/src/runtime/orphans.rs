//! Ends what is left of a replica whose guard was killed.
//!
//! The gateway is the subreaper of its guards: what a guard leaves behind
//! becomes the gateway's child. Never touches a guard that is there, or what
//! the gateway starts in its own session. Used by `process`.

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, waitpid};
use tokio::process::{Child, Command};

use super::tree;

/// Between looks.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Looks before what cannot be killed is left: 5 s.
const ROUNDS: u32 = 500;

/// Guards that are there, by their numbers. One set as this process is one: its
/// children are not divided among its machines.
static GUARDS: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// A guard that is there; gone when dropped, which is after it was waited for.
#[derive(Debug)]
pub(super) struct Claim(i32);

impl Drop for Claim {
    fn drop(&mut self) {
        GUARDS.lock().remove(&self.0);
    }
}

/// Starts a guard. Under the lock, so that no look finds one that is unknown.
pub(super) fn start(guard: &mut Command) -> io::Result<(Child, Claim)> {
    let mut guards = GUARDS.lock();
    let child = guard.spawn()?;
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
    let pid = pid.ok_or_else(|| io::Error::other("the guard has no number"))?;
    guards.insert(pid);
    Ok((child, Claim(pid)))
}

/// Ends what lost guards left behind. Cancel-safe: the next call goes on.
pub(super) async fn end() {
    for _ in 0..ROUNDS {
        if !kill_all() {
            return;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    tracing::error!("processes of a replica that lost its guard cannot be killed");
}

/// Kills what lost guards left, and takes its end; whether anything was there.
fn kill_all() -> bool {
    let guards = GUARDS.lock();
    let found = tree::orphans(getpid().as_raw_nonzero().get(), &guards);
    for pid in found.iter().filter_map(|one| Pid::from_raw(one.pid)) {
        let _ = kill_process(pid, Signal::KILL);
    }
    for pid in found.iter().filter_map(|one| Pid::from_raw(one.pid)) {
        // Those that are not our children yet are in the next look.
        let _ = waitpid(Some(pid), WaitOptions::NOHANG);
    }
    !found.is_empty()
}
