//! The resources that say what the gateway does: GatewayConfig, Plugin and
//! Endpoint, after their check.
//!
//! `raw` mirrors the file; `check` alone makes the types here, with every
//! problem told at once, so that nothing past it checks again. Only `text` reads
//! files, nothing the network. Used by every layer above.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;
use ipnet::IpNet;

use crate::name::Name;
use crate::units::Percent;

mod absolute;
mod bound;
mod check;
mod defaults;
pub mod json;
pub mod list;
pub mod load;
mod local;
mod locate;
pub mod node;
mod plugin;
pub mod problem;
pub mod raw;
mod read;
pub mod schema;
pub mod suggest;
mod text;
mod traffic;

pub use absolute::absolute_version;
pub use bound::{bound_plugins, plugins_elsewhere};
pub use load::{
    Beside, Checked, Document, Set, check, check_one, check_values, checked, checked_beside, load,
    shipped, yaml,
};
pub use local::{names_machine, version_names_machine};
pub use locate::{located, located_at_root};
pub use plugin::{Plugin, PluginLimits, PluginMetric, PluginMetricKind, PluginSource, Role};
pub use problem::Problem;
pub use suggest::suggestion;
pub use text::{Source, blank, files, source_of, texts};
pub use traffic::{Mirror, Sticky};

/// `kind: GatewayConfig`: the gateway itself.
#[derive(Debug, Clone, PartialEq)]
pub struct GatewayConfig {
    /// Worker threads; none: one per core.
    pub threads: Option<NonZeroUsize>,
    /// Where callers connect. At least one.
    pub listeners: Vec<Listener>,
    /// Where administrators connect.
    pub admin: Admin,
    /// Everything a caller or a replica could grow.
    pub limits: Limits,
    /// Networks whose forwarded headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Where access lines go.
    pub access_log: AccessLog,
    /// Revisions of each resource that are kept, the current one included.
    pub revisions: u32,
}

/// Addresses of the command line, in place of those of the files.
#[derive(Debug, Clone, Copy, Default)]
pub struct Addresses {
    /// In place of the first listener's.
    pub listen: Option<SocketAddr>,
    /// In place of `spec.admin.address`.
    pub admin: Option<SocketAddr>,
}

impl Addresses {
    /// Puts them in.
    ///
    /// # Errors
    ///
    /// In words, where the admin API would be open off loopback.
    pub fn fit(&self, config: &mut GatewayConfig) -> Result<(), String> {
        if let (Some(address), Some(first)) = (self.listen, config.listeners.first_mut()) {
            first.address = address;
        }
        if let Some(address) = self.admin {
            if config.admin.certificate.is_none() && !address.ip().is_loopback() {
                return Err(format!(
                    "--admin {address} is not loopback; there the admin API needs a certificate"
                ));
            }
            config.admin.address = address;
        }
        Ok(())
    }
}

/// One scoring listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Its name, unique in the gateway.
    pub name: String,
    /// Where it binds; port 0 takes a free one.
    pub address: SocketAddr,
    /// How it is secured.
    pub tls: ListenerTls,
}

/// How a listener is secured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenerTls {
    /// Plain HTTP; said in log and status.
    None,
    /// A certificate that the gateway makes; said in log and status.
    Development,
    /// Certificates from files, by SNI; the first is the default.
    Certificates {
        /// At least one.
        certificates: Vec<CertificateFiles>,
        /// Which protocol versions and suites.
        policy: TlsPolicy,
    },
}

/// A certificate chain and its key, in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain.
    pub cert_file: PathBuf,
    /// The key.
    pub key_file: PathBuf,
}

/// Which protocol versions and suites a listener takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsPolicy {
    /// TLS 1.3, and 1.2 with strong suites.
    #[default]
    Modern,
    /// All that rustls has.
    Compatible,
}

/// The admin API's listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Loopback unless TLS is configured.
    pub address: SocketAddr,
    /// Its certificate; none: plain HTTP.
    pub certificate: Option<CertificateFiles>,
    /// Whether resources that name commands or files are taken off loopback.
    pub allow_local: bool,
}

