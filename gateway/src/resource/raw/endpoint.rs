//! `kind: Endpoint` as a file says it.
//!
//! Checks nothing but types. Used by `check` and for the schema.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::resource::raw::Later;
use crate::units::{Cpu, Interval, Memory, Percent, Size};

/// What callers score against.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct EndpointSpec {
    /// Its own host names; then the whole path is the model's.
    pub hosts: Option<Vec<String>>,
    /// Largest request body. Default: 100Mi.
    pub max_request_bytes: Option<Size>,
    /// Whether a model's 500 becomes 502, as the original did. Default: false.
    #[serde(rename = "modelErrorsAs502")]
    pub model_errors_as_502: Option<bool>,
    /// Comes with a later version.
    pub cors: Later,
    /// Who may call.
    pub auth: Option<Auth>,
    /// Which version answers.
    pub split: Option<Split>,
    /// Which version also gets a share of the exchanges, without answering.
    /// Default: none.
    pub mirror: Option<Mirror>,
    /// Comes with a later version.
    pub fairness: Later,
    /// What is kept; asked in order.
    pub collect: Option<Vec<CollectBinding>>,
    /// 1 to 6.
    pub versions: Option<Vec<Version>>,
}

/// A share of the exchanges is also sent to one more version, whose answer is
/// compared with the caller's (`tidegate_mirror_total`) and dropped. Not what a
/// caller pinned, nor what that version answers itself, nor an upgrade.
///
/// A copy is sent when the caller's answer begins, so that it neither delays nor
/// fails it; never where that ended in a fault before. It has the headers that
/// the answering replica got, the same request id among them. It takes a slot
/// only where one is free at once and nobody waits: of a version with traffic of
/// its own at most half of the slots, and never the last free one. It is no
/// traffic: it does not wake a version from zero, though what it keeps busy
/// counts for the scaler. Bodies over 1 MiB are not copied. Where the caller
/// leaves, the copy goes on, at most `scoringTimeout` longer than its original.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Mirror {
    /// The version that gets the copies; its own share may be 0.
    pub version: Option<String>,
    /// Percent of the exchanges that other versions answer; decimals allowed.
    pub percent: Option<Percent>,
    /// Whether the bodies of the answers are compared, beside status and size.
    /// Default: false.
    pub compare_body: Option<bool>,
}

/// Who may call.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Auth {
    /// Default: `key`.
    pub mode: Option<AuthMode>,
    /// With `custom`: asked in order.
    pub policies: Option<Vec<Binding>>,
    /// Whether `Authorization` reaches the model. Default: false.
    pub forward_credential: Option<bool>,
    /// Comes with a later version.
    pub issuers: Later,
}

/// Who is asked whether a caller may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum AuthMode {
    /// The shipped `key-auth`.
    Key,
    /// Comes with a later version.
    Token,
    /// Nobody.
    None,
    /// The policies that are listed.
    Custom,
}

/// The place where an endpoint names a plugin and gives it settings.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Binding {
    /// The plugin's name.
    pub plugin: Option<String>,
    /// Its settings, given to `configure` as JSON.
    pub config: Option<serde_json::Value>,
    /// Auth only: headers that key what is remembered; all it was shown where left out.
    pub cache_by: Option<Vec<String>>,
    /// Comes with a later version.
    pub isolation: Later,
}

/// Which version answers.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Split {
    /// Default: the shipped `weighted-split`.
    pub policy: Option<Binding>,
    /// What happens where it fails. Default: `weights`.
    pub on_failure: Option<OnFailure>,
    /// Who always draws the same, and so stays with a version as long as the
    /// weights let it. Default: nobody; every exchange draws anew.
    pub sticky: Option<Sticky>,
    /// Whether callers may pin a version by `azureml-model-deployment`. Default: true.
    pub pin: Option<bool>,
}

/// Whose draw is always the same. The draw is made of the endpoint's name and
/// of what `by` says, the same on every gateway and after every restart; a
/// change of weights moves only as many callers as it must. A request without
/// it (no such header or cookie, an empty one, no caller) draws anew.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Sticky {
    /// What names a caller.
    pub by: Option<StickyBy>,
    /// The header's or the cookie's name; not with `caller`.
    pub name: Option<String>,
}

