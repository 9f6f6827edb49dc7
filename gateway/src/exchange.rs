//! The life of a request, from its head to its record.
//!
//! Each step consumes what the step before made, so that none can be skipped.
//! Never touches a socket of a caller (`listen` does) and never decides what a
//! policy decides. Called by `listen` for every request.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;
use ipnet::IpNet;

use crate::fault::Fault;
use crate::metrics::Metrics;
use crate::resource::Limits;
use crate::shutdown::Tasks;

mod body;
mod problem;
mod relay;

pub use body::{Body, BrokenOff};

/// What all workers share.
#[derive(Debug)]
pub struct Shared {
    /// The metrics of the process.
    pub metrics: Arc<Metrics>,
    /// Limits of callers and replicas.
    pub limits: Arc<Limits>,
    /// Networks whose forwarded headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Tasks of the workers; stopping means draining.
    pub tasks: Tasks,
}

/// What one worker thread keeps for its exchanges: unused connections to
/// replicas and remembered grants.
#[derive(Debug)]
pub struct Worker {
    shared: Arc<Shared>,
}

impl Worker {
    /// The worker of this thread.
    #[must_use]
    pub fn new(shared: Arc<Shared>) -> Rc<Self> {
        Rc::new(Self { shared })
    }

    /// What all workers share.
    #[must_use]
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

/// What is known of a caller's connection.
#[derive(Debug, Clone)]
pub struct Connection {
    /// The other side of the socket.
    pub peer: SocketAddr,
    /// Our side of the socket.
    pub local: SocketAddr,
    /// What TLS showed; none on a plain listener.
    pub tls: Option<TlsFacts>,
    /// Whether it speaks HTTP/2.
    pub http2: bool,
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

/// Serves one request. Never fails: what goes wrong is an answer.
///
/// Runs on a worker's `LocalSet`. Dropping the future or the answer's body is
/// safe at any time and records the exchange.
pub async fn serve(
    worker: Rc<Worker>,
    _connection: Rc<Connection>,
    request: Request<Incoming>,
) -> Response<Body> {
    let plain = problem::wants_plain(request.headers());
    let fault = if worker.shared.tasks.stopping() {
        Fault::Draining
    } else {
        Fault::NotFound("No such endpoint".to_owned())
    };
    problem::answer(&fault, &crate::id::new_request_id(), plain)
}
