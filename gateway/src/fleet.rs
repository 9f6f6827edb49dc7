//! The live state of one version: its replicas, their slots, and the requests
//! that wait for one, in arrival order.
//!
//! Never runs more than `maxConcurrentRequests` on a replica over all workers,
//! never lets a later request overtake a waiting one, and never holds its lock
//! across an await. `reconcile` alone writes the replicas; `exchange` takes and
//! gives slots; scaler, split and admin read.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::fault::Fault;
use crate::id::ReplicaId;
use crate::metrics::Metrics;
use crate::name::Name;
use crate::upstream::Secure;

mod figures;
mod gauges;
pub mod load;
pub mod roster;
mod seat;
mod slot;
mod state;
mod tally;

pub use crate::breaker::Outcome;
pub use figures::Figures;
pub use roster::Again;
pub use slot::Slot;

use figures::Recent;
use gauges::Gauges;
use load::Load;
use roster::{Asked, GONE, Handed, Refusal, Roster, Rules};
use slot::{Sender, Wait};
use state::{Known, State};
use tally::Tally;

/// What a fleet goes by. Made by [`FleetSettings::new`], so that a setting that
/// is added later has its default.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FleetSettings {
    /// The endpoint, for faults and metrics.
    pub endpoint: Name,
    /// The version.
    pub version: Name,
    /// `maxConcurrentRequests`.
    pub slots_per_replica: NonZeroU32,
    /// How many may wait; 0: none.
    pub queue_capacity: usize,
    /// How long one may wait; zero: not at all.
    pub max_queue_wait: Duration,
    /// `coldStartWait`, where a request may start the first replica (min 0).
    pub cold_start_wait: Option<Duration>,
    /// How long a fresh replica gets less than its share; zero: not at all.
    pub warm_up: Duration,
    /// The most replicas there can be. With as many ready, a request that
    /// cannot be served in time is told at once.
    pub replicas_max: u32,
}

impl FleetSettings {
    /// Settings with the defaults of SEMANTICS §4: no warm-up, no start by a
    /// request, nobody told early.
    #[must_use]
    pub fn new(
        endpoint: Name,
        version: Name,
        slots_per_replica: NonZeroU32,
        queue_capacity: usize,
        max_queue_wait: Duration,
    ) -> Self {
        Self {
            endpoint,
            version,
            slots_per_replica,
            queue_capacity,
            max_queue_wait,
            cold_start_wait: None,
            warm_up: Duration::ZERO,
            replicas_max: u32::MAX,
        }
    }

    fn rules(&self) -> Rules {
        Rules {
            slots: self.slots_per_replica,
            queue_capacity: self.queue_capacity,
            max_queue_wait: self.max_queue_wait,
            cold_start_wait: self.cold_start_wait,
            warm_up: self.warm_up,
            replicas_max: self.replicas_max,
        }
    }
}

/// One replica, as its exchanges hold it.
#[derive(Debug)]
pub struct Replica {
    /// Its name, in log and status.
    pub id: ReplicaId,
    /// Where it listens. Never shown to a caller.
    pub address: SocketAddr,
    /// TLS to it; none: plain.
    pub tls: Option<Secure>,
    /// Unused connections to it, over all workers; `upstream`'s.
    pub idle: Arc<AtomicU32>,
    /// Its slots when it was added.
    pub slots: u32,
    key: u32,
    /// Whether good answers have to be told at once (see `Slot::outcome`).
    attentive: AtomicBool,
    tally: Tally,
}

/// A fleet's sums at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Requests that run, but for those on draining replicas.
    pub busy: u32,
    /// Requests that wait.
    pub queued: u32,
    /// Slots of ready replicas.
    pub slots: u32,
    /// Those of them that are free.
    pub free: u32,
    /// Replicas that take requests (ejected ones too: they are probed).
    pub ready: u32,
    /// Replicas that are being started.
    pub starting: u32,
    /// Replicas that finish what they have.
    pub draining: u32,
    /// Replicas that are ejected for their outcomes.
    pub ejected: u32,
    /// Replicas there should be.
    pub wanted: u32,
    /// Requests that ever asked, so that traffic between two looks is seen.
    pub arrived: u64,
}

