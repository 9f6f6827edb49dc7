//! `kind: GatewayConfig` as a file says it.
//!
//! Checks nothing but types. Used by `check` and for the schema.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::resource::raw::Later;
use crate::units::{Interval, Size};

/// The gateway itself. At most one; without it all defaults.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GatewaySpec {
    /// Worker threads; 0: one per core.
    #[schemars(range(min = 0, max = 1024), extend("default" = 0))]
    pub threads: Option<u64>,
    /// Where callers connect.
    #[schemars(length(min = 1), extend("default" = [{ "name": "https", "address": "0.0.0.0:8443" }]))]
    pub listeners: Option<Vec<Listener>>,
    /// Where administrators connect.
    pub admin: Option<Admin>,
    /// Everything a caller or a replica could grow.
    pub limits: Option<Limits>,
    /// Networks whose `x-forwarded-*` and `forwarded` headers are believed, as in
    /// `10.0.0.0/8`.
    #[schemars(extend("default" = []))]
    pub trusted_proxies: Option<Vec<String>>,
    /// Secrets by name, for sinks and plugins. Comes with a later version.
    #[schemars(extend("x-later" = []))]
    pub secrets: Later,
    /// Rates by name, from which policies take. Comes with a later version.
    #[schemars(extend("x-later" = []))]
    pub limiters: Later,
    /// Where collected data goes.
    pub collect: Option<Collect>,
    /// Traces, metrics and logs over OTLP. Comes with a later version.
    #[schemars(extend("x-later" = { "otlp": null }))]
    pub telemetry: Later,
    /// One line per exchange.
    pub access_log: Option<AccessLog>,
    /// What is kept of the resources.
    pub store: Option<Store>,
}

/// What is kept of the resources.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Store {
    /// Revisions of each resource that are kept for `history` and `rollback`, the
    /// current one included. Fewer than before takes effect at a resource's next
    /// change.
    #[schemars(range(min = 1, max = 10_000), extend("default" = 100))]
    pub revisions: Option<u64>,
}

/// One scoring listener.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Listener {
    /// Its name, unique in the gateway: 1 to 32 lower-case letters, digits and `-`.
    #[schemars(required, regex(pattern = "^[-a-z0-9]{1,32}$"))]
    pub name: Option<String>,
    /// Where it binds, `ADDRESS:PORT`; port 0 takes a free one.
    #[schemars(required, regex(pattern = ":[0-9]+$"))]
    pub address: Option<String>,
    /// How it is secured.
    pub tls: Option<ListenerTls>,
    /// Whether plain HTTP is answered with the address of HTTPS. Comes with a later
    /// version.
    #[schemars(extend("x-later" = false))]
    pub redirect_to_https: Later,
}

/// How a listener is secured.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListenerTls {
    /// Where its certificates come from.
    #[schemars(extend("x-default" = "`certificates` where there are some, else `development`"))]
    pub mode: Option<TlsMode>,
    /// Chosen by the host that the caller names (SNI); the first is for the others. Read
    /// again within 2 s when the files change; where they are broken then, the old ones
    /// stay.
    pub certificates: Option<Vec<CertificateFiles>>,
    /// Which protocol versions and suites it takes.
    #[schemars(extend("default" = "modern"))]
    pub policy: Option<TlsPolicy>,
    /// Certificates of callers. Comes with a later version.
    #[schemars(extend("x-later" = { "mode": "none" }))]
    pub client_auth: Later,
    /// Where certificates are ordered. Comes with a later version.
    #[schemars(extend("x-later" = null))]
    pub acme: Later,
    /// How long browsers are told to come by HTTPS only. Comes with a later version.
    #[schemars(extend("x-later" = null))]
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
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CertificateFiles {
    /// The chain. A relative path starts at the file's folder.
    #[schemars(required)]
    pub cert_file: Option<String>,
    /// The key. A relative path starts at the file's folder.
    #[schemars(required)]
    pub key_file: Option<String>,
}

/// Where administrators connect.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Admin {
    /// Where it binds, `ADDRESS:PORT`; port 0 takes a free one. Off loopback it needs
    /// `tls`.
    #[schemars(regex(pattern = ":[0-9]+$"), extend("default" = "127.0.0.1:9443"))]
    pub address: Option<String>,
    /// How it is secured; required off loopback.
    pub tls: Option<AdminTls>,
    /// Whether resources that name commands or files of the machine are taken off
    /// loopback too.
    #[schemars(extend("default" = false))]
    pub allow_local: Option<bool>,
}