/// `spec.limits` of the GatewayConfig.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections over all listeners; past it accepting stops.
    pub connections: usize,
    /// From accept to the end of the TLS handshake.
    pub tls_handshake_timeout: Duration,
    /// From a connection's (or keep-alive's) first byte of a head to its end.
    pub head_timeout: Duration,
    /// Bytes of a head.
    pub head_bytes: usize,
    /// Fields of a head.
    pub head_fields: usize,
    /// Bytes of a target.
    pub target_bytes: usize,
    /// The caller sends no awaited byte, or takes none that is there.
    pub body_idle_timeout: Duration,
    /// A caller's connection without an exchange.
    pub idle_timeout: Duration,
    /// HTTP/2 streams of one connection.
    pub streams_per_connection: u32,
    /// An unused connection to a replica.
    pub upstream_idle: Duration,
    /// Bytes of the process; none: 80 % of what the machine or its group allows.
    pub memory: Option<u64>,
    /// On SIGTERM, and for a replica that is being removed.
    pub drain: Duration,
}

/// `spec.accessLog`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessLog {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file, rotated by size.
    File(PathBuf),
    /// Nowhere.
    None,
}

/// The place where an endpoint names a plugin and gives it settings.
#[derive(Debug, Clone, PartialEq)]
pub struct Binding {
    /// The plugin.
    pub plugin: Name,
    /// Its settings, given to `configure` as JSON.
    pub config: serde_json::Value,
    /// Auth only: headers that key what is remembered; empty: all it was shown.
    pub cache_by: Vec<HeaderName>,
}

/// `kind: Endpoint`.
#[derive(Debug, Clone, PartialEq)]
pub struct Endpoint {
    /// Its name.
    pub name: Name,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// Host names it claims, in lower case.
    pub hosts: Vec<String>,
    /// Largest request body.
    pub max_request_bytes: u64,
    /// Whether a model's 500 becomes 502, as the original did.
    pub model_errors_as_502: bool,
    /// Who may call.
    pub auth: Auth,
    /// Which version answers.
    pub split: Split,
    /// Which version gets copies of exchanges; none: nobody but who a split
    /// policy names.
    pub mirror: Option<Mirror>,
    /// What is kept; asked in order.
    pub collect: Vec<CollectBinding>,
    /// 1 to 6; exactly one has `default`.
    pub versions: Vec<Version>,
}

/// `spec.auth`.
#[derive(Debug, Clone, PartialEq)]
pub struct Auth {
    /// Who is asked.
    pub mode: AuthMode,
    /// Whether `Authorization` reaches the model.
    pub forward_credential: bool,
}

/// `spec.auth.mode`.
#[derive(Debug, Clone, PartialEq)]
pub enum AuthMode {
    /// The shipped `key-auth`.
    Key,
    /// Nobody is asked.
    None,
    /// These, in order. At least one.
    Custom(Vec<Binding>),
}

/// `spec.split`.
#[derive(Debug, Clone, PartialEq)]
pub struct Split {
    /// The policy.
    pub policy: Binding,
    /// What happens where it fails.
    pub on_failure: OnFailure,
    /// Whose draw is always the same; none: every draw is a new one.
    pub sticky: Option<Sticky>,
    /// Whether callers may pin a version.
    pub pin: bool,
}

/// What happens where the split policy fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFailure {
    /// The configured weights decide.
    #[default]
    Weights,
    /// 503.
    Refuse,
}

/// One of `spec.collect`.
#[derive(Debug, Clone, PartialEq)]
pub struct CollectBinding {
    /// The policy.
    pub binding: Binding,
    /// Of each body, what the policy is given.
    pub body_bytes: u64,
    /// Share of exchanges.
    pub sample: Percent,
    /// Versions it keeps; empty: all.
    pub versions: Vec<Name>,
}