/// What names a caller for the split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum StickyBy {
    /// The header `name`, all its lines in order.
    Header,
    /// The cookie `name`, the first of that name.
    Cookie,
    /// The caller as the auth policies named it: tenant and subject.
    Caller,
}

/// What happens where the split policy fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum OnFailure {
    /// The configured weights decide.
    Weights,
    /// 503.
    Refuse,
}

/// What is kept of exchanges.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CollectBinding {
    /// The plugin's name.
    pub plugin: Option<String>,
    /// Its settings, given to `configure` as JSON.
    pub config: Option<serde_json::Value>,
    /// Of each body, what the policy is given; 0: none; at most 1Mi. Default: 64Ki.
    pub body_bytes: Option<Size>,
    /// Of which exchanges.
    pub when: Option<When>,
    /// Empty (default): all.
    pub versions: Option<Vec<String>>,
    /// Other than `default` comes with a later version.
    pub sink: Later,
    /// Comes with a later version.
    pub isolation: Later,
}

/// Which exchanges a collect policy is shown.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct When {
    /// Percent of exchanges. Default: 100.
    pub sample: Option<Percent>,
    /// Comes with a later version.
    pub failures: Later,
    /// Comes with a later version.
    pub callers: Later,
}

/// One deployed model version.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Version {
    /// Its name, unique in the endpoint.
    pub name: Option<String>,
    /// Percent of the exchanges; the sum is at most 100. Default: 0.
    pub traffic: Option<Percent>,
    /// Gets what the shares leave over; exactly one. Default: the first. Where a
    /// version is changed as such, the one before is unmarked in the same change.
    pub default: Option<bool>,
    /// At most one control. Where a version that is changed as such becomes it, the
    /// one before becomes a treatment.
    #[serde(rename = "type")]
    pub kind: Option<VersionType>,
    /// For people.
    pub description: Option<String>,
    /// For people; may change.
    pub tags: Option<BTreeMap<String, String>>,
    /// For people. Changes over the admin API only add to them (`tags` may change),
    /// a rollback keeps what was added; a changed file of `tidegate run` is the
    /// whole truth.
    pub properties: Option<BTreeMap<String, String>>,
    /// Replicas are processes of this machine.
    pub process: Option<Process>,
    /// Replicas are fixed addresses.
    #[serde(rename = "static")]
    pub fixed: Option<Static>,
    /// Comes with a later version.
    pub kubernetes: Later,
    /// What callers may reach: exact paths, or with `/*` at the end all below.
    /// Default: /score, /swagger.json, /v1/*, /v2/*.
    pub paths: Option<Vec<String>>,
    /// Slots per replica. Default: 1.
    pub max_concurrent_requests: Option<u64>,
    /// Then 503. Default: 500ms.
    pub max_queue_wait: Option<Interval>,
    /// Then 503 at once. Default: 10 times the slots of the most replicas.
    pub queue_capacity: Option<u64>,
    /// Until the first byte of the answer. Default: 60s.
    pub scoring_timeout: Option<Interval>,
    /// Between chunks of the answer. Default: 60s.
    pub stream_idle_timeout: Option<Interval>,
    /// What becomes of a request whose caller went away. Default: `finish`.
    pub caller_gone: Option<CallerGone>,
    /// A fixed count, in place of `autoscale`.
    pub replicas: Option<u64>,
    /// How many replicas, by the load.
    pub autoscale: Option<Autoscale>,
    /// How long a fresh replica gets less than its share. Default: not at all.
    pub warm_up: Option<Interval>,
    /// When a replica is ready.
    pub readiness: Option<Probe>,
    /// When a replica is started again. Default: only when it ends.
    pub liveness: Option<Probe>,
    /// Kept and shown; enforced by kubernetes.
    pub resources: Option<Resources>,
}

/// Control or treatment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum VersionType {
    /// What treatments are compared with.
    Control,
    /// What is tried.
    Treatment,
}

