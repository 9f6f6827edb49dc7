//! The instances of one binding: idle ones in a shard per worker, and the rules
//! of taking, making and dropping them.
//!
//! Never hands one instance to two calls: a call owns what it took. Never makes
//! more than the binding's `instances`, nor more than the host's. Used by
//! `call` and `host`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::engine::INSTANCES_MAX;
use super::gate::{Gate, WAIT_MAX, overload};
use super::instance::{Instance, NotMade};
use super::{Policy, PolicyFault};
use crate::metrics::{self, Gauge};
use crate::resource::Role;

/// How long an instance may lie idle; making one anew costs 12 to 50 µs.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// How often idle ones are looked for.
pub(super) const REAP_EVERY: Duration = Duration::from_secs(5);

/// Lost instances in a row before making new ones is slowed down: a plugin that
/// traps on one request in a hundred never gets there.
const LOST_FREE: u32 = 16;

/// Longest wait between two new instances of a plugin that loses all.
const BACK_OFF_MAX: Duration = Duration::from_millis(100);

/// Live instances of the process, and the policies that have them. Policies
/// that have none cost nothing here, however many there are.
#[derive(Debug, Default)]
pub(super) struct Totals {
    live: AtomicUsize,
    made: AtomicU64,
    holders: Mutex<Holders>,
}

/// Policies that have instances, by their number: at most as many as instances.
#[derive(Debug, Default)]
struct Holders {
    policies: BTreeMap<u64, Weak<Policy>>,
    /// Where the next one to give up an instance is looked for.
    hand: u64,
}

impl Totals {
    /// Instances that are live now.
    pub(super) fn live(&self) -> usize {
        self.live.load(Relaxed)
    }

    fn policies(&self) -> Vec<Arc<Policy>> {
        let holders = self.holders.lock();
        let policies = holders.policies.values();
        policies.filter_map(Weak::upgrade).collect()
    }

    /// Drops instances that have been idle or alive for too long.
    pub(super) fn reap(&self, now: Instant) {
        for policy in self.policies() {
            policy.pool.reap(now);
        }
    }

    /// Drops one idle instance of any policy, so that another can be made. The
    /// policies take turns.
    fn evict_one(&self) -> bool {
        for _ in 0..INSTANCES_MAX {
            let Some(policy) = self.next() else {
                return false;
            };
            if policy.pool.take_any().is_some() {
                return true;
            }
        }
        false
    }

    /// The next policy that has instances.
    fn next(&self) -> Option<Arc<Policy>> {
        let mut holders = self.holders.lock();
        let all = &holders.policies;
        let after = all.range(holders.hand..).chain(all.iter());
        let found = after
            .filter_map(|(number, policy)| Some((*number, policy.upgrade()?)))
            .next();
        let (number, policy) = found?;
        holders.hand = number + 1;
        Some(policy)
    }
}

/// Counts of one policy's instances, kept by each of them.
#[derive(Debug)]
struct Counts {
    live: AtomicUsize,
    gauge: Arc<Gauge>,
    totals: Arc<Totals>,
    number: u64,
    owner: Weak<Policy>,
}

impl Counts {
    /// One more; none where there are `most`.
    fn add(&self, most: usize) -> bool {
        // Under the lock, so that who has instances is known for certain.
        let mut holders = self.totals.holders.lock();
        if !take_place(&self.live, most) {
            return false;
        }
        let owner = || Weak::clone(&self.owner);
        holders.policies.entry(self.number).or_insert_with(owner);
        true
    }

    /// One less.
    fn take(&self) {
        let mut holders = self.totals.holders.lock();
        if self.live.fetch_sub(1, Relaxed) == 1 {
            holders.policies.remove(&self.number);
        }
    }
}

/// One live instance; its drop gives the place back.
#[derive(Debug)]
pub(super) struct Counted(Arc<Counts>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.gauge.add(-1);
        self.0.take();
        self.0.totals.live.fetch_sub(1, Relaxed);
    }
}

