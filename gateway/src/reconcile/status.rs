//! What administrators are shown of the running state (SEMANTICS §12, §13).
//!
//! Plain records that serialise; never holds a secret. Made by `reconcile`,
//! sent by `admin`.

use schemars::JsonSchema;
use serde::Serialize;

use crate::name::Name;

/// State of a version, or of an endpoint: that of its worst version. It is about
/// what was last asked for; whether callers are answered is the condition
/// `Ready`, which holds on while the replicas before a failed update serve.
/// From the best to the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
pub enum State {
    /// Answers; final.
    Healthy,
    /// On its way; not final.
    Transitioning,
    /// There is no room for its replicas; not final. Of the runtime `process`:
    /// the machine has no process, memory, open file or port left for them.
    Unschedulable,
    /// Was healthy, does not answer now; not final.
    Unhealthy,
    /// Does not come up, `reason` says why in words; final.
    Failed,
}

impl State {
    /// The word in status and conditions.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "Healthy",
            Self::Transitioning => "Transitioning",
            Self::Unschedulable => "Unschedulable",
            Self::Unhealthy => "Unhealthy",
            Self::Failed => "Failed",
        }
    }
}

/// Replicas of a version, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
pub struct ReplicaCounts {
    /// That should be there.
    pub wanted: u32,
    /// That answer.
    pub ready: u32,
    /// On their way.
    pub starting: u32,
    /// That finish what they have.
    pub draining: u32,
    /// Of the ready ones, those that are kept from requests for a while: connections
    /// to them fail, they time out, or they alone answer 5xx.
    pub ejected: u32,
}

/// One version in an endpoint's status.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct VersionStatus {
    /// Its name.
    pub name: Name,
    /// Its state.
    pub state: State,
    /// Why, in words.
    pub reason: String,
    /// Since when its state is that, RFC 3339 in UTC.
    pub since: String,
    /// Its effective share, in percent.
    pub traffic: f64,
    /// Its replicas.
    pub replicas: ReplicaCounts,
    /// The names of those that are ejected.
    pub ejected: Vec<String>,
    /// What is so: `Ready`, `Updating`.
    pub conditions: Vec<Condition>,
}

/// Something that is so, with the time since when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What: `Ready` (callers are answered), `PoliciesLoaded`, `Updating` (new
    /// replicas are to take over).
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Whether it is so.
    pub status: bool,
    /// Why, in one word.
    pub reason: &'static str,
    /// Why, in words; may be empty.
    pub message: String,
    /// When `status` last changed, RFC 3339 in UTC.
    pub since: String,
}

/// `status` of an endpoint.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndpointStatus {
    /// Its state.
    pub state: State,
    /// Why, in words.
    pub reason: String,
    /// Since when its state is that, RFC 3339 in UTC.
    pub since: String,
    /// The revision this is about.
    pub observed_revision: u64,
    /// What is so.
    pub conditions: Vec<Condition>,
    /// Its versions.
    pub versions: Vec<VersionStatus>,
}

/// One known content of a plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PluginVersion {
    /// Its digest.
    pub digest: String,
    /// When it came, RFC 3339 in UTC.
    pub pushed: String,
    /// `active` or `stored`.
    pub state: &'static str,
    /// Whether it is in memory.
    pub live: bool,
}

/// The last swap of a plugin, done or refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize, JsonSchema)]
pub struct LastSwap {
    /// When, RFC 3339 in UTC.
    pub time: String,
    /// To which content.
    pub digest: String,
    /// `swapped` or `refused`.
    pub result: String,
    /// Why it was refused; empty where it was not.
    pub reason: String,
}

/// `status` of a plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PluginStatus {
    /// What decides now; none where nothing could be loaded.
    pub active_digest: Option<String>,
    /// Why nothing could be loaded; empty where something was.
    pub reason: String,
    /// Known contents, newest first.
    pub versions: Vec<PluginVersion>,
    /// The last swap.
    pub last_swap: Option<LastSwap>,
    /// Contents in memory: 1, but for the moment of a swap.
    pub versions_live: u64,
}

/// A listener, as it is bound.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ListenerStatus {
    /// Its name.
    pub name: String,
    /// `https://127.0.0.1:8443`.
    pub url: String,
}

/// The gateway, as `GET /v1/status` shows it.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatewayStatus {
    /// The build.
    pub version: &'static str,
    /// Where callers connect.
    pub listeners: Vec<ListenerStatus>,
    /// Endpoints that are healthy, and all.
    pub endpoints: EndpointCounts,
    /// Plugins by name, with the active digest.
    pub plugins: Vec<PluginSummary>,
    /// What an operator should know.
    pub warnings: Vec<String>,
}

/// Endpoints, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct EndpointCounts {
    /// Healthy ones.
    pub ready: usize,
    /// All.
    pub total: usize,
}

/// A plugin in the gateway's status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PluginSummary {
    /// Its name.
    pub name: Name,
    /// What it decides.
    pub role: &'static str,
    /// What decides now.
    pub active_digest: Option<String>,
}

/// What a push found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Pushed {
    /// The component's digest.
    pub digest: String,
    /// What it decides.
    pub role: &'static str,
    /// What it imports.
    pub imports: Vec<String>,
    /// Its size in bytes.
    pub bytes: usize,
    /// Whether it was not there before.
    #[serde(skip)]
    pub created: bool,
}

/// What a swap did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Swapped {
    /// What decides now.
    pub active_digest: String,
    /// What decided before.
    pub previous_digest: Option<String>,
}

/// One minute of a version's load.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LoadMinute {
    /// How many minutes ago it was; 0 is the running one.
    pub ago: u32,
    /// Requests that came.
    pub requests: u64,
    /// Requests that ended.
    pub finished: u64,
    /// For how long those held their slots, summed up.
    pub held_seconds: f64,
    /// The most that ran and waited at one moment.
    pub peak: u32,
}

/// The last hour of a version, by minute.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VersionLoad {
    /// Its name.
    pub name: Name,
    /// Requests one replica runs at once.
    pub max_concurrent_requests: u32,
    /// Share of slots that should be busy, in percent; 100 where it does not scale.
    pub target_utilization: f64,
    /// Replicas there should be.
    pub replicas: u32,
    /// The oldest first.
    pub minutes: Vec<LoadMinute>,
}

/// `GET /v1/endpoints/{e}/load`.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct EndpointLoad {
    /// By version, in the resource's order.
    pub versions: Vec<VersionLoad>,
}

/// What a change of a resource did.
#[derive(Debug, Clone, PartialEq)]
pub struct Written {
    /// Whether there was none before.
    pub created: bool,
    /// Its revision.
    pub revision: u64,
    /// The resource, without its status.
    pub document: serde_json::Value,
}
