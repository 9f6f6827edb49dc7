//! Where replicas run: starts, probes, restarts and stops them.
//!
//! A version's replicas are processes of this machine (`process`, through
//! [`guard`]) or fixed addresses (`fixed`). Tells what happens to them as
//! [`ReplicaEvent`]s and never decides how many there are, who gets a request,
//! or what is told to a caller: `reconcile` does, and writes the fleet.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::breaker::Conduct;
use crate::id::ReplicaId;
use crate::log;
use crate::name::Name;
use crate::resource::{Runtime, Version};
use crate::shutdown::Tasks;
use crate::upstream::Secure;

mod backoff;
mod command;
mod fixed;
pub mod guard;
mod health;
mod logs;
mod orphans;
mod output;
mod process;
mod tree;
mod user;
mod watch;

pub use command::obstacle;
pub use logs::{LogLine, LogQuery};

/// Events that may wait for `reconcile`; past it a replica waits with its news.
const EVENTS_MAX: usize = 256;
/// Free ports that are tried before a start counts as failed.
const PORT_TRIES: u32 = 32;

/// What happened to a replica. Those of one replica come in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplicaEvent {
    /// It runs (or, static, is known) at this address; not ready yet.
    Starting {
        /// Which.
        id: ReplicaId,
        /// Where it will answer.
        address: SocketAddr,
        /// TLS to it; none: plain.
        tls: Option<Secure>,
    },
    /// It is starting and its probes fail; told once for each reason.
    NotYet {
        /// Which.
        id: ReplicaId,
        /// The last probe's outcome.
        reason: String,
    },
    /// Its probes succeed: it may have requests.
    Ready {
        /// Which.
        id: ReplicaId,
    },
    /// Its probes fail: no new requests.
    NotReady {
        /// Which.
        id: ReplicaId,
        /// The last probe's outcome.
        reason: String,
    },
    /// It ended by itself; its address is void. `BackOff` follows.
    Exited {
        /// Which.
        id: ReplicaId,
        /// How, and the last lines of its output.
        reason: String,
    },
    /// It is started again after `wait`; also where it could not be started.
    BackOff {
        /// Which.
        id: ReplicaId,
        /// Why.
        reason: String,
        /// Until then.
        wait: Duration,
        /// Whether it was not started because the machine has no room for it.
        no_room: bool,
    },
    /// It was stopped by [`Replicas::stop`]: the last event of this replica.
    /// A later one may have the same id.
    Stopped {
        /// Which.
        id: ReplicaId,
    },
}

impl ReplicaEvent {
    /// Which replica.
    #[must_use]
    pub fn id(&self) -> &ReplicaId {
        match self {
            Self::Starting { id, .. }
            | Self::NotYet { id, .. }
            | Self::Ready { id }
            | Self::NotReady { id, .. }
            | Self::Exited { id, .. }
            | Self::BackOff { id, .. }
            | Self::Stopped { id } => id,
        }
    }
}

/// What became of a replica's requests. Asked before a ready replica is probed:
/// a busy one is judged by its request (SEMANTICS §4).
pub type ConductOf = Arc<dyn Fn(&ReplicaId) -> Conduct + Send + Sync>;

/// Which replicas to run.
#[derive(Clone)]
pub struct ReplicasSpec {
    /// The endpoint.
    pub endpoint: Name,
    /// Its version.
    pub version: Arc<Version>,
    /// What became of a replica's requests.
    pub conduct: ConductOf,
}

impl fmt::Debug for ReplicasSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplicasSpec")
            .field("endpoint", &self.endpoint)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// What all replicas of this machine share: the state folder, our own binary as
/// their guard, the thread that writes their output, and the numbers and ports
/// that are in use. One per process; cheap to clone.
#[derive(Debug, Clone)]
pub struct Machine(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: PathBuf,
    guard: PathBuf,
    tasks: Tasks,
    writer: log::Writer,
    /// Endpoint, version and number of each replica there is, so that two
    /// generations of a version never share a name or a log file.
    numbers: Mutex<BTreeSet<(Name, Name, u64)>>,
    ports: Mutex<BTreeSet<u16>>,
}