/// One of `spec.versions`.
#[derive(Debug, Clone, PartialEq)]
pub struct Version {
    /// Its name, unique in the endpoint.
    pub name: Name,
    /// Its own share.
    pub traffic: Percent,
    /// Whether it gets what the shares leave over.
    pub default: bool,
    /// Control or treatment.
    pub kind: Option<VersionType>,
    /// For people.
    pub description: String,
    /// For people; may change.
    pub tags: BTreeMap<String, String>,
    /// For people; append-only.
    pub properties: BTreeMap<String, String>,
    /// Where its replicas run.
    pub runtime: Runtime,
    /// What callers may reach; as written (`/score`, `/v1/*`).
    pub paths: Vec<String>,
    /// Slots per replica.
    pub max_concurrent_requests: NonZeroU32,
    /// Then 503.
    pub max_queue_wait: Duration,
    /// Then 503 at once.
    pub queue_capacity: usize,
    /// Until the first byte of the answer, from the end of the request's body.
    pub scoring_timeout: Duration,
    /// Between chunks of the answer.
    pub stream_idle_timeout: Duration,
    /// What becomes of a request whose caller went away.
    pub caller_gone: CallerGone,
    /// How many replicas. `Fixed(addresses)` for `static`.
    pub scale: Scale,
    /// How long a fresh replica gets less than its share; zero: not at all.
    pub warm_up: Duration,
    /// When a replica is ready.
    pub readiness: Probe,
    /// When a replica is started again; none: only when it ends.
    pub liveness: Option<Probe>,
    /// `resources`, kept and shown.
    pub resources: serde_json::Value,
}

/// `type` of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionType {
    /// What treatments are compared with.
    Control,
    /// What is tried.
    Treatment,
}

/// Where a version's replicas run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Runtime {
    /// A command of this machine, once per replica.
    Process(Process),
    /// Fixed addresses. At least one, each once.
    Static {
        /// `host:port`, an address or a name that is looked up.
        addresses: Vec<String>,
        /// TLS to them; none: plain.
        tls: Option<UpstreamTls>,
    },
}

/// TLS to replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamTls {
    /// Roots in PEM; none: those of the machine.
    pub ca_file: Option<PathBuf>,
    /// The name their certificates are for; none: the address's host.
    pub server_name: Option<String>,
}

/// `process` of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Program and arguments; `$(PORT)` and other `$(NAME)` of `env` are replaced.
    pub command: Vec<String>,
    /// Its working directory; absolute.
    pub dir: PathBuf,
    /// Its environment.
    pub env: BTreeMap<String, String>,
    /// Names kept of the gateway's own environment.
    pub inherit_env: Vec<String>,
    /// Given as `AZUREML_MODEL_DIR`; absolute.
    pub model_dir: Option<PathBuf>,
    /// The user it runs as; none: the gateway's.
    pub user: Option<String>,
    /// From SIGTERM to SIGKILL.
    pub grace: Duration,
}

/// What becomes of a request whose caller went away after it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CallerGone {
    /// It keeps its slot until the replica has answered.
    #[default]
    Finish,
    /// The connection is closed and the slot is given back at once.
    Abort,
}

/// How many replicas a version has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scale {
    /// `replicas`, or the number of static addresses.
    Fixed(u32),
    /// `autoscale`.
    Auto(Autoscale),
}

/// `autoscale` of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Autoscale {
    /// Fewest replicas.
    pub min_replicas: u32,
    /// Most replicas.
    pub max_replicas: u32,
    /// Share of slots that should be busy.
    pub target_utilization: Percent,
    /// How often the scaler looks.
    pub refresh: Duration,
    /// How long fewer must have been enough.
    pub scale_down_delay: Duration,
    /// Time without a request after which none is kept; only where
    /// `min_replicas` is 0.
    pub scale_to_zero_after: Duration,
    /// How long a request waits for the first replica.
    pub cold_start_wait: Duration,
    /// Whether callers who take event streams get comments while they wait.
    pub cold_start_comments: bool,
}

/// How a replica is asked whether it is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// `GET` of this path must answer 2xx or 3xx; none: a TCP connect is enough.
    pub path: Option<String>,
    /// Between probes, after the first success.
    pub period: Duration,
    /// Of one probe.
    pub timeout: Duration,
    /// Successes in a row that make it ready again.
    pub success_threshold: u32,
    /// Failures in a row that make it not ready.
    pub failure_threshold: u32,
    /// Before the first probe.
    pub initial_delay: Duration,
}
