//! What is known of one exchange so far.
//!
//! `admit` begins it, each step adds to it, and its `Drop` is the last step,
//! `record`: so that step runs once on an answer, a fault, a cancelled handler,
//! a reset and a panic. Never decides anything.

use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::HeaderValue;
use http::{HeaderMap, Method, Uri};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::mirror::Original;
use super::{Connection, Worker, head, record};
use crate::fault::{Blame, Fault};
use crate::id::{Digest, ReplicaId};
use crate::identity::Caller;
use crate::metrics::ExchangeMetrics;
use crate::name::Name;
use crate::policy::{KeptFacts, Policy};
use crate::resource::Role;
use crate::table::{Entry, VersionEntry};
use crate::upstream::Uploading;

/// How far an exchange came. It holds its endpoint's entry until its version
/// is chosen, and from then on that version alone.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// To no endpoint.
    Nowhere,
    /// To an endpoint.
    Endpoint(Arc<Entry>),
    /// To a version of the endpoint of that name.
    Version(Name, Arc<VersionEntry>),
}

/// A policy that decided about this exchange.
#[derive(Debug, Clone)]
pub(super) struct Decided {
    /// Which of the two.
    pub(super) role: Role,
    /// The plugin.
    pub(super) plugin: Name,
    /// Its content.
    pub(super) digest: Digest,
}

/// How the exchange ended, or would if it ended now.
#[derive(Debug, Clone, Default)]
pub(super) struct End {
    /// The status of the answer; 0 before there is one.
    pub(super) status: u16,
    /// The fault's code and its place in `fault::CODES`.
    pub(super) fault: Option<(&'static str, usize)>,
    /// The fault in words, for the log, where it is not the caller's.
    pub(super) reason: Option<String>,
    /// Whether an answer that had begun was broken off.
    pub(super) broken_off: bool,
}

/// What is kept for collecting.
#[derive(Debug)]
pub(super) struct Kept {
    /// The request.
    pub(super) facts: KeptFacts,
    /// Which of the version's collect policies keep this exchange.
    pub(super) asked: u32,
    /// Of each body, what is copied.
    pub(super) body_bytes: usize,
    /// Wall clock of the start.
    pub(super) started_ms: u64,
    /// The answer's head.
    pub(super) response_headers: HeaderMap,
    /// The answer's body so far, up to `body_bytes`.
    pub(super) response: Vec<u8>,
    /// Whether the answer came to its end.
    pub(super) response_ended: bool,
    /// What the split policy said.
    pub(super) tags: Vec<(String, String)>,
}

/// What is known of one exchange so far.
#[derive(Debug)]
pub(super) struct Ledger {
    worker: Rc<Worker>,
    /// The caller's connection.
    pub(super) connection: Rc<Connection>,
    /// When its head was there.
    pub(super) started: Instant,
    /// The request id.
    pub(super) id: HeaderValue,
    /// The caller's own id, to be echoed.
    pub(super) client_request_id: Option<HeaderValue>,
    /// The method.
    pub(super) method: Method,
    /// The target.
    pub(super) uri: Uri,
    /// The caller's address; the peer's until it is resolved.
    pub(super) client_ip: IpAddr,
    /// How far it came.
    pub(super) place: Place,
    /// The replica that has or had it.
    pub(super) replica: Option<ReplicaId>,
    /// Who called.
    pub(super) caller: Option<Arc<Caller>>,
    /// Who decided.
    pub(super) policies: Vec<Decided>,
    /// In the queue for a slot.
    pub(super) queued: Duration,
    /// Since when it asks for a slot, while it does.
    pub(super) asking: Option<Instant>,
    /// In policies.
    pub(super) deciding: Duration,
    /// When it was sent to a replica last.
    pub(super) sent: Option<Instant>,
    /// Until it was sent first, without the queue.
    pub(super) routing: Option<Duration>,
    /// When the answer's head was there.
    pub(super) answered: Option<Instant>,
    /// The caller's body, until it is sent on.
    pub(super) unread: Option<Incoming>,
    /// The caller's body, once it is sent on.
    pub(super) uploading: Option<Uploading>,
    /// Bytes of the answer's body.
    pub(super) response_bytes: u64,
    /// Whether an answer began before there was a replica; `cold`'s.
    pub(super) opened: Option<Rc<Cell<bool>>>,
    /// How it ended.
    pub(super) end: End,
    /// What is kept for collecting.
    pub(super) kept: Option<Box<Kept>>,
    /// What its copies are compared with.
    pub(super) original: Option<Box<Original>>,
}

impl Ledger {
    /// Begins the ledger of a request.
    pub(super) fn open(
        worker: &Rc<Worker>,
        connection: &Rc<Connection>,
        parts: &http::request::Parts,
        body: Incoming,
    ) -> Box<Self> {
        Box::new(Self {
            worker: Rc::clone(worker),
            connection: Rc::clone(connection),
            started: Instant::now(),
            id: HeaderValue::from_static(""),
            client_request_id: parts.headers.get(head::X_MS_CLIENT_REQUEST_ID).cloned(),
            method: parts.method.clone(),
            uri: parts.uri.clone(),
            client_ip: connection.peer.ip(),
            place: Place::Nowhere,
            replica: None,
            caller: None,
            policies: Vec::new(),
            queued: Duration::ZERO,
            asking: None,
            deciding: Duration::ZERO,
            sent: None,
            routing: None,
            answered: None,
            unread: Some(body),
            uploading: None,
            response_bytes: 0,
            opened: None,
            end: End::default(),
            kept: None,
            original: None,
        })
    }

