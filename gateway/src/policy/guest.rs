//! What the host keeps beside one instance: its limits, what is left of them,
//! and what it is lent.
//!
//! Never outlives its store, and never refers to the policy that owns it, so
//! that a policy and its instances cannot keep each other alive. Used by
//! `instance` (limits) and `lend` (what is lent).

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wasmtime::{ResourceLimiter, UpdateDeadline};

use super::clock::TICK;
use super::engine::TABLE_ELEMENTS_MAX;
use super::lend::Lent;

/// Log lines of one call; more are dropped and counted.
pub(super) const LOG_LINES_MAX: u32 = 64;

/// The data of a store.
pub(super) struct Guest {
    pub(super) memory: Memory,
    pub(super) budget: Budget,
    pub(super) lent: Arc<Lent>,
    /// Of this call.
    pub(super) log_lines: u32,
    /// The last line of this call that said `error`: a panic's message.
    pub(super) last_error: Option<String>,
    /// When this call first asked for the time, which stands still in a call.
    pub(super) now_ms: Option<u64>,
    /// The earliest end of a credential that matched in this call.
    pub(super) credential_ends_ms: Option<u64>,
}

impl Guest {
    pub(super) fn new(lent: Arc<Lent>, memory_bytes: u64) -> Self {
        Self {
            memory: Memory::new(memory_bytes),
            budget: Budget::default(),
            lent,
            log_lines: 0,
            last_error: None,
            now_ms: None,
            credential_ends_ms: None,
        }
    }

    /// Before every call: nothing of the last one remains.
    pub(super) fn begin(&mut self, cpu: Duration, until: Instant) {
        self.memory.refused = false;
        self.budget = Budget::new(cpu, until);
        self.log_lines = 0;
        self.last_error = None;
        self.now_ms = None;
        self.credential_ends_ms = None;
    }
}

impl fmt::Debug for Guest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guest").finish_non_exhaustive()
    }
}

/// Why a call was interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    /// Its CPU time was used up.
    Cpu,
    /// Its wall time was used up.
    Wall,
}

/// What a call may still compute. A tick that passes while the guest waits on
/// the host, or while others have the worker, costs it nothing: ticks are
/// counted where the guest itself meets one.
#[derive(Debug)]
pub(super) struct Budget {
    ticks: u32,
    met: bool,
    until: Option<Instant>,
    pub(super) over: Option<Over>,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            ticks: 1,
            met: false,
            until: None,
            over: None,
        }
    }
}

impl Budget {
    pub(super) fn new(cpu: Duration, until: Instant) -> Self {
        let ticks = cpu.as_nanos().div_ceil(TICK.as_nanos());
        Self {
            ticks: u32::try_from(ticks).unwrap_or(u32::MAX),
            met: false,
            until: Some(until),
            over: None,
        }
    }

    /// The guest met a tick: it gives the worker to others, or has used up
    /// what it had.
    pub(super) fn meet_tick(&mut self, now: Instant) -> UpdateDeadline {
        // Not at the first tick: there the guest may have computed for a
        // microsecond, while the machine had taken the core away.
        let late = self.met && self.until.is_some_and(|until| now >= until);
        self.met = true;
        if late {
            self.over = Some(Over::Wall);
            return UpdateDeadline::Interrupt;
        }
        match self.ticks.checked_sub(1) {
            Some(left) => {
                self.ticks = left;
                UpdateDeadline::Yield(1)
            }
            None => {
                self.over = Some(Over::Cpu);
                UpdateDeadline::Interrupt
            }
        }
    }
}

/// Memory of one instance, summed over its memories.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) used: usize,
    limit: usize,
    /// What the growth under way asked for; taken back where it fails.
    asked: usize,
    /// A growth was refused in this call.
    pub(super) refused: bool,
}

impl Memory {
    fn new(limit: u64) -> Self {
        Self {
            used: 0,
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
            asked: 0,
            refused: false,
        }
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }
}

impl ResourceLimiter for Memory {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current);
        let sum = self.used.saturating_add(more);
        if sum > self.limit {
            self.refused = true;
            self.asked = 0;
            return Ok(false);
        }
        self.used = sum;
        self.asked = more;
        Ok(true)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.used = self.used.saturating_sub(self.asked);
        self.asked = 0;
        self.refused = true;
        Ok(())
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let fits = desired <= TABLE_ELEMENTS_MAX;
        self.refused |= !fits;
        Ok(fits)
    }

    // The same numbers as the pool's, for the engine without one.
    fn instances(&self) -> usize {
        64
    }

    fn tables(&self) -> usize {
        8
    }

    fn memories(&self) -> usize {
        4
    }
}
