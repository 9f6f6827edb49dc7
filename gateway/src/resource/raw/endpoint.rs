//! `kind: Endpoint` as a file says it.
//!
//! Checks nothing but types. Used by `check` and for the schema.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::name::Name;
use crate::resource::raw::Later;
use crate::units::{Cpu, Interval, Memory, Percent, Size};

/// What callers score against.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EndpointSpec {
    /// Host names of its own, without port or `*`; on them the whole path is the model's.
    #[schemars(extend("default" = []))]
    pub hosts: Option<Vec<String>>,
    /// Largest request body; past it 413.
    #[schemars(extend("default" = "100Mi", "x-minimum" = "0", "x-maximum" = "1Ti"))]
    pub max_request_bytes: Option<Size>,
    /// Whether a model's 500 becomes 502, as the original did.
    #[schemars(extend("default" = false))]
    #[serde(rename = "modelErrorsAs502")]
    pub model_errors_as_502: Option<bool>,
    /// How CORS preflight is answered. Comes with a later version.
    #[schemars(extend("x-later" = null))]
    pub cors: Later,
    /// Who may call.
    pub auth: Option<Auth>,
    /// Which version answers.
    pub split: Option<Split>,
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
    pub mirror: Option<Mirror>,
    /// How waiting callers take turns. Comes with a later version.
    #[schemars(extend("x-later" = null))]
    pub fairness: Later,
    /// What is kept of exchanges: policies, asked in order.
    #[schemars(length(max = 16), extend("default" = []))]
    pub collect: Option<Vec<CollectBinding>>,
    /// The versions that answer. Their `traffic` adds up to at most 100; what it leaves over
    /// goes to the default version.
    #[schemars(required, length(min = 1, max = 6))]
    pub versions: Option<Vec<Version>>,
}

/// Which version also gets a share of the exchanges, without answering.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Mirror {
    /// The version that gets the copies; its own share may be 0.
    #[schemars(required, with = "Option<Name>")]
    pub version: Option<String>,
    /// Percent of the exchanges that other versions answer; decimals allowed.
    #[schemars(required)]
    pub percent: Option<Percent>,
    /// Whether the bodies of the answers are compared, beside status and size.
    #[schemars(extend("default" = false))]
    pub compare_body: Option<bool>,
}

/// Who may call.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Auth {
    /// Who is asked.
    #[schemars(extend("default" = "key"))]
    pub mode: Option<AuthMode>,
    /// With `custom`, and only there: auth policies, asked in order. The first denial ends
    /// it; where all pass it is 401.
    #[schemars(length(max = 16), extend("default" = []))]
    pub policies: Option<Vec<Binding>>,
    /// Whether `Authorization` reaches the model, where the mode is not `none`.
    #[schemars(extend("default" = false))]
    pub forward_credential: Option<bool>,
    /// Token issuers that are trusted. Comes with a later version.
    #[schemars(extend("x-later" = []))]
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
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Binding {
    /// The name of a plugin of this role: of a Plugin resource, or a shipped one.
    #[schemars(required, with = "Option<Name>")]
    pub plugin: Option<String>,
    /// The settings of the plugin, given to its `configure` as JSON.
    #[schemars(extend("default" = {}))]
    pub config: Option<serde_json::Value>,
    /// Auth only: the headers by which a grant is remembered, so that requests with the same
    /// ones are not asked about again for as long as the policy says. Must be among the headers of the plugin.
    #[schemars(extend("x-default" = "all headers the policy is shown; of `key-auth` `authorization`"))]
    pub cache_by: Option<Vec<String>>,
    /// Whether an instance is used again. Other than `reuse` comes with a later version.
    #[schemars(extend("x-later" = "reuse"))]
    pub isolation: Later,
}

