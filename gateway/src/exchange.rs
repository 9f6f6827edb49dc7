//! The life of a request, from its head to its record.
//!
//! Each step consumes what the step before made, so that none can be skipped.
//! Never touches a socket of a caller (`listen` does) and never decides what a
//! policy decides. Called by `listen` for every request.

use std::cell::{Cell, OnceCell, RefCell};
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;

use futures_util::FutureExt;
use http::request::Parts;
use http::{Request, Response};
use hyper::body::Incoming;
use ipnet::IpNet;

use crate::fault::Fault;
use crate::log::Lines;
use crate::memory::Memory;
use crate::metrics::{ExchangeMetrics, Metrics};
use crate::outbox::Outbox;
use crate::policy::Grants;
use crate::resource::Limits;
use crate::shutdown::Tasks;
use crate::table::Table;
use crate::upstream::Pool;

mod admit;
mod authenticate;
mod begun;
mod body;
mod chance;
mod choose;
mod cold;
mod draw;
mod flight;
mod forward;
mod head;
mod ledger;
mod mirror;
mod outlive;
mod problem;
mod record;
mod refuse;
mod relay;
mod route;
mod target;
mod tunnel;

pub use body::{Body, BrokenOff};

use chance::Chance;
use forward::Answered;
use head::ForwardedCache;
use ledger::Ledger;
use mirror::Room;

/// Serves one request. Never fails: what goes wrong is an answer.
///
/// Runs on a worker's `LocalSet`. Dropping the future or the answer's body is
/// safe at any time, and the exchange is recorded all the same.
pub async fn serve(
    worker: Rc<Worker>,
    connection: Rc<Connection>,
    request: Request<Incoming>,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let mut ledger = Ledger::open(&worker, &connection, &parts, body);
    let manner = refuse::Manner::of(&parts);
    // Not by a variable: the future would be in this one twice, and hyper moves
    // this one to the heap, for each request.
    let life = AssertUnwindSafe(live(&mut ledger, parts, &manner))
        .catch_unwind()
        .await;
    match life {
        Ok(Ok(Life::Answered(answered))) => relay::relay(ledger, answered),
        Ok(Ok(Life::Cold(chosen))) => Box::pin(cold::serve(ledger, chosen, manner)).await,
        Ok(Err(fault)) => refuse::refuse(ledger, &fault, &manner),
        Err(panic) => refuse::refuse(ledger, &refuse::panicked(&*panic), &manner),
    }
}

/// How far a request came by itself.
#[expect(
    clippy::large_enum_variant,
    reason = "the large one is the usual one, and a box would cost each exchange an allocation"
)]
enum Life {
    /// Its replica answered.
    Answered(Answered),
    /// Its version is at zero, and its caller takes comments meanwhile.
    Cold(Box<choose::Chosen>),
}

/// The life of a request. Its last step, `record`, is the ledger's `Drop`.
async fn live(ledger: &mut Ledger, parts: Parts, manner: &refuse::Manner) -> Result<Life, Fault> {
    let admitted = admit::admit(ledger, parts)?;
    let routed = route::route(ledger, admitted)?;
    let identified = authenticate::authenticate(ledger, routed).await?;
    let chosen = choose::choose(ledger, identified).await?;
    if cold::wanted(&chosen, manner) {
        return Ok(Life::Cold(Box::new(chosen)));
    }
    let answered = forward::forward(ledger, chosen).await?;
    Ok(Life::Answered(answered))
}

/// What all workers share.
#[derive(Debug)]
pub struct Shared {
    /// What exchanges look up.
    pub table: Arc<Table>,
    /// The metrics of the process.
    pub metrics: Arc<Metrics>,
    /// Where exchanges leave what is to be collected.
    pub outbox: Arc<Outbox>,
    /// Where access lines go; none: nowhere.
    pub access: Option<Lines>,
    /// Limits of callers and replicas.
    pub limits: Arc<Limits>,
    /// Whether the process is past its memory limit.
    pub memory: Arc<Memory>,
    /// Networks whose forwarded headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Tasks of the workers; stopping means draining.
    pub tasks: Tasks,
}

