//! The engine's clock: it ticks while plugins are called, and rests while none
//! is, so that a gateway nobody calls does not wake a thousand times a second.
//!
//! Never rests while a call is under way: a guest that computes for ever would
//! keep its worker. Used by `instance`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::{self, Thread};
use std::time::Duration;

use wasmtime::{Engine, EngineWeak};

use super::HostError;

/// What a guest computes before it gives the worker to others, and the unit of
/// its CPU budget.
pub(super) const TICK: Duration = Duration::from_millis(1);

/// Ticks that found no call under way before it rests: between two calls of a
/// gateway at work it does not, because waking it costs the next call a
/// microsecond or two.
const QUIET_TICKS: u32 = 100;

/// The longest rest: after it the thread looks whether its engine is still there.
const REST: Duration = Duration::from_secs(1);

/// The clock of one engine.
#[derive(Debug)]
pub(super) struct Clock {
    /// Calls under way.
    calls: AtomicUsize,
    resting: AtomicBool,
    thread: Thread,
}

impl Clock {
    /// Starts it: one thread, which ends with the engine.
    pub(super) fn start(engine: &Engine) -> Result<Arc<Self>, HostError> {
        let engine = engine.weak();
        let (given, clock) = std::sync::mpsc::channel::<Arc<Self>>();
        let started = thread::Builder::new()
            .name("policy-clock".to_owned())
            .spawn(move || {
                if let Ok(clock) = clock.recv() {
                    clock.run(&engine);
                }
            })
            .map_err(HostError::Thread)?;
        let clock = Arc::new(Self {
            calls: AtomicUsize::new(0),
            resting: AtomicBool::new(false),
            thread: started.thread().clone(),
        });
        // Its thread waits for it.
        let _sent = given.send(Arc::clone(&clock));
        Ok(clock)
    }

    fn run(&self, engine: &EngineWeak) {
        let mut quiet = 0;
        while let Some(engine) = engine.upgrade() {
            engine.increment_epoch();
            drop(engine);
            quiet = match self.calls.load(SeqCst) {
                0 => quiet + 1,
                _ => 0,
            };
            if quiet < QUIET_TICKS {
                thread::sleep(TICK);
            } else if self.rest() {
                quiet = 0;
            } else {
                quiet = QUIET_TICKS;
            }
        }
    }

    /// Rests until a call wakes it, or for [`REST`]; whether a call did.
    fn rest(&self) -> bool {
        self.resting.store(true, SeqCst);
        // A call that came before that did not see it; one that comes after it
        // wakes the thread, even where it does not sleep yet.
        if self.calls.load(SeqCst) == 0 {
            thread::park_timeout(REST);
        }
        !self.resting.swap(false, SeqCst) || self.calls.load(SeqCst) > 0
    }

    /// A call begins.
    fn enter(&self) {
        self.calls.fetch_add(1, SeqCst);
        if self.resting.load(SeqCst) && self.resting.swap(false, SeqCst) {
            self.thread.unpark();
        }
    }

    fn leave(&self) {
        self.calls.fetch_sub(1, SeqCst);
    }

    /// Whether it rests now.
    #[cfg(test)]
    pub(super) fn rests(&self) -> bool {
        self.resting.load(SeqCst)
    }
}

/// What one instance has of the clock. Dropped in a call, it ends it.
#[derive(Debug)]
pub(super) struct Hold {
    clock: Arc<Clock>,
    held: bool,
}

impl Hold {
    /// Of an instance that is not called yet.
    pub(super) fn new(clock: &Arc<Clock>) -> Self {
        Self {
            clock: Arc::clone(clock),
            held: false,
        }
    }

    /// A call begins: the clock ticks until its end.
    pub(super) fn take(&mut self) {
        if !std::mem::replace(&mut self.held, true) {
            self.clock.enter();
        }
    }

    /// The call ended.
    pub(super) fn give(&mut self) {
        if std::mem::replace(&mut self.held, false) {
            self.clock.leave();
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.give();
    }
}