/// Which version answers.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Split {
    /// The split policy that is asked.
    #[schemars(extend("default" = { "plugin": "weighted-split" }))]
    pub policy: Option<Binding>,
    /// What happens where it fails.
    #[schemars(extend("default" = "weights"))]
    pub on_failure: Option<OnFailure>,
    /// Who always draws the same, and so stays with a version as long as the weights let
    /// it. Left out: nobody; every exchange draws anew.
    ///
    /// The draw is made of the endpoint's name and of what `by` says, the same on every
    /// gateway and after every restart; a change of weights moves only as many callers as
    /// it must. A request without it (no such header or cookie, an empty one, no caller)
    /// draws anew.
    pub sticky: Option<Sticky>,
    /// Whether callers may pin a version by the header `azureml-model-deployment`.
    #[schemars(extend("default" = true))]
    pub pin: Option<bool>,
}

/// Whose draw is always the same.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Sticky {
    /// What names a caller.
    #[schemars(required)]
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
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CollectBinding {
    /// The name of a collect plugin: of a Plugin resource, or a shipped one.
    #[schemars(required, with = "Option<Name>")]
    pub plugin: Option<String>,
    /// The settings of the plugin, given to its `configure` as JSON.
    #[schemars(extend("default" = {}))]
    pub config: Option<serde_json::Value>,
    /// Of each body, what the policy is given at most; 0: none.
    #[schemars(extend("default" = "64Ki", "x-minimum" = "0", "x-maximum" = "1Mi"))]
    pub body_bytes: Option<Size>,
    /// Which exchanges it is shown.
    pub when: Option<When>,
    /// The versions whose exchanges it is shown; empty: all.
    #[schemars(extend("default" = []))]
    pub versions: Option<Vec<String>>,
    /// Where it is delivered. Other than `default` comes with a later version.
    #[schemars(extend("x-later" = "default"))]
    pub sink: Later,
    /// Whether an instance is used again. Other than `reuse` comes with a later version.
    #[schemars(extend("x-later" = "reuse"))]
    pub isolation: Later,
}

/// Which exchanges a collect policy is shown.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct When {
    /// Percent of exchanges.
    #[schemars(extend("default" = 100))]
    pub sample: Option<Percent>,
    /// Whether failed exchanges are all shown. Comes with a later version.
    #[schemars(extend("x-later" = null))]
    pub failures: Later,
    /// Whose exchanges. Comes with a later version.
    #[schemars(extend("x-later" = []))]
    pub callers: Later,
}