/// The instances of one policy.
pub(super) struct Pool {
    shards: Box<[Mutex<Vec<Instance>>]>,
    /// As many calls as there may be instances.
    seats: Gate,
    instances_max: usize,
    counts: Arc<Counts>,
    lost_in_a_row: AtomicU32,
    not_before: Mutex<Option<Instant>>,
}

fn take_place(live: &AtomicUsize, most: usize) -> bool {
    live.fetch_update(Relaxed, Relaxed, |live| (live < most).then_some(live + 1))
        .is_ok()
}

impl Pool {
    /// Of `owner`, which is being made.
    pub(super) fn new(
        instances_max: usize,
        gauge: Arc<Gauge>,
        totals: Arc<Totals>,
        owner: Weak<Policy>,
    ) -> Self {
        Self {
            shards: (0..metrics::cells()).map(|_| Mutex::default()).collect(),
            seats: Gate::new(instances_max),
            instances_max,
            counts: Arc::new(Counts {
                live: AtomicUsize::new(0),
                gauge,
                number: totals.made.fetch_add(1, Relaxed),
                totals,
                owner,
            }),
            lost_in_a_row: AtomicU32::new(0),
            not_before: Mutex::new(None),
        }
    }

    fn shard(&self, worker: usize) -> Option<&Mutex<Vec<Instance>>> {
        self.shards.get(worker).or_else(|| self.shards.first())
    }

    fn take(&self, worker: usize) -> Option<Instance> {
        self.shard(worker)?.lock().pop()
    }

    fn take_any(&self) -> Option<Instance> {
        self.shards.iter().find_map(|shard| shard.lock().pop())
    }

    pub(super) fn put(&self, worker: usize, instance: Instance) {
        if let Some(shard) = self.shard(worker) {
            shard.lock().push(instance);
        }
    }

    /// A place for one more instance; none where the binding or the host has
    /// as many as it may.
    pub(super) fn place(&self) -> Option<Counted> {
        let counts = &self.counts;
        if !counts.add(self.instances_max) {
            return None;
        }
        let totals = &counts.totals;
        let found = take_place(&totals.live, INSTANCES_MAX)
            || (totals.evict_one() && take_place(&totals.live, INSTANCES_MAX));
        if !found {
            counts.take();
            return None;
        }
        counts.gauge.add(1);
        Some(Counted(Arc::clone(counts)))
    }

    fn reap(&self, now: Instant) {
        for shard in &self.shards {
            let mut gone = Vec::new();
            let mut idle = shard.lock();
            let (worn, kept) = idle.drain(..).partition(|instance| {
                now.saturating_duration_since(instance.idle_since) > IDLE_MAX || instance.worn(now)
            });
            gone.extend::<Vec<Instance>>(worn);
            *idle = kept;
            // Dropping takes microseconds each; a call must not wait for it.
            drop(idle);
            drop(gone);
        }
    }

    /// An instance was lost to a trap, a timeout or a refusal of memory.
    fn lost(&self, now: Instant) {
        let lost = self.lost_in_a_row.fetch_add(1, Relaxed).saturating_add(1);
        if let Some(over) = lost.checked_sub(LOST_FREE + 1) {
            let wait = Duration::from_millis(1_u64 << over.min(16)).min(BACK_OFF_MAX);
            *self.not_before.lock() = now.checked_add(wait);
        }
    }

    fn served(&self) {
        if self.lost_in_a_row.load(Relaxed) != 0 {
            self.lost_in_a_row.store(0, Relaxed);
        }
    }

    fn backing_off(&self, now: Instant) -> Result<(), PolicyFault> {
        let lost = self.lost_in_a_row.load(Relaxed);
        if lost > LOST_FREE && self.not_before.lock().is_some_and(|until| now < until) {
            return Err(overload(format!(
                "{lost} instances were lost in a row; a new one is made after a while"
            )));
        }
        Ok(())
    }
}

/// What a call holds of its policy: a turn on its worker and a seat.
struct Ticket {
    policy: Arc<Policy>,
    worker: usize,
    turn: bool,
    seat: bool,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.seat {
            self.policy.pool.seats.leave();
        }
        if self.turn {
            self.policy.loaded.turns(self.worker).leave();
        }
    }
}

