//! The one place tasks are spawned through, so that shutdown can wait for them.
//!
//! Never decides when to shut down (`app` does). Used by every layer that runs
//! anything beside its caller.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// Tasks of one runtime and the signal that ends them. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
    /// Set before the token, which is a lock: exchanges ask on every request.
    stopping: Arc<AtomicBool>,
    over: CancellationToken,
    cut: Arc<AtomicBool>,
}

impl Tasks {
    /// A new, empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Spawns on the current runtime; [`Tasks::finish`] waits for it.
    #[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        tokio::spawn(self.tracker.track_future(task))
    }

    /// Spawns on the current thread's `LocalSet` or local runtime.
    #[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
    pub fn spawn_local<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        tokio::task::spawn_local(self.tracker.track_future(task))
    }

    /// Runs blocking work off the async threads.
    #[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
    pub fn blocking<F, T>(&self, work: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let token = self.tracker.token();
        tokio::task::spawn_blocking(move || {
            let _token = token;
            work()
        })
    }

    /// Says that shutdown has begun.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.stop.cancel();
    }

    /// Whether shutdown has begun.
    #[must_use]
    pub fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Counts as a task until it is dropped.
    pub fn hold(&self) -> TaskTrackerToken {
        self.tracker.token()
    }

    /// Says that the time of the shutdown is over: what has not begun yet is
    /// sent away, and what has is about to be cut.
    pub fn send_away(&self) {
        self.over.cancel();
    }

    /// Whether it is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.over.is_cancelled()
    }

    /// Waits until it is over. Cancel-safe.
    pub async fn over(&self) {
        self.over.cancelled().await;
    }

    /// Says that what is left is not waited for: it is dropped now.
    pub fn cut(&self) {
        self.cut.store(true, Ordering::Release);
    }

    /// Whether what is left is dropped.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }

    /// Waits until shutdown begins. Cancel-safe.
    pub async fn stopped(&self) {
        self.stop.cancelled().await;
    }

    /// Waits until every task has ended. Cancel-safe; call after [`Tasks::stop`].
    pub async fn finish(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }

    /// Tasks under way.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.tracker.len()
    }
}
