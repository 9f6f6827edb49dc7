//! Worker threads: each a current-thread runtime with a `LocalSet`, so that a
//! connection, its exchanges and what they keep stay on one core.
//!
//! Measured, this costs 14.8 µs of CPU a request where a work-stealing runtime
//! costs 16.9 (DESIGN §4). Never accepts. Started by `start`.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::thread::{self, JoinHandle};

use tokio::runtime::Builder;
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::LocalSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::memory::Memory;
use crate::metrics;
use crate::resource::Limits;
use crate::shutdown::Tasks;

use super::accept::{Arrival, Hand};
use super::connection;
use super::serve::{Answer, Site};

/// What a worker is started with.
#[derive(Debug, Clone)]
pub(super) struct Start {
    /// Tasks of all workers; stopping means draining.
    pub(super) tasks: Tasks,
    /// The limits of callers.
    pub(super) limits: Arc<Limits>,
    /// Whether the process is past its memory limit.
    pub(super) memory: Arc<Memory>,
    /// Ends the workers, with whatever they still have.
    pub(super) cut: CancellationToken,
}

/// Starts worker `index` (from 1). `make` is called on its thread.
pub(super) fn start<A: Answer>(
    index: usize,
    start: Start,
    make: impl FnOnce() -> A + Send + 'static,
) -> io::Result<(Hand, JoinHandle<()>)> {
    let runtime = Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()?;
    let (arrivals, inbox) = unbounded_channel();
    let thread = thread::Builder::new()
        .name(format!("worker-{index}"))
        .spawn(move || {
            metrics::enter_worker(index);
            let local = LocalSet::new();
            local.block_on(&runtime, async move {
                let site = Rc::new(Site {
                    answer: make(),
                    tasks: start.tasks,
                    limits: start.limits,
                    memory: start.memory,
                    draining: Cell::new(None),
                    bell: Notify::new(),
                });
                tokio::select! {
                    () = start.cut.cancelled() => {}
                    () = take(site, inbox) => {}
                }
            });
            // Dropping it drops what is under way; each exchange is recorded
            // by its drop.
            runtime.block_on(async move { drop(local) });
        })?;
    let hand = Hand {
        load: Arc::new(AtomicUsize::new(0)),
        arrivals,
    };
    Ok((hand, thread))
}

/// Takes connections for as long as there is an acceptor, tells them of the
/// drain, and never ends.
async fn take<A: Answer>(site: Rc<Site<A>>, mut inbox: UnboundedReceiver<Arrival>) {
    let stop = async {
        site.tasks.stopped().await;
        site.draining.set(Some(Instant::now()));
        site.bell.notify_waiters();
        std::future::pending().await
    };
    let taking = async {
        while let Some(arrival) = inbox.recv().await {
            site.tasks
                .spawn_local(connection::run(Rc::clone(&site), arrival));
        }
    };
    tokio::join!(stop, taking).0
}
