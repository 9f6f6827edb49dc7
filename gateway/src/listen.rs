//! Where callers connect: sockets, TLS, HTTP/1 and HTTP/2, worker threads.
//!
//! An acceptor per listener hands each connection to the worker with the
//! fewest (`accept`, `worker`); there it shakes hands and is served to its end
//! (`connection`, `serve`), under a look at its bytes (`guard`, `framing`,
//! `frames`) and one timer (`pulse`). Each request goes to `exchange`. Never
//! decides about a request that is HTTP. Called by `app`.

use std::fmt;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::event::Events;
use crate::exchange::{self, Connection, Shared};
use crate::memory::Memory;
use crate::metrics::Metrics;
use crate::reconcile::Control;
use crate::resource::{GatewayConfig, Limits, Listener, ListenerTls, TlsPolicy};
use crate::shutdown::Tasks;

mod accept;
mod certificate;
mod connection;
mod frames;
mod framing;
mod guard;
mod inherited;
mod pulse;
mod reload;
mod sent;
mod serve;
mod tls;
mod worker;

use accept::{Door, Hand, House};
pub use inherited::Inherited;
pub use reload::{Place, Reload};
use serve::Answer;
pub use tls::{CertificateError, Tls, TlsStream};

/// How long callers of a socket that was handed over wait for replicas: longer
/// is a failure that they should hear of.
const HOLD_MAX: Duration = Duration::from_secs(30);
/// How long an answer may take to those who are sent away after the drain.
const SEND_AWAY: Duration = Duration::from_millis(500);
/// How long workers may take to drop what is left when they are cut.
const CUT_WAIT: Duration = Duration::from_secs(5);

/// How many workers a configuration asks for: one per core unless it says.
/// `app` tells `metrics` before anything is made.
#[must_use]
pub fn workers(config: &GatewayConfig) -> usize {
    let threads = config.threads.map(NonZeroUsize::get);
    threads.unwrap_or_else(|| thread::available_parallelism().map_or(1, NonZeroUsize::get))
}

/// A listener that serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Its name.
    pub name: String,
    /// Where it is bound, with the port it got.
    pub address: SocketAddr,
    /// How this machine reaches it.
    pub url: String,
}

/// Listeners that could not be started: all problems at once.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ListenError {
    /// Each with its listener, and its address or file.
    pub problems: Vec<String>,
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problems.join("\n"))
    }
}

/// The listeners and workers of a gateway. Dropping it cuts every connection.
#[derive(Debug)]
pub struct Listening {
    addresses: Vec<Address>,
    warnings: Vec<String>,
    reload: Reload,
    tasks: Tasks,
    opened: CancellationToken,
    cut: CancellationToken,
    drain: Duration,
    threads: Mutex<Vec<thread::JoinHandle<()>>>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.cut();
    }
}

impl Listening {
    /// The listeners, in the order of the configuration.
    #[must_use]
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// What an operator should know: plain HTTP, development certificates,
    /// keys that others can read.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        self.warnings.clone()
    }

    /// What reads certificates again, and says which it could not.
    #[must_use]
    pub fn reload(&self) -> &Reload {
        &self.reload
    }

    /// Accepts from sockets that were handed over once `ready` has ended, or
    /// after 30 s: callers wait in the backlog meanwhile, as they did
    /// while no gateway ran. Other sockets accept from the start. Ends then,
    /// with false where shutdown came first.
    pub fn open_when(&self, ready: impl Future<Output = ()> + Send + 'static) -> JoinHandle<bool> {
        let (tasks, opened) = (self.tasks.clone(), self.opened.clone());
        self.tasks.spawn(async move {
            tokio::select! {
                () = ready => {}
                () = sleep(HOLD_MAX) => {}
                () = tasks.stopped() => return false,
            }
            opened.cancel();
            true
        })
    }

    /// Ends at once: what is under way is dropped, and recorded by its drop.
    pub fn cut(&self) {
        self.tasks.stop();
        self.tasks.cut();
        self.cut.cancel();
    }

    /// Ends gracefully: listeners close, connections are told with their next
    /// answer and end; after `limits.drain` those who wait for a slot get
    /// `draining`, and the rest is cut. Ends when the worker threads have.
    /// Idempotent.
    pub async fn drain(&self) {
        self.tasks.stop();
        let mut whole = timeout(self.drain, self.tasks.finish()).await.is_ok();
        if !whole {
            self.tasks.send_away();
            whole = timeout(SEND_AWAY, self.tasks.finish()).await.is_ok();
        }
        if !whole {
            let left = self.tasks.under_way();
            tracing::warn!(
                "{left} connections and exchanges are cut after {:?}",
                self.drain
            );
        }
        self.tasks.cut();
        self.cut.cancel();
        let threads = std::mem::take(&mut *self.threads.lock());
        let joined = Tasks::new().blocking(move || {
            for thread in threads {
                drop(thread.join());
            }
        });
        if timeout(CUT_WAIT, joined).await.is_err() {
            tracing::warn!("workers did not end within {CUT_WAIT:?}");
        }
    }
}

