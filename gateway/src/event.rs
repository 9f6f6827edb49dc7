//! What happened, for people: deployed, scaled, swapped, restarted, refused.
//!
//! Keeps the last [`EVENTS_MAX`] in memory and never blocks who tells of one.
//! Told by `reconcile`, read by `admin`.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::broadcast;

use crate::id::wall_clock;

/// Events that are kept; older ones are forgotten.
pub const EVENTS_MAX: usize = 1024;

/// One event (SEMANTICS §13).
#[derive(Debug, Clone, Serialize)]
pub struct Event {
    /// Grows by one.
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
    /// Tells of an event, in the log too.
    pub fn tell(&self, kind: &'static str, object: &str, message: &str) {
        tracing::info!(kind, object, "{message}");
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

#[cfg(test)]
mod tests {
    use super::*;

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
