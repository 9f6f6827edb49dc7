//! The plugin host: loads WebAssembly components, pools their instances, calls
//! them within limits, and tells their failures apart (DESIGN §6).
//!
//! Never decides what a failure means for an exchange (`exchange` does), never
//! trusts an answer the contract forbids, and lends a plugin nothing but the
//! interfaces of its world. The only module that knows wasmtime. `reconcile`
//! loads and binds; `exchange` and `collector` call.

mod answer;
mod binding;
mod call;
mod clock;
mod compile;
mod contract;
mod engine;
mod gate;
mod grants;
mod guest;
mod host;
mod inspect;
mod instance;
mod lend;
mod measure;
mod native;
mod pool;
mod record;
mod shipped;
mod wrap;

pub use binding::{Loaded, Policy};
pub use grants::{GrantKey, Grants};
pub use host::{Host, HostError, HostOptions};
pub use inspect::{Inspection, Refusal, inspected};
pub use wrap::{NoPlugin, component};

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};

use crate::fault::Denial;
use crate::identity::{Caller, KeySet};
use crate::name::Name;
use crate::resource::{Binding, VersionType};

/// Longest time a grant is reused (SEMANTICS §8).
pub const GRANT_SECONDS_MAX: u64 = 60;

/// What a policy may know of a request, before it is cut to what the plugin's
/// `headers` list.
#[derive(Debug, Clone, Copy)]
pub struct RequestFacts<'a> {
    /// The request id.
    pub id: &'a str,
    /// The method.
    pub method: &'a Method,
    /// The path as it is sent to the model or, for auth, as it came.
    pub path: &'a str,
    /// The query without its `?`.
    pub query: Option<&'a str>,
    /// Host and port as the caller named them.
    pub authority: &'a str,
    /// After trusted proxies are resolved.
    pub client_ip: IpAddr,
    /// The endpoint.
    pub endpoint: &'a Name,
    /// The body's length, where the caller said it.
    pub content_length: Option<u64>,
    /// All headers; the plugin sees the ones it names.
    pub headers: &'a HeaderMap,
    /// `tls.version` and the like (`policy.wit`).
    pub attributes: &'a [(&'static str, String)],
}

/// The same, kept beyond the request for the collect role.
#[derive(Debug, Clone)]
pub struct KeptFacts {
    /// The request id.
    pub id: String,
    /// The method.
    pub method: Method,
    /// The path.
    pub path: String,
    /// The query without its `?`.
    pub query: Option<String>,
    /// Host and port as the caller named them.
    pub authority: String,
    /// After trusted proxies are resolved.
    pub client_ip: IpAddr,
    /// The endpoint.
    pub endpoint: Name,
    /// The body's length, where the caller said it.
    pub content_length: Option<u64>,
    /// Headers, at least those that the endpoint's collect plugins name.
    pub headers: HeaderMap,
    /// `tls.version` and the like.
    pub attributes: Vec<(&'static str, String)>,
}

impl KeptFacts {
    /// The facts as a policy is shown them.
    #[must_use]
    pub fn facts(&self) -> RequestFacts<'_> {
        RequestFacts {
            id: &self.id,
            method: &self.method,
            path: &self.path,
            query: self.query.as_deref(),
            authority: &self.authority,
            client_ip: self.client_ip,
            endpoint: &self.endpoint,
            content_length: self.content_length,
            headers: &self.headers,
            attributes: &self.attributes,
        }
    }
}

/// What an auth policy answered.
#[derive(Debug, Clone)]
pub enum AuthDecision {
    /// This is the caller.
    Allow(Grant),
    /// It is for the next policy to say.
    Pass,
    /// The caller is turned away.
    Deny(Refused),
}

/// A caller, and how long the answer may be reused.
#[derive(Debug, Clone)]
pub struct Grant {
    /// Who is calling.
    pub caller: Arc<Caller>,
    /// Zero: never. At most 60 s and the credential's own end.
    pub cache: Duration,
}

/// A denial that the contract allows.
#[derive(Debug, Clone)]
pub struct Refused {
    /// Which of the three.
    pub status: DenyStatus,
    /// What the caller is told; headers are checked, hop-by-hop ones are gone.
    pub denial: Denial,
}

/// The statuses a denial may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DenyStatus {
    /// 401.
    Unauthenticated,
    /// 403.
    Forbidden,
    /// 429.
    RateLimited,
}

impl DenyStatus {
    /// The HTTP status.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        }
    }
}