impl Machine {
    /// `guard` is our own binary, which is started as `GUARD replica-guard`.
    /// Makes this process the subreaper of what guards might leave behind.
    ///
    /// # Errors
    ///
    /// Where the thread that writes logs cannot be started.
    pub fn new(state: PathBuf, guard: PathBuf, tasks: Tasks) -> io::Result<Self> {
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        Ok(Self(Arc::new(Shared {
            state,
            guard,
            tasks,
            writer: log::Writer::start()?,
            numbers: Mutex::default(),
            ports: Mutex::default(),
        })))
    }

    /// Runs `wanted` replicas (static: its addresses). On the control runtime.
    #[must_use]
    pub fn start(
        &self,
        spec: ReplicasSpec,
        wanted: u32,
    ) -> (Replicas, mpsc::Receiver<ReplicaEvent>) {
        let (events, receiver) = mpsc::channel(EVENTS_MAX);
        let replicas = Replicas {
            machine: self.clone(),
            spec,
            events,
            places: Mutex::default(),
            leaving: Mutex::default(),
        };
        match &replicas.spec.version.runtime {
            Runtime::Process(_) => replicas.want(wanted),
            Runtime::Static { addresses, tls } => {
                for address in addresses {
                    replicas.add(|place| fixed::run(place, address.clone(), tls.clone()));
                }
            }
        }
        (replicas, receiver)
    }

    /// The lines that `query` asks for, oldest first; the channel closes after
    /// the last, or never where it follows. On the control runtime.
    #[must_use]
    pub fn logs(&self, query: LogQuery) -> mpsc::Receiver<LogLine> {
        logs::read(&self.0.state.join("logs"), query, &self.0.tasks)
    }

    /// The replicas that `query` may be about: those that are there, in any state,
    /// and those that wrote something that is kept. Reads the folders of logs, off
    /// the async threads.
    pub async fn logged(&self, query: LogQuery) -> Vec<String> {
        let mut all = self.there(&query.endpoint, query.version.as_ref());
        let logs = self.0.state.join("logs");
        let read = self.0.tasks.blocking(move || logs::replicas(&logs, &query));
        all.extend(read.await.unwrap_or_default());
        all.sort();
        all.dedup();
        all
    }

    /// The replicas of an endpoint, or of one of its versions, that have not ended.
    #[must_use]
    pub fn there(&self, endpoint: &Name, version: Option<&Name>) -> Vec<String> {
        let numbers = self.0.numbers.lock();
        let of = |(of, name, _): &&(Name, Name, u64)| {
            of == endpoint && version.is_none_or(|version| version == name)
        };
        let found = numbers.iter().filter(of);
        found
            .map(|(_, version, number)| ReplicaId::new(version, *number).as_str().to_owned())
            .collect()
    }

    fn claim_number(&self, endpoint: &Name, version: &Name) -> Number {
        let mut numbers = self.0.numbers.lock();
        let mut key = (endpoint.clone(), version.clone(), 1);
        while !numbers.insert(key.clone()) {
            key.2 += 1;
        }
        Number {
            machine: self.clone(),
            key,
        }
    }

    /// A loopback port that is free now. Another process may take it before the
    /// replica does; then the replica ends, and its next start has another port.
    fn claim_port(&self) -> io::Result<Port> {
        for _ in 0..PORT_TRIES {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            let port = listener.local_addr()?.port();
            if self.0.ports.lock().insert(port) {
                return Ok(Port {
                    machine: self.clone(),
                    port,
                });
            }
        }
        Err(io::Error::other(format!(
            "no free loopback port in {PORT_TRIES} tries"
        )))
    }
}

/// A number of a version's replicas, free again when dropped.
#[derive(Debug)]
struct Number {
    machine: Machine,
    key: (Name, Name, u64),
}

impl Drop for Number {
    fn drop(&mut self) {
        self.machine.0.numbers.lock().remove(&self.key);
    }
}

/// A loopback port, free again when dropped.
#[derive(Debug)]
struct Port {
    machine: Machine,
    port: u16,
}

impl Drop for Port {
    fn drop(&mut self) {
        self.machine.0.ports.lock().remove(&self.port);
    }
}

/// All replicas of one version. Dropped, they are stopped without waiting.
#[derive(Debug)]
pub struct Replicas {
    machine: Machine,
    spec: ReplicasSpec,
    events: mpsc::Sender<ReplicaEvent>,
    places: Mutex<BTreeMap<ReplicaId, Ending>>,
    /// Those that are on their way out and not stopped yet.
    leaving: Mutex<BTreeMap<ReplicaId, Ending>>,
}

