//! `kind: GatewayConfig` as a file says it.
//!
//! Checks nothing but types. Used by `check` and for the schema.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::resource::raw::Later;
use crate::units::{Interval, Size};

/// The gateway itself. At most one; without it all defaults.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct GatewaySpec {
    /// Worker threads; 0 (default): one per core.
    pub threads: Option<u64>,
    /// Where callers connect. Default: one, `https` on 0.0.0.0:8443.
    pub listeners: Option<Vec<Listener>>,
    /// Where administrators connect.
    pub admin: Option<Admin>,
    /// Everything a caller or a replica could grow.
    pub limits: Option<Limits>,
    /// Networks whose forwarded headers are believed.
    pub trusted_proxies: Option<Vec<String>>,
    /// Comes with a later version.
    pub secrets: Later,
    /// Comes with a later version.
    pub limiters: Later,
    /// Where collected data goes; other than the default comes with a later version.
    pub collect: Option<Collect>,
    /// Comes with a later version.
    pub telemetry: Later,
    /// One line per exchange.
    pub access_log: Option<AccessLog>,
    /// What is kept of the resources.
    pub store: Option<Store>,
}

/// What is kept of the resources.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Store {
    /// Revisions of each resource that are kept for `history` and `rollback`, the
    /// current one included. Fewer than before takes effect at a resource's next
    /// change. Default: 100.
    pub revisions: Option<u64>,
}

/// One scoring listener.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Listener {
    /// Its name, unique in the gateway.
    pub name: Option<String>,
    /// Where it binds; port 0 takes a free one.
    pub address: Option<String>,
    /// How it is secured.
    pub tls: Option<ListenerTls>,
    /// Comes with a later version.
    pub redirect_to_https: Later,
}

/// How a listener is secured.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ListenerTls {
    /// Default: `certificates` where there are some, else `development`.
    pub mode: Option<TlsMode>,
    /// By SNI; the first is the default.
    pub certificates: Option<Vec<CertificateFiles>>,
    /// Default: `modern`.
    pub policy: Option<TlsPolicy>,
    /// Other than `{ mode: none }` comes with a later version.
    pub client_auth: Later,
    /// Comes with a later version.
    pub acme: Later,
    /// Comes with a later version.
    pub hsts: Later,
}

/// Where a listener's certificates come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum TlsMode {
    /// From files.
    Certificates,
    /// Made by the gateway, for trying it out; said in log and status.
    Development,
    /// Plain HTTP; said in log and status.
    None,
    /// Comes with a later version.
    Acme,
}

/// Which protocol versions and suites a listener takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum TlsPolicy {
    /// TLS 1.3, and 1.2 with strong suites.
    Modern,
    /// All that is safe at all.
    Compatible,
}

/// A certificate chain and its key, in PEM.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CertificateFiles {
    /// The chain.
    pub cert_file: Option<String>,
    /// The key.
    pub key_file: Option<String>,
}

/// Where administrators connect.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Admin {
    /// Default: 127.0.0.1:9443.
    pub address: Option<String>,
    /// Required off loopback.
    pub tls: Option<AdminTls>,
    /// Whether resources that name commands or files are taken off loopback.
    pub allow_local: Option<bool>,
}

/// How the admin API is secured.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AdminTls {
    /// `none` (default) or `certificates`.
    pub mode: Option<AdminTlsMode>,
    /// Exactly one, where the mode is `certificates`.
    pub certificates: Option<Vec<CertificateFiles>>,
}

/// Whether the admin API has a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum AdminTlsMode {
    /// Plain HTTP, on loopback only.
    None,
    /// From files.
    Certificates,
}

/// Everything a caller or a replica could grow.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Limits {
    /// Connections over all listeners; then accepting stops. Default: 10000.
    pub connections: Option<u64>,
    /// From accept to the end of the TLS handshake. Default: 10s.
    pub tls_handshake_timeout: Option<Interval>,
    /// From the first byte of a head to its end. Default: 10s.
    pub head_timeout: Option<Interval>,
    /// Bytes of a head. Default: 64Ki.
    pub head_bytes: Option<Size>,
    /// Fields of a head. Default: 100.
    pub head_fields: Option<u64>,
    /// Bytes of a target. Default: 8Ki.
    pub target_bytes: Option<Size>,
    /// The caller sends no awaited byte (408), or takes none that is there. Default: 30s.
    pub body_idle_timeout: Option<Interval>,
    /// A caller's connection without an exchange. Default: 60s.
    pub idle_timeout: Option<Interval>,
    /// HTTP/2 streams of one connection. Default: 100.
    pub streams_per_connection: Option<u64>,
    /// An unused connection to a replica. Default: 1s.
    pub upstream_idle: Option<Interval>,
    /// What the process may use; past it no exchange begins (503), and a head that does
    /// not come whole ends its connection. 0: 80 % of what the machine or its group
    /// allows. Default: 0.
    pub memory: Option<Size>,
    /// On SIGTERM, and for a replica that is being removed. Default: 30s.
    pub drain: Option<Interval>,
}

/// Where collected data goes.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Collect {
    /// Other than the default comes with a later version.
    pub spool: Later,
    /// Other than the default comes with a later version.
    pub sinks: Later,
    /// Comes with a later version.
    pub door: Later,
}

/// One line per exchange.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AccessLog {
    /// `json` (default); `common` comes with a later version.
    pub format: Option<AccessLogFormat>,
    /// `stdout` (default), `stderr`, `none`, or the path of a file, rotated by size.
    pub to: Option<String>,
}

/// How an access line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum AccessLogFormat {
    /// One JSON object a line.
    Json,
    /// Comes with a later version.
    Common,
}