/// One replica in a status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaStatus {
    /// Its name.
    pub id: ReplicaId,
    /// Whether it takes requests.
    pub ready: bool,
    /// Whether it is being removed.
    pub draining: bool,
    /// Whether it is ejected for its outcomes.
    pub ejected: bool,
    /// Requests that run on it.
    pub busy: u32,
}

/// See the module. Always in an `Arc`.
#[derive(Debug)]
pub struct Fleet {
    state: Mutex<State>,
    gauges: Gauges,
    /// A slot of a draining replica came back.
    drained: Notify,
    /// A request waits for a first replica.
    woken: Notify,
    /// Its version's share goes to others, as exchanges saw it last.
    share_moved: AtomicBool,
}

/// The clock of fleets: monotonic, and the paused one of tests.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl Fleet {
    /// An empty fleet.
    #[must_use]
    pub fn new(settings: FleetSettings, metrics: &Metrics) -> Arc<Self> {
        let gauges = Gauges::new(metrics, &settings);
        // Any seed will do; the name's length keeps fleets from marching in step.
        let seed = settings.version.as_str().len() as u64;
        let state = State {
            roster: Roster::new(settings.rules(), seed),
            settings,
            replicas: Vec::new(),
            reason: String::from("no replica has been started"),
            next_start: None,
            wanted: 0,
            starting: 0,
            arrived: 0,
            copies: 0,
            load: Load::new(now()),
            recent: Recent::default(),
            shown: Counts::default(),
        };
        Arc::new(Self {
            state: Mutex::new(state),
            gauges,
            drained: Notify::new(),
            woken: Notify::new(),
            share_moved: AtomicBool::new(false),
        })
    }

    /// Other settings for an unchanged version. Who waits keeps its deadline.
    /// The endpoint's and the version's names stay.
    pub fn update(self: &Arc<Self>, settings: FleetSettings) {
        self.change(|state| {
            let handed = state.roster.update(now(), settings.rules());
            state.settings = settings;
            handed
        });
    }

    /// A replica that is known and not ready. One of the same name is forgotten.
    pub fn add(self: &Arc<Self>, id: ReplicaId, address: SocketAddr) -> Arc<Replica> {
        self.add_secure(id, address, None)
    }

    /// [`Fleet::add`], for one that is spoken to over TLS.
    pub fn add_secure(
        self: &Arc<Self>,
        id: ReplicaId,
        address: SocketAddr,
        tls: Option<Secure>,
    ) -> Arc<Replica> {
        self.remove(&id);
        let mut state = self.state.lock();
        let replica = Arc::new(Replica {
            id,
            address,
            tls,
            idle: Arc::default(),
            slots: state.settings.slots_per_replica.get(),
            key: state.roster.add(),
            attentive: AtomicBool::new(false),
            tally: Tally::default(),
        });
        let place = replica.key as usize;
        if state.replicas.len() <= place {
            state.replicas.resize_with(place + 1, || None);
        }
        if let Some(slot) = state.replicas.get_mut(place) {
            *slot = Some(Known {
                replica: Arc::clone(&replica),
                ready: false,
                draining: false,
            });
        }
        replica
    }

    /// A replica became ready, and waiting requests are served at once; or it is
    /// no longer, and gets nothing new.
    pub fn set_ready(self: &Arc<Self>, id: &ReplicaId, ready: bool) {
        self.change(|state| {
            let Some(known) = state.known(id) else {
                return Vec::new();
            };
            known.ready = ready;
            known.replica.attentive.store(false, Ordering::Relaxed);
            let key = known.replica.key;
            state.roster.set_ready(now(), key, ready)
        });
    }

    /// How many are being started. At 0 with none ready, waiting requests and
    /// new ones get [`Fault::NoReplica`] at once.
    pub fn set_starting(self: &Arc<Self>, starting: u32) {
        self.change(|state| {
            state.starting = starting;
            state.roster.set_starting(now(), starting)
        });
    }

    /// Why none is ready; for the log of [`Fault::NoReplica`].
    pub fn set_reason(&self, reason: String) {
        self.state.lock().reason = reason;
    }

    /// Whether a request may start the first replica. Only where
    /// `cold_start_wait` is set, and then from the beginning; no while the last
    /// start failed and its back-off runs.
    pub fn set_cold(self: &Arc<Self>, cold: bool) {
        self.change(|state| state.roster.set_cold(now(), cold));
    }

    /// How many replicas there should be; shown only.
    pub fn set_wanted(self: &Arc<Self>, wanted: u32) {
        self.change(|state| {
            state.wanted = wanted;
            Vec::new()
        });
    }

    /// Lets nothing new onto a replica, and ends when its slots are back (at
    /// once where it is not known). Cancel-safe: it goes on draining. The caller
    /// bounds the wait by `limits.drain` and then calls [`Fleet::remove`].
    pub async fn drain(self: &Arc<Self>, id: &ReplicaId) {
        self.change(|state| {
            let Some(known) = state.known(id) else {
                return Vec::new();
            };
            known.draining = true;
            let key = known.replica.key;
            state.roster.set_draining(now(), key)
        });
        loop {
            let drained = self.drained.notified();
            tokio::pin!(drained);
            // Registered before the look, so that nothing falls between them.
            drained.as_mut().enable();
            let busy = {
                let mut state = self.state.lock();
                let key = state.known(id).map(|known| known.replica.key);
                key.and_then(|key| state.roster.busy(key)).unwrap_or(0)
            };
            if busy == 0 {
                return;
            }
            drained.await;
        }
    }

    /// Forgets a replica. What runs on it goes on, and its slots end with it.
    pub fn remove(self: &Arc<Self>, id: &ReplicaId) {
        self.change(|state| {
            let Some(key) = state.known(id).map(|known| known.replica.key) else {
                return Vec::new();
            };
            if let Some(slot) = state.replicas.get_mut(key as usize) {
                *slot = None;
            }
            state.roster.remove(now(), key)
        });
        self.drained.notify_waiters();
    }

    /// The sums, as the scaler and the admin API read them. Also lets pass
    /// what is over by now, such as a replica's back-off, and forgets figures
    /// that are too old.
    pub fn counts(self: &Arc<Self>) -> Counts {
        let mut counts = Counts::default();
        self.change(|state| {
            state.recent.fade(now());
            let handed = state.roster.settle(now());
            counts = state.counts();
            handed
        });
        counts
    }

    /// Every replica.
    #[must_use]
    pub fn replicas(&self) -> Vec<ReplicaStatus> {
        let state = self.state.lock();
        let status = |known: &Known| ReplicaStatus {
            id: known.replica.id.clone(),
            ready: known.ready && !known.draining,
            draining: known.draining,
            ejected: state.roster.is_ejected(known.replica.key),
            busy: state.roster.busy(known.replica.key).unwrap_or(0),
        };
        state.replicas.iter().flatten().map(status).collect()
    }

    /// Requests on one replica; 0 where it is not known.
    #[must_use]
    pub fn busy(&self, id: &ReplicaId) -> u32 {
        let mut state = self.state.lock();
        let key = state.known(id).map(|known| known.replica.key);
        key.and_then(|key| state.roster.busy(key)).unwrap_or(0)
    }

    /// Whether its version keeps its share of the traffic: one is ready, or a
    /// request would start one.
    #[must_use]
    pub fn takes_share(&self) -> bool {
        self.state.lock().roster.takes_share()
    }

    /// Notes whether the version's share goes to others; whether that is news.
    pub fn share_moved(&self, moved: bool) -> bool {
        self.share_moved.load(Ordering::Relaxed) != moved
            && self.share_moved.swap(moved, Ordering::Relaxed) != moved
    }

    /// How long a slot was held lately, by the half of requests that were
    /// quickest; none where none was.
    #[must_use]
    pub fn median_hold(&self) -> Option<Duration> {
        self.state.lock().roster.pace().quantile(50)
    }

    /// The load of the last hour, a cell per minute, the oldest first.
    #[must_use]
    pub fn load(&self) -> Vec<load::Minute> {
        self.state.lock().load.minutes(now())
    }

    /// Waits until a request waits for a first replica, which is to be started.
    /// Cancel-safe. One waiter.
    pub async fn woken(&self) {
        self.woken.notified().await;
    }

    /// A slot; in arrival order where one has to wait. With a free slot there is
    /// no await and no allocation.
    ///
    /// Trying once more is charged to the version's retry budget (a tenth of its
    /// exchanges), gets another replica than the first try, and waits at the end
    /// of the queue, with the first try no longer than one wait may be.
    /// Cancel-safe: dropped, it has left the queue, and a slot that was handed
    /// over meanwhile goes to the next.
    ///
    /// # Errors
    ///
    /// [`Fault::Overloaded`] where the queue is full, the wait is over or would
    /// be in vain; [`Fault::NoReplica`] where none is ready and none is being
    /// started, or the wait for one ended; the same where a second try has no
    /// other replica or no budget.
    pub async fn slot(self: &Arc<Self>, again: Option<Again<&ReplicaId>>) -> Result<Slot, Fault> {
        match self.ask(again)? {
            Ok(slot) => Ok(slot),
            Err(wait) => wait.end().await,
        }
    }

    fn ask(
        self: &Arc<Self>,
        again: Option<Again<&ReplicaId>>,
    ) -> Result<Result<Slot, Wait>, Fault> {
        let now = now();
        let mut state = self.state.lock();
        state.arrived += u64::from(again.is_none());
        let again = again.map(|Again { not, waited }| {
            let known = state.known(not);
            Again::after(known.map_or(GONE, |known| known.replica.key), waited)
        });
        let mut receiver = None;
        let (asked, handed) = state.roster.ask(now, again, || {
            let (sender, its) = tokio::sync::oneshot::channel();
            receiver = Some(its);
            sender
        });
        let answer = match asked {
            Asked::Seat(seat) => {
                let slot = Slot::new(self, &state, seat, Duration::ZERO);
                slot.map(Ok)
                    .ok_or_else(|| state.fault(Refusal::NoReplica, Duration::ZERO))
            }
            Asked::Waits { ticket, until } => {
                if state.roster.wants_start() {
                    self.woken.notify_one();
                }
                let wait = receiver.map(|receiver| Wait::new(self, ticket, receiver, now, until));
                wait.map(Err)
                    .ok_or_else(|| state.fault(Refusal::NoReplica, Duration::ZERO))
            }
            Asked::Refused(refusal) => Err(state.fault(refusal, Duration::ZERO)),
        };
        state.took(now);
        self.gauges.show(&mut state);
        let slots = slot::made(self, &state, handed);
        drop(state);
        if let Ok(Ok(_)) = answer {
            self.gauges.waited(Duration::ZERO);
        }
        self.deliver(slots);
        answer
    }

    /// Changes the state under the lock, and hands out what came of it after.
    fn change(self: &Arc<Self>, change: impl FnOnce(&mut State) -> Vec<Handed<Sender>>) {
        let slots = {
            let mut state = self.state.lock();
            let handed = change(&mut state);
            state.took(now());
            self.gauges.show(&mut state);
            slot::made(self, &state, handed)
        };
        self.deliver(slots);
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.gauges.clear(self.state.get_mut());
    }
}

#[cfg(test)]
mod tests;