/// Binds the listeners, loads their certificates, starts workers and serves.
/// Must be called on the control runtime. `shared.tasks` are the workers'
/// tasks: stopping them begins the drain. `control` is for the reload.
///
/// # Errors
///
/// Every listener that cannot be bound and every certificate that cannot be
/// used; then nothing was started.
pub fn start(
    config: &GatewayConfig,
    inherited: Inherited,
    state: &Path,
    shared: &Arc<Shared>,
    control: &Control,
) -> Result<Listening, ListenError> {
    let joints = Joints {
        limits: Arc::clone(&shared.limits),
        metrics: Arc::clone(&shared.metrics),
        memory: Arc::clone(&shared.memory),
        tasks: shared.tasks.clone(),
        control: control.tasks().clone(),
        events: Arc::clone(control.events()),
    };
    let shared = Arc::clone(shared);
    start_with(config, inherited, state, joints, move || {
        exchange::Worker::new(Arc::clone(&shared))
    })
}

impl Answer for Rc<exchange::Worker> {
    type Body = exchange::Body;

    fn answer(
        &self,
        connection: Rc<Connection>,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<exchange::Body>> + 'static {
        exchange::serve(Rc::clone(self), connection, request)
    }
}

/// What listeners need of the rest.
#[derive(Clone)]
struct Joints {
    limits: Arc<Limits>,
    metrics: Arc<Metrics>,
    memory: Arc<Memory>,
    tasks: Tasks,
    control: Tasks,
    events: Arc<Events>,
}

/// A listener that is bound and has its certificates, but does not accept.
struct Ready {
    socket: TcpListener,
    door: Arc<Door>,
}

