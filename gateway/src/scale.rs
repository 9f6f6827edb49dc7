//! How many replicas a version should have (SEMANTICS §6).
//!
//! Up at once, to what the running and waiting requests need; down only to the
//! most that was needed in all of `scaleDownDelay`; to none after
//! `scaleToZeroAfter` without a request, and from none to one, however many wait.
//!
//! Pure: time and load are arguments; integers only. Never starts or stops
//! anything: `reconcile` feeds it at every `refresh` and carries out what it
//! says; the simulation does the same in virtual time.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use crate::units::Percent;

/// Replicas that the load needs now.
///
/// `busy` and `queued` are requests, `slots` the concurrent requests one
/// replica takes, `target` the share of slots that should be busy (0 counts as
/// a hundredth of a percent). Integers, because 21 / 0.7 in floating point
/// rounds up to 31. The caller clamps to the version's bounds.
#[must_use]
pub fn replicas_needed(busy: u32, queued: u32, slots: NonZeroU32, target: Percent) -> u64 {
    let load = (u64::from(busy) + u64::from(queued)) * 10_000;
    load.div_ceil(u64::from(slots.get()) * target.hundredths().max(1))
}

/// Replicas that a planned load needs: the planning formula shown to users.
///
/// `requests` come per second, in thousandths; each takes `each`. Concurrent
/// requests are their product, over `target`; replicas take `slots` of them.
/// 20 rps of 10 s at 70 % and one slot: 286.
#[must_use]
pub fn planned(requests: u64, each: Duration, target: Percent, slots: NonZeroU32) -> u64 {
    let load = u128::from(requests)
        .saturating_mul(each.as_nanos())
        .saturating_mul(10_000);
    let room = 1_000 * 1_000_000_000 * u128::from(target.hundredths().max(1));
    u64::try_from(load.div_ceil(room * u128::from(slots.get()))).unwrap_or(u64::MAX)
}

/// Within what a version scales.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// Fewest replicas.
    pub min: u32,
    /// Most replicas.
    pub max: u32,
    /// Requests one replica runs at once.
    pub slots: NonZeroU32,
    /// Share of slots that should be busy.
    pub target: Percent,
    /// How long fewer must have been enough.
    pub scale_down_delay: Duration,
    /// After how long without a request none is kept; only where `min` is 0.
    pub scale_to_zero_after: Duration,
}

/// What the scaler is told at every look; all but `failing` of the fleet's own
/// counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// Requests that run.
    pub busy: u32,
    /// Requests that wait.
    pub queued: u32,
    /// Replicas that take requests.
    pub ready: u32,
    /// Replicas that are being started.
    pub starting: u32,
    /// Replicas whose last start failed and that wait for their next attempt.
    pub failing: u32,
    /// Requests that ever came, so that traffic between two looks is seen.
    pub arrived: u64,
}

/// The scaler of one version.
#[derive(Debug, Clone)]
pub struct Scaler {
    bounds: Bounds,
    wanted: u32,
    /// Needs of the last `scale_down_delay` that no later one reached: falling
    /// from front to back, so that the front is the largest.
    needs: VecDeque<(Instant, u32)>,
    arrived: u64,
    last_used: Instant,
    /// The first replica was ordered by a request and is not ready yet.
    cold: bool,
}

impl Scaler {
    /// A scaler of a version that has, or is about to have, `wanted` replicas.
    #[must_use]
    pub fn new(bounds: Bounds, now: Instant, wanted: u32) -> Self {
        Self {
            wanted: wanted.clamp(bounds.min, bounds.max),
            bounds,
            needs: VecDeque::from([(now, wanted)]),
            arrived: 0,
            last_used: now,
            cold: false,
        }
    }

    /// What it last said.
    #[must_use]
    pub fn wanted(&self) -> u32 {
        self.wanted
    }

    /// Other bounds, from the next look on. What was needed before counts on.
    pub fn update(&mut self, bounds: Bounds) {
        self.bounds = bounds;
    }

    /// Looks at the load; how many replicas there should be from now on.
    pub fn look(&mut self, now: Instant, load: &Load) -> u32 {
        let used = load.busy + load.queued > 0 || load.arrived != self.arrived;
        self.arrived = load.arrived;
        if used {
            self.last_used = now;
        }
        if load.ready > 0 {
            self.cold = false;
        }
        self.wanted = if self.wanted == 0 {
            self.look_from_none(now, load)
        } else {
            self.look_at_some(now, load)
        };
        self.wanted
    }

    /// From none: as many as must be, or one where anybody waits.
    fn look_from_none(&mut self, now: Instant, load: &Load) -> u32 {
        if self.bounds.min > 0 || load.queued == 0 {
            return self.bounds.min;
        }
        self.cold = true;
        self.needs.clear();
        self.needs.push_back((now, 1));
        1.min(self.bounds.max)
    }

    fn look_at_some(&mut self, now: Instant, load: &Load) -> u32 {
        let bounds = &self.bounds;
        let idle = now.duration_since(self.last_used);
        if bounds.min == 0 && load.busy + load.queued == 0 && idle >= bounds.scale_to_zero_after {
            self.needs.clear();
            return 0;
        }
        let least = bounds.min.max(1);
        let most = bounds.max.max(least);
        let need = replicas_needed(load.busy, load.queued, bounds.slots, bounds.target);
        let mut need = u32::try_from(need).unwrap_or(u32::MAX).clamp(least, most);
        // One start is tried before more are ordered: the first from none, and
        // while a replica cannot start.
        if self.cold || load.failing > 0 {
            need = need.min(self.wanted);
        }
        self.remember(now, need);
        let largest = self.needs.front().map_or(need, |(_, need)| *need);
        largest.clamp(least, most)
    }

    /// Puts a need into the window of `scale_down_delay`.
    fn remember(&mut self, now: Instant, need: u32) {
        while self.needs.back().is_some_and(|(_, before)| *before <= need) {
            self.needs.pop_back();
        }
        self.needs.push_back((now, need));
        let delay = self.bounds.scale_down_delay;
        while self.needs.len() > 1
            && self
                .needs
                .front()
                .is_some_and(|(at, _)| now.duration_since(*at) >= delay)
        {
            self.needs.pop_front();
        }
    }
}

#[cfg(test)]
mod tests;
