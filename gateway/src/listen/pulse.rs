//! What the timers of a connection need to know: whether it has an exchange,
//! since when a head is open, since when its caller takes nothing.
//!
//! Written by `guard` (bytes) and `serve` (exchanges), read by `drive`, which
//! holds the one timer of a connection. Never sets a timer itself: an exchange
//! costs two relaxed stores and one look at the clock, not a timer. Atomics
//! only because an upgraded connection must be `Send`; one thread writes.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;

use crate::resource::Limits;

/// How long a connection without an exchange is kept once the drain begins: a
/// caller cannot know, and its next request may be on its way. It is answered,
/// with `Connection: close`. `HAProxy` has this as `idle-close-on-response`.
pub(super) const KEPT: Duration = Duration::from_secs(1);

/// The state of one connection, for its timers.
#[derive(Debug)]
pub(super) struct Pulse {
    begun: Instant,
    http2: bool,
    exchanges: AtomicU32,
    /// Times are nanoseconds since `begun`, plus one; 0 is none.
    quiet_since: AtomicU64,
    head_since: AtomicU64,
    stalled_since: AtomicU64,
    raw: AtomicBool,
    asked: AtomicBool,
    held: AtomicBool,
    waiting: AtomicBool,
    open_ended: AtomicBool,
    refused: OnceLock<&'static str>,
}

/// Why a connection is ended by its timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expired {
    /// No exchange for `limits.idleTimeout`.
    Idle,
    /// A head stayed open for `limits.headTimeout`.
    Head,
    /// The caller took no byte for `limits.bodyIdleTimeout`.
    Stalled,
}

impl Pulse {
    /// A connection that begins now.
    pub(super) fn new(http2: bool) -> Self {
        Self {
            begun: Instant::now(),
            http2,
            exchanges: AtomicU32::new(0),
            quiet_since: AtomicU64::new(1),
            head_since: AtomicU64::new(0),
            stalled_since: AtomicU64::new(0),
            raw: AtomicBool::new(false),
            asked: AtomicBool::new(false),
            held: AtomicBool::new(false),
            waiting: AtomicBool::new(false),
            open_ended: AtomicBool::new(false),
            refused: OnceLock::new(),
        }
    }

    /// Time since the connection began.
    pub(super) fn age(&self) -> Duration {
        self.begun.elapsed()
    }

    fn stamp(&self) -> u64 {
        u64::try_from(self.age().as_nanos()).map_or(u64::MAX, |ns| ns.saturating_add(1))
    }

    fn at(&self, stamp: u64) -> Instant {
        self.begun + Duration::from_nanos(stamp.saturating_sub(1))
    }

    /// An exchange begins.
    pub(super) fn exchange_begins(&self) {
        self.exchanges
            .store(self.exchanges.load(Relaxed) + 1, Relaxed);
    }

    /// An exchange has ended.
    pub(super) fn exchange_ends(&self) {
        let left = self.exchanges.load(Relaxed).saturating_sub(1);
        self.exchanges.store(left, Relaxed);
        if left == 0 {
            self.quiet_since.store(self.stamp(), Relaxed);
        }
    }

    /// Whether any exchange is under way.
    pub(super) fn busy(&self) -> bool {
        self.exchanges.load(Relaxed) > 0
    }

    /// Says whether a head is open after a read.
    pub(super) fn head_is_open(&self, open: bool) {
        if !open {
            self.head_since.store(0, Relaxed);
        } else if self.head_since.load(Relaxed) == 0 {
            self.head_since.store(self.stamp(), Relaxed);
        }
    }

    /// A write found no room.
    pub(super) fn write_waits(&self) {
        if self.stalled_since.load(Relaxed) == 0 {
            self.stalled_since.store(self.stamp(), Relaxed);
        }
    }

    /// A write went through.
    pub(super) fn write_went(&self) {
        if self.stalled_since.load(Relaxed) != 0 {
            self.stalled_since.store(0, Relaxed);
            // A slow reader of what a past exchange left is not idle.
            self.quiet_since.store(self.stamp(), Relaxed);
        }
    }

    /// From now on the bytes are no HTTP (after 101).
    pub(super) fn make_raw(&self) {
        self.raw.store(true, Relaxed);
    }

    /// Whether the bytes are no HTTP any more.
    pub(super) fn is_raw(&self) -> bool {
        self.raw.load(Relaxed)
    }

    /// A head has ended that asks for another protocol.
    pub(super) fn upgrade_asked(&self) {
        self.asked.store(true, Relaxed);
        self.held.store(false, Relaxed);
    }

    /// Bytes came that are held until it is answered.
    pub(super) fn hold(&self) {
        self.held.store(true, Relaxed);
    }

    /// Whether it is not answered yet.
    pub(super) fn is_upgrade_asked(&self) -> bool {
        self.asked.load(Relaxed)
    }

    /// It was answered with no: the bytes are HTTP. Whether any are held.
    pub(super) fn upgrade_refused(&self) -> bool {
        self.asked.store(false, Relaxed);
        self.held.load(Relaxed)
    }

    /// Says whether the exchange waits in a queue with its body unread.
    pub(super) fn waits(&self, waiting: bool) {
        self.waiting.store(waiting, Relaxed);
    }

    /// Whether it does: then nobody reads, and a caller that leaves would be
    /// seen by nobody.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting.load(Relaxed)
    }

    /// Says whether an answer is under way whose end is that of the connection.
    pub(super) fn ends_with_the_connection(&self, open: bool) {
        self.open_ended.store(open, Relaxed);
    }

    /// Whether one is: then a clean end of the connection would make a whole
    /// answer of it.
    pub(super) fn is_open_ended(&self) -> bool {
        self.open_ended.load(Relaxed)
    }

    /// Bytes were refused; only the first reason is kept.
    pub(super) fn refuse(&self, why: &'static str) {
        let _ = self.refused.set(why);
    }

    /// Why bytes were refused.
    pub(super) fn refused(&self) -> Option<&'static str> {
        self.refused.get().copied()
    }

    /// When the connection is to be ended, as things stand, and why.
    pub(super) fn deadline(
        &self,
        limits: &Limits,
        draining_since: Option<Instant>,
    ) -> Option<(Instant, Expired)> {
        let stalled = self.stalled_since.load(Relaxed);
        if stalled != 0 {
            return Some((
                self.at(stalled) + limits.body_idle_timeout,
                Expired::Stalled,
            ));
        }
        let head = self.head_since.load(Relaxed);
        let quiet = self.quiet_since.load(Relaxed);
        if self.http2 {
            // An open frame holds up all streams, so they do not excuse it.
            if head != 0 {
                return Some((self.at(head) + limits.head_timeout, Expired::Head));
            }
        } else if head != 0 && !self.busy() {
            // A pipelined head waits for the exchange before it.
            return Some((
                self.at(head.max(quiet)) + limits.head_timeout,
                Expired::Head,
            ));
        }
        if self.busy() {
            return None;
        }
        let idle = self.at(quiet) + limits.idle_timeout;
        let kept = draining_since.map(|since| self.at(quiet).max(since) + KEPT);
        Some((kept.map_or(idle, |kept| kept.min(idle)), Expired::Idle))
    }
}