/// What becomes of a request whose caller went away after it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum CallerGone {
    /// It keeps its slot until the replica has answered.
    Finish,
    /// The connection is closed and the slot given back at once.
    Abort,
}

/// Replicas that are processes of this machine.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Process {
    /// Program and arguments; `$(PORT)` and other `$(NAME)` of `env` are replaced.
    pub command: Option<Vec<String>>,
    /// Its working directory. Default: the file's folder.
    pub dir: Option<String>,
    /// Its environment.
    pub env: Option<BTreeMap<String, String>>,
    /// Names kept of the gateway's own environment. Default: PATH, LANG.
    pub inherit_env: Option<Vec<String>>,
    /// Given to the model as `AZUREML_MODEL_DIR`.
    pub model_dir: Option<String>,
    /// Run as this user. Default: the gateway's.
    pub user: Option<String>,
    /// From SIGTERM to SIGKILL. Default: 10s.
    pub grace: Option<Interval>,
}

/// Replicas that are fixed addresses.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Static {
    /// `HOST:PORT`, each once.
    pub addresses: Option<Vec<String>>,
    /// TLS to the replicas. Default: plain.
    pub tls: Option<StaticTls>,
}

/// TLS to replicas.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct StaticTls {
    /// Roots in PEM. Default: those of the machine.
    pub ca_file: Option<String>,
    /// The name their certificates are for. Default: the address's host.
    pub server_name: Option<String>,
}

/// How many replicas.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Autoscale {
    /// Default: true where `replicas` is left out.
    pub enabled: Option<bool>,
    /// Default: 1.
    pub min_replicas: Option<u64>,
    /// Default: 10.
    pub max_replicas: Option<u64>,
    /// Percent of slots that should be busy, 1 to 100. Default: 70.
    pub target_utilization: Option<Percent>,
    /// How often the scaler looks. Default: 1s.
    pub refresh: Option<Interval>,
    /// How long fewer must have been enough. Default: 60s.
    pub scale_down_delay: Option<Interval>,
    /// Time without a request after which none is kept, where `minReplicas` is
    /// 0. Default: 5m.
    pub scale_to_zero_after: Option<Interval>,
    /// How long a request waits for the first replica. Default: 60s.
    pub cold_start_wait: Option<Interval>,
    /// Where `minReplicas` is 0: whether a caller whose `Accept` lists
    /// `text/event-stream` gets `200` and a comment every second while it waits
    /// for the first replica, from the first second on, so that nothing between
    /// cuts a silent connection. The model's events follow; if it does not
    /// answer 200 with events, an `event: error` says what it did, and the
    /// stream is broken off. Headers of the model do not reach such a caller.
    /// Default: false.
    pub cold_start_comments: Option<bool>,
}

/// When a replica is ready.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Probe {
    /// `GET` of it must answer 2xx or 3xx; null (default): a TCP connect is enough.
    pub path: Option<String>,
    /// Between probes, after the first success. Default: 10s.
    pub period: Option<Interval>,
    /// Of one probe. Default: 2s.
    pub timeout: Option<Interval>,
    /// Successes in a row that make it ready again. Default: 1.
    pub success_threshold: Option<u64>,
    /// Failures in a row that make it not ready. Default: 3.
    pub failure_threshold: Option<u64>,
    /// Before the first probe. Default: 0s.
    pub initial_delay: Option<Interval>,
}

/// What a replica needs and may use.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Resources {
    /// Default: cpu 100m, memory 500M.
    pub requests: Option<Amounts>,
    /// At least the requests.
    pub limits: Option<Amounts>,
    /// GPUs.
    pub gpu: Option<Gpu>,
}

/// CPU and memory.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Amounts {
    /// Cores, as a Kubernetes quantity.
    pub cpu: Option<Cpu>,
    /// Bytes, as a Kubernetes quantity.
    pub memory: Option<Memory>,
}

/// GPUs.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Gpu {
    /// How many. Default: 0.
    pub count: Option<u64>,
    /// The resource's name. Default: nvidia.com/gpu.
    pub name: Option<String>,
}