/// A version that could answer.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Its name.
    pub version: Name,
    /// Hundredths of a percent, after remainder and moves (SEMANTICS §5).
    pub weight: u32,
    /// Control or treatment.
    pub kind: Option<VersionType>,
    /// Whether it is the default.
    pub is_default: bool,
    /// Replicas that are ready.
    pub replicas_ready: u32,
    /// Slots that are free.
    pub slots_free: u32,
    /// Requests that wait.
    pub queued: u32,
    /// Half of its last 128 answers came sooner; 0 where that is not known.
    pub latency_ms_p50: u32,
    /// Failures per 10,000 of its last one to two thousand requests; 0 where
    /// that is not known.
    pub errors_per_10k: u32,
}

/// What a split policy answered: checked to be among the candidates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The version that answers.
    pub version: Name,
    /// Versions that get a copy; none is `version`, none stands twice.
    pub mirrors: Vec<Name>,
    /// For log and collected records; bounded.
    pub tags: Vec<(String, String)>,
}

/// How an exchange ended, for the collect role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The model answered.
    Answered,
    /// The model answered with an error.
    ModelError,
    /// The answer was broken off.
    BrokenOff,
    /// The gateway answered.
    Fault,
}

/// A body as it was teed.
#[derive(Debug, Clone)]
pub struct CollectedBody {
    /// The bytes.
    pub data: Bytes,
    /// Whether that is all of it.
    pub complete: bool,
}

/// One exchange as a collect policy is shown it.
#[derive(Debug, Clone)]
pub struct CollectedExchange {
    /// The request.
    pub request: KeptFacts,
    /// Who called.
    pub caller: Option<Arc<Caller>>,
    /// The version that was chosen.
    pub version: Name,
    /// Wall clock, milliseconds from 1970.
    pub started_ms: u64,
    /// From the start to the first byte of the answer.
    pub first_byte_us: Option<u64>,
    /// From the start to the end.
    pub total_us: u64,
    /// The status of the answer.
    pub status: u16,
    /// How it ended.
    pub outcome: Outcome,
    /// The fault's code, where the gateway answered.
    pub fault_code: Option<&'static str>,
    /// Bytes of the request's body.
    pub request_bytes: u64,
    /// Bytes of the answer's body.
    pub response_bytes: u64,
    /// Headers of the answer, at least those that the plugins name.
    pub response_headers: HeaderMap,
    /// Up to the binding's `bodyBytes`.
    pub request_body: Option<CollectedBody>,
    /// Up to the binding's `bodyBytes`.
    pub response_body: Option<CollectedBody>,
    /// What the split policy said.
    pub tags: Vec<(String, String)>,
}

/// What a collected entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Designation {
    /// What the model was given.
    Inputs,
    /// What it answered.
    Predictions,
    /// What was true.
    Labels,
    /// What a user did with it.
    Signals,
    /// Anything else.
    General,
    /// The raw request.
    Request,
    /// The raw response.
    Response,
}

impl Designation {
    /// The word in paths and records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inputs => "inputs",
            Self::Predictions => "predictions",
            Self::Labels => "labels",
            Self::Signals => "signals",
            Self::General => "general",
            Self::Request => "request",
            Self::Response => "response",
        }
    }
}

/// What a collect policy keeps.
#[derive(Debug, Clone)]
pub struct Entry {
    /// What it is.
    pub designation: Designation,
    /// The place of its exchange in the batch; checked.
    pub exchange: Option<usize>,
    /// The media type of `data`; visible ASCII.
    pub content_type: String,
    /// The content.
    pub data: Bytes,
}

/// How a call failed (SEMANTICS §11).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// The plugin said that it could not decide.
    Error,
    /// It trapped.
    Trap,
    /// It was over its CPU or wall time.
    Timeout,
    /// It was refused memory and trapped.
    Memory,
    /// No instance came free in time.
    Overload,
    /// Its answer is one that the contract forbids.
    Lie,
}

impl FaultKind {
    /// All kinds.
    pub const ALL: [Self; 6] = [
        Self::Error,
        Self::Trap,
        Self::Timeout,
        Self::Memory,
        Self::Overload,
        Self::Lie,
    ];

    /// The word in log and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Trap => "trap",
            Self::Timeout => "timeout",
            Self::Memory => "memory",
            Self::Overload => "overload",
            Self::Lie => "lie",
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A call that failed. For the log; a caller sees none of it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{kind}: {detail}")]
pub struct PolicyFault {
    /// How.
    pub kind: FaultKind,
    /// Why; bounded.
    pub detail: String,
}

/// What `bind` puts a plugin to work in.
#[derive(Debug, Clone)]
pub struct BindingSpec {
    /// The endpoint.
    pub endpoint: Name,
    /// The binding with its settings.
    pub binding: Binding,
    /// The endpoint's keys, for `match-key`.
    pub keys: Arc<KeySet>,
}

#[cfg(test)]
pub(crate) mod tests;