/// How the admin API is secured.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AdminTls {
    /// Whether it has a certificate.
    #[schemars(extend("default" = "none"))]
    pub mode: Option<AdminTlsMode>,
    /// Exactly one, where the mode is `certificates`. Read again within 2 s when its files
    /// change.
    #[schemars(length(max = 1))]
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
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    /// Connections over all listeners; past it none is accepted until one ends.
    #[schemars(range(min = 1, max = 10_000_000), extend("default" = 10_000))]
    pub connections: Option<u64>,
    /// From accept to the end of the TLS handshake.
    #[schemars(extend("default" = "10s", "x-minimum" = "1ms", "x-maximum" = "1d"))]
    pub tls_handshake_timeout: Option<Interval>,
    /// From the first byte of a head to its end.
    #[schemars(extend("default" = "10s", "x-minimum" = "1ms", "x-maximum" = "1d"))]
    pub head_timeout: Option<Interval>,
    /// Bytes of a head; past it 431.
    #[schemars(extend("default" = "64Ki", "x-minimum" = "8Ki", "x-maximum" = "1Mi"))]
    pub head_bytes: Option<Size>,
    /// Fields of a head; past it 431.
    #[schemars(range(min = 1, max = 1_000), extend("default" = 100))]
    pub head_fields: Option<u64>,
    /// Bytes of a target, at most `headBytes`; past it 414.
    #[schemars(extend("default" = "8Ki", "x-minimum" = "256", "x-maximum" = "64Ki"))]
    pub target_bytes: Option<Size>,
    /// How long a caller may send no awaited byte of its body (408), or take none of
    /// an answer (broken off).
    #[schemars(extend("default" = "30s", "x-minimum" = "1ms", "x-maximum" = "1d"))]
    pub body_idle_timeout: Option<Interval>,
    /// How long a caller's connection is kept without an exchange.
    #[schemars(extend("default" = "60s", "x-minimum" = "1ms", "x-maximum" = "1d"))]
    pub idle_timeout: Option<Interval>,
    /// HTTP/2 streams of one connection at a time.
    #[schemars(range(min = 1, max = 10_000), extend("default" = 100))]
    pub streams_per_connection: Option<u64>,
    /// How long an unused connection to a replica is kept. Below what the model server
    /// keeps one, or requests meet a closed one.
    #[schemars(extend("default" = "1s", "x-minimum" = "0s", "x-maximum" = "1d"))]
    pub upstream_idle: Option<Interval>,
    /// What the process may use, at least 64Mi; past it no exchange begins (503), and a
    /// head that does not come whole ends its connection. 0: 80 % of what the machine
    /// or its group allows.
    #[schemars(extend("default" = 0))]
    pub memory: Option<Size>,
    /// How long what runs may take to end: on SIGTERM, and on a replica that is being
    /// removed.
    #[schemars(extend("default" = "30s", "x-minimum" = "0s", "x-maximum" = "1d"))]
    pub drain: Option<Interval>,
}

/// Where collected data goes.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Collect {
    /// The log on disk, before delivery. Other than the default comes with a later
    /// version.
    #[schemars(extend("x-later" = { "bytes": "1Gi", "whenFull": "dropNewest" }))]
    pub spool: Later,
    /// Where and how it is delivered. Other than the default comes with a later version.
    #[schemars(extend("x-later" = [{
        "name": "default", "format": "cloudevents", "url": null,
        "roll": { "every": "1m", "bytes": "64Mi" },
    }]))]
    pub sinks: Later,
    /// Where the v2 collector of Azure ML posts to. Comes with a later version.
    #[schemars(extend("x-later" = { "address": null }))]
    pub door: Later,
}

/// One line per exchange.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AccessLog {
    /// How a line is written.
    #[schemars(extend("default" = "json"))]
    pub format: Option<AccessLogFormat>,
    /// `stdout`, `stderr`, `none`, or the path of a file, rotated by size.
    #[schemars(extend("default" = "stdout"))]
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
