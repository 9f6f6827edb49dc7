//! `kind: Plugin` as a file says it.
//!
//! Checks nothing but types. Used by `check` and for the schema.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::resource::raw::Later;
use crate::units::{Interval, Size};

/// A WebAssembly component and what it may see and use. The shipped ones are there
/// without a resource; one of their name changes their headers, limits and digest.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PluginSpec {
    /// What it decides.
    #[schemars(extend("x-default" = "that of what is shipped; else it must be there"))]
    pub role: Option<Role>,
    /// Where its first version comes from: exactly one key. Later versions are pushed
    /// (`tidegate plugin push`).
    #[schemars(extend("x-default" = "the shipped plugin of this name; else it must be there"))]
    pub source: Option<Source>,
    /// Pinned content, `sha256:` and 64 hex digits as `tidegate plugin check FILE` prints
    /// them; other content is refused, and so is a swap.
    #[schemars(regex(pattern = "^sha256:[0-9a-f]{64}$"))]
    pub digest: Option<String>,
    /// Interfaces beyond the base world. Comes with a later version.
    #[schemars(extend("x-later" = []))]
    pub grants: Later,
    /// The request (collect: also answer) headers it may see; those with credentials
    /// only as `auth`.
    #[schemars(extend("x-default" = "none; of a shipped plugin those it needs"))]
    pub headers: Option<Vec<String>>,
    /// Its own metrics, `tidegate_plugin_NAME`.
    #[schemars(length(max = 32), extend("default" = []))]
    pub metrics: Option<Vec<Metric>>,
    /// What it may use.
    pub limits: Option<Limits>,
}

/// What a plugin decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    /// Who may call.
    Auth,
    /// Which version answers.
    Split,
    /// What is kept.
    Collect,
}

/// Where a plugin's first version comes from: exactly one key.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Source {
    /// A component file. A relative path starts at the file's folder.
    pub file: Option<String>,
    /// One that the gateway carries.
    #[schemars(extend("enum" = ["key-auth", "weighted-split", "model-data", null]))]
    pub shipped: Option<String>,
    /// One of a registry. Comes with a later version.
    #[schemars(extend("x-later" = null))]
    pub oci: Later,
}

/// A metric of the plugin's own.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metric {
    /// Its name, without prefix: a lower-case letter, then those, digits and `_`.
    #[schemars(required, regex(pattern = "^[a-z][a-z0-9_]{0,63}$"))]
    pub name: Option<String>,
    /// What it is.
    #[schemars(required)]
    #[serde(rename = "type")]
    pub kind: Option<MetricKind>,
    /// Each label with the values it may have; at most 1000 series.
    pub labels: Option<BTreeMap<String, Vec<String>>>,
}

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// Observed values.
    Histogram,
}

/// What a plugin may use.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    /// CPU time of a call (collect: of a batch), waits on the host excluded.
    #[schemars(extend("x-default" = "5ms; for collect 50ms", "x-minimum" = "1ms", "x-maximum" = "10s"))]
    pub cpu: Option<Interval>,
    /// Wall time of a call (collect: of a batch), at least `cpu`.
    #[schemars(extend("x-default" = "50ms; for collect 1s", "x-minimum" = "1ms", "x-maximum" = "10s"))]
    pub timeout: Option<Interval>,
    /// Memory of one instance.
    #[schemars(extend("default" = "32Mi", "x-minimum" = "64Ki", "x-maximum" = "1Gi"))]
    pub memory: Option<Size>,
    /// Instances per binding, over all workers.
    #[schemars(range(min = 1, max = 1024), extend("default" = 64))]
    pub instances: Option<u64>,
}
