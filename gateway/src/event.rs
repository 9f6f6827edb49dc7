//! What happened, for people: deployed, scaled, swapped, restarted, refused.
//!
//! Keeps the last [`EVENTS_MAX`] in memory and never blocks who tells of one.
//! Ids grow also over a restart. Told by `reconcile`, read by `admin`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::broadcast;

use crate::id::wall_clock;

/// Events that are kept; older ones are forgotten.
pub const EVENTS_MAX: usize = 1024;

/// One event (SEMANTICS §13).
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Event {
    /// Grows, also over a restart of the gateway: by one from one event to the
    /// next, and from the milliseconds since 1970 at which it started.
    pub id: u64,
    /// When, RFC 3339 in UTC.
    pub time: String,
    /// What kind: `Swapped`, `Restarted`, …
    pub kind: &'static str,
    /// What it is about: `endpoint/iris`.
    pub object: String,
    /// In words.
    pub message: String,
}

/// The events of one gateway.
#[derive(Debug)]
pub struct Events {
    kept: Mutex<(u64, VecDeque<Arc<Event>>)>,
    live: broadcast::Sender<Arc<Event>>,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            kept: Mutex::default(),
            live: broadcast::channel(256).0,
        }
    }
}

impl Events {
    /// Those of a gateway that starts now: whoever follows over a restart asks
    /// for what came after the last id it saw.
    #[must_use]
    pub fn starting(now: SystemTime) -> Self {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let first = u64::try_from(since.as_millis()).unwrap_or_default();
        Self {
            kept: Mutex::new((first, VecDeque::new())),
            ..Self::default()
        }
    }

    /// Tells of an event, in the log too.
    pub fn tell(&self, kind: &'static str, object: &str, message: &str) {
        tracing::info!(kind, object, "{message}");
        self.keep(kind, object, message);
    }

    /// The same of what somebody has to look at.
    pub fn warn(&self, kind: &'static str, object: &str, message: &str) {
        tracing::warn!(kind, object, "{message}");
        self.keep(kind, object, message);
    }

    fn keep(&self, kind: &'static str, object: &str, message: &str) {
        let time = jiff::Timestamp::try_from(wall_clock())
            .unwrap_or_default()
            .to_string();
        let mut kept = self.kept.lock();
        kept.0 += 1;
        let event = Arc::new(Event {
            id: kept.0,
            time,
            kind,
            object: object.to_owned(),
            message: message.to_owned(),
        });
        if kept.1.len() == EVENTS_MAX {
            kept.1.pop_front();
        }
        kept.1.push_back(Arc::clone(&event));
        drop(kept);
        // Nobody listening is no error.
        let _ = self.live.send(event);
    }

    /// Those after `since` that are kept, oldest first.
    #[must_use]
    pub fn since(&self, since: u64) -> Vec<Arc<Event>> {
        self.kept
            .lock()
            .1
            .iter()
            .filter(|event| event.id > since)
            .map(Arc::clone)
            .collect()
    }

    /// Those to come.
    #[must_use]
    pub fn follow(&self) -> broadcast::Receiver<Arc<Event>> {
        self.live.subscribe()
    }
}

/// News of one kind that are told at once, before they are bounded: a version of
/// that many replicas tells of each.
const BURST: u32 = 32;
/// Then one is told in this time.
const REFILL: Duration = Duration::from_secs(30);

/// Bounds what one object tells, so that a flapping replica pushes nobody else's
/// events out. Time is an argument.
#[derive(Debug)]
pub struct Budget {
    left: u32,
    since: Instant,
    untold: u32,
}

impl Budget {
    /// A full one.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            left: BURST,
            since: now,
            untold: 0,
        }
    }

    /// The message to tell now, with how many like it were not told before it;
    /// none where this is one too many.
    pub fn take(&mut self, now: Instant, message: &str) -> Option<String> {
        let passed = now.saturating_duration_since(self.since);
        let more = u32::try_from(passed.as_secs() / REFILL.as_secs()).unwrap_or(u32::MAX);
        if self.left.saturating_add(more) >= BURST {
            self.left = BURST;
            self.since = now;
        } else {
            self.left += more;
            self.since += REFILL * more;
        }
        if self.left == 0 {
            self.untold = self.untold.saturating_add(1);
            return None;
        }
        self.left -= 1;
        Some(match std::mem::take(&mut self.untold) {
            0 => message.to_owned(),
            untold => format!("{message} ({untold} more like this were not told)"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_flaps_is_told_of_now_and_then_and_how_often() {
        let begin = Instant::now();
        let mut budget = Budget::new(begin);
        let at = |seconds| begin + Duration::from_secs(seconds);
        let told = (0..BURST + 5).filter(|_| budget.take(at(1), "it ended").is_some());
        assert_eq!(told.count(), BURST as usize);
        let next = budget.take(at(31), "it ended").unwrap();
        assert_eq!(next, "it ended (5 more like this were not told)");
        assert_eq!(budget.take(at(59), "it ended"), None);
        // Two more in a minute, and all after a while of quiet.
        let told = (0..BURST).filter(|_| budget.take(at(100), "x").is_some());
        assert_eq!(told.count(), 2);
        let told = (0..BURST).filter(|_| budget.take(at(2_000), "x").is_some());
        assert_eq!(told.count(), BURST as usize);
    }

    #[test]
    fn the_oldest_events_are_forgotten_and_ids_go_on() {
        let events = Events::default();
        for n in 0..=EVENTS_MAX {
            events.tell("Test", "endpoint/iris", &n.to_string());
        }
        let kept = events.since(0);
        assert_eq!(kept.len(), EVENTS_MAX);
        assert_eq!(kept[0].id, 2);
        assert_eq!(events.since(EVENTS_MAX as u64).len(), 1);
    }
}