/// What one worker thread keeps for its exchanges.
#[derive(Debug)]
pub struct Worker {
    shared: Arc<Shared>,
    /// Unused connections to replicas.
    pool: Rc<Pool>,
    /// Grants that may be reused.
    grants: Grants,
    /// Request ids and draws.
    chance: Chance,
    /// What copies of exchanges keep.
    room: Rc<Room>,
    /// Metrics of exchanges that came to no endpoint.
    nowhere: ExchangeMetrics,
    /// The access line that is being written.
    line: RefCell<String>,
}

impl Worker {
    /// The worker of this thread.
    #[must_use]
    pub fn new(shared: Arc<Shared>) -> Rc<Self> {
        Rc::new(Self {
            pool: Pool::new(shared.limits.upstream_idle, shared.tasks.clone()),
            grants: Grants::new(),
            chance: Chance::new(),
            room: Rc::default(),
            nowhere: ExchangeMetrics::new(&shared.metrics, "", ""),
            line: RefCell::default(),
            shared,
        })
    }

    /// What all workers share.
    #[must_use]
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

/// What is known of a caller's connection.
#[derive(Debug)]
pub struct Connection {
    /// The other side of the socket.
    pub peer: SocketAddr,
    /// Our side of the socket.
    pub local: SocketAddr,
    /// What TLS showed; none on a plain listener.
    pub tls: Option<TlsFacts>,
    /// Whether it speaks HTTP/2.
    pub http2: bool,
    /// Forwarded headers, made once.
    forwarded: ForwardedCache,
    /// What policies may know of it, made once.
    attributes: OnceCell<Vec<(&'static str, String)>>,
    /// Policy calls under way whose exchange is over.
    abandoned: Cell<u32>,
    /// Exchanges that wait in a queue.
    waiting: Cell<u32>,
}

/// A wait in a queue, for as long as it lives.
#[derive(Debug)]
pub struct Waiting(Rc<Connection>);

impl Waiting {
    /// An exchange of the connection begins to wait.
    #[must_use]
    pub fn begin(connection: &Rc<Connection>) -> Self {
        connection.waiting.set(connection.waiting.get() + 1);
        Self(Rc::clone(connection))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.set(self.0.waiting.get().saturating_sub(1));
    }
}

/// What the TLS handshake of a connection showed.
#[derive(Debug, Clone)]
pub struct TlsFacts {
    /// `1.2` or `1.3`.
    pub version: &'static str,
    /// The name the caller asked for, in lower case.
    pub server_name: Option<String>,
    /// Names (also `*.` ones, in lower case) of the certificate that was shown.
    pub shown: Arc<[String]>,
    /// Names of the listener's other certificates. A host that one of these
    /// covers and `shown` does not is misdirected (421).
    pub elsewhere: Arc<[String]>,
}

impl Connection {
    /// A connection that was just accepted.
    #[must_use]
    pub fn new(peer: SocketAddr, local: SocketAddr, tls: Option<TlsFacts>, http2: bool) -> Self {
        Self {
            peer,
            local,
            tls,
            http2,
            forwarded: ForwardedCache::default(),
            attributes: OnceCell::new(),
            abandoned: Cell::new(0),
            waiting: Cell::new(0),
        }
    }

    /// Whether an exchange waits in a queue; its body is not read meanwhile.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.waiting.get() > 0
    }

    /// What policies may know of the connection (`policy.wit`).
    fn attributes(&self) -> &[(&'static str, String)] {
        self.attributes.get_or_init(|| {
            let version = if self.http2 { "2" } else { "1.1" };
            let mut attributes = vec![("http.version", version.to_owned())];
            if let Some(tls) = &self.tls {
                attributes.push(("tls.version", tls.version.to_owned()));
                if let Some(name) = &tls.server_name {
                    attributes.push(("tls.server-name", name.clone()));
                }
            }
            attributes
        })
    }
}

#[cfg(test)]
mod tests;