/// One instance in the hands of one call. Dropped before [`Lease::end`], the
/// instance goes with it: a call that was cut off leaves it unusable.
pub(super) struct Lease {
    // Before the ticket: what is dropped gives its place back before its seat.
    instance: Option<Instance>,
    ticket: Ticket,
    asked: Instant,
    /// When the call itself may start; its limits count from here.
    ready: Instant,
}

impl Lease {
    /// Waits for its turn and a seat, and takes or makes an instance.
    pub(super) async fn take(policy: Arc<Policy>) -> Result<Self, PolicyFault> {
        let asked = Instant::now();
        let mut ticket = Ticket {
            worker: metrics::worker(),
            policy,
            turn: false,
            seat: false,
        };
        if let Some(instance) = ticket.take_at_once() {
            return Ok(Self {
                instance: Some(instance),
                ticket,
                asked,
                ready: asked,
            });
        }
        let instance = ticket.wait_and_take().await?;
        Ok(Self {
            instance: Some(instance),
            ticket,
            asked,
            ready: Instant::now(),
        })
    }

    /// The instance, with the limits of one call that starts now; there from
    /// [`Lease::take`] to [`Lease::end`].
    pub(super) fn begin(&mut self) -> Option<&mut Instance> {
        let instance = self.instance.as_mut()?;
        instance.begin(&self.ticket.policy.loaded.spec().limits, self.ready);
        Some(instance)
    }

    /// Puts the instance back, or drops it where the call lost it.
    pub(super) fn end(mut self, lost: bool) {
        let now = Instant::now();
        let policy = &self.ticket.policy;
        let took = now.saturating_duration_since(self.asked);
        policy.loaded.counted.seconds.observe(took);
        let Some(mut instance) = self.instance.take() else {
            return;
        };
        instance.end();
        if lost {
            policy.pool.lost(now);
            return;
        }
        policy.pool.served();
        if !instance.worn(now) {
            instance.idle_since = now;
            policy.pool.put(self.ticket.worker, instance);
        }
    }
}

impl Ticket {
    /// The way of nearly every call: nothing to wait for, an instance is there.
    fn take_at_once(&mut self) -> Option<Instance> {
        let policy = &self.policy;
        self.turn = policy.loaded.turns(self.worker).try_enter();
        self.seat = self.turn && policy.pool.seats.try_enter();
        if self.seat {
            policy.pool.take(self.worker)
        } else {
            None
        }
    }

    /// The same with waits, each bounded.
    async fn wait_and_take(&mut self) -> Result<Instance, PolicyFault> {
        let policy = &self.policy;
        let spec = policy.loaded.spec();
        let wait = match spec.role {
            Role::Auth | Role::Split => WAIT_MAX,
            Role::Collect => spec.limits.timeout,
        };
        if !self.turn {
            policy.loaded.turns(self.worker).enter(wait).await?;
            self.turn = true;
        }
        if !self.seat {
            policy.pool.seats.enter(wait).await?;
            self.seat = true;
        }
        match policy.pool.take(self.worker) {
            Some(instance) => Ok(instance),
            None => policy.take_or_make().await,
        }
    }
}

impl Policy {
    /// This worker has none that is idle: makes one where there is place, else
    /// takes one of another worker.
    async fn take_or_make(&self) -> Result<Instance, PolicyFault> {
        let now = Instant::now();
        let pool = &self.pool;
        pool.backing_off(now)?;
        let Some(place) = pool.place() else {
            return pool
                .take_any()
                .ok_or_else(|| overload("no place for an instance".to_owned()));
        };
        self.make(place).await.map_err(|not_made| {
            pool.lost(now);
            not_made.fault()
        })
    }

    /// A new instance, configured.
    pub(super) async fn make(&self, place: Counted) -> Result<Instance, NotMade> {
        let lent = Arc::clone(&self.lent);
        Instance::make(&self.loaded, lent, &self.settings, place).await
    }
}