/// One deployed model version.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Version {
    /// Its name, unique in the endpoint.
    #[schemars(required, with = "Option<Name>")]
    pub name: Option<String>,
    /// Percent of the exchanges, with at most two decimals; the sum over the versions is at
    /// most 100.
    #[schemars(extend("default" = 0))]
    pub traffic: Option<Percent>,
    /// Whether it gets what the shares leave over; exactly one version does. Where a version
    /// is changed as such, the one before is unmarked in the same change.
    #[schemars(extend("x-default" = "true for the first version of a file, where none is named"))]
    pub default: Option<bool>,
    /// Its part in a comparison; at most one control. Where a version that is changed as such
    /// becomes it, the one before becomes a treatment. Left out: neither.
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
    /// Replicas are processes of this machine. Exactly one of `process` and `static`.
    pub process: Option<Process>,
    /// Replicas are fixed addresses. Exactly one of `process` and `static`.
    #[serde(rename = "static")]
    pub fixed: Option<Static>,
    /// Replicas are pods. Comes with a later version.
    #[schemars(extend("x-later" = null))]
    pub kubernetes: Later,
    /// What callers may reach: exact paths, or with `/*` at the end all below.
    #[schemars(length(min = 1, max = 100), inner(regex(pattern = "^/")), extend("default" = ["/score", "/swagger.json", "/v1/*", "/v2/*"]))]
    pub paths: Option<Vec<String>>,
    /// Slots per replica: requests it is sent at once.
    #[schemars(range(min = 1, max = 100_000), extend("default" = 1))]
    pub max_concurrent_requests: Option<u64>,
    /// How long a request waits for a slot; then 503 `overloaded`.
    #[schemars(extend("default" = "500ms", "x-minimum" = "0s", "x-maximum" = "1d"))]
    pub max_queue_wait: Option<Interval>,
    /// How many requests wait for a slot; then 503 `overloaded` at once.
    #[schemars(range(min = 0, max = 1_000_000), extend("x-default" = "10 times the slots of `maxReplicas`, `replicas` or all addresses"))]
    pub queue_capacity: Option<u64>,
    /// From the end of the request to the first byte of the answer; then 504.
    #[schemars(extend("default" = "60s", "x-minimum" = "1ms", "x-maximum" = "1d"))]
    pub scoring_timeout: Option<Interval>,
    /// Between chunks of the answer; then it is broken off.
    #[schemars(extend("default" = "60s", "x-minimum" = "1ms", "x-maximum" = "1d"))]
    pub stream_idle_timeout: Option<Interval>,
    /// What becomes of a request whose caller went away after it was sent.
    #[schemars(extend("default" = "finish"))]
    pub caller_gone: Option<CallerGone>,
    /// A fixed count of processes, in place of `autoscale`.
    #[schemars(range(min = 0, max = 10_000))]
    pub replicas: Option<u64>,
    /// How many replicas, by the load; for processes, where `replicas` is left out.
    pub autoscale: Option<Autoscale>,
    /// How long a fresh replica gets less than its share.
    #[schemars(extend("default" = "0s", "x-minimum" = "0s", "x-maximum" = "1d"))]
    pub warm_up: Option<Interval>,
    /// When a replica is ready. One with a request in flight is judged by that request,
    /// not by a probe.
    pub readiness: Option<Probe>,
    /// When a replica is started again. Without a `path`: only when it ends.
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
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Process {
    /// Program and arguments; `$(PORT)` and other `$(NAME)` of `env` are replaced.
    #[schemars(required, length(min = 1))]
    pub command: Option<Vec<String>>,
    /// Its working directory. A relative path starts at the folder of the file.
    #[schemars(extend("x-default" = "the folder of the file"))]
    pub dir: Option<String>,
    /// Its environment, beside `PORT` and `AZUREML_MODEL_DIR`, which the gateway sets.
    #[schemars(extend("default" = {}))]
    pub env: Option<BTreeMap<String, String>>,
    /// Names kept of the gateway's own environment; nothing else of it reaches a model.
    #[schemars(extend("default" = ["PATH", "LANG"]))]
    pub inherit_env: Option<Vec<String>>,
    /// Given to the model as `AZUREML_MODEL_DIR`. A relative path starts at the folder of
    /// the file. Files that change below the same path are no change of the version: write
    /// another path to have its replicas replaced.
    pub model_dir: Option<String>,
    /// The user it runs as.
    #[schemars(extend("x-default" = "that of the gateway"))]
    pub user: Option<String>,
    /// From SIGTERM to SIGKILL.
    #[schemars(extend("default" = "10s", "x-minimum" = "0s", "x-maximum" = "1h"))]
    pub grace: Option<Interval>,
}

/// Replicas that are fixed addresses.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Static {
    /// `HOST:PORT`, each once; each is one replica.
    #[schemars(
        required,
        length(min = 1, max = 10_000),
        inner(regex(pattern = ":[0-9]+$"))
    )]
    pub addresses: Option<Vec<String>>,
    /// TLS to the replicas. Left out: plain HTTP.
    pub tls: Option<StaticTls>,
}

/// TLS to replicas.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StaticTls {
    /// Roots in PEM. A relative path starts at the folder of the file.
    #[schemars(extend("x-default" = "those of the machine"))]
    pub ca_file: Option<String>,
    /// The name their certificates are for.
    #[schemars(extend("x-default" = "the host of the address"))]
    pub server_name: Option<String>,
}

