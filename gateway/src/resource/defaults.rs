//! What a key means that is left out (SEMANTICS §4, resources.yaml), each with
//! its reason, and the bounds of what may be said.
//!
//! Holds values only. Used by `check`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::resource::{Limits, Role};

/// `spec.listeners`: one, on all addresses, on the usual port of HTTPS for those without root.
pub(super) const LISTENER_ADDRESS: SocketAddr =
    SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8443);
/// `spec.admin.address`: loopback, because it needs no certificate there.
pub(super) const ADMIN_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9443);

/// `spec.limits`.
pub(super) const LIMITS: Limits = Limits {
    // About 1 GB of buffers at worst; accepting stops, so that nothing is refused.
    connections: 10_000,
    // Far beyond three round trips of a slow phone.
    tls_handshake_timeout: Duration::from_secs(10),
    // The same, for a head that trickles in.
    head_timeout: Duration::from_secs(10),
    // Room for tokens with many claims; what nginx and Envoy take is below it.
    head_bytes: 64 << 10,
    head_fields: 100,
    // What nginx takes.
    target_bytes: 8 << 10,
    body_idle_timeout: Duration::from_secs(30),
    // Longer than a client's usual pause, shorter than NAT tables forget.
    idle_timeout: Duration::from_secs(60),
    streams_per_connection: 100,
    // Below the 2 s after which the slowest known model servers close (gunicorn).
    upstream_idle: Duration::from_secs(1),
    memory: None,
    // What Kubernetes gives a pod.
    drain: Duration::from_secs(30),
};

/// `store.revisions`: some weeks of several changes a day; 10,000 endpoints of
/// a kilobyte then take about 1 GB at most.
pub(super) const REVISIONS: u32 = 100;
/// Most of them: beyond it the list of a history is no longer for people.
pub(super) const REVISIONS_MAX: u32 = 10_000;

/// `limits.memory`: below it not even the plugins would fit.
pub(super) const MEMORY_MIN: u64 = 64 << 20;

/// `maxRequestBytes` of an endpoint: the original's limit.
pub(super) const REQUEST_BYTES_MAX: u64 = 100 << 20;
/// `bodyBytes` of a collect binding: enough for most rows and prompts.
pub(super) const COLLECT_BODY_BYTES: u64 = 64 << 10;
/// Largest `bodyBytes`: a batch is at most 2 MiB.
pub(super) const COLLECT_BODY_BYTES_MAX: u64 = 1 << 20;

/// `paths` of a version: what scoring needs; model servers carry administrative
/// routes that a scoring key must not reach.
pub(super) const PATHS: [&str; 4] = ["/score", "/swagger.json", "/v1/*", "/v2/*"];
/// `maxConcurrentRequests`: the original's; most model servers compute one request at a time.
pub(super) const CONCURRENT_REQUESTS: u64 = 1;
/// `maxQueueWait`: the original's.
pub(super) const QUEUE_WAIT: Duration = Duration::from_millis(500);
/// `queueCapacity` for each slot of the most replicas.
pub(super) const QUEUE_PER_SLOT: u64 = 10;
/// `scoringTimeout`: the original's.
pub(super) const SCORING_TIMEOUT: Duration = Duration::from_secs(60);
/// `streamIdleTimeout`: as long as the first byte may take.
pub(super) const STREAM_IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// `autoscale.minReplicas` and `maxReplicas`: the original's.
pub(super) const REPLICAS: (u64, u64) = (1, 10);
/// `autoscale.targetUtilization`, in percent: the original's.
pub(super) const UTILIZATION: u32 = 70;
/// `autoscale.refresh`: the original's.
pub(super) const REFRESH: Duration = Duration::from_secs(1);
/// `autoscale.scaleDownDelay`: the original says "about a minute".
pub(super) const SCALE_DOWN_DELAY: Duration = Duration::from_secs(60);
/// `autoscale.scaleToZeroAfter`, where `minReplicas` is 0.
pub(super) const SCALE_TO_ZERO_AFTER: Duration = Duration::from_secs(300);
/// `autoscale.coldStartWait`: as long as a model may take to answer.
pub(super) const COLD_START_WAIT: Duration = Duration::from_secs(60);
/// `liveness.initialDelay`: the original's; large models load for minutes.
pub(super) const LIVENESS_DELAY: Duration = Duration::from_secs(310);
/// `process.grace`: gunicorn's own is 30 s, but a request is drained before.
pub(super) const GRACE: Duration = Duration::from_secs(10);
/// `process.inheritEnv`: programs are found, text is read as UTF-8.
pub(super) const INHERIT_ENV: [&str; 2] = ["PATH", "LANG"];
/// `readiness.period` and `timeout`: those of the original and of Kubernetes (10 s, 2 s).
pub(super) const PROBE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(2));
/// `readiness.successThreshold` and `failureThreshold`.
pub(super) const THRESHOLDS: (u64, u64) = (1, 3);
/// `resources.requests`: the original's.
pub(super) const REQUESTS: (&str, &str) = ("100m", "500M");
/// `resources.gpu.name`.
pub(super) const GPU_NAME: &str = "nvidia.com/gpu";

/// Waits and timeouts that must be there: none longer than a day.
pub(super) const TIMEOUT: RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(86_400);
/// Waits that may be none at all.
pub(super) const WAIT: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(86_400);

/// Versions of an endpoint: the original's limit.
pub(super) const VERSIONS_MAX: usize = 6;
/// Policies of one list: each costs every exchange a call.
pub(super) const POLICIES_MAX: usize = 16;
/// Replicas of a version: far beyond one machine; a mistyped number stops here.
pub(super) const REPLICAS_MAX: u64 = 10_000;

/// The policies that the binary carries: name, role, the headers they see.
pub(super) const SHIPPED: [(&str, Role, &[&str]); 3] = [
    ("key-auth", Role::Auth, &["authorization"]),
    ("weighted-split", Role::Split, &[]),
    ("model-data", Role::Collect, &["content-type"]),
];
/// Headers that hold credentials: shown to auth policies only (policy.wit).
pub(super) const CREDENTIAL_HEADERS: [&str; 2] = ["authorization", "cookie"];