fn start_with<A: Answer>(
    config: &GatewayConfig,
    mut inherited: Inherited,
    state: &Path,
    joints: Joints,
    make: impl Fn() -> A + Clone + Send + 'static,
) -> Result<Listening, ListenError> {
    let mut problems = Vec::new();
    let mut warnings = Vec::new();
    let mut ready = Vec::new();
    for listener in &config.listeners {
        let tls = tls_of(listener, state, &mut warnings, &mut problems);
        let handed = inherited.claim(listener, &config.listeners);
        let is_handed = handed.is_some();
        let socket = handed.map_or_else(|| accept::bind(listener.address), Ok);
        match socket.and_then(|socket| Ok((socket.local_addr()?, socket))) {
            Ok((address, socket)) => {
                let door = Arc::new(Door {
                    name: listener.name.clone(),
                    address,
                    tls,
                    connections: joints.metrics.connections.with(&[&listener.name]),
                    inherited: is_handed,
                });
                ready.push(Ready { socket, door });
            }
            Err(error) => problems.push(format!(
                "listener {}: {} cannot be bound: {error}",
                listener.name, listener.address
            )),
        }
    }
    problems.extend(inherited.problems(&config.listeners));
    if !problems.is_empty() {
        return Err(ListenError { problems });
    }
    let cut = CancellationToken::new();
    let (hands, threads) = start_workers(workers(config), &joints, &cut, &make)?;
    let reload = Reload::new(
        Arc::clone(&joints.metrics),
        Arc::clone(&joints.events),
        joints.control.clone(),
    );
    let room = joints.limits.connections.min(Semaphore::MAX_PERMITS);
    let house = House {
        seats: Arc::new(Semaphore::new(room)),
        hands,
        tasks: joints.tasks.clone(),
        opened: CancellationToken::new(),
    };
    let addresses = ready.iter().map(|one| address_of(&one.door)).collect();
    for Ready { socket, door } in ready {
        if let Some(tls) = &door.tls {
            reload.watch(Place::listener(&door.name), tls, joints.tasks.clone());
        }
        let accepting = accept::accept(socket, door, house.clone());
        joints.tasks.spawn(accepting);
    }
    Ok(Listening {
        addresses,
        warnings,
        reload,
        tasks: joints.tasks,
        opened: house.opened,
        cut,
        drain: joints.limits.drain,
        threads: Mutex::new(threads),
    })
}

fn start_workers<A: Answer>(
    count: usize,
    joints: &Joints,
    cut: &CancellationToken,
    make: &(impl Fn() -> A + Clone + Send + 'static),
) -> Result<(Vec<Hand>, Vec<thread::JoinHandle<()>>), ListenError> {
    let mut hands = Vec::new();
    let mut threads = Vec::new();
    for index in 1..=count {
        let start = worker::Start {
            tasks: joints.tasks.clone(),
            limits: Arc::clone(&joints.limits),
            memory: Arc::clone(&joints.memory),
            cut: cut.clone(),
        };
        match worker::start(index, start, make.clone()) {
            Ok((hand, thread)) => {
                hands.push(hand);
                threads.push(thread);
            }
            Err(error) => {
                cut.cancel();
                let problem = format!("worker {index} of {count} cannot be started: {error}");
                return Err(ListenError {
                    problems: vec![problem],
                });
            }
        }
    }
    Ok((hands, threads))
}

/// The TLS side of a listener; its problems and warnings are added.
fn tls_of(
    listener: &Listener,
    state: &Path,
    warnings: &mut Vec<String>,
    problems: &mut Vec<String>,
) -> Option<Arc<Tls>> {
    let name = &listener.name;
    let (files, policy) = match &listener.tls {
        ListenerTls::None => {
            warnings.push(format!("listener {name}: plain HTTP, nothing is encrypted"));
            return None;
        }
        ListenerTls::Development => match certificate::development(state) {
            Ok(files) => {
                let path = files.cert_file.display();
                warnings.push(format!(
                    "listener {name}: a development certificate made by the gateway; callers have to trust {path}"
                ));
                (vec![files], TlsPolicy::Modern)
            }
            Err(error) => {
                problems.push(format!("listener {name}: {error}"));
                return None;
            }
        },
        ListenerTls::Certificates {
            certificates,
            policy,
        } => (certificates.clone(), *policy),
    };
    match Tls::load(&files, policy, &["h2", "http/1.1"]) {
        Ok(tls) => {
            let of_listener = |text| format!("listener {name}: {text}");
            warnings.extend(tls.warnings().into_iter().map(of_listener));
            Some(Arc::new(tls))
        }
        Err(errors) => {
            problems.extend(
                errors
                    .iter()
                    .map(|error| format!("listener {name}: {error}")),
            );
            None
        }
    }
}

fn address_of(door: &Door) -> Address {
    let scheme = if door.tls.is_some() { "https" } else { "http" };
    let mut reached = door.address;
    if reached.ip().is_unspecified() {
        reached.set_ip(match reached.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    Address {
        name: door.name.clone(),
        address: door.address,
        url: format!("{scheme}://{reached}"),
    }
}

#[cfg(test)]
mod tests;
