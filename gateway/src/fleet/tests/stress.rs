//! Real threads against one fleet: a shadow counter per replica never exceeds
//! its slots, nobody is lost, and at the end everything is free.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::*;

const THREADS: u64 = 4;
const TASKS: u64 = 32;
const ROUNDS: u64 = 60;
const REPLICAS: u64 = 5;
const SLOTS: u32 = 3;

/// Ends without its value after so many polls, as a caller that goes away.
struct Impatient<F> {
    future: Pin<Box<F>>,
    polls: u64,
}

impl<F: Future> Future for Impatient<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.polls == 0 {
            return Poll::Ready(None);
        }
        self.polls -= 1;
        context.waker().wake_by_ref();
        self.future.as_mut().poll(context).map(Some)
    }
}

#[derive(Default)]
struct Seen {
    running: [AtomicU32; REPLICAS as usize],
    most: AtomicU32,
    served: AtomicU64,
    gone: AtomicU64,
    refused: AtomicU64,
}

fn number_of(slot: &Slot) -> usize {
    slot.replica()
        .id
        .as_str()
        .trim_start_matches("blue-")
        .parse::<usize>()
        .unwrap()
        - 1
}

async fn one_request(fleet: &Arc<Fleet>, seen: &Seen, chance: u64) {
    // A third goes away while it may be waiting.
    let polls = if chance.is_multiple_of(3) {
        chance >> 8 & 7
    } else {
        u64::MAX
    };
    let wait = Impatient {
        future: Box::pin(fleet.slot(None)),
        polls,
    };
    let counter = match &wait.await {
        None => &seen.gone,
        Some(Err(_)) => &seen.refused,
        Some(Ok(slot)) => {
            run(slot, seen, chance).await;
            &seen.served
        }
    };
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Runs on the slot's replica for a few turns, watched by its shadow counter.
async fn run(slot: &Slot, seen: &Seen, chance: u64) {
    let running = &seen.running[number_of(slot)];
    let now = running.fetch_add(1, Ordering::SeqCst) + 1;
    seen.most.fetch_max(now, Ordering::SeqCst);
    for _ in 0..chance >> 16 & 3 {
        tokio::task::yield_now().await;
    }
    if chance.is_multiple_of(17) {
        slot.outcome(Outcome::TransportError);
    }
    running.fetch_sub(1, Ordering::SeqCst);
}

fn worker(thread: u64, fleet: &Arc<Fleet>, seen: &Arc<Seen>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        let tasks = (0..TASKS).map(|task| async move {
            let mut chance = (thread * TASKS + task + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            for _ in 0..ROUNDS {
                chance ^= chance << 13;
                chance ^= chance >> 7;
                chance ^= chance << 17;
                one_request(fleet, seen, chance).await;
                tokio::task::yield_now().await;
            }
        });
        futures_util::future::join_all(tasks).await;
    });
}

#[test]
fn four_threads_never_put_more_on_a_replica_than_its_slots() {
    let (fleet, metrics) = fleet_of(settings(SLOTS, 10_000, 60_000), REPLICAS);
    let seen = Arc::new(Seen::default());
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (fleet, seen) = (&fleet, &seen);
            scope.spawn(move || worker(thread, fleet, seen));
        }
        // One replica comes and goes meanwhile.
        for _ in 0..200 {
            fleet.set_ready(&id(1), false);
            std::thread::yield_now();
            fleet.set_ready(&id(1), true);
        }
    });
    let (served, gone) = (
        seen.served.load(Ordering::Relaxed),
        seen.gone.load(Ordering::Relaxed),
    );
    assert_eq!(
        served + gone + seen.refused.load(Ordering::Relaxed),
        THREADS * TASKS * ROUNDS
    );
    assert_eq!(
        seen.refused.load(Ordering::Relaxed),
        0,
        "nobody was kept waiting for a minute"
    );
    assert!(gone > 0 && served > gone, "{served} served, {gone} gone");
    let most = seen.most.load(Ordering::SeqCst);
    assert!(most <= SLOTS, "{most} at once");
    assert_eq!(most, SLOTS, "the test never filled a replica");
    let counts = fleet.counts();
    assert_eq!(
        (counts.busy, counts.queued, counts.free),
        (0, 0, REPLICAS as u32 * SLOTS)
    );
    let busy = metrics.slots.with(&["iris", "blue", "busy"]).value();
    let queued = metrics.queue_depth.with(&["iris", "blue"]).value();
    assert_eq!((busy, queued), (0, 0));
}