/// How a replica is told to end, and how it says that it has.
#[derive(Debug, Clone, Default)]
struct Ending {
    asked: CancellationToken,
    done: CancellationToken,
}

/// What the task of one replica needs.
struct Place {
    id: ReplicaId,
    machine: Machine,
    spec: ReplicasSpec,
    events: mpsc::Sender<ReplicaEvent>,
    ending: Ending,
    _number: Number,
}

impl Replicas {
    /// Starts replicas until there are `n`, without those that leave. Fewer
    /// than there are: nothing happens; the caller chooses who is to [`leave`].
    /// Static replicas are as many as their addresses.
    ///
    /// [`leave`]: Replicas::leave
    pub fn want(&self, n: u32) {
        let Runtime::Process(process) = &self.spec.version.runtime else {
            return;
        };
        while self.places.lock().len() < n as usize {
            let process = process.clone();
            self.add(|place| process::run(place, process));
        }
    }

    /// Those there are, without those that leave.
    #[must_use]
    pub fn ids(&self) -> Vec<ReplicaId> {
        self.places.lock().keys().cloned().collect()
    }

    /// One no longer counts for [`Replicas::want`], and runs on until
    /// [`Replicas::stop`].
    pub fn leave(&self, id: &ReplicaId) {
        if let Some(ending) = self.places.lock().remove(id) {
            self.leaving.lock().insert(id.clone(), ending);
        }
    }

    /// Stops one: SIGTERM, after `grace` SIGKILL; ends when nothing of it is
    /// left. No other is started in its place until [`Replicas::want`] says so.
    /// Cancel-safe: dropped, the replica ends all the same.
    pub async fn stop(&self, id: &ReplicaId) {
        self.leave(id);
        let ending = self.leaving.lock().remove(id);
        if let Some(ending) = ending {
            ending.asked.cancel();
            ending.done.cancelled().await;
        }
    }

    /// Stops all, as [`Replicas::stop`] does, at the same time. Cancel-safe.
    pub async fn stop_all(&self) {
        let mut endings = std::mem::take(&mut *self.places.lock());
        endings.append(&mut self.leaving.lock());
        for ending in endings.values() {
            ending.asked.cancel();
        }
        for ending in endings.values() {
            ending.done.cancelled().await;
        }
    }

    fn add<F>(&self, run: impl FnOnce(Arc<Place>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let spec = &self.spec;
        let number = self
            .machine
            .claim_number(&spec.endpoint, &spec.version.name);
        let id = ReplicaId::new(&spec.version.name, number.key.2);
        let ending = Ending::default();
        let place = Arc::new(Place {
            id: id.clone(),
            machine: self.machine.clone(),
            spec: spec.clone(),
            events: self.events.clone(),
            ending: ending.clone(),
            _number: number,
        });
        let task = run(Arc::clone(&place));
        self.places.lock().insert(id.clone(), ending.clone());
        self.machine.0.tasks.spawn(async move {
            // `done` also where the task panics: nobody waits for ever.
            let done = ending.done.drop_guard();
            task.await;
            drop(done);
            // Last, and before the number is free: no event of a replica comes
            // after its end. The receiver may be gone.
            let _ = place.events.send(ReplicaEvent::Stopped { id }).await;
        });
    }
}

impl Drop for Replicas {
    fn drop(&mut self) {
        let leaving = self.leaving.get_mut().values();
        for ending in self.places.get_mut().values().chain(leaving) {
            ending.asked.cancel();
        }
    }
}

impl Place {
    /// Tells `reconcile`, unless this replica is to end. Cancel-safe.
    async fn tell(&self, event: ReplicaEvent) {
        tokio::select! {
            biased;
            () = self.ending.asked.cancelled() => {}
            // The receiver may be gone; then an end follows.
            _ = self.events.send(event) => {}
        }
    }

    /// Tells that it is started again after `wait`, and waits; whether it is
    /// still wanted then. Cancel-safe.
    async fn back_off(&self, reason: String, wait: Duration, no_room: bool) -> bool {
        let id = self.id.clone();
        tracing::warn!(
            endpoint = %self.spec.endpoint, replica = %id, ?wait, reason, "replica failed"
        );
        self.tell(ReplicaEvent::BackOff {
            id,
            reason,
            wait,
            no_room,
        })
        .await;
        tokio::select! {
            biased;
            () = self.ending.asked.cancelled() => false,
            () = tokio::time::sleep(wait) => true,
        }
    }
}
