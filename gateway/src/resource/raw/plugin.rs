//! `kind: Plugin` as a file says it.
//!
//! Checks nothing but types. Used by `check` and for the schema.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::resource::raw::Later;
use crate::units::{Interval, Size};

/// A WebAssembly component and what it may see and use.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PluginSpec {
    /// What it decides.
    pub role: Option<Role>,
    /// Where its first version comes from.
    pub source: Option<Source>,
    /// Pinned content, `sha256:` and 64 hex digits; other content is refused.
    pub digest: Option<String>,
    /// Comes with a later version.
    pub grants: Later,
    /// The request (collect: also answer) headers it may see.
    pub headers: Option<Vec<String>>,
    /// Its own metrics.
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
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Source {
    /// A component file.
    pub file: Option<String>,
    /// One that the gateway carries: key-auth, weighted-split, model-data.
    pub shipped: Option<String>,
    /// Comes with a later version.
    pub oci: Later,
}

/// A metric of the plugin's own.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Metric {
    /// Its name, without prefix.
    pub name: Option<String>,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: Option<MetricKind>,
    /// Each label with the values it may have.
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
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Limits {
    /// CPU time of a call. Default: 5ms (collect: 50ms a batch).
    pub cpu: Option<Interval>,
    /// Wall time of a call. Default: 50ms (collect: 1s a batch).
    pub timeout: Option<Interval>,
    /// Of one instance. Default: 32Mi.
    pub memory: Option<Size>,
    /// Per binding. Default: 64.
    pub instances: Option<u64>,
}