/// How many replicas.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Autoscale {
    /// Whether the load decides; false needs `replicas`.
    #[schemars(extend("x-default" = "true where `replicas` is left out"))]
    pub enabled: Option<bool>,
    /// Fewest replicas; 0: none without traffic, see `scaleToZeroAfter`.
    #[schemars(range(min = 0, max = 10_000), extend("default" = 1))]
    pub min_replicas: Option<u64>,
    /// Most replicas.
    #[schemars(range(min = 1, max = 10_000), extend("default" = 10))]
    pub max_replicas: Option<u64>,
    /// Percent of slots that should be busy.
    #[schemars(range(min = 1, max = 100), extend("default" = 70))]
    pub target_utilization: Option<Percent>,
    /// How often the scaler looks.
    #[schemars(extend("default" = "1s", "x-minimum" = "100ms", "x-maximum" = "1h"))]
    pub refresh: Option<Interval>,
    /// How long fewer must have been enough.
    #[schemars(extend("default" = "60s", "x-minimum" = "0s", "x-maximum" = "1d"))]
    pub scale_down_delay: Option<Interval>,
    /// Time without a request after which none is kept; only where `minReplicas` is 0.
    #[schemars(extend("default" = "5m", "x-minimum" = "1ms", "x-maximum" = "1d"))]
    pub scale_to_zero_after: Option<Interval>,
    /// How long a request waits for the first replica, where there is none.
    #[schemars(extend("default" = "60s", "x-minimum" = "1ms", "x-maximum" = "1d"))]
    pub cold_start_wait: Option<Interval>,
    /// Where `minReplicas` is 0: whether a caller whose `Accept` lists
    /// `text/event-stream` gets `200` and a comment every second while it waits
    /// for the first replica, from the first second on, so that nothing between
    /// cuts a silent connection. The model's events follow; if it does not
    /// answer 200 with events, an `event: error` says what it did, and the
    /// stream is broken off. Headers of the model do not reach such a caller.
    #[schemars(extend("default" = false))]
    pub cold_start_comments: Option<bool>,
}

/// How a replica is asked how it is.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Probe {
    /// `GET` of it must answer 2xx or 3xx. Left out: for readiness a TCP connect is enough,
    /// and liveness is not judged.
    #[schemars(regex(pattern = "^/[!-~]*$"))]
    pub path: Option<String>,
    /// Between probes; until the first success of a replica it is every 100 ms.
    #[schemars(extend("default" = "10s", "x-minimum" = "100ms", "x-maximum" = "1h"))]
    pub period: Option<Interval>,
    /// Of one probe.
    #[schemars(extend("default" = "2s", "x-minimum" = "1ms", "x-maximum" = "1d"))]
    pub timeout: Option<Interval>,
    /// Successes in a row that make it ready again.
    #[schemars(range(min = 1, max = 1_000), extend("default" = 1))]
    pub success_threshold: Option<u64>,
    /// Failures in a row that make it not ready (liveness: start it again).
    #[schemars(range(min = 1, max = 1_000), extend("default" = 3))]
    pub failure_threshold: Option<u64>,
    /// Before the first probe.
    #[schemars(extend("x-default" = "0s; for liveness 310s", "x-minimum" = "0s", "x-maximum" = "1d"))]
    pub initial_delay: Option<Interval>,
}

/// What a replica needs and may use.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Resources {
    /// What it is given for certain.
    #[schemars(extend("default" = { "cpu": "100m", "memory": "500M" }))]
    pub requests: Option<Amounts>,
    /// What it may use at most; at least the requests.
    pub limits: Option<Amounts>,
    /// GPUs.
    pub gpu: Option<Gpu>,
}

/// CPU and memory.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Amounts {
    /// Cores, as a Kubernetes quantity: `100m`, `0.5`, `2`.
    pub cpu: Option<Cpu>,
    /// Bytes, as a Kubernetes quantity: `500M`, `1Gi`.
    pub memory: Option<Memory>,
}

/// GPUs.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Gpu {
    /// How many.
    #[schemars(range(min = 0, max = 1_024), extend("default" = 0))]
    pub count: Option<u64>,
    /// The name of the resource.
    #[schemars(extend("default" = "nvidia.com/gpu"))]
    pub name: Option<String>,
}
