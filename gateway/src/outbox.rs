//! Where exchanges leave what is to be collected.
//!
//! Bounded in number and in bytes: what does not fit is dropped and counted, so
//! that collecting never delays an exchange and never fails one. Filled by
//! `exchange`, emptied by `collector`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::sync::mpsc;

use crate::metrics::{Counter, Metrics};
use crate::name::Name;
use crate::policy::CollectedExchange;
use crate::table::CollectEntry;

/// Exchanges that wait for the collector.
pub const WAITING_MAX: usize = 4096;
/// Bytes of their bodies.
pub const WAITING_BYTES_MAX: usize = 64 << 20;
/// What an exchange weighs besides its bodies.
const RECORD_BYTES: usize = 2048;

/// One exchange to be collected.
#[derive(Debug)]
pub struct Collected {
    /// The collect policies of its version.
    pub collect: Arc<[CollectEntry]>,
    /// Which of them keep this exchange: bit n is the policy n. What their
    /// samples drew.
    pub asked: u32,
    /// The exchange.
    pub exchange: CollectedExchange,
}

impl Collected {
    fn bytes(&self) -> usize {
        let body = |body: &Option<crate::policy::CollectedBody>| {
            body.as_ref().map_or(0, |body| body.data.len())
        };
        RECORD_BYTES + body(&self.exchange.request_body) + body(&self.exchange.response_body)
    }
}

/// The sending side. Cheap to share.
#[derive(Debug)]
pub struct Outbox {
    sender: mpsc::Sender<Collected>,
    bytes: Arc<AtomicUsize>,
    metrics: Arc<Metrics>,
}

/// The receiving side.
#[derive(Debug)]
pub struct Inbox {
    receiver: mpsc::Receiver<Collected>,
    bytes: Arc<AtomicUsize>,
}

/// An outbox and its inbox.
#[must_use]
pub fn outbox(metrics: &Arc<Metrics>) -> (Arc<Outbox>, Inbox) {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    let bytes = Arc::new(AtomicUsize::new(0));
    let outbox = Outbox {
        sender,
        bytes: Arc::clone(&bytes),
        metrics: Arc::clone(metrics),
    };
    (Arc::new(outbox), Inbox { receiver, bytes })
}

impl Outbox {
    /// Leaves an exchange, or drops it and counts that. Never waits. Tells
    /// whether it was taken.
    pub fn offer(&self, collected: Collected) -> bool {
        let bytes = collected.bytes();
        if self.bytes.fetch_add(bytes, Relaxed) + bytes > WAITING_BYTES_MAX {
            self.bytes.fetch_sub(bytes, Relaxed);
            self.dropped(&collected, "dropped_bytes").inc();
            return false;
        }
        match self.sender.try_send(collected) {
            Ok(()) => true,
            Err(
                mpsc::error::TrySendError::Full(collected)
                | mpsc::error::TrySendError::Closed(collected),
            ) => {
                self.bytes.fetch_sub(bytes, Relaxed);
                self.dropped(&collected, "dropped_queue").inc();
                false
            }
        }
    }

    fn dropped(&self, collected: &Collected, result: &str) -> Arc<Counter> {
        let endpoint: &Name = &collected.exchange.request.endpoint;
        let version = &collected.exchange.version;
        self.metrics
            .collect_entries
            .with(&[endpoint.as_str(), version.as_str(), result])
    }
}

impl Inbox {
    /// Waits for an exchange and takes what is there, at most `limit`, to the end
    /// of `into`. False when every outbox is gone. Cancel-safe.
    pub async fn take(&mut self, into: &mut Vec<Collected>, limit: usize) -> bool {
        let before = into.len();
        let taken = self.receiver.recv_many(into, limit).await;
        let bytes = into.iter().skip(before).map(Collected::bytes).sum();
        self.bytes.fetch_sub(bytes, Relaxed);
        taken > 0
    }

    /// The next exchange; none when every outbox is gone. Cancel-safe.
    #[cfg(test)]
    pub async fn next(&mut self) -> Option<Collected> {
        let mut one = Vec::new();
        self.take(&mut one, 1).await;
        one.pop()
    }

    /// Takes no more; what waits can still be taken out.
    pub fn close(&mut self) {
        self.receiver.close();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::policy::CollectedBody;
    use crate::policy::tests::exchange;

    fn collected(body: usize) -> Collected {
        let body = CollectedBody {
            data: Bytes::from(vec![0; body]),
            complete: true,
        };
        Collected {
            collect: Arc::new([]),
            asked: 0,
            exchange: CollectedExchange {
                request_body: Some(body),
                ..exchange()
            },
        }
    }

    #[tokio::test]
    async fn what_does_not_fit_is_dropped_and_counted() {
        let metrics = Metrics::new().unwrap();
        let (outbox, mut inbox) = outbox(&metrics);
        for _ in 0..WAITING_MAX {
            assert!(outbox.offer(collected(0)));
        }
        assert!(!outbox.offer(collected(0)));
        let queue = metrics
            .collect_entries
            .with(&["iris", "blue", "dropped_queue"]);
        assert_eq!(queue.value(), 1);
        assert!(inbox.next().await.is_some());
        assert!(outbox.offer(collected(0)));
    }

    #[tokio::test]
    async fn bodies_count_in_bytes() {
        let metrics = Metrics::new().unwrap();
        let (outbox, mut inbox) = outbox(&metrics);
        assert!(outbox.offer(collected(WAITING_BYTES_MAX - RECORD_BYTES)));
        assert!(!outbox.offer(collected(1)));
        assert_eq!(
            metrics
                .collect_entries
                .with(&["iris", "blue", "dropped_bytes"])
                .value(),
            1
        );
        inbox.next().await.unwrap();
        assert!(outbox.offer(collected(1)));
    }
}
