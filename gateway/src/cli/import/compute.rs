//! The settings of `deploymentconfig.json`, and which of them the original's
//! client read for which `computeType`.
//!
//! A table; what a setting means is `deployment`'s. Used by `import`.

use super::source::{Setting, Wants, kept, lost};

/// Where the original ran a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compute {
    /// A service behind azureml-fe.
    Aks,
    /// A version of an endpoint behind azureml-fe.
    AksEndpoint,
    /// One container, without a router.
    Aci,
    /// One container of this machine, without a router.
    Local,
}

/// The words of `computeType`.
pub(super) const COMPUTES: [(&str, Compute); 4] = [
    ("aks", Compute::Aks),
    ("aksendpoint", Compute::AksEndpoint),
    ("aci", Compute::Aci),
    ("local", Compute::Local),
];

/// A day, which no wait of ours is longer than.
const DAY_MS: u64 = 86_400_000;
const DAY_S: u64 = 86_400;

const CLUSTER: &str = "what a cluster is for; replicas are processes of this machine";
const KEYS: &str = "not written here, because this file is no place for a secret; each key that callers have already is \
    brought by `tidegate keys set` (comes with a later version); until then they need that of `tidegate keys show`";
const NETWORK: &str = "the network is this machine's own";
const VAULT: &str = "nothing is encrypted with a key of a vault";

/// Every setting (facts of the original's client, `deploy_configuration`).
pub(super) const TABLE: &[Setting] = &[
    kept("computeType", Wants::Text),
    kept("autoScaler.autoscaleEnabled", Wants::Flag),
    kept("autoScaler.minReplicas", Wants::Whole(1, 10_000)),
    kept("autoScaler.maxReplicas", Wants::Whole(1, 10_000)),
    kept("autoScaler.refreshPeriodInSeconds", Wants::Whole(1, 3_600)),
    kept("autoScaler.targetUtilization", Wants::Percent(1)),
    kept("dataCollection.storageEnabled", Wants::Flag),
    lost(
        "dataCollection.eventHubEnabled",
        Wants::Flag,
        "what is collected goes to files, not to an event hub",
    ),
    kept("authEnabled", Wants::Flag),
    kept("tokenAuthEnabled", Wants::Flag),
    kept("containerResourceRequirements.cpu", Wants::Cpu),
    kept("containerResourceRequirements.cpuLimit", Wants::Cpu),
    kept("containerResourceRequirements.memoryInGB", Wants::Gigabytes),
    kept(
        "containerResourceRequirements.memoryInGBLimit",
        Wants::Gigabytes,
    ),
    lost(
        "appInsightsEnabled",
        Wants::Flag,
        "metrics are at the admin port (GET /metrics), what a model prints is shown by `tidegate logs`; sending them \
         away over OTLP comes with a later version",
    ),
    kept("scoringTimeoutMs", Wants::Whole(1, DAY_MS)),
    kept(
        "maxConcurrentRequestsPerContainer",
        Wants::Whole(1, 100_000),
    ),
    kept("maxQueueWaitMs", Wants::Whole(1, DAY_MS)),
    kept("numReplicas", Wants::Whole(1, 10_000)),
    lost("keys.primaryKey", Wants::Secret, KEYS),
    lost("keys.secondaryKey", Wants::Secret, KEYS),
    kept("gpuCores", Wants::Whole(0, 1_024)),
    kept(
        "livenessProbeRequirements.periodSeconds",
        Wants::Whole(1, 3_600),
    ),
    kept(
        "livenessProbeRequirements.initialDelaySeconds",
        Wants::Whole(1, DAY_S),
    ),
    kept(
        "livenessProbeRequirements.timeoutSeconds",
        Wants::Whole(1, DAY_S),
    ),
    kept(
        "livenessProbeRequirements.successThreshold",
        Wants::Whole(1, 1_000),
    ),
    kept(
        "livenessProbeRequirements.failureThreshold",
        Wants::Whole(1, 1_000),
    ),
    lost("namespace", Wants::Text, CLUSTER),
    lost("computeTargetName", Wants::Text, CLUSTER),
    lost(
        "blobfuseEnabled",
        Wants::Flag,
        "models are files of this machine; nothing is mounted",
    ),
    kept("kvTags", Wants::Texts),
    kept("tags", Wants::Texts),
    kept("properties", Wants::Texts),
    kept("description", Wants::Text),
    kept("versionName", Wants::Text),
    kept("trafficPercentile", Wants::Percent(0)),
    kept("isDefault", Wants::Flag),
    kept("type", Wants::Text),
    lost(
        "location",
        Wants::Text,
        "the gateway runs where it is started",
    ),
    lost(
        "dnsNameLabel",
        Wants::Text,
        "a name of azurecontainer.io cannot be kept; have a name of your own and put it under hosts",
    ),
    lost("vnetName", Wants::Text, NETWORK),
    lost("subnetName", Wants::Text, NETWORK),
    lost("vaultBaseUrl", Wants::Text, VAULT),
    lost("keyName", Wants::Text, VAULT),
    lost("keyVersion", Wants::Text, VAULT),
    kept("sslEnabled", Wants::Flag),
    kept("sslCertificate", Wants::Text),
    kept("sslKey", Wants::Text),
    kept("cname", Wants::Text),
    kept("port", Wants::Whole(1, 65_535)),
];

/// Settings that every type of computing has but `local`.
const OF_ALL: [&str; 8] = [
    "authEnabled",
    "containerResourceRequirements.cpu",
    "containerResourceRequirements.memoryInGB",
    "appInsightsEnabled",
    "keys.",
    "kvTags",
    "tags",
    "properties",
];
/// Settings that `aci` has alone.
const OF_ACI: [&str; 10] = [
    "location",
    "dnsNameLabel",
    "vnetName",
    "subnetName",
    "vaultBaseUrl",
    "keyName",
    "keyVersion",
    "sslEnabled",
    "sslCertificate",
    "sslKey",
];
/// Settings that `aksendpoint` has alone.
const OF_ENDPOINT: [&str; 4] = ["versionName", "trafficPercentile", "isDefault", "type"];

impl Compute {
    /// The word of `computeType`.
    pub(super) fn word(self) -> &'static str {
        COMPUTES
            .iter()
            .find(|(_, compute)| *compute == self)
            .map_or("", |(word, _)| word)
    }

    /// Whether azureml-fe stood in front of it.
    pub(super) fn routed(self) -> bool {
        matches!(self, Self::Aks | Self::AksEndpoint)
    }

    /// Whether the original's client read a setting for this type.
    pub(super) fn reads(self, path: &str) -> bool {
        if path == "computeType" {
            return true;
        }
        let endpoint = OF_ENDPOINT.contains(&path);
        let aci = OF_ACI.contains(&path) || path == "cname";
        let all = path == "description" || OF_ALL.iter().any(|known| path.starts_with(known));
        match self {
            Self::Local => path == "port",
            Self::Aci => aci || (all && !path.ends_with("Limit")),
            Self::Aks => !endpoint && !aci && path != "port",
            Self::AksEndpoint => !aci && !["port", "computeTargetName"].contains(&path),
        }
    }
}