    /// The worker that has it.
    pub(super) fn worker(&self) -> Rc<Worker> {
        Rc::clone(&self.worker)
    }

    /// Sets the id that the caller brought.
    pub(super) fn set_id(&mut self, id: HeaderValue) {
        self.id = id;
    }

    /// The request id; made now where the caller brought none.
    pub(super) fn id(&mut self) -> &HeaderValue {
        if self.id.is_empty() {
            self.id = self.worker.chance.request_id();
        }
        &self.id
    }

    /// The request id as text, which it is: it was checked or made here.
    pub(super) fn id_text(&self) -> &str {
        self.id.to_str().unwrap_or_default()
    }

    /// Adds a policy that decided, where a log line will tell it.
    pub(super) fn decided(&mut self, role: Role, policy: &Policy) {
        if self.worker.shared.access.is_some() {
            self.policies.push(Decided {
                role,
                plugin: policy.plugin().clone(),
                digest: policy.digest().clone(),
            });
        }
    }

    /// It is sent to a replica now.
    pub(super) fn sends(&mut self) {
        let now = Instant::now();
        self.sent = Some(now);
        let routing = now.duration_since(self.started);
        self.routing
            .get_or_insert(routing.saturating_sub(self.queued));
    }

    /// Why it ends, where nothing ended it: its caller left, or the gateway
    /// does not wait any longer.
    pub(super) fn abandoned(&self) -> Fault {
        if std::thread::panicking() {
            // Its words were printed by the panic itself.
            Fault::Internal("panicked while the answer was passed on".to_owned())
        } else if self.worker.shared.tasks.is_cut() {
            Fault::Draining
        } else {
            Fault::CallerGone
        }
    }

    /// The exchange ends in a fault that is answered.
    pub(super) fn fault(&mut self, fault: &Fault) {
        self.end.status = fault.row().status;
        self.note(fault);
    }

    /// An answer that has begun is broken off.
    pub(super) fn break_off(&mut self, fault: &Fault) {
        self.end.broken_off = true;
        self.note(fault);
    }

    fn note(&mut self, fault: &Fault) {
        let row = fault.row();
        self.end.fault = Some((row.code, fault.index()));
        self.end.reason = match row.blame {
            Blame::Caller => None,
            Blame::Replica | Blame::Policy | Blame::Gateway => Some(fault.to_string()),
        };
    }

    /// The metrics of where it came to.
    pub(super) fn metrics(&self) -> &ExchangeMetrics {
        match &self.place {
            Place::Nowhere => &self.worker.nowhere,
            Place::Endpoint(entry) => &entry.metrics,
            Place::Version(_, version) => &version.metrics,
        }
    }

    /// The endpoint's name, where it came to one.
    pub(super) fn endpoint(&self) -> Option<&Name> {
        match &self.place {
            Place::Nowhere => None,
            Place::Endpoint(entry) => Some(&entry.spec.name),
            Place::Version(endpoint, _) => Some(endpoint),
        }
    }

    /// The version, where one was chosen.
    pub(super) fn version(&self) -> Option<&Arc<VersionEntry>> {
        match &self.place {
            Place::Version(_, version) => Some(version),
            Place::Nowhere | Place::Endpoint(_) => None,
        }
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        if let Some(asked) = self.asking.take() {
            self.queued += asked.elapsed();
        }
        if self.end.status == 0 {
            let fault = self.abandoned();
            if self.opened.as_ref().is_some_and(|opened| opened.get()) {
                self.end.status = 200;
                self.break_off(&fault);
            } else {
                self.fault(&fault);
            }
        }
        let worker = Rc::clone(&self.worker);
        record::record(self, &worker);
    }
}
